/**
 * 30 training steps of a reduced MobileFaceNet (quarter width, every block kind) on every device and mode.
 *
 * The truth is the f64 reference. Training amplifies rounding (an activation within rounding of 0 flips PReLU's slope),
 * so the bound at each step is the largest of: how far a plain float32 program (the reference with every operation
 * rounded) has strayed from the truth, and how far runs stray whose initial weights differ in their last bit. Threads
 * and vector width must not change a bit.
 */
import v8 from 'node:v8';
import { afterAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, uniform } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { declareWide } from '../../src/device/mode.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize, type Parameter, parametersOf } from '../../src/nn/module.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';

const steps = 30;
const batch = 8;
const [height, width] = [32, 16];
const classes = 12;
// In CI a mode that is not exercised is a failure, so there it runs wherever it is.
const hasWide = Number.parseInt(process.versions.v8, 10) >= 13;

/** Images whose brightness pattern tells the class, so that the losses move. Every step sees the same batch: with a new
 * one a step, float32 programs part from each other within ten steps, whoever wrote them. */
function makeBatch() {
  const key = keyOf(7);
  const labels = Int32Array.from({ length: batch }, (_, b) => (b * 5) % classes);
  const noise = uniform(key, batch * height * width * 3);
  const pattern = Array.from(labels, (l) => uniform(fold(keyOf(11), l), 4 * 2 * 3));
  const images = Uint8Array.from(noise, (u, i) => {
    const c = i % 3;
    const x = Math.floor(i / 3) % width;
    const y = Math.floor(i / 3 / width) % height;
    const b = Math.floor(i / 3 / width / height);
    return 256 * (0.7 * pattern[b]![((y >> 3) * 2 + (x >> 3)) * 3 + c]! + 0.3 * u);
  });
  return { images: host(images, [batch, height, width, 3]), labels: host(labels, [batch]) };
}

/** Losses of the run. `nudge` flips the last bit of about half of all initial weights, by its own random stream. */
async function losses(device: Device, nudge?: number): Promise<number[]> {
  const net = initialize(new MobileFaceNet({ width: 0.25, inputSize: [height, width], embeddingSize: 32 }), 3);
  const head = initialize(new ArcFace({ classes, embeddingSize: 32, s: 16, m: 0.3 }), 3);
  const parameters = [...parametersOf(net), ...parametersOf(head)];
  if (nudge !== undefined)
    for (const p of parameters) {
      const u = uniform(fold(fold(keyOf(nudge), 'nudge'), p.name), p.size);
      p.write(Float32Array.from(p.host, (x, i) => (u[i]! < 0.5 ? x : x * (1 + 2 ** -23))));
    }
  const decay = (p: Parameter) => (/\.(bn|prelu)\./.test(p.name) ? 0 : 5e-4);
  const optimizer = sgd(parameters, { momentum: 0.9, nesterov: true, decay });
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(preprocess(images!, net.preprocessing), ctx), labels!, ctx);
      optimizer.update(grad(loss, parameters), lr!, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const data = makeBatch();
  const out: number[] = [];
  for (let i = 0; i < steps; i++) out.push((await step({ ...data, lr: 1e-4 })).loss!.data[0]!);
  await device.dispose();
  return out;
}

describe('30 training steps of a quarter-width network', () => {
  const truth = losses(new ReferenceDevice());
  const plain = losses(new ReferenceDevice(Math.fround));
  const narrow = WasmDevice.create({ threads: 1, wide: false }).then(losses);
  const nudged = narrow.then(() =>
    Promise.all([1, 2, 3, 4, 5, 6].map(async (k) => losses(await WasmDevice.create({ threads: 1, wide: false }), k))),
  );
  afterAll(() => Promise.allSettled([truth, plain, narrow, nudged]));

  const expectAgree = async (mine: readonly number[]) => {
    const [f64, f32, same, near] = [await truth, await plain, await narrow, await nudged];
    let gap = 0;
    for (let i = 0; i < steps; i++) {
      gap = Math.max(gap, Math.abs(f32[i]! - f64[i]!), ...near.map((run) => Math.abs(run[i]! - same[i]!)));
      expect(Math.abs(mine[i]! - f64[i]!), `step ${i}: ${mine[i]} for ${f64[i]}`).toBeLessThanOrEqual(
        4 * gap + 2 ** -22 * Math.abs(f64[i]!),
      );
    }
    // The bound must still mean something at the end, and the network must have learned.
    expect(gap).toBeLessThan(0.05 * f64[0]!);
    expect(Math.min(...f64)).toBeLessThan(0.9 * f64[0]!);
  };
  test('narrow relaxed, one thread, within the bound of plain float32', { timeout: 120_000 }, async () => {
    await expectAgree(await narrow);
  });
  test('two threads give the same bits', { timeout: 120_000 }, async () => {
    expect(await losses(await WasmDevice.create({ threads: 2, wide: false }))).toEqual(await narrow);
  });
  test('unshared memory, in place, gives the same bits', { timeout: 120_000 }, async () => {
    expect(await losses(await WasmDevice.create({ shared: false, wide: false }))).toEqual(await narrow);
  });
  test('strict SIMD within the bound of plain float32', { timeout: 120_000 }, async () => {
    const device = await WasmDevice.create({ threads: 2, relaxed: false });
    expect(device.info().simd).toContain('strict');
    await expectAgree(await losses(device));
  });
  test.runIf(runGpu)('webgpu within the bound of plain float32', { timeout: 120_000 }, async () => {
    await expectAgree(await losses(await openGpuDevice()));
  });
  test.runIf(hasWide || process.env.CI !== undefined)(
    'wide mode gives the same bits',
    { timeout: 120_000 },
    async () => {
      v8.setFlagsFromString('--experimental-wasm-revectorize');
      declareWide();
      const device = await WasmDevice.create({ threads: 2 });
      expect(device.info().simd).toContain('wide');
      expect(await losses(device)).toEqual(await narrow);
    },
  );
});
