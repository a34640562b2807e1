/**
 * Adadelta, as PyTorch (and TensorFlow) define it:
 *
 *   g ← g + decay·p;   s ← rho·s + (1 − rho)·g²;   d = sqrt(u + eps)/sqrt(s + eps)·g
 *   u ← rho·u + (1 − rho)·d²;   p ← p − lr·d
 *
 * (Zeiler 2012, algorithm 1, which has lr = 1.)
 */
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, mul, sqrt, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { decayed, expectOption, expectOptions, runningMean, slotsOf } from './slots.ts';

export interface AdadeltaOptions {
  /** Share of the old mean squares that is kept. Default 0.9. */
  readonly rho?: number;
  /** Above 0: the first step is as long as it says. Default 1e-6. */
  readonly eps?: number;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes an Adadelta optimizer for these parameters. Its state is `<parameter>.meanSquare` and `.meanSquareUpdate`.
 * @throws UsageError for an option outside of its range
 */
export function adadelta(
  parameters: readonly Parameter[],
  { rho = 0.9, eps = 1e-6, decay = () => 0 }: AdadeltaOptions = {},
): Optimizer {
  expectOptions('adadelta', { rho }, { eps });
  expectOption(eps > 0, 'adadelta', 'eps above 0', eps, 'With 0 no step is ever made. Usual is 1e-6.');
  const squares = slotsOf(parameters, 'meanSquare');
  const updates = slotsOf(parameters, 'meanSquareUpdate');
  return {
    parameters,
    state: [...squares, ...updates],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      parameters.forEach((p, i) => {
        const g = decayed(gradients[i]!, p, decay(p));
        const s = runningMean(squares[i]!.tensor, mul(g, g), rho);
        const d = mul(div(sqrt(add(updates[i]!.tensor, eps)), sqrt(add(s, eps))), g);
        ctx.assign(squares[i]!, s);
        ctx.assign(updates[i]!, runningMean(updates[i]!.tensor, mul(d, d), rho));
        ctx.assign(p, sub(p.tensor, mul(lr, d)));
      });
    },
  };
}
