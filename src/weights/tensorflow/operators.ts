/**
 * The operators of TensorFlow's graphs in terms of this engine's: arithmetic, and the table of all.
 *
 * The one idea: one record an operator; what is not in the table is named to the user.
 * Source: tensorflow/core/ops/{nn_ops,math_ops,array_ops,control_flow_ops}.cc.
 */
import type { Value } from '../../models/graph/builder.ts';
import { single } from './folding.ts';
import { batchNorm, convolution, matMul, pool, slopes } from './layerOperators.ts';
import {
  concat,
  expandDims,
  pack,
  pad,
  reshape,
  resize,
  shapeOf,
  slice,
  split,
  splitV,
  squeeze,
  stridedSlice,
  transpose,
  unpack,
} from './shapeOperators.ts';
import { constant } from './wire.ts';
import {
  asHost,
  dead,
  flagOf,
  type Handler,
  isValue,
  known,
  numberOf,
  spatial,
  unsupported,
  value,
  type Work,
} from './work.ts';

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

const rsqrt: Handler = (work) =>
  work.builder.apply(
    'div',
    [work.builder.apply('sqrt', [value(work)], {}, work.node.name)],
    { value: 1, reversed: true },
    work.node.name,
  );

const squaredDifference: Handler = (work) =>
  work.builder.apply('square', [binary('sub')(work) as Value], {}, work.node.name);

/** Division by known numbers, none of them 0: what is 0 for a divisor of 0 is no division here. */
const divNoNan: Handler = (work) =>
  known(work, 1, 'divisor').data.includes(0) ? unsupported('a divisor is 0') : binary('div')(work);

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
  ['DivNoNan', divNoNan],
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
