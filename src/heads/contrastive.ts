/**
 * Contrastive loss: Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping" (CVPR),
 * eq. 4, over all pairs of the batch: ½·D² for two pictures of one person, ½·max(0, m − D)² for two people, D the
 * distance. The mean is over all pairs. Two equal embeddings of two people have no direction to part in: no gradient.
 */
import { flag, number, type Options, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { elementwise, mul } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import { l2Normalize } from '../ops/softmax.ts';
import { checkBatch, nearestHits, pairDistances, pairKinds, rootOf, samePerson, twoPeople } from './batch.ts';
import { sizeOptions } from './head.ts';
import { defineLoss, Loss, type LossResult, type LossSize } from './loss.ts';

const options = {
  margin: number({ above: 0 }, 1, 'distance m past which two people cost nothing'),
  normalize: flag(true, 'switch for embeddings of length 1; the paper has none'),
};
export type ContrastiveOptions = Options<typeof options>;

/** Contrastive loss over the pairs of a batch. It has no parameters. */
export class ContrastiveLoss extends Loss {
  readonly options: Required<LossSize> & ResolvedOptions<typeof options>;
  constructor(given: LossSize & ContrastiveOptions) {
    super();
    this.options = resolveOptions('contrastive', { ...sizeOptions, ...options }, { ...given });
    nameTree(this, 'contrastive');
  }
  loss(embeddings: Tensor, labels: Tensor): LossResult {
    checkBatch('contrastive', embeddings, labels);
    const { margin, normalize } = this.options;
    const squared = pairDistances(normalize ? l2Normalize(embeddings) : embeddings, 'squared'); // [B, B]
    const kinds = pairKinds(labels);
    const short = E.max(E.sub(margin, rootOf(E.input(0))), 0);
    const costs = elementwise(
      'contrastive',
      E.where(
        samePerson(E.input(1)),
        E.mul(E.input(0), 0.5),
        E.where(twoPeople(E.input(1)), E.mul(E.mul(short, short), 0.5), E.constant(0)),
      ),
      [squared, kinds],
    );
    const b = labels.shape[0]!;
    return { loss: mul(sum(costs), 1 / Math.max(1, b * (b - 1))), hits: nearestHits(squared, kinds) };
  }
}

export const contrastive = defineLoss({
  name: 'contrastive',
  means: 'two pictures of one person near, of two people at least a margin apart, over pairs of the batch',
  source: 'Hadsell et al. 2006, eq. 4',
  role: 'either',
  options,
  create: (size, given) => new ContrastiveLoss({ ...size, ...given }),
});
