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
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize } from '../../src/nn/module.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';

const file = readFileSync(new URL('../fixtures/checkpoint-v1.safetensors', import.meta.url));
const side = 32;
const count = 6;
const faces = Array.from({ length: count }, (_, i) => ({
  width: side,
  height: side,
  data: syntheticFace(3, i, 0, side),
}));

/** Rows of embeddings; both are freed. */
async function embed(embedder: Embedder): Promise<number[][]> {
  const rows = await embedder.embed(faces);
  const n = embedder.embeddingSize;
  await embedder.dispose();
  await embedder.device.dispose();
  return Array.from({ length: count }, (_, i) => Array.from(rows.subarray(i * n, (i + 1) * n)));
}
const embeddings = async (device: Device) => embed(await loadEmbedder(file, { device }));
/** Of a network whose activations and weights are worth halving. */
const wider = async (device: Device, storage?: 'f16') =>
  embed(embedderOf(initialize(new MobileFaceNet({ inputSize: [side, side] }), 5), device, { storage }));
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i]!, 0);
const cosine = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

describe('embeddings of a checkpoint', () => {
  const truth = embeddings(new ReferenceDevice());
  const least = async (mine: readonly (readonly number[])[]) => {
    const rows = await truth;
    return Math.min(...mine.map((row, i) => cosine(row, rows[i]!)));
  };
  it('differ between people', async () => {
    const rows = await truth;
    for (let i = 1; i < count; i++) expect(cosine(rows[0]!, rows[i]!)).toBeLessThan(0.9999);
  });
  it('are the same on WASM', async () => {
    expect(await least(await embeddings(await WasmDevice.create({ threads: 2 })))).toBeGreaterThan(0.9999);
  });
  it.runIf(runGpu)('are the same on WebGPU', async () => {
    expect(await least(await embeddings(await openGpuDevice()))).toBeGreaterThan(0.9999);
  });
  it.runIf(runGpu)('are nearly the same with float16 storage, which is used', async () => {
    const whole = await wider(await openGpuDevice());
    const half = await wider(await openGpuDevice(), 'f16');
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
    await expect(wider(await WasmDevice.create({ threads: 1 }), 'f16')).rejects.toThrow(UsageError);
  });
});
