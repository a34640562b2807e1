/**
 * MXNet's operators in the terms of a graph: one table by name, aliases of all versions included.
 * Semantics: the operator pages of MXNet 1.9's API and its src/operator.
 */
import { DataError } from '../../core/errors.ts';
import { type ChannelsFirst, type Ordered, permuted } from '../../models/graph/channelsFirst.ts';
import { pool } from '../pooling.ts';
import type { HostTensor } from '../safetensors.ts';
import { reshapeTo } from './reshape.ts';
import type { Attributes } from './symbol.ts';

/** One application of an operator. */
export interface Call {
  readonly graph: ChannelsFirst;
  /** The node's name, which becomes a path. */
  readonly name: string;
  readonly attrs: Attributes;
  /** Its values; numbers of the file are not part of the graph yet. */
  readonly inputs: readonly Ordered[];
  /** Input `i` as numbers of the file. Throws DataError where it is none. */
  weight(i: number): HostTensor;
}
type Operator = (call: Call) => Ordered | Ordered[];

const unsupported = (what: string): never => {
  throw new DataError(`${what} is not supported\nExport the network without it.`);
};

/** Dropout and what acts on each number leave a flattened map one, so that a dense layer behind finds it. */
const each = (op: string, { graph, inputs, name }: Call, attrs: Readonly<Record<string, unknown>> = {}): Ordered => {
  const [x] = inputs;
  return x!.map ? graph.reshape(graph.unary(op, x!.map, attrs, name), x!.shape) : graph.unary(op, x!, attrs, name);
};
const unary =
  (op: string): Operator =>
  (call) =>
    each(op, call);
const binary =
  (op: string): Operator =>
  ({ graph, inputs, name }) =>
    graph.binary(op, inputs[0]!, inputs[1] ?? unsupported('an operator of two values with one'), name);
const scalar =
  (op: string, reversed = false): Operator =>
  (call) =>
    each(op, call, { value: call.attrs.number('scalar', 1), reversed });
const same: Operator = ({ inputs }) => inputs[0]!;

function flat({ graph, inputs }: Pick<Call, 'graph' | 'inputs'>): Ordered {
  const x = inputs[0]!;
  return graph.reshape(x, [x.shape[0]!, x.shape.slice(1).reduce((n, d) => n * d, 1)]);
}

function convolution({ graph, name, attrs, inputs, weight }: Call): Ordered {
  const layout = attrs.text('layout') ?? 'NCHW';
  if (layout !== 'NCHW' || weight(1).shape.length !== 4) unsupported(`a convolution of layout ${layout}`);
  const [down, right] = attrs.pair('pad', 0);
  return graph.conv2d(
    inputs[0]!,
    {
      weight: weight(1),
      bias: attrs.flag('no_bias', false) ? undefined : weight(2),
      stride: attrs.pair('stride', 1),
      padding: [down, down, right, right],
      dilation: attrs.pair('dilate', 1),
      groups: attrs.number('num_group', 1),
    },
    name,
  );
}

function batchNorm({ graph, name, attrs, inputs, weight }: Call): Ordered {
  const axis = attrs.number('axis', 1);
  if (axis !== 1) unsupported(`batch normalisation along axis ${axis}`);
  return graph.batchNorm(
    inputs[0]!,
    {
      // With fix_gamma, which is the default, gamma counts as 1 whatever the file holds.
      weight: attrs.flag('fix_gamma', true) ? undefined : weight(1),
      bias: weight(2),
      mean: weight(3),
      variance: weight(4),
      eps: attrs.number('eps', 1e-3),
      momentum: Math.min(1, Math.max(0, 1 - attrs.number('momentum', 0.9))),
    },
    name,
  );
}

function leakyRelu(call: Call): Ordered {
  const { graph, name, attrs, inputs, weight } = call;
  const kind = attrs.choice('act_type', ['leaky', 'prelu', 'elu', 'selu', 'rrelu']);
  const slope = attrs.number('slope', 0.25);
  if (kind === 'prelu') return graph.prelu(inputs[0]!, weight(1), name);
  if (kind === 'selu') return each('selu', call);
  if (kind === 'elu') return each('elu', call, { alpha: slope });
  // Outside of training a random slope is its mean.
  const mean = (attrs.number('lower_bound', 0.125) + attrs.number('upper_bound', 0.334)) / 2;
  return each('leakyRelu', call, { slope: kind === 'leaky' ? slope : mean });
}

function activation(call: Call): Ordered {
  const kind = call.attrs.choice('act_type', ['relu', 'sigmoid', 'tanh', 'softrelu', 'softsign']);
  if (kind !== 'softsign') return each(kind === 'softrelu' ? 'softplus' : kind, call);
  const { graph, inputs, name } = call;
  return graph.binary('div', inputs[0]!, graph.unary('add', graph.unary('abs', inputs[0]!), { value: 1 }), name);
}

function dense({ graph, name, attrs, inputs, weight }: Call): Ordered {
  const x = attrs.flag('flatten', true) && inputs[0]!.shape.length !== 2 ? flat({ graph, inputs }) : inputs[0]!;
  const stored = weight(1);
  if (stored.shape.length !== 2) unsupported(`a dense weight of ${stored.shape.length} axes`);
  const bias = attrs.flag('no_bias', false) ? undefined : weight(2);
  return graph.linear(x, { weight: permuted(stored, [1, 0]), bias }, name);
}

function pooling(call: Call): Ordered {
  const { graph, name, attrs, inputs } = call;
  const kind = attrs.choice('pool_type', ['max', 'avg', 'sum', 'lp']);
  const layout = attrs.text('layout') ?? 'NCHW';
  if (kind === 'lp' || layout !== 'NCHW') unsupported(`pooling of kind ${kind}, layout ${layout},`);
  const x = inputs[0]!;
  if (attrs.flag('global_pool', false)) return graph.reduce(kind === 'avg' ? 'mean' : kind, x, [2, 3], true, name);
  const convention = attrs.choice('pooling_convention', ['valid', 'full', 'same']);
  if (convention === 'same') unsupported("pooling with the convention 'same'");
  const kernel = attrs.pair('kernel');
  const [down, right] = attrs.pair('pad', 0);
  const counted = kind === 'sum' || attrs.flag('count_include_pad', true);
  const pooled = pool(
    graph,
    x,
    {
      kind: kind === 'max' ? 'max' : 'avg',
      kernel,
      stride: attrs.pair('stride', 1),
      padding: [down, down, right, right],
      ceil: convention === 'full' ? 'always' : 'never',
      counts: kind === 'sum' ? 'window' : counted ? 'padding' : 'pixels',
    },
    name,
  );
  return kind === 'sum' ? graph.unary('mul', pooled, { value: kernel[0] * kernel[1] }) : pooled;
}

function sliceChannel({ graph, name, attrs, inputs }: Call): Ordered[] {
  const x = inputs[0]!;
  const axis = attrs.number('axis', 1);
  const count = attrs.number('num_outputs');
  const length = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? 0;
  if (!(count >= 1) || length % count !== 0) unsupported(`splitting ${length} channels into ${count} parts`);
  const parts = graph.split(x, axis, Array<number>(count).fill(length / count), name);
  const squeezed = attrs.flag('squeeze_axis', false) && length === count;
  return squeezed ? parts.map((p) => graph.reshape(p, p.shape.toSpliced(axis, 1))) : parts;
}

/** x/sqrt(Σx² + eps); not x/max(‖x‖, eps), which is another function near 0. */
function l2Normalization({ graph, name, attrs, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const mode = attrs.choice('mode', ['instance', 'channel', 'spatial']);
  const axes = x.shape.map((_, i) => i).slice(mode === 'spatial' ? 2 : 1, mode === 'channel' ? 2 : undefined);
  const squares = graph.reduce('sumSquare', x, axes, true);
  const length = graph.unary('sqrt', graph.unary('add', squares, { value: attrs.number('eps', 1e-10) }));
  return graph.binary('div', x, length, name);
}

function softmaxOutput({ graph, name, attrs, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const channel = attrs.flag('multi_output', false) || attrs.text('mode') === 'channel';
  const last = attrs.flag('preserve_shape', false);
  if (x.shape.length !== 2 && !channel && !last) unsupported('softmax over a whole map');
  return graph.along('softmax', x, channel ? 1 : -1, {}, name);
}

function upSampling({ graph, name, attrs, inputs }: Call): Ordered {
  const kind = attrs.choice('sample_type', ['nearest', 'bilinear']);
  if (kind !== 'nearest' || inputs.length !== 1) unsupported(`upsampling of kind ${kind}, ${inputs.length} values,`);
  const scale = attrs.number('scale');
  const [, , height, width] = inputs[0]!.shape as [number, number, number, number];
  return graph.image('resize', inputs[0]!, { size: [height * scale, width * scale], mode: 'nearest' }, name);
}

/** To the height and width of the second value, or `h_w`. */
function crop({ graph, attrs, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const [height, width] = inputs[1] ? [inputs[1].shape[2]!, inputs[1].shape[3]!] : attrs.pair('h_w');
  const centred = attrs.flag('center_crop', false);
  const [down, right] = centred
    ? [Math.floor((x.shape[2]! - height) / 2), Math.floor((x.shape[3]! - width) / 2)]
    : attrs.pair('offset', 0);
  const rows = graph.along('slice', x, 2, { start: down, end: down + height });
  return graph.along('slice', rows, 3, { start: right, end: right + width });
}

function sliceAxis({ graph, name, attrs, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const axis = attrs.number('axis');
  const length = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? 0;
  const from = (n: number) => (n < 0 ? n + length : n);
  const end = attrs.text('end') === undefined ? length : from(attrs.number('end'));
  return graph.along('slice', x, axis, { start: from(attrs.number('begin', 0)), end }, name);
}

const reduction =
  (kind: string): Operator =>
  ({ graph, name, attrs, inputs }) => {
    if (attrs.flag('exclude', false)) unsupported('a reduction over all but some axes');
    return graph.reduce(kind, inputs[0]!, attrs.numbers('axis', []), attrs.flag('keepdims', false), name);
  };

function transpose({ graph, attrs, inputs }: Call): Ordered {
  const x = inputs[0]!;
  const axes = attrs.numbers('axes', []);
  const order = axes.length ? axes.map((a) => (a < 0 ? a + x.shape.length : a)) : x.shape.map((_, i) => i).toReversed();
  if (order.length !== x.shape.length || new Set(order).size !== order.length || order.some((a) => !(a in x.shape)))
    unsupported(`the order of axes (${axes}) for a value of ${x.shape.length} axes`);
  return graph.transpose(x, order);
}

function padding({ graph, name, attrs, inputs }: Call): Ordered {
  const mode = attrs.choice('mode', ['constant', 'edge', 'reflect']);
  if (mode !== 'constant') unsupported(`padding of kind ${mode}`);
  const width = attrs.numbers('pad_width');
  const pads = inputs[0]!.shape.map((_, i) => [width[2 * i] ?? 0, width[2 * i + 1] ?? 0] as const);
  return graph.pad(inputs[0]!, pads, attrs.number('constant_value', 0), name);
}

const sum: Operator = ({ graph, inputs, name }) => inputs.reduce((a, b) => graph.binary('add', a, b, name));
const clip: Operator = (call) =>
  each('clamp', call, { min: call.attrs.number('a_min'), max: call.attrs.number('a_max') });
const dropout: Operator = (call) => each('dropout', call, { rate: call.attrs.number('p', 0.5) });
const concat: Operator = ({ graph, attrs, inputs, name }) => graph.concat(inputs, attrs.number('dim', 1), name);
function softmax({ graph, attrs, inputs, name }: Call): Ordered {
  const temperature = attrs.number('temperature', 1);
  const x = temperature === 1 ? inputs[0]! : graph.unary('div', inputs[0]!, { value: temperature });
  return graph.along('softmax', x, attrs.number('axis', -1), {}, name);
}
const expandDims: Operator = ({ graph, attrs, inputs }) => {
  const { shape } = inputs[0]!;
  const axis = attrs.number('axis');
  return graph.reshape(inputs[0]!, shape.toSpliced(axis < 0 ? axis + shape.length + 1 : axis, 0, 1));
};
const rsqrt: Operator = (call) =>
  call.graph.unary('div', call.graph.unary('sqrt', call.inputs[0]!), { value: 1, reversed: true }, call.name);
const reciprocal: Operator = (call) => each('div', call, { value: 1, reversed: true });
const globalMean: Operator = (call) => {
  const size = call.attrs.numbers('output_size', [1]);
  if (size.some((n) => n !== 1)) unsupported(`adaptive pooling to ${size}`);
  return call.graph.reduce('mean', call.inputs[0]!, [2, 3], true, call.name);
};

const table: readonly (readonly [names: string, operator: Operator])[] = [
  ['Convolution Convolution_v1', convolution],
  ['BatchNorm BatchNorm_v1 CuDNNBatchNorm', batchNorm],
  ['LeakyReLU', leakyRelu],
  ['Activation', activation],
  ['FullyConnected', dense],
  ['Pooling Pooling_v1', pooling],
  ['_contrib_AdaptiveAvgPooling2D', globalMean],
  ['Flatten flatten', flat],
  ['Reshape reshape', ({ graph, attrs, inputs }) => graph.reshape(inputs[0]!, reshapeTo(inputs[0]!.shape, attrs))],
  ['Concat concat', concat],
  ['elemwise_add _add _plus _Plus broadcast_add broadcast_plus _grad_add', binary('add')],
  ['elemwise_sub _sub _minus _Minus broadcast_sub broadcast_minus', binary('sub')],
  ['elemwise_mul _mul _Mul broadcast_mul', binary('mul')],
  ['elemwise_div _div _Div broadcast_div', binary('div')],
  ['_maximum _Maximum broadcast_maximum', binary('max')],
  ['_minimum _Minimum broadcast_minimum', binary('min')],
  ['_power _Power broadcast_power', binary('pow')],
  ['add_n ElementWiseSum _sum', sum],
  ['_plus_scalar _PlusScalar', scalar('add')],
  ['_minus_scalar _MinusScalar', scalar('sub')],
  ['_rminus_scalar _RMinusScalar', scalar('sub', true)],
  ['_mul_scalar _MulScalar', scalar('mul')],
  ['_div_scalar _DivScalar', scalar('div')],
  ['_rdiv_scalar _RDivScalar', scalar('div', true)],
  ['_power_scalar _PowerScalar', scalar('pow')],
  ['_maximum_scalar _MaximumScalar', scalar('max')],
  ['_minimum_scalar _MinimumScalar', scalar('min')],
  ['relu', unary('relu')],
  ['sigmoid', unary('sigmoid')],
  ['tanh', unary('tanh')],
  ['exp', unary('exp')],
  ['log', unary('log')],
  ['sqrt', unary('sqrt')],
  ['square', unary('square')],
  ['abs', unary('abs')],
  ['negative _neg', unary('neg')],
  ['floor', unary('floor')],
  ['ceil', unary('ceil')],
  ['rsqrt', rsqrt],
  ['reciprocal', reciprocal],
  [
    'hard_sigmoid',
    (c) => each('hardSigmoid', c, { alpha: c.attrs.number('alpha', 0.2), beta: c.attrs.number('beta', 0.5) }),
  ],
  ['clip', clip],
  ['Dropout', dropout],
  ['identity _copy BlockGrad stop_gradient make_loss MakeLoss Cast cast amp_cast LinearRegressionOutput', same],
  ['LogisticRegressionOutput', unary('sigmoid')],
  ['SoftmaxOutput Softmax SoftmaxActivation', softmaxOutput],
  ['softmax', softmax],
  ['SliceChannel split', sliceChannel],
  ['slice_axis', sliceAxis],
  ['Crop', crop],
  ['transpose', transpose],
  ['expand_dims', expandDims],
  ['Pad pad', padding],
  ['UpSampling', upSampling],
  ['L2Normalization', l2Normalization],
  ['mean', reduction('mean')],
  ['sum sum_axis', reduction('sum')],
  ['max max_axis', reduction('max')],
  ['min min_axis', reduction('min')],
];

/** By name; aliases stand for themselves. */
export const mxOperators: ReadonlyMap<string, Operator> = new Map(
  table.flatMap(([names, operator]) => names.split(' ').map((name) => [name, operator] as const)),
);
/** Of these only the first value is read: the others are labels. */
export const withLabels: ReadonlySet<string> = new Set(
  'SoftmaxOutput Softmax LinearRegressionOutput LogisticRegressionOutput'.split(' '),
);
/** Auxiliary states, which old files do not list among a node's inputs, and behind how many they stand. */
export const auxiliary: ReadonlyMap<string, readonly [after: number, ...names: string[]]> = new Map(
  ['BatchNorm', 'BatchNorm_v1', 'CuDNNBatchNorm'].map((op) => [op, [3, 'moving_mean', 'moving_var']] as const),
);
