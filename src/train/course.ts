/**
 * The course of a run: the learning rate of a step, what results change of it, and when a run ends early.
 *
 * The one idea: what looks at results is plain data in the run's progress, which every checkpoint holds; the rest is a
 * function of the step number. So a resumed run takes the very course of one that was not interrupted.
 */
import { entryOf } from '../core/options.ts';
import { plateauNext, plateauStart } from '../optim/plateau.ts';
import { plateauOf, type RunLength, scheduleOf, schedules } from '../optim/schedules.ts';
import type { Recipe } from './recipe.ts';
import type { Progress } from './state.ts';
import type { StepResult } from './step.ts';

/** Rate of a step, counted from 0. */
export function rateOf(recipe: Recipe, run: RunLength): (step: number, progress: Progress) => number {
  const schedule = scheduleOf(recipe.schedule, run);
  return (step, { plateau }) => schedule(step) * (plateau?.lr ?? 1);
}

/** Progress after a step. */
export function afterStep(p: Progress, { applied: _, terms, ...figures }: StepResult): Progress {
  const sums: Record<string, number> = { ...p.logged?.sums };
  const named = { ...figures, ...Object.fromEntries(Object.entries(terms).map(([name, x]) => [`terms.${name}`, x])) };
  for (const [name, x] of Object.entries(named)) if (Number.isFinite(x)) sums[name] = (sums[name] ?? 0) + x;
  return {
    ...p,
    step: p.step + 1,
    interval: { sum: (p.interval?.sum ?? 0) + figures.loss, steps: (p.interval?.steps ?? 0) + 1 },
    logged: { steps: (p.logged?.steps ?? 0) + 1, sums },
  };
}

/** What a log line says: the means since the line before, and the progress in which the next line's begin. */
export function logLine(p: Progress): {
  readonly figures: Omit<StepResult, 'applied'>;
  readonly progress: Progress;
} {
  const { logged = { steps: 1, sums: {} }, ...progress } = p;
  const means = Object.entries(logged.sums).map(([name, sum]) => [name, sum / logged.steps] as const);
  const terms = means.filter(([name]) => name.startsWith('terms.'));
  const { loss = Number.NaN, gradNorm = Number.NaN, hitRate = Number.NaN, marginHitRate } = Object.fromEntries(means);
  return {
    figures: {
      loss,
      gradNorm,
      hitRate,
      ...(marginHitRate !== undefined && { marginHitRate }),
      terms: Object.fromEntries(terms.map(([name, x]) => [name.slice('terms.'.length), x])),
    },
    progress,
  };
}

/**
 * Progress after an evaluation.
 * @param accuracy the mean over all sets; undefined where there are none
 */
export function afterEvaluation(p: Progress, recipe: Recipe, run: RunLength, accuracy: number | undefined): Progress {
  const { interval, ...rest } = p;
  const loss = interval && interval.steps > 0 ? interval.sum / interval.steps : undefined;
  const resultOf = (metric: unknown) => (metric === 'accuracy' ? accuracy : loss);
  let next: Progress = { ...rest };
  if (accuracy !== undefined && !(p.best && p.best.accuracy >= accuracy))
    next = { ...next, best: { step: p.step, accuracy } };
  const watched = resultOf(recipe.schedule.metric);
  if (entryOf('schedule', schedules, recipe.schedule.name).byResults && watched !== undefined)
    next = { ...next, plateau: plateauNext(p.plateau ?? plateauStart(1), watched, plateauOf(recipe.schedule, run.lr)) };
  const { patience, minDelta, metric } = recipe.earlyStop;
  const result = resultOf(metric);
  if (patience > 0 && result !== undefined) {
    const { best, bad } = p.earlyStop ?? { best: null, bad: 0 };
    const gain = best === null ? Infinity : metric === 'accuracy' ? result - best : best - result;
    const improved = gain > minDelta;
    next = { ...next, earlyStop: { best: improved ? result : best, bad: improved ? 0 : bad + 1 } };
  }
  return next;
}

/** Whether the run has waited long enough for an improvement. */
export const endsEarly = (p: Progress, { earlyStop: { patience } }: Recipe): boolean =>
  patience > 0 && (p.earlyStop?.bad ?? 0) > patience;
