/**
 * RMSprop, as PyTorch defines it:
 *
 *   g ← g + decay·p;   s ← alpha·s + (1 − alpha)·g²;   a ← alpha·a + (1 − alpha)·g
 *   r = sqrt(centered ? s − a² : s) + eps;   b ← momentum·b + g/r;   p ← p − lr·b
 *
 * (Tieleman & Hinton 2012, lecture 6e; centered: Graves 2013, eqs. 38 to 41.) TensorFlow 1's form differs in three places:
 * s starts from 1, r = sqrt((centered ? s − a² : s) + eps), and the rate is inside the momentum, b ← momentum·b + lr·g/r,
 * p ← p − b. With the eps of 1 that some face networks were trained with, that is another optimizer.
 */
import { flag, number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, mul, sqrt, sub } from '../ops/pointwise.ts';
import { defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { decayed, runningMean, slotsOf } from './slots.ts';

const options = {
  alpha: number({ from: 0, below: 1 }, 0.99, 'share of the old mean square that is kept'),
  momentum: number({ from: 0, below: 1 }, 0, 'share of the velocity that is kept'),
  centered: flag(false, 'switch for dividing by the deviation of the gradients instead of their mean square'),
  eps: number({ from: 0 }, 1e-8, 'number beside the root that is divided by'),
  tensorflow: flag(false, "switch for TensorFlow's form: eps under the root, squares from 1, the rate in the velocity"),
};
export type RmspropOptions = Options<typeof options> & ParameterRules;

/**
 * Makes an RMSprop optimizer for these parameters. Its state is `<parameter>.meanSquare`, with `centered`
 * `.meanGradient` and with momentum `.velocity`.
 * @throws UsageError for an option outside of its range
 */
export function rmsprop(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: RmspropOptions = {},
): Optimizer {
  const { alpha, momentum, centered, eps, tensorflow } = resolveOptions('rmsprop', options, given);
  const squares = slotsOf(parameters, 'meanSquare', tensorflow ? 1 : 0);
  const means = centered ? slotsOf(parameters, 'meanGradient') : [];
  const velocities = momentum ? slotsOf(parameters, 'velocity') : [];
  return {
    parameters,
    state: [...squares, ...means, ...velocities],
    update(gradients, lr, ctx) {
      parameters.forEach((p, i) => {
        const gradient = gradients[i];
        if (!gradient) return;
        const own = rateOf(lr, p, rate);
        const g = decayed(gradient, p, decay(p));
        const s = runningMean(squares[i]!.tensor, mul(g, g), alpha);
        ctx.assign(squares[i]!, s);
        let power = s;
        if (centered) {
          const a = runningMean(means[i]!.tensor, g, alpha);
          ctx.assign(means[i]!, a);
          // Rounding can leave a steady gradient's variance a little below 0.
          power = maximum(sub(s, mul(a, a)), 0);
        }
        const step = div(g, tensorflow ? sqrt(add(power, eps)) : add(sqrt(power), eps));
        const added = tensorflow ? mul(own, step) : step;
        const b = momentum ? add(mul(velocities[i]!.tensor, momentum), added) : added;
        if (momentum) ctx.assign(velocities[i]!, b);
        ctx.assign(p, sub(p.tensor, tensorflow ? b : mul(own, b)));
      });
    },
  };
}

export const rmspropEntry = defineOptimizer({
  name: 'rmsprop',
  means: 'steps divided by the root of the mean square of recent gradients',
  source: 'Tieleman & Hinton 2012, lecture 6e, as PyTorch or TensorFlow arranges it',
  options,
  create: rmsprop,
});
