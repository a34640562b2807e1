/** What the adaptive optimizers share: named slots, the count of updates, bias correction and the check of options. */
import { UsageError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { type Parameter, StateBuffer } from '../nn/module.ts';
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

/** Counts updates. It is state, so that a resumed run goes on exactly and a withheld update is not counted. */
export function counterOf(name: string): StateBuffer {
  // float32 counts to 2^24, and stays there: every bias correction is 1 long before.
  const counter = new StateBuffer([]);
  counter.name = name;
  return counter;
}

/** Counts one update. Gives its number, the first being 1. */
export function countUp(counter: StateBuffer, ctx: TraceContext): Tensor {
  const t = add(counter.tensor, 1);
  ctx.assign(counter, t);
  return t;
}

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

/** Throws UsageError unless the options that many optimizers have are in their ranges. */
export function expectOptions(
  where: string,
  shares: Readonly<Record<string, number>>,
  atLeast0: Readonly<Record<string, number>>,
): void {
  for (const [name, v] of Object.entries(shares))
    expectOption(v >= 0 && v < 1, where, `${name} in [0, 1)`, v, 'It is the share of the old value that is kept.');
  for (const [name, v] of Object.entries(atLeast0))
    expectOption(v >= 0 && v < Infinity, where, `${name} of at least 0`, v, 'Leave it out for the default.');
}
