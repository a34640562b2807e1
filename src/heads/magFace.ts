/**
 * MagFace: Meng, Zhao, Huang, Zhou 2021, "MagFace: A Universal Representation for Face Recognition and Quality Assessment"
 * (arXiv 2103.06627), section 3.2. The margin grows with the embedding's length a, limited to la to ua, from lm to um:
 * the target logit is s·cos(θ + m(a)) with m(a) = lm + (um − lm)·(a − la)/(ua − la), the others s·cos θ. The regulariser
 * λg·mean g(a), g(a) = 1/a + a/ua², rewards length, so that what is easily recognised becomes long: length is quality.
 *
 * Gradients flow through the length into margin and regulariser. As in the authors' code the margin is applied only where
 * the cosine is above 0, unless `easyMargin` is false: then past θ + m = π the logit goes on as ArcFace's. The paper has
 * margins from 0.4, the authors' training script from 0.45.
 */
import { UsageError } from '../core/errors.ts';
import { flag, number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { add, clamp, elementwise } from '../ops/pointwise.ts';
import { mean } from '../ops/reduce.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { Head, rowNorms, scale, scaleOf, shared, sineOf } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  la: number({ above: 0 }, 10, 'shortest length that counts'),
  ua: number({ above: 0 }, 110, 'longest length that counts, above la'),
  lm: number({ from: 0, to: Math.PI / 2 }, 0.4, 'margin at the shortest length, in radians'),
  um: number({ from: 0, to: Math.PI / 2 }, 0.8, 'margin at the longest length, in radians, at least lm'),
  lambdaG: number({ from: 0 }, 35, 'weight of the regulariser'),
  easyMargin: flag(true, 'switch for the margin only where the cosine is above 0'),
  ...shared,
};
export type MagFaceOptions = Options<typeof options>;

/** MagFace's logits as expressions of the cosine and the limited length; `classes` is read where s is 'auto'. */
export function magFaceLogits({
  s = 64,
  la = 10,
  ua = 110,
  lm = 0.4,
  um = 0.8,
  easyMargin = true,
  classes,
}: MagFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  const target = (c: Expr, a?: Expr): Expr => {
    const m = E.add(E.mul(E.sub(a!, la), (um - lm) / (ua - la)), lm);
    const [cosine, sine] = [E.cos(m), E.sin(m)];
    const shifted = E.sub(E.mul(c, cosine), E.mul(sineOf(c), sine));
    const kept = easyMargin
      ? E.where(E.gt(c, 0), shifted, c)
      : E.where(E.gt(c, E.neg(cosine)), shifted, E.sub(c, E.mul(m, sine)));
    return E.mul(kept, factor);
  };
  return { target, nonTarget: (c) => E.mul(c, factor) };
}

/** The MagFace head: class centres [C, d] and the loss over them, regulariser included. */
export class MagFace extends Head<typeof options> {
  constructor(given: LossSize & MagFaceOptions) {
    super('magface', options, given);
    const { la, ua, lm, um } = this.options;
    if (ua <= la)
      throw new UsageError(`magface: expected ua above la = ${la}, got ${ua}\nThe paper has lengths from 10 to 110.`);
    if (um < lm)
      throw new UsageError(
        `magface: expected um of at least lm = ${lm}, got ${um}\nThe paper has margins from 0.4 to 0.8.`,
      );
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    const { la, ua, lambdaG } = this.options;
    const length = clamp(rowNorms(embeddings), la, ua);
    const logits = magFaceLogits(this.options);
    const result = marginSoftmax(embeddings, centres, labels, logits, { rowScalars: [length] });
    const g = E.add(E.div(1, E.input(0)), E.mul(E.input(0), 1 / ua ** 2));
    return { ...result, loss: add(result.loss, mean(elementwise('magFaceG', E.mul(g, lambdaG), [length]))) };
  }
}

export const magFace = defineLoss({
  name: 'magface',
  means: "angular margin that grows with the embedding's length, which is the quality",
  source: 'Meng et al. 2021, arXiv 2103.06627, section 3.2',
  role: 'head',
  options,
  create: (size, given) => new MagFace({ ...size, ...given }),
  curves: (o) => [o.la, o.ua].map((a) => ({ label: `length ${a}`, logits: magFaceLogits(o), rowScalars: [a] })),
});
