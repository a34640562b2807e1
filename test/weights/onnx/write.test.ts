/**
 * Graphs as ONNX files, judged by onnxruntime: one network of every family, and every operator on its own in the orders of axes
 * that it can meet.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { compile } from '../../../src/compile.ts';
import { fold, keyOf, normal, uniform } from '../../../src/core/random.ts';
import { sizeOf } from '../../../src/core/shape.ts';
import { type HostTensor, host } from '../../../src/core/tensor.ts';
import { WasmDevice } from '../../../src/device/wasm.ts';
import { GraphBuilder, type Value } from '../../../src/models/graph/builder.ts';
import { folded, withPreprocessing } from '../../../src/models/graph/fold.ts';
import { GraphNetwork, graphNetwork } from '../../../src/models/graph/network.ts';
import { operators } from '../../../src/models/graph/operators.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import { traced } from '../../../src/models/graph/traced.ts';
import type { Preprocessing } from '../../../src/models/network.ts';
import { exportNetwork } from '../../../src/weights/export.ts';
import { onnxTarget } from '../../../src/weights/exports/onnx.ts';
import { bytesSource, importModel } from '../../../src/weights/import.ts';
import { decodeMessage } from '../../../src/weights/onnx/messages.ts';
import { writeOnnx } from '../../../src/weights/onnx/write.ts';
import { openOnnx, planar } from '../../helpers/onnxruntime.ts';
import { farthest, goldenEmbeddings, published, publishedSource } from '../../helpers/published.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from '../../models/everyGraph.ts';

const device = await WasmDevice.create({ threads: 1 });
afterAll(() => device.dispose());

const away = (found: ArrayLike<number>, truth: Float32Array): number =>
  Math.hypot(...truth.map((x, i) => x - found[i]!)) / Math.hypot(...truth);

describe.each(kinds)('%s %j', (name, options) => {
  it('gives its embeddings in onnxruntime', async () => {
    const network = smallNetwork(name, options);
    const [h, w] = network.preprocessing.inputSize;
    const bytes = writeOnnx(folded(await traced(network), { rest: 'keep' }));
    const session = await openOnnx(bytes);
    for (const batch of [1, 5]) {
      const images = imagesOf(network, batch);
      const { embedding } = await session.run({ input: planar(images, [batch, h, w, 3]) });
      expect(embedding!.shape).toEqual([batch, 8]);
      expect(away(embedding!.data, await outputOf(network, images, device))).toBeLessThan(1e-4);
    }
    await session.close();
    // Nothing is turned around between layers.
    expect(decodeMessage('ModelProto', bytes).graph!.node!.filter((n) => n.opType === 'Transpose')).toEqual([]);
  });
});

let drawn = 0;
const numbers = (...shape: number[]): HostTensor => host(normal(fold(keyOf(11), `n${drawn++}`), sizeOf(shape)), shape);
const spread = (n: number): HostTensor =>
  host(
    uniform(keyOf(12), n).map((x) => x + 0.5),
    [n],
  );
const one =
  (op: string, attrs: Record<string, unknown> = {}) =>
  (b: GraphBuilder, x: Value) =>
    b.apply(op, [x], attrs);
const conv = (b: GraphBuilder, x: Value, outputs = 4) =>
  b.conv2d(x, { weight: numbers(1, 1, x.shape.at(-1)!, outputs) });
const two = (op: string) => (b: GraphBuilder, x: Value) => b.apply(op, [conv(b, x), b.constant(numbers(4))]);

/** What is done to images [N, 5, 6, 4] of positive numbers; `map` asks for the result of a convolution as input. */
const cases: Readonly<Record<string, readonly ((b: GraphBuilder, x: Value) => Value)[]>> = {
  conv2d: [
    (b, x) =>
      b.conv2d(x, { weight: numbers(3, 2, 2, 6), bias: numbers(6), groups: 2, stride: [1, 2], padding: [1, 0, 2, 1] }),
    (b, x) => b.conv2d(x, { weight: numbers(2, 2, 1, 8), groups: 4, dilation: [2, 3] }),
  ],
  linear: [
    (b, x) => b.linear(x, { weight: numbers(4, 3), bias: numbers(3) }),
    (b, x) => b.linear(conv(b, x), { weight: numbers(4, 3) }),
    (b, x) => b.linear(b.reshape(x, [1, 120]), { weight: numbers(120, 3), bias: numbers(3) }),
    (b, x) => b.linear(b.apply('relu', [b.reshape(x, [1, 120])]), { weight: numbers(120, 3) }),
    (b, x) =>
      b.linear(b.reshape(b.apply('transpose', [x], { axes: [0, 3, 1, 2] }), [1, 120]), { weight: numbers(120, 3) }),
  ],
  batchNorm: [
    (b, x) =>
      b.batchNorm(x, { weight: numbers(4), bias: numbers(4), mean: numbers(4), variance: spread(4), eps: 0.01 }),
    (b, x) =>
      b.batchNorm(b.apply('reduce', [x], { kind: 'mean', axes: [1] }), {
        mean: numbers(4),
        variance: spread(4),
        eps: 1e-5,
      }),
    (b, x) =>
      b.batchNorm(b.reshape(x, [1, 120]), { bias: numbers(120), mean: numbers(120), variance: spread(120), eps: 0.01 }),
  ],
  prelu: [
    (b, x) => b.prelu(b.apply('sub', [x], { value: 1 }), numbers(4)),
    (b, x) => b.prelu(b.reshape(b.apply('sub', [x], { value: 1 }), [1, 120]), numbers(120)),
  ],
  dropout: [one('dropout', { rate: 0.3 })],
  parameter: [(b, x) => b.apply('mul', [x, b.parameter(numbers(5, 1, 4))])],
  constant: [
    (b, x) => b.apply('add', [b.constant(numbers(1, 5, 6, 1)), conv(b, x)]),
    (b, x) => b.apply('add', [conv(b, x), b.apply('exp', [b.constant(numbers(6, 1))])]),
  ],
  relu: [one('relu')],
  relu6: [one('relu6')],
  leakyRelu: [one('leakyRelu', { slope: 0.3 })],
  sigmoid: [one('sigmoid')],
  hardSigmoid: [one('hardSigmoid', { alpha: 0.3, beta: 0.4 })],
  hardSwish: [one('hardSwish')],
  swish: [one('swish')],
  elu: [one('elu', { alpha: 0.7 })],
  selu: [one('selu'), one('selu', { alpha: 1.5, gamma: 1.25 })],
  softplus: [one('softplus')],
  tanh: [one('tanh')],
  erf: [one('erf')],
  exp: [one('exp')],
  log: [one('log')],
  sqrt: [one('sqrt')],
  square: [one('square')],
  abs: [one('abs')],
  neg: [one('neg')],
  floor: [one('floor')],
  ceil: [one('ceil')],
  round: [one('round')],
  sin: [one('sin')],
  cos: [one('cos')],
  clamp: [one('clamp', { min: 0.2, max: 0.7 })],
  add: [two('add'), one('add', { value: 3 })],
  sub: [two('sub'), one('sub', { value: 3, reversed: true }), (b, x) => b.apply('sub', [x, conv(b, x)])],
  mul: [two('mul'), (b, x) => b.apply('mul', [x, b.apply('reduce', [x], { kind: 'mean', axes: [1, 2], keep: true })])],
  div: [one('div', { value: 3 }), one('div', { value: 3, reversed: true })],
  pow: [one('pow', { value: 1.5 })],
  min: [two('min'), one('min', { value: 0.5 })],
  max: [two('max'), one('max', { value: 0.5 })],
  matmul: [
    (b, x) => {
      const rows = b.apply('reshape', [x], { shape: [0, 30, 4] });
      return b.apply('matmul', [rows, rows], { transA: true });
    },
    (b, x) => b.apply('matmul', [conv(b, x), b.constant(numbers(7, 4))], { transB: true }),
  ],
  maxPool: [one('maxPool', { kernel: [3, 2], stride: [2, 1], padding: [1, 0, 0, 1] })],
  avgPool: [
    one('avgPool', { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 1, 1], countIncludePad: true }),
    one('avgPool', { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 1, 1], countIncludePad: false }),
  ],
  reduce: [
    ...['mean', 'sum', 'max', 'min', 'l1', 'l2', 'sumSquare', 'logSumExp'].flatMap((kind) => [
      one('reduce', { kind, axes: [1, 2], keep: true }),
      one('reduce', { kind, axes: [1, 2] }),
      one('reduce', { kind, axes: [3], keep: true }),
    ]),
    one('reduce', { kind: 'max', axes: [2] }),
    one('reduce', { kind: 'sum', axes: [1, -1] }),
    (b, x) =>
      b.apply('reduce', [b.apply('reduce', [conv(b, x)], { kind: 'sum', axes: [1] })], { kind: 'max', axes: [1] }),
  ],
  softmax: [one('softmax', { axis: 1 }), (b, x) => b.apply('softmax', [conv(b, x)], { axis: -1 })],
  logSoftmax: [one('logSoftmax', { axis: -1 }), one('logSoftmax', { axis: 2 })],
  l2Normalize: [
    one('l2Normalize', { axis: -1 }),
    (b, x) => b.apply('l2Normalize', [b.reshape(x, [1, 120])], { axis: 1, eps: 100 }),
  ],
  reshape: [
    one('reshape', { shape: [0, -1] }),
    one('reshape', { shape: [-1, 120] }),
    one('reshape', { shape: [0, 3, 10, 4] }),
    (b, x) => b.apply('reshape', [b.apply('reshape', [conv(b, x)], { shape: [-1, 4] })], { shape: [-1, 5, 6, 4] }),
    (b, x) => conv(b, b.apply('reshape', [b.apply('reshape', [x], { shape: [0, 120] })], { shape: [0, 1, 1, 120] }), 3),
    (b, x) =>
      b.apply('reshape', [conv(b, b.apply('maxPool', [x], { kernel: [5, 6], stride: [5, 6] }))], { shape: [0, 4] }),
    (b, x) => b.apply('add', [b.reshape(x, [1, 120]), b.constant(numbers(120))]),
  ],
  transpose: [
    one('transpose', { axes: [0, 3, 1, 2] }),
    (b, x) =>
      conv(b, b.apply('transpose', [b.apply('transpose', [x], { axes: [0, 2, 1, 3] })], { axes: [0, 3, 1, 2] })),
    (b, x) => b.apply('reshape', [b.apply('transpose', [conv(b, x)], { axes: [0, 2, 3, 1] })], { shape: [0, 6, 20] }),
  ],
  broadcastTo: [
    (b, x) =>
      b.apply('broadcastTo', [b.apply('reduce', [x], { kind: 'mean', axes: [1, 2], keep: true })], {
        shape: [0, 3, 2, 0],
      }),
  ],
  concat: [
    (b, x) => b.apply('concat', [x, conv(b, x, 3), b.apply('neg', [x])], { axis: -1 }),
    (b, x) => b.apply('concat', [b.reshape(x, [1, 120]), b.reshape(conv(b, x), [1, 120])], { axis: 1 }),
    (b, x) => b.apply('concat', [x, b.apply('reshape', [x], { shape: [0, 5, 6, 4] })], { axis: 1 }),
  ],
  slice: [
    one('slice', { axis: 3, start: 1, end: 3 }),
    one('slice', { axis: 2, start: -5, step: 2 }),
    (b, x) => b.apply('slice', [b.reshape(x, [1, 120])], { axis: -1, start: 7, end: -2 }),
  ],
  split: [
    (b, x) => {
      const [p, q] = b.applyMany('split', [conv(b, x)], { axis: -1, sizes: [1, 3] });
      return b.apply('mul', [p!, q!]);
    },
  ],
  pad: [
    one('pad', {
      pads: [
        [0, 0],
        [1, 2],
        [0, 3],
        [1, 0],
      ],
      value: 0.5,
    }),
  ],
  gather: [one('gather', { axis: -1, indices: [2, 0, 2] }), one('gather', { axis: 1, indices: [4, 3] })],
  flip: [one('flip', { axes: [3] }), one('flip', { axes: [1, 2] })],
  resize: [
    one('resize', { size: [10, 9], mode: 'bilinear' }),
    one('resize', { size: [10, 9], mode: 'bilinear', alignCorners: true }),
    one('resize', { size: [1, 3], mode: 'bilinear' }),
    one('resize', { scale: [2, 3], mode: 'nearest' }),
    one('resize', { size: [7, 4], mode: 'nearest' }),
  ],
};

it('every operator has its cases', () => {
  expect(Object.keys(cases).sort()).toEqual([...operators.keys()].sort());
});

it.each(Object.entries(cases))('%s', async (op, programs) => {
  for (const program of programs) {
    for (const map of [false, true]) {
      const b = new GraphBuilder();
      const input = b.input('input', [5, 6, 4]);
      // Positive numbers through an identity: a map that a convolution gives.
      const eye = host(
        Float32Array.from({ length: 16 }, (_, i) => (i % 5 ? 0 : 1)),
        [1, 1, 4, 4],
      );
      const x = map ? b.conv2d(input, { weight: eye }) : input;
      const graph = b.finish({ out: program(b, x) });
      expect(graph.spec.nodes.some((n) => n.op === op)).toBe(true);
      const session = await openOnnx(writeOnnx(graph));
      for (const n of [1, 2]) {
        const images = uniform(keyOf(13), n * 120).map((v) => v + 0.1);
        const f = compile(({ t }, ctx) => graphNetwork(graph).outputs([t!], ctx).get('out')!, { device });
        const { result } = await f({ t: host(images, [n, 5, 6, 4]) });
        f.dispose();
        const { out } = await session.run({ input: planar(images, [n, 5, 6, 4]) });
        const { data, shape } = { data: result!.data as Float32Array, shape: result!.shape };
        const [a, h, w, c] = shape as [number, number, number, number];
        const truth = shape.length === 4 ? planar(data, [a, h, w, c]) : { data, shape };
        expect(out!.shape).toEqual(truth.shape);
        expect(away(out!.data, truth.data), `${program} at batch ${n}`).toBeLessThan(1e-5);
      }
      await session.close();
    }
  }
});

describe.runIf(published)('published networks', () => {
  const normalised = { mean: [123.675, 116.28, 103.53], scale: [58.395, 57.12, 57.375].map((x) => 1 / x) };
  it.each([
    ['foamliu', 'MobileFaceNet.onnx', normalised],
    ['insightface-y1', 'model-0000.params', {}],
    ['xiaoccer', '068.ckpt', {}],
  ])('%s: onnxruntime gives its golden embeddings from pixels', async (folder, name, preparation) => {
    const { network } = await importModel(publishedSource(folder, name));
    const preprocessing = { ...network.preprocessing, ...preparation } as Preprocessing;
    const session = await openOnnx(writeOnnx(withPreprocessing(folded(await traced(network)), preprocessing)));
    const { pixels, all } = goldenEmbeddings(folder);
    const [h, w] = preprocessing.inputSize;
    for (const batch of [1, 5]) {
      const images = new Float32Array(batch * h * w * 3);
      // A narrow input is the middle of the crop.
      for (let row = 0; row < batch * h; row++)
        images.set(pixels.subarray((row * 112 + (112 - w) / 2) * 3, (row * 112 + (112 + w) / 2) * 3), row * w * 3);
      const [found] = Object.values(
        await session.run({
          [network instanceof GraphNetwork ? network.options.graph.inputs[0]!.name : 'input']: planar(images, [
            batch,
            h,
            w,
            3,
          ]),
        }),
      );
      expect(found!.shape).toEqual([batch, 128]);
      expect(farthest(found!.data, all)).toBeLessThan(1e-4);
    }
    await session.close();
  });
});

it('says what the file is: names of modules, preparation, a batch of any size', async () => {
  const network = smallNetwork('ir-18');
  const graph = withPreprocessing(folded(await traced(network)), network.preprocessing);
  const bytes = writeOnnx(graph, { name: 'ir', metadata: { colourOrder: 'RGB', preprocessing: '{}' } });
  const model = decodeMessage('ModelProto', bytes);
  expect(model).toMatchObject({ irVersion: 7, producerName: 'facegrad', opsetImport: [{ version: 13 }] });
  expect(model.metadataProps).toEqual([
    { key: 'colourOrder', value: 'RGB' },
    { key: 'preprocessing', value: '{}' },
  ]);
  const dims = (which: 'input' | 'output') => model.graph![which]!.map((v) => v.type!.tensorType!.shape!.dim);
  expect(dims('input')).toEqual([[{ dimParam: 'N' }, { dimValue: 3 }, { dimValue: 32 }, { dimValue: 32 }]]);
  expect(dims('output')).toEqual([[{ dimParam: 'N' }, { dimValue: 8 }]]);
  expect(model.graph!.output![0]!.name).toBe('embedding');
  const names = model.graph!.node!.map((n) => n.name);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toContain('units.0.conv1');
  // A graph of one image at a time says so.
  const b = new GraphBuilder();
  const x = b.input('image', [4, 4, 3]);
  const fixed: Graph = b.finish({ all: b.apply('reshape', [x], { shape: [16, 3] }) });
  expect(fixed.spec.batch).toBe(1);
  const [first] = decodeMessage('ModelProto', writeOnnx(fixed)).graph!.input!;
  expect(first!.type!.tensorType!.shape!.dim![0]).toEqual({ dimValue: 1 });
});

it('says how pictures are prepared, and is imported so', async () => {
  const network = smallNetwork('mobilefacenet');
  network.preprocessing = { ...network.preprocessing, colourOrder: 'BGR', mean: [104, 117, 123], scale: 0.5 };
  const read = async (preprocessing: 'include' | 'leave', change = (text: string) => text) => {
    const { files } = await exportNetwork(network, onnxTarget, { name: 'm.onnx', preprocessing });
    const whole = Buffer.from(files[0]!.bytes).toString('latin1');
    const changed = Uint8Array.from(Buffer.from(change(whole), 'latin1'));
    return (await importModel(bytesSource('m.onnx', changed))).network.preprocessing;
  };
  expect(await read('leave')).toEqual(network.preprocessing);
  expect(await read('include')).toEqual({ ...network.preprocessing, colourOrder: 'RGB', mean: 0, scale: 1 });
  // What is not ours is not taken.
  const usual = { ...network.preprocessing, colourOrder: 'RGB', mean: 0, scale: 1 };
  expect(await read('leave', (text) => text.replace('"BGR"', '"XYZ"'))).toEqual(usual);
  expect(await read('leave', (text) => text.replace('"scale":0.5', '"scale":-.5'))).toEqual(usual);
  expect(await read('leave', (text) => text.replace('facegrad', 'otherone'))).toEqual(usual);
});

it('holds numbers that two layers share once', () => {
  const b = new GraphBuilder();
  const weight = numbers(3, 3, 3, 3);
  const once = b.conv2d(b.input('x', [9, 9, 3]), { weight });
  const bytes = writeOnnx(b.finish({ y: b.conv2d(once, { weight }) }));
  expect(decodeMessage('ModelProto', bytes).graph!.initializer!.length).toBe(1);
});
