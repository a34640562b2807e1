/**
 * The strided copy: what transpose, slice, flip, concat, pad, broadcast and fill are made of.
 *
 * The one idea: dimensions are ordered and merged on the host until a 2-D panel under few outer dimensions is left, and
 * the panel's strides choose the kernel (panels.ts). Chunks depend on the shape alone.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import type { Kernel } from './kernel.ts';
import { at, type Buffer, type Emitter } from './lower.ts';
import { copyRows, type ElementBytes, fillRows, type PanelArgs, panelKernels, transposeTiles } from './panels.ts';

/** Work of one chunk, in bytes: a few microseconds, and it fits the second-level cache twice. */
const chunkBytes = 1 << 16;

interface Dim {
  readonly n: number;
  /** Strides in bytes. */
  readonly s: number;
  readonly d: number;
}
const one: Dim = { n: 1, s: 0, d: 0 };

/** Calls a panel kernel; at most four outer dimensions. */
function emitPanels(
  e: Emitter,
  kernel: Kernel<PanelArgs>,
  base: { dst: Buffer; src: Buffer; value: number },
  outer: readonly Dim[],
  row: Dim,
  col: Dim,
  bytes: number,
  widest = Number.POSITIVE_INFINITY,
): void {
  const [o0, o1, o2, o3] = [one, one, one, one, ...outer].slice(-4) as [Dim, Dim, Dim, Dim];
  const budget = Math.floor(chunkBytes / bytes);
  const panels = outer.reduce((p, x) => p * x.n, 1);
  const whole = row.n * col.n <= budget;
  const colBlock = whole ? col.n : Math.min(col.n, budget, widest);
  const rowBlock = whole ? row.n : Math.min(row.n, Math.floor(budget / colBlock));
  const rowBlocks = Math.floor(row.n / rowBlock);
  const colBlocks = Math.floor(col.n / colBlock);
  const panelsPerChunk = whole ? Math.min(panels, Math.floor(budget / (row.n * col.n))) : 1;
  const args = {
    ...base,
    panels,
    panelsPerChunk,
    o1: o1.n,
    o2: o2.n,
    o3: o3.n,
    s0: o0.s,
    s1: o1.s,
    s2: o2.s,
    s3: o3.s,
    d0: o0.d,
    d1: o1.d,
    d2: o2.d,
    d3: o3.d,
    rows: row.n,
    cols: col.n,
    sRow: row.s,
    sCol: col.s,
    dRow: row.d,
    dCol: col.d,
    rowBlock,
    colBlock,
    rowBlocks,
    colBlocks,
  };
  e.call(kernel, args, Math.ceil(panels / panelsPerChunk) * rowBlocks * colBlocks);
}

export interface StridedCopy {
  readonly dst: Buffer;
  readonly src: Buffer;
  readonly dims: readonly number[];
  /** Elements between neighbours; 0 repeats, a negative stride walks backward from the buffer's place. */
  readonly srcStrides: readonly number[];
  /** Elements between neighbours; not 0 where the dimension is larger than 1, and no place written twice. */
  readonly dstStrides: readonly number[];
  readonly elementBytes: ElementBytes;
}

/** dst[Σ iₖ·dstStridesₖ] = src[Σ iₖ·srcStridesₖ] for all i in dims. Source and destination must not overlap. */
export function stridedCopy(e: Emitter, { dst, src, dims, srcStrides, dstStrides, elementBytes }: StridedCopy): void {
  move(e, dst, src, 0, elementBytes, dims, srcStrides, dstStrides);
}

/** Sets dst[Σ iₖ·dstStridesₖ] to a constant of the dtype. */
export function stridedFill(
  e: Emitter,
  dst: Buffer,
  dtype: DType,
  value: number,
  dims: readonly number[],
  strides: readonly number[],
): void {
  const none = dims.map(() => 0);
  move(e, dst, undefined, wordOf(dtype, value), bytesOf(dtype) as ElementBytes, dims, none, strides);
}

/** The repeating 32-bit pattern of a constant, as a signed number. */
function wordOf(dtype: DType, value: number): number {
  if (dtype === 'f32') return new Int32Array(new Float32Array([value]).buffer)[0]!;
  if (dtype === 'i32') return value | 0;
  return Math.imul(dtype === 'bool' ? Number(value !== 0) : value & 255, 0x01010101);
}

/** Orders and merges the dimensions, chooses the panel and its kernel. Without a source it fills with the value. */
function move(
  e: Emitter,
  dst0: Buffer,
  src0: Buffer | undefined,
  value: number,
  bytes: ElementBytes,
  dims: readonly number[],
  srcStrides: readonly number[],
  dstStrides: readonly number[],
): void {
  if (dims.some((n) => n === 0)) return;
  let [dst, src] = [dst0, src0];
  const ordered = dims
    .map((n, k) => ({ n, s: srcStrides[k]! * bytes, d: dstStrides[k]! * bytes }))
    .filter((x) => x.n > 1)
    .map((x) => {
      if (x.d > 0) return x;
      dst = at(dst, x.d * (x.n - 1));
      src = src && at(src, x.s * (x.n - 1));
      return { n: x.n, s: -x.s, d: -x.d };
    })
    .sort((x, y) => y.d - x.d);
  const merged: Dim[] = [];
  for (const x of ordered) {
    const last = merged.at(-1);
    if (last && last.s === x.s * x.n && last.d === x.d * x.n)
      merged[merged.length - 1] = { n: last.n * x.n, s: x.s, d: x.d };
    else merged.push(x);
  }
  const base = { dst, src: src ?? dst, value };
  const col = merged.pop() ?? { n: 1, s: bytes, d: bytes };
  // Bytes instead of elements: rows do not care what they are made of.
  const bytesRow = { n: col.n * bytes, s: 1, d: 1 };
  let rowAt = merged.length - 1;
  let kernel: Kernel<PanelArgs> = panelKernels[bytes].strided;
  let [columns, unit, widest]: [Dim, number, number] = [col, bytes, Number.POSITIVE_INFINITY];
  if (col.d === bytes && (!src || col.s === 0)) {
    [kernel, columns, unit] = [src ? panelKernels[bytes].repeat : fillRows, { ...bytesRow, s: 0 }, 1];
  } else if (!src) {
    // A constant into scattered places: spread it as single-element rows.
    merged.push(col);
    rowAt = merged.length - 1;
    [kernel, columns, unit] = [fillRows, { n: bytes, s: 0, d: 1 }, 1];
  } else if (col.d === bytes && col.s === bytes && (bytesRow.n >= 16 || merged.length === 0)) {
    [kernel, columns, unit] = [copyRows, bytesRow, 1];
  } else if (col.d === bytes && col.n >= 4) {
    const j = merged.findIndex((x) => x.s === bytes && x.n >= 4);
    if (j >= 0) {
      const side = merged[j]!;
      const aligned = col.s % 1024 === 0 || side.d % 1024 === 0;
      // A smaller panel stays in the second-level cache, where strips are as fast and waste less at the edges.
      const tiles = bytes === 4 && aligned && Math.min(col.n, side.n) >= 16 && col.n * side.n >= 1 << 18;
      [kernel, rowAt, widest] = [tiles ? transposeTiles : panelKernels[bytes].transpose, j, tiles ? 16 : 128];
    }
  }
  let row = merged[rowAt] ?? one;
  const outer = merged.filter((_, k) => k !== rowAt);
  // The long side inside, unless the kernel cares which is which.
  if (kernel === panelKernels[bytes].strided && row.n > columns.n) [row, columns] = [columns, row];
  const peel = outer.splice(0, Math.max(0, outer.length - 4));
  const emit = (k: number, s: number, d: number): void => {
    const x = peel[k];
    if (x) for (let i = 0; i < x.n; i++) emit(k + 1, s + i * x.s, d + i * x.d);
    else
      emitPanels(e, kernel, { ...base, src: at(base.src, s), dst: at(base.dst, d) }, outer, row, columns, unit, widest);
  };
  emit(0, 0, 0);
}

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let n = 1;
  for (let k = shape.length - 1; k >= 0; k--) {
    strides[k] = n;
    n *= shape[k]!;
  }
  return strides;
}
