/**
 * A full training step, as `facegrad train` runs it: MobileFaceNet forward and backward, ArcFace over 10,575 classes,
 * SGD with Nesterov momentum, gradient norm and check; where Debian's PyTorch is installed, its step in turns with ours.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CallProfile } from '../src/device/device.ts';
import { WasmDevice } from '../src/device/wasm.ts';
import { ArcFace } from '../src/heads/arcFace.ts';
import { MobileFaceNet } from '../src/models/mobileFaceNet.ts';
import { initialize } from '../src/nn/module.ts';
import { resolveRecipe } from '../src/train/recipe.ts';
import { trainable, trainingStep } from '../src/train/step.ts';
import { type ModeName, packageRoot } from './machine.ts';
import { mobileFaceNet, multiplications } from './peers/net.ts';
import { bestOf, sampleAll } from './sample.ts';
import { type Ceilings, columns, type Result, resultOf, type Summary } from './table.ts';

export interface TrainOptions {
  readonly mode: ModeName;
  readonly batch: number;
  readonly classes: number;
  readonly threads: number;
  readonly seconds: number;
  readonly rounds: number;
  /** Time every kernel call. */
  readonly profile: boolean;
  /** Run PyTorch in turns, where it is installed. */
  readonly torch: boolean;
  readonly log: (line: string) => void;
}

export interface KernelRow {
  readonly kernel: string;
  readonly work: string;
  readonly shape: string;
  readonly calls: number;
  readonly ms: number;
  readonly share: number;
  readonly gflops: number;
  readonly gbPerSecond: number;
}

const python = '/usr/bin/python3';

/** Version of PyTorch, if this machine has it. */
export function torchVersion(): string | undefined {
  if (!existsSync(python) || !existsSync(join(packageRoot, 'bench/torch/step.py'))) return undefined;
  const found = spawnSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' });
  return found.status === 0 ? found.stdout.trim() : undefined;
}

interface TorchRow {
  readonly bestMs: number;
  readonly medianMs: number;
  readonly runs: number;
}

function torchStep(o: TrainOptions, seconds: number): Promise<TorchRow> {
  const { threads, batch, classes } = o;
  const args = Object.entries({ threads, batch, classes, seconds }).flatMap(([k, v]) => [`--${k}`, String(v)]);
  return new Promise((resolve, reject) => {
    const child = spawn(python, [join(packageRoot, 'bench/torch/step.py'), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (d) => {
      out += d;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`bench/torch/step.py ended with code ${code}`)),
    );
  });
}

/** Profiled calls by kernel and shape, longest first. An op's work is counted once, with its longest call. */
export function kernelRows(profiles: readonly (readonly CallProfile[])[]): KernelRow[] {
  const calls = profiles[0]!.map((c, i) => ({ ...c, ms: bestOf(profiles.map((p) => p[i]!.ms)) }));
  const groups = new Map<string, { call: CallProfile; calls: number; ms: number; flops: number; bytes: number }>();
  for (let i = 0; i < calls.length; ) {
    const first = calls[i]!;
    const kernels = new Set<string>();
    let end = i;
    while (end < calls.length) {
      const c = calls[end]!;
      if (c.label !== first.label || c.shape !== first.shape || kernels.has(c.kernel)) break;
      kernels.add(c.kernel);
      end++;
    }
    const op = calls.slice(i, end);
    const longest = op.reduce((a, b) => (b.ms > a.ms ? b : a));
    for (const call of op) {
      const key = JSON.stringify([call.kernel, call.label, call.shape]);
      const g = groups.get(key) ?? { call, calls: 0, ms: 0, flops: 0, bytes: 0 };
      g.calls++;
      g.ms += call.ms;
      if (call === longest) {
        g.flops += call.flops;
        g.bytes += call.bytes;
      }
      groups.set(key, g);
    }
    i = end;
  }
  const total = calls.reduce((sum, c) => sum + c.ms, 0);
  return [...groups.values()]
    .sort((a, b) => b.ms - a.ms)
    .map(({ call, calls: n, ms, flops, bytes }) => ({
      kernel: call.kernel,
      work: call.label,
      shape: call.shape,
      calls: n,
      ms,
      share: ms / total,
      gflops: flops / ms / 1e6,
      gbPerSecond: bytes / ms / 1e6,
    }));
}

const short = (s: string, n: number) => (s.length > n ? `${s.slice(0, n - 1)}…` : s);

export function kernelTable(rows: readonly KernelRow[], most = 40): string {
  const rest = rows.slice(most);
  const line = (r: KernelRow) => [
    short(r.kernel, 36),
    short(r.work, 44),
    short(r.shape, 28),
    String(r.calls),
    r.ms.toFixed(2),
    `${(100 * r.share).toFixed(1)} %`,
    r.gflops ? r.gflops.toFixed(1) : '',
    r.gbPerSecond ? r.gbPerSecond.toFixed(1) : '',
  ];
  const sum = (pick: (r: KernelRow) => number) => rest.reduce((s, r) => s + pick(r), 0);
  return columns(
    [
      ['kernel', 'work', 'shape', 'calls', 'ms', 'share', 'GFLOP/s', 'GB/s'],
      ...rows.slice(0, most).map(line),
      ...(rest.length
        ? [
            [
              `${rest.length} more`,
              '',
              '',
              String(sum((r) => r.calls)),
              sum((r) => r.ms).toFixed(2),
              `${(100 * sum((r) => r.share)).toFixed(1)} %`,
              '',
              '',
            ],
          ]
        : []),
    ],
    3,
  );
}

export async function benchTrain(
  o: TrainOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[]; kernels?: KernelRow[] }> {
  const { mode, batch, classes, threads, seconds, rounds, log } = o;
  const recipe = resolveRecipe('mobilefacenet-arcface', { batch });
  const net = initialize(new MobileFaceNet(), 1);
  const head = initialize(new ArcFace({ classes }), 1);
  const device = await WasmDevice.create({ threads });
  const step = trainingStep(trainable(net, head, recipe), recipe, device);
  const started = performance.now();
  const plan = await step.plan();
  const compileMs = performance.now() - started;
  const images = Uint8Array.from({ length: batch * 112 * 112 * 3 }, (_, i) => ((i * 2654435761) >>> 7) & 255);
  const labels = Int32Array.from({ length: batch }, (_, i) => (i * 37) % classes);

  const version = o.torch ? torchVersion() : undefined;
  if (o.torch && !version) log(`PyTorch is not installed for ${python}: no comparison (Debian: python3-torch)`);
  const ours: number[] = [];
  const theirs: TorchRow[] = [];
  for (let round = 0; round < rounds; round++) {
    const work = { name: 'train', run: () => step.run(images, labels, 0.001).then(() => undefined) };
    const [ms] = await sampleAll([work], { seconds: seconds / rounds, rounds: 1 });
    ours.push(...ms!);
    if (version) theirs.push(await torchStep(o, seconds / rounds));
  }
  const flops = 3 * 2 * batch * (multiplications(mobileFaceNet()) + 128 * classes);
  const amount = { work: `train b${batch}`, threads, mode, flops, items: batch };
  const result = resultOf(amount, ours, ceilings);
  const results = [result];
  const summaries: Summary[] = [
    { what: 'training plan: compile time', mode, value: compileMs, unit: 'ms' },
    { what: 'training plan: distinct kernels', mode, value: plan.kernels, unit: '' },
    { what: 'training plan: kernel calls', mode, value: plan.calls, unit: '' },
    { what: 'training plan: step memory', mode, value: plan.stepBytes / 1e6, unit: 'MB' },
  ];
  if (theirs.length) {
    const best = bestOf(theirs.map((r) => r.bestMs));
    const row = resultOf({ ...amount, engine: 'torch' }, [best], ceilings);
    const medians = theirs.map((r) => r.medianMs).sort((a, b) => a - b);
    const runs = theirs.reduce((n, r) => n + r.runs, 0);
    results.push({ ...row, medianMs: medians[medians.length >> 1]!, runs, version: version! });
    summaries.push(
      { what: `train b${batch}: as fast as PyTorch, best against best`, mode, value: best / result.bestMs, unit: 'x' },
      {
        what: `train b${batch}: as fast as PyTorch, median against median`,
        mode,
        value: medians[medians.length >> 1]! / result.medianMs,
        unit: 'x',
      },
    );
  }
  let kernels: KernelRow[] | undefined;
  if (o.profile) {
    const inputs = new Map<string, Uint8Array | Int32Array | Float32Array>([
      ['images', images],
      ['labels', labels],
      ['lr', Float32Array.of(0.001)],
    ]);
    const profiles = [];
    for (let i = 0; i < 5; i++) profiles.push(await plan.profile!(inputs));
    kernels = kernelRows(profiles);
  }
  step.dispose();
  await device.dispose();
  return { results, summaries, ...(kernels ? { kernels } : {}) };
}
