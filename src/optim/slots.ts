/** What the adaptive optimizers share: named slots, counts of updates, bias correction, lengths. */
import { UsageError } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { type Parameter, StateBuffer } from '../nn/module.ts';
import { reshape, split } from '../ops/movement.ts';
import { add, elementwise, mul, sqrt } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';

/** One slot of each parameter's shape, named `<parameter>.<name>`. */
export const slotsOf = (parameters: readonly Parameter[], name: string, start = 0): StateBuffer[] =>
  parameters.map((p) => {
    const slot = new StateBuffer(p.shape, start);
    slot.name = `${p.name}.${name}`;
    return slot;
  });

/**
 * Counts the updates of each parameter: [parameters]. It is state, so that a resumed run goes on exactly and neither a
 * withheld update nor a frozen parameter is counted: one that thaws begins with its own first step, as in PyTorch.
 */
export function counterOf(name: string, parameters: readonly Parameter[]): StateBuffer {
  // float32 counts to 2^24, and stays there: every bias correction is 1 long before.
  const counter = new StateBuffer([parameters.length]);
  counter.name = name;
  return counter;
}

/** Counts one update of those that have a gradient. Gives the number of each one's update, the first being 1. */
export function countUp(counter: StateBuffer, gradients: readonly (Tensor | undefined)[], ctx: TraceContext): Tensor {
  const t = add(counter.tensor, gradients.every(Boolean) ? 1 : tensor(gradients.map((g) => (g ? 1 : 0))));
  ctx.assign(counter, t);
  return t;
}

/** The numbers of a vector as scalars. */
export const scalarsOf = (x: Tensor): Tensor[] =>
  split(
    x,
    Array.from({ length: x.size }, () => 1),
  ).map((part) => reshape(part, []));

/**
 * 1 − beta^t, what a running mean that began at 0 is to be divided by (Kingma & Ba 2015, section 3). In float32 the
 * plain formula loses four digits at beta = 0.999, so this is −expm1(t·ln beta), by its series where that is small.
 */
export function biasCorrection(beta: number, t: Tensor): Tensor {
  const x = E.mul(E.input(0), Math.log(Math.max(beta, 1e-30)));
  let series: E.Expr = E.constant(1);
  for (let k = 9; k > 1; k--) series = E.add(E.mul(E.mul(x, 1 / k), series), 1);
  const expr = E.where(E.gt(x, -0.5), E.neg(E.mul(x, series)), E.sub(1, E.exp(x)));
  return elementwise('biasCorrection', expr, [t]);
}

/** before·beta + value·(1 − beta) */
export const runningMean = (before: Tensor, value: Tensor, beta: number): Tensor =>
  add(mul(before, beta), mul(value, 1 - beta));

/** The gradient with weight decay added, as L2 regularisation gives it. */
export const decayed = (gradient: Tensor, p: Parameter, decay: number): Tensor =>
  decay ? add(gradient, mul(p.tensor, decay)) : gradient;

/** Length of a tensor taken as one vector. */
export const normOf = (x: Tensor): Tensor => sqrt(sum(mul(x, x)));

/** numerator/denominator where both are above 0, else 1: the layer's rate where there is nothing to adapt it to. */
export const ratioOrOne = (numerator: Tensor, denominator: Tensor): Tensor =>
  elementwise(
    'trustRatio',
    E.where(E.and(E.gt(E.input(0), 0), E.gt(E.input(1), 0)), E.div(E.input(0), E.input(1)), E.constant(1)),
    [numerator, denominator],
  );

/** Throws UsageError unless an option holds. */
export function expectOption(ok: boolean, where: string, expected: string, got: unknown, hint: string): void {
  if (!ok) throw new UsageError(`${where}: expected ${expected}, got ${got}\n${hint}`);
}
