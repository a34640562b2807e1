/** Models that npm's packages carry give here what the programs they are for make of them. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultPackage } from '../../src/cli/defaultModel.ts';
import { packageFolder } from '../../src/cli/packages.ts';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import type { GraphNetwork } from '../../src/models/graph/network.ts';
import { preprocess } from '../../src/models/network.ts';
import { importModel } from '../../src/weights/import.ts';
import { fileOf } from '../helpers/humanModels.ts';
import { openOnnx, planar } from '../helpers/onnxruntime.ts';
import { farthest } from '../helpers/published.ts';

let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

test('the recognition network of face-api, as face-api runs it', { timeout: 120_000 }, async () => {
  const folder = fileURLToPath(new URL('../../node_modules/@vladmandic/face-api/', import.meta.url));
  const script = fileURLToPath(new URL('../helpers/faceApi.mjs', import.meta.url));
  const [{ stdout }, { network, layout }] = await Promise.all([
    promisify(execFile)(process.execPath, [script, folder], { maxBuffer: 2 ** 24 }),
    importModel(fileOf(`${folder}model`, 'face_recognition_model-weights_manifest.json')),
  ]);
  expect(layout).toBe('face-api');
  expect(network.options.embeddingSize).toBe(128);
  const { pixels, embeddings } = JSON.parse(stdout) as { pixels: number[]; embeddings: number[] };
  const f = compile(({ images }, ctx) => ({ y: network.call(preprocess(images!, network.preprocessing), ctx) }), {
    device,
  });
  const { y } = await f({ images: host(Uint8Array.from(pixels), [2, 150, 150, 3]) });
  f.dispose();
  expect(farthest(y!.data, embeddings)).toBeLessThan(1e-4);
});

const faceplugin = await packageFolder(defaultPackage, () => {}).catch((error: Error) => {
  console.log(`skipped: ${error.message.split('\n')[0]}`);
  return undefined;
});

describe.skipIf(!faceplugin)('models of faceplugin-face-recognition-js, as onnxruntime runs them', () => {
  test.each(['fr_feature', 'fr_landmark', 'fr_detect'])('%s', async (name) => {
    const source = fileOf(`${faceplugin}/model`, `${name}.onnx`);
    const network = (await importModel(source)).network as GraphNetwork;
    const [h, w, c] = network.options.graph.inputs[0]!.shape as [number, number, number];
    const x = Float32Array.from({ length: h * w * c }, (_, i) => (((i * 7919) % 256) - 127) / 128);
    const f = compile(({ images }, ctx) => Object.fromEntries(network.outputs([images!], ctx)), { device });
    const made = await f({ images: host(x, [1, h, w, c]) });
    f.dispose();
    const session = await openOnnx(await source.bytes());
    const expected = await session.run({ [network.options.graph.inputs[0]!.name]: planar(x, [1, h, w, c]) });
    await session.close();
    for (const [output, { data }] of Object.entries(made))
      expect(farthest(data, expected[output]!.data, data.length), output).toBeLessThan(1e-4);
  });
});
