/**
 * Prelogits norm: keeps embeddings short before they are normalised, mean ‖|x| + 1e-5‖ₚ over the batch (facenet and
 * MobileFaceNet_TF, with p 1 and a weight of 2e-5).
 *
 * For p other than 1 a row is divided by its largest element first, so that no power overflows; that element cancels from
 * the result and from the gradient.
 */
import { number, type Options, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { elementwise } from '../ops/pointwise.ts';
import { max, mean, stopGradient, sum } from '../ops/reduce.ts';
import { checkBatch } from './batch.ts';
import { sizeOptions } from './head.ts';
import { defineLoss, Loss, type LossResult, type LossSize } from './loss.ts';

const options = { p: number({ from: 1, to: 16 }, 1, 'which norm') };
export type PrelogitsNormOptions = Options<typeof options>;

/** Mean p-norm of the embeddings. It has no parameters and needs no labels. */
export class PrelogitsNorm extends Loss {
  readonly options: Required<LossSize> & ResolvedOptions<typeof options>;
  constructor(given: LossSize & PrelogitsNormOptions) {
    super();
    this.options = resolveOptions('prelogits-norm', { ...sizeOptions, ...options }, { ...given });
    nameTree(this, 'prelogits-norm');
  }
  loss(embeddings: Tensor, labels: Tensor): LossResult {
    checkBatch('prelogits-norm', embeddings, labels);
    const { p } = this.options;
    const size = elementwise('size', E.add(E.abs(E.input(0)), 1e-5), [embeddings]); // [B, d]
    if (p === 1) return { loss: mean(sum(size, 1)) };
    const top = stopGradient(max(size, 1, true)); // [B, 1]
    const powers = sum(elementwise('power', E.pow(E.div(E.input(0), E.input(1)), p), [size, top]), 1, true);
    return { loss: mean(elementwise('norm', E.mul(E.pow(E.input(0), 1 / p), E.input(1)), [powers, top])) };
  }
}

export const prelogitsNorm = defineLoss({
  name: 'prelogits-norm',
  means: 'mean p-norm of the embeddings',
  source: 'facenet, MobileFaceNet_TF',
  role: 'term',
  options,
  create: (size, given) => new PrelogitsNorm({ ...size, ...given }),
});
