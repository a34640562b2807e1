/**
 * RMSprop, as PyTorch defines it:
 *
 *   g ← g + decay·p;   s ← alpha·s + (1 − alpha)·g²;   a ← alpha·a + (1 − alpha)·g
 *   r = sqrt(centered ? s − a² : s) + eps;   b ← momentum·b + g/r;   p ← p − lr·b
 *
 * (Tieleman & Hinton 2012, lecture 6e; centered: Graves 2013, eqs. 38 to 41.) TensorFlow's differs: eps under the root,
 * s starting from 1, and the rate inside b.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, mul, sqrt, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { decayed, expectOptions, runningMean, slotsOf } from './slots.ts';

export interface RmspropOptions {
  /** Share of the old mean square that is kept. Default 0.99. */
  readonly alpha?: number;
  /** Default 0. */
  readonly momentum?: number;
  /** Divides by the deviation of the gradients instead of their mean square. Default false. */
  readonly centered?: boolean;
  /** Default 1e-8. */
  readonly eps?: number;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes an RMSprop optimizer for these parameters. Its state is `<parameter>.meanSquare`, with `centered`
 * `.meanGradient` and with momentum `.velocity`.
 * @throws UsageError for an option outside of its range
 */
export function rmsprop(
  parameters: readonly Parameter[],
  { alpha = 0.99, momentum = 0, centered = false, eps = 1e-8, decay = () => 0 }: RmspropOptions = {},
): Optimizer {
  expectOptions('rmsprop', { alpha, momentum }, { eps });
  const squares = slotsOf(parameters, 'meanSquare');
  const means = centered ? slotsOf(parameters, 'meanGradient') : [];
  const velocities = momentum ? slotsOf(parameters, 'velocity') : [];
  return {
    parameters,
    state: [...squares, ...means, ...velocities],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      parameters.forEach((p, i) => {
        const g = decayed(gradients[i]!, p, decay(p));
        const s = runningMean(squares[i]!.tensor, mul(g, g), alpha);
        ctx.assign(squares[i]!, s);
        let power = s;
        if (centered) {
          const a = runningMean(means[i]!.tensor, g, alpha);
          ctx.assign(means[i]!, a);
          // Rounding can leave a steady gradient's variance a little below 0.
          power = maximum(sub(s, mul(a, a)), 0);
        }
        const step = div(g, add(sqrt(power), eps));
        const b = momentum ? add(mul(velocities[i]!.tensor, momentum), step) : step;
        if (momentum) ctx.assign(velocities[i]!, b);
        ctx.assign(p, sub(p.tensor, mul(lr, b)));
      });
    },
  };
}
