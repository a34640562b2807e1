/**
 * Softmax over classes without a margin.
 *
 * `Softmax` is the plain classifier x·Wᵀ (+ b) on the embeddings as they are, the usual first stage before a margin loss.
 * `NormFace` is its normalised form, logits s·cos θ: Wang, Xiang, Cheng, Yuille 2017, "NormFace: L2 Hypersphere Embedding
 * for Face Verification" (arXiv 1704.06369), section 3, with a fixed scale.
 */
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
import { checkScale, Head, type HeadOptions } from './head.ts';

export interface SoftmaxOptions extends HeadOptions {
  /** One learned offset per class, 0 at first. Default false. */
  readonly bias?: boolean;
}

/** The plain classifier: logits x·Wᵀ + b. Hits are rows whose own logit is the largest. */
export class Softmax extends Head {
  readonly bias: Parameter | undefined;
  readonly options: Required<SoftmaxOptions>;
  constructor({ classes, embeddingSize = 128, bias = false }: SoftmaxOptions) {
    super('Softmax', { classes, embeddingSize });
    this.bias = bias ? new Parameter([classes], constantInit(0)) : undefined;
    this.options = { classes, embeddingSize, bias };
    nameTree(this, 'softmax');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    const products = matmul(embeddings, this.weight.tensor, { transB: true }); // [B, C]
    const logits = this.bias ? add(products, this.bias.tensor) : products;
    const own = gather(this.weight.tensor, labels); // [B, d]
    return {
      loss: crossEntropy(logits, labels),
      targetCos: sum(mul(l2Normalize(embeddings), l2Normalize(own)), 1),
      hits: hits(logits, labels),
    };
  }
}

export interface NormFaceOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
}

/** NormFace's logits as expressions of the cosine. */
export const normFaceLogits = ({ s = 64 }: Pick<NormFaceOptions, 's'> = {}): MarginLogits => ({
  target: (c) => E.mul(c, s),
  nonTarget: (c) => E.mul(c, s),
});

/** The NormFace head: class centres [C, d] and the loss over them. */
export class NormFace extends Head {
  readonly options: Required<NormFaceOptions>;
  constructor({ classes, embeddingSize = 128, s = 64 }: NormFaceOptions) {
    super('NormFace', { classes, embeddingSize });
    checkScale('NormFace', s, 'Margin losses use 30 to 64.');
    this.options = { classes, embeddingSize, s };
    nameTree(this, 'normface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, this.weight.tensor, labels, normFaceLogits(this.options));
  }
}
