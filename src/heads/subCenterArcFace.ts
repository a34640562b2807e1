/**
 * Sub-center ArcFace: Deng, Guo, Liu, Gong, Zafeiriou 2020, "Sub-center ArcFace: Boosting Face Recognition by Large-Scale
 * Noisy Web Faces" (ECCV), section 3.2. Every class has K centres and its cosine is the one to the nearest of them; the
 * rest is ArcFace. Wrong images of a person gather at centres of their own and no longer pull at the main one.
 */
import type { Tensor } from '../core/tensor.ts';
import { nameTree } from '../nn/module.ts';
import { type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { type ArcFaceOptions, arcFaceLogits } from './arcFace.ts';
import { checkOption, checkScale, Head } from './head.ts';

export interface SubCenterArcFaceOptions extends ArcFaceOptions {
  /** Centres per class. Default 3. */
  readonly k?: number;
}

/** The Sub-center ArcFace head: centres [C·K, d], those of a class side by side, and the loss over them. */
export class SubCenterArcFace extends Head {
  readonly options: Required<SubCenterArcFaceOptions>;
  constructor(options: SubCenterArcFaceOptions) {
    const { classes, embeddingSize = 128, s = 64, m = 0.5, easyMargin = false, k = 3 } = options;
    const name = 'SubCenterArcFace';
    checkOption(name, 'at least 1 centre per class', k, Number.isInteger(k) && k >= 1, 'The paper uses k = 3.');
    super(name, { classes, embeddingSize }, k);
    checkScale(name, s, 'The paper uses 64.');
    checkOption(name, 'a margin m between 0 and π/2 radians', m, m >= 0 && m <= Math.PI / 2, 'The paper uses 0.5.');
    this.options = { classes, embeddingSize, s, m, easyMargin, k };
    nameTree(this, 'subcenterarcface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    const { k } = this.options;
    return marginSoftmax(embeddings, this.weight.tensor, labels, arcFaceLogits(this.options), { centresPerClass: k });
  }
}
