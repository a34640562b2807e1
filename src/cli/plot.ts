/**
 * `facegrad plot`: target logits over the angle to the own class centre, of one or several losses: what a margin does, to
 * look at, as in the papers (ArcFace, arXiv 1801.07698, figure 3; SphereFace, arXiv 1704.08063, figure 4).
 *
 * A logit is shown by its scale, so that losses of different scales compare: the target's over that of another class at
 * angle 0. With --weights it draws the angles that a network has reached (plotAngles.ts).
 */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { entryOf, readOption, resolveOptions, showOption } from '../core/options.ts';
import { linePlot } from '../evaluate/plot.ts';
import * as E from '../expr/nodes.ts';
import { compileJs } from '../expr/printJs.ts';
import { targetLogitCurve } from '../heads/head.ts';
import { losses } from '../heads/index.ts';
import type { LogitCurve, LossEntry } from '../heads/loss.ts';
import { addDeviceOptions } from './device.ts';
import { checkEnding, type Figure, figureEndings, writeFigure } from './figure.ts';
import { whole } from './options.ts';
import { counted, print, printJson } from './output.ts';
import type { AngleFlags } from './plotAngles.ts';

interface PlotFlags extends Omit<AngleFlags, 'weights'> {
  readonly out?: string;
  readonly to: number;
  readonly scaled?: boolean;
  readonly json?: boolean;
  readonly weights?: readonly string[];
}

interface Curve {
  /** Loss, the options that were given, and what tells the curve from others of the loss. */
  readonly name: string;
  readonly loss: LossEntry;
  readonly options: Readonly<Record<string, unknown>>;
  readonly label: string;
  readonly logit: readonly number[];
}

const drawable = (): LossEntry[] => losses.filter((l) => l.curves);

/** `cosface:m=0.35,s=32` as a loss and what was given to it. */
function parseLoss(text: string): { readonly loss: LossEntry; readonly given: Readonly<Record<string, unknown>> } {
  const [name, ...rest] = text.split(':');
  const loss = entryOf('plot', losses, name!);
  if (!loss.curves)
    throw new UsageError(
      `plot: expected losses with a target logit, got '${loss.name}'\nThose are ${drawable()
        .map((l) => l.name)
        .join(', ')}.`,
    );
  const given: Record<string, unknown> = {};
  for (const part of rest.join(':').split(/,(?=[^,=]+=)/)) {
    if (part === '' && rest.join(':') === '') continue;
    const [key, value, ...more] = part.split('=');
    if (!key || value === undefined || value === '' || more.length)
      throw new UsageError(
        `plot: expected options as ${loss.name}:key=value,key=value, got '${text}'\n${optionsOf(loss)}`,
      );
    const spec = Object.hasOwn(loss.options, key) ? loss.options[key] : undefined;
    given[key] = spec ? readOption(spec, value) : value;
  }
  return { loss, given };
}

const optionsOf = (loss: LossEntry): string => {
  const all = Object.entries(loss.options).map(([key, { fallback }]) => `${key}=${showOption(fallback)}`);
  return all.length ? `Its options are ${all.join(', ')}.` : 'It has no options.';
};

/** The logit of another class at angle 0: what a target's logit is compared to. */
function scaleOfCurve({ logits, rowScalars = [] }: LogitCurve): number {
  const result = [0];
  compileJs([logits.nonTarget(E.input(0), E.input(1), ...rowScalars.map((_, i) => E.input(2 + i)))])(
    [1, 1, ...rowScalars],
    result,
  );
  return result[0]!;
}

function curvesOf(texts: readonly string[], { to, scaled }: PlotFlags): Curve[] {
  const chosen = texts.length ? texts.map(parseLoss) : drawable().map((loss) => ({ loss, given: {} }));
  return chosen.flatMap(({ loss, given }) => {
    const options = resolveOptions(loss.name, loss.options, given);
    // The loss itself checks what options mean together.
    loss.create({ classes: 3, embeddingSize: 512 }, given);
    const own = Object.entries(given).map(([key, value]) => `${key}=${showOption(value)}`);
    return loss.curves!(options).map((curve) => {
      const by = scaled ? 1 : scaleOfCurve(curve);
      const logit = Array.from(targetLogitCurve(curve).logit.subarray(0, to + 1), (v) => v / by);
      return {
        name: [loss.name, ...own, curve.label].filter(Boolean).join(' '),
        loss,
        options,
        label: curve.label,
        logit,
      };
    });
  });
}

const degrees = (to: number): number[] => Array.from({ length: to + 1 }, (_, i) => i);

/** Lines to draw: curves that are the same numbers share one. */
function linesOf(curves: readonly Curve[]): { readonly name: string; readonly logit: readonly number[] }[] {
  const lines = new Map<string, { readonly names: string[]; readonly logit: readonly number[] }>();
  for (const { name, logit } of curves) {
    const key = logit.map((v) => v.toFixed(9)).join();
    const line = lines.get(key);
    if (!line) lines.set(key, { names: [name], logit });
    else if (!line.names.includes(name)) line.names.push(name);
  }
  return [...lines.values()].map(({ names, logit }) => ({ name: names.join(', '), logit }));
}

function plotOf(curves: readonly Curve[], { to, scaled }: PlotFlags): string {
  const x = degrees(to);
  const lines = linesOf(curves);
  return linePlot(
    lines.map(({ name, logit }) => ({ name, x, y: logit })),
    {
      title: lines.length === 1 ? `Target logit of ${lines[0]!.name}` : 'Target logits',
      xLabel: 'angle to the own class centre, in degrees',
      yLabel: scaled ? 'target logit' : 'target logit / scale',
      xRange: [0, to],
      xTicks: to >= 90 ? x.filter((d) => d % 30 === 0) : undefined,
    },
  );
}

/** The curves as a figure. */
function curveFigure(texts: readonly string[], flags: PlotFlags): Figure {
  const curves = curvesOf(texts, flags);
  const x = degrees(flags.to);
  return {
    title: 'Target logits',
    plots: [plotOf(curves, flags)],
    facts: Object.fromEntries(
      curves.map(({ loss, options, name }) => [
        name,
        `${loss.means} (${loss.source}): ${Object.entries(options)
          .map(([key, value]) => `${key}=${showOption(value)}`)
          .join(', ')}`,
      ]),
    ),
    table: [['degrees', ...curves.map((c) => c.name)], ...x.map((d) => [d, ...curves.map((c) => c.logit[d]!)])],
    data: {
      scaled: flags.scaled ?? false,
      degrees: x,
      curves: curves.map(({ name, loss, options, label, logit }) => ({ name, loss: loss.name, options, label, logit })),
    },
  };
}

async function plot(texts: readonly string[], flags: PlotFlags): Promise<void> {
  const { weights } = flags;
  if (weights && texts.length)
    throw new UsageError(`plot: expected losses or --weights, got both\nLeave one of them out.`);
  const out = flags.out ?? (flags.json ? undefined : weights ? 'angles.svg' : 'curves.svg');
  if (out !== undefined) checkEnding(out);
  // What reads pictures is loaded only where there are some.
  const figure = weights
    ? await (await import('./plotAngles.ts')).angleFigure({ ...flags, weights })
    : curveFigure(texts, flags);
  if (out !== undefined) await writeFigure(out, figure);
  if (flags.json) printJson({ ...(out !== undefined && { out }), ...figure.data });
  else if (weights) print([`${out}:`, ...Object.entries(figure.facts).map(([k, v]) => `  ${k}: ${v}`)].join('\n'));
  else print(`${out}: ${counted(figure.table[0]!.length - 1, 'target logit')} from 0 to ${flags.to} degrees`);
}

const help = (): string =>
  [
    '',
    'Losses, with the options that they take and their defaults:',
    ...drawable().map((l) => `  ${l.name.padEnd(20)} ${optionsOf(l).replace(/^Its options are |\.$/g, '')}`),
    '',
    'Example: facegrad plot arcface cosface:m=0.4 arcface:m=0.3,easyMargin=true --out curves.html',
    '         facegrad plot --weights runs/mine/last.safetensors --start --images people/',
  ].join('\n');

export function register(program: Command): void {
  const command = program
    .command('plot')
    .description('draw what margins do: target logits over the angle, or the angles that a network has reached')
    .argument(
      '[losses...]',
      'losses by name, with options as in cosface:m=0.35,s=32 (default: every one that has a curve)',
    )
    .option('--out <file>', `the file to write, by its ending ${figureEndings} (default: curves.svg or angles.svg)`)
    .option('--to <degrees>', 'the largest angle', whole('to', 1, 180), 180)
    .option('--scaled', 'logits as they are, not divided by the scale')
    .option(
      '--weights <file>',
      'in place of losses, histograms of angles of pictures to centres of people; may be repeated',
      (file: string, before: readonly string[] = []) => [...before, file],
    )
    .option('--images <path>', 'with --weights: a folder per person, or a data set of any format')
    .option('--start', 'with --weights: also the network as its training began')
    .option('--json', 'the numbers as JSON; a file only with --out')
    .addHelpText('after', help());
  addDeviceOptions(command).action(plot);
}
