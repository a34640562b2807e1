/**
 * One network, every device: embeddings of a checkpoint agree. In float32 the cosine is above 0.9999; with float16
 * storage above 0.999 (11 bits of mantissa, rounded once a layer).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { compile } from '../../src/compile.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { type Embedder, embedderOf, loadEmbedder } from '../../src/evaluate/embedder.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize } from '../../src/nn/module.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { trainingStep } from '../../src/train/step.ts';
import { networkFor, trainable } from '../../src/train/trainable.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';

const file = readFileSync(new URL('../fixtures/checkpoint-v1.safetensors', import.meta.url));
const side = 32;
const count = 6;
const faces = Array.from({ length: count }, (_, i) => ({
  width: side,
  height: side,
  data: syntheticFace(3, i, 0, side),
}));

/** Embeddings of the faces; the embedder is freed. */
async function rows(embedder: Embedder): Promise<number[][]> {
  const all = await embedder.embed(faces);
  const n = embedder.embeddingSize;
  await embedder.dispose();
  return Array.from({ length: count }, (_, i) => Array.from(all.subarray(i * n, (i + 1) * n)));
}
/** Of the checkpoint; the device is freed too. */
async function embeddings(device: Device) {
  const out = await rows(await loadEmbedder(file, { device }));
  await device.dispose();
  return out;
}
/** A network whose activations and weights are worth halving, trained for a moment so that its statistics are real. */
async function briefly(): Promise<MobileFaceNet> {
  const recipe = resolveRecipe('demo', { inputSize: [side, side], width: 1, batch: 16, lr: 0.05 });
  const device = await WasmDevice.create({ threads: 2 });
  const net = initialize(networkFor(recipe) as MobileFaceNet, 5);
  const whole = trainable(net, initialize(new ArcFace({ classes: 8, s: 16, m: 0.2 }), 5), recipe);
  const step = trainingStep(whole, recipe, device);
  const images = new Uint8Array(16 * 3 * side * side);
  const labels = Int32Array.from({ length: 16 }, (_, i) => i % 8);
  for (let n = 0; n < 40; n++) {
    labels.forEach((l, i) => {
      images.set(syntheticFace(4, l, 2 * n + (i >> 3), side), i * 3 * side * side);
    });
    await step.run(images, labels, recipe.lr);
  }
  for (const v of whole.variables) await v.read();
  step.dispose();
  await device.dispose();
  return net;
}
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i]!, 0);
const cosine = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

describe('embeddings of a checkpoint', () => {
  const truth = embeddings(new ReferenceDevice());
  const least = async (mine: readonly (readonly number[])[]) => {
    const exact = await truth;
    return Math.min(...mine.map((row, i) => cosine(row, exact[i]!)));
  };
  it('differ between people', async () => {
    const exact = await truth;
    for (let i = 1; i < count; i++) expect(cosine(exact[0]!, exact[i]!)).toBeLessThan(0.9999);
  });
  it('are the same on WASM', async () => {
    expect(await least(await embeddings(await WasmDevice.create({ threads: 2 })))).toBeGreaterThan(0.9999);
  });
  it.runIf(runGpu)('are the same on WebGPU', async () => {
    expect(await least(await embeddings(await openGpuDevice()))).toBeGreaterThan(0.9999);
  });
  it.runIf(runGpu)('are nearly the same with float16 storage, which is used', async () => {
    const net = await briefly();
    const device = await openGpuDevice();
    const whole = await rows(embedderOf(net, device));
    const half = await rows(embedderOf(net, device, { storage: 'f16' }));
    await device.dispose();
    expect(half).not.toEqual(whole);
    for (const [i, row] of half.entries()) expect(cosine(row, whole[i]!)).toBeGreaterThan(0.999);
  });
  it.runIf(runGpu)('take half the step memory with float16 storage', async () => {
    const device = await openGpuDevice();
    const net = initialize(new MobileFaceNet({ inputSize: [side, side] }), 5);
    const bytes = async (storage: 'f32' | 'f16') => {
      const f = compile(({ x }, ctx) => net.call(preprocess(x!, net.preprocessing), ctx), { device, storage });
      const { stepBytes } = await f.plan({ x: { shape: [8, side, side, 3], dtype: 'u8' } });
      f.dispose();
      return stepBytes;
    };
    expect((await bytes('f16')) / (await bytes('f32'))).toBeLessThan(0.7);
    await device.dispose();
  });
  it('with float16 storage are refused where there is none', async () => {
    const device = await WasmDevice.create({ threads: 1 });
    const embedder = await loadEmbedder(file, { device, storage: 'f16' });
    await expect(embedder.embed(faces)).rejects.toThrow(UsageError);
    await embedder.dispose();
    await device.dispose();
  });
});
