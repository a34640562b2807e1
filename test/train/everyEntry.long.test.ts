/**
 * Every network, head, optimizer and schedule of the registries by its name and nothing else, as `facegrad train` takes it:
 * a few steps, a checkpoint, and embeddings from it.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { losses } from '../../src/heads/index.ts';
import { models } from '../../src/models/index.ts';
import { Parameter } from '../../src/nn/module.ts';
import { optimizers } from '../../src/optim/index.ts';
import { schedules } from '../../src/optim/schedules.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import { FromText, resolveRecipe } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';
import { setUp } from '../../src/train/setup.ts';

let device: Device;
let folder: string;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2 });
  folder = mkdtempSync(join(tmpdir(), 'facegrad-entries-'));
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const common = {
  inputSize: '32x32',
  width: '0.125',
  batch: '4',
  'sampler.people': '2',
  'sampler.images': '2',
  identities: '4',
  imagesPerIdentity: '3',
  maxSteps: '4',
  lr: '0.001',
  warmupSteps: '0',
  evalIdentities: '4',
  evalEverySteps: '2',
  samples: 'false',
};

/** Trains by the words of a command line. */
async function trained(words: Readonly<Record<string, string>>) {
  const recipe = resolveRecipe(
    'mobilefacenet-arcface',
    Object.fromEntries(Object.entries({ ...common, ...words }).map(([key, text]) => [key, new FromText(text)])),
  );
  const out = join(folder, Object.values(words).join('-'));
  const result = await train(recipe, { device, out, workers: 0 });
  expect(result.finished).toBe(true);
  expect(Number.isFinite(result.loss)).toBe(true);
  const path = join(out, 'last.safetensors');
  const { tensors } = await readCheckpoint(path);
  const { t } = await setUp(recipe, { workers: 0 });
  const parameters = t.variables.filter((v) => v instanceof Parameter);
  const moved = parameters.filter((p) => tensors.get(p.name)!.data.some((x, i) => x !== p.host[i]));
  rmSync(join(out, 'events'), { recursive: true });
  return { path, recipe, moved: moved.length / parameters.length };
}

describe('networks', () => {
  test.each(models.map((m) => m.name))('%s', async (name) => {
    const { path, moved } = await trained({ model: name });
    // Convolutions in front of a batch norm may have biases, which it takes away again.
    expect(moved).toBeGreaterThan(0.7);
    const embedder = await loadEmbedder(readFileSync(path), { device });
    expect(embedder.architecture).toBe(name);
    const images = [1, 2].map((person) => ({ width: 32, height: 32, data: syntheticFace(1, person, 1, 32) }));
    const embeddings = await embedder.embed(images);
    await embedder.dispose();
    expect(embeddings.every(Number.isFinite)).toBe(true);
    const [a, b] = [0, 1].map((i) => embeddings.slice(i * embedder.embeddingSize, (i + 1) * embedder.embeddingSize));
    expect(a).not.toEqual(b);
  });
});

describe('heads, optimizers and schedules', () => {
  const heads = losses.filter((l) => l.role !== 'term').map((l) => l.name);
  const count = Math.max(heads.length, optimizers.length, schedules.length);
  const cases = Array.from({ length: count }, (_, i) => ({
    head: heads[i % heads.length]!,
    optimizer: optimizers[i % optimizers.length]!.name,
    schedule: schedules[i % schedules.length]!.name,
  }));
  test.each(cases)('$head by $optimizer on a course of $schedule', async (words) => {
    const { moved } = await trained(words);
    expect(moved).toBe(1);
  });
  test.each(losses.filter((l) => l.role !== 'head').map((l) => l.name))('%s beside a head', async (name) => {
    const { moved } = await trained({ terms: `${name}=0.1` });
    expect(moved).toBe(1);
  });
});
