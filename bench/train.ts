/**
 * A full training step, as `facegrad train` runs it: MobileFaceNet forward and backward, ArcFace over 10,575 classes,
 * SGD with Nesterov momentum, gradient norm and check; where Debian's PyTorch is installed, its step in turns with ours.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { WebGpuDevice } from '../src/device/webgpu.ts';
import { ArcFace } from '../src/heads/arcFace.ts';
import { MobileFaceNet } from '../src/models/mobileFaceNet.ts';
import { initialize } from '../src/nn/module.ts';
import { resolveRecipe } from '../src/train/recipe.ts';
import { type TrainingStep, trainingStep } from '../src/train/step.ts';
import { trainable } from '../src/train/trainable.ts';
import { type ModeName, packageRoot } from './machine.ts';
import { openModeDevice } from './models.ts';
import { mobileFaceNet, multiplications } from './peers/net.ts';
import { profilePlan } from './profile.ts';
import { bestOf, sampleAll } from './sample.ts';
import { type Ceilings, type Result, resultOf, type Summary } from './table.ts';
import type { TracedRun } from './trace.ts';

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

/**
 * Milliseconds of a step. On a GPU the next step is submitted before the result of the one before is read, as the training
 * loop does: several are timed at once, so that the last wait is a small part.
 */
async function timeSteps(step: TrainingStep, batch: Parameters<TrainingStep['run']>, count: number): Promise<number> {
  const started = performance.now();
  let before: Promise<unknown> | undefined;
  for (let i = 0; i < count; i++) {
    const now = step.run(...batch);
    // Where a step fails the one before is told first.
    now.catch(() => {});
    await before;
    before = now;
  }
  await before;
  return (performance.now() - started) / count;
}
const stepsAhead = 8;

export async function benchTrain(
  o: TrainOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[]; profiles: TracedRun[] }> {
  const { mode, batch, classes, threads, seconds, rounds, log } = o;
  const recipe = resolveRecipe('mobilefacenet-arcface', { batch });
  const net = initialize(new MobileFaceNet(), 1);
  const head = initialize(new ArcFace({ classes }), 1);
  const device = await openModeDevice(mode, threads);
  const step = trainingStep(trainable(net, head, recipe), recipe, device);
  const started = performance.now();
  const plan = await step.plan();
  const compileMs = performance.now() - started;
  const images = Uint8Array.from({ length: batch * 112 * 112 * 3 }, (_, i) => ((i * 2654435761) >>> 7) & 255);
  const labels = Int32Array.from({ length: batch }, (_, i) => (i * 37) % classes);

  const version = o.torch ? torchVersion() : undefined;
  if (o.torch && !version) log(`PyTorch is not installed for ${python}: no comparison (Debian: python3-torch)`);
  const ahead = device instanceof WebGpuDevice && !device.onCpu ? stepsAhead : 1;
  const ours: number[] = [];
  const theirs: TorchRow[] = [];
  for (let round = 0; round < rounds; round++) {
    const work = { name: 'train', run: () => timeSteps(step, [images, labels, 0.001], ahead) };
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
    { what: `training plan: ${mode === 'webgpu' ? 'dispatches' : 'kernel calls'}`, mode, value: plan.calls, unit: '' },
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
  const profiles: TracedRun[] = [];
  if (o.profile) {
    const inputs = new Map<string, Uint8Array | Int32Array | Float32Array>([
      ['images', images],
      ['labels', labels],
      ['lr', Float32Array.of(0.001)],
    ]);
    const traced = await profilePlan(plan, inputs, { mode, device, name: `train b${batch}`, log });
    if (traced) profiles.push(traced);
  }
  step.dispose();
  await device.dispose();
  return { results, summaries, profiles };
}
