/**
 * CosFace: Wang, Wang, Zhou, Ji, Gong, Zhou, Li, Liu 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition"
 * (arXiv 1801.09414), eq. 4; the same loss as AM-Softmax (Wang, Cheng, Liu, Liu 2018, arXiv 1801.05599, eq. 6). The target
 * logit is s·(cos θ − m), the others s·cos θ.
 */
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { checkOption, checkScale, Head, type HeadOptions } from './head.ts';

export interface CosFaceOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
  /** Margin taken from the cosine, 0 to 2. Default 0.35. */
  readonly m?: number;
}

/** CosFace's target and other logits as expressions of the cosine. */
export const cosFaceLogits = ({ s = 64, m = 0.35 }: Pick<CosFaceOptions, 's' | 'm'> = {}): MarginLogits => ({
  target: (c) => E.mul(E.sub(c, m), s),
  nonTarget: (c) => E.mul(c, s),
});

/** The CosFace head: class centres [C, d] and the loss over them. */
export class CosFace extends Head {
  readonly options: Required<CosFaceOptions>;
  constructor({ classes, embeddingSize = 128, s = 64, m = 0.35 }: CosFaceOptions) {
    super('CosFace', { classes, embeddingSize });
    checkScale('CosFace', s, 'The paper uses 64.');
    checkOption('CosFace', 'a margin m between 0 and 2', m, m >= 0 && m <= 2, 'The paper uses 0.35.');
    this.options = { classes, embeddingSize, s, m };
    nameTree(this, 'cosface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, this.weight.tensor, labels, cosFaceLogits(this.options));
  }
}
