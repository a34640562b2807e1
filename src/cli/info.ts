/** `facegrad info`: parameters and multiply-adds of a network, layer by layer; of a weights file also where it is from. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { architectures, create, networkOf } from '../models/index.ts';
import type { FaceNetwork, Preprocessing } from '../models/network.ts';
import { summarize } from '../models/summary.ts';
import { loadState, variablesOf } from '../nn/module.ts';
import { ioError } from '../train/checkpointFile.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';
import { print, printJson } from './output.ts';
import { storedThreshold } from './threshold.ts';

interface InfoFlags {
  readonly json?: boolean;
  readonly embeddingSize?: string;
  readonly inputSize?: string;
  readonly width?: string;
}

interface Described {
  readonly network: FaceNetwork;
  readonly preprocessing: Preprocessing;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Options of the network from the command line; the network itself checks their sense. */
function networkOptions(flags: InfoFlags): Record<string, unknown> {
  const number = (name: string, s: string): number => {
    const n = s.trim() === '' ? Number.NaN : Number(s);
    if (Number.isNaN(n)) throw new UsageError(`info: --${name} expected a number, got '${s}'\nExample: --${name} 1.`);
    return n;
  };
  const out: Record<string, unknown> = {};
  if (flags.embeddingSize !== undefined) out.embeddingSize = number('embedding-size', flags.embeddingSize);
  if (flags.width !== undefined) out.width = number('width', flags.width);
  if (flags.inputSize !== undefined) {
    const sides = /^(\d+)x(\d+)$/.exec(flags.inputSize);
    if (!sides)
      throw new UsageError(
        `info: --input-size expected HEIGHTxWIDTH, got '${flags.inputSize}'\nExample: --input-size 112x96.`,
      );
    out.inputSize = [Number(sides[1]), Number(sides[2])];
  }
  return out;
}

async function describe(model: string, flags: InfoFlags): Promise<Described> {
  if (architectures.has(model.toLowerCase())) {
    const network = create(model, networkOptions(flags));
    return { network, preprocessing: network.preprocessing, metadata: {} };
  }
  if (!existsSync(model))
    throw new UsageError(
      `info: expected a weights file or one of the networks ${[...architectures.keys()].join(', ')}, got '${model}'\nCheck the spelling or the path.`,
    );
  const bytes = await readFile(model).catch((e) => {
    throw ioError(`reading weights ${model}`, e);
  });
  const { tensors, metadata } = parseCheckpoint(bytes, model);
  const { network, preprocessing } = networkOf(metadata, model);
  loadState(variablesOf(network), tensors, model, { allowExtra: true });
  return { network, preprocessing, metadata };
}

const withCommas = (n: number): string => n.toLocaleString('en-US');
const millions = (n: number): string => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : withCommas(n));

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((r) => r[c]!.length)));
  // Numbers stand right, names left.
  return rows.map((r) =>
    r
      .map((cell, c) => (c < 3 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!)))
      .join('  ')
      .trimEnd(),
  );
}

async function info(model: string, flags: InfoFlags): Promise<void> {
  const { network, preprocessing, metadata } = await describe(model, flags);
  const summary = summarize(network);
  if (flags.json) {
    const verification = storedThreshold(metadata);
    printJson({
      architecture: network.architecture,
      options: network.options,
      preprocessing,
      parameters: summary.parameters,
      multiplyAdds: summary.multiplyAdds,
      layers: summary.layers,
      ...(verification && { verification }),
    });
    return;
  }
  const [h, w] = preprocessing.inputSize;
  const rows = [
    ['layer', 'type', 'output', 'parameters', 'multiply-adds'],
    ...summary.layers.map((l) => [
      l.name,
      l.type,
      l.output.join('x'),
      withCommas(l.parameters),
      l.multiplyAdds ? withCommas(l.multiplyAdds) : '',
    ]),
    [
      'in all',
      '',
      String(network.options.embeddingSize),
      withCommas(summary.parameters),
      withCommas(summary.multiplyAdds),
    ],
  ];
  print(table(rows).join('\n'));
  print('');
  print(
    `${network.architecture}: ${withCommas(summary.parameters)} parameters, ${millions(summary.multiplyAdds)} multiply-adds an image`,
  );
  print(
    `Input: ${w}x${h} pixels, ${preprocessing.colourOrder}, (x - ${preprocessing.mean}) * ${Number(preprocessing.scale.toPrecision(6))}`,
  );
  const found = storedThreshold(metadata);
  if (found)
    print(
      `Verified: ${(100 * found.accuracy).toFixed(2)} % (${found.data}, ${found.pairs} pairs, ${found.protocol}, flip ${found.flip}), cosine threshold ${found.cosine.toFixed(3)}`,
    );
}

export function register(program: Command): void {
  program
    .command('info')
    .description('describe a network: its size and cost, layer by layer')
    .argument('<model>', `a network's name (${[...architectures.keys()].join(', ')}) or a weights file`)
    .option('--embedding-size <n>', 'of a network given by name')
    .option('--input-size <HxW>', 'of a network given by name')
    .option('--width <factor>', 'on the channel counts, of a network given by name')
    .option('--json', 'architecture, options, preprocessing, parameters, multiplyAdds, layers as JSON')
    .addHelpText('after', '\nMultiply-adds are those of convolutions and matrix products, for one image.')
    .action(info);
}
