/**
 * Adagrad, as PyTorch defines it:
 *
 *   g ← g + decay·p;   s ← s + g²;   p ← p − lr/(1 + (t − 1)·lrDecay) · g/(sqrt(s) + eps)
 *
 * (Duchi, Hazan & Singer 2011, the diagonal form.) TensorFlow's is `start` 0.1 and `eps` 0.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, mul, sqrt, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { counterOf, countUp, decayed, expectOptions, slotsOf } from './slots.ts';

export interface AdagradOptions {
  /** How fast the rate itself falls, by 1/(1 + (t − 1)·lrDecay). Default 0. */
  readonly lrDecay?: number;
  /** What the sums of squares start from. Default 0. */
  readonly start?: number;
  /** Default 1e-10. */
  readonly eps?: number;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/**
 * Makes an Adagrad optimizer for these parameters. Its state is `adagrad.steps` and `<parameter>.sumOfSquares`.
 * @throws UsageError for an option outside of its range
 */
export function adagrad(
  parameters: readonly Parameter[],
  { lrDecay = 0, start = 0, eps = 1e-10, decay = () => 0 }: AdagradOptions = {},
): Optimizer {
  expectOptions('adagrad', {}, { lrDecay, start, eps });
  const steps = counterOf('adagrad.steps');
  const sums = slotsOf(parameters, 'sumOfSquares', start);
  return {
    parameters,
    state: [steps, ...sums],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      const t = countUp(steps, ctx);
      const rate = lrDecay ? div(lr, add(mul(sub(t, 1), lrDecay), 1)) : lr;
      parameters.forEach((p, i) => {
        const g = decayed(gradients[i]!, p, decay(p));
        const s = add(sums[i]!.tensor, mul(g, g));
        ctx.assign(sums[i]!, s);
        ctx.assign(p, sub(p.tensor, mul(rate, div(g, add(sqrt(s), eps)))));
      });
    },
  };
}
