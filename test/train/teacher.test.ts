/** A teacher: embeddings of a run come nearer to those of another network, whatever its input. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import { readImage } from '../../src/data/readImage.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { preprocess } from '../../src/models/network.ts';
import { cast } from '../../src/ops/pointwise.ts';
import { resize } from '../../src/ops/resize.ts';
import { trainingData } from '../../src/train/data.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { setUp } from '../../src/train/setup.ts';
import { device, folder, run, small, stepsIn, tensorsAt } from '../helpers/smallRuns.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

describe('a teacher', () => {
  const pixels = async (recipe: Recipe) => {
    const data = await trainingData(recipe);
    return Promise.all(
      Array.from({ length: data.length }, async (_, i) => ({
        width: 32,
        height: 32,
        data: await readImage(data.source(i), [32, 32]),
      })),
    );
  };
  const cosine = (a: Float32Array, b: Float32Array, dim: number): number => {
    let total = 0;
    for (let r = 0; r < a.length; r += dim) {
      let [ab, aa, bb] = [0, 0, 0];
      for (let i = r; i < r + dim; i++) {
        ab += a[i]! * b[i]!;
        aa += a[i]! * a[i]!;
        bb += b[i]! * b[i]!;
      }
      total += ab / Math.sqrt(aa * bb);
    }
    return (total * dim) / a.length;
  };
  const embed = async (file: string, images: Awaited<ReturnType<typeof pixels>>) => {
    const embedder = await loadEmbedder(readFileSync(file), { device });
    const out = await embedder.embed(images);
    await embedder.dispose();
    return out;
  };

  test('draws the embeddings to its own, beside a head and alone', async () => {
    const teacher = join(folder, 'teacher.safetensors');
    writeFileSync(teacher, await weightsOf(tinyNetwork()));
    const recipeOf = (changes: RecipeChanges) =>
      resolveRecipe('mobilefacenet-arcface', { ...small, head: { s: 16, m: 0.2 }, lr: 0.02, maxSteps: 40, ...changes });
    const images = await pixels(recipeOf({}));
    const wanted = await embed(teacher, images);
    const nearness = async (name: string, changes: RecipeChanges) => {
      const { out, events } = await run(recipeOf(changes), name);
      return { near: cosine(await embed(join(out, 'last.safetensors'), images), wanted, 16), events, out };
    };
    const without = await nearness('without', {});
    const beside = await nearness('beside', { distillation: { teacher, weight: 10 } });
    const alone = await nearness('alone', { headWeight: 0, distillation: { teacher } });
    expect(beside.near).toBeGreaterThan(without.near + 0.2);
    expect(alone.near).toBeGreaterThan(without.near + 0.2);
    const terms = stepsIn(alone.events);
    for (const e of terms) expect(e.loss).toBe(e.terms.distillation);
    expect(terms.at(-1)!.loss).toBeLessThan(0.75 * terms[0]!.loss);
    // Same sizes need no projection, and the teacher is no part of what is saved.
    expect([...(await tensorsAt(alone.out, 'last')).keys()].sort()).toEqual(
      [...(await tensorsAt(without.out, 'last')).keys()].sort(),
    );
  });

  test('may have another input size, colour order and embedding size: the loss is that of its own way to see', async () => {
    const net = tinyNetwork({ width: 0.125, embeddingSize: 24, inputSize: [48, 48] }, 8);
    net.preprocessing = { ...net.preprocessing, colourOrder: 'BGR', mean: 100, scale: 1 / 64 };
    const teacher = join(folder, 'other.safetensors');
    writeFileSync(teacher, await weightsOf(net));
    // A frozen backbone uses its running statistics: its embeddings are those that it has when used.
    const recipe = resolveRecipe('mobilefacenet-arcface', {
      ...small,
      freeze: ['@backbone'],
      distillation: { teacher, weight: 3 },
      maxSteps: 1,
    });
    const { t, loader: makeLoader } = await setUp(recipe, { workers: 0 });
    const loader = makeLoader();
    const { images } = await loader.next();
    await loader.close();
    const f = compile(
      ({ x }, ctx) => ({
        student: t.network.call(preprocess(x!, t.network.preprocessing), ctx),
        teacher: net.call(preprocess(resize(cast(x!, 'f32'), [48, 48]), net.preprocessing), ctx),
        size: resize(cast(x!, 'f32'), [48, 48]),
      }),
      { device },
    );
    const out = await f({ x: { data: images, shape: [8, 32, 32, 3], dtype: 'u8' } });
    f.dispose();
    const [student, known] = [out.student!.data, out.teacher!.data] as Float32Array[];
    const projection = t.variables.find((v) => v.name === 'distillation.projection.weight')!.host;
    const lossBy = (round: (x: number) => number): number => {
      let total = 0;
      for (let b = 0; b < 8; b++) {
        const a = Array.from({ length: 24 }, (_, k) => {
          let sum = 0;
          for (let i = 0; i < 16; i++) sum = round(sum + round(student![b * 16 + i]! * projection[i * 24 + k]!));
          return sum;
        });
        let [ab, aa, bb] = [0, 0, 0];
        a.forEach((x, k) => {
          const y = known![b * 24 + k]!;
          ab = round(ab + round(x * y));
          aa = round(aa + round(x * x));
          bb = round(bb + round(y * y));
        });
        total = round(total + round(1 - round(ab / round(Math.sqrt(round(aa * bb))))));
      }
      return round(3 * round(total / 8));
    };
    const { events } = await run(recipe, 'other-teacher');
    const got = stepsIn(events)[0]!.terms.distillation!;
    const exact = lossBy((x) => x);
    expect(Math.abs(got - exact)).toBeLessThanOrEqual(4 * Math.abs(lossBy(Math.fround) - exact) + 2 ** -22 * 3 * 2);
  });
});
