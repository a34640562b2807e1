/** Graphs that TensorFlow wrote give here what TensorFlow made of them. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/device/device.ts';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { WasmDevice } from '../../../src/device/wasm.ts';
import type { GraphFile } from '../../../src/weights/format.ts';
import { formatOf, importModel } from '../../../src/weights/import.ts';
import { frozenGraph } from '../../../src/weights/tensorflow/frozenGraph.ts';
import { tfjs } from '../../../src/weights/tensorflow/tfjs.ts';
import { sourceOf } from '../../helpers/published.ts';
import { bytesOf, farthest, floats, type Made, models, run, tfjsFiles } from './models.ts';

const exact = new ReferenceDevice();
let wasm: Device;
beforeAll(async () => {
  wasm = await WasmDevice.create({ threads: 1 });
});
afterAll(async () => {
  await wasm.dispose();
});

const pb = async (name: string) =>
  (await frozenGraph.read(
    sourceOf({ [`${name}.pb`]: bytesOf(models.graphs[name]!.graph) }, `${name}.pb`),
    {},
  )) as GraphFile;
const js = async (name: string) =>
  (await tfjs.read(sourceOf(tfjsFiles(models.tfjs[name]!), 'model.json'), {})) as GraphFile;

/** How often each operator stands in a graph. */
const counts = ({ graph }: GraphFile) => {
  const out: Record<string, number> = {};
  for (const { op } of graph.spec.nodes) out[op] = (out[op] ?? 0) + 1;
  return out;
};

/**
 * Arithmetic in float64 is the truth for both sides: TensorFlow may be as far from it as float32 is here, times a few for
 * another order of sums. A batch of two comes in, so nothing is written for one image.
 */
async function expectAgreement({ graph }: GraphFile, { input, outputs }: Made, before = 'out/') {
  const x = floats(input);
  const [truth, ours] = [await run(graph, x, input.shape, exact), await run(graph, x, input.shape, wasm)];
  expect(Object.keys(truth).sort()).toEqual(
    Object.keys(outputs)
      .map((k) => before + k)
      .sort(),
  );
  for (const [name, expected] of Object.entries(outputs)) {
    const [t, o, e] = [truth[before + name]!, ours[before + name]!, floats(expected)];
    expect(t.shape, name).toEqual(expected.shape);
    const unit = 2 ** -24 * Math.max(...e.map(Math.abs));
    expect(farthest(e, t.data), name).toBeLessThanOrEqual(4 * farthest(o.data, t.data) + unit);
  }
}

describe('frozen graphs', () => {
  for (const name of Object.keys(models.graphs))
    test(name, async () => {
      const file = await pb(name);
      expect(file.graph.spec.batch).toBeUndefined();
      await expectAgreement(file, models.graphs[name]!);
    });

  test('what TensorFlow writes in several operators is one', async () => {
    const found = counts(await pb('layers'));
    // Two ways of a PReLU, and max(x, slope·x); biases and zeros around are part of their layers.
    expect(found).toMatchObject({ prelu: 2, leakyRelu: 2, l2Normalize: 1, conv2d: 8, linear: 2, batchNorm: 3 });
    expect(Object.keys(found)).not.toContain('pad');
    const { spec, tensors } = (await pb('layers')).graph;
    const biased = spec.nodes.filter((n) => n.attrs.bias === true).map((n) => n.op);
    expect(biased.sort()).toEqual(['conv2d', 'conv2d', 'linear']);
    expect(tensors.size).toBeGreaterThan(20);
  });

  test('training is off, and that is said', async () => {
    const file = await pb('control');
    expect(file.notes.join('\n')).toMatch(/phase_train is taken as false/);
    expect(counts(file)).not.toHaveProperty('dropout');
    // What prepares the bytes is not trained.
    expect(file.graph.spec.nodes.slice(0, 2).map((n) => n.op)).toEqual(['sub', 'mul']);
  });

  test('the importer knows the file and makes a network of it', async () => {
    const source = sourceOf({ 'face.pb': bytesOf(models.graphs.layers!.graph) }, 'face.pb');
    expect((await formatOf(source)).name).toBe('tensorflow-graph');
    const { network } = await importModel(source);
    expect(network.options.embeddingSize).toBe(5);
    expect(network.preprocessing.inputSize).toEqual([21, 18]);
  });
});

test('a layers model, as TensorFlow.js saves and runs it', async () => {
  const made = JSON.parse(readFileSync(new URL('../../reference/tfjsLayers.json', import.meta.url), 'utf8')) as Made & {
    model: unknown;
    weights: string;
  };
  const files = {
    'model.json': new TextEncoder().encode(JSON.stringify(made.model)),
    'weights.bin': bytesOf(made.weights),
  };
  const source = sourceOf(files, 'model.json');
  expect((await formatOf(source)).name).toBe('tfjs');
  const file = await tfjs.read(source, {});
  if (file.kind !== 'graph') throw new Error('expected a graph');
  expect(counts(file)).toMatchObject({ conv2d: 4, prelu: 1, leakyRelu: 1, batchNorm: 2, linear: 1 });
  const [output] = file.graph.spec.outputs;
  await expectAgreement(file, { input: made.input, outputs: { [output!.name]: made.outputs.last! } }, '');
});

describe('TFJS graph models', () => {
  for (const name of Object.keys(models.tfjs))
    test(name, async () => {
      await expectAgreement(await js(name), models.tfjs[name]!);
    });

  test('the importer knows the file', async () => {
    const source = sourceOf(tfjsFiles(models.tfjs.fused!), 'model.json');
    expect((await formatOf(source)).name).toBe('tfjs');
  });

  test('a manifest alone is a state', async () => {
    const { model, shards } = models.tfjs.uint8!;
    const files = {
      ...tfjsFiles({ model, shards }),
      'weights.json': new TextEncoder().encode(JSON.stringify(model.weightsManifest)),
    };
    const state = await tfjs.read(sourceOf(files, 'weights.json'), {});
    if (state.kind !== 'state') throw new Error('expected a state');
    expect(state.convention).toBe('tensorflow');
    expect([...state.tensors.values()].map((t) => t.dtype)).toContain('f32');
  });
});
