/**
 * ONNX operators on each number, and sums over axes.
 *
 * The one idea: an operator is given by what it does to numbers that are known and by the graph's operator for those that
 * are not.
 * Source: the operator definitions of the ONNX standard.
 */
import { sizeOf } from '../../core/shape.ts';
import type { Ordered } from '../../models/graph/channelsFirst.ts';
import { times } from './layers.ts';
import { type Item, isNumbers, latestOpset as latest, type OnnxNode, type OnnxOperator } from './node.ts';
import { cast, combine, type Numbers, type NumberType, reduced } from './numbers.ts';

type Unary = (x: number) => number;
type Attributes = (node: OnnxNode) => Readonly<Record<string, number | boolean>>;
const none: Attributes = () => ({});

/** One operand: `op` of the graph, `f` of known numbers. */
const unary = (
  name: string,
  op: string,
  f: Unary | undefined,
  { from = 7, attrs = none, limits = '' }: { from?: number; attrs?: Attributes; limits?: string } = {},
): OnnxOperator => ({
  name,
  opsets: [from, latest],
  limits,
  map(node) {
    const x = node.item(0);
    if (isNumbers(x) && f) return combine([x], x.type, f);
    return node.graph.unary(op, node.value(0), attrs(node), node.path);
  },
});

/** What two values make; a sum of several is taken from the left. */
function both(node: OnnxNode, op: string, f: (a: number, b: number) => number, a: Item, b: Item): Item {
  if (isNumbers(a) && isNumbers(b)) {
    // Whole numbers are divided towards zero.
    const whole = a.type === 'int' && b.type === 'int';
    if (whole && op === 'div' && b.data.includes(0)) node.fail('a divisor other than 0');
    return combine([a, b], a.type, whole ? (x, y) => Math.trunc(f(x, y)) : f);
  }
  const [x, y] = [a, b].map((item) => node.asValue(item, !node.prepares)) as [Ordered, Ordered];
  return node.graph.binary(op, x, y, node.path);
}

const binary = (name: string, op: string, f: (a: number, b: number) => number): OnnxOperator => ({
  name,
  opsets: [7, latest],
  limits: '',
  map: (node) => both(node, op, f, node.item(0), node.item(1)),
});

/** Any number of operands. */
const several = (name: string, op: string, f: (a: number, b: number) => number): OnnxOperator => ({
  name,
  opsets: [7, latest],
  limits: '',
  map(node) {
    const sum = node.all().reduce((a, b) => both(node, op, f, a, b));
    if (name !== 'Mean' || node.count === 1) return sum;
    return isNumbers(sum) ? combine([sum], sum.type, (x) => x / node.count) : times(node, sum, 1 / node.count);
  },
});

/** On known numbers only. */
const known = (
  name: string,
  type: NumberType | undefined,
  f: (...values: number[]) => number,
  from = 7,
): OnnxOperator => ({
  name,
  opsets: [from, latest],
  limits: 'of known numbers',
  map(node) {
    const xs = node.all().map((_, i) => node.numbers(i, 'an operand'));
    return combine(xs, type ?? (xs[xs.length - 1] as Numbers).type, f);
  },
});

function pow(node: OnnxNode): Item {
  const [x, y] = [node.item(0), node.item(1)];
  if (!isNumbers(x) && isNumbers(y) && y.data.length === 1 && y.shape.length <= x.shape.length) {
    const { graph, path } = node;
    const exponent = y.data[0]!;
    // These hold below 0 too, where a power by logarithms does not.
    if (exponent === 1) return x;
    if (exponent === 2) return graph.unary('square', x, {}, path);
    if (exponent === 3) return graph.binary('mul', x, graph.unary('square', x, {}, path), path);
    if (exponent === 0.5) return graph.unary('sqrt', x, {}, path);
    if (exponent === -1) return graph.unary('div', x, { value: 1, reversed: true }, path);
  }
  // The exponent may be of another type.
  return both(node, 'pow', Math.pow, x, isNumbers(y) && !isNumbers(x) ? cast(y, 'float') : y);
}

const greatest = 3.4028234663852886e38;

function clip(node: OnnxNode): Item {
  const old = node.opset < 11;
  const bound = (i: number, name: string, fallback: number) => {
    const value = old ? node.float(name, fallback) : node.has(i) ? node.numbers(i, 'a bound').data[0] : fallback;
    if (value === undefined || Number.isNaN(value)) return node.fail(`a number as ${name}`);
    return Math.min(greatest, Math.max(-greatest, value));
  };
  const [min, max] = [bound(1, 'min', -greatest), bound(2, 'max', greatest)];
  const x = node.item(0);
  if (isNumbers(x)) return combine([x], x.type, (v) => Math.min(Math.max(v, min), max));
  const { graph, path } = node;
  if (min === 0 && max === 6) return graph.unary('relu6', x, {}, path);
  if (min === 0 && max === greatest) return graph.unary('relu', x, {}, path);
  return graph.unary('clamp', x, { min, max }, path);
}

/** The slope broadcasts to x, aligned at the last axis; one slope a channel is what face networks have. */
function prelu(node: OnnxNode): Ordered {
  const x = node.value(0);
  const slope = node.host(1, 'a slope');
  const rank = x.shape.length;
  const channels = x.shape[1];
  const real = slope.shape.filter((d) => d !== 1);
  const aligned = [...Array<number>(Math.max(0, rank - slope.shape.length)).fill(1), ...slope.shape];
  // Converters also write one slope a channel as a plain list, which the standard would align at the last axis.
  const listed = slope.shape.length === 1 && real[0] === channels && x.shape[rank - 1] !== channels;
  const perChannel = rank > 1 && (real.length === 0 || listed || (real.length === 1 && aligned[1] === channels));
  const path = node.path;
  if (perChannel) return node.graph.prelu(x, { ...slope, shape: [sizeOf(slope.shape)] }, path);
  return node.graph.prelu(x, { ...slope, shape: aligned }, path);
}

function softmax(node: OnnxNode): Item {
  const { graph, path } = node;
  const op = node.type === 'Softmax' ? 'softmax' : 'logSoftmax';
  const x = node.value(0);
  const rank = x.shape.length;
  const axis = node.axis(node.int('axis', node.opset < 13 ? 1 : -1), rank);
  // Before version 13 all axes from this one on were one.
  if (node.opset >= 13 || sizeOf(x.shape.slice(axis + 1)) === 1) return graph.along(op, x, axis, {}, path);
  const flat = graph.reshape(x, [sizeOf(x.shape.slice(0, axis)), sizeOf(x.shape.slice(axis))], path);
  return graph.reshape(graph.along(op, flat, 1, {}, path), x.shape, path);
}

const kinds: Readonly<Record<string, { kind: string; start: number; f?: (a: number, b: number) => number }>> = {
  ReduceMean: { kind: 'mean', start: 0 },
  ReduceSum: { kind: 'sum', start: 0, f: (a, b) => a + b },
  ReduceMax: { kind: 'max', start: Number.NEGATIVE_INFINITY, f: Math.max },
  ReduceMin: { kind: 'min', start: Number.POSITIVE_INFINITY, f: Math.min },
  ReduceProd: { kind: 'prod', start: 1, f: (a, b) => a * b },
  ReduceL1: { kind: 'l1', start: 0 },
  ReduceL2: { kind: 'l2', start: 0 },
  ReduceSumSquare: { kind: 'sumSquare', start: 0 },
  ReduceLogSumExp: { kind: 'logSumExp', start: 0 },
  ReduceLogSum: { kind: 'sum', start: 0 },
};

function reduce(node: OnnxNode): Item {
  const { kind, start, f } = kinds[node.type]!;
  const x = node.item(0);
  const rank = x.shape.length;
  const named = node.listOf('axes', 1)?.map((a) => node.axis(a, rank)) ?? [];
  if (named.length === 0 && node.int('noop_with_empty_axes', 0) !== 0) return x;
  const axes = named.length > 0 ? named : x.shape.map((_, i) => i);
  const keep = node.int('keepdims', 1) !== 0;
  if (isNumbers(x) && f) return reduced(x, axes, keep, start, f);
  if (kind === 'prod') return node.refuse('a product of values of the graph');
  if (rank === 0) return node.refuse('a single number');
  const y = node.graph.reduce(kind, node.value(0), axes, keep, node.path);
  return node.type === 'ReduceLogSum' ? node.graph.unary('log', y, {}, node.path) : y;
}

/** x·Φ(x), Φ by erf or by its approximation with tanh. */
function gelu(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const x = node.value(0);
  const approximate = node.text('approximate', 'none');
  if (approximate !== 'none' && approximate !== 'tanh') return node.refuse(`approximate '${approximate}'`);
  const inner = () => {
    const cube = graph.binary('mul', x, graph.unary('square', x, {}, path), path);
    const sum = graph.binary('add', x, times(node, cube, 0.044715), path);
    return graph.unary('tanh', times(node, sum, Math.sqrt(2 / Math.PI)), {}, path);
  };
  const bent = approximate === 'tanh' ? inner() : graph.unary('erf', times(node, x, Math.SQRT1_2), {}, path);
  return graph.binary('mul', x, times(node, graph.unary('add', bent, { value: 1 }, path), 0.5), path);
}

/** x·tanh(log(1 + exp x)) */
function mish(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const x = node.value(0);
  return graph.binary('mul', x, graph.unary('tanh', graph.unary('softplus', x, {}, path), {}, path), path);
}

/** x/(1 + |x|) */
function softsign(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const x = node.value(0);
  const length = graph.unary('add', graph.unary('abs', x, {}, path), { value: 1 }, path);
  return graph.binary('div', x, length, path);
}

/** The remainder, with the sign of the divisor, or with `fmod` of the dividend. */
function mod(node: OnnxNode): Numbers {
  const [a, b] = [0, 1].map((i) => node.numbers(i, 'an operand')) as [Numbers, Numbers];
  if (a.type === 'int' && b.data.includes(0)) node.fail('a divisor other than 0');
  const fmod = node.int('fmod', 0) !== 0;
  return combine([a, b], a.type, (x, y) => (fmod ? x % y : x - y * Math.floor(x / y)));
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const even = (x: number) => {
  const low = Math.floor(x);
  return x - low === 0.5 ? 2 * Math.round(low / 2 + (low % 2 === 0 ? 0 : 0.5)) : Math.round(x);
};

export const arithmeticOperators: readonly OnnxOperator[] = [
  binary('Add', 'add', (a, b) => a + b),
  binary('Sub', 'sub', (a, b) => a - b),
  binary('Mul', 'mul', (a, b) => a * b),
  binary('Div', 'div', (a, b) => a / b),
  { name: 'Pow', opsets: [7, latest], limits: 'of a negative base only to 1, 2, 3 and −1', map: pow },
  several('Min', 'min', Math.min),
  several('Max', 'max', Math.max),
  several('Sum', 'add', (a, b) => a + b),
  several('Mean', 'add', (a, b) => a + b),
  unary('Sqrt', 'sqrt', Math.sqrt),
  unary('Exp', 'exp', Math.exp),
  unary('Log', 'log', Math.log),
  unary('Abs', 'abs', Math.abs),
  unary('Neg', 'neg', (x) => -x),
  unary('Reciprocal', 'div', undefined, { attrs: () => ({ value: 1, reversed: true }) }),
  unary('Floor', 'floor', Math.floor),
  unary('Ceil', 'ceil', Math.ceil),
  unary('Round', 'round', even, { from: 11 }),
  unary('Sin', 'sin', Math.sin),
  unary('Cos', 'cos', Math.cos),
  unary('Relu', 'relu', (x) => Math.max(x, 0)),
  unary('LeakyRelu', 'leakyRelu', undefined, { attrs: (n) => ({ slope: n.float('alpha', 0.01) }) }),
  unary('Elu', 'elu', undefined, { attrs: (n) => ({ alpha: n.float('alpha', 1) }) }),
  unary('Selu', 'selu', undefined, {
    attrs: (n) => ({
      alpha: n.float('alpha', 1.6732631921768188),
      gamma: n.float('gamma', 1.0507010221481323),
    }),
  }),
  unary('Sigmoid', 'sigmoid', (x) => 1 / (1 + Math.exp(-x))),
  unary('HardSigmoid', 'hardSigmoid', undefined, {
    attrs: (n) => ({ alpha: n.float('alpha', 0.2), beta: n.float('beta', 0.5) }),
  }),
  unary('HardSwish', 'hardSwish', undefined, { from: 14 }),
  unary('Tanh', 'tanh', Math.tanh),
  unary('Softplus', 'softplus', softplus),
  unary('Erf', 'erf', undefined, { from: 9 }),
  { name: 'Gelu', opsets: [20, latest], limits: '', map: gelu },
  { name: 'Mish', opsets: [18, latest], limits: '', map: mish },
  { name: 'Softsign', opsets: [7, latest], limits: '', map: softsign },
  { name: 'Clip', opsets: [7, latest], limits: 'bounds must be known', map: clip },
  { name: 'PRelu', opsets: [7, latest], limits: 'the slope must be known', map: prelu },
  { name: 'Softmax', opsets: [7, latest], limits: '', map: softmax },
  { name: 'LogSoftmax', opsets: [7, latest], limits: '', map: softmax },
  ...Object.keys(kinds).map((name) => ({
    name,
    opsets: [7, latest] as const,
    limits: name === 'ReduceProd' ? 'of known numbers' : 'axes must be known',
    map: reduce,
  })),
  known('Equal', 'bool', (a, b) => Number(a === b)),
  known('Less', 'bool', (a, b) => Number(a! < b!)),
  known('LessOrEqual', 'bool', (a, b) => Number(a! <= b!), 12),
  known('Greater', 'bool', (a, b) => Number(a! > b!)),
  known('GreaterOrEqual', 'bool', (a, b) => Number(a! >= b!), 12),
  known('Not', 'bool', (a) => Number(!a)),
  known('And', 'bool', (a, b) => Number(!!a && !!b)),
  known('Or', 'bool', (a, b) => Number(!!a || !!b)),
  known('Where', undefined, (c, a, b) => (c ? a! : b!), 9),
  { name: 'Mod', opsets: [10, latest], limits: 'of known numbers', map: mod },
];
