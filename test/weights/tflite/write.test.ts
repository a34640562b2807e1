/** Every operator of graphs that TFLite has: LiteRT computes from our files what we compute, and we read them back. */
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../../src/core/errors.ts';
import { host } from '../../../src/core/tensor.ts';
import { GraphBuilder, type Value } from '../../../src/models/graph/builder.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import { lowered } from '../../../src/weights/tflite/lower.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { writeTflite } from '../../../src/weights/tflite/write.ts';
import { expectAgreement, noise } from './agree.ts';

interface Case {
  readonly name: string;
  readonly input?: readonly number[];
  /** Of the input's numbers. */
  readonly from?: number;
  readonly to?: number;
  build(b: GraphBuilder, x: Value): Value | Record<string, Value>;
}
const weights = (shape: number[], seed = 3, scale = 0.5) => host(noise(shape, seed, scale).data, shape);
const op = (name: string, attrs: Record<string, unknown> = {}, more: Partial<Case> = {}): Case => ({
  name: `${name} ${JSON.stringify(attrs)}`,
  build: (b, x) => b.apply(name, [x], attrs),
  ...more,
});
const conv = (name: string, attrs: Record<string, unknown>, shape: number[], input = [7, 6, 4]): Case => ({
  name: `conv2d ${name}`,
  input,
  build: (b, x) => b.conv2d(x, { ...attrs, weight: weights(shape), bias: weights([shape[3]!], 5) }),
});
const positive = { from: 0.1, to: 4 };

const cases: readonly Case[] = [
  conv('1x1', {}, [1, 1, 4, 8]),
  conv('3x3 SAME', { padding: 1 }, [3, 3, 4, 8]),
  conv('3x3/2 symmetric: PAD and VALID', { padding: 1, stride: 2 }, [3, 3, 4, 8], [8, 8, 4]),
  conv("3x3/2 TensorFlow's SAME", { padding: [0, 1, 0, 1], stride: 2 }, [3, 3, 4, 8], [8, 8, 4]),
  conv('3x2 valid, dilated', { dilation: [2, 1] }, [3, 2, 4, 3]),
  conv('groups', { padding: 1, groups: 2 }, [3, 3, 2, 6]),
  conv('depthwise', { padding: 1, groups: 4 }, [3, 3, 1, 4]),
  conv('depthwise, two filters each, /2', { padding: 1, groups: 4, stride: 2 }, [3, 3, 1, 8]),
  conv('global depthwise 7x6', { groups: 4 }, [7, 6, 1, 4]),
  { name: 'conv2d without bias', build: (b, x) => b.conv2d(x, { weight: weights([1, 1, 4, 4]) }) },
  {
    name: 'linear of vectors',
    input: [10],
    build: (b, x) => b.linear(x, { weight: weights([10, 6]), bias: weights([6], 2) }),
  },
  { name: 'linear of images', build: (b, x) => b.linear(x, { weight: weights([4, 6]) }) },
  {
    name: 'batchNorm',
    build: (b, x) =>
      b.batchNorm(x, {
        weight: weights([4]),
        bias: weights([4], 2),
        mean: weights([4], 4),
        variance: host(noise([4], 6, 0.4, 1).data, [4]),
        eps: 1e-3,
      }),
  },
  {
    name: 'batchNorm of vectors',
    input: [5],
    build: (b, x) => b.batchNorm(x, { mean: weights([5]), variance: host(noise([5], 6, 0.4, 1).data, [5]), eps: 0 }),
  },
  { name: 'prelu of images', build: (b, x) => b.prelu(x, weights([4])) },
  { name: 'prelu of vectors', input: [6], build: (b, x) => b.prelu(x, weights([6])) },
  { name: 'prelu with one slope', build: (b, x) => b.prelu(x, host(Float32Array.of(0.25), [1])) },
  {
    name: 'parameter and constant',
    build: (b, x) =>
      b.apply('mul', [b.apply('add', [x, b.parameter(weights([4]))]), b.constant(weights([1, 1, 6, 4]))]),
  },
  op('relu'),
  op('relu6', {}, { to: 9 }),
  op('leakyRelu', { slope: 0.3 }),
  op('sigmoid'),
  op('hardSigmoid', { alpha: 0.2, beta: 0.5 }, { from: -4, to: 4 }),
  op('hardSwish', {}, { from: -4, to: 4 }),
  op('swish'),
  op('elu'),
  op('softplus', {}, { from: -30, to: 30 }),
  op('tanh'),
  op('exp'),
  op('log', {}, positive),
  op('sqrt', {}, positive),
  op('square'),
  op('abs'),
  op('neg'),
  op('floor', {}, { from: -4, to: 4 }),
  op('ceil', {}, { from: -4, to: 4 }),
  op('round', {}, { from: -4, to: 4 }),
  op('sin'),
  op('cos'),
  op('clamp', { min: -0.5, max: 0.25 }),
  op('clamp', { min: -1, max: 1 }, { from: -2, to: 2 }),
  op('clamp', { min: 0, max: 6 }, { to: 9 }),
  op('clamp', { min: 0.5 }),
  op('clamp', { max: 0.5 }),
  op('clamp', { min: 0 }),
  op('add', { value: 0.5 }),
  op('sub', { value: 0.5, reversed: true }),
  op('mul', { value: -2 }),
  op('div', { value: 3 }),
  op('div', { value: 1, reversed: true }, positive),
  op('pow', { value: 1.5 }, positive),
  op('min', { value: 0.25 }),
  op('max', { value: 0.25 }),
  {
    name: 'two values',
    build: (b, x) => {
      const [y, z] = [b.apply('exp', [x]), b.apply('neg', [x])];
      const sum = b.apply('add', [y, z]);
      return b.apply('div', [b.apply('sub', [b.apply('mul', [sum, z]), b.apply('max', [z, x])]), y]);
    },
  },
  {
    name: 'matmul',
    input: [5, 6],
    build: (b, x) => b.apply('matmul', [x, b.apply('exp', [x])], { transB: true }),
  },
  op('maxPool', { kernel: [2, 2], stride: [2, 2] }),
  op('maxPool', { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] }, { from: -3, to: -1 }),
  op('avgPool', { kernel: [2, 3], stride: [1, 1] }),
  op('avgPool', { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1], countIncludePad: true }),
  op('avgPool', { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1], countIncludePad: false }),
  op(
    'avgPool',
    { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], countIncludePad: false },
    { input: [8, 8, 4] },
  ),
  ...['mean', 'sum', 'max', 'min', 'l1', 'l2', 'sumSquare'].map((kind) =>
    op('reduce', { kind, axes: [1, 2], keep: true }),
  ),
  op('reduce', { kind: 'mean', axes: [1, -2] }),
  op('reduce', { kind: 'max', axes: [-1] }),
  op('softmax', { axis: -1 }),
  op('softmax', { axis: 1 }),
  op('logSoftmax', { axis: -1 }),
  op('l2Normalize', { axis: -1 }),
  op('l2Normalize', { axis: 1 }),
  op('reshape', { shape: [0, -1] }),
  op('reshape', { shape: [0, 6, 7, 4] }),
  op('transpose', { axes: [0, 3, 1, 2] }),
  op('broadcastTo', { shape: [0, 7, 6, 4] }, { input: [7, 1, 4] }),
  {
    name: 'concat, slice and split',
    build(b, x) {
      const [left, right] = b.applyMany('split', [x], { axis: 3, sizes: [1, 3] });
      const [one, two] = b.applyMany('split', [x], { axis: 2, sizes: [3, 3] });
      return {
        joined: b.apply('concat', [right!, b.apply('relu', [left!]), x], { axis: -1 }),
        halves: b.apply('add', [one!, two!]),
        part: b.apply('slice', [x], { axis: 1, start: 1, end: 6, step: 2 }),
        rest: b.apply('slice', [x], { axis: 2, start: -2 }),
      };
    },
  },
  op('pad', {
    pads: [
      [0, 0],
      [1, 2],
      [0, 3],
      [0, 0],
    ],
  }),
  op('pad', {
    pads: [
      [0, 0],
      [1, 2],
      [0, 3],
      [0, 1],
    ],
    value: -1.5,
  }),
  op('flip', { axes: [3] }),
  op('flip', { axes: [1, 2] }),
  op('resize', { size: [14, 12], mode: 'nearest' }),
  op('resize', { size: [14, 12], mode: 'bilinear' }),
  op('resize', { scale: [2, 2], mode: 'bilinear', alignCorners: true }),
  { name: 'dropout', build: (b, x) => b.apply('neg', [b.apply('dropout', [x], { rate: 0.3 })]) },
  {
    name: 'the input as an output, and one value under two names',
    build: (b, x) => {
      const y = b.apply('neg', [x]);
      return { same: x, y, again: y };
    },
  },
  {
    name: 'activations within layers, and not where others read',
    build(b, x) {
      const y = b.conv2d(x, { weight: weights([1, 1, 4, 4]) });
      const z = b.apply('relu', [b.conv2d(y, { weight: weights([3, 3, 4, 4], 7), padding: 1 })]);
      const six = b.apply('relu6', [b.apply('mul', [z, y])]);
      return { out: b.apply('add', [b.apply('relu', [y]), six]), y };
    },
  },
];

const inputOf = ({ input = [7, 6, 4], from = -1, to = 1 }: Case) =>
  noise([1, ...input], 1, (to - from) / 2, (to + from) / 2);
function graphOf(c: Case): Graph {
  const b = new GraphBuilder();
  const made = c.build(b, b.input('x', inputOf(c).shape.slice(1)));
  return b.finish('tensor' in made ? { y: made as Value } : (made as Record<string, Value>));
}

describe('files agree with LiteRT', () => {
  test.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const graph = graphOf(c);
    const file = writeTflite(graph);
    await expectAgreement(file, graph, [inputOf(c)]);
    const back = readTflite(file, 'file');
    await expectAgreement(file, back.graph, [inputOf(c)]);
    expect(writeTflite(graph)).toEqual(file);
  });
});

test('every operator is in a case', () => {
  const used = new Set(cases.flatMap((c) => graphOf(c).spec.nodes.map((n) => n.op)));
  expect(lowered.filter((name) => !used.has(name))).toEqual([]);
});

test('several images at once', async () => {
  const c = cases.find((k) => k.name === 'linear of images')!;
  const graph = graphOf(c);
  const images = noise([3, 7, 6, 4]);
  await expectAgreement(writeTflite(graph, { batch: 3 }), graph, [images]);
});

test('what TFLite has not is named, all of it', () => {
  const b = new GraphBuilder();
  const x = b.input('x', [4]);
  const graph = b.finish({ y: b.apply('selu', [b.apply('gather', [x], { axis: 1, indices: [0] })]) });
  expect(() => writeTflite(graph)).toThrow(UsageError);
  expect(() => writeTflite(graph)).toThrow(
    'TFLite: expected operators that it has, got\n  gather (gather)\n  selu (selu)\nExport to ONNX, which has them.',
  );
});
