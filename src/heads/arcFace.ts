/**
 * ArcFace: Deng, Guo, Xue, Zafeiriou 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition"
 * (arXiv 1801.07698), eq. 3. The target logit is s·cos(θ + m), the others s·cos θ.
 *
 * cos(θ + m) = c·cos m − sqrt(1 − c²)·sin m falls with θ only up to θ + m = π. Past it the target logit is continued
 * by c − m·sin m ("hard", as in the authors' code), or with `easyMargin` the margin is applied only where c > 0.
 */
import { flag, number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { angularMargin, Head, init, scale, scaleOf } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  m: number({ from: 0, to: Math.PI / 2 }, 0.5, 'margin in radians'),
  easyMargin: flag(false, 'switch for the margin only where the cosine is above 0'),
  init,
};
export type ArcFaceOptions = Options<typeof options>;

/** ArcFace's target and other logits as expressions of the cosine; `classes` is read where s is 'auto'. */
export function arcFaceLogits({
  s = 64,
  m = 0.5,
  easyMargin = false,
  classes,
}: ArcFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  const target = (c: Expr): Expr => E.mul(angularMargin(c, m, easyMargin), factor);
  return { target, nonTarget: (c) => E.mul(c, factor) };
}

/** The ArcFace head: class centres [C, d] and the loss over them. */
export class ArcFace extends Head<typeof options> {
  constructor(given: LossSize & ArcFaceOptions) {
    super('arcface', options, given);
  }
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, this.weight.tensor, labels, arcFaceLogits(this.options));
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
