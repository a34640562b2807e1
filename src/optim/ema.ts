/**
 * Exponential moving average of weights (Polyak & Juditsky 1992 with exponential weights, as TensorFlow's
 * ExponentialMovingAverage):
 *
 *   average ← average − (1 − d)·(average − value);   d = warmUp ? min(decay, (1 + n)/(10 + n)) : decay
 *
 * with n the updates before this one. The average starts from the values before the first update. It and n are state, so
 * that a resumed run goes on exactly.
 */
import { UsageError } from '../core/errors.ts';
import { flag, number, type Options, resolveOptions } from '../core/options.ts';
import type { Variable } from '../core/tensor.ts';
import { type State, StateBuffer, stateOf } from '../nn/module.ts';
import { add, div, equal, maximum, mul, sub, where } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';

const options = {
  decay: number({ from: 0, below: 1 }, 0.999, 'share of the old average that is kept'),
  warmUp: flag(false, 'switch for a smaller share in the first updates'),
};
export type EmaOptions = Options<typeof options>;

export interface Ema {
  /** What a checkpoint must hold: `ema.updates` and `<variable>.average`. */
  readonly state: readonly Variable[];
  /** Takes the new values that the function has assigned so far (the old ones where none): call it after the optimizer. */
  update(ctx: TraceContext): void;
  /** The averages under the variables' own names, for `loadState`; before any update the values themselves. */
  values(): Promise<State>;
}

/**
 * Averages these float32 variables: parameters and, usually, running statistics.
 * @throws UsageError for a decay outside of [0, 1) or a variable that is not float32
 */
export function ema(variables: readonly Variable[], given: EmaOptions = {}): Ema {
  const { decay, warmUp } = resolveOptions('ema', options, given);
  for (const v of variables)
    if (v.dtype !== 'f32')
      throw new UsageError(`ema: expected float32 variables, got ${v.dtype} '${v.name}'\nAverage the others only.`);
  // float32 counts to 2^24: the average no longer starts up by then.
  const updates = new StateBuffer([]);
  updates.name = 'ema.updates';
  const averages = variables.map((v) => {
    const average = new StateBuffer(v.shape);
    average.name = `${v.name}.average`;
    return average;
  });
  return {
    state: [updates, ...averages],
    update(ctx: TraceContext) {
      const n = updates.tensor;
      // 1 − d without taking float32's 0.999 from 1: 1 − (1 + n)/(10 + n) is 9/(10 + n).
      const share = warmUp ? maximum(div(9, add(n, 10)), 1 - decay) : 1 - decay;
      variables.forEach((v, i) => {
        const before = where(equal(n, 0), v.tensor, averages[i]!.tensor);
        const value = ctx.assigns.get(v) ?? v.tensor;
        ctx.assign(averages[i]!, sub(before, mul(sub(before, value), share)));
      });
      ctx.assign(updates, add(n, 1));
    },
    async values() {
      const started = (await updates.read())[0]! > 0;
      if (!started) return stateOf(variables);
      const held = await stateOf(averages);
      return new Map(variables.map((v, i) => [v.name, held.get(averages[i]!.name)!] as const));
    },
  };
}
