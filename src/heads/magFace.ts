/**
 * MagFace: Meng, Zhao, Huang, Zhou 2021, "MagFace: A Universal Representation for Face Recognition and Quality Assessment"
 * (arXiv 2103.06627), section 3.2. The margin grows with the embedding's length a, limited to la to ua, from lm to um:
 * the target logit is s·cos(θ + m(a)) with m(a) = lm + (um − lm)·(a − la)/(ua − la), the others s·cos θ. The regulariser
 * λg·mean g(a), g(a) = 1/a + a/ua², rewards length, so that what is easily recognised becomes long: length is quality.
 *
 * Gradients flow through the length into margin and regulariser. As in the authors' code the margin is applied only where
 * the cosine is above 0, unless `easyMargin` is false: then past θ + m = π the logit goes on as ArcFace's.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree } from '../nn/module.ts';
import { add, clamp, elementwise } from '../ops/pointwise.ts';
import { mean } from '../ops/reduce.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import { checkOption, checkScale, Head, type HeadOptions, rowNorms, sineOf } from './head.ts';

export interface MagFaceOptions extends HeadOptions {
  /** Scale of the logits. Default 64. */
  readonly s?: number;
  /** Shortest length that counts, above 0. Default 10. */
  readonly la?: number;
  /** Longest length that counts. Default 110. */
  readonly ua?: number;
  /** Margin at the shortest length, in radians. Default 0.4; the authors' code has 0.45. */
  readonly lm?: number;
  /** Margin at the longest length, in radians, up to π/2. Default 0.8. */
  readonly um?: number;
  /** Weight of the regulariser. Default 35; the authors' code has 20. */
  readonly lambdaG?: number;
  /** Apply the margin only where the cosine is above 0. Default true. */
  readonly easyMargin?: boolean;
}

/** MagFace's logits as expressions of the cosine and the limited length. */
export function magFaceLogits({
  s = 64,
  la = 10,
  ua = 110,
  lm = 0.4,
  um = 0.8,
  easyMargin = true,
}: Omit<MagFaceOptions, keyof HeadOptions | 'lambdaG'> = {}): MarginLogits {
  const target = (c: Expr, a?: Expr): Expr => {
    const m = E.add(E.mul(E.sub(a!, la), (um - lm) / (ua - la)), lm);
    const [cosine, sine] = [E.cos(m), E.sin(m)];
    const shifted = E.sub(E.mul(c, cosine), E.mul(sineOf(c), sine));
    const kept = easyMargin
      ? E.where(E.gt(c, 0), shifted, c)
      : E.where(E.gt(c, E.neg(cosine)), shifted, E.sub(c, E.mul(m, sine)));
    return E.mul(kept, s);
  };
  return { target, nonTarget: (c) => E.mul(c, s) };
}

/** The MagFace head: class centres [C, d] and the loss over them, regulariser included. */
export class MagFace extends Head {
  readonly options: Required<MagFaceOptions>;
  constructor(options: MagFaceOptions) {
    const { classes, embeddingSize = 128, s = 64, la = 10, ua = 110 } = options;
    const { lm = 0.4, um = 0.8, lambdaG = 35, easyMargin = true } = options;
    super('MagFace', { classes, embeddingSize });
    checkScale('MagFace', s, 'The paper uses 64.');
    checkOption('MagFace', 'a length la above 0', la, la > 0 && la < Infinity, 'The paper uses 10.');
    checkOption('MagFace', `a length ua above la = ${la}`, ua, ua > la && ua < Infinity, 'The paper uses 110.');
    checkOption('MagFace', 'a margin lm of at least 0', lm, lm >= 0, 'The paper uses 0.4.');
    checkOption(
      'MagFace',
      `a margin um between lm = ${lm} and π/2 radians`,
      um,
      um >= lm && um <= Math.PI / 2,
      'The paper uses 0.8.',
    );
    checkOption(
      'MagFace',
      'a weight lambdaG of at least 0',
      lambdaG,
      lambdaG >= 0 && lambdaG < Infinity,
      'The paper uses 35.',
    );
    this.options = { classes, embeddingSize, s, la, ua, lm, um, lambdaG, easyMargin };
    nameTree(this, 'magface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B], with the target cosines and the hits. */
  loss(embeddings: Tensor, labels: Tensor): MarginSoftmaxResult {
    const { la, ua, lambdaG } = this.options;
    const length = clamp(rowNorms(embeddings), la, ua);
    const logits = magFaceLogits(this.options);
    const result = marginSoftmax(embeddings, this.weight.tensor, labels, logits, { rowScalars: [length] });
    const g = E.add(E.div(1, E.input(0)), E.mul(E.input(0), 1 / ua ** 2));
    return { ...result, loss: add(result.loss, mean(elementwise('magFaceG', E.mul(g, lambdaG), [length]))) };
  }
}
