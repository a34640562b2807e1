/** `facegrad bench`: this machine's ceilings and how close to them the engine comes; the work is in bench/. */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { ModeName, WorkName } from '../../bench/main.ts';
import { UsageError } from '../core/errors.ts';
import { wholeOption } from './device.ts';
import { print, printJson } from './output.ts';

interface BenchFlags {
  readonly threads?: string;
  readonly mode?: string;
  readonly batch?: string;
  readonly classes?: string;
  readonly seconds?: string;
  readonly rounds?: string;
  readonly profile?: boolean;
  readonly torch: boolean;
  readonly install?: boolean;
  readonly json?: boolean;
  readonly out?: string;
}

const means: Readonly<Record<WorkName, string>> = {
  roofline: 'multiply-adds and copied bytes a second; measured first in every run',
  gemm: "matrix products at MobileFaceNet's own shapes, one thread",
  ops: 'every op on its own, and dense convolutions',
  depthwise: "MobileFaceNet's depthwise convolutions, all three passes",
  forward: 'MobileFaceNet at 112x112, inference',
  train: 'a full training step; next to PyTorch where Debian has it installed',
  peers: 'next to onnxruntime, TensorFlow.js, jax-js and gpu.js (installs them when asked to)',
};

async function bench(works: readonly string[], flags: BenchFlags): Promise<void> {
  for (const w of works)
    if (!Object.hasOwn(means, w))
      throw new UsageError(
        `bench: expected one of ${Object.keys(means).join(', ')}, got '${w}'\nName what to measure, or nothing for all but peers.`,
      );
  const { mode, out, profile, torch, install } = flags;
  if (mode !== undefined && mode !== 'narrow' && mode !== 'wide')
    throw new UsageError(`--mode: expected narrow or wide, got '${mode}'\nLeave it out for both.`);
  if (out !== undefined && !(existsSync(dirname(out)) && !(existsSync(out) && statSync(out).isDirectory())))
    throw new UsageError(`--out: expected a file in a folder that exists, got '${out}'\nMake the folder first.`);
  const seconds = flags.seconds === undefined ? undefined : Number(flags.seconds);
  if (seconds !== undefined && !(seconds > 0 && seconds <= 3600))
    throw new UsageError(
      `--seconds: expected a number above 0 and up to 3600, got '${flags.seconds}'\nExample: --seconds 0.5.`,
    );
  const batches = flags.batch
    ?.split(',')
    .map((b) => wholeOption('batch', b))
    .filter((b) => b !== undefined);
  const whole = (name: 'threads' | 'classes' | 'rounds') => {
    const n = wholeOption(name, flags[name]);
    return n === undefined ? {} : { [name]: n };
  };
  const { runBench } = await import('../../bench/main.ts');
  const report = await runBench({
    ...(works.length ? { works: works as WorkName[] } : {}),
    ...(mode ? { modes: [mode as ModeName] } : {}),
    ...(batches ? { batches } : {}),
    ...(seconds === undefined ? {} : { seconds }),
    ...(out === undefined ? {} : { out }),
    ...whole('threads'),
    ...whole('classes'),
    ...whole('rounds'),
    profile: profile ?? false,
    install: install ?? false,
    torch,
    log: (line) => process.stderr.write(`${line}\n`),
    ...(flags.json ? {} : { print }),
  });
  if (flags.json) return printJson(report);
  const { machine, commit } = report;
  print(
    `Machine: ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, V8 ${machine.v8}, load ${machine.load.before} before and ${machine.load.after} after`,
  );
  print(`Commit:  ${commit ?? 'none'}`);
  if (machine.load.before > 0.5) print('Others were using this machine: compare ratios, not milliseconds.');
  if (out !== undefined) print(`Written: ${out}`);
}

export function register(program: Command): void {
  const width = Math.max(...Object.keys(means).map((w) => w.length));
  program
    .command('bench')
    .description('measure speed on this machine')
    .argument('[work...]', 'what to measure (default: all but peers)')
    .option('--threads <n>', 'threads (default: 1 and 2 for inference, 2 for training, 1 for kernels)')
    .option('--mode <name>', 'narrow (128-bit kernels) or wide (256-bit, Node 24); default: both')
    .option('--batch <n>', 'batch size, or several: 1,32')
    .option('--classes <n>', 'classes of the training step (default: 10575)')
    .option('--seconds <s>', 'seconds of measuring for each figure (default: 1; a training step gets 12 times that)')
    .option('--rounds <n>', 'turns of engines that are compared (default: 3)')
    .option('--profile', 'train: a table of kernels with calls, time, share, GFLOP/s, GB/s')
    .option('--no-torch', 'train: leave PyTorch out')
    .option('--install', 'peers: install them without asking, about 500 MB')
    .option('--json', 'machine, commit, results and summaries as JSON')
    .option('--out <file>', 'also write that JSON to a file')
    .addHelpText(
      'after',
      `\nWorks:\n${Object.entries(means)
        .map(([w, m]) => `  ${w.padEnd(width)}  ${m}`)
        .join('\n')}\n\nShares of the peak are of the multiply-add peak of the mode with as many threads.`,
    )
    .action(bench);
}
