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
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, maximum, mul, sqrt, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { biasCorrection, counterOf, countUp, decayed, expectOptions, runningMean, slotsOf } from './slots.ts';

export interface AdamOptions {
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly eps?: number;
  /** eps beside the uncorrected sqrt(v), as TensorFlow has it. Default false. */
  readonly epsilonHat?: boolean;
  /** Divides by the largest second moment so far. Default false. */
  readonly amsgrad?: boolean;
  /** Weight decay beside the step instead of in the gradient (AdamW). Default false. */
  readonly decoupled?: boolean;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes an Adam optimizer for these parameters. Its state is `adam.steps` and, of each parameter,
 * `<parameter>.firstMoment`, `.secondMoment` and, with `amsgrad`, `.largestSecondMoment`.
 * @throws UsageError for an option outside of its range
 */
export function adam(
  parameters: readonly Parameter[],
  {
    beta1 = 0.9,
    beta2 = 0.999,
    eps = 1e-8,
    epsilonHat = false,
    amsgrad = false,
    decoupled = false,
    decay = () => 0,
  }: AdamOptions = {},
): Optimizer {
  expectOptions('adam', { beta1, beta2 }, { eps });
  const steps = counterOf('adam.steps');
  const first = slotsOf(parameters, 'firstMoment');
  const second = slotsOf(parameters, 'secondMoment');
  const largest = amsgrad ? slotsOf(parameters, 'largestSecondMoment') : [];
  return {
    parameters,
    state: [steps, ...first, ...second, ...largest],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      const t = countUp(steps, ctx);
      const rate = div(lr, biasCorrection(beta1, t));
      const root = sqrt(biasCorrection(beta2, t));
      const epsilon = epsilonHat ? div(eps, root) : eps;
      parameters.forEach((p, i) => {
        const wd = decay(p);
        const g = decoupled ? gradients[i]! : decayed(gradients[i]!, p, wd);
        const m = runningMean(first[i]!.tensor, g, beta1);
        const v = runningMean(second[i]!.tensor, mul(g, g), beta2);
        const top = amsgrad ? maximum(largest[i]!.tensor, v) : v;
        ctx.assign(first[i]!, m);
        ctx.assign(second[i]!, v);
        if (amsgrad) ctx.assign(largest[i]!, top);
        const kept = decoupled && wd ? mul(p.tensor, sub(1, mul(lr, wd))) : p.tensor;
        ctx.assign(p, sub(kept, mul(rate, div(m, add(div(sqrt(top), root), epsilon)))));
      });
    },
  };
}

/** Adam with decoupled weight decay (Loshchilov & Hutter 2019): `adam` with `decoupled`. */
export const adamW = (parameters: readonly Parameter[], options: Omit<AdamOptions, 'decoupled'> = {}): Optimizer =>
  adam(parameters, { ...options, decoupled: true });
