/**
 * ncnn's layers in the terms of a graph: one table by type. Values have no batch in ncnn: a map is [C, H, W], a vector [W]; a
 * batch axis stands in front here. Semantics: ncnn's docs/developer-guide/operators.md and its plain implementations.
 */
import { DataError } from '../../core/errors.ts';
import { host } from '../../core/tensor.ts';
import { type ChannelsFirst, type Ordered, permuted } from '../../models/graph/channelsFirst.ts';
import { pool } from '../pooling.ts';
import type { HostTensor } from '../safetensors.ts';
import { samePadding } from '../samePadding.ts';
import type { NcnnParams } from './param.ts';
import type { NcnnWeights } from './weights.ts';

export interface Call {
  readonly graph: ChannelsFirst;
  readonly name: string;
  readonly params: NcnnParams;
  readonly inputs: readonly Ordered[];
  /** The rest of the `.bin`, from which a layer takes its own. */
  readonly weights: NcnnWeights;
  /** How many values it makes. */
  readonly outputs: number;
  /** [height, width] of images, where the Input layer leaves it open. */
  readonly size: readonly [number, number];
  /** Channels of images, likewise. */
  readonly channels: number;
}
type Layer = (call: Call) => Ordered | Ordered[];

const unsupported = (what: string): never => {
  throw new DataError(`${what} is not supported\nExport the network without it.`);
};

const floatMax = 3.4028234663852886e38;

/** The second of a layer's values. */
function second({ inputs }: Pick<Call, 'inputs'>): Ordered {
  return inputs[1] ?? unsupported('a layer of two values with one');
}

/** What acts on each number leaves a flattened map one, so that a dense layer behind finds it. */
function each(
  op: string,
  { graph, name }: Pick<Call, 'graph' | 'name'>,
  x: Ordered,
  attrs: Record<string, unknown> = {},
): Ordered {
  return x.map ? graph.reshape(graph.unary(op, x.map, attrs, name), x.shape) : graph.unary(op, x, attrs, name);
}
const unary =
  (op: string, attrs: (p: NcnnParams) => Record<string, unknown> = () => ({})): Layer =>
  (call) =>
    each(op, call, call.inputs[0]!, attrs(call.params));
const same: Layer = ({ inputs, outputs }) => Array.from({ length: outputs }, () => inputs[0]!);

/** The activation that convolutions and dense layers end in: parameters 9 and 10. */
function activated(call: Call, x: Ordered): Ordered {
  const { params } = call;
  const [a, b] = params.reals(10);
  const inner = { graph: call.graph, name: `${call.name}.activation` };
  switch (params.whole(9)) {
    case 0:
      return x;
    case 1:
      return each('relu', inner, x);
    case 2:
      return each('leakyRelu', inner, x, { slope: a ?? 0 });
    case 3:
      return each('clamp', inner, x, { min: a ?? -floatMax, max: b ?? floatMax });
    case 4:
      return each('sigmoid', inner, x);
    case 6:
      return hardSwish(inner, x, a ?? 1 / 6, b ?? 0.5);
    default:
      return unsupported(`activation ${params.whole(9)}`);
  }
}

/** x·clamp(alpha·x + beta, 0, 1): the operator for 1/6 and 1/2, as ncnn's text rounds them. */
function hardSwish(at: Pick<Call, 'graph' | 'name'>, x: Ordered, alpha: number, beta: number): Ordered {
  if (Math.abs(alpha - 1 / 6) < 1e-6 && beta === 0.5) return each('hardSwish', at, x);
  return at.graph.binary('mul', x, at.graph.unary('hardSigmoid', x, { alpha, beta }), at.name);
}

/** Height and width of a map. */
const sidesOf = (x: Ordered) => x.shape.slice(2, 4) as [number, number];

function refuseInt8({ params }: Call): void {
  if (params.whole(8) !== 0) unsupported('an int8 layer (8=int8_scale_term)');
}

function convolution(call: Call): Ordered {
  const { graph, name, params, inputs, weights } = call;
  refuseInt8(call);
  if (params.whole(19) !== 0) unsupported('a convolution whose weight is a value (19=dynamic_weight)');
  const outputs = params.whole(0);
  const groups = params.whole(7, 1);
  const across = params.whole(1);
  const down = params.whole(11, across);
  const perGroup = params.whole(6) / (outputs * across * down);
  if (!(perGroup >= 1) || !Number.isInteger(perGroup))
    throw new DataError(
      `expected ${outputs} filters of ${down}x${across}, got ${params.whole(6)} weights\nThe file is damaged.`,
    );
  const weight = weights.tagged([outputs, perGroup, down, across]);
  const bias = params.whole(5) ? weights.plain(outputs) : undefined;
  const step = params.whole(3, 1);
  const dilation = params.whole(2, 1);
  const dilations = [params.whole(12, dilation), dilation] as const;
  const strides = [params.whole(13, step), step] as const;
  const left = params.whole(4);
  const right = params.whole(15, left);
  const top = params.whole(14, left);
  let padding = [top, params.whole(16, top), left, right] as readonly [number, number, number, number];
  let x = inputs[0]!;
  // -233 and -234 ask for TensorFlow's padding, the odd pixel behind or in front.
  if (left === -233 || left === -234)
    padding = samePadding(sidesOf(x), [down, across], strides, dilations, left === -233 ? 'behind' : 'before');
  const value = params.real(18);
  if (value !== 0) {
    x = graph.pad(
      x,
      [
        [0, 0],
        [0, 0],
        [padding[0], padding[1]],
        [padding[2], padding[3]],
      ],
      value,
    );
    padding = [0, 0, 0, 0];
  }
  const y = graph.conv2d(x, { weight, bias, stride: strides, padding, dilation: dilations, groups }, name);
  return activated(call, y);
}

function innerProduct(call: Call): Ordered {
  const { graph, name, params, inputs, weights } = call;
  refuseInt8(call);
  const outputs = params.whole(0);
  const taken = params.whole(2) / outputs;
  if (!Number.isInteger(taken) || taken < 1)
    throw new DataError(`expected ${outputs} rows of weights, got ${params.whole(2)} numbers\nThe file is damaged.`);
  const weight = permuted(weights.tagged([outputs, taken]), [1, 0]);
  const bias = params.whole(1) ? weights.plain(outputs) : undefined;
  const x = inputs[0]!;
  const flat = x.shape.length === 2 || (x.shape.length === 3 && x.shape[2] === taken) ? x : flatten(graph, x);
  return activated(call, graph.linear(flat, { weight, bias }, name));
}

const flatten = (graph: ChannelsFirst, x: Ordered): Ordered =>
  graph.reshape(x, [x.shape[0]!, x.shape.slice(1).reduce((n, d) => n * d, 1)]);

function batchNorm({ graph, name, params, inputs, weights }: Call): Ordered {
  const n = params.whole(0);
  const [weight, mean, variance, bias] = [0, 1, 2, 3].map(() => weights.plain(n));
  return graph.batchNorm(
    inputs[0]!,
    { weight, bias, mean: mean!, variance: variance!, eps: Math.max(0, params.real(1)) },
    name,
  );
}

/** A number per channel, times and plus. */
function scale(call: Call): Ordered {
  const { graph, name, params, inputs, weights } = call;
  const n = params.whole(0);
  const x = inputs[0]!;
  if (n === -233) return graph.binary('mul', x, channelsOf(graph, second(call), x.shape.length), name);
  const along = (t: HostTensor) => graph.given(host(t.data, channelShape(n, x.shape.length)), name);
  const scaled = graph.binary('mul', x, along(weights.plain(n)), name);
  return params.whole(1) ? graph.binary('add', scaled, along(weights.plain(n)), `${name}.shift`) : scaled;
}
const channelShape = (n: number, rank: number): number[] => [1, n, ...Array<number>(Math.max(0, rank - 2)).fill(1)];
/** A vector [1, C] as [1, C, 1, 1] beside a map. */
function channelsOf(graph: ChannelsFirst, x: Ordered, rank: number): Ordered {
  return x.shape.length < rank && x.shape.length === 2 ? graph.reshape(x, channelShape(x.shape[1]!, rank)) : x;
}

const binaries = ['add', 'sub', 'mul', 'div', 'max', 'min', 'pow', 'sub', 'div', 'pow'];

/** A vector beside a map stands for its channels. */
function binaryOp(call: Call): Ordered {
  const { graph, name, params, inputs } = call;
  const kind = params.whole(0);
  const op = binaries[kind] ?? unsupported(`BinaryOp ${kind}`);
  const reversed = kind >= 7;
  if (params.whole(1)) return each(op, call, inputs[0]!, { value: params.real(2), reversed });
  const rank = Math.max(inputs[0]!.shape.length, second(call).shape.length);
  const [a, b] = inputs.map((x) => channelsOf(graph, x, rank)) as [Ordered, Ordered];
  return reversed ? graph.binary(op, b, a, name) : graph.binary(op, a, b, name);
}

function eltwise({ graph, name, params, inputs }: Call): Ordered {
  const kind = params.whole(0);
  const op = ['mul', 'add', 'max'][kind] ?? unsupported(`Eltwise ${kind}`);
  const factors = params.reals(1);
  const values =
    kind === 1 && factors.length
      ? inputs.map((x, i) => (factors[i] === 1 ? x : graph.unary('mul', x, { value: factors[i] ?? 1 })))
      : inputs;
  return values.reduce((a, b) => graph.binary(op, a, b, name));
}

const functions = ['abs', 'neg', 'floor', 'ceil', 'square', 'sqrt', 'rsqrt', 'exp', 'log', 'sin', 'cos'];
function unaryOp(call: Call): Ordered {
  const kind = call.params.whole(0);
  const x = call.inputs[0]!;
  if (kind === 6) return each('div', call, each('sqrt', call, x), { value: 1, reversed: true });
  if (kind === 15) return each('div', call, x, { value: 1, reversed: true });
  if (kind === 18) return each('round', call, x);
  return each(kind === 16 ? 'tanh' : (functions[kind] ?? unsupported(`UnaryOp ${kind}`)), call, x);
}

function pooling({ graph, name, params, inputs }: Call): Ordered {
  const kind = params.whole(0) === 0 ? ('max' as const) : ('avg' as const);
  const x = inputs[0]!;
  const whole = kind === 'max' ? 'max' : 'mean';
  if (params.whole(4)) return graph.reduce(whole, x, [2, 3], false, name);
  if (params.whole(7)) {
    if (params.whole(8) !== 1 || params.whole(18, 1) !== 1) unsupported('adaptive pooling to more than one place');
    return graph.reduce(whole, x, [2, 3], true, name);
  }
  const across = params.whole(1);
  const kernel = [params.whole(11, across), across] as const;
  const step = params.whole(2, 1);
  const stride = [params.whole(12, step), step] as const;
  const left = params.whole(3);
  const top = params.whole(13, left);
  let padding = [top, params.whole(15, top), left, params.whole(14, left)] as readonly [number, number, number, number];
  const mode = params.whole(5);
  if (mode > 3) unsupported(`padding of kind ${mode}`);
  if (mode >= 2) padding = samePadding(sidesOf(x), kernel, stride, undefined, mode === 2 ? 'behind' : 'before');
  const counts = params.whole(6) ? 'window' : 'pixels';
  return pool(graph, x, { kind, kernel, stride, padding, ceil: mode === 0 ? 'always' : 'never', counts }, name);
}

/** Sizes are given w, h, c; 0 copies, -1 is the rest, -233 is no axis. */
function reshape({ graph, name, params, inputs }: Call): Ordered {
  const x = inputs[0]!;
  if (params.whole(3)) unsupported('a Reshape that permutes (3=1)');
  if (params.whole(11, -233) !== -233) unsupported('a Reshape to four axes');
  const old = x.shape.slice(1);
  const wanted = [params.whole(2, -233), params.whole(1, -233), params.whole(0, -233)].filter((n) => n !== -233);
  const shape = wanted.map((n, i) => (n === 0 ? (old[i + old.length - wanted.length] ?? 1) : n));
  const size = old.reduce((a, b) => a * b, 1);
  const known = shape.reduce((a, b) => (b === -1 ? a : a * b), 1);
  const out = shape.map((n) => (n === -1 ? size / known : n));
  if (out.reduce((a, b) => a * b, 1) !== size || out.some((n) => !Number.isInteger(n) || n < 1))
    throw new DataError(`expected a shape for ${size} numbers, got ${wanted.join('x')}\nThe file is damaged.`);
  return graph.reshape(x, [x.shape[0]!, ...out], name);
}

/** An axis of a value without its batch, from the last where negative. */
const axisOf = (x: Ordered, axis: number): number => (axis < 0 ? axis + x.shape.length : axis + 1);

function slice({ graph, name, params, inputs }: Call): Ordered[] {
  const x = inputs[0]!;
  const axis = axisOf(x, params.whole(1));
  const length = x.shape[axis] ?? 0;
  const wanted = params.wholes(0);
  let left = length;
  const sizes = wanted.map((n, i) => {
    const size = n === -233 ? Math.floor(left / (wanted.length - i)) : n;
    left -= size;
    return size;
  });
  return graph.split(x, axis, sizes, name);
}

function interp({ graph, name, params, inputs }: Call): Ordered {
  const mode = (['', 'nearest', 'bilinear'] as const)[params.whole(0)];
  if (!mode || params.whole(5))
    unsupported(`Interp of kind ${params.whole(0)}${params.whole(5) ? ', to the size of a value,' : ''}`);
  const [, , height, width] = inputs[0]!.shape as [number, number, number, number];
  const size = [
    params.whole(3) || Math.trunc(height * params.real(1, 1)),
    params.whole(4) || Math.trunc(width * params.real(2, 1)),
  ];
  return graph.image('resize', inputs[0]!, { size, mode, alignCorners: params.whole(6) !== 0 }, name);
}

function padding({ graph, name, params, inputs }: Call): Ordered {
  if (params.whole(4) !== 0 || params.whole(6) !== 0 || params.whole(7) > 0 || params.whole(8) > 0)
    unsupported('padding by other than one number around the image');
  const [top, bottom, left, right] = [0, 1, 2, 3].map((k) => params.whole(k)) as [number, number, number, number];
  const x = inputs[0]!;
  const pads = x.shape.map((_, i) => {
    if (i === x.shape.length - 1) return [left, right] as const;
    return i === x.shape.length - 2 && i > 0 ? ([top, bottom] as const) : ([0, 0] as const);
  });
  return graph.pad(x, pads, params.real(5), name);
}

/** Parts of axes by start and end, as ONNX has them; ncnn's other forms of cropping are not read. */
function crop({ graph, name, params, inputs }: Call): Ordered {
  const [starts, ends, axes] = [9, 10, 11].map((k) => params.wholes(k)) as [number[], number[], number[]];
  if (!starts.length || starts.length !== ends.length) unsupported('a Crop without starts and ends (9, 10)');
  return starts.reduce((x, start, i) => {
    const axis = axisOf(x, axes[i] ?? i);
    const length = x.shape[axis] ?? 0;
    const from = (n: number) => (n === -233 ? length : n < 0 ? n + length : Math.min(n, length));
    return graph.along('slice', x, axis, { start: from(start), end: from(ends[i]!) }, name);
  }, inputs[0]!);
}

/** ncnn names the new order from the last axis to the first. */
const orders = ['WHC', 'HWC', 'WCH', 'CWH', 'HCW', 'CHW'];
function permute({ graph, params, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const kind = params.whole(0);
  if (x.shape.length === 3 && kind < 2) return kind ? graph.transpose(x, [0, 2, 1]) : x;
  if (x.shape.length !== 4 || !orders[kind]) unsupported(`Permute ${kind} of a value of ${x.shape.length - 1} axes`);
  return graph.transpose(x, [0, ...[...orders[kind]!].reverse().map((c) => 1 + 'CHW'.indexOf(c))]);
}

/** x/sqrt(Σx² + eps), /max(‖x‖, eps) or /sqrt(max(Σx², eps)), times a scale. */
function normalize({ graph, name, params, inputs, weights }: Call): Ordered {
  const x = inputs[0]!;
  const [overPlaces, overChannels] = [params.whole(0), params.whole(4)];
  // A vector is places of one channel.
  const axes = x.shape
    .map((_, i) => i)
    .filter((i) => i > 0 && (i === 1 && x.shape.length > 2 ? overChannels : overPlaces));
  if (!axes.length) unsupported('Normalize along no axis');
  const eps = params.real(2, 1e-4);
  const squares = graph.reduce('sumSquare', x, axes, true);
  const mode = params.whole(9);
  const length =
    mode === 1
      ? graph.unary('max', graph.unary('sqrt', squares), { value: eps })
      : graph.unary('sqrt', graph.unary(mode === 2 ? 'max' : 'add', squares, { value: eps }));
  const y = graph.binary('div', x, length, name);
  const n = params.whole(3);
  if (!n) return y;
  const factor = weights.plain(n);
  if (n === 1) return factor.data[0] === 1 ? y : graph.unary('mul', y, { value: factor.data[0] });
  return graph.binary('mul', y, graph.given(host(factor.data, channelShape(n, x.shape.length)), `${name}.scale`));
}

function input({ graph, name, params, size, channels }: Call): Ordered {
  const [width, height, c] = [params.whole(0), params.whole(1), params.whole(2)];
  if (width && !height && !c) return graph.input(name, [width]);
  return graph.input(name, [c || channels, height || size[0], width || size[1]]);
}

function memoryData({ graph, name, params, weights }: Call): Ordered {
  const shape = [params.whole(2), params.whole(1), params.whole(0)].filter((n) => n > 0);
  const t = weights.plain(shape.reduce((a, b) => a * b, 1));
  return graph.given(host(t.data, [1, ...shape]), name);
}

function softmax({ graph, name, params, inputs }: Call): Ordered {
  const x = inputs[0]!;
  // Without the flag (1=1) old versions took the axis of a map for the channels' own.
  return graph.along('softmax', x, axisOf(x, params.whole(0)), {}, name);
}

function reduction({ graph, name, params, inputs }: Call): Ordered {
  const kinds = ['sum', 'l1', 'sumSquare', 'mean', 'max', 'min', '', 'l1', 'l2', '', 'logSumExp'];
  const kind = kinds[params.whole(0)] || unsupported(`Reduction ${params.whole(0)}`);
  const x = inputs[0]!;
  const axes = params.whole(1, 1) ? x.shape.map((_, i) => i).slice(1) : params.wholes(3).map((a) => axisOf(x, a));
  const y = graph.reduce(kind, x, axes, params.whole(4) !== 0, name);
  return params.real(2, 1) === 1 ? y : graph.unary('mul', y, { value: params.real(2, 1) });
}

/** By type. */
export const ncnnLayers: ReadonlyMap<string, Layer> = new Map<string, Layer>([
  ['Input', input],
  ['MemoryData', memoryData],
  ['Convolution', convolution],
  ['ConvolutionDepthWise', convolution],
  ['InnerProduct', innerProduct],
  ['BatchNorm', batchNorm],
  ['Scale', scale],
  [
    'PReLU',
    ({ graph, name, params, inputs, weights }) => graph.prelu(inputs[0]!, weights.plain(params.whole(0)), name),
  ],
  [
    'ReLU',
    (c) =>
      c.params.real(0) === 0
        ? each('relu', c, c.inputs[0]!)
        : each('leakyRelu', c, c.inputs[0]!, { slope: c.params.real(0) }),
  ],
  ['ELU', unary('elu', (p) => ({ alpha: p.real(0, 0.1) }))],
  ['SELU', unary('selu', (p) => ({ alpha: p.real(0, 1.67326324), gamma: p.real(1, 1.050700987) }))],
  ['Sigmoid', unary('sigmoid')],
  ['TanH', unary('tanh')],
  ['Swish', unary('swish')],
  ['Softplus', unary('softplus')],
  ['AbsVal', unary('abs')],
  ['Clip', unary('clamp', (p) => ({ min: p.real(0, -floatMax), max: p.real(1, floatMax) }))],
  ['HardSigmoid', unary('hardSigmoid', (p) => ({ alpha: p.real(0, 0.2), beta: p.real(1, 0.5) }))],
  ['HardSwish', (c) => hardSwish(c, c.inputs[0]!, c.params.real(0, 0.2), c.params.real(1, 0.5))],
  ['BinaryOp', binaryOp],
  ['UnaryOp', unaryOp],
  ['Eltwise', eltwise],
  ['Pooling', pooling],
  ['Reduction', reduction],
  ['Flatten', ({ graph, inputs }) => flatten(graph, inputs[0]!)],
  ['Reshape', reshape],
  ['Permute', permute],
  ['Concat', ({ graph, name, params, inputs }) => graph.concat(inputs, axisOf(inputs[0]!, params.whole(0)), name)],
  ['Slice', slice],
  ['Crop', crop],
  ['Padding', padding],
  ['Interp', interp],
  ['Normalize', normalize],
  ['Softmax', softmax],
  [
    'Dropout',
    (c) => (c.params.real(0, 1) === 1 ? c.inputs[0]! : each('mul', c, c.inputs[0]!, { value: c.params.real(0, 1) })),
  ],
  ['Split', same],
  ['Noop', same],
]);
