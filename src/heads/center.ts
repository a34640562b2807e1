/**
 * Losses that draw an embedding to a centre of its class, beside a head that keeps the classes apart.
 *
 * Center loss: Wen, Zhang, Li, Qiao 2016, "A Discriminative Feature Learning Approach for Deep Face Recognition" (ECCV),
 * in the three forms in use:
 * - paper: ½·‖x − c‖² (eq. 2, the mean over the batch for its sum), and after it the centres of the batch move by eq. 4,
 *   c ← c − α·Σ(c − x)/(1 + n), n the class's pictures in the batch; α 0.5.
 * - facenet: the mean of (x − c)² over the batch and over the embedding, c ← c − α·Σ(c − x); α 0.05 (1 − α is its `alfa`).
 * - gradient: mean ‖x − c‖², limited to 1e-12 … 1e12, and centres that the optimizer moves (Face_Pytorch, at a rate of 0.5).
 * In the first two the centres are state: they start at 0 and move by the rule alone, whatever the loss's weight.
 *
 * Agent-center loss (Face_Pytorch): s·(1 − cos(x, c)) with centres the optimizer moves.
 */
import { flag, number, type Options, oneOf, optional, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { normalInit } from '../nn/init.ts';
import { nameTree, Parameter, StateBuffer } from '../nn/module.ts';
import { gather, scatterAdd } from '../ops/gather.ts';
import { clamp, elementwise, mul, square, sub } from '../ops/pointwise.ts';
import { mean, stopGradient, sum } from '../ops/reduce.ts';
import { l2Normalize } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';
import { checkBatch } from './batch.ts';
import { sizeOptions } from './head.ts';
import { defineLoss, Loss, type LossResult, type LossSize } from './loss.ts';

const centerOptions = {
  form: oneOf(['paper', 'facenet', 'gradient'], 'paper', 'form of the loss, and how its centres move'),
  alpha: optional(
    number({ from: 0, to: 1 }, 0.5, 'rate α at which centres move; left out, 0.5 (paper) or 0.05 (facenet)'),
  ),
};
export type CenterOptions = Options<typeof centerOptions>;

/** Center loss with its centres [C, d]: state in the forms 'paper' and 'facenet', a parameter in the form 'gradient'. */
export class CenterLoss extends Loss {
  readonly options: Required<LossSize> & ResolvedOptions<typeof centerOptions>;
  readonly centers: StateBuffer | Parameter;
  constructor(given: LossSize & CenterOptions) {
    super();
    const o = resolveOptions('center', { ...sizeOptions, ...centerOptions }, { ...given });
    this.options = o.form === 'gradient' ? o : { ...o, alpha: o.alpha ?? (o.form === 'paper' ? 0.5 : 0.05) };
    const shape = [o.classes, o.embeddingSize];
    this.centers = o.form === 'gradient' ? new Parameter(shape, normalInit(1)) : new StateBuffer(shape);
    nameTree(this, 'center');
  }
  loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): LossResult {
    checkBatch('center', embeddings, labels);
    const own = gather(this.centers.tensor, labels); // [B, d]
    const { form } = this.options;
    if (this.centers instanceof StateBuffer && ctx.training) this.move(sub(own, embeddings), labels, ctx);
    const squares = square(sub(embeddings, own)); // [B, d]
    if (form === 'facenet') return { loss: mean(squares) };
    const distances = sum(squares, 1); // [B]
    return { loss: form === 'paper' ? mul(mean(distances), 0.5) : mean(clamp(distances, 1e-12, 1e12)) };
  }
  /** Moves the centres of the batch's classes by α times the sum, or the paper's mean, of c − x. */
  private move(fromOwn: Tensor, labels: Tensor, ctx: TraceContext): void {
    const { form, alpha = 0, classes } = this.options;
    const total = scatterAdd(labels, stopGradient(fromOwn), classes); // [C, d]
    const step = E.mul(E.input(1), alpha);
    if (form === 'facenet') {
      ctx.assign(this.centers, elementwise('centers', E.sub(E.input(0), step), [this.centers.tensor, total]));
      return;
    }
    const one = elementwise('one', E.constant(1), [], [labels.shape[0]!, 1]);
    const counts = scatterAdd(labels, one, classes); // [C, 1]
    const next = E.sub(E.input(0), E.div(step, E.add(E.input(2), 1)));
    ctx.assign(this.centers, elementwise('centers', next, [this.centers.tensor, total, counts]));
  }
}

export const center = defineLoss({
  name: 'center',
  means: 'squared distance to a centre of the own class',
  source: 'Wen et al. 2016, eq. 2 and 4',
  role: 'term',
  options: centerOptions,
  create: (size, given) => new CenterLoss({ ...size, ...given }),
});

const agentOptions = {
  s: number({ above: 0 }, 1, 'scale of the loss'),
  overClasses: flag(false, 'switch for the mean over all B·C pairs of picture and class, as Face_Pytorch has it'),
};
export type AgentCenterOptions = Options<typeof agentOptions>;

/** Agent-center loss with its trained centres [C, d], of which only the direction counts. */
export class AgentCenterLoss extends Loss {
  readonly options: Required<LossSize> & ResolvedOptions<typeof agentOptions>;
  readonly centers: Parameter;
  constructor(given: LossSize & AgentCenterOptions) {
    super();
    this.options = resolveOptions('agent-center', { ...sizeOptions, ...agentOptions }, { ...given });
    this.centers = new Parameter([this.options.classes, this.options.embeddingSize], normalInit(1));
    nameTree(this, 'agent-center');
  }
  loss(embeddings: Tensor, labels: Tensor): LossResult {
    checkBatch('agent-center', embeddings, labels);
    const { s, overClasses, classes } = this.options;
    const own = l2Normalize(gather(this.centers.tensor, labels)); // [B, d]
    const targetCos = sum(mul(l2Normalize(embeddings), own), 1); // [B]
    const weight = overClasses ? s / classes : s;
    return { loss: mean(elementwise('agentCenter', E.mul(E.sub(1, E.input(0)), weight), [targetCos])), targetCos };
  }
}

export const agentCenter = defineLoss({
  name: 'agent-center',
  means: 'one minus the cosine to a trained centre of the own class',
  source: 'Face_Pytorch',
  role: 'term',
  options: agentOptions,
  create: (size, given) => new AgentCenterLoss({ ...size, ...given }),
});
