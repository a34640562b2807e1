/**
 * Lowers the rate when a metric stops improving, as PyTorch's ReduceLROnPlateau.
 *
 * The one idea: data in, data out. The state is four plain numbers that JSON holds, so a checkpoint can keep it and a
 * resumed run goes on exactly; nothing is hidden in an object.
 */
import { number, type Options, oneOf, resolveOptions, whole } from '../core/options.ts';

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

/** The options of a plateau that say how far the rate falls and when. */
export const plateauRules = {
  factor: number({ above: 0, below: 1 }, 0.1, 'factor of a drop'),
  patience: whole(
    { from: 0 },
    10,
    'number of results without improvement that are borne; the next one lowers the rate',
  ),
  threshold: number({ from: 0 }, 1e-4, 'amount by which an improvement is better'),
  thresholdMode: oneOf(['rel', 'abs'], 'rel', 'kind of threshold: a share of the best or a difference to it'),
  cooldown: whole({ from: 0 }, 0, 'number of results after a drop in which nothing counts as bad'),
  minLr: number({ from: 0 }, 0, 'lowest rate'),
  eps: number({ from: 0 }, 1e-8, 'drop that is too small to be made'),
};
const options = {
  mode: oneOf(['min', 'max'], 'min', 'better direction of the metric: lower (a loss) or higher (an accuracy)'),
  ...plateauRules,
};
export type PlateauOptions = Options<typeof options>;

/** The state before any result. */
export const plateauStart = (lr: number): PlateauState => ({ lr, best: null, bad: 0, cooldown: 0 });

/**
 * The state after a result. NaN is never an improvement.
 * @throws UsageError for an option outside of its range
 */
export function plateauNext(state: PlateauState, metric: number, given: PlateauOptions = {}): PlateauState {
  const { mode, factor, patience, threshold, thresholdMode, cooldown, minLr, eps } = resolveOptions(
    'plateauNext',
    options,
    given,
  );
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
