/**
 * Triplet loss: an anchor must be nearer to a picture of its person than to one of another person, by a margin:
 * max(0, d(a, p) − d(a, n) + α). Schroff, Kalenichenko, Philbin 2015, "FaceNet" (arXiv 1503.03832), eq. 2 and 3; mining
 * within the batch as Hermans, Beyer, Leibe 2017, "In Defense of the Triplet Loss" (arXiv 1703.07737), eq. 5 to 7.
 *
 * - batch-all: every triplet of the batch; the mean is over those that still cost something (L≠0 there), or over all.
 * - batch-hard: each anchor with its farthest positive and its nearest negative.
 * - semi-hard: each pair of anchor and positive with the nearest negative that is farther than the positive (if that is
 *   within the margin it is FaceNet's semi-hard negative; past it the triplet costs nothing). Where no negative is farther
 *   than the positive, the farthest one, which costs least: such pairs are what has to be learned, and the hardest negative
 *   makes embeddings collapse (FaceNet, section 3.2). InsightFace's trainer draws one of the semi-hard negatives at random;
 *   here the hardest of them is taken, so a run repeats.
 *
 * The soft margin ln(1 + exp(d(a, p) − d(a, n))) (Hermans et al., section 3) goes on pulling past any margin. A batch
 * without a triplet costs 0. Sampling several pictures per person is the data's part.
 */
import { flag, number, type Options, oneOf, optional, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { gatherAlong } from '../ops/gather.ts';
import { concat, reshape, split } from '../ops/movement.ts';
import { add, elementwise } from '../ops/pointwise.ts';
import { argMin, max, sum } from '../ops/reduce.ts';
import { l2Normalize } from '../ops/softmax.ts';
import {
  checkBatch,
  far,
  farthestSame,
  nearestHits,
  nearestOther,
  pairDistances,
  pairKinds,
  samePerson,
  twoPeople,
} from './batch.ts';
import { sizeOptions } from './head.ts';
import { defineLoss, Loss, type LossResult, type LossSize } from './loss.ts';

const options = {
  mining: oneOf(['semi-hard', 'batch-hard', 'batch-all'], 'semi-hard', 'choice of triplets within the batch'),
  margin: optional(number({ from: 0 }, 0.3, 'margin α; left out, 0.3, or 0.35 for angles (FaceNet has 0.2)')),
  softMargin: flag(false, 'switch for ln(1 + exp(d(a, p) − d(a, n))) in place of the margin'),
  distance: oneOf(
    ['squared', 'euclidean', 'angle'],
    'squared',
    'distance: ‖a − b‖², its root, or the angle in radians',
  ),
  normalize: flag(true, 'switch for embeddings of length 1'),
  average: oneOf(['nonzero', 'all'], 'nonzero', 'mean over the triplets that cost something, or over all'),
};
export type TripletOptions = Options<typeof options>;

/** The smoothed hinge ln(1 + e^v), without overflow and with its slope at 0. */
const softplus = (v: Expr): Expr =>
  E.where(E.gt(v, 0), E.add(v, E.log(E.add(E.exp(E.neg(v)), 1))), E.log(E.add(E.exp(v), 1)));

/** Σ cost and number of triplets, scalars. */
type Totals = readonly [Tensor, Tensor];

/**
 * Distances and pair kinds from anchor to positive [n, B, 1] and to negative [n, 1, B], a few anchors at a time: what is
 * computed of their triplets [n, B, B] stays small.
 */
function anchorBlocks(distances: Tensor, kinds: Tensor) {
  const b = distances.shape[0]!;
  const n = Math.max(1, Math.floor(2 ** 21 / b ** 2));
  const sizes = Array.from({ length: Math.ceil(b / n) }, (_, i) => Math.min(n, b - i * n));
  const kindRows = split(kinds, sizes);
  return split(distances, sizes).map((rows, i) => {
    const positives = [sizes[i]!, b, 1];
    const negatives = [sizes[i]!, 1, b];
    return {
      ap: reshape(rows, positives),
      an: reshape(rows, negatives),
      kindAp: reshape(kindRows[i]!, positives),
      kindAn: reshape(kindRows[i]!, negatives),
    };
  });
}

/** Triplet loss over the triplets of a batch. It has no parameters. */
export class TripletLoss extends Loss {
  readonly options: Required<LossSize> & ResolvedOptions<typeof options> & { readonly margin: number };
  constructor(given: LossSize & TripletOptions) {
    super();
    const o = resolveOptions('triplet', { ...sizeOptions, ...options }, { ...given });
    this.options = { ...o, margin: o.margin ?? (o.distance === 'angle' ? 0.35 : 0.3) };
    nameTree(this, 'triplet');
  }

  loss(embeddings: Tensor, labels: Tensor): LossResult {
    checkBatch('triplet', embeddings, labels);
    const { mining, distance, normalize } = this.options;
    const distances = pairDistances(normalize ? l2Normalize(embeddings) : embeddings, distance); // [B, B]
    const kinds = pairKinds(labels);
    const [cost, count] = {
      'batch-all': () => this.batchAll(distances, kinds),
      'batch-hard': () => this.batchHard(distances, kinds),
      'semi-hard': () => this.semiHard(distances, kinds),
    }[mining]();
    return {
      loss: elementwise('tripletMean', E.div(E.input(0), E.max(E.input(1), 1)), [cost, count]),
      hits: nearestHits(distances, kinds),
    };
  }

  /** Sum of the costs of triplets and how many the mean is over; expressions of the operands say which and how far. */
  private costs(valid: Expr, positive: Expr, negative: Expr, operands: readonly Tensor[]): Totals {
    const { margin, softMargin, average } = this.options;
    const gap = E.sub(positive, negative);
    const hinge = E.add(gap, margin);
    const costly = softMargin ? valid : E.and(valid, E.gt(hinge, 0));
    const total = (label: string, e: Expr) => sum(sum(elementwise(label, e, operands), -1));
    return [
      total('tripletCost', E.where(costly, softMargin ? softplus(gap) : hinge, E.constant(0))),
      total('tripletCount', E.toNumber(average === 'all' ? valid : costly)),
    ];
  }

  private batchAll(distances: Tensor, kinds: Tensor): Totals {
    const valid = E.and(samePerson(E.input(2)), twoPeople(E.input(3)));
    const parts = anchorBlocks(distances, kinds).map(({ ap, an, kindAp, kindAn }) =>
      this.costs(valid, E.input(0), E.input(1), [ap, an, kindAp, kindAn]),
    );
    return parts.reduce(([cost, count], [c, n]) => [add(cost, c), add(count, n)]);
  }

  private batchHard(distances: Tensor, kinds: Tensor): Totals {
    const [positive, negative] = [E.input(0), E.input(1)];
    const valid = E.and(E.gt(positive, -far / 2), E.lt(negative, far / 2));
    return this.costs(valid, positive, negative, [farthestSame(distances, kinds), nearestOther(distances, kinds)]);
  }

  private semiHard(distances: Tensor, kinds: Tensor): Totals {
    const farther = E.and(twoPeople(E.input(2)), E.gt(E.input(1), E.input(0)));
    // Which picture it is takes no gradient; how far it is does.
    const at = concat(
      anchorBlocks(distances, kinds).map(({ ap, an, kindAn }) =>
        argMin(elementwise('farther', E.where(farther, E.input(1), E.constant(far)), [ap, an, kindAn]), 2),
      ),
    ); // [B, B]: of anchor and positive
    const farthest = max(
      elementwise('other', E.where(twoPeople(E.input(1)), E.input(0), E.constant(-far)), [distances, kinds]),
      1,
      true,
    ); // [B, 1]
    const operands = [distances, gatherAlong(distances, at), gatherAlong(kinds, at), farthest, kinds];
    const [own, nearest, kindNearest, last, kind] = operands.map((_, k) => E.input(k)) as [
      Expr,
      Expr,
      Expr,
      Expr,
      Expr,
    ];
    const found = E.and(twoPeople(kindNearest), E.gt(nearest, own));
    const valid = E.and(samePerson(kind), E.gt(last, -far / 2));
    return this.costs(valid, own, E.where(found, nearest, last), operands);
  }
}

export const triplet = defineLoss({
  name: 'triplet',
  means: 'nearer to the own person than to any other by a margin, over triplets of the batch',
  source: 'Schroff et al. 2015, arXiv 1503.03832, eq. 2 and 3; Hermans et al. 2017, arXiv 1703.07737, eq. 5 to 7',
  role: 'either',
  options,
  create: (size, given) => new TripletLoss({ ...size, ...given }),
});
