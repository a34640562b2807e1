/**
 * Files of 8-bit integers: LiteRT, which computes in integers, gives what the same numbers give in float32, to one step of
 * the result.
 */
import { expect, test } from 'vitest';
import { UsageError } from '../../../src/core/errors.ts';
import { host } from '../../../src/core/tensor.ts';
import { GraphBuilder, type Value } from '../../../src/models/graph/builder.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import { calibrate } from '../../../src/quant/calibrate.ts';
import { TfliteFile } from '../../../src/weights/tflite/model.ts';
import { scaleOf } from '../../../src/weights/tflite/quantise.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { writeTfliteInt8 } from '../../../src/weights/tflite/write.ts';
import { type LiteRtTensor, runLiteRt } from '../../helpers/litert.ts';
import { noise, runGraph } from './agree.ts';

const weights = (shape: number[], seed = 3, scale = 0.5) => host(noise(shape, seed, scale).data, shape);
type Build = (b: GraphBuilder, x: Value) => Value;
const op =
  (name: string, attrs: Record<string, unknown> = {}): Build =>
  (b, x) =>
    b.apply(name, [x], attrs);
const conv =
  (shape: number[], attrs: Record<string, unknown> = {}): Build =>
  (b, x) =>
    b.conv2d(x, { ...attrs, weight: weights(shape), bias: weights([shape[3]!], 5) });

/** Shifted, so that no zero point is in the middle. */
const example = noise([1, 8, 6, 4], 1, 1.2, 0.3);
const graphOf = (build: Build): Graph => {
  const b = new GraphBuilder();
  return b.finish({ y: build(b, b.input('x', [8, 6, 4])) });
};
const int8 = async (graph: Graph, inputs = example) =>
  writeTfliteInt8(graph, await calibrate(graph, [host(inputs.data, inputs.shape)]));

/** Scale and zero point of a tensor of the file. */
function stepsOf(bytes: Uint8Array, i: number) {
  const { quantization } = new TfliteFile(bytes, 'file').tensors[i]!;
  return { scale: quantization!.scale[0]!, zeroPoint: quantization!.zeroPoint[0]! };
}
/** Integers of numbers, and the numbers that those stand for. */
function quantised({ data, shape }: LiteRtTensor, { scale, zeroPoint }: { scale: number; zeroPoint: number }) {
  const q = Int8Array.from(data, (x) => Math.max(-128, Math.min(127, Math.round(x / scale) + zeroPoint)));
  return {
    integers: { data: q, shape },
    numbers: { data: Float32Array.from(q, (v) => (v - zeroPoint) * scale), shape },
  };
}

const operators: Record<string, Build> = {
  'conv2d 3x3': conv([3, 3, 4, 8], { padding: 1 }),
  'conv2d 3x3/2 behind a PAD': conv([3, 3, 4, 8], { padding: 1, stride: 2 }),
  'conv2d depthwise': conv([3, 3, 1, 4], { padding: 1, groups: 4 }),
  'conv2d global depthwise': conv([8, 6, 1, 4], { groups: 4 }),
  'conv2d and relu6': (b, x) => b.apply('relu6', [conv([1, 1, 4, 8])(b, x)]),
  linear: (b, x) => b.linear(b.reshape(x, [1, 192]), { weight: weights([192, 10], 3, 0.1), bias: weights([10], 2) }),
  prelu: (b, x) => b.prelu(x, weights([4])),
  leakyRelu: op('leakyRelu', { slope: 0.3 }),
  relu: op('relu'),
  relu6: op('relu6'),
  sigmoid: op('sigmoid'),
  tanh: op('tanh'),
  hardSwish: op('hardSwish'),
  'add a constant': (b, x) => b.apply('add', [x, b.constant(weights([4]))]),
  'mul by a number': op('mul', { value: -0.7 }),
  'sub, reversed': op('sub', { value: 0.7, reversed: true }),
  'min with a number': op('min', { value: 0.4 }),
  'mean of places': op('reduce', { kind: 'mean', axes: [1, 2] }),
  sum: op('reduce', { kind: 'sum', axes: [1, 2], keep: true }),
  'max of places': op('reduce', { kind: 'max', axes: [1, 2] }),
  maxPool: op('maxPool', { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] }),
  avgPool: op('avgPool', { kernel: [2, 2], stride: [2, 2] }),
  pad: op('pad', {
    pads: [
      [0, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ],
  }),
  transpose: op('transpose', { axes: [0, 3, 1, 2] }),
  slice: op('slice', { axis: 2, start: 1, end: 5, step: 2 }),
  'resize nearest': op('resize', { size: [16, 12], mode: 'nearest' }),
  'resize bilinear': op('resize', { size: [16, 12], mode: 'bilinear' }),
  softmax: op('softmax'),
  l2Normalize: op('l2Normalize'),
};

test.each(Object.entries(operators))('%s is within a step', async (_, build) => {
  const graph = graphOf(build);
  const { bytes, inFloat } = await int8(graph);
  expect([...inFloat]).toEqual([]);
  const file = new TfliteFile(bytes, 'file');
  const { integers, numbers } = quantised(example, stepsOf(bytes, file.inputs[0]![1]));
  const to = stepsOf(bytes, file.outputs[0]![1]);
  const theirs = (await runLiteRt(bytes, [integers])).y!;
  // The file's own numbers, in float32.
  const ours = (await runGraph(readTflite(bytes, 'file').graph, [numbers])).y!;
  expect(theirs.data).toBeInstanceOf(Int8Array);
  expect(theirs.shape).toEqual(ours.shape);
  let worst = 0;
  ours.data.forEach((x, i) => {
    const exact = Math.max(-128, Math.min(127, x / to.scale + to.zeroPoint));
    worst = Math.max(worst, Math.abs(exact - theirs.data[i]!));
  });
  expect(worst).toBeLessThanOrEqual(1);
});

test('values joined from different ranges are brought to one', async () => {
  const graph = graphOf((b, x) =>
    b.apply('concat', [x, b.apply('sigmoid', [x]), b.apply('mul', [x], { value: 9 })], { axis: 3 }),
  );
  const { bytes } = await int8(graph);
  const file = new TfliteFile(bytes, 'file');
  expect(file.nodes.filter((n) => n.op === 'QUANTIZE')).toHaveLength(2);
  const { integers, numbers } = quantised(example, stepsOf(bytes, file.inputs[0]![1]));
  const to = stepsOf(bytes, file.outputs[0]![1]);
  const theirs = (await runLiteRt(bytes, [integers])).y!;
  const ours = (await runGraph(readTflite(bytes, 'file', { rounding: true }).graph, [numbers])).y!;
  ours.data.forEach((x, i) => {
    expect(Math.abs(Math.round(x / to.scale) + to.zeroPoint - theirs.data[i]!)).toBeLessThanOrEqual(1);
  });
});

test('what has no integers stays in float32, between its neighbours in integers', async () => {
  const graph = graphOf((b, x) => conv([1, 1, 4, 4])(b, b.apply('exp', [conv([1, 1, 4, 4])(b, x)])));
  const { bytes, inFloat } = await int8(graph);
  expect([...inFloat]).toEqual([['EXP', 1]]);
  const file = new TfliteFile(bytes, 'file');
  expect(file.nodes.map((n) => n.op)).toEqual(['CONV_2D', 'DEQUANTIZE', 'EXP', 'QUANTIZE', 'CONV_2D']);
  const { integers } = quantised(example, stepsOf(bytes, file.inputs[0]![1]));
  expect((await runLiteRt(bytes, [integers])).y!.shape).toEqual([1, 8, 6, 4]);
});

test.each(['int8', 'uint8', 'float32'] as const)('inputs and outputs of %s hold the same', async (type) => {
  const graph = graphOf(conv([3, 3, 4, 8], { padding: 1 }));
  const ranges = await calibrate(graph, [host(example.data, example.shape)]);
  const plain = writeTfliteInt8(graph, ranges).bytes;
  const scale = stepsOf(plain, new TfliteFile(plain, 'file').inputs[0]![1]);
  const { integers, numbers } = quantised(example, scale);
  const expected = (await runLiteRt(plain, [integers])).y!.data;
  const { bytes } = writeTfliteInt8(graph, ranges, { type });
  const given = {
    int8: integers,
    uint8: { ...integers, data: Uint8Array.from(integers.data, (q) => q + 128) },
    float32: numbers,
  }[type];
  const got = (await runLiteRt(bytes, [given])).y!.data;
  const out = stepsOf(plain, new TfliteFile(plain, 'file').outputs[0]![1]);
  const as = {
    int8: (q: number) => q,
    uint8: (q: number) => q + 128,
    float32: (q: number) => Math.fround((q - out.zeroPoint) * out.scale),
  };
  expect(Array.from(got)).toEqual(Array.from(expected, as[type]));
});

test('ranges take in 0, and weights that are nothing keep their bias', async () => {
  expect(scaleOf({ min: 2, max: 5 })).toEqual({ scale: Math.fround(5 / 255), zeroPoint: -128 });
  expect(scaleOf({ min: -5, max: -2 }).zeroPoint).toBe(127);
  expect(scaleOf({ min: 0, max: 0 })).toEqual({ scale: 1, zeroPoint: -128 });
  const weight = new Float32Array(4 * 3);
  for (let i = 0; i < 4; i++) weight[i * 3 + 1] = 1e-9;
  const bias = Float32Array.of(1.5, -0.75, 0);
  const graph = graphOf((b, x) => b.conv2d(x, { weight: host(weight, [1, 1, 4, 3]), bias: host(bias, [3]) }));
  const { bytes } = await int8(graph);
  const file = new TfliteFile(bytes, 'file');
  const { integers } = quantised(example, stepsOf(bytes, file.inputs[0]![1]));
  const { scale, zeroPoint } = stepsOf(bytes, file.outputs[0]![1]);
  const { data } = (await runLiteRt(bytes, [integers])).y!;
  for (const c of [0, 1, 2]) expect(Math.abs((data[c]! - zeroPoint) * scale - bias[c]!)).toBeLessThanOrEqual(scale);
});

test('ranges of another graph, and unknown types, are refused', () => {
  const graph = graphOf(op('relu'));
  expect(() => writeTfliteInt8(graph, new Map())).toThrow(UsageError);
  expect(() => writeTfliteInt8(graph, new Map(), { type: 'int4' as never })).toThrow("got 'int4'");
});
