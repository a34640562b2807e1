/**
 * Where the time of a plan goes: its kernel calls, timed one by one, as a table.
 *
 * The one idea: a call is timed several times and its best counts, and the work of an op is given to the longest of its
 * calls, so that packing or merging beside it does not halve the rate of what computes.
 */
import type { Data } from '../src/core/dtype.ts';
import type { CallProfile, Device, Executable } from '../src/device/device.ts';
import { WebGpuDevice } from '../src/device/webgpu.ts';
import type { ModeName } from './machine.ts';
import { bestOf } from './sample.ts';
import { columns } from './table.ts';

export interface KernelRow {
  readonly kernel: string;
  readonly work: string;
  /** Module; of several, '*' stands for what differs. */
  readonly path: string;
  readonly shape: string;
  readonly calls: number;
  readonly ms: number;
  readonly share: number;
  readonly gflops: number;
  readonly gbPerSecond: number;
}

export interface PlanProfile {
  readonly mode: ModeName;
  readonly plan: string;
  /** Of one run. */
  readonly calls: number;
  readonly kernels: number;
  readonly bytesMoved: number;
  readonly submits?: number;
  /** All calls together. */
  readonly ms: number;
  readonly rows: readonly KernelRow[];
}

/**
 * The calls with the flops of each step on its longest call alone. `own` calls have bytes of their own, as on the GPU;
 * others have those of their step, which then count once too, as on WASM.
 */
export function countOnce(calls: readonly CallProfile[], own: boolean): CallProfile[] {
  const longest = new Map<number, CallProfile>();
  for (const c of calls) if (c.ms > (longest.get(c.step)?.ms ?? -1)) longest.set(c.step, c);
  return calls.map((c) => {
    const counts = longest.get(c.step) === c;
    return { ...c, flops: counts ? c.flops : 0, bytes: own || counts ? c.bytes : 0 };
  });
}

/** Each call with its best time of several runs. */
export const bestCalls = (runs: readonly (readonly CallProfile[])[]): CallProfile[] =>
  runs[0]!.map((c, i) => ({ ...c, ms: bestOf(runs.map((r) => r[i]!.ms)) }));

/** The module of both, with '*' for what differs. */
function commonPath(a: string, b: string): string {
  const [x, y] = [a.split('.'), b.split('.')];
  return x.length === y.length ? x.map((part, i) => (part === y[i] ? part : '*')).join('.') : '*';
}

/** Calls by kernel and shape, longest first. */
export function kernelRows(calls: readonly CallProfile[]): KernelRow[] {
  const groups = new Map<string, CallProfile & { calls: number }>();
  for (const c of calls) {
    const key = JSON.stringify([c.kernel, c.label, c.shape]);
    const g = groups.get(key);
    groups.set(
      key,
      g
        ? {
            ...g,
            path: commonPath(g.path, c.path),
            calls: g.calls + 1,
            ms: g.ms + c.ms,
            flops: g.flops + c.flops,
            bytes: g.bytes + c.bytes,
          }
        : { ...c, calls: 1 },
    );
  }
  const total = calls.reduce((sum, c) => sum + c.ms, 0);
  return [...groups.values()]
    .sort((a, b) => b.ms - a.ms)
    .map(({ kernel, label, path, shape, calls: n, ms, flops, bytes }) => ({
      kernel,
      work: label,
      path,
      shape,
      calls: n,
      ms,
      share: total ? ms / total : 0,
      gflops: ms ? flops / ms / 1e6 : 0,
      gbPerSecond: ms ? bytes / ms / 1e6 : 0,
    }));
}

/** Queue submissions of a run. */
async function countSubmits({ gpu: { queue } }: WebGpuDevice, run: () => Promise<unknown>): Promise<number> {
  const { submit } = queue;
  let n = 0;
  queue.submit = (...args) => {
    n++;
    return submit.apply(queue, args);
  };
  try {
    await run();
  } finally {
    queue.submit = submit;
  }
  return n;
}

const runs = 5;

/** Profiles a plan; `calls` are those of its shortest run. Undefined, with a line to the log, where nothing can time it. */
export async function profilePlan(
  plan: Executable,
  inputs: ReadonlyMap<string, Data>,
  { mode, device, name, log }: { mode: ModeName; device: Device; name: string; log: (line: string) => void },
): Promise<{ profile: PlanProfile; calls: readonly CallProfile[] } | undefined> {
  const gpu = device instanceof WebGpuDevice ? device : undefined;
  if (!plan.profile || gpu?.timestamps === false) {
    log(
      `${name}: this ${gpu ? 'adapter has no timestamp queries' : 'device has no timer'}, so no profile of its kernels`,
    );
    return undefined;
  }
  const taken: CallProfile[][] = [];
  for (let i = 0; i < runs; i++) taken.push(await plan.profile(inputs));
  const sum = (calls: readonly CallProfile[], of: 'ms' | 'bytes') => calls.reduce((n, c) => n + c[of], 0);
  const shared = gpu !== undefined;
  const best = countOnce(bestCalls(taken), shared);
  const shortest = taken.reduce((a, b) => (sum(b, 'ms') < sum(a, 'ms') ? b : a));
  return {
    profile: {
      mode,
      plan: name,
      calls: plan.calls,
      kernels: plan.kernels,
      bytesMoved: sum(best, 'bytes'),
      ...(gpu ? { submits: await countSubmits(gpu, () => plan.run(inputs)) } : {}),
      ms: sum(best, 'ms'),
      rows: kernelRows(best),
    },
    calls: countOnce(shortest, shared),
  };
}

const short = (s: string, n: number) => (s.length > n ? `${s.slice(0, n - 1)}…` : s);

/** Nothing where it would read 0.0. */
const rate = (x: number) => (x >= 0.05 ? x.toFixed(1) : '');

/** The rows that take the longest, and a line about the plan. */
export function profileTable({ mode, plan, rows, ...of }: PlanProfile, most = 40): string {
  const gpu = mode === 'webgpu';
  const facts = [
    `${of.calls} ${gpu ? 'dispatches' : 'calls'} of ${of.kernels} kernels`,
    `${(of.bytesMoved / 1e6).toFixed(1)} MB moved`,
    ...(of.submits === undefined ? [] : [`${of.submits} ${of.submits === 1 ? 'submit' : 'submits'}`]),
    `${of.ms.toFixed(2)} ms in kernels`,
  ];
  const sums = (ms: number, share: number) => [ms.toFixed(2), `${(100 * share).toFixed(1)} %`];
  const rest = rows.slice(most);
  const sum = (pick: (r: KernelRow) => number) => rest.reduce((s, r) => s + pick(r), 0);
  const table = columns(
    [
      ['kernel', 'work', 'module', 'shape', 'calls', 'ms', 'share', 'GFLOP/s', 'GB/s'],
      ...rows
        .slice(0, most)
        .map((r) => [
          short(r.kernel, 32),
          short(r.work, 36),
          short(r.path, 28),
          short(r.shape, 24),
          String(r.calls),
          ...sums(r.ms, r.share),
          rate(r.gflops),
          rate(r.gbPerSecond),
        ]),
      ...(rest.length
        ? [
            [
              `${rest.length} more`,
              ...['', '', ''],
              String(sum((r) => r.calls)),
              ...sums(
                sum((r) => r.ms),
                sum((r) => r.share),
              ),
              ...['', ''],
            ],
          ]
        : []),
    ],
    4,
  );
  return `${plan}: ${facts.join(', ')}\n${table}`;
}
