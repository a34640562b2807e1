/**
 * Learning rate by step: linear warm-up, then a drop by a factor at each milestone.
 *
 * The one idea: the rate is a pure function of the step number, so a resumed run needs no schedule state. PyTorch's
 * LinearLR (start factor 1/warmup) followed by MultiStepLR, counted in steps.
 */
import { UsageError } from '../core/errors.ts';

export interface Schedule {
  /** Base rate. */
  readonly lr: number;
  /** Steps of linear warm-up; 0 for none. */
  readonly warmupSteps: number;
  /** Steps at which the rate falls, in any order. */
  readonly milestoneSteps: readonly number[];
  /** Factor at each milestone. */
  readonly gamma: number;
}

/**
 * Rate of step t, counted from 0: lr · min(1, (t + 1)/warmup) · gamma^(milestones m with m <= t).
 * @throws UsageError for a step below 0
 */
export function lrAt(step: number, { lr, warmupSteps, milestoneSteps, gamma }: Schedule): number {
  if (!(step >= 0)) throw new UsageError(`lrAt: expected a step of at least 0, got ${step}\nSteps count from 0.`);
  const warm = warmupSteps > 0 ? Math.min(1, (step + 1) / warmupSteps) : 1;
  return lr * warm * gamma ** milestoneSteps.filter((m) => m <= step).length;
}

/** Milestones given as fractions of a run, as step numbers. */
export const milestoneSteps = (fractions: readonly number[], totalSteps: number): number[] =>
  fractions.map((f) => Math.round(f * totalSteps));
