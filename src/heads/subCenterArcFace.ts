/**
 * Sub-center ArcFace: Deng, Guo, Liu, Gong, Zafeiriou 2020, "Sub-center ArcFace: Boosting Face Recognition by Large-Scale
 * Noisy Web Faces" (ECCV), section 3.2. Every class has K centres and its cosine is the one to the nearest of them; the
 * rest is ArcFace. Wrong images of a person gather at centres of their own and no longer pull at the main one.
 */
import { type Options, whole } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { arcFace, arcFaceLogits, arcFaceScalars } from './arcFace.ts';
import { Head } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = { ...arcFace.options, k: whole({ from: 1 }, 3, 'number of centres of each class') };
export type SubCenterArcFaceOptions = Options<typeof options>;

/** The Sub-center ArcFace head: centres [C·K, d], those of a class side by side, and the loss over them. */
export class SubCenterArcFace extends Head<typeof options> {
  constructor(given: LossSize & SubCenterArcFaceOptions) {
    super('subcenter-arcface', options, given, ({ k }) => k);
    arcFaceLogits(this.options); // refuses what does not go together
  }
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): MarginSoftmaxResult {
    return marginSoftmax(embeddings, centres, labels, arcFaceLogits(this.options), {
      centresPerClass: this.options.k,
      rowScalars: arcFaceScalars(this.options),
    });
  }
}

export const subCenterArcFace = defineLoss({
  name: 'subcenter-arcface',
  means: 'ArcFace with several centres per class, of which the nearest counts',
  source: 'Deng et al. 2020, "Sub-center ArcFace" (ECCV), section 3.2',
  role: 'head',
  options,
  create: (size, given) => new SubCenterArcFace({ ...size, ...given }),
  curves: (o) => [{ label: '', logits: arcFaceLogits(o) }],
});
