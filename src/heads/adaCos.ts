/**
 * AdaCos: Zhang, Zhao, Qiao, Wang, Li 2019, "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face
 * Representations" (arXiv 1905.00292). Logits s·cos θ without a margin, at a scale that nobody has to choose.
 *
 * Fixed (eq. 8): s = √2·ln(C − 1). Dynamic (eq. 15): it starts there, and every training pass sets
 * s ← ln B / cos(min(π/4, θmed)), where B is the batch's mean of Σ exp(s·cos θ) over the other classes at the scale before
 * and θmed the median angle to the own centre. The scale takes no gradient. It never falls below 1. Other heads have the
 * fixed scale by `s: 'auto'`.
 *
 * While the median angle stays above π/4 and the other cosines are large, the dynamic scale feeds on itself and may grow without
 * end, in PyTorch's implementations as here; a lower learning rate or `dynamic: false` helps.
 */
import { UsageError } from '../core/errors.ts';
import { flag, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { reshape, slice } from '../ops/movement.ts';
import { elementwise } from '../ops/pointwise.ts';
import { logSumExp, stopGradient } from '../ops/reduce.ts';
import { type ClassCosines, type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { topK } from '../ops/topK.ts';
import type { TraceContext } from '../plan/trace.ts';
import { adaCosScale, Head, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = { dynamic: flag(true, 'switch for a scale that moves with the batches'), ...shared };
export type AdaCosOptions = Options<typeof options>;

const logits: MarginLogits = {
  target: (c, scale) => E.mul(c, scale!),
  nonTarget: (c, _, scale) => E.mul(c, scale!),
};

/** The AdaCos head: class centres [C, d], the scale, and the loss. */
export class AdaCos extends Head<typeof options> {
  readonly scale: StateBuffer;
  constructor(given: LossSize & AdaCosOptions) {
    super('adacos', options, given);
    const { classes } = this.options;
    if (classes < 3)
      throw new UsageError(
        `adacos: expected at least 3 classes, got ${classes}\nIts scale is 0 for two; choose another head.`,
      );
    this.scale = new StateBuffer([], adaCosScale(classes));
    nameTree(this, 'adacos');
  }
  /** While training, the scale moves first if it is dynamic. */
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const rowScalars = (cosines: ClassCosines): Tensor[] => {
      if (!ctx.training || !this.options.dynamic) return [this.scale.tensor];
      const next = stopGradient(this.nextScale(cosines));
      ctx.assign(this.scale, next);
      return [next];
    };
    return marginSoftmax(embeddings, centres, labels, logits, { rowScalars });
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

export const adaCos = defineLoss({
  name: 'adacos',
  means: 's·cos θ at a scale that adapts itself',
  source: 'Zhang et al. 2019, arXiv 1905.00292, eqs. 8 and 15',
  role: 'head',
  options,
  create: (size, given) => new AdaCos({ ...size, ...given }),
  curves: () =>
    [1000, 100_000].map((classes) => ({ label: `C = ${classes}`, logits, rowScalars: [adaCosScale(classes)] })),
});
