/** Published ONNX models: small ones of known outputs, a face network and its golden embeddings, detectors as onnxruntime runs them. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { compile } from '../../../src/compile.ts';
import { fold, keyOf, uniform } from '../../../src/core/random.ts';
import { host } from '../../../src/core/tensor.ts';
import type { Device } from '../../../src/device/device.ts';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { WasmDevice } from '../../../src/device/wasm.ts';
import { grad } from '../../../src/grad.ts';
import { permuted } from '../../../src/models/graph/channelsFirst.ts';
import type { GraphNetwork } from '../../../src/models/graph/network.ts';
import { parametersOf } from '../../../src/nn/module.ts';
import { square } from '../../../src/ops/pointwise.ts';
import { mean } from '../../../src/ops/reduce.ts';
import { sgd } from '../../../src/optim/sgd.ts';
import { readNpy } from '../../../src/weights/npy.ts';
import { onnxFormat } from '../../../src/weights/onnx.ts';
import { openOnnx, planar } from '../../helpers/onnxruntime.ts';
import {
  embedGolden,
  farthest,
  goldenEmbeddings,
  networkOfFile,
  published,
  publishedSource,
} from '../../helpers/published.ts';
import { imageNet } from './imageNet.ts';

const device = await WasmDevice.create({ threads: 2 });
afterAll(() => device.dispose());

const formats = new URL('../../../../shared/data/formats/onnx/', import.meta.url);
const given = existsSync(formats);
if (!given) console.log(`skipped: no ONNX files under ${formats.pathname}`);

/** All outputs for images [N, H, W, C]. */
async function run(network: GraphNetwork, images: Float32Array, n: number, on: Device = device) {
  const [{ name, shape }] = network.options.graph.inputs as [{ name: string; shape: readonly number[] }];
  const f = compile((x, ctx) => Object.fromEntries(network.outputs([x[name]!], ctx)), { device: on });
  const made = await f({ [name]: host(images, [n, ...shape]) });
  f.dispose();
  return made;
}

const away = (found: ArrayLike<number>, truth: ArrayLike<number>): number => {
  const length = Math.hypot(...Array.from(truth));
  return Math.hypot(...Array.from(truth, (v, i) => v - found[i]!)) / length;
};

describe.runIf(given)('a small network exported by PyTorch', () => {
  const read = (name: string) => new Uint8Array(readFileSync(new URL(name, formats)));
  it.each(['small_opset11', 'small_opset13', 'small_opset13_unfolded'])('%s', async (name) => {
    const source = { name, bytes: async () => read(`${name}.onnx`), beside: async () => undefined };
    const network = networkOfFile(await onnxFormat.read(source, {}));
    const [input, output] = [readNpy(read('input.npy')), readNpy(read('output.npy'))];
    const images = permuted(input, [0, 2, 3, 1]).data as Float32Array;
    const { embedding } = await run(network, images, 4);
    expect(embedding!.shape).toEqual([4, 16]);
    // As far as onnxruntime is from PyTorch, by the files' own account, and our float32 from float64.
    const { embedding: exact } = await run(network, images, 4, new ReferenceDevice());
    const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]!)));
    const { embedding: single } = await run(network, images, 4, new ReferenceDevice(Math.fround));
    const drift = far(single!.data, exact!.data);
    expect(far(exact!.data, output.data)).toBeLessThanOrEqual(4 * drift);
    expect(far(embedding!.data, exact!.data)).toBeLessThanOrEqual(4 * drift);
    expect(network.options.graph.nodes.filter((n) => n.op === 'transpose')).toEqual([]);
  });
});

describe.runIf(published)('foamliu MobileFaceNet', () => {
  const source = publishedSource('foamliu', 'MobileFaceNet.onnx');
  it('gives the golden embeddings, one image at a time and 32 at once', async () => {
    const file = await onnxFormat.read(source, {});
    const network = networkOfFile(file);
    expect(network.options.graph.batch).toBeUndefined();
    network.preprocessing = imageNet;
    const { all, mirrored } = goldenEmbeddings('foamliu');
    expect(farthest(await embedGolden(network, device, 1), all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 32), all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 32, true), mirrored)).toBeLessThan(1e-4);
  });

  it('trains: a gradient for every weight, and a step that changes it and lowers the loss', async () => {
    const network = networkOfFile(await onnxFormat.read(source, {}));
    const parameters = parametersOf(network);
    expect(parameters.length).toBe(102);
    const before = await Promise.all(parameters.map(async (p) => (await p.read()).slice()));
    const optimizer = sgd(parameters, { momentum: 0 });
    const step = compile(
      ({ x, lr }, ctx) => {
        const loss = mean(square(network.call(x!, ctx)));
        const gradients = grad(loss, parameters);
        optimizer.update(gradients, lr!, ctx);
        return { loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) };
      },
      { device, training: true },
    );
    const x = host(uniform(keyOf(3), 2 * 112 * 112 * 3), [2, 112, 112, 3]);
    const { loss, ...gradients } = await step({ x, lr: 1e-6 });
    for (const [i, p] of parameters.entries()) {
      const g = gradients[`g${i}`]!.data;
      expect(g.some((v: number) => v !== 0) && g.every(Number.isFinite), p.name).toBe(true);
    }
    const { loss: later } = await step({ x, lr: 1e-6 });
    expect(later!.data[0]).toBeLessThan(loss!.data[0]!);
    const after = await Promise.all(parameters.map((p) => p.read()));
    const still = parameters.filter((_, i) => after[i]!.every((v, k) => v === before[i]![k]));
    expect(still.map((p) => p.name)).toEqual([]);
    step.dispose();
  });
});

describe.runIf(published)('detectors give what onnxruntime gives', () => {
  it.each([
    ['retinaface-mobile0.25', 'retinaface_mobile025.onnx', [96, 160]],
    ['retinaface-mobile0.25', 'retinaface_mobile025.onnx', [130, 75]],
    ['ultraface', 'version-RFB-320.onnx', [240, 320]],
    ['ultraface', 'version-RFB-640.onnx', [480, 640]],
  ] as const)('%s/%s at %j', async (folder, name, [h, w]) => {
    const source = publishedSource(folder, name);
    const network = networkOfFile(await onnxFormat.read(source, { inputSize: [h, w] }));
    const draw = (n: number) => uniform(fold(keyOf(9), `${name}${n}`), h * w * 3).map((v) => 2 * v - 1);
    const session = await openOnnx(await source.bytes());
    const image = draw(0);
    const [input] = network.options.graph.inputs;
    const expected = await session.run({ [input!.name]: planar(image, [1, h, w, 3]) });
    const made = await run(network, image, 1);
    expect(Object.keys(made)).toEqual(Object.keys(expected));
    for (const [key, y] of Object.entries(made)) {
      expect(y.shape).toEqual(expected[key]!.shape);
      expect(away(y.data, expected[key]!.data), key).toBeLessThan(1e-4);
    }
    // Two images at once are what each is alone.
    if (h < 400) {
      const images = new Float32Array(2 * image.length);
      images.set(draw(1));
      images.set(image, image.length);
      const both = await run(network, images, 2);
      for (const [key, y] of Object.entries(both))
        expect(away(y.data.slice(y.data.length / 2), expected[key]!.data), key).toBeLessThan(1e-4);
    }
    await session.close();
  });
});
