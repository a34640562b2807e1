/**
 * Arithmetic per element, with NumPy broadcasting.
 *
 * The one idea: every pointwise operation is the same op, `pointwise`, whose attribute is an `Expr`. A named operation
 * is one line. Gradients are pointwise ops too, by differentiating the expression, summed over broadcast axes; so the
 * plan can fuse any chain of them into one kernel.
 */
import type { DType } from '../core/dtype.ts';
import { broadcastShapes, broadcastStrides, type Shape, sameShape, showShape, sizeOf } from '../core/shape.ts';
import { Tensor, type TensorSpec, tensor } from '../core/tensor.ts';
import { derivative } from '../expr/diff.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { compileJs } from '../expr/printJs.ts';
import { simplify } from '../expr/simplify.ts';
import { type Backward, defineOp, type Sample, shapeError } from './define.ts';
import { repeatOp } from './movement.ts';
import { sumTo } from './reduce.ts';

export interface PointwiseAttrs {
  /** For messages and listings: the operation's name. */
  readonly label: string;
  readonly expr: Expr;
  /** Output shape where it is larger than what the operands broadcast to. */
  readonly shape?: Shape;
  readonly dtype?: DType;
}

const infer = (inputs: readonly TensorSpec[], { label, expr, shape, dtype }: PointwiseAttrs): TensorSpec[] => {
  const shapes = inputs.map((t) => t.shape);
  const out = broadcastShapes(shape ? [...shapes, shape] : shapes);
  if (!out || (shape && !sameShape(out, shape)))
    throw shapeError(
      label,
      shape ? `operands that broadcast to ${showShape(shape)}` : 'operands whose shapes broadcast (equal sizes, or 1)',
      Object.fromEntries(inputs.map((t, i) => [`operand ${i}`, t])),
      'Reshape an operand so that its axes line up from the last one.',
    );
  return [{ shape: out, dtype: dtype ?? (E.typeOf(expr) === 'bool' ? 'bool' : 'f32') }];
};

const backward: Backward<PointwiseAttrs> = ({ inputs, outputs, dys, attrs }) => {
  const dy = dys[0]!;
  const last = inputs.length;
  return inputs.map((x, i) => {
    if (x.dtype !== 'f32') return undefined;
    const local = simplify(derivative(attrs.expr, i));
    if (local.kind === 'const' && local.value === 0) return undefined;
    const expr = simplify(E.mul(E.input(last), local));
    const full = elementwise(`d${attrs.label}`, expr, [...inputs, dy], outputs[0]!.shape);
    return sumTo(full, x.shape);
  });
};

/** Integers: fractions go toward zero, what is too large saturates, NaN gives 0. */
const whole = (low: number, high: number) => (v: number) =>
  Number.isNaN(v) ? 0 : Math.min(Math.max(Math.trunc(v) + 0, low), high);
const same = (v: number) => v;
const storeAs: Record<DType, (v: number) => number> = {
  f32: same,
  bool: same,
  i32: whole(-(2 ** 31), 2 ** 31 - 1),
  u8: whole(0, 255),
};

export const pointwiseOp = defineOp<PointwiseAttrs>('pointwise', {
  roles: ['x'],
  variadic: true,
  infer,
  reference(inputs, outputs, { expr }, specs, round) {
    const f = compileJs([expr], round);
    const out = outputs[0]!;
    const shape = specs.outputs[0]!.shape;
    const strides = specs.inputs.map((t) => broadcastStrides(t.shape, shape));
    const index = new Array<number>(shape.length).fill(0);
    const at = new Array<number>(inputs.length).fill(0);
    const args = new Array<number>(inputs.length);
    const result = [0];
    const store = storeAs[specs.outputs[0]!.dtype];
    for (let o = 0; o < out.length; o++) {
      for (let i = 0; i < inputs.length; i++) args[i] = inputs[i]![at[i]!]!;
      f(args, result);
      out[o] = store(result[0]!);
      for (let d = shape.length - 1; d >= 0; d--) {
        index[d]!++;
        for (let i = 0; i < inputs.length; i++) at[i]! += strides[i]![d]!;
        if (index[d]! < shape[d]!) break;
        index[d] = 0;
        for (let i = 0; i < inputs.length; i++) at[i]! -= strides[i]![d]! * shape[d]!;
      }
    }
  },
  backward,
  kernels: { kind: 'pointwise' },
  cost: (inputs, outputs, { expr }) => ({
    flops: E.costOf(expr) * sizeOf(outputs[0]!.shape),
    bytes: 4 * [...inputs, ...outputs].reduce((n, t) => n + sizeOf(t.shape), 0),
  }),
  samples: [],
  errorSamples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 4] }], attrs: { label: 'add', expr: E.add(E.input(0), E.input(1)) } },
  ],
});

/** Applies an expression to tensors: the general form of every pointwise operation. */
export function elementwise(
  label: string,
  expr: Expr,
  inputs: readonly Tensor[],
  shape?: Shape,
  dtype?: DType,
): Tensor {
  // Operands that the expression does not read are dropped, so that nothing keeps them alive.
  const used = new Set(E.inputsOf(expr));
  const kept = inputs.filter((_, i) => used.has(i));
  const slot = new Map([...used].sort((a, b) => a - b).map((old, i) => [old, i]));
  const target = shape ?? broadcastShapes(inputs.map((t) => t.shape));
  const compact = E.substitute(
    expr,
    inputs.map((_, i) => {
      const at = slot.get(i);
      return at === undefined ? E.constant(0) : E.input(at, inputs[i]!.dtype === 'bool');
    }),
  );
  if (kept.length === 0) kept.push(tensor(0));
  const reached = broadcastShapes(kept.map((t) => t.shape));
  const forced = target && !(reached && sameShape(reached, target)) ? target : undefined;
  return pointwiseOp.apply(kept, {
    label,
    expr: compact,
    ...(forced ? { shape: forced } : {}),
    ...(dtype ? { dtype } : {}),
  })[0]!;
}

/** A tensor or a number; numbers become constants of the expression. */
export type Operand = Tensor | number;

/** A named pointwise operation with its samples, for the generated tests. */
export interface PointwiseDefinition {
  readonly name: string;
  readonly arity: number;
  readonly expr: (...x: Expr[]) => Expr;
  readonly samples: readonly Sample<undefined>[];
}
export const pointwiseRegistry = new Map<string, PointwiseDefinition>();

const defaultSamples = (arity: number): Sample<undefined>[] => {
  const shapes: Shape[][] =
    arity === 1
      ? [[[1]], [[7]], [[3, 17]], [[2, 3, 4, 8]]]
      : [
          [[7], [7]],
          [[3, 17], [17]],
          [
            [2, 3, 4, 8],
            [3, 1, 1],
          ],
          [
            [5, 9],
            [5, 1],
          ],
          [[], [33]],
        ];
  return shapes.map((s) => ({
    inputs: Array.from({ length: arity }, (_, i) => ({ shape: s[Math.min(i, s.length - 1)]! })),
    attrs: undefined,
  }));
};

interface PointwiseOptions {
  /** Range of the drawn sample operands. */
  readonly range?: readonly [number, number];
  readonly samples?: readonly Sample<undefined>[];
}

/**
 * Defines a pointwise operation of a fixed number of operands from its formula. The result is a function of tensors or
 * numbers; at least one operand must be a tensor.
 */
export function pointwise<P extends Expr[]>(
  name: string,
  formula: (...x: P) => Expr,
  options: PointwiseOptions = {},
): (...operands: { [K in keyof P]: Operand }) => Tensor {
  const arity = formula.length;
  const samples = options.samples ?? defaultSamples(arity);
  const { range } = options;
  pointwiseRegistry.set(name, {
    name,
    arity,
    expr: (...x) => formula(...(x as P)),
    samples: range ? samples.map((s) => ({ ...s, inputs: s.inputs.map((x) => ({ range, ...x })) })) : samples,
  });
  return (...operands) => {
    const tensors = (operands as readonly Operand[]).filter((x): x is Tensor => x instanceof Tensor);
    let next = 0;
    const slots = operands.map((x: Operand) =>
      x instanceof Tensor ? E.input(next++, x.dtype === 'bool') : E.constant(x as number),
    );
    return elementwise(name, formula(...(slots as P)), tensors);
  };
}

export const add = pointwise('add', (a: Expr, b: Expr) => E.add(a, b));
export const sub = pointwise('sub', (a: Expr, b: Expr) => E.sub(a, b));
export const mul = pointwise('mul', (a: Expr, b: Expr) => E.mul(a, b));
export const div = pointwise('div', (a: Expr, b: Expr) => E.div(a, b), { range: [0.5, 2] });
export const minimum = pointwise('minimum', (a: Expr, b: Expr) => E.min(a, b));
export const maximum = pointwise('maximum', (a: Expr, b: Expr) => E.max(a, b));
export const pow = pointwise('pow', (a: Expr, b: Expr) => E.pow(a, b), { range: [0.3, 2] });
export const neg = pointwise('neg', (x: Expr) => E.neg(x));
export const abs = pointwise('abs', (x: Expr) => E.abs(x));
export const sign = pointwise('sign', (x: Expr) => E.sign(x));
export const floor = pointwise('floor', (x: Expr) => E.floor(x), { range: [-3, 3] });
export const ceil = pointwise('ceil', (x: Expr) => E.ceil(x), { range: [-3, 3] });
/** Nearest integer, halves to even. */
export const round = pointwise('round', (x: Expr) => E.round(x), { range: [-3, 3] });
export const sqrt = pointwise('sqrt', (x: Expr) => E.sqrt(x), { range: [0.1, 3] });
export const square = pointwise('square', (x: Expr) => E.mul(x, x));
export const exp = pointwise('exp', (x: Expr) => E.exp(x), { range: [-4, 4] });
export const log = pointwise('log', (x: Expr) => E.log(x), { range: [0.1, 4] });
export const sin = pointwise('sin', (x: Expr) => E.sin(x), { range: [-4, 4] });
export const cos = pointwise('cos', (x: Expr) => E.cos(x), { range: [-4, 4] });
/** Inverse cosine in radians; NaN outside [-1, 1]; its gradient is infinite at the ends: clamp first. */
export const acos = pointwise('acos', (x: Expr) => E.acos(x), { range: [-0.95, 0.95] });
export const tanh = pointwise('tanh', (x: Expr) => E.tanh(x), { range: [-3, 3] });
export const sigmoid = pointwise('sigmoid', (x: Expr) => E.sigmoid(x), { range: [-4, 4] });
export const relu = pointwise('relu', (x: Expr) => E.where(E.gt(x, 0), x, E.constant(0)));
export const relu6 = pointwise('relu6', (x: Expr) => E.min(E.max(x, 0), 6), { range: [-4, 9] });
/** relu6(x + 3)/6, the sigmoid in straight lines.  Howard et al. 2019 (MobileNetV3), section 5.2. */
export const hardSigmoid = pointwise('hardSigmoid', (x: Expr) => E.mul(E.min(E.max(E.add(x, 3), 0), 6), 1 / 6), {
  range: [-5, 5],
});
/** x·relu6(x + 3)/6.  Howard et al. 2019 (MobileNetV3), section 5.2. */
export const hardSwish = pointwise('hardSwish', (x: Expr) => E.mul(x, E.mul(E.min(E.max(E.add(x, 3), 0), 6), 1 / 6)), {
  range: [-5, 5],
});
/** Leaky rectifier with a learned slope per channel: y = x > 0 ? x : a·x.  He et al. 2015, eq. 1. */
export const prelu = pointwise('prelu', (x: Expr, a: Expr) => E.where(E.gt(x, 0), x, E.mul(a, x)));
export const less = pointwise('less', (a: Expr, b: Expr) => E.lt(a, b));
export const lessEqual = pointwise('lessEqual', (a: Expr, b: Expr) => E.le(a, b));
export const greater = pointwise('greater', (a: Expr, b: Expr) => E.gt(a, b));
export const greaterEqual = pointwise('greaterEqual', (a: Expr, b: Expr) => E.ge(a, b));
export const equal = pointwise('equal', (a: Expr, b: Expr) => E.eq(a, b));
export const notEqual = pointwise('notEqual', (a: Expr, b: Expr) => E.ne(a, b));
export const where = pointwise('where', (c: Expr, a: Expr, b: Expr) => E.where(c, a, b), {
  samples: [
    { inputs: [{ shape: [5, 9], dtype: 'bool' }, { shape: [5, 9] }, { shape: [9] }], attrs: undefined },
    { inputs: [{ shape: [33], dtype: 'bool' }, { shape: [33] }, { shape: [] }], attrs: undefined },
  ],
});

/** Leaky rectifier of a fixed slope: y = x > 0 ? x : slope·x. Default slope 0.01. */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor =>
  elementwise('leakyRelu', E.where(E.gt(E.input(0), 0), E.input(0), E.mul(E.input(0), slope)), [x]);

/** Limits to [low, high]; the gradient is 0 outside. */
export const clamp = (x: Tensor, low: number, high: number): Tensor =>
  elementwise('clamp', E.min(E.max(E.input(0), low), high), [x]);

/** The tensor stretched to a larger shape by NumPy's rule. */
export const broadcastTo = (x: Tensor, shape: Shape): Tensor =>
  sameShape(x.shape, shape)
    ? x
    : x.dtype === 'i32'
      ? repeatOp.apply([x], { shape })[0]!
      : elementwise('broadcastTo', E.input(0, x.dtype === 'bool'), [x], shape, x.dtype);

/** The same numbers in another dtype: integers cut fractions off and saturate, NaN gives 0, bool is `x ≠ 0`. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const v = E.input(0, x.dtype === 'bool');
  if (dtype === 'bool') return elementwise('cast', E.ne(v, 0), [x]);
  return elementwise('cast', x.dtype === 'bool' ? E.toNumber(v) : v, [x], undefined, dtype);
}
