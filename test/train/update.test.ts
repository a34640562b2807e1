/** What a step makes of its gradients: limits on them, and parts that count as one update. */
import { expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import { TraceContext } from '../../src/plan/trace.ts';
import { type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { setUp } from '../../src/train/setup.ts';
import { lossAndGradients, stepKeys } from '../../src/train/step.ts';
import { device, run, small, stepsIn, tensorsAt } from '../helpers/smallRuns.ts';

test('clipping by norm and by value: the update is as if the gradient were so', async () => {
  const recipeOf = (clip: RecipeChanges) =>
    resolveRecipe('mobilefacenet-arcface', { ...small, weightDecay: 0, maxSteps: 1, clip });
  // After its first step the velocity is the gradient that the optimizer got.
  const velocities = async (name: string, clip: RecipeChanges) => {
    const { out, events } = await run(recipeOf(clip), name);
    const tensors = [...(await tensorsAt(out, 'last'))].filter(([n]) => n.endsWith('.velocity'));
    expect(tensors.length).toBeGreaterThan(50);
    return { all: tensors.flatMap(([, t]) => [...(t.data as Float32Array)]), norm: stepsIn(events)[0]!.gradNorm };
  };
  const plain = await velocities('unclipped', {});
  const byNorm = await velocities('by-norm', { norm: 0.5 });
  expect(byNorm.norm).toBe(plain.norm); // it tells the length before
  expect(plain.norm).toBeGreaterThan(1);
  const scale = 0.5 / (plain.norm + 1e-6);
  // Three roundings of the scale and one of each product.
  for (const [i, g] of byNorm.all.entries())
    expect(Math.abs(g - plain.all[i]! * scale)).toBeLessThanOrEqual(
      2 ** -22 * Math.abs(plain.all[i]! * scale) + 2 ** -149,
    );
  const byValue = await velocities('by-value', { value: 2 ** -6 });
  expect(byValue.all).toEqual(plain.all.map((g) => Math.max(-(2 ** -6), Math.min(2 ** -6, g))));
});

test('accumulated parts draw their own dropout', async () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', {
    ...small,
    model: { name: 'ir-18', width: 0.125, inputSize: [32, 32], embeddingSize: 16, dropout: 0.5 },
    accumulate: 2,
  });
  const { t, loader: makeLoader } = await setUp(recipe, { workers: 0 });
  const loader = makeLoader();
  const { images, labels } = await loader.next();
  await loader.close();
  const keys = stepKeys(recipe, 3);
  expect(keys.slice(0, 2)).not.toEqual(keys.slice(2));
  expect(stepKeys(recipe, 4)).not.toEqual(keys);
  const lossOf = (parts: number) => {
    const f = compile(
      ({ images: x, labels: y, keys: k }) => ({
        loss: lossAndGradients(t, { ...recipe, accumulate: parts }, x!, y!, new TraceContext(true), { keys: k! }).loss,
      }),
      { device, training: true },
    );
    return async (x: Uint8Array, y: Int32Array, k: Int32Array) => {
      const n = y.length;
      const out = await f({
        images: { data: x, shape: [n, 32, 32, 3], dtype: 'u8' },
        labels: { data: y, shape: [n], dtype: 'i32' },
        keys: { data: k, shape: [parts, 2], dtype: 'i32' },
      });
      return out.loss!.data[0]!;
    };
  };
  // The same four pictures twice: without dropout the two parts would be equal.
  const half = [images.slice(0, images.length / 2), labels.slice(0, 4)] as const;
  const twice = [Uint8Array.from([...half[0], ...half[0]]), Int32Array.from([...half[1], ...half[1]])] as const;
  const one = lossOf(1);
  const [a, b] = [await one(...half, keys.slice(0, 2)), await one(...half, keys.slice(2))];
  expect(a).not.toBe(b);
  expect(await lossOf(2)(...twice, keys)).toBe(Math.fround(Math.fround(a + b) / 2));
});

test('accumulated parts count as one update', async () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', { ...small, head: 'sphereface', accumulate: 4, maxSteps: 3 });
  const { out } = await run(recipe, 'counted');
  expect([...(await tensorsAt(out, 'last')).get('sphereface.iteration')!.data]).toEqual([3]);
});
