/**
 * SphereFace (A-Softmax): Liu, Wen, Yu, Li, Raj, Song 2017, "SphereFace: Deep Hypersphere Embedding for Face Recognition"
 * (arXiv 1704.08063), eq. 7. Class centres are normalised, embeddings are not: the logits are ‖x‖·ψ(θ) for the target and
 * ‖x‖·cos θ for the others, with ψ(θ) = (−1)^k·cos(mθ) − 2k for θ between kπ/m and (k + 1)π/m.
 *
 * ψ is hard to start from, so the target logit is ‖x‖·(λ·cos θ + ψ(θ))/(1 + λ) with λ = max(λmin, base·(1 + γ·t)^−power)
 * at forward pass t = 1, 2, …: the annealing of the paper's appendix with the numbers of the authors' code (base 1000,
 * γ 0.12, power 1, λmin 5). t is state, so a resumed run goes on where it was.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { nameTree, StateBuffer } from '../nn/module.ts';
import { add, elementwise } from '../ops/pointwise.ts';
import { type MarginLogits, type MarginSoftmaxResult, marginSoftmax } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { checkOption, Head, type HeadOptions, rowNorms } from './head.ts';

export interface SphereFaceOptions extends HeadOptions {
  /** What the target's angle is multiplied by: 1, 2, 3 or 4. Default 4. */
  readonly m?: number;
  /** λ before the first pass. Default 1000. */
  readonly lambdaBase?: number;
  /** Default 0.12. */
  readonly lambdaGamma?: number;
  /** Default 1. */
  readonly lambdaPower?: number;
  /** Where λ stops falling. Default 5. */
  readonly lambdaMin?: number;
}

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
export class SphereFace extends Head {
  /** Training passes so far. Parts of an accumulated step count one by one. */
  readonly iteration: StateBuffer;
  readonly options: Required<SphereFaceOptions>;
  constructor(options: SphereFaceOptions) {
    const { classes, embeddingSize = 128, m = 4 } = options;
    const { lambdaBase = 1000, lambdaGamma = 0.12, lambdaPower = 1, lambdaMin = 5 } = options;
    super('SphereFace', { classes, embeddingSize });
    checkOption('SphereFace', 'm to be 1, 2, 3 or 4', m, [1, 2, 3, 4].includes(m), 'The paper uses 4.');
    for (const [name, value, usual] of [
      ['lambdaBase', lambdaBase, 1000],
      ['lambdaGamma', lambdaGamma, 0.12],
      ['lambdaPower', lambdaPower, 1],
      ['lambdaMin', lambdaMin, 5],
    ] as const)
      checkOption(
        'SphereFace',
        `${name} of at least 0`,
        value,
        value >= 0 && value < Infinity,
        `The authors' code uses ${usual}.`,
      );
    this.iteration = new StateBuffer([], 0);
    this.options = { classes, embeddingSize, m, lambdaBase, lambdaGamma, lambdaPower, lambdaMin };
    nameTree(this, 'sphereface');
  }
  /** Mean loss of embeddings [B, d] with int32 labels [B]. While training, the pass is counted first. */
  loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): MarginSoftmaxResult {
    const { lambdaBase, lambdaGamma, lambdaPower, lambdaMin } = this.options;
    const now = ctx.training ? add(this.iteration.tensor, 1) : this.iteration.tensor;
    if (ctx.training) ctx.assign(this.iteration, now);
    const falling = E.mul(E.pow(E.add(E.mul(E.input(0), lambdaGamma), 1), -lambdaPower), lambdaBase);
    const lambda = elementwise('lambda', E.max(falling, lambdaMin), [now]);
    const rowScalars = [rowNorms(embeddings), lambda];
    return marginSoftmax(embeddings, this.weight.tensor, labels, sphereFaceLogits(this.options), { rowScalars });
  }
}
