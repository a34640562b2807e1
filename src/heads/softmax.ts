/**
 * Softmax over classes without a margin.
 *
 * `Softmax` is the plain classifier x·Wᵀ (+ b) on the embeddings as they are, the usual first stage before a margin loss.
 * `NormFace` is its normalised form, logits s·cos θ: Wang, Xiang, Cheng, Yuille 2017, "NormFace: L2 Hypersphere Embedding
 * for Face Verification" (arXiv 1704.06369), section 3, with a fixed scale.
 */
import { flag, number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { constantInit } from '../nn/init.ts';
import { nameTree, Parameter } from '../nn/module.ts';
import { gather } from '../ops/gather.ts';
import { matmul } from '../ops/matmul.ts';
import { add, mul } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import {
  crossEntropy,
  hits,
  l2Normalize,
  type MarginLogits,
  type MarginSoftmaxResult,
  marginSoftmax,
} from '../ops/softmax.ts';
import { Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossResult, type LossSize } from './loss.ts';

const options = {
  bias: flag(false, 'switch for a learned offset per class, 0 at first'),
  labelSmoothing: number({ from: 0, below: 1 }, 0, 'share of the target that is spread over all classes'),
  init: shared.init,
};
export type SoftmaxOptions = Options<typeof options>;

/** The plain classifier: logits x·Wᵀ + b. Hits are rows whose own logit is the largest. */
export class Softmax extends Head<typeof options> {
  readonly bias: Parameter | undefined;
  constructor(given: LossSize & SoftmaxOptions) {
    super('softmax', options, given);
    this.bias = this.options.bias ? new Parameter([this.options.classes], constantInit(0)) : undefined;
    nameTree(this, 'softmax');
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): LossResult {
    const products = matmul(embeddings, centres, { transB: true }); // [B, C]
    const logits = this.bias ? add(products, this.bias.tensor) : products;
    const own = gather(centres, labels); // [B, d]
    return {
      loss: crossEntropy(logits, labels, this.options),
      targetCos: sum(mul(l2Normalize(embeddings), l2Normalize(own)), 1),
      hits: hits(logits, labels),
    };
  }
}

export const softmaxEntry = defineLoss({
  name: 'softmax',
  means: 'plain softmax classifier, without normalisation or margin',
  source: 'cross-entropy of x·Wᵀ + b',
  role: 'head',
  options,
  create: (size, given) => new Softmax({ ...size, ...given }),
});

const normFaceOptions = { s: scale(64), ...shared };
export type NormFaceOptions = Options<typeof normFaceOptions>;

/** NormFace's logits as expressions of the cosine; `classes` is read where s is 'auto'. */
export function normFaceLogits({ s = 64, classes }: NormFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  return { target: (c) => E.mul(c, factor), nonTarget: (c) => E.mul(c, factor) };
}

/** The NormFace head: class centres [C, d] and the loss over them. */
export class NormFace extends Head<typeof normFaceOptions> {
  constructor(given: LossSize & NormFaceOptions) {
    super('normface', normFaceOptions, given);
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, centres, labels, normFaceLogits(this.options));
  }
}

export const normFace = defineLoss({
  name: 'normface',
  means: 'normalised softmax without a margin: s·cos θ',
  source: 'Wang et al. 2017, arXiv 1704.06369, section 3, with a fixed scale',
  role: 'head',
  options: normFaceOptions,
  create: (size, given) => new NormFace({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: normFaceLogits(o) }],
});
