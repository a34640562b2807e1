/**
 * A training run: recipe and data in, a folder with checkpoints, curve and report out.
 *
 * The one idea: the state of a run is its checkpoint and nothing else. Weights, batches, augmentation and rates are
 * functions of the seed and the step number, so a run that was killed and resumed any number of times writes the very bytes
 * of one that was not.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, DeviceError, UsageError } from '../core/errors.ts';
import { entryOf } from '../core/options.ts';
import type { Batch } from '../data/load/loader.ts';
import type { Device, DeviceInfo } from '../device/device.ts';
import { losses } from '../heads/index.ts';
import { type Parameter, parameterCount, variablesOf } from '../nn/module.ts';
import { type Checkpoint, readCheckpoint, writeCheckpoint } from './checkpointFile.ts';
import { afterEvaluation, afterStep, endsEarly, logLine, rateOf } from './course.ts';
import { alignmentDoubt } from './data.ts';
import { diagnose } from './diagnose.ts';
import type { TrainEvent } from './events.ts';
import type { Recipe, RecipeChanges } from './recipe.ts';
import { Recorder } from './recorder.ts';
import { makeRunFolder, writeParameters, writeRecipe, writeResults } from './runFolder.ts';
import { setUp } from './setup.ts';
import { startFrom } from './start.ts';
import { checkpointOf, type Evaluation, type Progress, restore, resumedFrom } from './state.ts';
import { type StepResult, type TrainingStep, trainingStep } from './step.ts';
import { evaluationOf, meanAccuracy, type SetResult, validationOf } from './validation.ts';

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

/** What must not change between a checkpoint and the run that goes on from it, by what the command line calls it. */
const fixedOf = (r: Recipe): Record<string, unknown> => ({
  recipe: r.recipe,
  model: r.model.name,
  ...Object.fromEntries(Object.entries(r.model).filter(([o]) => o !== 'name')),
  ...Object.fromEntries(Object.entries(r.preprocessing).map(([o, x]) => [`preprocessing.${o}`, x])),
  head: r.head.name,
  terms: Object.keys(r.terms),
  optimizer: r.optimizer.name,
  'ema.decay': r.ema.decay > 0 ? 'above 0' : 0,
  'distillation.teacher': r.distillation.teacher,
  'distillation.form': r.distillation.form,
  seed: r.seed,
  data: r.data,
  mergeIdentities: r.mergeIdentities,
  identities: r.identities,
  imagesPerIdentity: r.imagesPerIdentity,
  batch: r.batch,
  'sampler.people': r.sampler.people,
});

const show = (x: unknown): string => (x === undefined ? 'left out' : JSON.stringify(x));

/** The recipe to go on with: the checkpoint's, with changes that keep its tensors and its place in the data. */
export function resumeRecipe(
  checkpoint: Checkpoint,
  path: string,
  changes: RecipeChanges,
): { recipe: Recipe; progress: Progress; kernelMode: string } {
  const saved = fixedOf(resumedFrom(checkpoint, path).recipe);
  const { recipe, progress, kernelMode } = resumedFrom(checkpoint, path, changes);
  const wanted = fixedOf(recipe);
  for (const key of new Set([...Object.keys(saved), ...Object.keys(wanted)]))
    if (JSON.stringify(wanted[key]) !== JSON.stringify(saved[key]))
      throw new UsageError(
        `--resume: expected '${key}' ${show(saved[key])} as in ${path}, got ${show(wanted[key])}\nLeave --${key} out, or start a new run with another --out (--from ${path} takes its weights).`,
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

const lastName = 'last.safetensors';
const stepName = (step: number): string => `step-${String(step).padStart(7, '0')}.safetensors`;

/** Removes all but the latest checkpoints up to a step. Those of later steps, where a run went back, stay. */
async function dropOlder(out: string, step: number, keep: number): Promise<void> {
  const stepOf = (name: string) => Number(/^step-(\d{7,})\.safetensors$/.exec(name)?.[1] ?? Infinity);
  const held = (await readdir(out)).filter((name) => stepOf(name) <= step).sort((a, b) => stepOf(a) - stepOf(b));
  for (const name of held.slice(0, -keep)) await rm(join(out, name), { force: true });
}

/** A run on one device, from a snapshot or from the start. */
async function attempt(
  recipe: Recipe,
  options: TrainOptions,
  from: Snapshot | undefined,
  keep: (s: Snapshot) => void,
): Promise<TrainResult> {
  const { device, out, signal, onEvent = () => {} } = options;
  const note = (text: string) => onEvent({ type: 'note', text });
  const last = join(out, lastName);
  const old = from && resumedFrom(from.checkpoint, from.name);

  const {
    data,
    t,
    steps,
    stepsPerEpoch,
    loader: makeLoader,
  } = await setUp(recipe, {
    ...options,
    described: from?.checkpoint.metadata,
  });
  for (const [key, what, now] of [
    ['classes', 'people', data.classes],
    ['images', 'pictures', data.length],
  ] as const)
    if (old && old.progress[key] !== now)
      throw new DataError(
        `${from!.name}: expected the ${old.progress[key]} ${what} it was trained on, got ${now} in ${data.name}\nResume with the same data.`,
      );
  // Vector width, threads and sharing do not change a bit; fused multiply-add does.
  const kernelMode = device.info().simd.replace(/^(wide|narrow)-|-(shared|single)$/g, '');
  if (old && old.kernelMode !== kernelMode)
    note(
      `the checkpoint was made with ${old.kernelMode} kernels, this is ${kernelMode}: numbers will differ in the last bits`,
    );
  if (from) restore(from.checkpoint, t, recipe, from.name);
  else await startFrom(t, recipe, note);
  const frozen = t.parameterSet.select('freeze', recipe.freeze);
  if (frozen.size === t.optimizer.parameters.length)
    throw new UsageError(
      `freeze: expected parameters that are left to train, but ${recipe.freeze.join(', ')} fits all ${frozen.size}\nLeave a pattern out.`,
    );
  /** The step before which all parameters begin to train. */
  const thawing = recipe.freezeEpochs > 0 ? recipe.freezeEpochs * stepsPerEpoch : Infinity;
  const none: ReadonlySet<Parameter> = new Set();
  const frozenAt = (step: number) => (step < thawing ? frozen : none);
  /** Whether the state is changed between steps, which none may then be under way over. */
  const changesBefore = (step: number) => step === thawing || (t.pruning?.due(step, steps) ?? false);

  const length = { lr: recipe.lr, batch: recipe.batch, steps, stepsPerEpoch };
  const rate = rateOf(recipe, length);
  let progress: Progress = old?.progress ?? { step: 0, classes: data.classes, images: data.length };
  const validation = await validationOf(t, recipe, device);

  // Only now: what is refused before leaves no folder behind.
  await makeRunFolder(out);
  const doubt = await alignmentDoubt(data, t.network.preprocessing.inputSize);
  if (doubt) note(doubt);
  const comparing = [recipe.head.name, ...Object.keys(recipe.terms)].filter(
    (name) => entryOf('loss', losses, name).role === 'either',
  );
  if (comparing.length && recipe.sampler.people === undefined)
    note(
      `${comparing.join(' and ')}: compares the pictures of a batch, or of a part of it, of which few may show one person; --sampler.people and --sampler.images choose them`,
    );
  const compileFor = (at: number): TrainingStep =>
    trainingStep(t, recipe, device, {
      frozen: frozenAt(at),
      onProgress: (done, total) => onEvent({ type: 'compile', done, total }),
    });
  const compiling = performance.now();
  let step = compileFor(progress.step);
  let phase = frozenAt(progress.step);
  const plan = await step.plan();
  await writeRecipe(out, recipe);
  await writeParameters(out, t, recipe, phase);
  const recorder = await Recorder.open(out, recipe, progress.step, validation.names);
  onEvent({
    type: 'start',
    recipe,
    data: data.name,
    classes: data.classes,
    images: data.length,
    parameters: parameterCount(t.network),
    frozen: [...phase].reduce((n, p) => n + p.size, 0),
    steps,
    fromStep: progress.step,
    device: showDevice(device.info()),
    stepMegabytes: Math.round(plan.stepBytes / 1e5) / 10,
    compileMs: Math.round(performance.now() - compiling),
  });

  const save = async (...names: string[]) => {
    const checkpoint = await checkpointOf(t, recipe, progress, kernelMode);
    for (const path of names.map((name) => join(out, name))) {
      await writeCheckpoint(path, checkpoint);
      keep({ checkpoint, name: path });
      onEvent({ type: 'saved', step: progress.step, path });
    }
  };
  let evaluated: readonly SetResult[] | undefined;
  let loss: number | undefined;
  const loader = makeLoader();
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
      const number = progress.step + underWay.length;
      if (number === thawing && frozen.size > 0) note(`step ${number + 1}: all parameters are trained from here on`);
      if (phase !== frozenAt(number)) {
        step.dispose();
        phase = frozenAt(number);
        step = compileFor(number);
      }
      if (t.pruning?.due(number, steps)) await t.pruning.update(number, steps);
      const asked = performance.now();
      const batch = await loader.next();
      since.waited += performance.now() - asked;
      for (const { path, reason } of batch.bad) {
        if (!reported.has(path)) onEvent({ type: 'bad', file: path, reason });
        reported.add(path);
      }
      if (number === 0) await recorder.batch(batch, t.network.preprocessing.inputSize, (l) => data.identityName(l));
      const lr = rate(number, progress);
      const result = step.run(batch.images, batch.labels, lr, number);
      result.catch(() => {}); // it is looked at in its turn
      underWay.push({ batch, lr, result });
    };
    if (progress.step < steps && endsEarly(progress, recipe))
      note('the run has ended early: a larger --earlyStop.patience goes on with it');
    while (progress.step < steps && !endsEarly(progress, recipe)) {
      const securing = device.name === 'webgpu' && performance.now() - secured > snapshotMs;
      // Nothing is launched past a step whose state is wanted.
      for (let n = underWay.length; n < ahead; n++) {
        const next = progress.step + n;
        if (next >= steps || signal?.aborted || (n > 0 && (savesAfter(next) || securing || changesBefore(next)))) break;
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
      if (!result.applied) throw await diagnose(t, recipe, device, batch.images, batch.labels, done, result, phase);
      progress = afterStep(progress, result);
      loss = result.loss;

      const evaluating = evaluatesAfter(done);
      if (done % recipe.logEverySteps === 0 || done === steps) {
        const seconds = (performance.now() - since.time) / 1000;
        const perStep = seconds / (done - since.step);
        const { figures, progress: next } = logLine(progress);
        progress = next;
        const line = {
          type: 'step',
          step: done,
          epoch: batch.epoch,
          ...figures,
          lr,
          imagesPerSecond: recipe.batch / perStep,
          waitShare: since.waited / 1000 / seconds,
          etaSeconds: (steps - done) * perStep,
        } as const;
        recorder.step(line);
        onEvent(line);
        since = { time: performance.now(), step: done, waited: 0 };
      }
      let improved = false;
      if (evaluating) {
        const away = performance.now();
        evaluated = await validation.run();
        const accuracy = meanAccuracy(evaluated);
        const before = progress.best;
        progress = afterEvaluation(progress, recipe, length, accuracy);
        improved = progress.best !== before;
        for (const found of evaluated) {
          const evaluation = evaluationOf(found, recipe, done);
          if (found === evaluated[0]) progress = { ...progress, last: evaluation };
          onEvent({ type: 'evaluation', ...evaluation, auc: found.result.auc, eer: found.result.eer });
        }
        since.time += performance.now() - away;
      }
      recorder.row(done, evaluating ? evaluated : undefined);
      const ends = endsEarly(progress, recipe);
      if (savesAfter(done)) {
        const away = performance.now();
        // `last` comes last: a run killed before it does this step again.
        await save(
          ...(improved ? ['best.safetensors'] : []),
          ...(recipe.keepLast > 0 ? [stepName(done)] : []),
          lastName,
        );
        if (recipe.keepLast > 0) await dropOlder(out, done, recipe.keepLast);
        since.time += performance.now() - away;
        secured = performance.now();
      } else if (securing && underWay.length === 0) {
        keep({ checkpoint: await checkpointOf(t, recipe, progress, kernelMode), name: `of step ${done}` });
        secured = performance.now();
      }
      // After the checkpoint: a disk that is full of pictures costs no step.
      if (evaluating && evaluated) {
        const away = performance.now();
        await recorder.evaluation(evaluated, done, t);
        since.time += performance.now() - away;
      }
      if (ends)
        note(
          `step ${done}: no better ${recipe.earlyStop.metric} for ${progress.earlyStop!.bad} evaluations, so the run ends`,
        );
    }
  } finally {
    await loader.close();
    step.dispose();
    await recorder.close();
  }
  if (!finished) await save(lastName);
  else {
    evaluated ??= await validation.run(); // resumed after the last step
    const facts = {
      people: data.classes,
      pictures: data.length,
      parameters: parameterCount(t.network),
      steps: progress.step,
      kernels: kernelMode,
    };
    await writeResults(out, recipe, recorder.rows, facts, evaluated);
  }
  // The device may go on to other work.
  await validation.dispose();
  for (const v of [...t.variables, ...(t.teacher ? variablesOf(t.teacher.network) : [])]) v.dispose();
  return { finished, steps: progress.step, loss, evaluation: progress.last, checkpoint: last };
}
