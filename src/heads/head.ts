/**
 * What margin heads share: class centres, one row each, and a loss of embeddings with labels.
 *
 * The one idea: a head is two expressions of the cosine to a class centre (src/ops/softmax.ts) plus, for some, scalars
 * per row and state that moves from step to step.
 */
import { UsageError } from '../core/errors.ts';
import {
  number,
  type OptionSpec,
  type OptionSpecs,
  type Options,
  oneOf,
  type ResolvedOptions,
  resolveOptions,
  whole,
} from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { compileJs } from '../expr/printJs.ts';
import { normalInit, xavierUniform } from '../nn/init.ts';
import { nameTree, Parameter } from '../nn/module.ts';
import { gather } from '../ops/gather.ts';
import { reshape } from '../ops/movement.ts';
import { elementwise, mul } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';
import { type LogitCurve, Loss, type LossResult, type LossSize } from './loss.ts';
import { sampleClasses, sampleSize } from './partialFc.ts';

/** What the run decides of a loss, as options, for its checks. */
export const sizeOptions = {
  classes: whole({ from: 2 }, 2, 'number of people in the training set'),
  embeddingSize: whole({ from: 1 }, 128, 'embedding size of the network'),
};

/** A scale of logits: a number, or 'auto' for AdaCos's fixed scale (see `scaleOf`). */
export type Scale = number | 'auto';
/** The option s of heads. */
export const scale = (fallback: number): OptionSpec<Scale> => ({
  expects: 'a number above 0, or auto',
  means: 'scale of the logits; auto is √2·ln(classes − 1)',
  fallback,
  accepts: (x) => x === 'auto' || (typeof x === 'number' && x > 0 && x < Infinity),
});

/** √2·ln(C − 1): the scale at which the softmax bends most at θ = π/4 (AdaCos, arXiv 1905.00292, eq. 8). */
export const adaCosScale = (classes: number): number => Math.SQRT2 * Math.log(classes - 1);

/**
 * The scale that s stands for.
 * @param classes for 'auto'; default 10 000, so that curves can be drawn before the data is known
 * @throws UsageError for 'auto' with two classes, where the scale is 0
 */
export function scaleOf(s: Scale, classes = 10_000): number {
  if (s !== 'auto') return s;
  if (classes < 3)
    throw new UsageError(
      `scale: expected at least 3 classes for the automatic scale, got ${classes}\nIt is 0 for two: give s a number.`,
    );
  return adaCosScale(classes);
}

/** How class centres begin: the option init of heads. Only a centre's direction enters a cosine. */
const init = oneOf(['xavier', 'normal'], 'xavier', 'first class centres: xavier uniform, or normal N(0, 0.01²)');

/** What every margin head has: the options of its class centres. */
export const shared = {
  init,
  sampleRate: number({ above: 0, to: 1 }, 1, 'share of the classes that a training step takes (Partial FC)'),
};

/** Class centres and a loss over them. */
export abstract class Head<S extends OptionSpecs = OptionSpecs> extends Loss {
  /** Class centres, [C, d]; more rows where a class has several centres. */
  readonly weight: Parameter;
  readonly options: Required<LossSize> & ResolvedOptions<S>;
  /**
   * @param name of its entry; its parameters' names begin with it
   * @param specs its own options
   * @param given class count, embedding size and options
   * @param centres rows of `weight` for each class
   */
  constructor(
    name: string,
    specs: S,
    given: LossSize & Options<S>,
    centres: (options: ResolvedOptions<S>) => number = () => 1,
  ) {
    super();
    this.options = resolveOptions(name, { ...sizeOptions, ...specs }, { ...given }) as unknown as typeof this.options;
    const { classes, embeddingSize } = this.options;
    const normal = 'init' in this.options && this.options.init === 'normal';
    this.weight = new Parameter(
      [classes * centres(this.options), embeddingSize],
      normal ? normalInit(0.01) : xavierUniform,
    );
    // A derived class with variables of its own names them again.
    nameTree(this, name);
  }
  /** The loss over all classes, or while training over the sample of them that `sampleRate` asks for. */
  loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): LossResult {
    const { classes, embeddingSize } = this.options;
    const rate = 'sampleRate' in this.options ? (this.options.sampleRate as number) : 1;
    if (!ctx.training || rate === 1) return this.over(embeddings, this.weight.tensor, labels, ctx);
    const k = sampleSize(classes, rate, embeddings.shape[0]!);
    const sample = sampleClasses(labels, classes, k, ctx.key);
    const perClass = reshape(this.weight.tensor, [classes, this.weight.size / classes]);
    const centres = reshape(gather(perClass, sample.classes), [-1, embeddingSize]);
    return this.over(embeddings, centres, sample.labels, ctx);
  }
  /** The loss over these centres, [n, d] (or [n·K, d]), of classes that the labels count: int32 [B] from 0 to n − 1. */
  protected abstract over(embeddings: Tensor, centres: Tensor, labels: Tensor, ctx: TraceContext): LossResult;
}

/** 1 − c² is kept above this, so that the gradient of its root stays finite at c = ±1. */
const floor = 1e-7;

/** sin θ from c = cos θ, with a finite gradient at c = ±1. */
export const sineOf = (c: Expr): Expr => E.sqrt(E.max(E.sub(1, E.mul(c, c)), floor));

/** cos(θ + m) from c = cos θ, for θ + m between 0 and π, with a finite gradient at c = ±1. */
export const cosPlus = (c: Expr, m: number): Expr => E.sub(E.mul(c, Math.cos(m)), E.mul(sineOf(c), Math.sin(m)));

/**
 * cos(θ + m), and where θ + m would pass π and the cosine rise again c − m·sin m ("hard", as in ArcFace's code);
 * with `easyMargin` the margin only where c > 0.
 */
export const angularMargin = (c: Expr, m: number, easyMargin = false): Expr =>
  easyMargin
    ? E.where(E.gt(c, 0), cosPlus(c, m), c)
    : E.where(E.gt(c, Math.cos(Math.PI - m)), cosPlus(c, m), E.sub(c, m * Math.sin(m)));

/** Length of every row, [B, d] → [B]; its gradient is finite at length 0. */
export const rowNorms = (x: Tensor): Tensor =>
  elementwise('rowNorm', E.sqrt(E.max(E.input(0), 1e-24)), [sum(mul(x, x), -1)]);

/**
 * The target logit over the angle, for plots: `points` angles in radians from 0 to π, both ends included (default 181,
 * one per degree), and the logit at each.
 *
 *     targetLogitCurve({ label: '', logits: arcFaceLogits({ s: 64, m: 0.5 }) }).logit[0];   // 64·cos 0.5
 */
export function targetLogitCurve(
  { logits, rowScalars = [] }: LogitCurve,
  points = 181,
): { readonly theta: Float64Array; readonly logit: Float64Array } {
  resolveOptions('targetLogitCurve', { points: whole({ from: 2 }, 181, 'number of angles') }, { points });
  const f = compileJs([logits.target(E.input(0), ...rowScalars.map((_, i) => E.input(1 + i)))]);
  const theta = Float64Array.from({ length: points }, (_, i) => (Math.PI * i) / (points - 1));
  const result = [0];
  const logit = theta.map((angle) => {
    f([Math.cos(angle), ...rowScalars], result);
    return result[0]!;
  });
  return { theta, logit };
}
