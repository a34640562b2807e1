/**
 * What margin heads share: class centres, one row each, and a loss of embeddings with labels.
 *
 * The one idea: a head is two expressions of the cosine to a class centre (src/ops/softmax.ts) plus, for some, scalars
 * per row and state that moves from step to step. State is read as it was before the step and written by `ctx.assign`.
 */
import { UsageError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { compileJs } from '../expr/printJs.ts';
import { xavierUniform } from '../nn/init.ts';
import { Module, Parameter } from '../nn/module.ts';
import { elementwise, mul } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import type { MarginLogits, MarginSoftmaxResult } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';

export interface HeadOptions {
  /** Number of people in the training set. */
  readonly classes: number;
  /** Length of the embeddings. Default 128. */
  readonly embeddingSize?: number;
}

/** Class centres and a loss over them. */
export abstract class Head extends Module {
  /** Class centres, [C, d]; more rows where a class has several centres. */
  readonly weight: Parameter;
  /** What messages call the head. */
  private readonly title: string;
  constructor(title: string, { classes, embeddingSize }: Required<HeadOptions>, centresPerClass = 1) {
    super();
    this.title = title;
    if (!Number.isInteger(classes) || classes < 2)
      throw new UsageError(
        `${title}: expected at least 2 classes, got ${classes}\nPass the number of people in the training set.`,
      );
    checkOption(
      title,
      'an embeddingSize of at least 1',
      embeddingSize,
      Number.isInteger(embeddingSize) && embeddingSize >= 1,
      'Pass the embedding size of the network.',
    );
    this.weight = new Parameter([classes * centresPerClass, embeddingSize], xavierUniform);
  }
  /**
   * Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. Heads with state need
   * `ctx`: they read it always and move it where `ctx.training`.
   */
  abstract loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult;
  /** Cosines to all class centres are what the head computes outside of training. */
  protected forward(): Tensor {
    throw new UsageError(
      `${this.title}: expected a call of loss(embeddings, labels), got a plain call\nA head has no output of its own.`,
    );
  }
}

/** Throws UsageError unless `good`: "Head: expected …, got …", then what to do. */
export function checkOption(head: string, expected: string, got: number, good: boolean, advice: string): void {
  if (!good) throw new UsageError(`${head}: expected ${expected}, got ${got}\n${advice}`);
}

export const checkScale = (head: string, s: number, usual: string): void =>
  checkOption(head, 'a scale s above 0', s, s > 0 && s < Infinity, usual);

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
 * one per degree), and the logit at each. `rowScalars` are the numbers that the head hands to its logits.
 *
 *     targetLogitCurve(arcFaceLogits({ s: 64, m: 0.5 })).logit[0];   // 64·cos 0.5
 */
export function targetLogitCurve(
  { target }: MarginLogits,
  { points = 181, rowScalars = [] as readonly number[] } = {},
): { readonly theta: Float64Array; readonly logit: Float64Array } {
  checkOption(
    'targetLogitCurve',
    'at least 2 points',
    points,
    Number.isInteger(points) && points >= 2,
    'Ask for more.',
  );
  const f = compileJs([target(E.input(0), ...rowScalars.map((_, i) => E.input(1 + i)))]);
  const theta = Float64Array.from({ length: points }, (_, i) => (Math.PI * i) / (points - 1));
  const result = [0];
  const logit = theta.map((angle) => {
    f([Math.cos(angle), ...rowScalars], result);
    return result[0]!;
  });
  return { theta, logit };
}
