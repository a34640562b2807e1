/** `facegrad bench`: this machine's ceilings and how close to them the engine comes; the work is in bench/. */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { BenchDevice, BenchOptions, WasmMode, WorkName } from '../../bench/main.ts';
import { UsageError } from '../core/errors.ts';
import { wholeOption } from './options.ts';
import { print, printJson } from './output.ts';

interface BenchFlags {
  readonly pairs?: string;
  readonly images?: string;
  readonly teacher?: string;
  readonly epochs?: string;
  readonly only?: string;
  readonly data?: string;
  readonly device?: string;
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
  readonly trace?: string;
  readonly out?: string;
}

const means: Readonly<Record<WorkName, string>> = {
  roofline: 'multiply-adds and copied bytes a second; measured first in every run',
  gemm: "matrix products at MobileFaceNet's own shapes, one thread or the GPU",
  ops: 'every op on its own, and dense convolutions',
  depthwise: "MobileFaceNet's depthwise convolutions, all three passes",
  forward: 'MobileFaceNet at 112x112, inference',
  int8: '8-bit convolutions and a network of them next to float32, on one thread (WASM)',
  train: 'a full training step; next to PyTorch where Debian has it installed',
  peers:
    'next to onnxruntime, TensorFlow.js, jax-js and gpu.js (installs them when asked to); with --device webgpu a training step next to TensorFlow.js in Chromium',
};

const dataMeans =
  'decoding of JPEG next to other decoders, reading each data format, batches, and whether training waits for them';
const lossesMeans = 'every loss on one budget: accuracy on people who are in no training set';
const tuneMeans = "choose the tiles of WebGPU's matrix products on this adapter, and write them to kernels/tiles.ts";

function checkFile(name: 'out' | 'trace', file: string | undefined): void {
  if (file !== undefined && !(existsSync(dirname(file)) && !(existsSync(file) && statSync(file).isDirectory())))
    throw new UsageError(`--${name}: expected a file in a folder that exists, got '${file}'\nMake the folder first.`);
}

/** What `--device` and `--mode` ask for. */
function devicesOf({ device = 'wasm', mode, threads }: BenchFlags, works: readonly string[]): BenchOptions {
  const devices = device.split(',');
  for (const name of devices)
    if (name !== 'wasm' && name !== 'webgpu')
      throw new UsageError(
        `--device: expected wasm, webgpu or both as wasm,webgpu, got '${device}'\nLeave it out for wasm.`,
      );
  if (mode !== undefined && mode !== 'narrow' && mode !== 'wide')
    throw new UsageError(`--mode: expected narrow or wide, got '${mode}'\nLeave it out for both.`);
  if (!devices.includes('wasm')) {
    for (const [name, value] of Object.entries({ mode, threads }))
      if (value !== undefined)
        throw new UsageError(`--${name}: expected with WASM, got --device ${device}\nLeave it out: a GPU has none.`);
    if (works.includes('peers'))
      throw new UsageError(
        `bench peers: expected alone with --device webgpu, got ${works.join(', ')} on ${device}\nMeasure the rest in another run.`,
      );
  }
  return { devices: devices as BenchDevice[], ...(mode ? { modes: [mode as WasmMode] } : {}) };
}

const batchesOf = (text: string | undefined): number[] | undefined =>
  text
    ?.split(',')
    .map((b) => wholeOption('batch', b))
    .filter((b) => b !== undefined);

function secondsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 3600) return seconds;
  throw new UsageError(`--seconds: expected a number above 0 and up to 3600, got '${text}'\nExample: --seconds 0.5.`);
}

/** `bench tune`. Its products and candidates are fixed, so it takes few of the options. */
async function tune(works: readonly string[], flags: BenchFlags): Promise<void> {
  if (works.length > 1)
    throw new UsageError(
      `bench tune: expected nothing else, got ${works.join(', ')}\nMeasure the rest in another run.`,
    );
  const { device = 'webgpu', batch, rounds, out, json, torch: _torch, ...others } = flags;
  if (device !== 'webgpu')
    throw new UsageError(`bench tune: expected --device webgpu, got '${device}'\nLeave --device out.`);
  for (const name of Object.keys(others))
    throw new UsageError(`bench tune: expected --batch, --rounds, --out or --json, got --${name}\nLeave it out.`);
  checkFile('out', out);
  const n = wholeOption('rounds', rounds);
  const batches = batchesOf(batch);
  const { runTune } = await import('../../bench/tune.ts');
  const report = await runTune({
    ...(batches ? { batches } : {}),
    ...(n === undefined ? {} : { rounds: n }),
    ...(out === undefined ? {} : { out }),
    log: (line) => process.stderr.write(`${line}\n`),
    ...(json ? {} : { print }),
  });
  if (json) printJson(report);
}

/** `bench peers --device webgpu`: a training step next to TensorFlow.js, in one page of a browser. */
async function peersInPage(flags: BenchFlags): Promise<void> {
  const { device: _device, batch, classes, rounds, out, profile, json, torch: _torch, ...others } = flags;
  for (const name of Object.keys(others))
    throw new UsageError(
      `bench peers --device webgpu: expected --batch, --classes, --rounds, --profile, --out or --json, got --${name}\nLeave it out.`,
    );
  checkFile('out', out);
  const [n, c, r] = [wholeOption('batch', batch), wholeOption('classes', classes), wholeOption('rounds', rounds)];
  const { benchWebGpu } = await import('../../bench/webgpu/run.ts');
  const rows = await benchWebGpu({
    ...(n === undefined ? {} : { batch: n }),
    ...(c === undefined ? {} : { classes: c }),
    ...(r === undefined ? {} : { steps: r }),
    ...(out === undefined ? {} : { out }),
    profile: profile ?? false,
    log: (line) => process.stderr.write(`${line}\n`),
    ...(json ? {} : { print }),
  });
  if (json) printJson(rows);
  else if (out !== undefined) print(`Written: ${out}`);
}

/** `bench data`: decoding, reading and batches; no kernels, so it takes few of the options. */
async function dataWork(works: readonly string[], flags: BenchFlags): Promise<void> {
  if (works.length > 1)
    throw new UsageError(
      `bench data: expected nothing else, got ${works.join(', ')}\nMeasure the rest in another run.`,
    );
  const { data, batch, seconds, rounds, out, json, install, torch: _torch, ...others } = flags;
  for (const name of Object.keys(others))
    throw new UsageError(
      `bench data: expected --data, --batch, --seconds, --rounds, --install, --out or --json, got --${name}\nLeave it out.`,
    );
  checkFile('out', out);
  const [n, r] = [wholeOption('batch', batch), wholeOption('rounds', rounds)];
  const time = secondsOf(seconds);
  const { benchData } = await import('../../bench/data.ts');
  const report = await benchData({
    ...(data === undefined ? {} : { data }),
    ...(n === undefined ? {} : { batch: n }),
    ...(r === undefined ? {} : { rounds: r }),
    ...(time === undefined ? {} : { seconds: time }),
    ...(out === undefined ? {} : { out }),
    install: install ?? false,
    log: (line) => process.stderr.write(`${line}\n`),
    ...(json ? {} : { print }),
  });
  if (json) printJson(report);
  else if (out !== undefined) print(`Written: ${out}`);
}

/** `bench losses`: accuracies, not times, so it takes few of the options. */
async function lossesWork(works: readonly string[], flags: BenchFlags): Promise<void> {
  if (works.length > 1)
    throw new UsageError(
      `bench losses: expected nothing else, got ${works.join(', ')}\nMeasure the rest in another run.`,
    );
  const { data, pairs, images, teacher, epochs, only, threads, out, json, torch: _torch, ...others } = flags;
  for (const name of Object.keys(others))
    throw new UsageError(
      `bench losses: expected --data, --pairs, --images, --teacher, --epochs, --only, --threads, --out or --json, got --${name}\nLeave it out.`,
    );
  checkFile('out', out);
  const [e, t] = [wholeOption('epochs', epochs), wholeOption('threads', threads)];
  const { benchLosses } = await import('../../bench/losses.ts');
  const report = await benchLosses({
    ...(data === undefined ? {} : { data }),
    ...(pairs === undefined ? {} : { pairs }),
    ...(images === undefined ? {} : { images }),
    ...(teacher === undefined ? {} : { teacher }),
    ...(e === undefined ? {} : { epochs: e }),
    ...(t === undefined ? {} : { threads: t }),
    ...(only === undefined ? {} : { only: only.split(',').map((name) => name.trim()) }),
    ...(out === undefined ? {} : { out }),
    log: (line) => process.stderr.write(`${line}\n`),
    ...(json ? {} : { print }),
  });
  if (json) printJson(report);
  else if (out !== undefined) print(`Written: ${out}`);
}

async function bench(works: readonly string[], flags: BenchFlags): Promise<void> {
  if (works.includes('losses')) return lossesWork(works, flags);
  for (const name of ['pairs', 'images', 'teacher', 'epochs', 'only'] as const)
    if (flags[name] !== undefined)
      throw new UsageError(
        `--${name}: expected with bench losses alone, got ${works.join(', ') || 'no work'}\nLeave it out.`,
      );
  if (works.includes('data')) return dataWork(works, flags);
  if (flags.data !== undefined)
    throw new UsageError(`--data: expected with bench data alone, got ${works.join(', ') || 'no work'}\nLeave it out.`);
  if (works.includes('tune')) return tune(works, flags);
  if (works.length === 1 && works[0] === 'peers' && flags.device === 'webgpu') return peersInPage(flags);
  for (const w of works)
    if (!Object.hasOwn(means, w))
      throw new UsageError(
        `bench: expected one of ${Object.keys(means).join(', ')}, data, losses or tune, got '${w}'\nName what to measure, or nothing for all but peers.`,
      );
  const { out, trace, profile, torch, install } = flags;
  const devices = devicesOf(flags, works);
  checkFile('out', out);
  checkFile('trace', trace);
  if ((profile || trace !== undefined) && works.length && !works.includes('forward') && !works.includes('train'))
    throw new UsageError(
      `--${profile ? 'profile' : 'trace'}: expected forward or train among what is measured, got ${works.join(', ')}\nExample: facegrad bench train --profile.`,
    );
  const seconds = secondsOf(flags.seconds);
  const batches = batchesOf(flags.batch);
  const whole = (name: 'threads' | 'classes' | 'rounds') => {
    const n = wholeOption(name, flags[name]);
    return n === undefined ? {} : { [name]: n };
  };
  const { runBench } = await import('../../bench/main.ts');
  const report = await runBench({
    ...(works.length ? { works: works as WorkName[] } : {}),
    ...devices,
    ...(batches ? { batches } : {}),
    ...(seconds === undefined ? {} : { seconds }),
    ...(trace === undefined ? {} : { trace }),
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
    `Machine: ${machine.cpu}, ${machine.cores} cores${machine.gpu ? `, ${machine.gpu}` : ''}, Node ${machine.node}, V8 ${machine.v8}, load ${machine.load.before} before and ${machine.load.after} after`,
  );
  print(`Commit:  ${commit ?? 'none'}`);
  if (machine.load.before > 0.5) print('Others were using this machine: compare ratios, not milliseconds.');
  for (const file of [out, trace]) if (file !== undefined) print(`Written: ${file}`);
}

export function register(program: Command): void {
  const width = Math.max(...Object.keys(means).map((w) => w.length));
  program
    .command('bench')
    .description('measure speed on this machine')
    .argument('[work...]', 'what to measure (default: all but peers)')
    .option('--device <name>', 'wasm, webgpu, or both: wasm,webgpu (default: wasm)')
    .option('--threads <n>', 'WASM: threads (default: 1 and 2 for inference, 2 for training, 1 for kernels)')
    .option('--mode <name>', 'WASM: narrow (128-bit kernels) or wide (256-bit, Node 24); default: both')
    .option('--batch <n>', 'batch size, or several: 1,32')
    .option('--classes <n>', 'classes of the training step (default: 10575)')
    .option('--seconds <s>', 'seconds of measuring for each figure (default: 1; a training step gets 12 times that)')
    .option('--rounds <n>', 'turns of engines that are compared (default: 3)')
    .option('--profile', 'forward, train: a table of kernels with calls, time, share, GFLOP/s, GB/s')
    .option('--trace <file>', 'forward, train: every kernel call, for chrome://tracing and ui.perfetto.dev')
    .option('--data <set>', 'data, losses: the pictures to measure with (default: synthetic faces)')
    .option('--pairs <file>', 'losses: pairs to evaluate on (default: synthetic people)')
    .option('--images <set>', 'losses: the set of their pictures')
    .option('--teacher <file>', 'losses: weights of a teacher, for distillation')
    .option('--epochs <n>', 'losses: passes over the data (default: 4, or 8 on synthetic faces)')
    .option('--only <names>', 'losses: some of the cases, separated by commas')
    .option('--no-torch', 'train: leave PyTorch out')
    .option('--install', 'peers, data: install what is compared with without asking, about 500 MB')
    .option('--json', 'machine, commit, results and summaries as JSON')
    .option('--out <file>', 'also write that JSON to a file')
    .addHelpText(
      'after',
      `\nWorks:\n${Object.entries({ ...means, data: dataMeans, losses: lossesMeans, tune: tuneMeans })
        .map(([w, m]) => `  ${w.padEnd(width)}  ${m}`)
        .join(
          '\n',
        )}\n\nShares of the peak are of the multiply-add peak of the mode with as many threads, or of the GPU, which times itself.`,
    )
    .action(bench);
}
