/**
 * The operators of TensorFlow's graphs in terms of this engine's.
 *
 * The one idea: one record an operator. Images are NHWC and weights HWIO in both, so a layer is a matter of naming its
 * attributes; SAME padding, which puts the odd pixel below and on the right, is worked out from the input's size.
 * Source: tensorflow/core/ops/{nn_ops,math_ops,array_ops}.cc and the fused operators of grappler and TFJS.
 */
import type { Shape } from '../../core/shape.ts';
import { sizeOf } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { GraphBuilder, Value } from '../../models/graph/builder.ts';
import { completeShape, fold, single, stridedCuts } from './folding.ts';
import type { TfNode } from './graphDef.ts';
import { type Constant, constant, isConstant } from './wire.ts';

/** A branch that is not taken. */
export const dead = Symbol('dead');
/** What a node's output is: a value of the graph, numbers known now, or nothing. */
export type Result = Value | Constant | typeof dead;

/** Why a node cannot be had; it is collected, not thrown to the user. */
export class Unsupported extends Error {}
const unsupported = (why: string): never => {
  throw new Unsupported(why);
};

/** What handlers work with: one node and what it takes. */
export interface Work {
  readonly node: TfNode;
  readonly inputs: readonly Result[];
  readonly builder: GraphBuilder;
  /** Whether a value is an input of the graph, or one on which no layer has worked yet. */
  raw(value: Value): boolean;
}
export type Handler = (work: Work) => Result | readonly Result[];

export const asHost = (c: Constant, shape: Shape = c.shape): HostTensor =>
  host(c.data instanceof Float32Array ? c.data : Float32Array.from(c.data), shape);

const isValue = (x: Result | undefined): x is Value => x !== undefined && x !== dead && !isConstant(x);
const list = ({ node }: Work, name: string) => node.attrs.get(name)?.numbers;
const flagOf = ({ node }: Work, name: string) => node.attrs.get(name)?.b ?? false;
const numberOf = ({ node }: Work, name: string, otherwise: number) => {
  const a = node.attrs.get(name);
  return a?.f ?? a?.i ?? otherwise;
};

/** The value at a place; constants become parts of the graph. */
function value(work: Work, at = 0): Value {
  const x = work.inputs[at];
  if (isValue(x)) return x;
  if (x === undefined || x === dead) return unsupported(`takes no input ${at}`);
  return work.builder.constant(asHost(x), work.node.name);
}
function known(work: Work, at: number, what: string): Constant {
  const x = work.inputs[at];
  return isConstant(x) ? x : unsupported(`${what} is not constant`);
}

function spatial(work: Work): void {
  const format = work.node.attrs.get('data_format')?.s ?? 'NHWC';
  if (format !== 'NHWC') unsupported(`data_format ${format}: only NHWC is read, as TensorFlow writes it for CPUs`);
}

/** [down, right] of an attribute of four numbers in NHWC. */
function pairOf(work: Work, name: string): [number, number] {
  const all = list(work, name);
  if (!all?.length) return [1, 1];
  const [n, h, w, c] = all;
  if (all.length !== 4 || n !== 1 || c !== 1) return unsupported(`${name} [${all}]`);
  return [h!, w!];
}

/** [top, bottom, left, right] of a window. */
function paddingOf(work: Work, x: Value, kernel: readonly number[], stride: readonly number[], dilation = [1, 1]) {
  const kind = work.node.attrs.get('padding')?.s;
  if (kind === 'VALID') return [0, 0, 0, 0] as const;
  if (kind === 'EXPLICIT') {
    const all = list(work, 'explicit_paddings') ?? [];
    if (all.length !== 8 || [0, 1, 6, 7].some((i) => all[i] !== 0)) return unsupported(`explicit_paddings [${all}]`);
    return all.slice(2, 6) as unknown as readonly [number, number, number, number];
  }
  if (kind !== 'SAME') return unsupported(`padding ${kind ?? 'without a kind'}`);
  const [top, bottom, left, right] = [0, 1].flatMap((i) => {
    const size = x.shape[1 + i] ?? unsupported('takes no image');
    const out = Math.ceil(size / stride[i]!);
    const all = Math.max(0, (out - 1) * stride[i]! + (kernel[i]! - 1) * dilation[i]! + 1 - size);
    return [Math.floor(all / 2), all - Math.floor(all / 2)];
  });
  return [top!, bottom!, left!, right!] as const;
}

/** A slope for each channel of the last axis, or one for all. */
function slopes(work: Work, x: Value, alpha: Constant): Value {
  const channels = x.shape.at(-1)!;
  if (alpha.data.length === 1 || (alpha.data.length === channels && alpha.shape.at(-1) === channels))
    return work.builder.prelu(x, asHost(alpha, [alpha.data.length]), `${work.node.name}/Prelu`);
  // A slope for each place of the map: relu(x) + a·min(x, 0).
  const { builder } = work;
  const low = builder.apply('min', [x], { value: 0 });
  const scaled = builder.apply('mul', [low, builder.parameter(asHost(alpha), `${work.node.name}/Prelu`)]);
  return builder.apply('add', [builder.apply('relu', [x]), scaled]);
}

/** What follows a layer within a fused operator: the batch norm, then the activation. */
function follow(work: Work, x: Value, ops: readonly string[], args: readonly Result[]): Value {
  let y = x;
  let at = 0;
  const next = (what: string): Constant => {
    const c = args[at++];
    return isConstant(c) ? c : unsupported(`${what} is not constant`);
  };
  for (const op of ops) {
    const path = `${work.node.name}/${op}`;
    if (op === 'FusedBatchNorm') {
      const [gamma, beta, mean, variance] = ['scale', 'offset', 'mean', 'variance'].map(next);
      y = normalised(work, y, [gamma!, beta!, mean!, variance!]);
    } else if (op === 'Relu') y = work.builder.apply('relu', [y], {}, path);
    else if (op === 'Relu6') y = work.builder.apply('relu6', [y], {}, path);
    else if (op === 'Elu') y = work.builder.apply('elu', [y], {}, path);
    else if (op === 'Sigmoid') y = work.builder.apply('sigmoid', [y], {}, path);
    else if (op === 'Tanh') y = work.builder.apply('tanh', [y], {}, path);
    else if (op === 'LeakyRelu')
      y = work.builder.apply('leakyRelu', [y], { slope: numberOf(work, 'leakyrelu_alpha', 0.2) }, path);
    else if (op === 'Prelu') y = slopes(work, y, next('slopes'));
    else unsupported(`fused ${op}`);
  }
  return y;
}

function normalised(work: Work, x: Value, [gamma, beta, mean, variance]: readonly Constant[]): Value {
  const channels = x.shape.at(-1)!;
  if ([gamma, beta, mean, variance].some((c) => c?.data.length !== channels))
    unsupported(`numbers that are not one for each of ${channels} channels`);
  const flat = (c: Constant | undefined) => asHost(c!, [channels]);
  return work.builder.batchNorm(
    x,
    {
      weight: flat(gamma),
      bias: flat(beta),
      mean: flat(mean),
      variance: flat(variance),
      eps: numberOf(work, 'epsilon', 1e-4),
    },
    work.node.name,
  );
}

const convolution =
  (depthwise: boolean): Handler =>
  (work) => {
    spatial(work);
    const x = value(work);
    const filter = known(work, 1, 'filter');
    if (filter.shape.length !== 4 || x.shape.length !== 4) return unsupported('not of images');
    const [kh, kw, inputs, outputs] = filter.shape as [number, number, number, number];
    const channels = x.shape[3]!;
    const stride = pairOf(work, 'strides');
    const dilation = pairOf(work, 'dilations');
    const shape = depthwise ? [kh, kw, 1, inputs * outputs] : filter.shape;
    const groups = depthwise ? inputs : channels / inputs;
    if (!Number.isInteger(groups) || (depthwise && inputs !== channels))
      return unsupported(`filter [${filter.shape}] on ${channels} channels`);
    const fused = work.node.attrs.get('fused_ops')?.texts ?? [];
    const biased = fused[0] === 'BiasAdd';
    const y = work.builder.conv2d(
      x,
      {
        weight: asHost(filter, shape),
        ...(biased && { bias: asHost(known(work, 2, 'bias'), [depthwise ? inputs * outputs : outputs]) }),
        stride,
        dilation,
        groups,
        padding: paddingOf(work, x, [kh, kw], stride, dilation),
      },
      work.node.name,
    );
    return follow(work, y, fused.slice(+biased), work.inputs.slice(2 + +biased));
  };

const matMul: Handler = (work) => {
  const x = value(work);
  const w = work.inputs[1];
  const fused = work.node.attrs.get('fused_ops')?.texts ?? [];
  const biased = fused[0] === 'BiasAdd';
  const rest = (y: Value) => follow(work, y, fused.slice(+biased), work.inputs.slice(2 + +biased));
  const transA = flagOf(work, 'transpose_a') || flagOf(work, 'adj_x');
  const transB = flagOf(work, 'transpose_b') || flagOf(work, 'adj_y');
  if (!isConstant(w) || w.shape.length !== 2 || transA) {
    const y = work.builder.apply('matmul', [x, value(work, 1)], { transA, transB }, work.node.name);
    if (!biased) return rest(y);
    return rest(work.builder.apply('add', [y, work.builder.parameter(asHost(known(work, 2, 'bias')))]));
  }
  const weight = transB ? fold('Transpose', [w, constant('int', [2], [1, 0])], new Map())! : w;
  return rest(
    work.builder.linear(
      x,
      { weight: asHost(weight), ...(biased && { bias: asHost(known(work, 2, 'bias'), [weight.shape[1]!]) }) },
      work.node.name,
    ),
  );
};

const batchNorm: Handler = (work) => {
  spatial(work);
  const x = value(work);
  const four = ['scale', 'offset', 'mean', 'variance'].map((what, i) => known(work, 1 + i, what));
  // In training the statistics are the batch's, and the inputs for them may be empty.
  if ((work.node.attrs.get('is_training')?.b ?? true) && four[2]!.data.length !== x.shape.at(-1))
    return unsupported('is_training with no statistics kept: freeze the graph for inference');
  return [normalised(work, x, four), ...four, ...four];
};

const pool =
  (op: 'maxPool' | 'avgPool'): Handler =>
  (work) => {
    spatial(work);
    const x = value(work);
    const kernel = pairOf(work, 'ksize');
    const stride = pairOf(work, 'strides');
    const padding = paddingOf(work, x, kernel, stride);
    return work.builder.apply(
      op,
      [x],
      { kernel, stride, padding: [...padding], ...(op === 'avgPool' && { countIncludePad: false }) },
      work.node.name,
    );
  };

const unary =
  (op: string, attrs: (work: Work) => Record<string, unknown> = () => ({})): Handler =>
  (work) =>
    work.builder.apply(op, [value(work)], attrs(work), work.node.name);

/** Two operands of which at least one is a value; `reversed` where the constant comes first. */
const binary =
  (op: string): Handler =>
  (work) => {
    const { builder, node } = work;
    const [a, b] = work.inputs;
    if (isValue(a) && isValue(b)) return builder.apply(op, [a, b], {}, node.name);
    const x = isValue(a) ? a : value(work, 1);
    const c = isValue(a) ? known(work, 1, 'operand') : known(work, 0, 'operand');
    const one = single(c);
    if (one !== undefined && c.shape.length <= x.shape.length) {
      if (!Number.isFinite(one)) return unsupported(`arithmetic on the number of images`);
      return builder.apply(op, [x], { value: one, reversed: !isValue(a) }, node.name);
    }
    const from = c.shape.findIndex((d) => d !== 1);
    const tensor = asHost(c, from < 0 ? [1] : c.shape.slice(from));
    // What prepares the images stays as it is in training.
    const given = work.raw(x) ? builder.constant(tensor, node.name) : builder.parameter(tensor, node.name);
    return builder.apply(op, isValue(a) ? [x, given] : [given, x], {}, `${node.name}/${op}`);
  };

const reduce =
  (kind: string): Handler =>
  (work) => {
    const x = value(work);
    const axes = [...known(work, 1, 'axes').data].map((a) => (a < 0 ? a + x.shape.length : a));
    if (axes.length === 0) return x;
    if (axes.includes(0)) return unsupported('reduces the batch');
    const keep = flagOf(work, 'keep_dims') || flagOf(work, 'keepdims');
    return work.builder.apply('reduce', [x], { kind, axes, keep }, work.node.name);
  };

/** The same numbers in a shape known at one image. */
function reshaped(work: Work, x: Value, shape: Shape): Value {
  if (sizeOf(shape) !== sizeOf(x.shape)) return unsupported(`shape [${shape}] of [${x.shape}]`);
  return work.builder.reshape(x, shape, work.node.name);
}

const reshape: Handler = (work) => {
  const x = value(work);
  const sizes = known(work, 1, 'shape').data;
  const shape = completeShape(sizes, sizeOf(x.shape));
  if (!shape) return unsupported(`shape [${sizes}] of [${x.shape}]`);
  if (shape[0] === 1 || !(sizes[0]! === -1 || Number.isNaN(sizes[0]))) return reshaped(work, x, shape);
  // Several rows an image: [images · rows, …].
  return work.builder.apply('reshape', [x], { shape: [-1, ...shape.slice(1)] }, work.node.name);
};

const squeeze: Handler = (work) => {
  const x = value(work);
  const rank = x.shape.length;
  const named = (list(work, 'squeeze_dims') ?? list(work, 'axis') ?? []).map((a) => (a < 0 ? a + rank : a));
  const goes = (d: number, i: number) => (named.length ? named.includes(i) : i > 0 && d === 1);
  if (named.some((i) => x.shape[i] !== 1)) return unsupported(`axes [${named}] of [${x.shape}]`);
  return reshaped(
    work,
    x,
    x.shape.filter((d, i) => !goes(d, i)),
  );
};

const expandDims: Handler = (work) => {
  const x = value(work);
  const axis = single(known(work, 1, 'axis')) ?? unsupported('several axes');
  return reshaped(work, x, x.shape.toSpliced(axis < 0 ? axis + x.shape.length + 1 : axis, 0, 1));
};

const shapeOf: Handler = (work) => {
  const { shape } = value(work);
  return constant('int', [shape.length], [Number.NaN, ...shape.slice(1)]);
};

function concat(work: Work, parts: readonly Result[], axisAt: Result | undefined): Result {
  const axis = isConstant(axisAt) ? single(axisAt) : undefined;
  if (axis === undefined) return unsupported('axis is not constant');
  const values = parts.map((_, i) => value({ ...work, inputs: parts }, i));
  return work.builder.apply('concat', values, { axis }, work.node.name);
}

const transpose: Handler = (work) => {
  const x = value(work);
  const axes = [...known(work, 1, 'perm').data].map((a) => (a < 0 ? a + x.shape.length : a));
  return work.builder.apply('transpose', [x], { axes }, work.node.name);
};

/** Parts along an axis. */
function parts(work: Work, x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  const size = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? unsupported(`axis ${axis} of [${x.shape}]`);
  if (sizes.reduce((a, b) => a + b, 0) !== size) return unsupported(`parts of [${sizes}] of ${size}`);
  return work.builder.applyMany('split', [x], { axis, sizes: [...sizes] }, work.node.name);
}
/** Parts that a split may have: more are no face network's. */
const mostParts = 4096;

const split: Handler = (work) => {
  const axis = single(known(work, 0, 'axis')) ?? unsupported('several axes');
  const x = value(work, 1);
  const n = numberOf(work, 'num_split', 1);
  const size = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? 0;
  if (!(n >= 1 && n <= mostParts)) return unsupported(`${n} parts`);
  return parts(work, x, axis, new Array<number>(n).fill(size / n));
};
const splitV: Handler = (work) =>
  parts(work, value(work), single(known(work, 2, 'axis')) ?? 0, [...known(work, 1, 'sizes').data]);

const stridedSlice: Handler = (work) => {
  let x = value(work);
  const [begin, end, steps] = [1, 2, 3].map((i) => known(work, i, 'bounds'));
  const cuts = stridedCuts(x.shape, begin!.data, end!.data, steps!.data, work.node.attrs);
  if (!cuts) return unsupported('bounds that insert axes or are not known');
  cuts.forEach(({ start, end: stop, step }, axis) => {
    if (start === 0 && stop === x.shape[axis] && step === 1) return;
    if (axis === 0 || step < 1 || stop <= start) unsupported(`slice ${start}:${stop}:${step} of axis ${axis}`);
    x = work.builder.apply('slice', [x], { axis, start, end: stop, step }, work.node.name);
  });
  return reshapedTo(
    work,
    x,
    x.shape.filter((_, i) => !cuts[i]!.shrink),
  );
};
const reshapedTo = (work: Work, x: Value, shape: Shape) =>
  shape.length === x.shape.length ? x : reshaped(work, x, shape);

const slice: Handler = (work) => {
  let x = value(work);
  const [begin, sizes] = [known(work, 1, 'begin').data, known(work, 2, 'size').data];
  x.shape.forEach((d, axis) => {
    const start = begin[axis] ?? 0;
    const end = sizes[axis] === -1 ? d : start + (sizes[axis] ?? 0);
    if (start === 0 && end === d) return;
    if (axis === 0) unsupported('slices the batch');
    x = work.builder.apply('slice', [x], { axis, start, end }, work.node.name);
  });
  return x;
};

const pack: Handler = (work) => {
  const first = value(work);
  const rank = first.shape.length + 1;
  const given = numberOf(work, 'axis', 0);
  const axis = given < 0 ? given + rank : given;
  if (axis === 0) return unsupported('stacks along the batch');
  const values = work.inputs.map((_, i) => {
    const x = value(work, i);
    return work.builder.reshape(x, x.shape.toSpliced(axis, 0, 1), work.node.name);
  });
  return work.builder.apply('concat', values, { axis }, work.node.name);
};

const unpack: Handler = (work) => {
  const x = value(work);
  const given = numberOf(work, 'axis', 0);
  const axis = given < 0 ? given + x.shape.length : given;
  const n = x.shape[axis] ?? 0;
  if (axis === 0 || n > mostParts) return unsupported(`takes axis ${axis} apart`);
  return parts(work, x, axis, new Array<number>(n).fill(1)).map((p) =>
    work.builder.reshape(p, p.shape.toSpliced(axis, 1), work.node.name),
  );
};

const pad: Handler = (work) => {
  const x = value(work);
  const sizes = [...known(work, 1, 'paddings').data];
  const filling = work.node.op === 'PadV2' ? single(known(work, 2, 'value')) : 0;
  if (sizes.length !== 2 * x.shape.length || sizes[0] !== 0 || sizes[1] !== 0 || filling === undefined)
    return unsupported(`paddings [${sizes}] of [${x.shape}]`);
  const pads = x.shape.map((_, i) => [sizes[2 * i]!, sizes[2 * i + 1]!]);
  return work.builder.apply('pad', [x], { pads, value: filling }, work.node.name);
};

const resize =
  (mode: 'nearest' | 'bilinear'): Handler =>
  (work) => {
    const x = value(work);
    const size = [...known(work, 1, 'size').data];
    const alignCorners = flagOf(work, 'align_corners');
    const half = flagOf(work, 'half_pixel_centers');
    const whole = size.every((n, i) => n % x.shape[1 + i]! === 0);
    const same = size.every((n, i) => n === x.shape[1 + i]);
    // The engine's bilinear takes pixel centres, its nearest the corner; several times the size, the two are one.
    const agrees = same || (mode === 'bilinear' ? alignCorners || half : !alignCorners && (!half || whole));
    if (!agrees)
      return unsupported(`${mode} with align_corners ${alignCorners} and half_pixel_centers ${half} to [${size}]`);
    return work.builder.apply('resize', [x], { size, mode, alignCorners }, work.node.name);
  };

const rsqrt: Handler = (work) =>
  work.builder.apply(
    'div',
    [work.builder.apply('sqrt', [value(work)], {}, work.node.name)],
    { value: 1, reversed: true },
    work.node.name,
  );

const squaredDifference: Handler = (work) =>
  work.builder.apply('square', [binary('sub')(work) as Value], {}, work.node.name);

/** Numbers as they are: the engine's values are all float32. */
const cast: Handler = (work) => {
  const type = work.node.attrs.get('DstT')?.type;
  return type === 'float' || type === 'half' || type === 'double' ? value(work) : unsupported(`to ${type}`);
};

/** One branch is alive: the one that the condition takes. */
const switchOn: Handler = (work) => {
  const on = single(known(work, 1, 'condition'));
  if (on === undefined || Number.isNaN(on)) return unsupported('condition is not known');
  const x = work.inputs[0]!;
  return on ? [dead, x] : [x, dead];
};

const select: Handler = (work) => {
  const on = single(known(work, 0, 'condition'));
  return on === undefined || Number.isNaN(on) ? unsupported('condition is not known') : work.inputs[on ? 1 : 2]!;
};

const softmaxOf = (op: string) => unary(op, () => ({ axis: -1 }));
const biasAdd: Handler = (work) => {
  spatial(work);
  return binary('add')(work);
};

/** Every operator that is read, beside those that give what they take (patterns.ts) and shape arithmetic (folding.ts). */
export const handlers: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ...['Conv2D', '_FusedConv2D', 'FusedConv2D'].map((op) => [op, convolution(false)] as const),
  ...['DepthwiseConv2dNative', 'FusedDepthwiseConv2dNative', '_FusedDepthwiseConv2dNative'].map(
    (op) => [op, convolution(true)] as const,
  ),
  ...['MatMul', '_FusedMatMul', 'BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3'].map((op) => [op, matMul] as const),
  ...['FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3'].map((op) => [op, batchNorm] as const),
  ['BiasAdd', biasAdd],
  ['Prelu', (work) => slopes(work, value(work), known(work, 1, 'slopes'))],
  ['Relu', unary('relu')],
  ['Relu6', unary('relu6')],
  ['LeakyRelu', unary('leakyRelu', (w) => ({ slope: numberOf(w, 'alpha', 0.2) }))],
  ['Elu', unary('elu')],
  ['Selu', unary('selu')],
  ['Softplus', unary('softplus')],
  ['Sigmoid', unary('sigmoid')],
  ['Tanh', unary('tanh')],
  ['Exp', unary('exp')],
  ['Log', unary('log')],
  ['Sqrt', unary('sqrt')],
  ['Rsqrt', rsqrt],
  ['Square', unary('square')],
  ['Abs', unary('abs')],
  ['Neg', unary('neg')],
  ['Floor', unary('floor')],
  ['Ceil', unary('ceil')],
  ['Round', unary('round')],
  ['Reciprocal', unary('div', () => ({ value: 1, reversed: true }))],
  [
    'ClipByValue',
    (w) => {
      const [low, high] = [single(known(w, 1, 'least')), single(known(w, 2, 'greatest'))];
      return unary('clamp', () => ({ min: low, max: high }))(w);
    },
  ],
  ['Add', binary('add')],
  ['AddV2', binary('add')],
  ['Sub', binary('sub')],
  ['Mul', binary('mul')],
  ['RealDiv', binary('div')],
  ['Div', binary('div')],
  ['DivNoNan', binary('div')],
  ['Maximum', binary('max')],
  ['Minimum', binary('min')],
  ['Pow', binary('pow')],
  ['SquaredDifference', squaredDifference],
  [
    'AddN',
    (w) => w.inputs.map((_, i) => value(w, i)).reduce((a, b) => w.builder.apply('add', [a, b], {}, w.node.name)),
  ],
  ['MaxPool', pool('maxPool')],
  ['AvgPool', pool('avgPool')],
  ['Mean', reduce('mean')],
  ['Sum', reduce('sum')],
  ['Max', reduce('max')],
  ['Min', reduce('min')],
  ['Softmax', softmaxOf('softmax')],
  ['LogSoftmax', softmaxOf('logSoftmax')],
  ['L2Normalize', unary('l2Normalize', (w) => ({ axis: numberOf(w, 'axis', -1), eps: numberOf(w, 'eps', 1e-6) }))],
  ['Reshape', reshape],
  ['Squeeze', squeeze],
  ['ExpandDims', expandDims],
  ['Transpose', transpose],
  ['ConcatV2', (w) => concat(w, w.inputs.slice(0, -1), w.inputs.at(-1))],
  ['Concat', (w) => concat(w, w.inputs.slice(1), w.inputs[0])],
  ['Split', split],
  ['SplitV', splitV],
  ['StridedSlice', stridedSlice],
  ['Slice', slice],
  ['Pack', pack],
  ['Unpack', unpack],
  ['Pad', pad],
  ['PadV2', pad],
  ['ResizeBilinear', resize('bilinear')],
  ['ResizeNearestNeighbor', resize('nearest')],
  ['ReverseV2', unary('flip', (w) => ({ axes: [...known(w, 1, 'axes').data] }))],
  ['Cast', cast],
  ['Shape', shapeOf],
  ['Rank', (w) => constant('int', [], [value(w).shape.length])],
  ['Switch', switchOn],
  ['Select', select],
  ['SelectV2', select],
]);
