/** The training step: recomputation, accumulation, the finite check and its diagnosis, on a reduced network. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import type { Data } from '../../src/core/dtype.ts';
import { NumericsError } from '../../src/core/errors.ts';
import { fold, keyOf, threefry } from '../../src/core/random.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize } from '../../src/nn/module.ts';
import { TraceContext } from '../../src/plan/trace.ts';
import { diagnose } from '../../src/train/diagnose.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { lossAndGradients, trainingStep } from '../../src/train/step.ts';
import { headFor, networkFor, rulesFor, termsFor, trainable } from '../../src/train/trainable.ts';

const classes = 7;
let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2 });
});
afterAll(() => device.dispose());

const recipeOf = (changes: RecipeChanges = {}): Recipe =>
  resolveRecipe('mobilefacenet-arcface', {
    width: 0.25,
    inputSize: [32, 32],
    embeddingSize: 16,
    batch: 8,
    ...changes,
  });

function setUp(recipe: Recipe) {
  const network = initialize(networkFor(recipe), 1);
  const head = initialize(headFor(recipe, network, classes), 1);
  const terms = termsFor(recipe, network, classes);
  for (const { loss } of terms) initialize(loss, 1);
  return trainable(network, head, recipe, { terms });
}

function batchOf(n: number, step = 0, size = 32) {
  const key = fold(keyOf(5), step);
  return {
    images: Uint8Array.from({ length: n * size * size * 3 }, (_, i) => threefry(key, i, 0)[0] & 255),
    labels: Int32Array.from({ length: n }, (_, i) => (3 * i + step) % classes),
  };
}
const specs = (n: number, { images, labels }: ReturnType<typeof batchOf>) => ({
  images: { data: images, shape: [n, 32, 32, 3], dtype: 'u8' as const },
  labels: { data: labels, shape: [n], dtype: 'i32' as const },
});

/** Loss and gradients by name, with batch norm's new statistics assigned, of `n` pictures. */
async function gradientsOf(t: ReturnType<typeof setUp>, recipe: Recipe, n: number, batch = batchOf(n)) {
  const f = compile(
    ({ images, labels }, ctx) => {
      const { loss, gradients } = lossAndGradients(t, recipe, images!, labels!, ctx);
      return { loss, ...Object.fromEntries(t.optimizer.parameters.map((p, i) => [p.name, gradients[i]!])) };
    },
    { device, training: true },
  );
  const out = await f(specs(n, batch));
  f.dispose();
  return new Map(Object.entries(out).map(([name, x]) => [name, x.data]));
}
async function stateNow(t: ReturnType<typeof setUp>) {
  const out = new Map<string, Data>();
  for (const v of t.variables) out.set(v.name, (await v.read()).slice() as Data);
  return out;
}

describe('recomputation', () => {
  test('gives the same bits: losses, statistics, weights over steps', async () => {
    const states = [];
    for (const recompute of [false, true]) {
      const recipe = recipeOf({ recompute });
      const t = setUp(recipe);
      const step = trainingStep(t, recipe, device);
      const losses = [];
      for (let i = 0; i < 3; i++) {
        const { images, labels } = batchOf(8, i);
        losses.push(await step.run(images, labels, 0.02));
      }
      states.push({ losses, state: await stateNow(t) });
      step.dispose();
    }
    expect(states[1]).toEqual(states[0]);
    expect(states[0]!.losses.every((r) => r.applied && r.gradNorm > 0)).toBe(true);
  });

  test('and accumulation each save memory clearly, together most', async () => {
    const bytes = async (changes: RecipeChanges) => {
      const recipe = recipeOf({ inputSize: [64, 64], batch: 16, ...changes });
      const step = trainingStep(setUp(recipe), recipe, device);
      const { stepBytes } = await step.plan();
      step.dispose();
      return stepBytes;
    };
    const plain = await bytes({});
    const recompute = await bytes({ recompute: true });
    const parts = await bytes({ accumulate: 4 });
    const both = await bytes({ recompute: true, accumulate: 4 });
    expect(recompute).toBeLessThan(0.5 * plain);
    expect(parts).toBeLessThan(0.4 * plain);
    expect(both).toBeLessThan(Math.min(recompute, parts));
  });
});

test('accumulation is the mean of its parts, and running statistics move once per part', async () => {
  const n = 8;
  const batch = batchOf(n);
  const whole = setUp(recipeOf());
  const got = await gradientsOf(whole, recipeOf({ accumulate: 2 }), n, batch);
  const byParts = setUp(recipeOf());
  const half = (i: number) => ({
    images: batch.images.slice((i * n * 3072) / 2, ((i + 1) * n * 3072) / 2),
    labels: batch.labels.slice((i * n) / 2, ((i + 1) * n) / 2),
  });
  const parts: Map<string, Data>[] = [];
  for (const i of [0, 1]) parts.push(await gradientsOf(byParts, recipeOf(), n / 2, half(i)));
  for (const [name, data] of got) {
    // Halves are exact in float32, so one rounding of the sum is all that may happen.
    const expected = Float32Array.from(parts[0]!.get(name)!, (a, i) => Math.fround(a + parts[1]!.get(name)![i]!) / 2);
    expect(data, name).toEqual(expected);
  }
  const [a, b] = [await stateNow(whole), await stateNow(byParts)];
  for (const [name, data] of a) if (name.includes('running')) expect(data, name).toEqual(b.get(name));
  expect(a.get('stem.bn.runningVar')).not.toEqual(new Float32Array(16).fill(1));
});

test('the gradient norm is that of all gradients', async () => {
  const recipe = recipeOf();
  const { images, labels } = batchOf(8);
  const all = await gradientsOf(setUp(recipe), recipe, 8);
  all.delete('loss');
  let exact = 0;
  let plain = 0; // the same sum as a plain float32 loop
  for (const g of all.values())
    for (const x of g) {
      exact += x * x;
      plain = Math.fround(plain + Math.fround(x * x));
    }
  const step = trainingStep(setUp(recipe), recipe, device);
  const { gradNorm } = await step.run(images, labels, 0);
  const ulp = 2 ** -23 * Math.sqrt(exact);
  const bound = 4 * Math.abs(Math.sqrt(plain) - Math.sqrt(exact)) + ulp;
  expect(Math.abs(gradNorm - Math.sqrt(exact))).toBeLessThanOrEqual(bound);
  step.dispose();
});

test('weight decay follows the field: none for batch norm and PReLU, more for the last layers', () => {
  const recipe = recipeOf({ weightDecay: 1, lastLayerDecayFactor: 10 });
  const t = setUp(recipe);
  const { decay: decayOf } = rulesFor(t.parameterSet, recipe);
  const by = new Map(t.optimizer.parameters.map((p) => [p.name, decayOf(p)]));
  expect(by.get('stem.conv.weight')).toBe(1);
  expect(by.get('blocks.3.depthwise.conv.weight')).toBe(1);
  expect(by.get('head.conv.weight')).toBe(1);
  for (const name of ['globalDepthwise.conv.weight', 'embedding.conv.weight', 'arcface.weight'])
    expect(by.get(name), name).toBe(10);
  for (const [name, decay] of by) if (/bn|prelu/.test(name)) expect(decay, name).toBe(0);
});

describe('a step that is not finite', () => {
  const poisoned = async (recipe: Recipe, name: string, value: number) => {
    const t = setUp(recipe);
    const v = t.variables.find((x) => x.name === name)!;
    const data = v.host.slice() as Float32Array;
    data[Math.min(3, data.length - 1)] = value;
    v.write(data);
    const before = await stateNow(t);
    const step = trainingStep(t, recipe, device);
    const { images, labels } = batchOf(8);
    const result = await step.run(images, labels, 0.1);
    step.dispose();
    expect(result.applied).toBe(false);
    expect(await stateNow(t)).toEqual(before); // nothing was changed
    const error = await diagnose(t, recipe, device, images, labels, 12, result);
    expect(error).toBeInstanceOf(NumericsError);
    expect(error.message).toMatch(/^train: step 12: expected a finite loss and gradient/);
    return error.message;
  };

  test('names weights that are not finite', async () => {
    expect(await poisoned(recipeOf(), 'blocks.1.depthwise.conv.weight', Number.NaN)).toMatch(
      /first not finite: the weights 'blocks\.1\.depthwise\.conv\.weight' of module blocks\.1\.depthwise\n/,
    );
  });
  test('names the first module in forward order whose output overflows', async () => {
    expect(await poisoned(recipeOf(), 'blocks.2.expand.conv.weight', 1e38)).toMatch(
      /first not finite: the output of module blocks\.2\.expand\n/,
    );
    expect(await poisoned(recipeOf({ accumulate: 2 }), 'blocks.2.expand.conv.weight', 1e38)).toMatch(
      /first not finite: the output of module blocks\.2\.expand\n/,
    );
  });
  test('names the term whose loss overflows', async () => {
    // Of one centre alone, but every class is in the batch.
    expect(await poisoned(recipeOf({ terms: { center: 1 } }), 'center.centers', 1e30)).toMatch(
      /first not finite: the output of module center\n/,
    );
  });
  test('leaves what is frozen out of the search', async () => {
    const recipe = recipeOf({ s: 1e30 });
    const t = setUp(recipe);
    const frozen = t.parameterSet.select('freeze', ['@backbone']);
    const { images, labels } = batchOf(8);
    const result = { loss: 1, gradNorm: Infinity, hitRate: 0, terms: {}, applied: false };
    const error = await diagnose(t, recipe, device, images, labels, 1, result, frozen);
    expect(error.message).toMatch(/first not finite: (the gradient of 'arcface\.weight'|nothing by itself)/);
  });
  test('names the module whose gradient overflows, or says that only the norm does', async () => {
    // Logits of this scale keep the loss finite; the gradients are 1e30 and more, and their squares are not.
    const message = await poisoned(recipeOf({ s: 1e30 }), 'stem.conv.weight', 0.1);
    expect(message).toMatch(/first not finite: (the gradient of|nothing by itself)/);
  });
});

test('an embedding at inference reads running statistics, not those of the batch', async () => {
  const t = setUp(recipeOf());
  const embed = compile(
    ({ images }) => ({
      y: t.network.call(preprocess(images!, t.network.preprocessing), new TraceContext(false)),
    }),
    { device },
  );
  const one = (n: number, b = batchOf(n)) => embed({ images: specs(n, b).images });
  const [alone, among] = [(await one(1)).y!.data, (await one(4)).y!.data];
  expect(among.slice(0, alone.length)).toEqual(alone);
  embed.dispose();
});
