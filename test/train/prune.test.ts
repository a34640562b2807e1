/** Pruning: the share of zeros by the paper's equation, zeros that stay, and a resumed run that ends the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import { sparsityAt } from '../../src/train/prune.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-prune-'));
let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const recipe = resolveRecipe('mobilefacenet-arcface', {
  model: { width: 0.125, inputSize: [32, 32], embeddingSize: 16 },
  batch: 4,
  identities: 3,
  imagesPerIdentity: 8,
  maxSteps: 12,
  lr: 0.02,
  schedule: { warmupSteps: 0 },
  prune: { sparsity: 0.6, start: 0.25, end: 0.75, everySteps: 2 },
  saveEverySteps: 0,
  evalIdentities: 0,
  samples: false,
  tensorBoard: false,
});

test('the share of zeros grows as equation 1 says', () => {
  const shares = Array.from({ length: 12 }, (_, step) => sparsityAt(recipe.prune, step, 12));
  const expected = [0, 0, 0, 0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1].map((x) => 0.6 * (1 - (1 - x) ** 3));
  shares.forEach((s, i) => {
    expect(s).toBeCloseTo(expected[i]!, 14);
  });
});

test('weights of convolutions end with exactly that share of zeros, the others with none; resumed alike', async () => {
  const whole = join(folder, 'whole');
  await train(recipe, { device, out: whole, workers: 0 });
  const last = join(whole, 'last.safetensors');
  const { tensors } = await readCheckpoint(last);
  const masks = [...tensors.keys()].filter((name) => name.endsWith('.mask'));
  expect(masks).toContain('stem.conv.weight.mask');
  expect(masks.some((name) => /bn|prelu|arcface/.test(name))).toBe(false);
  for (const name of masks) {
    const mask = [...tensors.get(name)!.data];
    const weights = [...tensors.get(name.replace(/\.mask$/, ''))!.data];
    const zeros = mask.filter((x) => x === 0).length;
    expect(zeros, name).toBe(Math.round(0.6 * mask.length));
    expect(weights.filter((x) => x === 0).length, name).toBe(zeros);
    mask.forEach((m, i) => {
      if (m === 0) expect(weights[i]).toBe(0);
    });
  }

  for (const stopAfter of [3, 6]) {
    const out = join(folder, `after${stopAfter}`);
    const stop = new AbortController();
    const onEvent = (e: { type: string; step?: number }) => {
      if (e.type === 'step' && e.step === stopAfter) stop.abort();
    };
    const logged = { ...recipe, logEverySteps: 1 };
    const first = await train(logged, { device, out, workers: 0, signal: stop.signal, onEvent });
    expect(first.finished).toBe(false);
    const resumeFrom = join(out, 'last.safetensors');
    await train(logged, { device, out, workers: 0, resumeFrom });
    const again = await readCheckpoint(resumeFrom);
    for (const [name, { data }] of tensors) expect(again.tensors.get(name)!.data, name).toEqual(data);
  }
});
