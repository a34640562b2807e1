/**
 * AdaCos: Zhang, Zhao, Qiao, Wang, Li 2019, "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face
 * Representations" (arXiv 1905.00292). Logits s·cos θ without a margin, at a scale that nobody has to choose.
 *
 * Fixed (eq. 8): s = √2·ln(C − 1). Dynamic (eq. 15): it starts there, and every training pass sets
 * s ← ln B / cos(min(π/4, θmed)), where B is the batch's mean of Σ exp(s·cos θ) over the other classes at the scale before
 * and θmed the median angle to the own centre. The scale takes no gradient. It never falls below 1.
 */
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { reshape, slice } from '../ops/movement.ts';
import { elementwise } from '../ops/pointwise.ts';
import { logSumExp, stopGradient } from '../ops/reduce.ts';
import { type ClassCosines, type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { topK } from '../ops/topK.ts';
import type { TraceContext } from '../plan/trace.ts';
import { checkOption, Head, type HeadOptions } from './head.ts';

export interface AdaCosOptions extends HeadOptions {
  /** Move the scale with the batches. Default true. */
  readonly dynamic?: boolean;
}

/** √2·ln(C − 1), AdaCos's fixed scale for C classes (eq. 8); fit for any head's `s`. */
export const adaCosScale = (classes: number): number => Math.SQRT2 * Math.log(classes - 1);

const logits: MarginLogits = {
  target: (c, scale) => E.mul(c, scale!),
  nonTarget: (c, _, scale) => E.mul(c, scale!),
};

/** The AdaCos head: class centres [C, d], the scale, and the loss. */
export class AdaCos extends Head {
  readonly scale: StateBuffer;
  readonly options: Required<AdaCosOptions>;
  constructor({ classes, embeddingSize = 128, dynamic = true }: AdaCosOptions) {
    super('AdaCos', { classes, embeddingSize });
    checkOption('AdaCos', 'at least 3 classes', classes, classes >= 3, 'Its scale is 0 for two; choose another head.');
    this.scale = new StateBuffer([], adaCosScale(classes));
    this.options = { classes, embeddingSize, dynamic };
    nameTree(this, 'adacos');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B]. While training, the scale moves first if it is dynamic. */
  loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const rowScalars = (cosines: ClassCosines): Tensor[] => {
      if (!ctx.training || !this.options.dynamic) return [this.scale.tensor];
      const next = stopGradient(this.nextScale(cosines));
      ctx.assign(this.scale, next);
      return [next];
    };
    return marginSoftmax(embeddings, this.weight.tensor, labels, logits, { rowScalars });
  }
  private nextScale({ targetCos, otherLogSumExp }: ClassCosines): Tensor {
    const [b] = targetCos.shape as [number];
    const sums = logSumExp(otherLogSumExp((c, s) => E.mul(c, s!), [this.scale.tensor]));
    // Of an even number the smaller middle angle, as torch.median: the k-th largest cosine.
    const k = Math.ceil(b / 2);
    const median = reshape(slice(topK(targetCos, k).values, 0, k - 1), []);
    const scale = E.div(E.sub(E.input(0), Math.log(b)), E.max(E.input(1), Math.SQRT1_2));
    return elementwise('adaCosScale', E.max(scale, 1), [sums, median]);
  }
}
