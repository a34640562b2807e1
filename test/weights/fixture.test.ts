/**
 * A checkpoint of format version 1 as it was once written: it loads, embeds to the same numbers and can be gone on from,
 * whatever facegrad becomes. The file comes from 20 steps on six synthetic people.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fold, keyOf, threefry } from '../../src/core/random.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import type { ArcFace } from '../../src/heads/arcFace.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import { resumeRecipe } from '../../src/train/run.ts';
import { restore } from '../../src/train/state.ts';
import { headFor, networkFor, trainable } from '../../src/train/trainable.ts';

const path = fileURLToPath(new URL('../fixtures/checkpoint-v1.safetensors', import.meta.url));

/** Embeddings of the two pictures below by the f64 reference when the file was made. */
const expected = [
  -65.2078781, 250.432343, 25.625061, 10.0800562, -32.7205505, -84.743866, 355.454498, -46.4994316, 156.488419,
  13.5483665, 6.62534237, -160.11972, 71.8026657, -106.827728, -151.815109, -5.68880939, -57.8729362, 169.610229,
  47.0899887, -0.549680769, -7.79818296, -88.9664841, 335.936859, -12.7290373, 109.954224, -7.00964022, 26.0025692,
  -127.821495, 43.3101501, -54.6922493, -106.90062, -3.99416852,
];

const key = fold(keyOf(1), 'fixture');
const pictures = Uint8Array.from({ length: 2 * 32 * 32 * 3 }, (_, i) => threefry(key, i, 0)[0] & 255);

async function embeddings(device: ReferenceDevice | WasmDevice): Promise<Float32Array> {
  const embedder = await loadEmbedder(readFileSync(path), { device });
  const out = await embedder.embed(pictures);
  await embedder.dispose();
  await device.dispose();
  return out;
}
const furthest = (x: Float32Array) => x.reduce((most, v, i) => Math.max(most, Math.abs(v - expected[i]!)), 0);

test('embeds to the numbers of its day', async () => {
  const ulp = 2 ** -23 * Math.max(...expected.map(Math.abs));
  const truth = await embeddings(new ReferenceDevice());
  expect(truth.length).toBe(expected.length);
  expect(furthest(truth)).toBeLessThanOrEqual(ulp);
  const plain = furthest(await embeddings(new ReferenceDevice(Math.fround)));
  for (const relaxed of [false, true])
    expect(furthest(await embeddings(await WasmDevice.create({ threads: 1, relaxed })))).toBeLessThanOrEqual(
      4 * plain + ulp,
    );
});

test('can be gone on from', async () => {
  const checkpoint = await readCheckpoint(path);
  const { recipe, progress } = resumeRecipe(checkpoint, path, { maxSteps: 30 });
  expect(recipe).toMatchObject({
    recipe: 'mobilefacenet-arcface',
    model: { name: 'mobilefacenet', width: 0.05, inputSize: [32, 32] },
    maxSteps: 30,
  });
  expect(progress).toMatchObject({ step: 20, classes: 6, images: 48 });
  const network = networkFor(recipe);
  const head = headFor(recipe, network, progress.classes) as ArcFace;
  const t = trainable(network, head, recipe);
  restore(checkpoint, t, recipe, path);
  expect(checkpoint.tensors.size).toBe(t.variables.length);
  const centres = checkpoint.tensors.get('arcface.weight')!.data;
  expect([...(await head.weight.read())]).toEqual([...centres]);
});
