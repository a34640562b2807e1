/** Several data sets as one, and batches of some people with some pictures each. */
import { describe, expect, test } from 'vitest';
import { type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { setUp } from '../../src/train/setup.ts';
import { faces, small } from '../helpers/smallRuns.ts';

describe('data', () => {
  test('sets are joined, people of equal names into one or not', async () => {
    const data = [faces('mixA', ['ann', 'bob', 'eve'], 3), faces('mixB', ['bob', 'zoe'], 3)];
    const of = async (changes: RecipeChanges) => {
      const recipe = resolveRecipe('mobilefacenet-arcface', { ...small, batch: 4, data, ...changes });
      return (await setUp(recipe, { workers: 0 })).data;
    };
    const apart = await of({});
    const merged = await of({ mergeIdentities: true });
    expect([apart.length, apart.classes]).toEqual([15, 5]);
    expect([merged.length, merged.classes]).toEqual([15, 4]);
    const count = (set: typeof merged, name: RegExp) =>
      Array.from({ length: set.length }, (_, i) => set.identityName(set.label(i))).filter((n) => name.test(n)).length;
    expect(count(merged, /^bob$/)).toBe(6);
    expect(count(apart, /bob/)).toBe(6);
  });

  test('batches hold as many people and pictures of each as they say, and parts of them whole people', async () => {
    const recipe = resolveRecipe('mobilefacenet-arcface', {
      ...small,
      sampler: { people: 4, images: 2 },
      accumulate: 2,
    });
    const { loader: makeLoader, stepsPerEpoch } = await setUp(recipe, { workers: 0 });
    const loader = makeLoader();
    for (let step = 0; step < 2 * stepsPerEpoch; step++) {
      const { labels } = await loader.next();
      expect(new Set(labels).size).toBe(4);
      for (let i = 0; i < 8; i += 2) expect(labels[i]).toBe(labels[i + 1]);
    }
    await loader.close();
    expect(() => resolveRecipe('demo', { batch: 8, sampler: { people: 4, images: 2 }, accumulate: 4 })).toThrow(
      /at least 2 of its 4 people whole, got accumulate 4\n/,
    );
  });
});
