/** The whole training plan of MobileFaceNet + ArcFace with 10,575 classes at batch 32: how many kernels, how much memory. */
import { expect, test } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { initialize } from '../../src/nn/module.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { trainingStep } from '../../src/train/step.ts';
import { trainable } from '../../src/train/trainable.ts';

test('the plan has at most 60 distinct kernels and keeps each activation once', { timeout: 120_000 }, async () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', { batch: 32 });
  const device = await WasmDevice.create({ threads: 1 });
  const whole = trainable(initialize(new MobileFaceNet(), 1), initialize(new ArcFace({ classes: 10575 }), 1), recipe);
  const step = trainingStep(whole, recipe, device);
  const start = performance.now();
  const plan = await step.plan();
  console.log(
    `training plan: ${plan.kernels} kernels, ${plan.calls} calls, ${(plan.stepBytes / 1e6).toFixed(0)} MB, compiled in ${(performance.now() - start).toFixed(0)} ms`,
  );
  expect(plan.kernels).toBeLessThanOrEqual(60);
  // About 25 MB a picture, kept once; the head's blocks are small beside it.
  expect(plan.stepBytes).toBeLessThan(32 * 27.5e6);
  await device.dispose();
});
