/**
 * The benchmark: what is measured in which mode, and how it is shown.
 *
 * The one idea: narrow (128-bit) and wide (256-bit) kernels need different V8 flags, which hold for a whole process, so
 * every mode, the GPU being one more, is measured in a process of its own and one call can give all.
 */
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import * as errors from '../src/core/errors.ts';
import { commitOf, loadNow, type MachineBlock, type ModeName, machineBlock, type WasmMode } from './machine.ts';
import { type Order, type Told, type WorkName, workNames } from './order.ts';
import { type PlanProfile, profileTable } from './profile.ts';
import { type Result, resultTable, type Summary, summaryLine } from './table.ts';
import { chromeTrace, type TracedRun } from './trace.ts';

export { type WasmMode, type WorkName, workNames };

export type BenchDevice = 'wasm' | 'webgpu';

export interface BenchOptions {
  /** Default: everything but `peers`, which are to be installed first. */
  readonly works?: readonly WorkName[];
  /** Default: WASM. */
  readonly devices?: readonly BenchDevice[];
  /** Of WASM; default: all that this Node has. */
  readonly modes?: readonly WasmMode[];
  readonly threads?: number;
  readonly batches?: readonly number[];
  readonly classes?: number;
  /** Seconds of measuring for each figure; a training step gets twelve times as long. Default 1. */
  readonly seconds?: number;
  readonly rounds?: number;
  /** Time the kernels of whole networks. */
  readonly profile?: boolean;
  readonly torch?: boolean;
  readonly install?: boolean;
  /** Where a Chrome trace of the profiled runs goes. */
  readonly trace?: string;
  /** Where the results go as JSON. */
  readonly out?: string;
  /** Text for the user as it comes. Default: none. */
  readonly print?: (text: string) => void;
  readonly log?: (line: string) => void;
}

export interface Report {
  readonly machine: MachineBlock;
  readonly commit: string | null;
  readonly results: readonly Result[];
  readonly summaries: readonly Summary[];
  /** Where asked for: the kernels of the plans. */
  readonly profiles?: readonly PlanProfile[];
}

const v8Major = Number(process.versions.v8.split('.')[0]);
const nodeMajor = Number(process.versions.node.split('.')[0]);

const titles: Readonly<Record<ModeName, string>> = {
  narrow: '128-bit kernels',
  wide: '256-bit kernels',
  webgpu: 'WebGPU',
};

/** V8 flags of a mode in this Node; undefined where it cannot have it. */
export function flagsOf(mode: ModeName): string[] | undefined {
  const relaxed = nodeMajor < 22 ? ['--experimental-wasm-relaxed-simd'] : [];
  if (mode === 'webgpu') return [];
  if (mode === 'narrow') return relaxed;
  return v8Major >= 13 ? ['--experimental-wasm-revectorize'] : undefined;
}

const child = fileURLToPath(import.meta.url).replace(/main(\.\w+)$/, 'child$1');

/** Runs one order in a process with its flags. */
function runChild(order: Order, onTold: (told: Told) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    // What libraries print must not get between our lines of JSON.
    const process_ = fork(child, [], { execArgv: [...order.flags, '--no-warnings'], stdio: ['inherit', 2, 2, 'ipc'] });
    let failure: Error | undefined;
    process_.on('message', (told: Told) => {
      if (told.type !== 'error') return onTold(told);
      const kind = (errors as Record<string, unknown>)[told.name] as typeof Error | undefined;
      failure = new (kind ?? Error)(told.message);
    });
    process_.on('error', reject);
    process_.on('exit', (code, signal) => {
      if (failure) reject(failure);
      else if (code || signal) reject(new Error(`bench: the measuring process ended with ${signal ?? `code ${code}`}`));
      else resolve();
    });
    process_.send(order);
  });
}

/** @throws UsageError for a mode that this Node does not have, or a harness that is not installed */
export async function runBench(options: BenchOptions = {}): Promise<Report> {
  const { works = workNames.filter((w) => w !== 'peers'), seconds = 1, rounds = 3, classes = 10_575 } = options;
  const print = options.print ?? (() => {});
  const before = loadNow();
  const cores = availableParallelism();
  const { devices = ['wasm'] } = options;
  const wasmModes = devices.includes('wasm')
    ? (options.modes ?? (['narrow', 'wide'] as const).filter((m) => flagsOf(m)))
    : [];
  const modes: ModeName[] = [...wasmModes, ...(devices.includes('webgpu') ? ['webgpu' as const] : [])];
  for (const mode of modes)
    if (!flagsOf(mode))
      throw new errors.UsageError(
        `bench: expected Node 24 or newer for 256-bit kernels, got ${process.version}\nRun it through npm (npm run bench), or with --mode narrow.`,
      );
  const { threads } = options;
  const wasmThreads = {
    forwardThreads: threads === undefined ? (cores > 1 ? [1, 2] : [1]) : [threads],
    trainThreads: threads ?? Math.min(2, cores),
  };
  const gpuThreads = { forwardThreads: [0], trainThreads: 0 };
  const results: Result[] = [];
  const summaries: Summary[] = [];
  const traced: TracedRun[] = [];
  let gpu: string | undefined;
  for (const mode of modes) {
    const counts = mode === 'webgpu' ? gpuThreads : wasmThreads;
    const others = mode === 'webgpu' ? [] : [1, ...(works.includes('roofline') ? [cores] : [])];
    const all = [...new Set([...others, ...counts.forwardThreads, counts.trainThreads])];
    const order: Order = {
      mode,
      works: mode === 'webgpu' ? works.filter((w) => w !== 'peers') : works,
      threads: all.sort((a, b) => a - b),
      ...counts,
      classes,
      seconds,
      rounds,
      profile: (options.profile ?? false) || options.trace !== undefined,
      // PyTorch knows no modes: it runs next to the fastest on the CPU.
      torch: (options.torch ?? true) && mode === wasmModes.at(-1),
      install: options.install ?? false,
      flags: flagsOf(mode)!,
      ...(options.batches ? { batches: options.batches } : {}),
    };
    await runChild(order, (told) => {
      if (told.type === 'log') return options.log?.(told.line);
      if (told.type === 'error') return;
      if (told.type === 'gpu') {
        gpu = told.name;
        return;
      }
      results.push(...told.results);
      summaries.push(...told.summaries);
      const table = told.results.length ? `${resultTable(told.results)}\n` : '';
      const lines = told.summaries.map((s) => `  ${summaryLine(s)}\n`).join('');
      print(`${told.work}, ${titles[mode]}\n${table}${lines}`);
      traced.push(...told.profiles);
      if (options.profile) for (const { profile } of told.profiles) print(`${profileTable(profile)}\n`);
    });
  }
  const flags = Object.fromEntries(modes.map((m) => [m, flagsOf(m)!]));
  const report: Report = {
    machine: machineBlock(modes, flags, before, gpu),
    commit: commitOf(),
    results,
    summaries,
    ...(options.profile ? { profiles: traced.map((t) => t.profile) } : {}),
  };
  if (options.out) writeFileSync(options.out, reportJson(report));
  if (options.trace) {
    const { machine, commit } = report;
    writeFileSync(options.trace, chromeTrace(traced, { ...machine, commit }));
  }
  return report;
}

/** A row a line, so that two reports can be compared by eye. */
export function reportJson({ machine, commit, results, summaries, profiles }: Report): string {
  const list = (rows: readonly string[]) => `[\n${rows.map((r) => `    ${r}`).join(',\n')}\n  ]`;
  const lines = (rows: readonly unknown[]) => list(rows.map((r) => JSON.stringify(r)));
  const profileText = ({ rows, ...plan }: PlanProfile) =>
    `${JSON.stringify(plan).slice(0, -1)},"rows": ${lines(rows)}}`;
  const parts = [
    `"machine": ${JSON.stringify(machine)}`,
    `"commit": ${JSON.stringify(commit)}`,
    `"results": ${lines(results)}`,
    `"summaries": ${lines(summaries)}`,
    ...(profiles ? [`"profiles": ${list(profiles.map(profileText))}`] : []),
  ];
  return `{\n  ${parts.join(',\n  ')}\n}\n`;
}
