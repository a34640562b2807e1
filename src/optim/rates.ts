/**
 * Learning rates over the steps: drops, polynomial, cosine, one-cycle, warm-up before any of them, and scaling to the batch.
 *
 * The one idea: a schedule is a pure function of the step number (counted from 0), so a resumed run needs no schedule state
 * and schedules compose by calling each other. What cannot be one, since it looks at results, is in plateau.ts. As PyTorch's
 * `lr_scheduler` has them, except that a schedule that is over keeps its last rate.
 */
import { flag, number, type Options, optional, resolveOptions } from '../core/options.ts';
import { expectOption } from './slots.ts';

/** Rate of a step, counted from 0. */
export type RateSchedule = (step: number) => number;

const expectRate = (where: string, lr: number) =>
  expectOption(lr >= 0 && lr < Infinity, where, 'a rate of at least 0', lr, 'Usual are 0.1 to 0.001.');
const expectSteps = (where: string, steps: number) =>
  expectOption(
    Number.isSafeInteger(steps) && steps > 0,
    where,
    'a whole number of steps above 0',
    steps,
    'Pass the steps that the schedule lasts.',
  );

/** The same rate at every step. */
export function constantRate(lr: number): RateSchedule {
  expectRate('constantRate', lr);
  return () => lr;
}

/**
 * rates[0], then from step boundaries[i] on rates[i + 1]. (TensorFlow's piecewise_constant keeps the old rate at the
 * boundary itself: pass its boundaries plus 1.)
 * @throws UsageError unless boundaries rise and there is one rate more
 */
export function piecewiseRate(boundaries: readonly number[], rates: readonly number[]): RateSchedule {
  for (const lr of rates) expectRate('piecewiseRate', lr);
  expectOption(
    rates.length === boundaries.length + 1,
    'piecewiseRate',
    `${boundaries.length + 1} rates for ${boundaries.length} boundaries`,
    rates.length,
    'Pass the rate before the first boundary too.',
  );
  boundaries.forEach((b, i) => {
    expectOption(
      b > (boundaries[i - 1] ?? -Infinity),
      'piecewiseRate',
      'boundaries that rise',
      `${b} at ${i}`,
      'Sort them.',
    );
  });
  return (step) => rates[boundaries.filter((b) => b <= step).length]!;
}

/**
 * lr · gamma^(milestones m with m <= step), in any order: MultiStepLR.
 * @throws UsageError for a rate or gamma that is none
 */
export function stepRate(lr: number, milestones: readonly number[], gamma = 0.1): RateSchedule {
  expectRate('stepRate', lr);
  expectOption(gamma > 0 && gamma < Infinity, 'stepRate', 'gamma above 0', gamma, 'Usual is 0.1.');
  return (step) => lr * gamma ** milestones.filter((m) => m <= step).length;
}

/**
 * Epochs as step numbers, rounded.
 * @throws UsageError unless there is at least one step in an epoch
 */
export function epochsToSteps(epochs: readonly number[], stepsPerEpoch: number): number[] {
  expectSteps('epochsToSteps', stepsPerEpoch);
  return epochs.map((e) => Math.round(e * stepsPerEpoch));
}

/** end + (lr − end)·(1 − step/steps)^power, then `end`: PolynomialLR. Default power 1, end 0. */
export function polyRate(lr: number, steps: number, { power = 1, end = 0 } = {}): RateSchedule {
  expectRate('polyRate', lr);
  expectRate('polyRate', end);
  expectSteps('polyRate', steps);
  expectOption(power > 0 && power < Infinity, 'polyRate', 'a power above 0', power, 'Usual are 1 and 2.');
  return (step) => end + (lr - end) * (1 - Math.min(step, steps) / steps) ** power;
}

/** From `from` to `to` along half a cosine, at a share in [0, 1] of the way. */
const alongCosine = (from: number, to: number, share: number) =>
  to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2;

/** Half a cosine from lr to `end`, then `end` (Loshchilov & Hutter 2017, eq. 5): CosineAnnealingLR. Default end 0. */
export function cosineRate(lr: number, steps: number, { end = 0 } = {}): RateSchedule {
  expectRate('cosineRate', lr);
  expectRate('cosineRate', end);
  expectSteps('cosineRate', steps);
  return (step) => alongCosine(lr, end, Math.min(step, steps) / steps);
}

export const oneCycleOptions = {
  rise: number({ above: 0, below: 1 }, 0.3, 'share of the steps in which the rate rises'),
  divFactor: number({ above: 0 }, 25, 'ratio of the highest rate to the first'),
  finalDivFactor: number({ above: 0 }, 1e4, 'ratio of the first rate to the last'),
};
export type OneCycleOptions = Options<typeof oneCycleOptions>;

/**
 * One cycle (Smith & Topin 2018) along cosines: from lr/divFactor up to lr, then down to lr/divFactor/finalDivFactor at the
 * last step: OneCycleLR without its momentum. `lr` is the highest rate.
 * @throws UsageError for an option outside of its range
 */
export function oneCycleRate(lr: number, steps: number, options: OneCycleOptions = {}): RateSchedule {
  const { rise, divFactor, finalDivFactor } = resolveOptions('oneCycleRate', oneCycleOptions, options);
  expectRate('oneCycleRate', lr);
  expectSteps('oneCycleRate', steps);
  // The top is a step number, after the first step and before the last.
  const top = rise * steps - 1;
  const last = steps - 1;
  expectOption(
    top > 0 && top < last,
    'oneCycleRate',
    'rise·steps between 1 and the steps',
    `${rise} of ${steps}`,
    'Usual is 0.3, with steps enough for a rise.',
  );
  const start = lr / divFactor;
  return (step) =>
    step <= top
      ? alongCosine(start, lr, step / top)
      : alongCosine(lr, start / finalDivFactor, (Math.min(step, last) - top) / (last - top));
}

export const warmUpOptions = {
  power: number({ above: 0 }, 1, 'power of the share of the warm-up that is over; 1 rises along a line'),
  start: optional(
    number({ from: 0, to: 1 }, 0, 'share of the rate at the first step; without it the first step of the rise is made'),
  ),
  delay: flag(false, "switch for counting the schedule's own steps from the end of the warm-up"),
};

/**
 * A warm-up before any schedule: its rate times min(1, (step + 1)/steps)^power (Goyal et al. 2017, section 2.2, with power
 * 1), or with `start` times start + (1 − start)·(step/steps)^power, as PyTorch's LinearLR and, from 0, arcface_torch have it.
 * The schedule counts its own steps from the run's first one (so milestones stay where they are) or, with `delay`, from the
 * end of the warm-up, which then rises to its first rate.
 * @throws UsageError unless steps is a whole number of at least 0, or for an option outside of its range
 */
export function warmUp(
  steps: number,
  schedule: RateSchedule,
  options: Options<typeof warmUpOptions> = {},
): RateSchedule {
  const { power, start, delay } = resolveOptions('warmUp', warmUpOptions, options);
  if (steps === 0) return schedule;
  expectSteps('warmUp', steps);
  const share = (step: number) =>
    start === undefined ? ((step + 1) / steps) ** power : start + (1 - start) * (step / steps) ** power;
  return (step) => schedule(delay ? Math.max(0, step - steps) : step) * (step < steps ? share(step) : 1);
}

/**
 * Rates and step numbers given for one batch size, for another.
 *
 * - `linear` (Goyal et al. 2017): rates × batch/base, steps × base/batch, rounded.
 * - `whole`: with k = floor(base/batch), rates ÷ k and steps × k, as one TensorFlow training code for InsightFace does; it
 *   only knows batches that are not larger than the base.
 * @throws UsageError for sizes that are none, or a batch above the base with `whole`
 */
export function scaledToBatch(
  { rates, steps }: { readonly rates: readonly number[]; readonly steps: readonly number[] },
  {
    base,
    batch,
    rule = 'linear',
  }: { readonly base: number; readonly batch: number; readonly rule?: 'linear' | 'whole' },
): { rates: number[]; steps: number[] } {
  for (const size of [base, batch])
    expectOption(
      Number.isSafeInteger(size) && size > 0,
      'scaledToBatch',
      'batch sizes above 0',
      size,
      'Count images per step.',
    );
  const k = rule === 'whole' ? Math.floor(base / batch) : base / batch;
  expectOption(
    k > 0,
    'scaledToBatch',
    `a batch of at most ${base} for the rule 'whole'`,
    batch,
    "Take the rule 'linear'.",
  );
  return { rates: rates.map((lr) => lr / k), steps: steps.map((s) => Math.round(s * k)) };
}
