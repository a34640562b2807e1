/**
 * The training step as one plan: uint8 images to normalised input, forward, head, loss, gradients, update.
 *
 * The one idea: a step whose loss or gradient is not finite changes nothing. Every new value is selected by whether both
 * are finite, so the state at hand is always the last good one, and what went wrong can be looked for in it.
 */
import { compile } from '../compile.ts';
import { type Tensor, Variable } from '../core/tensor.ts';
import type { Device, Executable } from '../device/device.ts';
import * as E from '../expr/nodes.ts';
import { grad } from '../grad.ts';
import type { ArcFace } from '../heads/arcFace.ts';
import { Bottleneck } from '../models/mobileFaceNet.ts';
import { type FaceNetwork, preprocess } from '../models/network.ts';
import { modulesOf, type Parameter, parametersOf, variablesOf } from '../nn/module.ts';
import { add, cast, elementwise, where } from '../ops/pointwise.ts';
import { mean } from '../ops/reduce.ts';
import { globalNorm } from '../optim/clip.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import { sgd } from '../optim/sgd.ts';
import { accumulate } from '../plan/accumulate.ts';
import { checkpoint } from '../plan/checkpoint.ts';
import { TraceContext } from '../plan/trace.ts';
import { withCalls } from './hooks.ts';
import type { Recipe } from './recipe.ts';

/** What one step reports. `applied` is false where the update was withheld because something was not finite. */
export interface StepResult {
  readonly loss: number;
  /** Length of the whole gradient, before weight decay. */
  readonly gradNorm: number;
  /** Share of the batch whose own class centre is the nearest. */
  readonly hitRate: number;
  readonly applied: boolean;
}

/** Weight decay of a parameter by the field's rule: none for batch norm and PReLU, more for the last layers. */
export function decayOf(name: string, { weightDecay, lastLayerDecayFactor }: Recipe): number {
  if (/(^|\.)(bn|prelu)\./.test(name)) return 0;
  const last = ['globalDepthwise.conv.weight', 'embedding.conv.weight', 'arcface.weight'].includes(name);
  return last ? weightDecay * lastLayerDecayFactor : weightDecay;
}

export const optimizerOf = (parameters: readonly Parameter[], recipe: Recipe): Optimizer =>
  sgd(parameters, {
    momentum: recipe.momentum,
    nesterov: recipe.nesterov,
    decay: (p) => decayOf(p.name, recipe),
  });

/** Whether a number is finite (NaN and infinity fail the comparison) and all before were. */
const staysFinite = (x: Tensor, before: Tensor): Tensor =>
  elementwise('staysFinite', E.and(E.le(E.abs(E.input(0)), E.constant(3.4028234663852886e38)), E.gt(E.input(1), 0)), [
    x,
    before,
  ]);

export interface Trainable {
  readonly network: FaceNetwork;
  readonly head: ArcFace;
  readonly optimizer: Optimizer;
  /** Everything a checkpoint holds, in a fixed order. */
  readonly variables: readonly Variable[];
}

export function trainable(network: FaceNetwork, head: ArcFace, recipe: Recipe): Trainable {
  const optimizer = optimizerOf([...parametersOf(network), ...parametersOf(head)], recipe);
  return { network, head, optimizer, variables: [...variablesOf(network), ...variablesOf(head), ...optimizer.state] };
}

/** Loss, hit rate and gradients of a batch: uint8 images [B, H, W, 3], int32 labels [B]. */
export function lossAndGradients(
  { network, head, optimizer }: Trainable,
  recipe: Pick<Recipe, 'accumulate' | 'recompute'>,
  images: Tensor,
  labels: Tensor,
  ctx: TraceContext,
): { loss: Tensor; hitRate: Tensor; gradients: readonly Tensor[] } {
  const { parameters } = optimizer;
  const blocks = recipe.recompute ? modulesOf(network).filter((m) => m instanceof Bottleneck) : [];
  const part = ([x, y]: readonly Tensor[], own: TraceContext): Tensor[] => {
    const embeddings = withCalls(
      blocks,
      (_, call) => (input, c) => checkpoint((t) => call(t, c))(input),
      () => network.call(preprocess(x!, network.preprocessing), own),
    );
    const { loss, hits } = head.loss(embeddings, y!);
    return [loss, mean(hits), ...grad(loss, parameters)];
  };
  const [loss, hitRate, ...gradients] = accumulate([images, labels], recipe.accumulate, ctx, part);
  return { loss: loss!, hitRate: hitRate!, gradients };
}

export interface TrainingStep {
  /** Steps may be asked for before the result of the one before is there; they run in order. */
  run(images: Uint8Array, labels: Int32Array, lr: number): Promise<StepResult>;
  /** The compiled plan, for its size. */
  plan(): Promise<Executable>;
  dispose(): void;
}

/** Compiles the step for the recipe's batch on a device. */
export function trainingStep(
  t: Trainable,
  recipe: Recipe,
  device: Device,
  onProgress?: (done: number, total: number) => void,
): TrainingStep {
  const [h, w] = recipe.inputSize;
  const imageShape = [recipe.batch, h, w, 3];
  // After a step that was not finite nothing changes any more, though later steps may already be under way.
  const healthy = new Variable('healthy', Float32Array.of(1), []);
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const wanted = new TraceContext(true, ctx.key);
      const { loss, hitRate, gradients } = lossAndGradients(t, recipe, images!, labels!, wanted);
      t.optimizer.update(gradients, lr!, wanted);
      const gradNorm = globalNorm(gradients);
      const good = staysFinite(add(loss, gradNorm), healthy.tensor);
      ctx.assign(healthy, cast(good, 'f32'));
      for (const [v, next] of wanted.assigns) ctx.assign(v, where(good, next, v.tensor));
      return { loss, gradNorm, hitRate };
    },
    { device, training: true, ...(onProgress && { onProgress }) },
  );
  return {
    async run(images, labels, lr) {
      const out = await step({
        images: { data: images, shape: imageShape, dtype: 'u8' },
        labels: { data: labels, shape: [recipe.batch], dtype: 'i32' },
        lr,
      });
      const [loss, gradNorm, hitRate] = [out.loss!, out.gradNorm!, out.hitRate!].map((x) => x.data[0]!) as [
        number,
        number,
        number,
      ];
      return { loss, gradNorm, hitRate, applied: Number.isFinite(Math.fround(loss + gradNorm)) };
    },
    plan: () =>
      step.plan({
        images: { shape: imageShape, dtype: 'u8' },
        labels: { shape: [recipe.batch], dtype: 'i32' },
        lr: 0,
      }),
    dispose() {
      step.dispose();
      healthy.dispose();
    },
  };
}
