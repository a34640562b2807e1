/**
 * AdaFace: Kim, Jain, Liu 2022, "AdaFace: Quality Adaptive Margin for Face Recognition" (arXiv 2204.00964), section 3.3.
 * The length of an embedding tells the quality of its image. It is standardised by moving statistics and limited,
 * z = clip(h·(‖x‖ − μ)/(σ + ε), −1, 1), and sets the margins: the target logit is s·(cos(θ − m·z) − (m + m·z)), the others
 * s·cos θ. Good images (z = 1) are pressed where they are hard, bad ones (z = −1) where they are easy.
 *
 * As in the authors' code lengths are limited to 0.001 to 100, ε is 0.001, the angle θ − m·z is limited to 0 to π, lengths
 * and statistics take no gradient, and every update moves μ (20 at first) and σ (100) before they are used:
 * μ ← 0.99·μ + 0.01·mean.
 */
import { number, type Options } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { clamp, elementwise } from '../ops/pointwise.ts';
import { mean, stopGradient, sum } from '../ops/reduce.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { Head, rowNorms, scale, scaleOf, shared, sineOf } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  s: scale(64),
  m: number(
    { from: 0, to: Math.PI / 2 },
    0.4,
    'margin: radians of the angle, and half of the most taken from the cosine',
  ),
  h: number({ above: 0 }, 0.333, "share of the lengths' spread used before the limit"),
  momentum: number({ from: 0, to: 1 }, 0.99, 'share of the old statistics that is kept'),
  ...shared,
};
export type AdaFaceOptions = Options<typeof options>;

/** AdaFace's logits as expressions of the cosine and z; `classes` is read where s is 'auto'. */
export function adaFaceLogits({ s = 64, m = 0.4, classes }: AdaFaceOptions & Partial<LossSize> = {}): MarginLogits {
  const factor = scaleOf(s, classes);
  return {
    target(c, z) {
      const angle = E.mul(z!, -m);
      const cosine = E.cos(angle);
      const shifted = E.sub(E.mul(c, cosine), E.mul(sineOf(c), E.sin(angle)));
      const below = E.and(E.lt(angle, 0), E.gt(c, cosine)); // θ + angle < 0
      const above = E.and(E.gt(angle, 0), E.lt(c, E.neg(cosine))); // θ + angle > π
      const limited = E.where(below, 1, E.where(above, -1, shifted));
      return E.mul(E.sub(limited, E.add(E.mul(z!, m), m)), factor);
    },
    nonTarget: (c) => E.mul(c, factor),
  };
}

/** The AdaFace head: class centres [C, d], the moving mean and deviation of the lengths, and the loss. */
export class AdaFace extends Head<typeof options> {
  readonly normMean: StateBuffer;
  readonly normStd: StateBuffer;
  constructor(given: LossSize & AdaFaceOptions) {
    super('adaface', options, given);
    this.normMean = new StateBuffer([], 20);
    this.normStd = new StateBuffer([], 100);
    nameTree(this, 'adaface');
  }
  /** While training, the statistics move first. */
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const norms = stopGradient(clamp(rowNorms(embeddings), 0.001, 100));
    const [mu, sigma] = this.statistics(norms, ctx);
    const scaled = E.mul(E.div(E.sub(E.input(0), E.input(1)), E.add(E.input(2), 0.001)), this.options.h);
    const z = elementwise('quality', E.max(E.min(scaled, 1), -1), [norms, mu, sigma]);
    return marginSoftmax(embeddings, centres, labels, adaFaceLogits(this.options), { rowScalars: [z] });
  }
  private statistics(norms: Tensor, ctx: TraceContext): readonly [Tensor, Tensor] {
    const before = [this.normMean.tensor, this.normStd.tensor] as const;
    if (!ctx.training) return before;
    const [b] = norms.shape as [number];
    const momentum = this.options.momentum ** ctx.share;
    const average = mean(norms);
    const away = E.sub(E.input(0), E.input(1));
    const squares = sum(elementwise('squaredDistance', E.mul(away, away), [norms, average]));
    const moved = (batch: E.Expr) => E.add(E.mul(E.input(1), momentum), E.mul(batch, 1 - momentum));
    // The deviation divides by B − 1, as torch.std.
    const unbiased = E.sqrt(E.mul(E.input(0), 1 / Math.max(1, b - 1)));
    const mu = elementwise('normMean', moved(E.input(0)), [average, before[0]]);
    const sigma = elementwise('normStd', moved(unbiased), [squares, before[1]]);
    ctx.assign(this.normMean, mu);
    ctx.assign(this.normStd, sigma);
    return [mu, sigma];
  }
}

export const adaFace = defineLoss({
  name: 'adaface',
  means: "margins by the image's quality, which the embedding's length tells",
  source: 'Kim et al. 2022, arXiv 2204.00964, section 3.3',
  role: 'head',
  options,
  create: (size, given) => new AdaFace({ ...size, ...given }),
  curves: (o) => [-1, 0, 1].map((z) => ({ label: `quality ${z}`, logits: adaFaceLogits(o), rowScalars: [z] })),
});
