/**
 * Stochastic gradient descent with momentum, weight decay and Nesterov's form, as PyTorch defines them:
 *
 *   g ← g + decay·p;   v ← momentum·v + g;   p ← p − lr·(nesterov ? g + momentum·v : v)
 *
 * (Sutskever et al. 2013, eqs. 3 and 4, in PyTorch's arrangement: the learning rate multiplies the velocity.)
 */
import { UsageError } from '../core/errors.ts';
import { flag, number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, mul, sub } from '../ops/pointwise.ts';
import { defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { decayed, slotsOf } from './slots.ts';

const options = {
  momentum: number({ from: 0, below: 1 }, 0.9, 'share of the velocity that is kept'),
  nesterov: flag(false, "switch for Nesterov's form of the momentum"),
};
export type SgdOptions = Options<typeof options> & ParameterRules;

/** Makes an SGD optimizer for these parameters. Its velocities are named `<parameter>.velocity`. */
export function sgd(parameters: readonly Parameter[], { decay = () => 0, rate, ...given }: SgdOptions = {}): Optimizer {
  const { momentum, nesterov } = resolveOptions('sgd', options, given);
  if (nesterov && momentum === 0)
    throw new UsageError(
      'sgd: expected a momentum above 0 for Nesterov momentum, got 0\nSet momentum, or leave nesterov out.',
    );
  const slots = slotsOf(parameters, 'velocity');
  return {
    parameters,
    state: momentum ? slots : [],
    update(gradients, lr, ctx) {
      parameters.forEach((p, i) => {
        const gradient = gradients[i];
        if (!gradient) return;
        const own = rateOf(lr, p, rate);
        const g = decayed(gradient, p, decay(p));
        if (!momentum) {
          ctx.assign(p, sub(p.tensor, mul(own, g)));
          return;
        }
        const v = add(mul(slots[i]!.tensor, momentum), g);
        ctx.assign(slots[i]!, v);
        ctx.assign(p, sub(p.tensor, mul(own, nesterov ? add(g, mul(v, momentum)) : v)));
      });
    },
  };
}

export const sgdEntry = defineOptimizer({
  name: 'sgd',
  means: 'stochastic gradient descent with momentum',
  source: 'Sutskever et al. 2013, eqs. 3 and 4, as PyTorch arranges them',
  options,
  create: sgd,
});
