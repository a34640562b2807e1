/**
 * A training run: recipe and data in, a folder with checkpoints, curve and report out.
 *
 * The one idea: the state of a run is its checkpoint and nothing else. Weights, batches, augmentation and rates are
 * functions of the seed and the step number, so a run that was killed and resumed any number of times writes the very bytes
 * of one that was not.
 */
import { join } from 'node:path';
import { DataError, DeviceError, UsageError } from '../core/errors.ts';
import { fold, keyOf } from '../core/random.ts';
import type { Dataset } from '../data/dataset.ts';
import { type Batch, createLoader } from '../data/load/loader.ts';
import { readImage } from '../data/readImage.ts';
import type { Device, DeviceInfo } from '../device/device.ts';
import type { VerificationResult } from '../evaluate/verification.ts';
import { ArcFace } from '../heads/arcFace.ts';
import { parseAugment } from '../image/augment.ts';
import { MobileFaceNet } from '../models/mobileFaceNet.ts';
import { initialize, parameterCount } from '../nn/module.ts';
import { lrAt, milestoneSteps } from '../optim/schedule.ts';
import { type Checkpoint, readCheckpoint, writeCheckpoint } from './checkpointFile.ts';
import { alignmentDoubt, evaluationPairs, trainingData } from './data.ts';
import { diagnose } from './diagnose.ts';
import { type Evaluator, evaluatorOf } from './evaluation.ts';
import type { Recipe } from './recipe.ts';
import { Curve, makeRunFolder, writeRecipe, writeResults } from './runFolder.ts';
import { checkpointOf, type Evaluation, type Progress, restore, resumedFrom } from './state.ts';
import { type StepResult, trainable, trainingStep } from './step.ts';

/** What a run tells while it goes. Steps count from 1. */
export type TrainEvent =
  | {
      readonly type: 'start';
      readonly recipe: Recipe;
      readonly data: string;
      readonly classes: number;
      readonly images: number;
      readonly parameters: number;
      readonly steps: number;
      readonly fromStep: number;
      readonly device: string;
      readonly stepMegabytes: number;
      readonly compileMs: number;
    }
  | {
      readonly type: 'step';
      readonly step: number;
      readonly epoch: number;
      readonly loss: number;
      readonly lr: number;
      readonly gradNorm: number;
      readonly hitRate: number;
      readonly imagesPerSecond: number;
      /** Share of the time spent waiting for pictures. */
      readonly waitShare: number;
      readonly etaSeconds: number;
    }
  | ({ readonly type: 'evaluation' } & Evaluation & { readonly auc: number; readonly eer: number })
  | { readonly type: 'bad'; readonly file: string; readonly reason: string }
  | { readonly type: 'saved'; readonly step: number; readonly path: string }
  /** Kernels get ready, on devices where that takes time. */
  | { readonly type: 'compile'; readonly done: number; readonly total: number }
  | { readonly type: 'note'; readonly text: string };

export interface TrainOptions {
  readonly device: Device;
  /** The run's folder. */
  readonly out: string;
  readonly onEvent?: (e: TrainEvent) => void;
  /** Aborting saves a checkpoint and ends the run. */
  readonly signal?: AbortSignal;
  /** A checkpoint to go on from. */
  readonly resumeFrom?: string;
  /** Threads that decode pictures; not part of the recipe, since results do not depend on it. */
  readonly workers?: number;
  /** Gives another device where `device` was lost; the run goes on from its last snapshot. Default: the run ends. */
  readonly reopen?: () => Promise<Device>;
}

export interface TrainResult {
  /** Whether every step was done; false after an abort. */
  readonly finished: boolean;
  readonly steps: number;
  readonly loss: number | undefined;
  readonly evaluation: Evaluation | undefined;
  readonly checkpoint: string;
}

/** Steps of the whole run. Throws DataError where the data does not fill one batch. */
export function stepsOf(recipe: Recipe, data: Pick<Dataset, 'length' | 'name'>): number {
  const perEpoch = Math.floor(data.length / recipe.batch);
  if (perEpoch < 1)
    throw new DataError(
      `${data.name}: expected at least one batch of ${recipe.batch} pictures, got ${data.length}\nLower --batch or add pictures.`,
    );
  return recipe.maxSteps ?? recipe.epochs * perEpoch;
}

/** Throws DataError where a label is no class. */
export function checkLabels(data: Dataset): void {
  if (data.classes === 0)
    throw new DataError(
      `${data.name}: expected a set whose people are known, but it names none\nUse a set with a folder or a label per person.`,
    );
  for (let i = 0; i < data.length; i++) {
    const label = data.label(i);
    if (label === -1)
      throw new DataError(
        `${data.name}: expected the person of every picture, but that of ${data.imageName(i)} is not known\nLeave such pictures out: facegrad prepare --at-least 1.`,
      );
    if (!(Number.isInteger(label) && label >= 0 && label < data.classes))
      throw new DataError(
        `${data.name}: expected labels from 0 to ${data.classes - 1}, got ${label} for picture ${i}\nNumber the people without gaps.`,
      );
  }
}

/** What must not change between a checkpoint and the run that goes on from it. */
const fixedKeys = [
  'recipe',
  'embeddingSize',
  'inputSize',
  'width',
  'seed',
  'data',
  'identities',
  'imagesPerIdentity',
  'batch',
] as const;

/** The recipe to go on with: the checkpoint's, with changes that keep its tensors and its place in the data. */
export function resumeRecipe(
  checkpoint: Checkpoint,
  path: string,
  changes: Readonly<Record<string, unknown>>,
): { recipe: Recipe; progress: Progress; kernelMode: string } {
  const saved = resumedFrom(checkpoint, path).recipe;
  const { recipe, progress, kernelMode } = resumedFrom(checkpoint, path, changes);
  for (const key of fixedKeys)
    if (JSON.stringify(recipe[key]) !== JSON.stringify(saved[key]))
      throw new UsageError(
        `--resume: expected '${key}' ${JSON.stringify(saved[key])} as in ${path}, got ${JSON.stringify(recipe[key])}\nLeave --${key} out, or start a new run with another --out.`,
      );
  return { recipe, progress, kernelMode };
}

/**
 * Trains by a recipe. Writes `last.safetensors` (and `best.safetensors`), `recipe.json`, `curve.csv`, `report.html` and
 * `embedding.npy` into `out`. With `resumeFrom` it goes on from that checkpoint, to the same final bytes.
 * @throws DataError for data or files that are not what they should be; NumericsError when a loss or gradient is not
 * finite, naming the first module that went bad; the last checkpoint is kept
 */
export async function train(recipe: Recipe, options: TrainOptions): Promise<TrainResult> {
  const { resumeFrom, reopen, onEvent = () => {} } = options;
  let { device } = options;
  let snapshot: Snapshot | undefined = resumeFrom
    ? { checkpoint: await readCheckpoint(resumeFrom), name: resumeFrom }
    : undefined;
  let lostAt: Snapshot | undefined | null = null;
  for (;;) {
    try {
      return await attempt(recipe, { ...options, device }, snapshot, (s) => {
        snapshot = s;
      });
    } catch (error) {
      // A device that is lost again before the next snapshot is not worth a third try.
      if (!(error instanceof DeviceError) || !reopen || device.info().available || lostAt === snapshot) throw error;
      lostAt = snapshot;
      onEvent({
        type: 'note',
        text: `${error.message.split('\n')[0]}; going on from ${snapshot ? `the snapshot ${snapshot.name}` : 'the start'}`,
      });
      device = await reopen();
    }
  }
}

const showDevice = ({ name, simd, threads, reason }: DeviceInfo): string =>
  threads ? `${name} ${simd}, ${threads} threads` : `${name} on ${reason}`;

/** The state of a run, on disk or in memory alone. */
interface Snapshot {
  readonly checkpoint: Checkpoint;
  readonly name: string;
}
/** Devices that can be lost are secured this often, in memory. */
const snapshotMs = 30_000;
/** Steps that are under way at once: while one computes, the next is prepared and queued. */
const ahead = 2;

/** A run on one device, from a snapshot or from the start. */
async function attempt(
  recipe: Recipe,
  options: TrainOptions,
  from: Snapshot | undefined,
  keep: (s: Snapshot) => void,
): Promise<TrainResult> {
  const { device, out, signal, onEvent = () => {} } = options;
  const last = join(out, 'last.safetensors');
  const resumed = from?.checkpoint;
  const old = from && resumeRecipe(from.checkpoint, from.name, {});

  const data = await trainingData(recipe);
  checkLabels(data);
  const steps = stepsOf(recipe, data);
  if (old && old.progress.classes !== data.classes)
    throw new DataError(
      `${from!.name}: expected the ${old.progress.classes} people it was trained on, got ${data.classes} in ${data.name}\nResume with the same data.`,
    );
  if (old && old.progress.images !== data.length)
    throw new DataError(
      `${from!.name}: expected the ${old.progress.images} pictures it was trained on, got ${data.length} in ${data.name}\nResume with the same data.`,
    );
  // Vector width, threads and sharing do not change a bit; fused multiply-add does.
  const kernelMode = device.info().simd.replace(/^(wide|narrow)-|-(shared|single)$/g, '');
  if (old && old.kernelMode !== kernelMode)
    onEvent({
      type: 'note',
      text: `the checkpoint was made with ${old.kernelMode} kernels, this is ${kernelMode}: numbers will differ in the last bits`,
    });

  const network = new MobileFaceNet(recipe);
  const head = new ArcFace({
    classes: data.classes,
    embeddingSize: recipe.embeddingSize,
    s: recipe.s,
    m: recipe.m,
    easyMargin: recipe.easyMargin,
  });
  initialize(network, recipe.seed);
  initialize(head, recipe.seed);
  const t = trainable(network, head, recipe);
  if (resumed) restore(resumed, t, from!.name);

  let progress: Progress = old?.progress ?? { step: 0, classes: data.classes, images: data.length };
  const pairs = await evaluationPairs(recipe);
  const evaluator =
    pairs &&
    (await evaluatorOf(pairs, (s) => readImage(s, recipe.inputSize), network, device, {
      protocol: recipe.evalProtocol,
      flip: recipe.evalFlip,
    }));

  // Only now: what is refused before leaves no folder behind.
  await makeRunFolder(out);
  const doubt = await alignmentDoubt(data, recipe.inputSize);
  if (doubt) onEvent({ type: 'note', text: doubt });
  const compiling = performance.now();
  const step = trainingStep(t, recipe, device, (done, total) => onEvent({ type: 'compile', done, total }));
  const plan = await step.plan();
  await writeRecipe(out, recipe);
  const curve = await Curve.open(out, progress.step);
  const schedule = {
    lr: recipe.lr,
    gamma: recipe.gamma,
    warmupSteps: recipe.warmupSteps,
    milestoneSteps: milestoneSteps(recipe.milestones, steps),
  };
  onEvent({
    type: 'start',
    recipe,
    data: data.name,
    classes: data.classes,
    images: data.length,
    parameters: parameterCount(network),
    steps,
    fromStep: progress.step,
    device: showDevice(device.info()),
    stepMegabytes: Math.round(plan.stepBytes / 1e5) / 10,
    compileMs: Math.round(performance.now() - compiling),
  });

  const save = async (path = last) => {
    const checkpoint = await checkpointOf(t, recipe, progress, kernelMode);
    await writeCheckpoint(path, checkpoint);
    keep({ checkpoint, name: path });
    onEvent({ type: 'saved', step: progress.step, path });
  };
  let evaluated: Awaited<ReturnType<Evaluator['run']>> | undefined;
  let loss: number | undefined;
  const loader = createLoader({
    dataset: data,
    batch: recipe.batch,
    size: recipe.inputSize,
    flip: recipe.flip,
    augment: parseAugment(recipe.augment),
    key: fold(keyOf(recipe.seed), 'data'),
    dropLast: true,
    skipBad: recipe.skipBad,
    ...(options.workers === undefined ? {} : { workers: options.workers }),
  });
  const reported = new Set<string>();
  let finished = true;
  try {
    loader.seek(progress.step);
    let since = { time: performance.now(), step: progress.step, waited: 0 };
    let secured = performance.now();
    const evaluatesAfter = (n: number) => n === steps || (recipe.evalEverySteps > 0 && n % recipe.evalEverySteps === 0);
    const savesAfter = (n: number) =>
      evaluatesAfter(n) || (recipe.saveEverySteps > 0 && n % recipe.saveEverySteps === 0);
    const underWay: { batch: Batch; lr: number; result: Promise<StepResult> }[] = [];
    const launch = async () => {
      const asked = performance.now();
      const batch = await loader.next();
      since.waited += performance.now() - asked;
      for (const { path, reason } of batch.bad) {
        if (!reported.has(path)) onEvent({ type: 'bad', file: path, reason });
        reported.add(path);
      }
      const lr = lrAt(progress.step + underWay.length, schedule);
      const result = step.run(batch.images, batch.labels, lr);
      result.catch(() => {}); // it is looked at in its turn
      underWay.push({ batch, lr, result });
    };
    while (progress.step < steps) {
      const securing = device.name === 'webgpu' && performance.now() - secured > snapshotMs;
      // Nothing is launched past a step whose state is wanted.
      for (let n = underWay.length; n < ahead; n++) {
        const next = progress.step + n;
        if (next >= steps || signal?.aborted || (n > 0 && (savesAfter(next) || securing))) break;
        await launch();
      }
      const current = underWay.shift();
      if (!current) {
        finished = false; // aborted, and all that was under way is done
        break;
      }
      const { batch, lr } = current;
      const result = await current.result;
      const done = progress.step + 1;
      if (!result.applied) throw await diagnose(t, recipe, device, batch.images, batch.labels, done, result);
      progress = { ...progress, step: done };
      loss = result.loss;

      const evaluating = evaluatesAfter(done);
      const row: { step: number; loss?: number; lr?: number; accuracy?: number } = { step: done };
      if (done % recipe.logEverySteps === 0 || done === steps) {
        const seconds = (performance.now() - since.time) / 1000;
        const perStep = seconds / (done - since.step);
        Object.assign(row, { loss: result.loss, lr });
        onEvent({
          type: 'step',
          step: done,
          epoch: batch.epoch,
          loss: result.loss,
          lr,
          gradNorm: result.gradNorm,
          hitRate: result.hitRate,
          imagesPerSecond: recipe.batch / perStep,
          waitShare: since.waited / 1000 / seconds,
          etaSeconds: (steps - done) * perStep,
        });
        since = { time: performance.now(), step: done, waited: 0 };
      }
      let improved = false;
      if (evaluating && evaluator) {
        const away = performance.now();
        evaluated = await evaluator.run();
        const found = evaluationOf(evaluated.result, recipe, done, evaluator.name);
        improved = !progress.best || found.accuracy > progress.best.accuracy;
        progress = { ...progress, last: found, ...(improved ? { best: found } : {}) };
        row.accuracy = found.accuracy;
        onEvent({ type: 'evaluation', ...found, auc: evaluated.result.auc, eer: evaluated.result.eer });
        since.time += performance.now() - away;
      }
      if (row.loss !== undefined || row.accuracy !== undefined) curve.add(row);
      if (savesAfter(done)) {
        const away = performance.now();
        if (improved) await save(join(out, 'best.safetensors'));
        await save();
        since.time += performance.now() - away;
        secured = performance.now();
      } else if (securing && underWay.length === 0) {
        keep({ checkpoint: await checkpointOf(t, recipe, progress, kernelMode), name: `of step ${done}` });
        secured = performance.now();
      }
    }
  } finally {
    await loader.close();
    step.dispose();
  }
  if (!finished) await save();
  else {
    if (evaluator && !evaluated) evaluated = await evaluator.run(); // resumed after the last step
    const facts = {
      people: data.classes,
      pictures: data.length,
      parameters: parameterCount(network),
      steps: progress.step,
      kernels: kernelMode,
    };
    await writeResults(out, recipe, curve, facts, evaluated && evaluator && { evaluator, ...evaluated });
  }
  // The device may go on to other work.
  await evaluator?.dispose();
  for (const v of t.variables) v.dispose();
  return { finished, steps: progress.step, loss, evaluation: progress.last, checkpoint: last };
}

function evaluationOf(r: VerificationResult, recipe: Recipe, step: number, data: string): Evaluation {
  return {
    step,
    data,
    pairs: r.pairs,
    protocol: r.protocol,
    flip: recipe.evalFlip,
    accuracy: r.accuracy,
    std: r.std,
    threshold: r.threshold,
    metric: r.metric,
  };
}
