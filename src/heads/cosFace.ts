/**
 * CosFace: Wang, Wang, Zhou, Ji, Gong, Zhou, Li, Liu 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition"
 * (arXiv 1801.09414), eq. 4; the same loss as AM-Softmax (Wang, Cheng, Liu, Liu 2018, arXiv 1801.05599, eq. 6). The target
 * logit is s·(cos θ − m), the others s·cos θ. CosFace has s = 64 and m = 0.35, AM-Softmax s = 30, InsightFace's PyTorch
 * recipes m = 0.4.
 */
import { number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  m: number({ from: 0, to: 2 }, 0.35, 'margin taken from the cosine'),
  ...shared,
};
export type CosFaceOptions = Options<typeof options>;

/** CosFace's target and other logits as expressions of the cosine; `classes` is read where s is 'auto'. */
export function cosFaceLogits({ s = 64, m = 0.35, classes }: CosFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  return { target: (c) => E.mul(E.sub(c, m), factor), nonTarget: (c) => E.mul(c, factor) };
}

/** The CosFace head: class centres [C, d] and the loss over them. */
export class CosFace extends Head<typeof options> {
  constructor(given: LossSize & CosFaceOptions) {
    super('cosface', options, given);
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, centres, labels, cosFaceLogits(this.options));
  }
}

export const cosFace = defineLoss({
  name: 'cosface',
  means: 'additive cosine margin: s·(cos θ − m)',
  source: 'Wang et al. 2018, arXiv 1801.09414, eq. 4; AM-Softmax, arXiv 1801.05599, eq. 6',
  role: 'head',
  options,
  create: (size, given) => new CosFace({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: cosFaceLogits(o) }],
});
