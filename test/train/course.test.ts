/** Results change the course of a run: plateaus and early stops, by the loss or by the accuracy. */
import { describe, expect, test } from 'vitest';
import { afterEvaluation, afterStep, endsEarly, rateOf } from '../../src/train/course.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import type { Progress } from '../../src/train/state.ts';
import { notesIn, run, small, stepsIn } from '../helpers/smallRuns.ts';

describe('results change the course', () => {
  const recipeOf = (changes: RecipeChanges) =>
    resolveRecipe('mobilefacenet-arcface', { ...small, evalIdentities: 4, evalEverySteps: 5, ...changes });
  const length = { lr: 0.1, batch: 8, steps: 100, stepsPerEpoch: 4 };
  /** Rates and the number of evaluations after which the run ends. */
  const course = (recipe: Recipe, accuracies: readonly number[], losses: readonly number[]) => {
    let p: Progress = { step: 0, classes: 5, images: 35 };
    const rates: number[] = [];
    for (const [i, accuracy] of accuracies.entries()) {
      for (let n = 0; n < 5; n++)
        p = afterStep(p, { loss: losses[i]!, gradNorm: 1, hitRate: 0, terms: {}, applied: true });
      p = afterEvaluation(p, recipe, length, accuracy);
      rates.push(rateOf(recipe, length)(p.step, p));
      if (endsEarly(p, recipe)) return { rates, ended: i + 1, best: p.best };
    }
    return { rates, ended: undefined, best: p.best };
  };
  const rising = [0.5, 0.6, 0.7, 0.8, 0.9];
  const falling = [9, 7, 5, 3, 1];
  const flat = [2, 2, 2, 2, 2];
  const plateau = { name: 'plateau', patience: 0, factor: 0.5 };

  test('plateau looks at the loss or at the accuracy, and each its own way', () => {
    const stays = [0.1, 0.1, 0.1, 0.1, 0.1];
    const drops = [0.1, 0.05, 0.025, 0.0125, 0.00625];
    const loss = recipeOf({ schedule: { ...plateau, metric: 'loss' }, warmupSteps: 0 });
    const accuracy = recipeOf({ schedule: { ...plateau, metric: 'accuracy' }, warmupSteps: 0 });
    expect(course(loss, flat, falling).rates).toEqual(stays);
    expect(course(loss, rising, flat).rates).toEqual(drops);
    expect(course(accuracy, rising, flat).rates).toEqual(stays);
    expect(course(accuracy, flat, falling).rates).toEqual(drops);
  });

  test('early stopping bears as many results as it says', () => {
    const stop = (metric: string, patience: number, minDelta = 0) =>
      recipeOf({ earlyStop: { metric, patience, minDelta } });
    expect(course(stop('accuracy', 2), rising, flat).ended).toBeUndefined();
    expect(course(stop('accuracy', 2), flat, falling).ended).toBe(4);
    expect(course(stop('loss', 1), rising, flat).ended).toBe(3);
    expect(course(stop('loss', 1), flat, falling).ended).toBeUndefined();
    expect(course(stop('loss', 1, 5), flat, falling).ended).toBe(3);
    expect(course(stop('accuracy', 1), [0.5, 0.4, 0.6, 0.5, 0.5], flat)).toMatchObject({
      ended: 5,
      best: { step: 15, accuracy: 0.6 },
    });
  });

  test('both by accuracy in a run: it ends when told to', async () => {
    // A rate that moves nothing: the accuracy stays.
    const recipe = recipeOf({
      lr: 1e-12,
      schedule: { name: 'plateau', metric: 'accuracy', patience: 0, factor: 0.5, eps: 0 },
      earlyStop: { patience: 1, metric: 'accuracy', minDelta: 0.9 },
      evalEverySteps: 1,
      maxSteps: 20,
      histograms: true,
      tensorBoard: true,
      samples: true,
    });
    const { events, steps, finished } = await run(recipe, 'stalled');
    expect({ steps, finished }).toEqual({ steps: 3, finished: true });
    expect(stepsIn(events).map((e) => e.lr)).toEqual([1e-12, 1e-12, 5e-13]);
    expect(notesIn(events)).toContain('step 3: no better accuracy for 2 evaluations, so the run ends');
  });

  test.each([
    [
      'schedule plateau',
      { schedule: plateau, evalEverySteps: 0 },
      /schedule plateau goes by results during the run, but 'evalEverySteps' is 0\n/,
    ],
    ['early stopping', { earlyStop: { patience: 1 }, evalEverySteps: 0 }, /earlyStop goes by results/],
    [
      'an accuracy without sets',
      { earlyStop: { patience: 1 }, evalIdentities: 0 },
      /earlyStop goes by the accuracy, but the run has no validation set\n.*--earlyStop\.metric loss/,
    ],
  ] as [string, RecipeChanges, RegExp][])('%s that can never act is refused', (_, changes, message) => {
    expect(() => recipeOf(changes)).toThrow(message);
  });
});
