/**
 * CurricularFace: Huang, Wang, Tai, Liu, Shen, Li, Li, Huang 2020, "CurricularFace: Adaptive Curriculum Learning Loss for
 * Deep Face Recognition" (arXiv 2004.00288), section 3.2. The target logit is ArcFace's, s·cos(θ + m). Another class's
 * logit is s·cos θj where it is easy, that is cos θj ≤ cos(θ + m), and s·cos θj·(t + cos θj) where it is hard.
 *
 * t is a moving mean of the target cosines, near 0 at first: hard classes weigh little in the beginning and more later.
 * Every update sets t ← 0.99·t + 0.01·mean cos θ before it is used. It takes no gradient.
 */
import { number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { elementwise } from '../ops/pointwise.ts';
import { mean, stopGradient } from '../ops/reduce.ts';
import { type ClassCosines, type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { angularMargin, cosPlus, Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  m: number({ from: 0, to: Math.PI / 2 }, 0.5, 'margin in radians'),
  momentum: number({ from: 0, to: 1 }, 0.99, 'share of the old t that is kept'),
  ...shared,
};
export type CurricularFaceOptions = Options<typeof options>;

/** CurricularFace's logits as expressions of the cosine, the target's cosine and t. */
export function curricularFaceLogits({
  s = 64,
  m = 0.5,
  classes,
}: CurricularFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  return {
    target: (c) => E.mul(angularMargin(c, m), factor),
    nonTarget: (c, targetCos, t) => E.mul(E.where(E.gt(c, cosPlus(targetCos, m)), E.mul(c, E.add(t!, c)), c), factor),
  };
}

/** The CurricularFace head: class centres [C, d], t, and the loss. */
export class CurricularFace extends Head<typeof options> {
  readonly t: StateBuffer;
  constructor(given: LossSize & CurricularFaceOptions) {
    super('curricularface', options, given);
    this.t = new StateBuffer([], 0);
    nameTree(this, 'curricularface');
  }
  /** While training, t moves first. */
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const momentum = this.options.momentum ** ctx.share;
    const rowScalars = ({ targetCos }: ClassCosines): Tensor[] => {
      if (!ctx.training) return [this.t.tensor];
      const moved = E.add(E.mul(E.input(0), momentum), E.mul(E.input(1), 1 - momentum));
      const next = stopGradient(elementwise('t', moved, [this.t.tensor, mean(targetCos)]));
      ctx.assign(this.t, next);
      return [next];
    };
    return marginSoftmax(embeddings, centres, labels, curricularFaceLogits(this.options), { rowScalars });
  }
}

export const curricularFace = defineLoss({
  name: 'curricularface',
  means: "ArcFace's margin; hard classes weigh more as training goes on",
  source: 'Huang et al. 2020, arXiv 2004.00288, section 3.2',
  role: 'head',
  options,
  create: (size, given) => new CurricularFace({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: curricularFaceLogits(o), rowScalars: [0] }],
});
