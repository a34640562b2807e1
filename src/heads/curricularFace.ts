/**
 * CurricularFace: Huang, Wang, Tai, Liu, Shen, Li, Li, Huang 2020, "CurricularFace: Adaptive Curriculum Learning Loss for
 * Deep Face Recognition" (arXiv 2004.00288), section 3.2. The target logit is ArcFace's, s·cos(θ + m). Another class's
 * logit is s·cos θj where it is easy, that is cos θj ≤ cos(θ + m), and s·cos θj·(t + cos θj) where it is hard.
 *
 * t is a moving mean of the target cosines, near 0 at first: hard classes weigh little in the beginning and more later.
 * Every training pass sets t ← 0.99·t + 0.01·mean cos θ before it is used. It takes no gradient.
 */
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { elementwise } from '../ops/pointwise.ts';
import { mean, stopGradient } from '../ops/reduce.ts';
import { type ClassCosines, type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { angularMargin, checkOption, checkScale, cosPlus, Head, type HeadOptions } from './head.ts';

export interface CurricularFaceOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
  /** Margin in radians, 0 to π/2. Default 0.5. */
  readonly m?: number;
  /** Share of the old t that is kept, 0 to 1. Default 0.99. */
  readonly momentum?: number;
}

/** CurricularFace's logits as expressions of the cosine, the target's cosine and t. */
export const curricularFaceLogits = ({
  s = 64,
  m = 0.5,
}: Pick<CurricularFaceOptions, 's' | 'm'> = {}): MarginLogits => ({
  target: (c) => E.mul(angularMargin(c, m), s),
  nonTarget: (c, targetCos, t) => E.mul(E.where(E.gt(c, cosPlus(targetCos, m)), E.mul(c, E.add(t!, c)), c), s),
});

/** The CurricularFace head: class centres [C, d], t, and the loss. */
export class CurricularFace extends Head {
  readonly t: StateBuffer;
  readonly options: Required<CurricularFaceOptions>;
  constructor({ classes, embeddingSize = 128, s = 64, m = 0.5, momentum = 0.99 }: CurricularFaceOptions) {
    const name = 'CurricularFace';
    super(name, { classes, embeddingSize });
    checkScale(name, s, 'The paper uses 64.');
    checkOption(name, 'a margin m between 0 and π/2 radians', m, m >= 0 && m <= Math.PI / 2, 'The paper uses 0.5.');
    checkOption(name, 'a momentum between 0 and 1', momentum, momentum >= 0 && momentum <= 1, 'The paper uses 0.99.');
    this.t = new StateBuffer([], 0);
    this.options = { classes, embeddingSize, s, m, momentum };
    nameTree(this, 'curricularface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B]. While training, t moves first. */
  loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const { momentum } = this.options;
    const rowScalars = ({ targetCos }: ClassCosines): Tensor[] => {
      if (!ctx.training) return [this.t.tensor];
      const moved = E.add(E.mul(E.input(0), momentum), E.mul(E.input(1), 1 - momentum));
      const next = stopGradient(elementwise('t', moved, [this.t.tensor, mean(targetCos)]));
      ctx.assign(this.t, next);
      return [next];
    };
    return marginSoftmax(embeddings, this.weight.tensor, labels, curricularFaceLogits(this.options), { rowScalars });
  }
}
