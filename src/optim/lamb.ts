/**
 * LAMB: Adam's step with decoupled weight decay, scaled per layer to the length of its weights (You et al. 2020,
 * algorithm 2):
 *
 *   m ← β1·m + (1 − β1)·g;   v ← β2·v + (1 − β2)·g²
 *   u = m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps) + decay·p;   p ← p − lr · φ(‖p‖)/‖u‖ · u
 *
 * φ limits to `minNorm` and `maxNorm`. Where φ(‖p‖) or ‖u‖ is 0 the ratio is 1, which the paper leaves open: weights that
 * start from 0 could not move otherwise.
 */
import { UsageError } from '../core/errors.ts';
import { number, type Options, optional, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, minimum, mul, sqrt, sub } from '../ops/pointwise.ts';
import { adapts, defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { biasCorrection, counterOf, countUp, normOf, ratioOrOne, runningMean, scalarsOf, slotsOf } from './slots.ts';

const options = {
  beta1: number({ from: 0, below: 1 }, 0.9, 'share of the old mean gradient that is kept'),
  beta2: number({ from: 0, below: 1 }, 0.999, 'share of the old mean square that is kept'),
  eps: number({ from: 0 }, 1e-6, 'number beside the root that is divided by'),
  minNorm: number({ from: 0 }, 0, 'least length of the weights in the ratio'),
  maxNorm: optional(number({ above: 0 }, 10, 'largest length of the weights in the ratio; no limit without it')),
  adapt: adapts,
};
export type LambOptions = Options<typeof options> & ParameterRules;

/**
 * Makes a LAMB optimizer for these parameters. Its state is `lamb.steps`, `<parameter>.firstMoment` and `.secondMoment`.
 * @throws UsageError for an option outside of its range
 */
export function lamb(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: LambOptions = {},
): Optimizer {
  const { beta1, beta2, eps, minNorm, maxNorm, adapt } = resolveOptions('lamb', options, given);
  if (maxNorm !== undefined && maxNorm < minNorm)
    throw new UsageError(
      `lamb: expected maxNorm of at least minNorm = ${minNorm}, got ${maxNorm}\nLeave maxNorm out for no limit.`,
    );
  const steps = counterOf('lamb.steps', parameters);
  const first = slotsOf(parameters, 'firstMoment');
  const second = slotsOf(parameters, 'secondMoment');
  const limited = (norm: Tensor) => {
    const above = minNorm > 0 ? maximum(norm, minNorm) : norm;
    return maxNorm === undefined ? above : minimum(above, maxNorm);
  };
  return {
    parameters,
    state: [steps, ...first, ...second],
    update(gradients, lr, ctx) {
      const t = countUp(steps, gradients, ctx); // [parameters]
      const biases = scalarsOf(biasCorrection(beta1, t));
      const roots = scalarsOf(sqrt(biasCorrection(beta2, t)));
      parameters.forEach((p, i) => {
        const g = gradients[i];
        if (!g) return;
        const own = rateOf(lr, p, rate);
        const wd = decay(p);
        const m = runningMean(first[i]!.tensor, g, beta1);
        const v = runningMean(second[i]!.tensor, mul(g, g), beta2);
        ctx.assign(first[i]!, m);
        ctx.assign(second[i]!, v);
        const r = div(div(m, biases[i]!), add(div(sqrt(v), roots[i]!), eps));
        const u = wd ? add(r, mul(p.tensor, wd)) : r;
        const adapted = adapt === 'all' || p.shape.length > 1;
        const step = adapted ? mul(own, ratioOrOne(limited(normOf(p.tensor)), normOf(u))) : own;
        ctx.assign(p, sub(p.tensor, mul(step, u)));
      });
    },
  };
}

export const lambEntry = defineOptimizer({
  name: 'lamb',
  means: "AdamW whose steps follow the length of each layer's weights, for large batches",
  source: 'You et al. 2020, arXiv 1904.00962, algorithm 2',
  options,
  create: lamb,
});
