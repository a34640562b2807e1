#!/usr/bin/env node
/**
 * The `facegrad` command. Each subcommand is a file that is loaded only when it is called, so `--help` needs none.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { UsageError } from '../core/errors.ts';
import { exitCodes, fail } from './output.ts';

const commands = {
  train: { means: 'train a face network by a recipe', load: () => import('./train.ts') },
  'find-lr': { means: 'find the learning rate that a recipe trains at', load: () => import('./findLr.ts') },
  recipes: { means: 'list ready recipes, and print one as a file', load: () => import('./recipes.ts') },
  options: {
    means: 'say what networks, losses, optimizers, schedules there are',
    load: () => import('./listOptions.ts'),
  },
  eval: { means: 'verify a network on pairs of pictures', load: () => import('./eval.ts') },
  embed: { means: 'turn pictures into embeddings', load: () => import('./embed.ts') },
  verify: { means: 'say whether two pictures show one person', load: () => import('./verify.ts') },
  import: { means: "read another program's model", load: () => import('./import.ts') },
  export: { means: 'write a model for other programs: ONNX, TFLite, a page', load: () => import('./export.ts') },
  quantize: { means: 'round a network to 8 bits', load: () => import('./quantize.ts') },
  detect: { means: 'find the faces in pictures', load: () => import('./detect.ts') },
  prepare: { means: 'convert data sets from any format to any other', load: () => import('./prepare.ts') },
  inspect: { means: 'say what a data set holds and whether it is sound', load: () => import('./inspect.ts') },
  datasets: { means: 'list face data sets, and check what was fetched', load: () => import('./datasets.ts') },
  augment: { means: 'show what random changes of the pictures do', load: () => import('./augment.ts') },
  bench: { means: 'measure speed on this machine', load: () => import('./bench.ts') },
  doctor: { means: 'say which devices and kernels are in use here, and why', load: () => import('./doctor.ts') },
  info: { means: 'describe a network', load: () => import('./info.ts') },
  plot: { means: 'draw what margins do: target logits, and angles of a network', load: () => import('./plot.ts') },
  ops: { means: 'list every op with the devices that have it', load: () => import('./ops.ts') },
} as const;

/** The package's version: package.json lies at a different height in the sources and in the build. */
function version(): string {
  for (const up of ['../..', '../../..']) {
    try {
      const { name, version: v } = JSON.parse(readFileSync(new URL(`${up}/package.json`, import.meta.url), 'utf8'));
      if (name === 'facegrad') return v;
    } catch {}
  }
  return 'unknown';
}

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('facegrad')
    .description('Face recognition: training, evaluation and use.')
    .version(version())
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`facegrad: ${text}`) });
  const words = argv.filter((a) => !a.startsWith('-'));
  const name = words[0] === 'help' ? words[1] : words[0];
  if (name && !Object.hasOwn(commands, name)) {
    const { nearest } = await import('../core/options.ts');
    const names = Object.keys(commands);
    throw new UsageError(
      `expected a command, got '${name}'\nDid you mean '${nearest(name, names)}'? The commands are: ${names.join(', ')}.`,
    );
  }
  for (const [key, { means, load }] of Object.entries(commands)) {
    if (key === name) (await load()).register(program);
    else program.command(key).description(means);
  }
  await program.parseAsync(argv as string[], { from: 'user' });
}

// A reader that has seen enough, such as `head`, is no reason to lose a run.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code !== 'EPIPE') throw e;
  });
try {
  await main(process.argv.slice(2));
} catch (error) {
  // Commander has already written its message; help and version end with its code 0.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage;
  else fail(error);
}
