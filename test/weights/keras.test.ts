/** Keras' files: HDF5 and archives, configurations of every form, layers as PyTorch computes them, and what is refused. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { K210Net } from '../../src/models/k210Net.ts';
import { initialize, variablesOf } from '../../src/nn/module.ts';
import { importModel } from '../../src/weights/import.ts';
import { graphOfKeras } from '../../src/weights/keras/graph.ts';
import { readKerasHdf5 } from '../../src/weights/keras/hdf5.ts';
import { kerasFormat } from '../../src/weights/keras.ts';
import { networkFromState } from '../../src/weights/layouts/index.ts';
import { readNpz } from '../../src/weights/npz.ts';
import type { HostTensor } from '../../src/weights/safetensors.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { base64, heldToReference, networkOfFile, type ReferenceCase, sourceOf } from '../helpers/published.ts';
import { reference } from '../helpers/reference.ts';

interface FileCase extends ReferenceCase {
  readonly file: string;
  readonly bytes: string;
}
interface LayerCase extends ReferenceCase {
  readonly config: { readonly class_name: string; readonly config: { layers: { class_name: string; name: string }[] } };
  readonly weights: Readonly<Record<string, { readonly shape: number[]; readonly data: string }>>;
}
const { files, cases } = reference('keras') as {
  files: FileCase[];
  cases: LayerCase[];
};
const tensorsOf = ({ weights }: LayerCase): Map<string, HostTensor> =>
  new Map(
    Object.entries(weights).map(([name, { shape, data }]) => {
      const bytes = base64(data);
      return [name, { dtype: 'f32', shape, data: new Float32Array(bytes.buffer, bytes.byteOffset, sizeOf(shape)) }];
    }),
  );
const read = (c: FileCase, bytes = base64(c.bytes)) => kerasFormat.read(sourceOf({ [c.file]: bytes }, c.file), {});

describe('models as PyTorch computes them', () => {
  it.each(files.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    await heldToReference(await read(c), c);
  });
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const { graph, notes } = graphOfKeras(c.config, tensorsOf(c), { file: 'm', inputSize: c.size });
    expect(notes).toEqual([]);
    await heldToReference({ kind: 'graph', graph, notes }, c);
  });
  it('say what is not in the file', async () => {
    const open = cases.find((c) => c.name.includes('any size'))!;
    const { graph, notes } = graphOfKeras(open.config, tensorsOf(open), { file: 'm' });
    expect(graph.spec.inputs[0]!.shape).toEqual([112, 112, 3]);
    expect(notes).toEqual(['the model takes images of any size; 112x112 is used; another can be named (--input)']);
    expect((await read(files[0]!)).notes).toEqual([
      expect.stringContaining('Keras does not save how images are prepared'),
    ]);
  });
  it('are known by their beginning', () => {
    for (const c of files) expect(kerasFormat.looksLike(base64(c.bytes).subarray(0, 4096), c.file)).toBe(true);
    expect(kerasFormat.looksLike(base64(files[2]!.bytes), 'model.pth')).toBe(false);
  });
});

const first = cases[0]!;
/** The first case with a layer more, or another configuration. */
const withLayer = (layer: object, output: string): LayerCase['config'] => ({
  ...first.config,
  config: {
    ...first.config.config,
    layers: [...first.config.config.layers, layer as { class_name: string; name: string }],
    output_layers: [[output, 0, 0]],
  } as LayerCase['config']['config'],
});
const layerOf = (class_name: string, name: string, inbound: unknown[], config: object = {}) => ({
  class_name,
  name,
  config: { name, ...config },
  inbound_nodes: [inbound],
});
const build = (config: unknown, weights = tensorsOf(first)) => graphOfKeras(config, weights, { file: 'm' });

describe('lambdas and heads', () => {
  it('are refused by name; none is run', () => {
    const lambda = layerOf('Lambda', 'mine', [['conv2d_1', 0, 0, {}]], { function: ['4wEAAAAA', null, null] });
    expect(() => build(withLayer(lambda, 'mine'))).toThrow(/^m: expected known layers, got mine \(Lambda\)\n/);
  });
  it('that take the length off are read, and it is said', () => {
    for (const code of ['tf.math.l2_normalize', [btoa('\xe3\x01 K l2_normalize axis'), null, null]]) {
      const lambda = layerOf('Lambda', 'mine', [['conv2d_1', 0, 0, {}]], { function: code });
      const { graph, notes } = build(withLayer(lambda, 'mine'));
      expect(graph.spec.nodes.at(-1)).toMatchObject({ op: 'l2Normalize', path: 'mine' });
      expect(notes[0]).toMatch(/^mine: a Lambda that calls l2_normalize is taken for/);
    }
  });
  it('of training, which take labels, are left out', () => {
    const label = {
      class_name: 'InputLayer',
      name: 'label',
      config: { batch_input_shape: [null, 10] },
      inbound_nodes: [],
    };
    const head = layerOf('ArcFaceLossLayer', 'loss', [
      ['conv2d_1', 0, 0, {}],
      ['label', 0, 0, {}],
    ]);
    const config = withLayer(head, 'loss');
    config.config.layers.unshift(label);
    const { graph, notes } = build(config);
    expect(graph.spec.inputs.map((i) => i.name)).toEqual(['images']);
    expect(graph.spec.outputs[0]!.name).toBe('conv2d_1');
    expect(notes[0]).toMatch(/^loss \(ArcFaceLossLayer\), which takes labels, is left out/);
  });
});

describe('what is wrong is named', () => {
  const conv = first.config.config.layers[1] as unknown as { config: Record<string, unknown> };
  const changed = (config: object) =>
    withLayer({ ...conv, name: 'odd', config: { ...conv.config, name: 'odd', ...config } }, 'odd');
  const weights = () => new Map([...tensorsOf(first)].map(([n, w]) => [n.replace('conv2d_1/', 'odd/'), w]));
  it.each([
    [
      changed({ data_format: 'channels_first' }),
      /^m: odd \(Conv2D\): the order of axes channels_first is not supported\n/,
    ],
    [changed({ strides: 'two' }), /^m: odd \(Conv2D\): expected strides to be whole numbers, got "two"\n/],
    [changed({ padding: 'causal' }), /^m: odd \(Conv2D\): padding 'causal' is not supported\n/],
    [changed({ activation: 'mish' }), /^m: odd \(Conv2D\): the activation "mish" is not supported\n/],
    [withLayer(layerOf('GRU', 'g', [['conv2d_1', 0, 0, {}]]), 'g'), /^m: expected known layers, got g \(GRU\)\n/],
    [withLayer(layerOf('Add', 'a', [['a', 0, 0, {}]]), 'a'), /^m: a: it takes what it gives itself\n/],
    [
      withLayer(layerOf('Add', 'a', [['nobody', 0, 0, {}]]), 'a'),
      /^m: a: expected a layer 'nobody', but there is none\n/,
    ],
    [{ class_name: 'MyModel', config: {} }, /^m: expected Keras' configuration of a model, but it is of class MyModel/],
    [[1, 2], /^m: expected Keras' configuration of a model, but at its top/],
  ])('%#', (config, message) => {
    expect(() => build(config, weights())).toThrow(DataError);
    expect(() => build(config, new Map([...weights(), ...tensorsOf(first)]))).toThrow(message);
  });
  it('where weights are missing', () => {
    const some = new Map([...tensorsOf(first)].filter(([n]) => n !== 'conv2d_1/bias'));
    expect(() => build(first.config, some)).toThrow(
      /^m: conv2d_1 \(Conv2D\): expected its weight 'bias', but there are only conv2d_1\/kernel\n/,
    );
    expect(() => build(first.config, new Map())).toThrow(
      /expected its weight 'kernel', but the file has none of the layer\n/,
    );
  });
  it('in damaged files', async () => {
    for (const c of [files[0]!, files[1]!]) {
      const result = await fuzz(async (b) => networkOfFile(await read(c, b)), base64(c.bytes), c.file, {
        cuts: 30,
        flips: 80,
        numbers: 60,
      });
      expect(result.refused).toBeGreaterThan(25);
    }
    const archive = files[2]!;
    const result = await fuzz(async (b) => networkOfFile(await read(archive, b)), base64(archive.bytes), archive.file, {
      cuts: 30,
      flips: 80,
      numbers: 30,
    });
    expect(result.refused).toBeGreaterThan(30);
  });
});

const shared = new URL('../../../shared/data/formats/hdf5/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no HDF5 files under ${shared.pathname}`);
describe.skipIf(!present)('files of libhdf5', () => {
  it.each(['weights_only.h5', 'full_model_layout.h5', 'weights_gzip.h5', 'weights_latest.h5'])('%s', async (name) => {
    const { tensors, version } = await readKerasHdf5(new Uint8Array(readFileSync(new URL(name, shared))), name);
    const expected = await readNpz(new Uint8Array(readFileSync(new URL('expected.npz', shared))), 'expected.npz');
    const theirs = [...expected].map(([key, array]) => [key.replaceAll('|', '/').replace(/:0$/, ''), array] as const);
    expect(version).not.toBe('');
    expect([...tensors.keys()].sort()).toEqual(theirs.map(([key]) => key).sort());
    for (const [key, array] of theirs)
      expect(tensors.get(key)).toEqual({ dtype: 'f32', shape: array.shape, data: array.data });
  });
  it('damaged', async () => {
    for (const name of ['weights_gzip.h5', 'weights_latest.h5']) {
      const bytes = new Uint8Array(readFileSync(new URL(name, shared)));
      const result = await fuzz((b) => readKerasHdf5(b, name), bytes, name, { cuts: 30, flips: 200, numbers: 200 });
      expect(result.refused).toBeGreaterThan(25);
    }
  });
});

describe('MobileFaceNet-Keras-K210', () => {
  /** Keras' names for the layers behind the blocks, in the order of its program. */
  const behind: Readonly<Record<string, readonly [string, string][]>> = {
    s: [['globalDepthwise', 'depthwise_conv2d']],
    m: [
      ['globalDepthwise', 'depthwise_conv2d'],
      ['squeeze', 'conv2d'],
    ],
    full: [
      ['head', 'conv2d_7'],
      ['globalDepthwise', 'depthwise_conv2d_3'],
      ['squeeze', 'conv2d_8'],
    ],
  };
  const leaves: Readonly<Record<string, string>> = {
    weight: 'gamma',
    bias: 'beta',
    runningMean: 'moving_mean',
    runningVar: 'moving_variance',
  };
  /** A network's numbers as Keras would have saved them. */
  function state(network: K210Net): Map<string, HostTensor> {
    const outer = new Map(behind[network.options.form]!);
    const bns = [...outer.keys(), 'embedding'];
    const tensors = new Map<string, HostTensor>();
    for (const v of variablesOf(network)) {
      const path = v.name.split('.');
      const leaf = path.pop()!;
      const [first, i, part] = path as [string, string, string];
      const named =
        first === 'stem' ? 'conv1' : first === 'blocks' ? `conv_${part === 'depthwise' ? 'dw' : 'pw'}_${i}` : undefined;
      const depthwise = part === 'depthwise' || first === 'globalDepthwise';
      const data = {
        dtype: v.dtype,
        data: v.host,
        shape: depthwise && v.shape.length === 4 ? [v.shape[0]!, v.shape[1]!, v.shape[3]!, 1] : v.shape,
      };
      if (path.at(-1) === 'bn' || first === 'embedding')
        tensors.set(`${named ? `${named}_bn` : `batch_normalization_${4 + bns.indexOf(first)}`}/${leaves[leaf]}`, data);
      else if (first === 'fc') tensors.set(`dense_2/${leaf === 'weight' ? 'kernel' : leaf}`, data);
      else {
        const kernel = depthwise ? 'depthwise_kernel' : 'kernel';
        tensors.set(`${named ?? outer.get(first)}/${leaf === 'weight' ? kernel : leaf}`, data);
      }
    }
    return tensors;
  }
  it.each(['s', 'm', 'full'] as const)('%s is read by the names of its layers', (form) => {
    const network = initialize(new K210Net({ form, inputSize: [128, 112], embeddingSize: 64, width: 0.5 }), 3);
    for (const v of variablesOf(network)) v.write(v.host.map((_, i) => Math.sin(i + v.name.length)) as Float32Array);
    const tensors = state(network);
    tensors.set('dense_3/kernel', { dtype: 'f32', shape: [64, 10], data: new Float32Array(640) });
    tensors.set('dense_3/bias', { dtype: 'f32', shape: [10], data: new Float32Array(10) });
    const found = networkFromState({ tensors, convention: 'keras' }, {}, 'k.h5');
    expect(found.report).toMatchObject({ layout: 'keras-k210', missing: [], unexpected: [] });
    expect(found.report.notes).toContain('left out: dense_3, the classifier of training');
    expect(found.network.options).toMatchObject({ form, inputSize: [128, 112], embeddingSize: 64, width: 0.5 });
    expect(found.network.preprocessing).toMatchObject({ colourOrder: 'RGB', mean: 127.5, scale: 1 / 127.5 });
    const mine = variablesOf(network);
    for (const [i, v] of variablesOf(found.network).entries()) expect(v.host, v.name).toEqual(mine[i]!.host);
  });
  it('of its inference program has a block more, which is said', () => {
    const tensors = state(new K210Net());
    tensors.set('conv_pw_15/kernel', tensors.get('conv_pw_14/kernel')!);
    expect(() => networkFromState({ tensors, convention: 'keras' }, {}, 'k.h5')).toThrow(
      /^k\.h5: expected the network of MobileFaceNet-Keras-K210, but it has 16 blocks or more/,
    );
  });
});

it('is a format that files are told to be of', async () => {
  const c = files[0]!;
  const { network, format } = await importModel(sourceOf({ [c.file]: base64(c.bytes) }, c.file));
  expect(format).toBe('keras');
  expect(network.options.embeddingSize).toBe(6);
});
