/**
 * ArcFace: Deng, Guo, Xue, Zafeiriou 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition"
 * (arXiv 1801.07698), eq. 3. The target logit is s·cos(θ + m), the others s·cos θ.
 *
 * cos(θ + m) = c·cos m − sqrt(1 − c²)·sin m falls with θ only up to θ + m = π. Past it the target logit is continued
 * by c − m·sin m ("hard", as in the authors' code), or with `easyMargin` the margin is applied only where c > 0.
 *
 * `form: 'angle'` is what InsightFace's PyTorch code computes: m is added to arccos c without a record for the gradient.
 * The logit is s·cos(θ + m) at every angle, rising past π, and its gradient by the cosine is s, as if the margin were
 * a constant: no 1/sin θ, so nothing grows near θ = 0. The true gradient of that form is the cosine form's.
 */
import { UsageError } from '../core/errors.ts';
import { flag, number, type Options, oneOf } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { elementwise } from '../ops/pointwise.ts';
import { stopGradient } from '../ops/reduce.ts';
import { type ClassCosines, type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { angularMargin, cosPlus, Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  m: number({ from: 0, to: Math.PI / 2 }, 0.5, 'margin in radians'),
  easyMargin: flag(false, 'switch for the margin only where the cosine is above 0'),
  form: oneOf(
    ['cosine', 'angle'],
    'cosine',
    'way to add the margin: cosine, or angle with the margin constant for the gradient',
  ),
  ...shared,
};
export type ArcFaceOptions = Options<typeof options>;

/** ArcFace's target and other logits as expressions of the cosine; `classes` is read where s is 'auto'. */
export function arcFaceLogits({
  s = 64,
  m = 0.5,
  easyMargin = false,
  form = 'cosine',
  classes,
}: ArcFaceOptions & Partial<LossSize> = {}): MarginLogits {
  if (form === 'angle' && easyMargin)
    throw new UsageError(
      "arcface: expected easyMargin with form 'cosine', got form 'angle'\nThe angle form has its margin at every angle; leave one of the two out.",
    );
  const factor = scaleOf(s, classes);
  const cosine = (c: Expr): Expr => (form === 'angle' ? cosPlus(c, m) : angularMargin(c, m, easyMargin));
  return {
    // As a row scalar, the shift that the margin makes is a constant for the gradient.
    target: (c, shift) => E.mul(shift ? E.add(c, shift) : cosine(c), factor),
    nonTarget: (c) => E.mul(c, factor),
  };
}

/** The row scalars that go with the logits: in the angle form cos(θ + m) − cos θ, without a gradient. */
export const arcFaceScalars =
  ({ m = 0.5, form = 'cosine' }: ArcFaceOptions) =>
  ({ targetCos }: ClassCosines): readonly Tensor[] =>
    form === 'cosine'
      ? []
      : [stopGradient(elementwise('marginShift', E.sub(cosPlus(E.input(0), m), E.input(0)), [targetCos]))];

/** The ArcFace head: class centres [C, d] and the loss over them. */
export class ArcFace extends Head<typeof options> {
  constructor(given: LossSize & ArcFaceOptions) {
    super('arcface', options, given);
    arcFaceLogits(this.options); // refuses what does not go together
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    const rowScalars = arcFaceScalars(this.options);
    return marginSoftmax(embeddings, centres, labels, arcFaceLogits(this.options), { rowScalars });
  }
}

export const arcFace = defineLoss({
  name: 'arcface',
  means: 'additive angular margin: s·cos(θ + m)',
  source: 'Deng et al. 2019, arXiv 1801.07698, eq. 3',
  role: 'head',
  options,
  create: (size, given) => new ArcFace({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: arcFaceLogits(o) }],
});
