/**
 * Adadelta, as PyTorch (and TensorFlow) define it:
 *
 *   g ← g + decay·p;   s ← rho·s + (1 − rho)·g²;   d = sqrt(u + eps)/sqrt(s + eps)·g
 *   u ← rho·u + (1 − rho)·d²;   p ← p − lr·d
 *
 * (Zeiler 2012, algorithm 1, which has lr = 1.)
 */
import { number, type Options, resolveOptions } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { add, div, mul, sqrt, sub } from '../ops/pointwise.ts';
import { defineOptimizer, type Optimizer, type ParameterRules, rateOf } from './optimizer.ts';
import { decayed, runningMean, slotsOf } from './slots.ts';

const options = {
  rho: number({ from: 0, below: 1 }, 0.9, 'share of the old mean squares that is kept'),
  // With 0 no step would ever be made.
  eps: number({ above: 0 }, 1e-6, 'number under the roots, which the first steps are as long as'),
};
export type AdadeltaOptions = Options<typeof options> & ParameterRules;

/**
 * Makes an Adadelta optimizer for these parameters. Its state is `<parameter>.meanSquare` and `.meanSquareUpdate`.
 * @throws UsageError for an option outside of its range
 */
export function adadelta(
  parameters: readonly Parameter[],
  { decay = () => 0, rate, ...given }: AdadeltaOptions = {},
): Optimizer {
  const { rho, eps } = resolveOptions('adadelta', options, given);
  const squares = slotsOf(parameters, 'meanSquare');
  const updates = slotsOf(parameters, 'meanSquareUpdate');
  return {
    parameters,
    state: [...squares, ...updates],
    update(gradients, lr, ctx) {
      parameters.forEach((p, i) => {
        const gradient = gradients[i];
        if (!gradient) return;
        const g = decayed(gradient, p, decay(p));
        const s = runningMean(squares[i]!.tensor, mul(g, g), rho);
        const d = mul(div(sqrt(add(updates[i]!.tensor, eps)), sqrt(add(s, eps))), g);
        ctx.assign(squares[i]!, s);
        ctx.assign(updates[i]!, runningMean(updates[i]!.tensor, mul(d, d), rho));
        ctx.assign(p, sub(p.tensor, mul(rateOf(lr, p, rate), d)));
      });
    },
  };
}

export const adadeltaEntry = defineOptimizer({
  name: 'adadelta',
  means: 'steps in the ratio of the mean squares of updates and gradients; its learning rate is 1',
  source: 'Zeiler 2012, arXiv 1212.5701, algorithm 1',
  options,
  create: adadelta,
});
