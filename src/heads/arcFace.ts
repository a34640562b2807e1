/**
 * ArcFace: Deng, Guo, Xue, Zafeiriou 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition"
 * (arXiv 1801.07698), eq. 3. The target logit is s·cos(θ + m), the others s·cos θ.
 *
 * cos(θ + m) = c·cos m − sqrt(1 − c²)·sin m falls with θ only up to θ + m = π. Past it the target logit is continued
 * by c − m·sin m ("hard", as in the authors' code), or with `easyMargin` the margin is applied only where c > 0.
 */
import { UsageError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { angularMargin, Head, type HeadOptions } from './head.ts';

export interface ArcFaceOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
  /** Margin in radians, 0 to π/2. Default 0.5. */
  readonly m?: number;
  /** Apply the margin only where the cosine is above 0. Default false. */
  readonly easyMargin?: boolean;
}

/** ArcFace's target and other logits as expressions of the cosine. */
export function arcFaceLogits({
  s = 64,
  m = 0.5,
  easyMargin = false,
}: Pick<ArcFaceOptions, 's' | 'm' | 'easyMargin'> = {}): MarginLogits {
  const target = (c: Expr): Expr => E.mul(angularMargin(c, m, easyMargin), s);
  return { target, nonTarget: (c) => E.mul(c, s) };
}

/** The ArcFace head: class centres [C, d] and the loss over them. */
export class ArcFace extends Head {
  readonly options: Required<ArcFaceOptions>;
  constructor(options: ArcFaceOptions) {
    const { classes, embeddingSize = 128, s = 64, m = 0.5, easyMargin = false } = options;
    super('ArcFace', { classes, embeddingSize });
    if (!(s > 0)) throw new UsageError(`ArcFace: expected a scale s above 0, got ${s}\nThe paper uses 64.`);
    if (!(m >= 0 && m <= Math.PI / 2))
      throw new UsageError(`ArcFace: expected a margin m between 0 and π/2 radians, got ${m}\nThe paper uses 0.5.`);
    this.options = { classes, embeddingSize, s, m, easyMargin };
    nameTree(this, 'arcface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, this.weight.tensor, labels, arcFaceLogits(this.options));
  }
}
