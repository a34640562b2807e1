/**
 * The training step as one plan: uint8 images to normalised input, forward, head, loss, gradients, update.
 *
 * The one idea: a step whose loss or gradient is not finite changes nothing. Every new value is selected by whether both
 * are finite, so the state at hand is always the last good one, and what went wrong can be looked for in it.
 */
import { compile } from '../compile.ts';
import { fold, keyOf } from '../core/random.ts';
import { type Tensor, Variable } from '../core/tensor.ts';
import type { Device, Executable } from '../device/device.ts';
import * as E from '../expr/nodes.ts';
import { grad } from '../grad.ts';
import { preprocess } from '../models/network.ts';
import { withCalls } from '../nn/hooks.ts';
import { BatchNorm } from '../nn/layers.ts';
import { type Module, modulesOf, type Parameter, parametersOf } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import { add, cast, elementwise, mul, where } from '../ops/pointwise.ts';
import { mean, stopGradient } from '../ops/reduce.ts';
import { resize } from '../ops/resize.ts';
import { clipByGlobalNorm, clipByValue, globalNorm } from '../optim/clip.ts';
import { accumulate } from '../plan/accumulate.ts';
import { checkpoint } from '../plan/checkpoint.ts';
import { keyData, TraceContext } from '../plan/trace.ts';
import type { Recipe } from './recipe.ts';
import type { Trainable } from './trainable.ts';

/** What one step reports. `applied` is false where the update was withheld because something was not finite. */
export interface StepResult {
  /** Of the head and all terms. */
  readonly loss: number;
  /** Length of the whole gradient, before weight decay and clipping. */
  readonly gradNorm: number;
  /** Share of the batch that is recognised, without any margin. */
  readonly hitRate: number;
  /** The same with the margin; undefined where the head has none. */
  readonly marginHitRate?: number;
  /** What each term adds to the loss, by its name. */
  readonly terms: Readonly<Record<string, number>>;
  readonly applied: boolean;
}

/** Whether a number is finite (NaN and infinity fail the comparison) and all before were. */
const staysFinite = (x: Tensor, before: Tensor): Tensor =>
  elementwise('staysFinite', E.and(E.le(E.abs(E.input(0)), E.constant(3.4028234663852886e38)), E.gt(E.input(1), 0)), [
    x,
    before,
  ]);

const noParameters: ReadonlySet<Parameter> = new Set();

/** The blocks of a network: the outermost members of its lists of modules. */
export const blocksOf = (network: Module): Module[] =>
  modulesOf(network).filter((m) => /^[^.]+(\.[^.\d][^.]*)*\.\d+$/.test(m.path));

export interface LossAndGradients {
  /** Of the head and all terms. */
  readonly loss: Tensor;
  /** Scalars by name: `hitRate`, `marginHitRate` where the head has one, and `term.<name>`. */
  readonly figures: Readonly<Record<string, Tensor>>;
  /** In the order of the optimizer's parameters; none for frozen ones. */
  readonly gradients: readonly (Tensor | undefined)[];
}

/**
 * Loss, hit rates and gradients of a batch: uint8 images [B, H, W, 3], int32 labels [B].
 * @param keys int32 [parts, 2], a random key for each part of an accumulated step; without it dropout has none
 * @param frozen parameters without gradients; batch norms that are frozen whole use their running statistics
 */
export function lossAndGradients(
  { network, head, terms, teacher, optimizer }: Trainable,
  recipe: Pick<Recipe, 'accumulate' | 'recompute' | 'headWeight'>,
  images: Tensor,
  labels: Tensor,
  ctx: TraceContext,
  {
    keys,
    frozen = noParameters,
  }: { readonly keys?: Tensor | undefined; readonly frozen?: ReadonlySet<Parameter> } = {},
): LossAndGradients {
  const trained = optimizer.parameters.filter((p) => !frozen.has(p));
  const still = modulesOf(network).filter((m) => m instanceof BatchNorm && parametersOf(m).every((p) => frozen.has(p)));
  let names: string[] = [];
  const part = ([x, y, key]: readonly Tensor[], outer: TraceContext): Tensor[] => {
    const own = key ? new TraceContext(outer.training, reshape(key, [2]), outer.share) : outer;
    const embeddings = withCalls(
      recipe.recompute ? blocksOf(network) : [],
      (_, call) => (input, c) => checkpoint((t) => call(t, c))(input),
      () =>
        withCalls(
          still,
          (_, call) => (input, c) => call(input, new TraceContext(false, c.key)),
          () => network.call(preprocess(x!, network.preprocessing), own),
        ),
    );
    const result = head.loss(embeddings, y!, own);
    const figures: Record<string, Tensor> = {};
    if (result.hits) figures.hitRate = mean(result.hits);
    if (result.marginHits) figures.marginHitRate = mean(result.marginHits);
    let total = recipe.headWeight === 1 ? result.loss : mul(result.loss, recipe.headWeight);
    const addTerm = (name: string, weight: number, loss: Tensor) => {
      const weighted = mul(loss, weight);
      figures[`term.${name}`] = weighted;
      total = add(total, weighted);
    };
    for (const { name, weight, loss } of terms) addTerm(name, weight, loss.loss(embeddings, y!, own).loss);
    if (teacher) {
      const { preprocessing } = teacher.network;
      const { inputSize } = preprocessing;
      const same = inputSize.every((n, i) => n === x!.shape[1 + i]);
      const seen = same ? x! : resize(cast(x!, 'f32'), [...inputSize]);
      const known = teacher.network.call(preprocess(seen, preprocessing), new TraceContext(false));
      addTerm('distillation', teacher.weight, teacher.distillation.between(embeddings, stopGradient(known)));
    }
    // A part's own context keeps what its modules assigned.
    if (own !== outer) for (const [v, next] of own.assigns) outer.assign(v, next);
    names = Object.keys(figures);
    return [total, ...Object.values(figures), ...grad(total, trained)];
  };
  const inputs = keys ? [images, labels, keys] : [images, labels];
  const [loss, ...rest] = accumulate(inputs, recipe.accumulate, ctx, part);
  const byParameter = new Map(trained.map((p, i) => [p, rest[names.length + i]!]));
  return {
    loss: loss!,
    figures: Object.fromEntries(names.map((name, i) => [name, rest[i]!])),
    gradients: optimizer.parameters.map((p) => byParameter.get(p)),
  };
}

export interface TrainingStep {
  /**
   * Steps may be asked for before the result of the one before is there; they run in order.
   * @param step its number from 0, which the random draws of dropout follow
   */
  run(images: Uint8Array, labels: Int32Array, lr: number, step?: number): Promise<StepResult>;
  /** The compiled plan, for its size. */
  plan(): Promise<Executable>;
  dispose(): void;
}

/** The random keys of a step's parts: int32 [parts, 2]. */
export function stepKeys(recipe: Pick<Recipe, 'seed' | 'accumulate'>, step: number): Int32Array {
  const stream = fold(keyOf(recipe.seed), 'step');
  return Int32Array.from(
    Array.from({ length: recipe.accumulate }, (_, part) => [
      ...keyData(stream, step * recipe.accumulate + part),
    ]).flat(),
  );
}

/** Gradients limited as the recipe says. */
function clipped(gradients: readonly (Tensor | undefined)[], { norm, value }: Recipe['clip']): (Tensor | undefined)[] {
  let present = gradients.filter((g) => g !== undefined) as readonly Tensor[];
  if (norm > 0) present = clipByGlobalNorm(present, norm).gradients;
  if (value > 0) present = clipByValue(present, value);
  const next = present[Symbol.iterator]();
  return gradients.map((g) => g && next.next().value);
}

/** Compiles the step for the recipe's batch on a device. */
export function trainingStep(
  t: Trainable,
  recipe: Recipe,
  device: Device,
  {
    onProgress,
    frozen = noParameters,
  }: {
    readonly onProgress?: ((done: number, total: number) => void) | undefined;
    readonly frozen?: ReadonlySet<Parameter>;
  } = {},
): TrainingStep {
  const [h, w] = t.network.preprocessing.inputSize;
  const imageShape = [recipe.batch, h, w, 3];
  const keyShape = [recipe.accumulate, 2];
  // After a step that was not finite nothing changes any more, though later steps may already be under way.
  const healthy = new Variable('healthy', Float32Array.of(1), []);
  const run = compile(
    ({ images, labels, lr, keys }, ctx) => {
      const wanted = new TraceContext(true, ctx.key);
      const { loss, figures, gradients } = lossAndGradients(t, recipe, images!, labels!, wanted, {
        keys: keys!,
        frozen,
      });
      t.optimizer.update(clipped(gradients, recipe.clip), lr!, wanted);
      t.pruning?.apply(wanted);
      t.average?.update(wanted);
      const gradNorm = globalNorm(gradients.filter((g) => g !== undefined));
      const good = staysFinite(add(loss, gradNorm), healthy.tensor);
      ctx.assign(healthy, cast(good, 'f32'));
      for (const [v, next] of wanted.assigns) ctx.assign(v, where(good, next, v.tensor));
      return { loss, gradNorm, ...figures };
    },
    { device, training: true, ...(onProgress && { onProgress }) },
  );
  return {
    async run(images, labels, lr, number = 0) {
      const out = await run({
        images: { data: images, shape: imageShape, dtype: 'u8' },
        labels: { data: labels, shape: [recipe.batch], dtype: 'i32' },
        lr,
        keys: { data: stepKeys(recipe, number), shape: keyShape, dtype: 'i32' },
      });
      const { loss, gradNorm, hitRate, marginHitRate, ...terms } = Object.fromEntries(
        Object.entries(out).map(([name, x]) => [name, x.data[0]!]),
      );
      return {
        loss: loss!,
        gradNorm: gradNorm!,
        hitRate: hitRate ?? Number.NaN,
        ...(marginHitRate !== undefined && { marginHitRate }),
        terms: Object.fromEntries(Object.entries(terms).map(([name, x]) => [name.replace(/^term\./, ''), x])),
        applied: Number.isFinite(Math.fround(loss! + gradNorm!)),
      };
    },
    plan: () =>
      run.plan({
        images: { shape: imageShape, dtype: 'u8' },
        labels: { shape: [recipe.batch], dtype: 'i32' },
        lr: 0,
        keys: { shape: keyShape, dtype: 'i32' },
      }),
    dispose() {
      run.dispose();
      healthy.dispose();
    },
  };
}
