/**
 * What `npm start` promises, over three seeds: people never seen are told apart by the trained network and not by an
 * untrained one. (That pixels alone do not suffice is held by test/datasets/synthetic.test.ts.)
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readImage } from '../../src/data/readImage.ts';
import { enableFastKernels } from '../../src/device/v8.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { initialize, variablesOf } from '../../src/nn/module.ts';
import { validationSets } from '../../src/train/data.ts';
import { evaluatorOf } from '../../src/train/evaluation.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';
import { networkFor } from '../../src/train/trainable.ts';

let device: WasmDevice;
let folder: string;
beforeAll(async () => {
  enableFastKernels();
  device = await WasmDevice.create();
  folder = mkdtempSync(join(tmpdir(), 'facegrad-demo-'));
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

test.each([1, 2, 3])('seed %i: untrained at most 65 %, trained at least 85 %', async (seed) => {
  const recipe = resolveRecipe('demo', { seed });
  const network = initialize(networkFor(recipe), seed);
  const pairs = (await validationSets(recipe))[0]!.pairs;
  const untrained = await evaluatorOf(pairs, (s) => readImage(s, network.preprocessing.inputSize), network, device, {
    protocol: recipe.evalProtocol,
    flip: recipe.evalFlip,
  });
  const before = (await untrained.run()).result.accuracy;
  await untrained.dispose();
  for (const v of variablesOf(network)) v.dispose();
  const run = await train(recipe, { device, out: join(folder, String(seed)), onEvent: () => {} });
  console.log(
    `seed ${seed}: untrained ${(100 * before).toFixed(1)} %, trained ${(100 * run.evaluation!.accuracy).toFixed(1)} %`,
  );
  expect(before).toBeLessThanOrEqual(0.65);
  expect(run.evaluation!.accuracy).toBeGreaterThanOrEqual(0.85);
});
