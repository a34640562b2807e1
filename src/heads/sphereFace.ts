/**
 * SphereFace (A-Softmax): Liu, Wen, Yu, Li, Raj, Song 2017, "SphereFace: Deep Hypersphere Embedding for Face Recognition"
 * (arXiv 1704.08063), eq. 7. Class centres are normalised, embeddings are not: the logits are ‖x‖·ψ(θ) for the target and
 * ‖x‖·cos θ for the others, with ψ(θ) = (−1)^k·cos(mθ) − 2k for θ between kπ/m and (k + 1)π/m.
 *
 * ψ is hard to start from, so the target logit is ‖x‖·(λ·cos θ + ψ(θ))/(1 + λ) with λ = max(λmin, base·(1 + γ·t)^−power)
 * at update t = 1, 2, …: the annealing of the paper's appendix with the numbers of the authors' code (base 1000,
 * γ 0.12, power 1, λmin 5; Face_Pytorch has γ 0.0001 and power 2). t is state, so a resumed run goes on where it was.
 */
import { number, type Options, oneOf } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { add, elementwise } from '../ops/pointwise.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { Head, rowNorms, shared } from './head.ts';
import { defineLoss, type LossSize } from './loss.ts';

const options = {
  m: oneOf([1, 2, 3, 4], 4, "factor of the target's angle"),
  lambdaBase: number({ from: 0 }, 1000, 'λ before the first update'),
  lambdaGamma: number({ from: 0 }, 0.12, 'speed at which λ falls'),
  lambdaPower: number({ from: 0 }, 1, 'power with which λ falls'),
  lambdaMin: number({ from: 0 }, 5, 'value at which λ stops falling'),
  ...shared,
};
export type SphereFaceOptions = Options<typeof options>;

/** ψ(θ) from c = cos θ: cos(mθ) as a polynomial of c, folded down at every kπ/m; it and its gradient are continuous. */
export function sphereFacePsi(c: Expr, m: number): Expr {
  let [before, cosM] = [E.constant(1), c];
  for (let k = 2; k <= m; k++) [before, cosM] = [cosM, E.sub(E.mul(E.mul(c, 2), cosM), before)];
  let psi = cosM;
  for (let k = 1; k < m; k++)
    psi = E.where(E.lt(c, Math.cos((k * Math.PI) / m)), E.sub(k % 2 ? E.neg(cosM) : cosM, 2 * k), psi);
  return psi;
}

/** SphereFace's logits as expressions of the cosine, the embedding's length and λ. */
export const sphereFaceLogits = ({ m = 4 }: Pick<SphereFaceOptions, 'm'> = {}): MarginLogits => ({
  target: (c, norm, lambda) => E.mul(norm!, E.div(E.add(E.mul(lambda!, c), sphereFacePsi(c, m)), E.add(lambda!, 1))),
  nonTarget: (c, _, norm) => E.mul(norm!, c),
});

/** The SphereFace head: class centres [C, d], the pass it is at, and the loss. */
export class SphereFace extends Head<typeof options> {
  /** Updates so far. The parts of an accumulated step count as one together. */
  readonly iteration: StateBuffer;
  constructor(given: LossSize & SphereFaceOptions) {
    super('sphereface', options, given);
    this.iteration = new StateBuffer([], 0);
    nameTree(this, 'sphereface');
  }
  /** While training, the update is counted first. */
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const { lambdaBase, lambdaGamma, lambdaPower, lambdaMin } = this.options;
    const now = ctx.training ? add(this.iteration.tensor, ctx.share) : this.iteration.tensor;
    if (ctx.training) ctx.assign(this.iteration, now);
    const falling = E.mul(E.pow(E.add(E.mul(E.input(0), lambdaGamma), 1), -lambdaPower), lambdaBase);
    const lambda = elementwise('lambda', E.max(falling, lambdaMin), [now]);
    const rowScalars = [rowNorms(embeddings), lambda];
    return marginSoftmax(embeddings, centres, labels, sphereFaceLogits(this.options), { rowScalars });
  }
}

export const sphereFace = defineLoss({
  name: 'sphereface',
  means: 'multiplied angle: ‖x‖·cos(m·θ), eased in by λ',
  source: "Liu et al. 2017, arXiv 1704.08063, eq. 7; annealing of the authors' code",
  role: 'head',
  options,
  create: (size, given) => new SphereFace({ ...size, ...given }),
  curves: (o) =>
    [o.lambdaMin, o.lambdaBase].map((lambda) => ({
      label: `λ = ${lambda}`,
      logits: sphereFaceLogits(o),
      rowScalars: [1, lambda],
    })),
});
