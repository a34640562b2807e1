/**
 * Stochastic gradient descent with momentum, weight decay and Nesterov's form, as PyTorch defines them:
 *
 *   g ← g + decay·p;   v ← momentum·v + g;   p ← p − lr·(nesterov ? g + momentum·v : v)
 *
 * (Sutskever et al. 2013, eqs. 3 and 4, in PyTorch's arrangement: the learning rate multiplies the velocity.)
 */
import { UsageError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { add, mul, sub } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Optimizer } from './optimizer.ts';
import { slotsOf } from './slots.ts';

export interface SgdOptions {
  /** Default 0.9. */
  readonly momentum?: number;
  /** Nesterov's form of the momentum. Default false. */
  readonly nesterov?: boolean;
  /** Weight decay of each parameter, by its name. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
}

/** Makes an SGD optimizer for these parameters. Its velocities are named `<parameter>.velocity`. */
export function sgd(
  parameters: readonly Parameter[],
  { momentum = 0.9, nesterov = false, decay = () => 0 }: SgdOptions = {},
): Optimizer {
  if (!(momentum >= 0 && momentum < 1))
    throw new UsageError(`sgd: expected a momentum in [0, 1), got ${momentum}\nUsual is 0.9.`);
  if (nesterov && momentum === 0)
    throw new UsageError(
      'sgd: expected a momentum above 0 for Nesterov momentum, got 0\nSet momentum, or leave nesterov out.',
    );
  const slots = slotsOf(parameters, 'velocity');
  return {
    parameters,
    state: momentum ? slots : [],
    update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext) {
      parameters.forEach((p, i) => {
        const wd = decay(p);
        const g = wd ? add(gradients[i]!, mul(p.tensor, wd)) : gradients[i]!;
        if (!momentum) {
          ctx.assign(p, sub(p.tensor, mul(lr, g)));
          return;
        }
        const v = add(mul(slots[i]!.tensor, momentum), g);
        ctx.assign(slots[i]!, v);
        ctx.assign(p, sub(p.tensor, mul(lr, nesterov ? add(g, mul(v, momentum)) : v)));
      });
    },
  };
}
