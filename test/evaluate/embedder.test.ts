/** The embedder: batches of any size give the same rows, pixels arrive as the network wants them, bad files say so. */
import { afterAll, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf, type FaceImage, loadEmbedder } from '../../src/evaluate/embedder.ts';
import { alignFace } from '../../src/image/align.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { preprocess } from '../../src/models/network.ts';
import { loadState, stateOf, variablesOf } from '../../src/nn/module.ts';
import { noiseImages, tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const device = await WasmDevice.create({ threads: 2 });
afterAll(() => device.dispose());
const bytes = await weightsOf(tinyNetwork());
const images = noiseImages(11);
const rows = (x: Float32Array, from: number, to: number) => x.slice(from * 16, to * 16);

it('agrees with the f64 reference of the same network', async () => {
  const net = tinyNetwork();
  const run = compile(({ x }, ctx) => ({ y: net.call(preprocess(x!, net.preprocessing), ctx) }), {
    device: new ReferenceDevice(),
  });
  const x = new Uint8Array(2 * 32 * 32 * 3);
  images.slice(0, 2).forEach((im, i) => {
    x.set(im.data, i * im.data.length);
  });
  const truth = (await run({ x: host(x, [2, 32, 32, 3]) })).y!.data;
  // What float32 itself costs: the same network, every operation rounded.
  const plain = tinyNetwork();
  const rounded = compile(({ x }, ctx) => ({ y: plain.call(preprocess(x!, plain.preprocessing), ctx) }), {
    device: new ReferenceDevice(Math.fround),
  });
  const f32 = (await rounded({ x: host(x, [2, 32, 32, 3]) })).y!.data;
  const e = await loadEmbedder(bytes, { device });
  const got = await e.embed(images.slice(0, 2));
  await e.dispose();
  const worst = (a: ArrayLike<number>) => Math.max(...Array.from(truth, (t, i) => Math.abs(t - a[i]!)));
  const scale = Math.max(...Array.from(truth, Math.abs));
  expect(scale).toBeGreaterThan(0.1);
  expect(worst(got)).toBeLessThanOrEqual(4 * worst(f32) + scale * 2 ** -23);
});

it('normalises each colour by its own numbers, in the order of the network', async () => {
  const pixels = Uint8Array.of(10, 20, 30, 40, 50, 60);
  const run = compile(
    ({ x }) => ({
      y: preprocess(x!, { colourOrder: 'BGR', mean: [1, 2, 3], scale: [0.5, 1, 2], inputSize: [1, 2] }),
      z: preprocess(x!, { colourOrder: 'RGB', mean: [1, 2, 3], scale: 0.5, inputSize: [1, 2] }),
    }),
    { device },
  );
  const { y, z } = await run({ x: host(pixels, [1, 1, 2, 3]) });
  expect([...y!.data]).toEqual([14.5, 18, 14, 29.5, 48, 74]);
  expect([...z!.data]).toEqual([4.5, 9, 13.5, 19.5, 24, 28.5]);
});

it('gives the same bits whatever the batch', async () => {
  const e = await loadEmbedder(bytes, { device, maxBatch: 4 });
  const all = await e.embed(images);
  expect(all.length).toBe(11 * 16);
  for (const [from, to] of [
    [0, 1],
    [0, 2],
    [3, 6],
    [4, 9],
    [10, 11],
  ] as const)
    expect(await e.embed(images.slice(from, to))).toEqual(rows(all, from, to));
  expect(await e.embed([])).toEqual(new Float32Array(0));
  await e.dispose();
});

it('gives networks of a fixed batch that many, filled up', async () => {
  const { spec, tensors } = await traced(tinyNetwork());
  const free = embedderOf(graphNetwork({ spec, tensors }), device);
  const fixed = embedderOf(graphNetwork({ spec: { ...spec, batch: 4 }, tensors }), device);
  expect(await fixed.embed(images)).toEqual(await free.embed(images));
  for (const e of [free, fixed]) await e.dispose();
});

it('compiles one plan per power of two, not per size', async () => {
  await device.idle();
  const before = device.stats().plans;
  const e = await loadEmbedder(bytes, { device, maxBatch: 8 });
  for (let n = 1; n <= 11; n++) await e.embed(images.slice(0, n));
  expect(device.stats().plans - before).toBe(4); // 1, 2, 4, 8
  await e.dispose();
  await device.idle();
  expect(device.stats().plans).toBe(before);
});

it('leaves nothing on the device', async () => {
  await device.idle();
  const cycle = async () => {
    const e = await loadEmbedder(bytes, { device });
    await e.embed(images);
    await e.dispose();
    await device.idle();
    return device.stats();
  };
  const first = await cycle();
  for (let i = 0; i < 3; i++) expect(await cycle()).toEqual(first);
});

it('queues calls that overlap', async () => {
  const e = await loadEmbedder(bytes, { device });
  const one = await Promise.all(images.slice(0, 4).map((im) => e.embed([im])));
  for (const [i, r] of one.entries()) expect(r).toEqual(await e.embed([images[i]!]));
  await e.dispose();
});

it('takes RGBA, raw bytes and mirror images', async () => {
  const e = await loadEmbedder(bytes, { device });
  const rgba = images.slice(0, 2).map((im): FaceImage => {
    const data = new Uint8ClampedArray(32 * 32 * 4).fill(77);
    for (let p = 0; p < 32 * 32; p++) for (let c = 0; c < 3; c++) data[4 * p + c] = im.data[3 * p + c]!;
    return { ...im, data };
  });
  const flipped = images.slice(0, 2).map((im) => {
    const data = new Uint8Array(im.data.length);
    for (let y = 0; y < 32; y++)
      for (let x = 0; x < 32; x++)
        for (let c = 0; c < 3; c++) data[3 * (32 * y + 31 - x) + c] = im.data[3 * (32 * y + x) + c]!;
    return { ...im, data };
  });
  const want = await e.embed(images.slice(0, 2));
  expect(await e.embed(rgba)).toEqual(want);
  expect(await e.embed(Uint8Array.from([...images[0]!.data, ...images[1]!.data]))).toEqual(want);
  const mirror = await e.embed(images.slice(0, 2), { mirrored: true });
  expect(mirror).toEqual(await e.embed(flipped));
  expect(mirror).not.toEqual(want);
  await e.dispose();
});

it('aligns pictures whose five points are known', async () => {
  const e = await loadEmbedder(bytes, { device });
  const photo = noiseImages(1, 90)[0]!;
  const points = [30, 35, 58, 33, 45, 50, 33, 66, 57, 64];
  const crop = alignFace(photo, points, [32, 32]);
  const want = await e.embed([crop]);
  expect(await e.embed([{ ...photo, points }])).toEqual(want);
  const rgba = new Uint8ClampedArray(90 * 90 * 4);
  for (let i = 0; i < 90 * 90; i++) rgba.set([...photo.data.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  expect(await e.embed([{ width: 90, height: 90, data: rgba, points }])).toEqual(want);
  await expect(e.embed([{ ...photo, width: 91, points }])).rejects.toThrow(/expected RGB or RGBA pixels/);
  await e.dispose();
});

it('swaps colours for a network trained on BGR', async () => {
  const net = tinyNetwork();
  const preprocessing = { ...net.preprocessing, colourOrder: 'BGR' as const };
  const bgr = await loadEmbedder(await weightsOf(net, { preprocessing: JSON.stringify(preprocessing) }), { device });
  const rgb = await loadEmbedder(bytes, { device });
  const swapped = images.slice(0, 1).map((im) => ({
    ...im,
    data: im.data.map((_, i) => im.data[i - (i % 3) + 2 - (i % 3)]!),
  }));
  expect(await bgr.embed(images.slice(0, 1))).toEqual(await rgb.embed(swapped));
  await Promise.all([bgr.dispose(), rgb.dispose()]);
});

it('takes the moments of each batch where it is asked to, and moves no statistics', async () => {
  const net = tinyNetwork();
  const before = await stateOf(variablesOf(net));
  const three = images.slice(0, 3);
  const x = new Uint8Array(3 * 32 * 32 * 3);
  three.forEach((im, i) => {
    x.set(im.data, i * im.data.length);
  });
  const training = compile(({ x: input }, ctx) => ({ y: net.call(preprocess(input!, net.preprocessing), ctx) }), {
    device,
    training: true,
  });
  // Its assignments are of the running statistics alone, which the numbers at hand do not read.
  const want = (await training({ x: host(x, [3, 32, 32, 3]) })).y!.data;
  loadState(variablesOf(net), before, 'before');
  const e = embedderOf(net, device, { batchStatistics: true });
  expect(await e.embed(three)).toEqual(want);
  const running = embedderOf(net, device);
  expect(await running.embed(three)).not.toEqual(want);
  expect(await stateOf(variablesOf(net))).toEqual(before);
  await e.dispose();
  await running.dispose();
  training.dispose();
});

it('says what is wrong', async () => {
  const e = await loadEmbedder(bytes, { device });
  await expect(e.embed(noiseImages(1, 48))).rejects.toThrow(/images of 32x32, got image 0 of 48x48/);
  await expect(e.embed(new Uint8Array(100))).rejects.toThrow(/got 100 bytes/);
  await e.dispose();
  await expect(loadEmbedder(bytes.subarray(0, 5000), { device, source: 'w.safetensors' })).rejects.toThrow(
    /^w\.safetensors: .*cut off/,
  );
  const other = await weightsOf(tinyNetwork(), { architecture: 'resnet900' });
  await expect(loadEmbedder(other, { device })).rejects.toThrow(
    /one of the architectures mobilefacenet, .*, ir, .*, got 'resnet900'/,
  );
  const wider = await weightsOf(tinyNetwork(), { options: '{"width":0.5,"inputSize":[32,32]}' });
  await expect(loadEmbedder(wider, { device })).rejects.toThrow(/tensors of this network, but \d+ differ/);
  const broken = await weightsOf(tinyNetwork(), { options: '{' });
  await expect(loadEmbedder(broken, { device })).rejects.toThrow(/'options' is not JSON/);
  expect(() => embedderOf(tinyNetwork(), device, { maxBatch: 0 })).toThrow(/maxBatch of at least 1/);
});
