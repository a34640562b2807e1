/**
 * Lowers the rate when a metric stops improving, as PyTorch's ReduceLROnPlateau.
 *
 * The one idea: data in, data out. The state is four plain numbers that JSON holds, so a checkpoint can keep it and a
 * resumed run goes on exactly; nothing is hidden in an object.
 */
import { expectOption } from './slots.ts';

export interface PlateauState {
  /** The rate until the next result. */
  readonly lr: number;
  /** Best metric so far; null before the first. */
  readonly best: number | null;
  /** Results without improvement since the best, or since the last drop. */
  readonly bad: number;
  /** Results to wait before bad ones count again. */
  readonly cooldown: number;
}

export interface PlateauOptions {
  /** Whether lower (a loss) or higher (an accuracy) is better. Default 'min'. */
  readonly mode?: 'min' | 'max';
  /** Factor of a drop. Default 0.1. */
  readonly factor?: number;
  /** Results without improvement that are borne; the next one lowers the rate. Default 10. */
  readonly patience?: number;
  /** How much better is an improvement. Default 1e-4. */
  readonly threshold?: number;
  /** Whether the threshold is a share of the best or a difference to it. Default 'rel'. */
  readonly thresholdMode?: 'rel' | 'abs';
  /** Results after a drop in which nothing counts as bad. Default 0. */
  readonly cooldown?: number;
  /** Lowest rate. Default 0. */
  readonly minLr?: number;
  /** A drop of no more than this is not made. Default 1e-8. */
  readonly eps?: number;
}

/** The state before any result. */
export const plateauStart = (lr: number): PlateauState => ({ lr, best: null, bad: 0, cooldown: 0 });

/**
 * The state after a result. NaN is never an improvement.
 * @throws UsageError unless factor is in (0, 1)
 */
export function plateauNext(
  state: PlateauState,
  metric: number,
  {
    mode = 'min',
    factor = 0.1,
    patience = 10,
    threshold = 1e-4,
    thresholdMode = 'rel',
    cooldown = 0,
    minLr = 0,
    eps = 1e-8,
  }: PlateauOptions = {},
): PlateauState {
  expectOption(factor > 0 && factor < 1, 'plateauNext', 'a factor in (0, 1)', factor, 'Usual is 0.1.');
  expectOption(patience >= 0, 'plateauNext', 'a patience of at least 0', patience, 'Usual is 10.');
  const sign = mode === 'min' ? -1 : 1;
  const aim = (best: number) => (thresholdMode === 'rel' ? best * (1 + sign * threshold) : best + sign * threshold);
  const improved = sign * metric > (state.best === null ? -Infinity : sign * aim(state.best));
  const best = improved ? metric : state.best;
  const cooling = state.cooldown > 0;
  const bad = improved || cooling ? 0 : state.bad + 1;
  const waited = cooling ? state.cooldown - 1 : 0;
  if (bad <= patience) return { lr: state.lr, best, bad, cooldown: waited };
  const lower = Math.max(state.lr * factor, minLr);
  return { lr: state.lr - lower > eps ? lower : state.lr, best, bad: 0, cooldown };
}
