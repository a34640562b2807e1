/**
 * LARS: momentum whose rate per layer follows the lengths of its weights and gradient (You, Gitman & Ginsburg 2017,
 * eq. 6 and algorithm 1):
 *
 *   λ = trust·‖p‖/(‖g‖ + decay·‖p‖);   v ← momentum·v + lr·λ·(g + decay·p);   p ← p − v
 *
 * As in the paper the rate is inside the velocity, unlike in `sgd`. Where ‖p‖ or the divisor is 0, λ is 1, which the paper
 * leaves open: weights that start from 0 could not move otherwise.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, mul, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { decayed, expectOption, expectOptions, normOf, ratioOrOne, slotsOf } from './slots.ts';

export interface LarsOptions {
  /** Default 0.9. */
  readonly momentum?: number;
  /** The paper's η: how far a layer trusts its gradient. Default 0.001. */
  readonly trust?: number;
  /** Whether a parameter's rate is adapted; where not, λ is 1. Default all. */
  readonly adapt?: (p: Parameter) => boolean;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes a LARS optimizer for these parameters. Its velocities are named `<parameter>.velocity`.
 * @throws UsageError for an option outside of its range
 */
export function lars(
  parameters: readonly Parameter[],
  { momentum = 0.9, trust = 0.001, adapt = () => true, decay = () => 0 }: LarsOptions = {},
): Optimizer {
  expectOptions('lars', { momentum }, {});
  expectOption(trust > 0 && trust < Infinity, 'lars', 'trust above 0', trust, 'Usual is 0.001.');
  const velocities = slotsOf(parameters, 'velocity');
  return {
    parameters,
    state: velocities,
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      parameters.forEach((p, i) => {
        const g = gradients[i]!;
        const wd = decay(p);
        let rate = lr;
        if (adapt(p)) {
          const length = normOf(p.tensor);
          const divisor = wd ? add(normOf(g), mul(length, wd)) : normOf(g);
          rate = mul(lr, ratioOrOne(mul(length, trust), divisor));
        }
        const v = add(mul(velocities[i]!.tensor, momentum), mul(rate, decayed(g, p, wd)));
        ctx.assign(velocities[i]!, v);
        ctx.assign(p, sub(p.tensor, v));
      });
    },
  };
}
