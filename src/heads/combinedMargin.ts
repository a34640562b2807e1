/**
 * The combined margin: Deng, Guo, Xue, Zafeiriou 2019, "ArcFace" (arXiv 1801.07698), eq. 4. The target logit is
 * s·(cos(m1·θ + m2) − m3), the others s·cos θ: (1, m, 0) is ArcFace, (1, 0, m) CosFace. `MultiMargin` is (1, 0.2, 0.35) with
 * s = 32 under the name that Face_Pytorch gives it.
 *
 * `filter` is InsightFace's interclass filtering: near classes are taken for other names of the same person.
 *
 * The cosine falls only up to m1·θ + m2 = π. Past it, with m1 = 1 the angular part goes on as ArcFace's does; with another
 * m1 as SphereFace's ψ does: (−1)^k·cos t − 2k for t = m1·θ + m2 between kπ and (k + 1)π.
 */
import { UsageError } from '../core/errors.ts';
import { flag, number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { angularMargin, Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const marginsOf = (s: number, m2: number, m3: number) => ({
  s: scale(s),
  m2: number({ from: 0, to: Math.PI / 2 }, m2, 'angle that is added, in radians'),
  m3: number({ from: 0, to: 2 }, m3, 'margin taken from the cosine'),
  easyMargin: flag(false, 'switch for the angular margin only where the cosine is above 0; needs m1 = 1'),
  filter: number(
    { from: 0, to: 1 },
    0,
    'cosine above which another class counts as a wrong label, its logit as 0; 0 is off',
  ),
  ...shared,
});
const options = { m1: number({ above: 0, to: 4 }, 1, 'factor of the angle'), ...marginsOf(64, 0.3, 0.2) };
const multiMarginOptions = marginsOf(32, 0.2, 0.35);
export type CombinedMarginOptions = Options<typeof options>;
export type MultiMarginOptions = Options<typeof multiMarginOptions>;

/** Cosines are kept this far from ±1 where the angle itself is needed, so that its gradient stays finite. */
const margin = 1e-7;

/** cos(m1·θ + m2), continued so that it falls for all θ; c = cos θ. */
function fallingCosine(c: Expr, m1: number, m2: number): Expr {
  const angle = E.add(E.mul(E.acos(E.min(E.max(c, -1 + margin), 1 - margin)), m1), m2);
  const k = E.floor(E.mul(angle, 1 / Math.PI));
  const even = E.eq(E.mul(E.floor(E.mul(k, 0.5)), 2), k);
  const cosine = E.cos(angle);
  return E.sub(E.where(even, cosine, E.neg(cosine)), E.mul(k, 2));
}

/** The combined margin's logits as expressions of the cosine; `classes` is read where s is 'auto'. */
export function combinedMarginLogits({
  s = 64,
  m1 = 1,
  m2 = 0.3,
  m3 = 0.2,
  easyMargin = false,
  filter = 0,
  classes,
}: CombinedMarginOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  const angular = (c: Expr) => (m1 === 1 ? angularMargin(c, m2, easyMargin) : fallingCosine(c, m1, m2));
  const kept = (c: Expr) => (filter > 0 ? E.where(E.gt(c, filter), E.constant(0), c) : c);
  return { target: (c) => E.mul(E.sub(angular(c), m3), factor), nonTarget: (c) => E.mul(kept(c), factor) };
}

/** The combined-margin head: class centres [C, d] and the loss over them. */
export class CombinedMargin extends Head<typeof options> {
  constructor(given: LossSize & CombinedMarginOptions) {
    super('combined', options, given);
    const { m1, easyMargin } = this.options;
    if (easyMargin && m1 !== 1)
      throw new UsageError(`combined: expected m1 = 1 with easyMargin, got ${m1}\nLeave one of the two out.`);
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, centres, labels, combinedMarginLogits(this.options));
  }
}

/** The MultiMargin head: an angular margin m2 and a cosine margin m3. */
export class MultiMargin extends Head<typeof multiMarginOptions> {
  constructor(given: LossSize & MultiMarginOptions) {
    super('multimargin', multiMarginOptions, given);
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, centres, labels, combinedMarginLogits(this.options));
  }
}

export const combinedMargin = defineLoss({
  name: 'combined',
  means: 'factor, angular and cosine margin: s·(cos(m1·θ + m2) − m3)',
  source: 'Deng et al. 2019, arXiv 1801.07698, eq. 4',
  role: 'head',
  options,
  create: (size, given) => new CombinedMargin({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: combinedMarginLogits(o) }],
});

export const multiMargin = defineLoss({
  name: 'multimargin',
  means: 'angular and cosine margin: s·(cos(θ + m2) − m3)',
  source: 'Face_Pytorch; the combined margin of arXiv 1801.07698, eq. 4, with m1 = 1',
  role: 'head',
  options: multiMarginOptions,
  create: (size, given) => new MultiMargin({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: combinedMarginLogits(o) }],
});
