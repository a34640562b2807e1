/**
 * Adam and its relatives, as PyTorch defines them:
 *
 *   m ← β1·m + (1 − β1)·g;   v ← β2·v + (1 − β2)·g²
 *   p ← p − lr · m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps)
 *
 * (Kingma & Ba 2015, algorithm 1.) Weight decay is added to g, or taken off the weights beside the step, p ← (1 − lr·decay)·p,
 * where it is decoupled: AdamW (Loshchilov & Hutter 2019, algorithm 2). AMSGrad (Reddi et al. 2018) divides by the largest v
 * so far. With `epsilonHat`, eps stands beside sqrt(v) before its bias is corrected (end of Kingma & Ba's section 2), as in
 * TensorFlow: it matters where eps is not tiny, as with the 0.1 that some face networks were trained with.
 */
import { flag, number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, mul, sqrt, sub } from '../ops/pointwise.ts';
import { defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { biasCorrection, counterOf, countUp, decayed, runningMean, scalarsOf, slotsOf } from './slots.ts';

const adamWOptions = {
  beta1: number({ from: 0, below: 1 }, 0.9, 'share of the old mean gradient that is kept'),
  beta2: number({ from: 0, below: 1 }, 0.999, 'share of the old mean square that is kept'),
  eps: number({ from: 0 }, 1e-8, 'number beside the root that is divided by'),
  epsilonHat: flag(false, 'switch for eps beside the uncorrected root, as TensorFlow has it'),
  amsgrad: flag(false, 'switch for dividing by the largest mean square so far'),
};
const adamOptions = {
  ...adamWOptions,
  decoupled: flag(false, 'switch for weight decay beside the step instead of in the gradient (AdamW)'),
};
export type AdamWOptions = Options<typeof adamWOptions> & ParameterRules;
export type AdamOptions = Options<typeof adamOptions> & ParameterRules;

/**
 * Makes an Adam optimizer for these parameters. Its state is `adam.steps` and, of each parameter,
 * `<parameter>.firstMoment`, `.secondMoment` and, with `amsgrad`, `.largestSecondMoment`.
 * @throws UsageError for an option outside of its range
 */
export function adam(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: AdamOptions = {},
): Optimizer {
  const { beta1, beta2, eps, epsilonHat, amsgrad, decoupled } = resolveOptions('adam', adamOptions, given);
  const steps = counterOf('adam.steps', parameters);
  const first = slotsOf(parameters, 'firstMoment');
  const second = slotsOf(parameters, 'secondMoment');
  const largest = amsgrad ? slotsOf(parameters, 'largestSecondMoment') : [];
  return {
    parameters,
    state: [steps, ...first, ...second, ...largest],
    update(gradients, lr, ctx) {
      const t = countUp(steps, gradients, ctx); // [parameters], as what follows from it
      const root = sqrt(biasCorrection(beta2, t));
      const rates = scalarsOf(div(lr, biasCorrection(beta1, t)));
      const roots = scalarsOf(root);
      const epsilons = epsilonHat ? scalarsOf(div(eps, root)) : undefined;
      parameters.forEach((p, i) => {
        const gradient = gradients[i];
        if (!gradient) return;
        const wd = decay(p);
        const g = decoupled ? gradient : decayed(gradient, p, wd);
        const m = runningMean(first[i]!.tensor, g, beta1);
        const v = runningMean(second[i]!.tensor, mul(g, g), beta2);
        const top = amsgrad ? maximum(largest[i]!.tensor, v) : v;
        ctx.assign(first[i]!, m);
        ctx.assign(second[i]!, v);
        if (amsgrad) ctx.assign(largest[i]!, top);
        const kept = decoupled && wd ? mul(p.tensor, sub(1, mul(rateOf(lr, p, rate), wd))) : p.tensor;
        const step = div(m, add(div(sqrt(top), roots[i]!), epsilons?.[i] ?? eps));
        ctx.assign(p, sub(kept, mul(rateOf(rates[i]!, p, rate), step)));
      });
    },
  };
}

/** Adam with decoupled weight decay (Loshchilov & Hutter 2019): `adam` with `decoupled`. */
export const adamW = (parameters: readonly Parameter[], { decay, rate, ...given }: AdamWOptions = {}): Optimizer =>
  adam(parameters, {
    ...resolveOptions('adamw', adamWOptions, given),
    ...(decay && { decay }),
    rate,
    decoupled: true,
  });

export const adamEntry = defineOptimizer({
  name: 'adam',
  means: 'steps of a length that follows the mean and the mean square of the gradients',
  source: 'Kingma & Ba 2015, arXiv 1412.6980, algorithm 1',
  options: adamOptions,
  create: adam,
});

export const adamWEntry = defineOptimizer({
  name: 'adamw',
  means: 'Adam with weight decay beside the step',
  source: 'Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2',
  options: adamWOptions,
  create: adamW,
});
