/**
 * The combined margin: Deng, Guo, Xue, Zafeiriou 2019, "ArcFace" (arXiv 1801.07698), eq. 4. The target logit is
 * s·(cos(m1·θ + m2) − m3), the others s·cos θ: (1, m, 0) is ArcFace, (1, 0, m) CosFace, and (1, 0.2, 0.35) with s = 32 has
 * been called MultiMargin.
 *
 * The cosine falls only up to m1·θ + m2 = π. Past it, with m1 = 1 the angular part goes on as ArcFace's does; with another
 * m1 as SphereFace's ψ does: (−1)^k·cos t − 2k for t = m1·θ + m2 between kπ and (k + 1)π.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { angularMargin, checkOption, checkScale, Head, type HeadOptions } from './head.ts';

export interface CombinedMarginOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
  /** What the angle is multiplied by, above 0 and up to 4. Default 1. */
  readonly m1?: number;
  /** What is added to the angle, in radians, 0 to π/2. Default 0.3. */
  readonly m2?: number;
  /** What is taken from the cosine, 0 to 2. Default 0.2. */
  readonly m3?: number;
  /** Apply the angular margin only where the cosine is above 0; needs m1 = 1. Default false. */
  readonly easyMargin?: boolean;
}

/** The options of MultiMargin: angular margin 0.2 and cosine margin 0.35 at scale 32. */
export const multiMargin = { s: 32, m1: 1, m2: 0.2, m3: 0.35 } as const;

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

/** The combined margin's logits as expressions of the cosine. */
export function combinedMarginLogits({
  s = 64,
  m1 = 1,
  m2 = 0.3,
  m3 = 0.2,
  easyMargin = false,
}: Omit<CombinedMarginOptions, keyof HeadOptions> = {}): MarginLogits {
  const angular = (c: Expr) => (m1 === 1 ? angularMargin(c, m2, easyMargin) : fallingCosine(c, m1, m2));
  return { target: (c) => E.mul(E.sub(angular(c), m3), s), nonTarget: (c) => E.mul(c, s) };
}

/** The combined-margin head: class centres [C, d] and the loss over them. */
export class CombinedMargin extends Head {
  readonly options: Required<CombinedMarginOptions>;
  constructor(options: CombinedMarginOptions) {
    const { classes, embeddingSize = 128, s = 64, m1 = 1, m2 = 0.3, m3 = 0.2, easyMargin = false } = options;
    const name = 'CombinedMargin';
    super('CombinedMargin', { classes, embeddingSize });
    checkScale(name, s, 'The usual scale is 64.');
    checkOption(name, 'a factor m1 above 0 and up to 4', m1, m1 > 0 && m1 <= 4, 'The usual factor is 1.');
    checkOption(
      name,
      'an angle m2 between 0 and π/2 radians',
      m2,
      m2 >= 0 && m2 <= Math.PI / 2,
      'The usual angle is 0.3.',
    );
    checkOption(name, 'a margin m3 between 0 and 2', m3, m3 >= 0 && m3 <= 2, 'The usual margin is 0.2.');
    checkOption(name, 'm1 to be 1 with easyMargin', m1, m1 === 1 || !easyMargin, 'Leave one of the two out.');
    this.options = { classes, embeddingSize, s, m1, m2, m3, easyMargin };
    nameTree(this, 'combinedmargin');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, this.weight.tensor, labels, combinedMarginLogits(this.options));
  }
}
