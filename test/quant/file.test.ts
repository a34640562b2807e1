/** Weights files of 8-bit networks: what is written is what is opened; damaged and hostile ones are refused by name. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { host } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf, loadEmbedder } from '../../src/evaluate/embedder.ts';
import { int8NetworkOf } from '../../src/quant/file.ts';
import type { Int8Network } from '../../src/quant/network.ts';
import { quantizeNetwork } from '../../src/quant/quantizeNetwork.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { int8Bytes } from '../../src/weights/int8.ts';
import { readSafetensors, writeSafetensors } from '../../src/weights/safetensors.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { noiseImages, tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

let device: WasmDevice;
let network: Int8Network;
let bytes: Uint8Array;
const images = noiseImages(5);
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
  const pictures = noiseImages(12, 32, 8).map((p) => host(p.data, [1, 32, 32, 3]));
  network = await quantizeNetwork(tinyNetwork(), pictures, { device });
  bytes = int8Bytes(network, { verification: '{"threshold":1}', recipe: 'that of the training' });
});
afterAll(() => device.dispose());

describe('a file of an 8-bit network', () => {
  it('gives the same embeddings, to the bit', async () => {
    const [before, after] = [embedderOf(network, device), await loadEmbedder(bytes, { device })];
    expect(after.architecture).toBe('int8');
    expect(after.preprocessing).toEqual(tinyNetwork().preprocessing);
    expect(after.embeddingSize).toBe(16);
    const embeddings = await after.embed(images);
    expect(embeddings).toEqual(await before.embed(images));
    expect(new Set(embeddings).size).toBeGreaterThan(60);
    await before.dispose();
    await after.dispose();
    await expect(loadEmbedder(bytes)).resolves.toMatchObject({ device: { name: 'wasm' } });
  });
  it('holds weights as bytes, keeps what lasts, and is written the same twice', async () => {
    const { tensors, metadata } = readSafetensors(bytes);
    const weights = [...tensors].filter(
      ([name]) => name.endsWith('.weight') && tensors.has(name.replace(/weight$/, 'scale')),
    );
    expect(weights.length).toBe(network.model.quantised.size);
    expect(new Set(weights.map(([, t]) => t.storage))).toEqual(new Set(['I8']));
    expect(metadata).toMatchObject({ storage: 'int8', verification: '{"threshold":1}' });
    expect(metadata).not.toHaveProperty('recipe');
    const again = parseCheckpoint(bytes, 'w8');
    expect(int8Bytes(int8NetworkOf(again.tensors, again.metadata, 'w8'), again.metadata)).toEqual(bytes);
  });
  it('is refused on WebGPU', async () => {
    await expect(loadEmbedder(bytes, { device: 'webgpu' })).rejects.toThrow('expected the device wasm');
  });

  const changed = (change: (s: ReturnType<typeof readSafetensors>) => void): Uint8Array => {
    const file = readSafetensors(bytes);
    change(file);
    return writeSafetensors(file.tensors, file.metadata);
  };
  const path = () => [...network.model.quantised][1]!;
  const opened = (b: Uint8Array) => loadEmbedder(b, { device, source: 'w8' });
  it.each<[string, (s: ReturnType<typeof readSafetensors>) => void, string]>([
    ['without weights', (s) => s.tensors.delete(`layers.${path()}.weight`), 'missing layers.'],
    ['without levels', (s) => delete s.metadata.levels, "'levels' is missing"],
    ['with levels that are none', (s) => (s.metadata.levels = '{"x":[0,3]}'), 'levels of x'],
    ['with levels of other values', (s) => (s.metadata.levels = '{"x":[1,3]}'), 'levels of'],
    ['with a zero point out of range', (s) => (s.metadata.levels = '{"x":[1,300]}'), 'levels of x'],
    ['with levels that are no record', (s) => (s.metadata.levels = 'null'), 'levels of'],
    ['of nodes that are none', (s) => (s.metadata.quantised = '["nobody",5]'), '"nobody" is no convolution'],
    ['of nodes without a list', (s) => (s.metadata.quantised = '7'), 'no list'],
    ['whose graph is none', (s) => (s.metadata.graph = '{"nodes":[]}'), 'expected a graph'],
    ['whose graph is no JSON', (s) => (s.metadata.graph = '{'), 'not JSON'],
    [
      'with a bias whose sums would not be exact',
      (s) => (s.tensors.get(`layers.${path()}.bias`)!.data[0] = 2 ** 30),
      'is out of range',
    ],
    [
      'with a scale that is none',
      (s) => (s.tensors.get(`layers.${path()}.scale`)!.data[0] = Number.NaN),
      'out of range',
    ],
    ['with a weight of -128', (s) => (s.tensors.get(`layers.${path()}.weight`)!.data[0] = -128), 'out of range'],
    [
      'with a scale too few',
      (s) => s.tensors.set(`layers.${path()}.scale`, { dtype: 'f32', shape: [1], data: new Float32Array(1) }),
      'expected f32',
    ],
  ])('is refused %s', async (_, change, what) => {
    const error = await opened(changed(change)).then(
      () => undefined,
      (e: Error) => e,
    );
    expect(error?.name).toBe('DataError');
    expect(error!.message).toMatch(/^w8: /);
    expect(error!.message).toContain(what);
  });
  it('damaged anywhere is read or refused', async () => {
    const { read, refused } = await fuzz(
      (b) => {
        const { tensors, metadata } = parseCheckpoint(b, 'w8');
        if (metadata.architecture === 'int8') int8NetworkOf(tensors, metadata, 'w8');
      },
      bytes,
      'w8',
      { cuts: 40, flips: 60, numbers: 60 },
    );
    expect(read + refused).toBe(160);
    expect(refused).toBeGreaterThan(40);
  });
  it('does not pass for a float32 one', async () => {
    const float = await weightsOf(tinyNetwork(), { architecture: 'int8' });
    await expect(opened(float)).rejects.toThrow("its metadata 'graph' is missing");
  });
});
