/**
 * Data movement: transpose, slice, flip, concat, pad, repeat, fill and iota.
 *
 * The one idea: all but the last two are one strided copy, whose axes are merged until few are left. Elements move as bits,
 * four at a time where the innermost run allows it; large transposes go through workgroup memory.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { broadcastStrides, stridesOf } from '../src/core/shape.ts';
import {
  ceilDiv,
  type Dispatch,
  elementsOf,
  type GpuEmitter,
  type GpuLowering,
  type Operand,
  type Param,
  type Value,
} from './lower.ts';

/** A dispatch that calls `fn make(i: u32)` of its code for every i below `count`. */
export function each(e: GpuEmitter, count: number, d: Omit<Dispatch, 'groups'>): void {
  e.dispatch({
    label: d.files.join('+'),
    ...d,
    files: [...d.files, 'movement'],
    groups: ceilDiv(count, 64),
    params: { count, ...d.params },
  });
}

/** The operand as bits, to be moved only. */
export const bitsOf = (value: Value, width: 1 | 4): Operand => ({ value, width, bits: true });

/** The bits of a constant as one element. */
function wordOf(dtype: DType, value: number): number {
  if (dtype === 'f32') return new Uint32Array(new Float32Array([value]).buffer)[0]!;
  return dtype === 'i32' ? value >>> 0 : dtype === 'bool' ? Number(value !== 0) : value & 255;
}

/** An axis of a copy, with its strides in elements. x has elements `before` … `before + inside` of it. */
interface Axis {
  readonly n: number;
  readonly x: number;
  readonly y: number;
  readonly before: number;
  readonly inside: number;
}

interface Copy {
  readonly x: Value;
  readonly y: Value;
  readonly dims: readonly number[];
  /** Elements between neighbours; 0 repeats, a negative stride walks backward. */
  readonly xStrides: readonly number[];
  /** First element of x that is read. */
  readonly xStart?: number;
  /** Of `dims` in y. Default: its own, for dims that are its shape. */
  readonly yStrides?: readonly number[];
  readonly yStart?: number;
  /** The part of `dims` that x covers; the rest gets the value, or stays as it is. */
  readonly border?: {
    readonly before: readonly number[];
    readonly inside: readonly number[];
    readonly value: number | 'keep';
  };
}

/** Axes of size 1 vanish, and those that are walked as one become one. */
function merge({ dims, xStrides, yStrides = stridesOf(dims), border }: Copy): Axis[] {
  const axes: Axis[] = [];
  dims.forEach((n, k) => {
    const axis: Axis = {
      n,
      x: xStrides[k]!,
      y: yStrides[k]!,
      before: border?.before[k] ?? 0,
      inside: border?.inside[k] ?? n,
    };
    if (n === 1 && axis.inside === 1) return;
    const last = axes.at(-1);
    if (last && last.x === axis.x * n && last.y === axis.y * n && axis.inside === n)
      axes[axes.length - 1] = { ...axis, n: last.n * n, before: last.before * n, inside: last.inside * n };
    else axes.push(axis);
  });
  return axes.length ? axes : [{ n: 1, x: 1, y: 1, before: 0, inside: 1 }];
}

/** Statements that give the coordinates c0, c1, … of index `at`; sizes are the parameters d1, d2, … */
export const coordinates = (rank: number, at: string): string => {
  const lines = [`var rest = ${at};`];
  for (let k = rank - 1; k > 0; k--) lines.push(`let c${k} = rest % p.d${k};`, `rest /= p.d${k};`);
  return [...lines, 'let c0 = rest;'].join('\n  ');
};
/** start + Σ cₖ · strideₖ, the numbers as parameters. Wraps around where strides are negative. */
function placeText(name: string, start: number, strides: readonly number[], params: Record<string, Param>): string {
  const terms = strides.flatMap((s, k) => {
    if (s === 0) return [];
    if (s === 1) return [`c${k}`];
    params[`${name}${k}`] = s >>> 0;
    return [`c${k} * p.${name}${k}`];
  });
  if (start !== 0) {
    params[`${name}Start`] = start >>> 0;
    terms.push(`p.${name}Start`);
  }
  return terms.join(' + ') || '0u';
}

/** The smaller side of a panel that is worth a tile. */
const leastSide = 16;

/** y[Σ iₖ·yStridesₖ] = x[Σ iₖ·xStridesₖ] for all i in dims. Bytes want y's own strides. */
function stridedCopy(e: GpuEmitter, copy: Copy): void {
  if (copy.dims.includes(0)) return;
  const { x, y, border, xStart = 0, yStart = 0 } = copy;
  const axes = merge(copy);
  const inner = axes.at(-1)!;
  const bytes = bytesOf(x.dtype) === 1;
  const panelAxis = axes.findIndex((a) => a.x === 1);
  const panel = axes[panelAxis];
  const transposed = panel && inner.y === 1 && inner.x > 1 && Math.min(panel.n, inner.n) >= leastSide;
  if (transposed && !bytes && !border) {
    const outer = axes.filter((a) => a !== panel && a !== inner);
    transposeTiles(e, { x, y, xStart, yStart, outer, row: inner, column: panel });
    return;
  }
  const fours = (n: number) => n % 4 === 0;
  const vectors =
    inner.x === 1 &&
    inner.y === 1 &&
    [inner.n, inner.before, inner.inside, xStart, yStart].every(fours) &&
    axes.every((a) => a === inner || (fours(a.x) && fours(a.y)));
  const unit = vectors ? 4 : 1;
  const params: Record<string, Param> = {};
  const from = axes.map((a) => (a === inner ? a.x : a.x / unit));
  const to = axes.map((a) => (a === inner ? a.y : a.y / unit));
  axes.forEach((a, k) => {
    if (k > 0) params[`d${k}`] = a === inner ? a.n / unit : a.n;
  });
  // Coordinates are y's: x begins `before` further on.
  const skipped = axes.reduce((n, a) => n + a.before * a.x, 0);
  const xPlace = placeText('x', (xStart - skipped) / unit, from, params);
  const yPlace = placeText('y', yStart / unit, to, params);
  const tests = axes.flatMap((a, k) => {
    if (a.inside === a.n) return [];
    const by = a === inner ? unit : 1;
    params[`b${k}`] = a.before / by;
    params[`n${k}`] = a.inside / by;
    return [`c${k} - p.b${k} < p.n${k}`];
  });
  if (border && border.value !== 'keep') params.value = wordOf(x.dtype, border.value);
  const total = axes.reduce((n, a) => n * a.n, 1);
  // Only x's own part of a single axis needs a visit where the rest stays.
  const keep = border?.value === 'keep';
  const [begin, end] = keep && axes.length === 1 ? [inner.before, inner.before + inner.inside] : [0, total];
  const first = Math.floor(begin / (bytes ? 4 : unit));
  const count = ceilDiv(end, bytes ? 4 : unit) - first;
  if (first > 0) params.first = first;
  const index = first > 0 ? 'index + p.first' : 'index';
  const inside = tests.join(' && ');
  // Each word of bytes has one invocation, which may leave a part of it as it is.
  const lanes = bytes && !vectors;
  const outside = !keep ? 'TypeY(p.value)' : 'loadY(i)';
  const code = lanes
    ? `fn take(at: u32, was: u32) -> u32 {
  ${coordinates(axes.length, 'at')}
  ${inside ? `if (!(${inside})) { return ${keep ? 'was' : 'p.value'}; }` : ''}
  return loadX(${xPlace});
}
fn make(index: u32) {
  let i = ${index};
  let was = ${keep ? 'loadY(i)' : 'vec4<u32>()'};
  storeY(i, vec4<u32>(take(4u * i, was.x), take(4u * i + 1u, was.y), take(4u * i + 2u, was.z), take(4u * i + 3u, was.w)));
}`
    : `fn make(index: u32) {
  let i = ${index};
  ${coordinates(axes.length, 'i')}
  ${inside ? `if (!(${inside})) { storeY(${yPlace}, ${outside}); return; }` : ''}
  storeY(${yPlace}, loadX(${xPlace}));
}`;
  each(e, count, {
    files: [],
    label: 'copy',
    params,
    inputs: { x: bitsOf(x, unit) },
    outputs: { y: bitsOf(y, bytes ? 4 : unit) },
    code,
  });
}

interface Tiles extends Pick<Copy, 'x' | 'y'> {
  readonly xStart: number;
  readonly yStart: number;
  readonly outer: readonly Axis[];
  /** Adjacent in y. */
  readonly row: Axis;
  /** Adjacent in x. */
  readonly column: Axis;
}
function transposeTiles(e: GpuEmitter, { x, y, xStart, yStart, outer, row, column }: Tiles): void {
  const tilesDown = ceilDiv(row.n, 32);
  const tilesAcross = ceilDiv(column.n, 32);
  const params: Record<string, Param> = {
    rows: row.n,
    columns: column.n,
    rowStep: row.x >>> 0,
    columnStep: column.y >>> 0,
    tilesDown,
    tilesAcross,
  };
  outer.forEach((a, k) => {
    if (k > 0) params[`d${k}`] = a.n;
  });
  const [xPlace, yPlace] = (['x', 'y'] as const).map((name) =>
    placeText(
      name,
      name === 'x' ? xStart : yStart,
      outer.map((a) => a[name]),
      params,
    ),
  );
  e.dispatch({
    files: ['movementTile'],
    groups: tilesDown * tilesAcross * outer.reduce((n, a) => n * a.n, 1),
    params,
    inputs: { x: bitsOf(x, 1) },
    outputs: { y: bitsOf(y, 1) },
    code: `struct Places { x: u32, y: u32 }
fn places(panel: u32) -> Places {
  ${coordinates(outer.length, 'panel')}
  return Places(${xPlace}, ${yPlace});
}`,
  });
}

/** y's axis k is x's axis axes[k]. */
export const transposeWgsl: GpuLowering<{ readonly axes: readonly number[] }> = (e, [x], [y], { axes }) => {
  const strides = stridesOf(x!.shape);
  stridedCopy(e, { x: x!, y: y!, dims: y!.shape, xStrides: axes.map((a) => strides[a]!) });
};

interface SliceAttrs {
  readonly starts: readonly number[];
  readonly steps?: readonly number[] | undefined;
}
/** y[i] = x[starts + i·steps]. */
export const sliceWgsl: GpuLowering<SliceAttrs> = (e, [x], [y], { starts, steps }) => {
  const strides = stridesOf(x!.shape);
  stridedCopy(e, {
    x: x!,
    y: y!,
    dims: y!.shape,
    xStart: starts.reduce((n, s, k) => n + s * strides[k]!, 0),
    xStrides: strides.map((s, k) => s * (steps?.[k] ?? 1)),
  });
};

/** Reverses the order along the axes. */
export const flipWgsl: GpuLowering<{ readonly axes: readonly number[] }> = (e, [x], [y], { axes }) => {
  const starts = x!.shape.map((n, k) => (axes.includes(k) ? n - 1 : 0));
  sliceWgsl(e, [x!], [y!], { starts, steps: x!.shape.map((_, k) => (axes.includes(k) ? -1 : 1)) });
};

/** x inside a border of a constant. */
export const padWgsl: GpuLowering<{
  readonly pads: readonly (readonly [before: number, after: number])[];
  readonly value: number;
}> = (e, [x], [y], { pads, value }) =>
  stridedCopy(e, {
    x: x!,
    y: y!,
    dims: y!.shape,
    xStrides: stridesOf(x!.shape),
    border: { before: pads.map(([before]) => before), inside: x!.shape, value },
  });

/** Elements of an operand that is worth a dispatch of its own. */
const largePart = 16384;

/** Copies each x to y from element `at` on, as many in one dispatch as can be bound. 4-byte dtypes. */
export function joinWgsl(e: GpuEmitter, parts: readonly { readonly x: Value; readonly at: number }[], y: Value): void {
  const most = e.limits.storageBuffers - 1;
  for (let from = 0; from < parts.length; from += most) {
    const part = parts.slice(from, from + most);
    const params: Record<string, Param> = {};
    let end = 0;
    const choices = part.map(({ x, at }, k) => {
      // y's place less the invocation's number may be below 0: sums of u32 wrap.
      params[`to${k}`] = (at - end) >>> 0;
      params[`from${k}`] = end;
      end += elementsOf(x);
      params[`end${k}`] = end;
      return `if (i < p.end${k}) { storeY(i + p.to${k}, loadX${k}(i - p.from${k})); return; }`;
    });
    each(e, end, {
      files: [],
      label: 'join',
      params,
      inputs: Object.fromEntries(part.map(({ x }, k) => [`x${k}`, bitsOf(x, 1)])),
      outputs: { y: bitsOf(y, 1) },
      code: `fn make(i: u32) {\n  ${choices.join('\n  ')}\n}`,
    });
  }
}

/** The operands one after the other along the axis: large ones in a dispatch each, blocks of small ones together. */
export const concatWgsl: GpuLowering<{ readonly axis: number }> = (e, inputs, [y], { axis }) => {
  const yStrides = stridesOf(y!.shape);
  const bytes = bytesOf(y!.dtype) === 1;
  const blocks = !bytes && y!.shape.slice(0, axis).every((n) => n === 1);
  const small: { x: Value; at: number }[] = [];
  let start = 0;
  for (const x of inputs) {
    const xStrides = stridesOf(x.shape);
    if (bytes) {
      const before = y!.shape.map((_, k) => (k === axis ? start : 0));
      if (elementsOf(x) > 0)
        stridedCopy(e, { x, y: y!, dims: y!.shape, xStrides, border: { before, inside: x.shape, value: 'keep' } });
    } else if (blocks && elementsOf(x) < largePart) small.push({ x, at: start * yStrides[axis]! });
    else stridedCopy(e, { x, y: y!, dims: x.shape, xStrides, yStrides, yStart: start * yStrides[axis]! });
    start += x.shape[axis]!;
  }
  joinWgsl(e, small, y!);
};

/** Repeats axes of size 1; missing leading axes count as 1. */
export const repeatWgsl: GpuLowering<unknown> = (e, [x], [y]) =>
  stridedCopy(e, { x: x!, y: y!, dims: y!.shape, xStrides: broadcastStrides(x!.shape, y!.shape) });

/** Every element is the value. */
export const fillWgsl: GpuLowering<{ readonly value: number }> = (e, _, [y], { value }) =>
  each(e, ceilDiv(elementsOf(y!), 4), {
    files: [],
    label: 'fill',
    params: { value: wordOf(y!.dtype, value) },
    outputs: { y: bitsOf(y!, 4) },
    code: 'fn make(i: u32) { storeY(i, TypeY(p.value)); }',
  });

/** i32: start, start + 1, … in row-major order. */
export const iotaWgsl: GpuLowering<{ readonly start?: number | undefined }> = (e, _, [y], { start = 0 }) =>
  each(e, ceilDiv(elementsOf(y!), 4), {
    files: [],
    label: 'iota',
    params: { start: { i32: start } },
    outputs: { y: { value: y!, width: 4 } },
    code: 'fn make(i: u32) { storeY(i, TypeY(p.start + i32(4u * i)) + TypeY(0, 1, 2, 3)); }',
  });
