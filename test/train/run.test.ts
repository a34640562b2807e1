/** What a run checks before its first step. */
import { expect, test } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import type { Dataset, PairSet } from '../../src/data/dataset.ts';
import { trainingData, validationSets } from '../../src/train/data.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { checkLabels, stepsOf } from '../../src/train/setup.ts';

const dataOf = (labels: readonly number[], classes: number): Dataset => ({
  name: 'faces',
  classes,
  length: labels.length,
  label: (i) => labels[i]!,
  identityName: (l) => `person${l}`,
  imageName: () => 'a/1.jpg',
  source: () => ({ kind: 'bytes', name: 'x', bytes: new Uint8Array() }),
});

test('labels must fit the class count', () => {
  expect(() => checkLabels(dataOf([0, 1, 2], 3))).not.toThrow();
  for (const bad of [3, -2, 0.5, Number.NaN]) {
    expect(() => checkLabels(dataOf([0, bad], 3))).toThrow(DataError);
    expect(() => checkLabels(dataOf([0, bad], 3))).toThrow(
      /^faces: expected labels from 0 to 2, got .* for picture 1\n/,
    );
  }
});

test('people must be known', () => {
  expect(() => checkLabels(dataOf([0, -1], 3))).toThrow(
    /^faces: expected the person of every picture, but that of a\/1\.jpg/,
  );
  expect(() => checkLabels(dataOf([-1, -1], 0))).toThrow(
    /^faces: expected a set whose people are known, but it names none/,
  );
});

test('the number of steps: whole batches of each epoch, or maxSteps', () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', { batch: 4, epochs: 3 });
  expect(stepsOf(recipe, dataOf(new Array(11).fill(0), 1))).toBe(6);
  expect(stepsOf({ ...recipe, maxSteps: 5 }, dataOf(new Array(11).fill(0), 1))).toBe(5);
  expect(() => stepsOf(recipe, dataOf([0, 0, 0], 1))).toThrow(/at least one batch of 4 pictures, got 3/);
});

test('synthetic people for evaluation are none of those trained on', async () => {
  const recipe = resolveRecipe('demo');
  const data = await trainingData(recipe);
  const trained = new Set<number>();
  for (let i = 0; i < data.length; i++) {
    const s = data.source(i);
    if (s.kind === 'synthetic') trained.add(s.identity);
  }
  expect(trained.size).toBe(recipe.identities);
  const [{ images, pairs }] = (await validationSets(recipe)).map((v) => v.pairs) as [PairSet];
  const people = new Set(
    [...pairs.left, ...pairs.right].map((i) => {
      const s = images.source(i);
      return s.kind === 'synthetic' ? s.identity : -1;
    }),
  );
  expect(people.size).toBe(recipe.evalIdentities);
  for (const p of people) expect(trained.has(p)).toBe(false);
  expect(await validationSets({ ...recipe, evalIdentities: 0 })).toEqual([]);
});
