/**
 * A graph as TFLite operators of float32.
 *
 * The one idea: one table again, the other way round than operators.ts: what an operator of the graph becomes.
 */
import { ShapeError } from '../../core/errors.ts';
import { sameShape, sizeOf } from '../../core/shape.ts';
import type { Graph } from '../../models/graph/spec.ts';
import { samePadding } from '../samePadding.ts';
import { type Attrs, type Four, Lowerer, type Lowering, type Rule } from './lowering.ts';
import type { Program } from './program.ts';
import { type BuiltinName, paddings } from './schema.ts';

/** Most negative number, for what must never be the largest. */
const least = -3.4028234663852886e38;

/** [kh, kw, in, out] with its last axis first. */
function lastAxisFirst(data: Float32Array, last: number): Float32Array {
  const out = new Float32Array(data.length);
  const rest = data.length / last;
  for (let o = 0; o < last; o++) for (let k = 0; k < rest; k++) out[o * rest + k] = data[k * last + o]!;
  return out;
}

const biasOf = (n: Lowering, outputs: number): number =>
  n.constant(n.attrs.bias ? n.weight('bias').data : new Float32Array(outputs), [outputs], 'bias');

function conv(n: Lowering): void {
  const { inputs, outputs, kernel, groups, dilation } = n.attrs;
  const [kh, kw] = kernel as [number, number];
  const { x, options } = n.windows(kernel, dilation);
  const all = { ...options, dilationH: dilation[0], dilationW: dilation[1] };
  const { data } = n.weight('weight');
  const bias = biasOf(n, outputs);
  if (groups > 1 && groups === inputs) {
    const weight = n.constant(data, [1, kh, kw, outputs], 'weight');
    n.last('DEPTHWISE_CONV_2D', [x, weight, bias], { ...all, depthMultiplier: outputs / inputs });
  } else {
    const weight = n.constant(lastAxisFirst(data, outputs), [outputs, kh, kw, inputs / groups], 'weight');
    n.last('CONV_2D', [x, weight, bias], all);
  }
}
function linear(n: Lowering): void {
  const { inputs, outputs } = n.attrs;
  const weight = n.constant(lastAxisFirst(n.weight('weight').data, outputs), [outputs, inputs], 'weight');
  const keepNumDims = n.shape().length !== 2;
  n.last('FULLY_CONNECTED', [n.input(), weight, biasOf(n, outputs)], { ...(keepNumDims && { keepNumDims }) });
}
/** s·x + t, of running statistics: of maps a depthwise layer, whose integers have a scale per channel. */
function batchNorm(n: Lowering): void {
  const [mean, variance, bias] = ['runningMean', 'runningVar', 'bias'].map((w) => n.weight(w).data) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const weight = n.attrs.scale ? n.weight('weight').data : undefined;
  const s = Float64Array.from(variance, (v, i) => (weight?.[i] ?? 1) / Math.sqrt(v + n.attrs.eps));
  const shift = Float32Array.from(s, (x, i) => bias[i]! - mean[i]! * x);
  const channels = s.length;
  if (n.shape().length === 4) {
    const layer = [
      n.constant(Float32Array.from(s), [1, 1, 1, channels], 'scale'),
      n.constant(shift, [channels], 'shift'),
    ];
    const options = { strideH: 1, strideW: 1, padding: paddings.valid, depthMultiplier: 1, dilationH: 1, dilationW: 1 };
    n.last('DEPTHWISE_CONV_2D', [n.input(), ...layer], options);
    return;
  }
  const scaled = n.step('MUL', [n.input(), n.constant(Float32Array.from(s), [channels], 'scale')], n.shape());
  n.last('ADD', [scaled, n.constant(shift, [channels], 'shift')]);
}
function prelu(n: Lowering): void {
  const { data } = n.weight('weight');
  const shape = n
    .shape()
    .slice(1)
    .map((_, i, all) => (i === all.length - 1 ? data.length : 1));
  // One slope for all is a leaky rectifier, which more runtimes have in integers.
  if (data.every((a) => a === data[0])) n.last('LEAKY_RELU', [n.input()], { alpha: data[0]! });
  else n.last('PRELU', [n.input(), n.constant(data, shape, 'slope')]);
}
const given: Rule = (n) => {
  const { data, shape } = n.weight('value');
  n.pass(n.constant(data, shape, 'value'));
};

const unary =
  (op: BuiltinName, options: (a: Attrs) => Attrs = () => ({})): Rule =>
  (n) =>
    n.last(op, [n.input()], options(n.attrs));
const binary =
  (op: BuiltinName): Rule =>
  (n) => {
    const { value, reversed } = n.attrs;
    const other = n.count > 1 ? n.input(1) : n.number(value, 'value');
    n.last(op, reversed ? [other, n.input()] : [n.input(), other]);
  };
const activation =
  (op: BuiltinName, name: 'relu' | 'relu6' | 'reluN1To1'): Rule =>
  (n) => {
    if (!n.fuse(name)) n.last(op, [n.input()]);
  };
function clamp(n: Lowering): void {
  const { min, max } = n.attrs as { min: number; max: number };
  if (min === 0 && max === 6) activation('RELU6', 'relu6')(n);
  else if (min === 0 && max >= -least) activation('RELU', 'relu')(n);
  else if (min === -1 && max === 1) activation('RELU_N1_TO_1', 'reluN1To1')(n);
  else if (max >= -least) n.last('MAXIMUM', [n.input(), n.number(min, 'min')]);
  else if (min <= least) n.last('MINIMUM', [n.input(), n.number(max, 'max')]);
  else {
    const low = n.step('MAXIMUM', [n.input(), n.number(min, 'min')], n.shape());
    n.last('MINIMUM', [low, n.number(max, 'max')]);
  }
}
function hardSigmoid(n: Lowering): void {
  const scaled = n.step('MUL', [n.input(), n.number(n.attrs.alpha, 'alpha')], n.shape());
  const moved = n.step('ADD', [scaled, n.number(n.attrs.beta, 'beta')], n.shape());
  const low = n.step('MAXIMUM', [moved, n.number(0, 'min')], n.shape());
  n.last('MINIMUM', [low, n.number(1, 'max')]);
}
const swish: Rule = (n) => n.last('MUL', [n.input(), n.step('LOGISTIC', [n.input()], n.shape())]);
/** max(x, 0) + log(1 + exp(−|x|)) */
function softplus(n: Lowering): void {
  const s = n.shape();
  const small = n.step('EXP', [n.step('NEG', [n.step('ABS', [n.input()], s)], s)], s);
  const log = n.step('LOG', [n.step('ADD', [small, n.number(1, 'one')], s)], s);
  n.last('ADD', [n.step('RELU', [n.input()], s), log]);
}
const elu: Rule = (n) => {
  if (n.attrs.alpha !== 1) n.fail(`alpha is ${n.attrs.alpha}, and TFLite's is 1`);
  n.last('ELU', [n.input()]);
};

function pool(n: Lowering): void {
  const average = n.node.op === 'avgPool';
  const kernel = n.attrs.kernel as [number, number];
  const padding = n.attrs.padding as Four;
  const filter = { filterHeight: kernel[0], filterWidth: kernel[1] };
  if (!average) {
    const { x, options } = n.windows(kernel, [1, 1], least);
    n.last('MAX_POOL_2D', [x], { ...options, ...filter });
    return;
  }
  const [sh, sw] = n.attrs.stride as [number, number];
  const stride = { strideH: sh, strideW: sw };
  const none = padding.every((p) => p === 0);
  const [, h, w] = n.shape() as Four;
  const same = samePadding([h, w], kernel, [sh, sw]).every((p, i) => p === padding[i]);
  if (none || (same && !n.attrs.countIncludePad)) {
    n.last('AVERAGE_POOL_2D', [n.input()], { ...stride, ...filter, padding: none ? paddings.valid : paddings.same });
    return;
  }
  // TFLite's means leave its own padding out of the count; zeros of a PAD are counted.
  const x = n.padded(n.input(), [[0, 0], padding.slice(0, 2), padding.slice(2), [0, 0]], 0);
  const options = { ...stride, ...filter, padding: paddings.valid };
  if (n.attrs.countIncludePad) {
    n.last('AVERAGE_POOL_2D', [x], options);
    return;
  }
  const [, oh, ow] = n.outShape() as Four;
  const inside = (o: number, stride_: number, k: number, before: number, size: number) =>
    Math.min(o * stride_ - before + k, size) - Math.max(o * stride_ - before, 0);
  const share = Float32Array.from({ length: oh * ow }, (_, i) => {
    const [row, column] = [Math.floor(i / ow), i % ow];
    return (
      (kernel[0] * kernel[1]) /
      (inside(row, sh, kernel[0], padding[0], h) * inside(column, sw, kernel[1], padding[2], w))
    );
  });
  const mean = n.step('AVERAGE_POOL_2D', [x], n.outShape(), options);
  n.last('MUL', [mean, n.constant(share, [1, oh, ow, 1], 'share')]);
}

function reduce(n: Lowering): void {
  const { kind, keep } = n.attrs;
  const rank = n.shape().length;
  const list = (n.attrs.axes as number[]).length ? (n.attrs.axes as number[]) : n.shape().map((_, i) => i);
  const axes = () =>
    n.ints(
      list.map((a) => n.axis(a, rank)),
      'axes',
    );
  const options = { keepDims: keep };
  const direct = { mean: 'MEAN', sum: 'SUM', max: 'REDUCE_MAX', min: 'REDUCE_MIN' } as const;
  const s = n.shape();
  const x = n.input();
  if (Object.hasOwn(direct, kind)) n.last(direct[kind as keyof typeof direct], [x, axes()], options);
  else if (kind === 'l1') n.last('SUM', [n.step('ABS', [x], s), axes()], options);
  else if (kind === 'sumSquare') n.last('SUM', [n.step('SQUARE', [x], s), axes()], options);
  else if (kind === 'l2') n.last('SQRT', [n.step('SUM', [n.step('SQUARE', [x], s), axes()], n.outShape(), options)]);
  else n.fail(`TFLite has no '${kind}'`);
}

const reshape: Rule = (n) => {
  if (sameShape(n.shape(), n.outShape())) n.pass();
  else n.last('RESHAPE', [n.input(), n.ints(n.outShape(), 'shape')], { newShape: n.outShape() });
};
const slice: Rule = (n) => {
  const rank = n.shape().length;
  const at = n.axis(n.attrs.axis, rank);
  const size = n.shape()[at]!;
  const clip = (i: number) => Math.min(Math.max(i < 0 ? i + size : i, 0), size);
  if (n.attrs.step < 1) n.fail(`its step is ${n.attrs.step}`);
  const full = (on: number, rest: readonly number[]) => rest.map((r, i) => (i === at ? on : r));
  const begin = full(
    clip(n.attrs.start),
    n.shape().map(() => 0),
  );
  const end = full(n.attrs.end === undefined ? size : clip(n.attrs.end), n.shape());
  const step = full(
    n.attrs.step,
    n.shape().map(() => 1),
  );
  n.last('STRIDED_SLICE', [n.input(), n.ints(begin, 'begin'), n.ints(end, 'end'), n.ints(step, 'step')]);
};
const split: Rule = (n) => {
  const sizes = n.attrs.sizes as number[];
  const axis = n.constant(Int32Array.of(n.axis(n.attrs.axis, n.shape().length)), [], 'axis');
  const numSplits = sizes.length;
  if (sizes.every((d) => d === sizes[0])) n.lastMany('SPLIT', [axis, n.input()], { numSplits });
  else n.lastMany('SPLIT_V', [n.input(), n.ints(sizes, 'sizes'), axis], { numSplits });
};
function resize(n: Lowering): void {
  const { mode, alignCorners } = n.attrs;
  const [, h, w] = n.outShape() as Four;
  const op = mode === 'nearest' ? 'RESIZE_NEAREST_NEIGHBOR' : 'RESIZE_BILINEAR';
  const halfPixelCenters = mode === 'bilinear' && !alignCorners;
  n.last(op, [n.input(), n.ints([h, w], 'size')], {
    alignCorners: mode === 'bilinear' && alignCorners,
    halfPixelCenters,
  });
}
const l2Normalize: Rule = (n) => {
  // TFLite's least length is fixed at 1e-6, which no embedding comes near.
  if (n.attrs.eps > 1e-6) n.fail(`eps is ${n.attrs.eps}, and TFLite's is 1e-6`);
  n.alongLast(n.attrs.axis, 'L2_NORMALIZATION');
};
const flip: Rule = (n) => {
  const axes = (n.attrs.axes as number[]).length ? (n.attrs.axes as number[]) : n.shape().map((_, i) => i);
  // Its kernels take one axis at a time.
  const last = axes.length - 1;
  let x = n.input();
  axes.forEach((a, i) => {
    const axis = n.ints([n.axis(a, n.shape().length)], 'axis');
    if (i === last) n.last('REVERSE_V2', [x, axis]);
    else x = n.step('REVERSE_V2', [x, axis], n.shape());
  });
};

const rules: Readonly<Record<string, Rule>> = {
  conv2d: conv,
  linear,
  batchNorm,
  prelu,
  dropout: (n) => n.pass(),
  parameter: given,
  constant: given,
  relu: activation('RELU', 'relu'),
  relu6: activation('RELU6', 'relu6'),
  leakyRelu: unary('LEAKY_RELU', (a) => ({ alpha: a.slope })),
  sigmoid: unary('LOGISTIC'),
  hardSigmoid,
  hardSwish: unary('HARD_SWISH'),
  swish,
  elu,
  softplus,
  tanh: unary('TANH'),
  exp: unary('EXP'),
  log: unary('LOG'),
  sqrt: unary('SQRT'),
  square: unary('SQUARE'),
  abs: unary('ABS'),
  neg: unary('NEG'),
  floor: unary('FLOOR'),
  ceil: unary('CEIL'),
  round: unary('ROUND'),
  sin: unary('SIN'),
  cos: unary('COS'),
  clamp,
  add: binary('ADD'),
  sub: binary('SUB'),
  mul: binary('MUL'),
  div: binary('DIV'),
  pow: binary('POW'),
  min: binary('MINIMUM'),
  max: binary('MAXIMUM'),
  matmul: (n) => n.last('BATCH_MATMUL', [n.input(0), n.input(1)], { adjX: n.attrs.transA, adjY: n.attrs.transB }),
  maxPool: pool,
  avgPool: pool,
  reduce,
  softmax: (n) => n.alongLast(n.attrs.axis, 'SOFTMAX', { beta: 1 }),
  logSoftmax: (n) => n.alongLast(n.attrs.axis, 'LOG_SOFTMAX'),
  l2Normalize,
  reshape,
  transpose: (n) => n.last('TRANSPOSE', [n.input(), n.ints(n.attrs.axes, 'axes')]),
  broadcastTo: (n) => n.last('BROADCAST_TO', [n.input(), n.ints(n.outShape(), 'shape')]),
  concat: (n) =>
    n.last(
      'CONCATENATION',
      n.node.inputs.map((_, i) => n.input(i)),
      { axis: n.axis(n.attrs.axis, n.shape().length) },
    ),
  slice,
  split,
  pad: (n) => {
    const pads = n.attrs.pads as readonly (readonly number[])[];
    n.padded(n.input(), pads, n.attrs.value, (op, inputs) => {
      n.last(op, inputs);
      return 0;
    });
  },
  flip,
  resize,
};

/** Operators of graphs that TFLite files can have. */
export const lowered: readonly string[] = Object.keys(rules);

/**
 * A graph as a program of float32 operators.
 * @param batch images at once
 * @throws UsageError naming all operators that TFLite has not
 */
export function lower(graph: Graph, batch = graph.spec.batch ?? 1): Program {
  const program = new Lowerer(graph, batch).run(rules);
  for (const t of program.tensors)
    if (t.data && t.data.length !== sizeOf(t.shape))
      throw new ShapeError(`${t.name}: expected ${sizeOf(t.shape)} numbers, got ${t.data.length}\nCorrect the graph.`);
  return program;
}
