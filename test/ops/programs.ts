/**
 * Random graphs for fuzzing: a program is a list of numbers, each step an op on earlier values.
 *
 * `integer` programs hold small whole numbers at every step, so every device and every order of summation must give the
 * same bits. `smooth` programs are differentiable everywhere with values of moderate size.
 */
import fc from 'fast-check';
import { broadcastShapes } from '../../src/core/shape.ts';
import { type Tensor, tensor } from '../../src/core/tensor.ts';
import * as ops from '../../src/ops/index.ts';

export interface Step {
  readonly op: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}
export const steps = (maxLength: number) =>
  fc.array(fc.record({ op: fc.nat(999), a: fc.nat(99), b: fc.nat(99), c: fc.nat(99) }), { minLength: 1, maxLength });

/** Shapes of the leaves; the last one spans several chunks of work. */
export const leafShapes: readonly (readonly number[])[] = [[], [7], [17], [3, 17], [5, 1], [2, 3, 17], [33, 40, 17]];

type Rule = (x: Tensor, y: Tensor, s: Step) => Tensor;
const limit = (x: Tensor) => ops.clamp(x, -64, 64);
const largest = 60_000;

/** An operand that broadcasts with x: y itself, or its largest element. */
const fitting = (x: Tensor, y: Tensor): Tensor => {
  const shape = broadcastShapes([x.shape, y.shape]);
  return shape && shape.reduce((p, n) => p * n, 1) <= largest ? y : ops.max(y);
};
const axesOf = (x: Tensor, c: number): number[] => {
  const some = x.shape.map((_, i) => i).filter((i) => (c >> i) & 1);
  return some.length ? some : x.shape.map((_, i) => i);
};
const permuted = (x: Tensor, c: number): Tensor => {
  const axes = x.shape.map((_, i) => i);
  for (let i = axes.length - 1; i > 0; i--) {
    const j = (c + 3 * i) % (i + 1);
    [axes[i], axes[j]] = [axes[j]!, axes[i]!];
  }
  return ops.transpose(x, axes);
};
const sliced = (x: Tensor, { b, c }: Step): Tensor => {
  if (x.rank === 0) return x;
  const axis = c % x.rank;
  const n = x.shape[axis]!;
  const start = b % n;
  return ops.slice(x, axis, start, start + 1 + ((b + c) % (n - start)), 1 + (c % 3 === 0 ? 1 : 0));
};
const reshaped = (x: Tensor, c: number): Tensor => {
  if (x.rank < 2) return ops.reshape(x, c % 2 ? [1, x.size] : [x.size, 1]);
  return c % 3 === 0
    ? ops.reshape(x, [-1])
    : c % 3 === 1
      ? ops.reshape(x, [x.shape[0]! * x.shape[1]!, ...x.shape.slice(2)])
      : ops.reshape(x, [...x.shape.slice(0, -1), 1, x.shape[x.rank - 1]!]);
};
const joined = (x: Tensor, y: Tensor, c: number): Tensor => {
  if (x.rank === 0 || 2 * x.size > largest) return x;
  const other = y.rank === x.rank && y.shape.every((d, i) => d === x.shape[i]) ? y : ops.neg(x);
  return ops.concat([x, other, x], c % x.rank);
};
const padded = (x: Tensor, { b, c }: Step): Tensor =>
  x.rank === 0 || x.size > largest / 2
    ? x
    : ops.pad(
        x,
        x.shape.map((_, i): [number, number] => (i === c % x.rank ? [b % 3, (b + c) % 4] : [0, 0])),
        b % 2,
      );
const product = (x: Tensor, y: Tensor, { b, c }: Step): Tensor => {
  const m = x.rank === 2 ? x : ops.reshape(x, x.rank ? [-1, x.shape[x.rank - 1]!] : [1, 1]);
  if (m.size > 4000) return x;
  if (y.rank === 2 && y.size < 4000) {
    if (m.shape[1] === y.shape[0]) return ops.matmul(m, y);
    if (m.shape[1] === y.shape[1]) return ops.matmul(m, y, { transB: true });
    if (m.shape[0] === y.shape[0]) return ops.matmul(m, y, { transA: true });
  }
  return (b + c) % 2 ? ops.matmul(m, m, { transB: true }) : ops.matmul(m, m, { transA: true });
};
const rows = (x: Tensor, { b, c }: Step): Tensor => {
  if (x.rank === 0) return x;
  const axis = c % x.rank;
  const n = x.shape[axis]!;
  return ops.gather(x, tensor(Int32Array.from({ length: 1 + (b % 4) }, (_, i) => (c + i * b) % n)), axis);
};
const flipped = (x: Tensor, c: number): Tensor => (x.rank ? ops.flip(x, axesOf(x, c)) : x);
const halves = (x: Tensor, { b, c }: Step): Tensor => {
  const n = x.shape[0] ?? 0;
  if (n < 2) return x;
  const k = 1 + (b % (n - 1));
  return ops.split(x, [k, n - k])[c % 2]!;
};

const movement: readonly Rule[] = [
  (x, _, { c }) => permuted(x, c),
  (x, _, s) => sliced(x, s),
  (x, _, { c }) => reshaped(x, c),
  (x, y, { c }) => joined(x, y, c),
  (x, _, s) => padded(x, s),
  (x, _, s) => rows(x, s),
  (x, _, { c }) => flipped(x, c),
  (x, _, s) => halves(x, s),
  (x) => ops.stopGradient(x),
];

/** Every rule keeps whole numbers whole and small enough for f32. */
const integerRules: readonly Rule[] = [
  (x, y, { c }) => (c % 3 ? ops.add(x, fitting(x, y)) : limit(ops.add(x, fitting(x, y)))),
  (x, y) => limit(ops.sub(x, fitting(x, y))),
  (x, y) => limit(ops.mul(limit(x), limit(fitting(x, y)))),
  (x, y) => ops.maximum(x, fitting(x, y)),
  (x, y) => ops.minimum(fitting(x, y), x),
  (x) => ops.relu(x),
  (x) => ops.neg(x),
  (x) => ops.abs(x),
  (x) => ops.sign(x),
  (x) => limit(ops.square(limit(x))),
  (x, y) => ops.prelu(limit(x), limit(fitting(x, y))),
  (x, y) => ops.where(ops.greater(x, fitting(x, y)), x, ops.neg(x)),
  (x, y) => ops.cast(ops.lessEqual(x, fitting(x, y)), 'f32'),
  (x, y) => ops.where(ops.equal(x, fitting(x, y)), 3, x) as Tensor,
  (x) => ops.cast(ops.cast(x, 'i32'), 'f32'),
  (x) => ops.cast(ops.cast(limit(ops.abs(x)), 'u8'), 'f32'),
  (x, _, { b, c }) => limit(ops.sum(limit(x), axesOf(x, c), b % 2 === 0)),
  (x, _, { b, c }) => ops.max(x, axesOf(x, c), b % 2 === 0),
  (x, _, { b, c }) => ops.min(x, axesOf(x, c), b % 2 === 0),
  (x, y, { c }) => limit(ops.sum(ops.mul(limit(x), limit(fitting(x, y))), axesOf(fitting(x, y), c))),
  (x, y, s) => limit(ops.relu(product(limit(x), limit(y), s))),
  (x, y, s) => limit(product(limit(x), limit(y), s)),
  (x, _, { c }) => (x.rank ? ops.cast(ops.argMax(x, c % x.rank), 'f32') : x),
  (x, _, { c }) => (x.rank ? ops.topK(x, 1 + (c % x.shape[x.rank - 1]!)).values : x),
  ...movement,
];

/** Over a single number softmax and l2Normalize are constant: their gradient is rounding error and nothing else. */
const several = (x: Tensor) => (x.shape.at(-1) ?? 1) > 1;

/** Every rule is smooth and keeps values of moderate size. */
const smoothRules: readonly Rule[] = [
  (x, y) => ops.mul(ops.add(x, fitting(x, y)), 0.5),
  (x, y) => ops.sub(x, ops.mul(fitting(x, y), 0.25)),
  (x, y) => ops.tanh(ops.mul(x, fitting(x, y))),
  (x) => ops.tanh(x),
  (x) => ops.sigmoid(x),
  (x) => ops.exp(ops.mul(ops.tanh(x), 0.5)),
  (x) => ops.sqrt(ops.add(ops.square(x), 0.5)),
  (x) => ops.log(ops.add(ops.square(x), 0.75)),
  (x, y) => ops.div(x, ops.add(ops.square(fitting(x, y)), 1)),
  (x) => ops.sin(x),
  (x, _, { b, c }) => ops.mean(x, axesOf(x, c), b % 2 === 0),
  (x, _, { b, c }) => ops.tanh(ops.sum(x, axesOf(x, c), b % 2 === 0)),
  (x, y, { c }) => ops.mean(ops.square(ops.sub(x, fitting(x, y))), axesOf(fitting(x, y), c)),
  (x, y, s) => ops.tanh(ops.mul(product(ops.tanh(x), ops.tanh(y), s), 0.125)),
  (x, y, s) => ops.mul(product(ops.tanh(x), ops.tanh(y), s), 0.0625),
  (x) => (several(x) ? ops.softmax(x) : x),
  (x) => (several(x) ? ops.l2Normalize(ops.add(x, 0.25)) : x),
  (x, _, { c }) => (x.rank ? ops.logSumExp(x, c % x.rank) : x),
  ...movement.slice(0, -1),
];

const rules = { integer: integerRules, smooth: smoothRules };

/** Every value of a program over the leaves, those of the leaves first. */
export function interpret(kind: keyof typeof rules, program: readonly Step[], leaves: readonly Tensor[]): Tensor[] {
  const values = [...leaves];
  for (const s of program) {
    // Recent values are likelier, so that chains grow long.
    const pick = (n: number) =>
      values[values.length - 1 - (n % 3 === 0 ? n % values.length : n % Math.min(3, values.length))]!;
    values.push(rules[kind][s.op % rules[kind].length]!(pick(s.a), pick(s.b), s));
  }
  return values;
}
