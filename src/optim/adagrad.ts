/**
 * Adagrad, as PyTorch defines it:
 *
 *   g ← g + decay·p;   s ← s + g²;   p ← p − lr/(1 + (t − 1)·lrDecay) · g/(sqrt(s) + eps)
 *
 * (Duchi, Hazan & Singer 2011, the diagonal form.) TensorFlow's is `start` 0.1 and `eps` 0.
 */
import { number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, mul, sqrt, sub } from '../ops/pointwise.ts';
import { defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { counterOf, countUp, decayed, scalarsOf, slotsOf } from './slots.ts';

const options = {
  lrDecay: number({ from: 0 }, 0, 'number by which the rate itself falls, as 1/(1 + (t − 1)·lrDecay)'),
  start: number({ from: 0 }, 0, 'number that the sums of squares start from'),
  eps: number({ from: 0 }, 1e-10, 'number beside the root that is divided by'),
};
export type AdagradOptions = Options<typeof options> & ParameterRules;

/**
 * Makes an Adagrad optimizer for these parameters. Its state is `adagrad.steps` and `<parameter>.sumOfSquares`.
 * @throws UsageError for an option outside of its range
 */
export function adagrad(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: AdagradOptions = {},
): Optimizer {
  const { lrDecay, start, eps } = resolveOptions('adagrad', options, given);
  const steps = counterOf('adagrad.steps', parameters);
  const sums = slotsOf(parameters, 'sumOfSquares', start);
  return {
    parameters,
    state: [steps, ...sums],
    update(gradients, lr, ctx) {
      const t = countUp(steps, gradients, ctx); // [parameters]
      const rates = lrDecay ? scalarsOf(div(lr, add(mul(sub(t, 1), lrDecay), 1))) : undefined;
      parameters.forEach((p, i) => {
        const gradient = gradients[i];
        if (!gradient) return;
        const g = decayed(gradient, p, decay(p));
        const s = add(sums[i]!.tensor, mul(g, g));
        ctx.assign(sums[i]!, s);
        ctx.assign(p, sub(p.tensor, mul(rateOf(rates?.[i] ?? lr, p, rate), div(g, add(sqrt(s), eps)))));
      });
    },
  };
}

export const adagradEntry = defineOptimizer({
  name: 'adagrad',
  means: 'steps divided by the root of the sum of all squared gradients',
  source: 'Duchi, Hazan & Singer 2011, as PyTorch arranges it',
  options,
  create: adagrad,
});
