/**
 * `facegrad find-lr`: the learning rate that a recipe trains at, from a short run whose rate climbs (train/findRate.ts),
 * with a picture of it.
 */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { linePlot } from '../evaluate/plot.ts';
import { type FindRateEvent, findRate, findRateOptions, type RateRange } from '../train/findRate.ts';
import type { Recipe } from '../train/recipe.ts';
import { errorBar } from './bar.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { checkEnding, type Figure, figureEndings, writeFigure } from './figure.ts';
import { described, whole } from './options.ts';
import { counted, exitCodes, print, printJson } from './output.ts';
import { recipeChanges, startRecipe } from './recipeWords.ts';

interface FindLrFlags extends DeviceChoice {
  readonly minLr: number;
  readonly maxLr: number;
  readonly steps: number;
  readonly out?: string;
  readonly json?: boolean;
  readonly workers?: number;
}

const short = (x: number): string => String(Number(x.toPrecision(2)));

function figureOf({ points, reading, ended }: RateRange, recipe: Recipe): Figure {
  const lr = points.map((p) => p.lr);
  const smoothed = points.map((p) => p.smoothed);
  // Losses far above the smoothed ones would press these flat.
  const top = Math.max(...smoothed) * 1.15;
  const title = `Learning rates of ${recipe.recipe}`;
  const named: Record<string, string> = reading
    ? {
        'rate to train at': short(reading.suggested),
        'rate of the lowest smoothed loss': short(reading.lowest),
        'rate where it falls fastest': short(reading.steepest),
      }
    : {};
  return {
    title,
    plots: [
      linePlot(
        [
          { name: 'loss', x: lr, y: points.map((p) => p.loss), pale: true },
          { name: 'smoothed', x: lr, y: smoothed },
        ],
        {
          title,
          xLabel: 'learning rate',
          yLabel: 'loss',
          xScale: 'log',
          yRange: [Math.min(...points.map((p) => p.loss), ...smoothed) * 0.95, top],
          marks: reading ? [{ x: reading.suggested, label: `train at ${short(reading.suggested)}` }] : [],
        },
      ),
    ],
    facts: { recipe: recipe.recipe, steps: String(points.length), ended: endings[ended], ...named },
    table: [['lr', 'loss', 'smoothed'], ...points.map((p) => [p.lr, p.loss, p.smoothed])],
    data: { recipe: recipe.recipe, ended, suggested: reading?.suggested ?? null, reading: reading ?? null, points },
  };
}

const endings: Readonly<Record<RateRange['ended'], string>> = {
  whole: 'all rates',
  rose: 'the loss rose far above its lowest',
  notFinite: 'the loss was not finite any more',
  aborted: 'stopped before the end',
};

/** A word as a shell takes it. */
const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

async function run(named: string | undefined, flags: FindLrFlags, words: readonly string[]): Promise<void> {
  const { minLr, maxLr, steps, json } = flags;
  const out = flags.out ?? (json ? undefined : 'find-lr.svg');
  if (out !== undefined) checkEnding(out, 'find-lr');
  if (!(minLr < maxLr))
    throw new UsageError(
      `find-lr: expected --min-lr below --max-lr, got ${minLr} and ${maxLr}\nExample: --min-lr 1e-6 --max-lr 10.`,
    );
  const recipe = startRecipe(named ?? 'mobilefacenet-arcface', recipeChanges(words, 'find-lr'), 'find-lr');
  if (recipe.from !== undefined && Number.isFinite(Number(recipe.from)))
    throw new UsageError(
      `find-lr: expected --from to be weights to start from, got the number ${recipe.from}\nThe rates are --min-lr and --max-lr.`,
    );
  const { workers } = flags;
  const device = await openDevice(flags);
  const bar = errorBar();
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    stop.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const tell = (text: string) => {
    bar.stop();
    if (json) process.stderr.write(`${text}\n`);
    else print(text);
  };
  const onEvent = (e: FindRateEvent) => {
    if (e.type === 'point') bar.show('rates', e.done, e.total, `lr ${short(e.lr)}, loss ${e.smoothed.toFixed(3)}`);
    else if (e.type === 'compile') bar.show('kernels', e.done, e.total, `${e.done}/${e.total}`);
    else if (e.type === 'start') {
      if (!json) print(`${e.data}: ${counted(e.images, 'picture')} of ${counted(e.classes, 'person', 'people')}`);
    } else tell(e.type === 'bad' ? `skipped: ${e.reason.split('\n')[0]}` : `note: ${e.text}`);
  };
  let range: RateRange;
  try {
    range = await findRate(recipe, {
      device,
      from: minLr,
      to: maxLr,
      steps,
      signal: stop.signal,
      onEvent,
      ...(workers !== undefined && { workers }),
    });
  } finally {
    bar.stop();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    await device.dispose();
  }
  const { points, reading, ended } = range;
  if (ended === 'aborted') process.exitCode = exitCodes.interrupted;
  const figure = figureOf(range, recipe);
  const written = out !== undefined && points.length > 0;
  if (written) await writeFigure(out, figure);
  if (json) return printJson({ ...(written && { out }), ...figure.data });
  if (!points.length) return print('Stopped before the first step.');
  print(
    `${out}: ${counted(points.length, 'step')} from ${short(points[0]!.lr)} to ${short(points.at(-1)!.lr)}, ${endings[ended]}`,
  );
  if (!reading)
    return print('The loss does not fall by more than its noise: take more --steps, a larger --batch or other rates.');
  print(`The smoothed loss is lowest at ${short(reading.lowest)} and falls fastest at ${short(reading.steepest)}.`);
  const command = ['facegrad train', ...[...(named === undefined ? [] : [named]), ...words].map(quoted)].join(' ');
  print(`Train with --lr ${short(reading.suggested)}:\n  ${command} --lr ${short(reading.suggested)}`);
}

export function register(program: Command): void {
  const { from, to, steps } = findRateOptions;
  const command = program
    .command('find-lr')
    .description('find the learning rate that a recipe trains at: a short run whose rate climbs at every step')
    .usage('[recipe] [--key value …] [options]')
    .argument('[recipe]', "a recipe's name or a YAML or JSON file of one")
    .option('--min-lr <rate>', from.means, described('min-lr', from), from.fallback)
    .option('--max-lr <rate>', to.means, described('max-lr', to), to.fallback)
    .option('--steps <n>', steps.means, described('steps', steps), steps.fallback)
    .option('--out <file>', `the picture, by its ending ${figureEndings} (default: find-lr.svg)`)
    .option('--json', 'the numbers as JSON; a file only with --out')
    .option('--workers <n>', 'threads that read pictures', whole('workers', 0, 64))
    .allowUnknownOption(true)
    .allowExcessArguments(true)
    .addHelpText(
      'after',
      [
        '',
        'Keys of the recipe are those of facegrad train (facegrad train --help). The weights are not kept.',
        'The rate to train at is half a power of ten below that of the lowest smoothed loss.',
        'Smith 2017, arXiv 1506.01186, section 3.3.',
        '',
        'Example: facegrad find-lr demo --head cosface --batch 64 --out rates.html',
      ].join('\n'),
    );
  addDeviceOptions(command).action(async (recipe: string | undefined, flags: FindLrFlags, self: Command) => {
    const named = recipe !== undefined && !recipe.startsWith('--');
    await run(named ? recipe : undefined, flags, self.args.slice(named ? 1 : 0));
  });
}
