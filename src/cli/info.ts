/**
 * `facegrad info`: parameters, multiply-adds and activation memory of a network, layer by layer; of a weights file, or another
 * program's model, also where it is from. Takes every option of every network, as the registry describes them.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { nearest, showOption } from '../core/options.ts';
import { shapesOf } from '../models/graph/shapes.ts';
import { architectureOf, architectures, create, models } from '../models/index.ts';
import { type FaceNetwork, showPreprocessing } from '../models/network.ts';
import { activationBytes, summarize } from '../models/summary.ts';
import { int8Architecture, int8NetworkOf } from '../quant/file.ts';
import { Int8Network } from '../quant/network.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';
import { isOwn, readBytes, readModel } from './model.ts';
import { count, print, printJson, size } from './output.ts';
import { storedThreshold } from './threshold.ts';
import { networkOptions } from './words.ts';

interface InfoFlags {
  readonly json?: boolean;
  readonly list?: boolean;
}

interface Described {
  readonly network: FaceNetwork | Int8Network;
  readonly metadata: Readonly<Record<string, string>>;
}

const dashed = (s: string) => s.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

async function describe(model: string, words: readonly string[]): Promise<Described> {
  if (architectures.has(model.toLowerCase())) {
    const network = create(model, networkOptions('info', architectureOf(model), words));
    return { network, metadata: {} };
  }
  if (!existsSync(model)) {
    const near = nearest(model, [...architectures.keys()]);
    throw new UsageError(
      `info: expected a network's name or a weights file, got '${model}'\nDid you mean '${near}'? Without a name, info lists all networks.`,
    );
  }
  if (words.length)
    throw new UsageError(
      `info: expected no options for a weights file, got '${words[0]}'\nLeave it out: the file says what its network's options are.`,
    );
  const bytes = await readBytes(model);
  if (isOwn(bytes)) {
    const { tensors, metadata } = parseCheckpoint(bytes, model);
    if (metadata.architecture === int8Architecture)
      return { network: int8NetworkOf(tensors, metadata, model), metadata };
  }
  return readModel(model, bytes);
}

const millions = (n: number): string => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : count(n));

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

/** Every network with a line of meaning; families first, each followed by its variants. */
function list(json: boolean | undefined): void {
  const all = [...architectures.values()];
  if (json) {
    printJson(
      all.map(({ name, means, family, preset }) => ({
        name,
        means,
        family: family.name,
        source: family.source,
        options: Object.fromEntries(
          Object.entries(family.options).map(([key, { means: what, expects, fallback }]) => [
            key,
            { means: what, expects, default: (preset as Record<string, unknown>)[key] ?? fallback },
          ]),
        ),
      })),
    );
    return;
  }
  const width = Math.max(...all.map(({ name }) => name.length)) + 2;
  for (const family of models) {
    print(`${family.name.padEnd(width)}${family.means} (${family.source})`);
    for (const { name, means } of all.filter((a) => a.family === family && a.name !== family.name))
      print(`  ${name.padEnd(width)}${means}`);
  }
  print('\nfacegrad info NAME describes one; facegrad info NAME --help lists its options.');
}

/** What a network's options are, with the values that its name stands for. */
function optionHelp(name: string | undefined): string {
  const about = name === undefined ? undefined : architectures.get(name.toLowerCase());
  const lines = [''];
  if (!about) {
    lines.push(`Networks: ${models.map((m) => m.name).join(', ')}, and names for usual settings of them (--list).`);
    lines.push('facegrad info NAME --help lists the options of a network.');
  } else {
    const { family, preset } = about;
    lines.push(`Options of ${about.name} (--option value), ${family.source}:`);
    for (const [key, { means, expects, fallback }] of Object.entries(family.options)) {
      const value = (preset as Record<string, unknown>)[key] ?? fallback;
      lines.push(
        `  --${dashed(key).padEnd(20)}${means}: ${expects}${value === undefined ? '' : ` (default ${showOption(value)})`}`,
      );
    }
  }
  lines.push('', 'Multiply-adds are those of convolutions and matrix products, for one image.');
  return lines.join('\n');
}

/** A network in 8 bits: what runs how, and what its weights take. */
function describeInt8({ model, preprocessing, options }: Int8Network, json: boolean | undefined): void {
  const shapes = shapesOf(model.spec);
  const layers = model.spec.nodes.map((n) => {
    const weights = model.tensors.get(`layers.${n.path}.weight`)?.data.length ?? 0;
    const bits = model.quantised.has(n.path) ? 8 : 32;
    return { name: n.path, type: n.op, output: shapes.get(n.outputs[0]!)!.slice(1), weights, bits };
  });
  const weights = layers.reduce((n, l) => n + (l.bits === 8 ? l.weights : 0), 0);
  if (json) {
    printJson({ architecture: int8Architecture, ...options, preprocessing, weights, layers });
    return;
  }
  const named = layers.filter((l) => l.weights > 0);
  print(
    table([
      ['layer', 'type', 'output', 'weights', 'bits'],
      ...named.map((l) => [l.name, l.type, l.output.join('x'), count(l.weights), String(l.bits)]),
    ]).join('\n'),
  );
  const [h, w] = preprocessing.inputSize;
  print('');
  print(
    `${int8Architecture}: ${count(model.quantised.size)} layers in 8 bits with ${count(weights)} weights; embeddings of ${options.embeddingSize}`,
  );
  print(`Input: ${w}x${h} pixels, ${showPreprocessing(preprocessing)}`);
}

async function info(model: string | undefined, flags: InfoFlags, words: readonly string[]): Promise<void> {
  if (model === undefined || flags.list) {
    if (words.length) throw new UsageError(`info: expected no options of a list, got '${words[0]}'\nName a network.`);
    list(flags.json);
    return;
  }
  const { network, metadata } = await describe(model, words);
  if (network instanceof Int8Network) {
    describeInt8(network, flags.json);
    return;
  }
  const { preprocessing } = network;
  const summary = summarize(network);
  const memory = activationBytes(network);
  if (flags.json) {
    const verification = storedThreshold(metadata);
    printJson({
      architecture: network.architecture,
      options: network.options,
      preprocessing,
      parameters: summary.parameters,
      multiplyAdds: summary.multiplyAdds,
      activationBytes: memory,
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
      count(l.parameters),
      l.multiplyAdds ? count(l.multiplyAdds) : '',
    ]),
    ['in all', '', String(network.options.embeddingSize), count(summary.parameters), count(summary.multiplyAdds)],
  ];
  print(table(rows).join('\n'));
  print('');
  print(
    `${network.architecture}: ${count(summary.parameters)} parameters, ${millions(summary.multiplyAdds)} multiply-adds an image`,
  );
  print(
    `Activations: ${size(memory.training)} an image in training, ${size(memory.inference)} at inference (what the plan stores, without the room that kernels need)`,
  );
  print(`Input: ${w}x${h} pixels, ${showPreprocessing(preprocessing)}`);
  const found = storedThreshold(metadata);
  if (found)
    print(
      `Verified: ${(100 * found.accuracy).toFixed(2)} % (${found.data}, ${found.pairs} pairs, ${found.protocol}, flip ${found.flip}), cosine threshold ${found.cosine.toFixed(3)}`,
    );
}

export function register(program: Command): void {
  program
    .command('info')
    .description('describe a network: its size and cost, layer by layer; without a name, list the networks')
    .argument('[model]', "a network's name or a weights file")
    .usage('[model] [--option value …]')
    .allowUnknownOption()
    .allowExcessArguments()
    .option('--list', 'all networks with a line of what they are')
    .option(
      '--json',
      'as JSON: architecture, options, preprocessing, parameters, multiplyAdds, activationBytes, layers',
    )
    .addHelpText('after', ({ command }) => optionHelp(command.args[0]))
    .action((model: string | undefined, flags: InfoFlags, command: Command) => {
      // Options of networks are unknown to the parser and come as words; one before the name would be taken for it.
      if (model?.startsWith('--'))
        throw new UsageError(`info: expected a network's name or a weights file, got '${model}'\nName it first.`);
      return info(model, flags, command.args.slice(1));
    });
}
