/**
 * What of a TensorFlow graph is known before any image is: constants, and the arithmetic on shapes between layers.
 *
 * The one idea: a table of operators on constants. A shape's first entry may be NaN, "the number of images": sums and
 * products carry it along, and reshaping takes such a size as the rest, which is right for whatever number comes.
 */
import { broadcastShapes, broadcastStrides, type Shape, sizeOf, stridesOf } from '../../core/shape.ts';
import type { TfAttr } from './graphDef.ts';
import { type Constant, constant } from './wire.ts';

type Attrs = ReadonlyMap<string, TfAttr>;
/** Gives undefined where the operands are beyond it. */
type Fold = (inputs: readonly Constant[], attrs: Attrs) => Constant | undefined;

/** Elements that a folded constant may have: a hostile graph may ask for any number. */
const mostElements = 2 ** 24;
const fits = (shape: Shape) => shape.every((d) => Number.isSafeInteger(d) && d >= 0) && sizeOf(shape) <= mostElements;

function elementwise(kind: Constant['kind'], inputs: readonly Constant[], f: (...x: number[]) => number) {
  const shape = broadcastShapes(inputs.map((c) => c.shape));
  if (!shape || !fits(shape)) return undefined;
  const n = sizeOf(shape);
  const data = kind === 'float' ? new Float32Array(n) : new Float64Array(n);
  const strides = inputs.map((c) => broadcastStrides(c.shape, shape));
  const own = stridesOf(shape);
  for (let i = 0; i < n; i++) {
    const at = strides.map((s) =>
      s.reduce((sum, stride, k) => sum + stride * (Math.floor(i / own[k]!) % shape[k]!), 0),
    );
    data[i] = f(...inputs.map((c, k) => c.data[at[k]!]!));
  }
  return { kind, shape, data } satisfies Constant;
}
const unary =
  (f: (x: number) => number): Fold =>
  ([a]) =>
    a && { kind: a.kind, shape: a.shape, data: a.data.map(f) };
const binary =
  (f: (a: number, b: number) => number): Fold =>
  ([a, b]) =>
    a && b && elementwise(a.kind === 'float' || b.kind === 'float' ? 'float' : 'int', [a, b], f);
const compare =
  (f: (a: number, b: number) => boolean): Fold =>
  ([a, b]) => {
    // What is compared with the number of images cannot be known.
    if (!a || !b || [...a.data, ...b.data].some(Number.isNaN)) return undefined;
    return elementwise('bool', [a, b], (x, y) => +f(x, y));
  };

/** The one number of a constant; undefined where it has several. */
export const single = (c: Constant | undefined): number | undefined => (c?.data.length === 1 ? c.data[0] : undefined);

/** Axes of a constant, counted from 0. */
function axesOf(c: Constant | undefined, rank: number): number[] | undefined {
  if (!c) return undefined;
  const axes = Array.from(c.data, (a) => (a < 0 ? a + rank : a));
  return axes.every((a) => Number.isInteger(a) && a >= 0 && a < rank) ? axes : undefined;
}

function reduce(
  x: Constant | undefined,
  axesAt: Constant | undefined,
  attrs: Attrs,
  f: (a: number, b: number) => number,
) {
  const axes = x && axesOf(axesAt, x.shape.length);
  if (!x || !axes || x.data.length === 0) return undefined;
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const strides = stridesOf(kept).map((s, i) => (axes.includes(i) ? 0 : s));
  const own = stridesOf(x.shape);
  const out: (number | undefined)[] = new Array(sizeOf(kept)).fill(undefined);
  x.data.forEach((value, i) => {
    const at = own.reduce((sum, s, k) => sum + (Math.floor(i / s) % x.shape[k]!) * strides[k]!, 0);
    const before = out[at];
    out[at] = before === undefined ? value : f(before, value);
  });
  const keep = (attrs.get('keep_dims') ?? attrs.get('keepdims'))?.b;
  const shape = keep ? kept : x.shape.filter((_, i) => !axes.includes(i));
  return constant(x.kind, shape, out as number[]);
}

/** A size list with at most one open size, made complete for n elements. */
export function completeShape(sizes: ArrayLike<number>, n: number): number[] | undefined {
  const out = Array.from(sizes, (d) => (Number.isNaN(d) ? -1 : d));
  const open = out.indexOf(-1);
  if (open >= 0) {
    const rest = out.reduce((p, d, i) => (i === open ? p : p * d), 1);
    out[open] = rest === 0 ? 0 : n / rest;
  }
  return fits(out) && sizeOf(out) === n ? out : undefined;
}

/** Elements of x by their place in a shape: `from` gives the flat index in x of an index in the result. */
function gather(x: Constant, shape: Shape, from: (index: readonly number[]) => number): Constant | undefined {
  if (!fits(shape)) return undefined;
  const own = stridesOf(shape);
  const values = Array.from({ length: sizeOf(shape) }, (_, i) =>
    from(own.map((s, k) => Math.floor(i / s) % shape[k]!)),
  ).map((at) => x.data[at]!);
  return constant(x.kind, shape, values);
}

export function joined(parts: readonly Constant[], axis: number): Constant | undefined {
  const [first] = parts;
  if (!first) return undefined;
  const at = axis < 0 ? axis + first.shape.length : axis;
  if (!(at >= 0 && at < first.shape.length)) return undefined;
  const same = parts.every(
    (p) => p.shape.length === first.shape.length && p.shape.every((d, i) => i === at || d === first.shape[i]),
  );
  if (!same) return undefined;
  const shape = first.shape.map((d, i) => (i === at ? parts.reduce((n, p) => n + p.shape[at]!, 0) : d));
  if (!fits(shape)) return undefined;
  const inner = sizeOf(first.shape.slice(at + 1));
  const outer = sizeOf(first.shape.slice(0, at));
  const values: number[] = [];
  for (let o = 0; o < outer; o++)
    for (const p of parts) {
      const run = p.shape[at]! * inner;
      for (let i = 0; i < run; i++) values.push(p.data[o * run + i]!);
    }
  return constant(first.kind, shape, values);
}

/** One axis of a strided slice of sizes; `shrink` drops it. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly step: number;
  readonly shrink: boolean;
}

/**
 * The axes of a StridedSlice made explicit, for a value of this shape; undefined where it inserts axes, or where its bounds
 * are not whole numbers. Axes after those it names are taken whole.
 */
export function stridedCuts(
  shape: Shape,
  begin: ArrayLike<number>,
  end: ArrayLike<number>,
  steps: ArrayLike<number>,
  attrs: Attrs,
): Cut[] | undefined {
  const mask = (name: string, i: number) => ((attrs.get(`${name}_mask`)?.i ?? 0) & (1 << i)) !== 0;
  const n = begin.length;
  if (attrs.get('new_axis_mask')?.i || n > shape.length + 1 || n > 31) return undefined;
  if (end.length !== n || steps.length !== n) return undefined;
  const ellipsis = Array.from({ length: n }, (_, i) => i).find((i) => mask('ellipsis', i)) ?? n;
  const skipped = shape.length - (n - +(ellipsis < n));
  const out: Cut[] = [];
  for (let i = 0; i < n || out.length < shape.length; i++) {
    if (i === ellipsis || i >= n) {
      for (let k = 0; k < skipped; k++) out.push({ start: 0, end: shape[out.length]!, step: 1, shrink: false });
      if (i >= n) break;
      continue;
    }
    const size = shape[out.length];
    if (size === undefined) return undefined;
    const step = steps[i]!;
    const place = (x: number, low: number, high: number) => Math.min(Math.max(x < 0 ? x + size : x, low), high);
    const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
    if (!Number.isInteger(step) || step === 0) return undefined;
    if (mask('shrink_axis', i)) {
      const at = begin[i]! < 0 ? begin[i]! + size : begin[i]!;
      if (!(Number.isInteger(at) && at >= 0 && at < size)) return undefined;
      out.push({ start: at, end: at + 1, step: 1, shrink: true });
      continue;
    }
    const start = mask('begin', i) ? (step > 0 ? 0 : size - 1) : place(begin[i]!, low, high);
    const stop = mask('end', i) ? (step > 0 ? size : -1) : place(end[i]!, low, high);
    if (!Number.isInteger(start) || !Number.isInteger(stop)) return undefined;
    out.push({ start, end: stop, step, shrink: false });
  }
  return out.length === shape.length ? out : undefined;
}

const cutLength = ({ start, end, step }: Cut) => Math.max(0, Math.ceil((end - start) / step));

const cast: Fold = ([x], attrs) => {
  const type = attrs.get('DstT')?.type;
  if (!x || !type) return undefined;
  if (type === 'bool')
    return constant(
      'bool',
      x.shape,
      x.data.map((d) => +(d !== 0)),
    );
  if (['float', 'double', 'half', 'bfloat16'].includes(type)) return constant('float', x.shape, x.data);
  return type.includes('int') ? constant('int', x.shape, x.data.map(Math.trunc)) : undefined;
};

const reshape: Fold = ([x, sizes]) => {
  const shape = x && sizes && completeShape(sizes.data, x.data.length);
  return x && shape && { ...x, shape };
};

const table: Readonly<Record<string, Fold>> = {
  Neg: unary((x) => -x),
  Abs: unary(Math.abs),
  Sqrt: unary(Math.sqrt),
  Rsqrt: unary((x) => 1 / Math.sqrt(x)),
  Square: unary((x) => x * x),
  Exp: unary(Math.exp),
  Log: unary(Math.log),
  Reciprocal: unary((x) => 1 / x),
  Inv: unary((x) => 1 / x),
  Relu: unary((x) => Math.max(x, 0)),
  Floor: unary(Math.floor),
  Ceil: unary(Math.ceil),
  Add: binary((a, b) => a + b),
  AddV2: binary((a, b) => a + b),
  Sub: binary((a, b) => a - b),
  Mul: binary((a, b) => a * b),
  RealDiv: binary((a, b) => a / b),
  Div: ([a, b], attrs) =>
    binary(a?.kind === 'int' && b?.kind === 'int' ? (x, y) => Math.trunc(x / y) : (x, y) => x / y)(
      [a, b] as Constant[],
      attrs,
    ),
  FloorDiv: binary((a, b) => Math.floor(a / b)),
  FloorMod: binary((a, b) => a - Math.floor(a / b) * b),
  Maximum: binary(Math.max),
  Minimum: binary(Math.min),
  Pow: binary((a, b) => a ** b),
  Greater: compare((a, b) => a > b),
  GreaterEqual: compare((a, b) => a >= b),
  Less: compare((a, b) => a < b),
  LessEqual: compare((a, b) => a <= b),
  Equal: compare((a, b) => a === b),
  NotEqual: compare((a, b) => a !== b),
  LogicalAnd: compare((a, b) => a !== 0 && b !== 0),
  LogicalOr: compare((a, b) => a !== 0 || b !== 0),
  LogicalNot: ([x]) =>
    x &&
    constant(
      'bool',
      x.shape,
      x.data.map((d) => +!d),
    ),
  Cast: cast,
  Prod: ([x, axes], attrs) => reduce(x, axes, attrs, (a, b) => a * b),
  Sum: ([x, axes], attrs) => reduce(x, axes, attrs, (a, b) => a + b),
  Max: ([x, axes], attrs) => reduce(x, axes, attrs, Math.max),
  Min: ([x, axes], attrs) => reduce(x, axes, attrs, Math.min),
  All: ([x, axes], attrs) => reduce(x, axes, attrs, (a, b) => +(a !== 0 && b !== 0)),
  Shape: ([x]) => x && constant('int', [x.shape.length], x.shape),
  Rank: ([x]) => x && constant('int', [], [x.shape.length]),
  Size: ([x]) => x && constant('int', [], [x.data.length]),
  Reshape: reshape,
  ExpandDims: ([x, axis]) => {
    const at = single(axis);
    if (!x || at === undefined) return undefined;
    const i = at < 0 ? at + x.shape.length + 1 : at;
    return i >= 0 && i <= x.shape.length ? { ...x, shape: x.shape.toSpliced(i, 0, 1) } : undefined;
  },
  Squeeze: ([x], attrs) => {
    if (!x) return undefined;
    const named = (attrs.get('squeeze_dims') ?? attrs.get('axis'))?.numbers ?? [];
    const axes = named.map((a) => (a < 0 ? a + x.shape.length : a));
    return { ...x, shape: x.shape.filter((d, i) => d !== 1 || (axes.length > 0 && !axes.includes(i))) };
  },
  Pack: (xs, attrs) => {
    const axis = attrs.get('axis')?.i ?? 0;
    const rank = xs[0] ? xs[0].shape.length + 1 : 0;
    const at = axis < 0 ? axis + rank : axis;
    if (!(at >= 0 && at < rank)) return undefined;
    return joined(
      xs.map((x) => ({ ...x, shape: x.shape.toSpliced(at, 0, 1) })),
      at,
    );
  },
  ConcatV2: (xs) => {
    const axis = single(xs.at(-1));
    return axis === undefined ? undefined : joined(xs.slice(0, -1), axis);
  },
  Transpose: ([x, perm]) => {
    const axes = x && axesOf(perm, x.shape.length);
    if (!x || !axes || new Set(axes).size !== x.shape.length) return undefined;
    const strides = stridesOf(x.shape);
    return gather(
      x,
      axes.map((a) => x.shape[a]!),
      (index) => index.reduce((sum, at, k) => sum + at * strides[axes[k]!]!, 0),
    );
  },
  StridedSlice: ([x, begin, end, steps], attrs) => {
    const cuts = x && begin && end && steps && stridedCuts(x.shape, begin.data, end.data, steps.data, attrs);
    if (!x || !cuts) return undefined;
    const strides = stridesOf(x.shape);
    const whole = gather(x, cuts.map(cutLength), (index) =>
      index.reduce((sum, at, k) => sum + (cuts[k]!.start + at * cuts[k]!.step) * strides[k]!, 0),
    );
    return whole && { ...whole, shape: whole.shape.filter((_, i) => !cuts[i]!.shrink) };
  },
  Slice: ([x, begin, sizes]) => {
    if (!x || begin?.data.length !== x.shape.length || sizes?.data.length !== x.shape.length) return undefined;
    const shape = x.shape.map((d, i) => (sizes.data[i] === -1 ? d - begin.data[i]! : sizes.data[i]!));
    if (shape.some((n, i) => !(begin.data[i]! >= 0 && begin.data[i]! + n <= x.shape[i]!))) return undefined;
    const strides = stridesOf(x.shape);
    return gather(x, shape, (index) => index.reduce((sum, at, k) => sum + (begin.data[k]! + at) * strides[k]!, 0));
  },
  GatherV2: ([x, indices, axis]) => {
    if (!x || !indices || single(axis) !== 0 || x.shape.length !== 1) return undefined;
    if (indices.data.some((i) => !(Number.isInteger(i) && i >= 0 && i < x.data.length))) return undefined;
    return constant(
      x.kind,
      indices.shape,
      Array.from(indices.data, (i) => x.data[i]!),
    );
  },
  Range: ([start, limit, delta]) => {
    const [a, b, d] = [single(start), single(limit), single(delta)];
    if (a === undefined || b === undefined || !d) return undefined;
    const n = Math.max(0, Math.ceil((b - a) / d));
    if (!fits([n])) return undefined;
    return constant(
      start!.kind,
      [n],
      Float64Array.from({ length: n }, (_, i) => a + i * d),
    );
  },
  Fill: ([dims, value]) => {
    const v = single(value);
    if (!dims || v === undefined || !fits([...dims.data])) return undefined;
    const shape = [...dims.data];
    return constant(value!.kind, shape, new Float64Array(sizeOf(shape)).fill(v));
  },
};

/** What an operator gives on constants; undefined where that is not known here. */
export function fold(op: string, inputs: readonly (Constant | undefined)[], attrs: Attrs): Constant | undefined {
  if (!Object.hasOwn(table, op) || inputs.includes(undefined)) return undefined;
  return table[op]!(inputs as Constant[], attrs);
}
