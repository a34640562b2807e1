/**
 * LAMB: Adam's step with decoupled weight decay, scaled per layer to the length of its weights (You et al. 2020,
 * algorithm 2):
 *
 *   m ← β1·m + (1 − β1)·g;   v ← β2·v + (1 − β2)·g²
 *   u = m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps) + decay·p;   p ← p − lr · φ(‖p‖)/‖u‖ · u
 *
 * φ limits to `normRange`. Where φ(‖p‖) or ‖u‖ is 0 the ratio is 1, which the paper leaves open: weights that start from
 * 0 could not move otherwise.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, minimum, mul, sqrt, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import {
  biasCorrection,
  counterOf,
  countUp,
  expectOption,
  expectOptions,
  normOf,
  ratioOrOne,
  runningMean,
  slotsOf,
} from './slots.ts';

export interface LambOptions {
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Default 1e-6. */
  readonly eps?: number;
  /** Limits of the weights' length in the ratio. Default [0, Infinity]: as long as it is. */
  readonly normRange?: readonly [number, number];
  /** Whether a parameter's step is scaled; many leave out biases and norm layers. Default all. */
  readonly adapt?: (p: Parameter) => boolean;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes a LAMB optimizer for these parameters. Its state is `lamb.steps`, `<parameter>.firstMoment` and `.secondMoment`.
 * @throws UsageError for an option outside of its range
 */
export function lamb(
  parameters: readonly Parameter[],
  {
    beta1 = 0.9,
    beta2 = 0.999,
    eps = 1e-6,
    normRange: [low, high] = [0, Infinity],
    adapt = () => true,
    decay = () => 0,
  }: LambOptions = {},
): Optimizer {
  expectOptions('lamb', { beta1, beta2 }, { eps });
  expectOption(
    low >= 0 && low < Infinity && high > 0 && low <= high,
    'lamb',
    'normRange [low, high] with 0 <= low <= high',
    `[${low}, ${high}]`,
    'Leave it out for no limits.',
  );
  const steps = counterOf('lamb.steps');
  const first = slotsOf(parameters, 'firstMoment');
  const second = slotsOf(parameters, 'secondMoment');
  const limited = (norm: Tensor) => {
    const above = low > 0 ? maximum(norm, low) : norm;
    return high < Infinity ? minimum(above, high) : above;
  };
  return {
    parameters,
    state: [steps, ...first, ...second],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      const t = countUp(steps, ctx);
      const bias = biasCorrection(beta1, t);
      const root = sqrt(biasCorrection(beta2, t));
      parameters.forEach((p, i) => {
        const g = gradients[i]!;
        const wd = decay(p);
        const m = runningMean(first[i]!.tensor, g, beta1);
        const v = runningMean(second[i]!.tensor, mul(g, g), beta2);
        ctx.assign(first[i]!, m);
        ctx.assign(second[i]!, v);
        const r = div(div(m, bias), add(div(sqrt(v), root), eps));
        const u = wd ? add(r, mul(p.tensor, wd)) : r;
        const rate = adapt(p) ? mul(lr, ratioOrOne(limited(normOf(p.tensor)), normOf(u))) : lr;
        ctx.assign(p, sub(p.tensor, mul(rate, u)));
      });
    },
  };
}
