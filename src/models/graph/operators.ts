/**
 * The operators that graphs are made of: their attributes and what they do.
 *
 * The one idea: one table. An operator with weights builds a module (so freezing, decay rules, summaries and checkpoints see
 * it as they see any network's layers); the others are functions of tensors. Attributes are options as everywhere
 * (core/options.ts): the same record checks a file's attributes and fills in defaults.
 */
import { flag, number, numbers, type OptionSpec, type OptionSpecs, oneOf, whole } from '../../core/options.ts';
import { type Shape, sizeOf } from '../../core/shape.ts';
import { type Tensor, tensor } from '../../core/tensor.ts';
import * as E from '../../expr/nodes.ts';
import { constantInit } from '../../nn/init.ts';
import { BatchNorm, Conv2d, Dropout, Linear, PReLU } from '../../nn/layers.ts';
import { Module, Parameter, StateBuffer } from '../../nn/module.ts';
import { gather } from '../../ops/gather.ts';
import { matmul } from '../../ops/matmul.ts';
import { concat, flip, pad, reshape, slice, split, transpose } from '../../ops/movement.ts';
import * as P from '../../ops/pointwise.ts';
import { avgPool, maxPool } from '../../ops/pool.ts';
import { logSumExp, max, mean, min, sum } from '../../ops/reduce.ts';
import { resize } from '../../ops/resize.ts';
import { l2Normalize, softmax } from '../../ops/softmax.ts';

// biome-ignore lint/suspicious/noExplicitAny: an operator's attributes are those of its own record
type Attrs = any;

export interface Operator {
  readonly name: string;
  /** y in terms of x, or what it is. */
  readonly means: string;
  /** Number of values that it takes; `[least, most]` where it varies. */
  readonly takes: readonly [number, number];
  readonly attrs: OptionSpecs;
  /** Its module, where it has variables or behaves otherwise in training. Called with the first input. */
  module?(attrs: Attrs): Module;
  /** What it gives; for operators without a module. */
  apply?(inputs: readonly Tensor[], attrs: Attrs): Tensor | readonly Tensor[];
}

/** A tensor as it is in the file: trained, or not. */
export class Given extends Module {
  readonly value: Parameter | StateBuffer;
  constructor(shape: Shape, trained: boolean) {
    super();
    this.value = trained ? new Parameter(shape, constantInit(0)) : new StateBuffer(shape);
  }
  protected forward(): Tensor {
    return this.value.tensor;
  }
}

const any: OptionSpec<number[]> = numbers({}, [], 'sizes, one an axis') as OptionSpec<number[]>;
const list = (means: string, fallback: readonly number[] = []) => numbers({}, fallback, means);
const axis = number({}, -1, 'axis; counted from the last where negative');
const window = {
  kernel: list('[down, right]', [1, 1]),
  stride: list('[down, right]', [1, 1]),
  padding: list('[top, bottom, left, right]', [0, 0, 0, 0]),
};
const keep = flag(false, 'the reduced axes stay, of size 1');

/** Attributes that are a list of lists of numbers. */
const pads: OptionSpec<readonly (readonly [number, number])[]> = {
  expects: 'pairs [before, after], one an axis',
  means: 'numbers added before and after each axis',
  fallback: [],
  accepts: (x) =>
    Array.isArray(x) &&
    x.every((p) => Array.isArray(p) && p.length === 2 && p.every((n) => Number.isSafeInteger(n) && n >= 0)),
};

const unary = (
  name: string,
  means: string,
  f: (x: Tensor, attrs: Attrs) => Tensor,
  attrs: OptionSpecs = {},
): Operator => ({
  name,
  means,
  takes: [1, 1],
  attrs,
  apply: ([x], a) => f(x!, a),
});
const scalar: OptionSpec<number | undefined> = {
  ...number({}, 0, 'second operand, where it is a number'),
  fallback: undefined,
  accepts: (x) => x === undefined || (typeof x === 'number' && Number.isFinite(x)),
};
/** Two values, or one and the number `value`; `reversed` makes the number the first operand. */
const binary = (name: string, means: string, f: (a: P.Operand, b: P.Operand) => Tensor): Operator => ({
  name,
  means,
  takes: [1, 2],
  attrs: { value: scalar, reversed: flag(false, 'the number is the first operand') },
  apply: ([a, b], { value, reversed }) => (reversed ? f(value, a!) : f(a!, b ?? value)),
});
const expression = (label: string, f: (x: E.Expr) => E.Expr) => (x: Tensor) => P.elementwise(label, f(E.input(0)), [x]);

/** Of Σ c[i]·x^i. */
const polynomial = (x: E.Expr, c: readonly number[]): E.Expr =>
  c.reduceRight<E.Expr>((sum, k) => E.add(E.mul(sum, x), k), E.constant(0));
/** Abramowitz and Stegun 1964, eq. 7.1.26; below 1/2 the power series, whose relative error does not grow towards 0. */
function erf(x: E.Expr): E.Expr {
  const a = E.abs(x);
  const t = E.div(1, E.add(E.mul(a, 0.3275911), 1));
  const tail = E.mul(t, polynomial(t, [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429]));
  const large = E.sub(1, E.mul(tail, E.exp(E.neg(E.mul(a, a)))));
  const series = [1, -1 / 3, 1 / 10, -1 / 42, 1 / 216, -1 / 1320, 1 / 9360].map((c) => (2 * c) / Math.sqrt(Math.PI));
  const small = E.mul(x, polynomial(E.mul(x, x), series));
  return E.where(E.lt(a, 0.5), small, E.where(E.lt(x, 0), E.neg(large), large));
}

const signs = (n: number, rank: number) => (n < 0 ? n + rank : n);
const axesOf = (x: Tensor, axes: readonly number[]) =>
  axes.length ? axes.map((a) => signs(a, x.rank)) : x.shape.map((_, i) => i);

const reducers: Record<string, (x: Tensor, axes: number[], keep: boolean) => Tensor> = {
  mean,
  sum,
  max,
  min,
  l1: (x, axes, k) => sum(P.abs(x), axes, k),
  l2: (x, axes, k) => P.sqrt(sum(P.square(x), axes, k)),
  sumSquare: (x, axes, k) => sum(P.square(x), axes, k),
  logSumExp,
};

/** The shape that `reshape` means: 0 copies an axis, -1 is what is left. The batch is axis 0. */
function targetShape(x: Shape, shape: readonly number[]): number[] {
  const out = shape.map((d, i) => (d === 0 ? (x[i] ?? 0) : d));
  const at = out.indexOf(-1);
  if (at >= 0) out[at] = sizeOf(x) / out.reduce((n, d, i) => (i === at ? n : n * d), 1);
  return out;
}

/** Moves an axis to the end, applies, and moves it back. */
function alongLast(x: Tensor, at: number, f: (x: Tensor) => Tensor): Tensor {
  const i = signs(at, x.rank);
  if (i === x.rank - 1) return f(x);
  const axes = x.shape.map((_, k) => k);
  [axes[i], axes[x.rank - 1]] = [axes[x.rank - 1]!, axes[i]!];
  return transpose(f(transpose(x, axes)), axes);
}

const table: readonly Operator[] = [
  {
    name: 'conv2d',
    means: "convolution [N, H, W, inputs] → [N, H', W', outputs], weight [kh, kw, inputs/groups, outputs]",
    takes: [1, 1],
    attrs: {
      inputs: whole({ from: 1 }, 1, 'input channels'),
      outputs: whole({ from: 1 }, 1, 'output channels'),
      ...window,
      dilation: list('[down, right]', [1, 1]),
      groups: whole({ from: 1 }, 1, 'groups of channels'),
      bias: flag(false, 'a number added per output channel'),
    },
    module: ({ inputs, outputs, ...options }) => new Conv2d(inputs, outputs, options),
  },
  {
    name: 'linear',
    means: 'x·weight + bias over the last axis, weight [inputs, outputs]',
    takes: [1, 1],
    attrs: {
      inputs: whole({ from: 1 }, 1, 'length of the last axis'),
      outputs: whole({ from: 1 }, 1, 'length of the result'),
      bias: flag(true, 'a number added per output'),
    },
    module: ({ inputs, outputs, bias }) => new Linear(inputs, outputs, { bias }),
  },
  {
    name: 'batchNorm',
    means: '(x − runningMean)/sqrt(runningVar + eps)·weight + bias over the last axis; in training by the batch',
    takes: [1, 1],
    attrs: {
      channels: whole({ from: 1 }, 1, 'length of the last axis'),
      eps: number({ from: 0 }, 1e-5, 'added to the variance'),
      momentum: number({ from: 0, to: 1 }, 0.1, "the batch's share in the running statistics"),
      scale: flag(true, 'there is a weight; without one it is 1'),
    },
    module: ({ channels, ...options }) => new BatchNorm(channels, options),
  },
  {
    name: 'prelu',
    means: 'x > 0 ? x : weight·x, a slope per channel of the last axis',
    takes: [1, 1],
    attrs: { channels: whole({ from: 1 }, 1, 'length of the last axis') },
    module: ({ channels }) => new PReLU(channels),
  },
  {
    name: 'dropout',
    means: 'in training a share of the numbers set to 0, the others divided by the rest; else x',
    takes: [1, 1],
    attrs: { rate: number({ from: 0, below: 1 }, 0.5, 'share set to 0') },
    module: ({ rate }) => new Dropout(rate),
  },
  {
    name: 'parameter',
    means: 'a tensor of the file that training changes',
    takes: [0, 0],
    attrs: { shape: any },
    module: ({ shape }) => new Given(shape, true),
  },
  {
    name: 'constant',
    means: 'a tensor of the file that stays as it is',
    takes: [0, 0],
    attrs: { shape: any },
    module: ({ shape }) => new Given(shape, false),
  },
  unary('relu', 'max(x, 0)', P.relu),
  unary('relu6', 'min(max(x, 0), 6)', P.relu6),
  unary('leakyRelu', 'x > 0 ? x : slope·x', (x, { slope }) => P.leakyRelu(x, slope), {
    slope: number({}, 0.01, 'slope below 0'),
  }),
  unary('sigmoid', '1/(1 + exp(−x))', P.sigmoid),
  unary(
    'hardSigmoid',
    'min(max(alpha·x + beta, 0), 1)',
    (x, { alpha, beta }) => expression('hardSigmoid', (e) => E.min(E.max(E.add(E.mul(e, alpha), beta), 0), 1))(x),
    {
      alpha: number({}, 1 / 6, 'slope'),
      beta: number({}, 0.5, 'value at 0'),
    },
  ),
  unary('hardSwish', 'x·min(max(x/6 + 1/2, 0), 1)', P.hardSwish),
  unary(
    'swish',
    'x/(1 + exp(−x))',
    expression('swish', (x) => E.mul(x, E.sigmoid(x))),
  ),
  unary(
    'elu',
    'x > 0 ? x : alpha·(exp(x) − 1)',
    (x, { alpha }) => expression('elu', (e) => E.where(E.gt(e, 0), e, E.mul(E.sub(E.exp(E.min(e, 0)), 1), alpha)))(x),
    {
      alpha: number({}, 1, 'minus the limit below'),
    },
  ),
  unary(
    'selu',
    'gamma·(x > 0 ? x : alpha·(exp(x) − 1))',
    (x, { alpha, gamma }) =>
      expression('selu', (e) => E.mul(E.where(E.gt(e, 0), e, E.mul(E.sub(E.exp(E.min(e, 0)), 1), alpha)), gamma))(x),
    {
      alpha: number({}, 1.6732632, 'minus the limit below, before gamma'),
      gamma: number({}, 1.050701, 'factor'),
    },
  ),
  unary(
    'softplus',
    'log(1 + exp(x))',
    expression('softplus', (x) => E.add(E.max(x, 0), E.log(E.add(E.exp(E.neg(E.abs(x))), 1)))),
  ),
  unary('tanh', 'tanh x', P.tanh),
  unary('erf', 'erf x, to 1.5e-7', expression('erf', erf)),
  unary('exp', 'exp x', P.exp),
  unary('log', 'log x', P.log),
  unary('sqrt', 'sqrt x', P.sqrt),
  unary('square', 'x²', P.square),
  unary('abs', '|x|', P.abs),
  unary('neg', '−x', P.neg),
  unary('floor', 'largest whole number not above x', P.floor),
  unary('ceil', 'smallest whole number not below x', P.ceil),
  unary('round', 'nearest whole number, halves to even', P.round),
  unary('sin', 'sin x', P.sin),
  unary('cos', 'cos x', P.cos),
  unary('clamp', 'min(max(x, min), max)', (x, { min: low, max: high }) => P.clamp(x, low, high), {
    min: number({}, -3.4028234663852886e38, 'least value'),
    max: number({}, 3.4028234663852886e38, 'greatest value'),
  }),
  binary('add', 'a + b', P.add),
  binary('sub', 'a − b', P.sub),
  binary('mul', 'a·b', P.mul),
  binary('div', 'a/b', P.div),
  binary('pow', 'a to the power b', P.pow),
  binary('min', 'the smaller', P.minimum),
  binary('max', 'the larger', P.maximum),
  {
    name: 'matmul',
    means: 'matrix product over the last two axes',
    takes: [2, 2],
    attrs: { transA: flag(false, 'the first transposed'), transB: flag(false, 'the second transposed') },
    apply: ([a, b], attrs) => matmul(a!, b!, attrs),
  },
  unary('maxPool', 'largest of each window; padding takes no part', (x, a) => maxPool(x, a), window),
  unary('avgPool', 'mean of each window', (x, a) => avgPool(x, a), {
    ...window,
    countIncludePad: flag(true, 'padding counts as zeros'),
  }),
  unary(
    'reduce',
    'over axes (none named: all)',
    (x, { kind, axes, keep: k }) => reducers[kind]!(x, axesOf(x, axes), k),
    {
      kind: oneOf(Object.keys(reducers) as [string, ...string[]], 'mean', 'what is made of them'),
      axes: list('axes, counted from the last where negative'),
      keep,
    },
  ),
  unary('softmax', 'exp(x)/Σ exp(x) along an axis', (x, a) => alongLast(x, a.axis, softmax), { axis }),
  unary(
    'logSoftmax',
    'x − log Σ exp(x) along an axis',
    (x, a) => alongLast(x, a.axis, (y) => P.sub(y, logSumExp(y, -1, true))),
    {
      axis,
    },
  ),
  unary('l2Normalize', 'x/max(‖x‖, eps) along an axis', (x, a) => alongLast(x, a.axis, (y) => l2Normalize(y, a.eps)), {
    axis,
    eps: number({ from: 0 }, 1e-12, 'least length'),
  }),
  unary('reshape', 'the same numbers in another shape', (x, { shape }) => reshape(x, targetShape(x.shape, shape)), {
    shape: list('sizes; 0 copies the axis at its place (axis 0 is the batch), -1 is the rest'),
  }),
  unary('transpose', 'axes in another order', (x, { axes }) => transpose(x, axes), {
    axes: list('for each axis the old one'),
  }),
  unary(
    'broadcastTo',
    'repeated along axes of size 1',
    (x, { shape }) =>
      P.broadcastTo(
        x,
        shape.map((d: number, i: number) => (d === 0 ? x.shape[i - shape.length + x.rank]! : d)),
      ),
    {
      shape: list('sizes; 0 copies the axis'),
    },
  ),
  {
    name: 'concat',
    means: 'joined along an axis',
    takes: [1, Number.POSITIVE_INFINITY],
    attrs: { axis },
    apply: (xs, a) => concat(xs, a.axis),
  },
  unary('slice', 'from start to end along an axis', (x, a) => slice(x, signs(a.axis, x.rank), a.start, a.end, a.step), {
    axis,
    start: number({}, 0, 'first index'),
    end: {
      ...number({}, 0, 'index after the last; left out: to the end'),
      fallback: undefined,
      accepts: scalar.accepts,
    },
    step: number({}, 1, 'of the index'),
  }),
  {
    name: 'split',
    means: 'parts along an axis',
    takes: [1, 1],
    attrs: { axis, sizes: list('sizes of the parts') },
    apply([x], a) {
      const at = signs(a.axis, x!.rank);
      if (at === 0) return split(x!, a.sizes);
      let from = 0;
      return (a.sizes as number[]).map((n) => {
        from += n;
        return slice(x!, at, from - n, from);
      });
    },
  },
  unary('pad', 'surrounded by a value', (x, a) => pad(x, a.pads, a.value), {
    pads,
    value: number({}, 0, 'value around'),
  }),
  unary(
    'gather',
    'the places named by indices, along an axis',
    (x, { axis: at, indices }) => gather(x, tensor(Int32Array.from(indices)), signs(at, x.rank)),
    {
      axis,
      indices: list('places, counted from 0'),
    },
  ),
  unary('flip', 'reversed along axes', (x, { axes }) => flip(x, axesOf(x, axes)), { axes: list('axes') }),
  unary(
    'resize',
    'images in another size',
    (x, { size, scale, mode, alignCorners }) =>
      resize(x, size.length ? size : [Math.floor(x.shape[1]! * scale[0]), Math.floor(x.shape[2]! * scale[1])], {
        mode,
        alignCorners,
      }),
    {
      size: list('[height, width]; empty: by scale'),
      scale: list('[down, right]', [1, 1]),
      mode: oneOf(['nearest', 'bilinear'], 'bilinear', 'how pixels between are found'),
      alignCorners: flag(false, 'the corners of both images meet'),
    },
  ),
];

/** Every operator by name. */
export const operators: ReadonlyMap<string, Operator> = new Map(table.map((o) => [o.name, o]));
