/**
 * LARS: momentum whose rate per layer follows the lengths of its weights and gradient (You, Gitman & Ginsburg 2017,
 * eq. 6 and algorithm 1):
 *
 *   λ = trust·‖p‖/(‖g‖ + decay·‖p‖);   v ← momentum·v + lr·λ·(g + decay·p);   p ← p − v
 *
 * As in the paper the rate is inside the velocity, unlike in `sgd`. Where ‖p‖ or the divisor is 0, λ is 1, which the paper
 * leaves open: weights that start from 0 could not move otherwise.
 */
import { number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, mul, sub } from '../ops/pointwise.ts';
import { adapts, defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { decayed, normOf, ratioOrOne, slotsOf } from './slots.ts';

const options = {
  momentum: number({ from: 0, below: 1 }, 0.9, 'share of the velocity that is kept'),
  trust: number({ above: 0 }, 0.001, "trust of a layer in its gradient, the paper's η"),
  adapt: adapts,
};
export type LarsOptions = Options<typeof options> & ParameterRules;

/**
 * Makes a LARS optimizer for these parameters. Its velocities are named `<parameter>.velocity`.
 * @throws UsageError for an option outside of its range
 */
export function lars(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: LarsOptions = {},
): Optimizer {
  const { momentum, trust, adapt } = resolveOptions('lars', options, given);
  const velocities = slotsOf(parameters, 'velocity');
  return {
    parameters,
    state: velocities,
    update(gradients, lr, ctx) {
      parameters.forEach((p, i) => {
        const g = gradients[i];
        if (!g) return;
        const wd = decay(p);
        let own = rateOf(lr, p, rate);
        if (adapt === 'all' || p.shape.length > 1) {
          const length = normOf(p.tensor);
          const divisor = wd ? add(normOf(g), mul(length, wd)) : normOf(g);
          own = mul(own, ratioOrOne(mul(length, trust), divisor));
        }
        const v = add(mul(velocities[i]!.tensor, momentum), mul(own, decayed(g, p, wd)));
        ctx.assign(velocities[i]!, v);
        ctx.assign(p, sub(p.tensor, v));
      });
    },
  };
}

export const larsEntry = defineOptimizer({
  name: 'lars',
  means: "momentum whose rate follows the lengths of each layer's weights and gradient, for large batches",
  source: 'You, Gitman & Ginsburg 2017, arXiv 1708.03888, eq. 6 and algorithm 1',
  options,
  create: lars,
});
