/**
 * The strided copy: what transpose, slice, flip, concat, pad, broadcast and fill are made of.
 *
 * The one idea: dimensions are ordered and merged on the host; what is left is a 2-D panel of rows × columns under at
 * most four outer dimensions, moved by one of five kernels: rows that are contiguous on both sides, rows that repeat
 * one element, rows of one constant, a transpose in 4×4 register blocks, and element by element. Dimensions and strides
 * are arguments, so these five serve every shape and rank.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { defineKernel, type Kernel } from './kernel.ts';
import { at, type Buffer, type Emitter } from './lower.ts';
import { type Fn, type I32, i32, type Local, loadI32, loadU8, loadV128, loadWord, select, type V128 } from './wasm.ts';

type ElementBytes = 1 | 4;

/** Work of one chunk, in bytes: a few microseconds, and it fits the second-level cache twice. */
const chunkBytes = 1 << 16;

/** Copies `bytes` (0 or more) that do not overlap. The last vector of a row of 16 bytes or more overlaps its neighbour. */
export function emitCopy(f: Fn, dst: I32, src: I32, bytes: Local<I32>): void {
  const d = f.let(dst);
  const s = f.let(src);
  const end = f.let(d.add(bytes));
  f.if(
    bytes.geU(16),
    () => {
      const end32 = f.let(end.sub(32));
      f.while(d.leU(end32), () => {
        f.storeV128(d, loadV128(s), 0);
        f.storeV128(d, loadV128(s, 16), 16);
        f.inc(d, 32);
        f.inc(s, 32);
      });
      f.if(d.leU(end.sub(16)), () => {
        f.storeV128(d, loadV128(s));
        f.inc(d, 16);
        f.inc(s, 16);
      });
      f.if(d.ltU(end), () => {
        f.set(s, s.sub(i32(16).sub(end.sub(d))));
        f.storeV128(end.sub(16), loadV128(s));
      });
    },
    () => {
      f.while(d.leU(end.sub(4)), () => {
        f.storeI32(d, loadI32(s));
        f.inc(d, 4);
        f.inc(s, 4);
      });
      f.while(d.ltU(end), () => {
        f.storeU8(d, loadU8(s));
        f.inc(d, 1);
        f.inc(s, 1);
      });
    },
  );
}

/** Fills `bytes` with a 32-bit word; where `bytes` is no multiple of 4, all bytes of the word must be equal. */
export function emitFill(f: Fn, dst: I32, word: Local<I32>, bytes: Local<I32>): void {
  const d = f.let(dst);
  const end = f.let(d.add(bytes));
  f.if(
    bytes.geU(16),
    () => {
      const v = f.let(word.splat());
      const end32 = f.let(end.sub(32));
      f.while(d.leU(end32), () => {
        f.storeV128(d, v, 0);
        f.storeV128(d, v, 16);
        f.inc(d, 32);
      });
      f.if(d.leU(end.sub(16)), () => f.storeV128(d, v));
      f.storeV128(end.sub(16), v);
    },
    () => {
      f.while(d.leU(end.sub(4)), () => {
        f.storeI32(d, word);
        f.inc(d, 4);
      });
      f.while(d.ltU(end), () => {
        f.storeU8(d, word);
        f.inc(d, 1);
      });
    },
  );
}

/** Words of a panel call. Strides (s…, d…) are bytes; rows and cols is the panel, blocks split it into chunks. */
const panelArgs = {
  dst: 'i32',
  src: 'i32',
  value: 'i32',
  panels: 'i32',
  panelsPerChunk: 'i32',
  o1: 'i32',
  o2: 'i32',
  o3: 'i32',
  s0: 'i32',
  s1: 'i32',
  s2: 'i32',
  s3: 'i32',
  d0: 'i32',
  d1: 'i32',
  d2: 'i32',
  d3: 'i32',
  rows: 'i32',
  cols: 'i32',
  sRow: 'i32',
  sCol: 'i32',
  dRow: 'i32',
  dCol: 'i32',
  rowBlock: 'i32',
  colBlock: 'i32',
  rowBlocks: 'i32',
  colBlocks: 'i32',
} as const;
type PanelArgs = typeof panelArgs;

/** What the body of a panel kernel sees: a block of rows × cols at addresses s and d. */
interface Panel {
  readonly s: Local<I32>;
  readonly d: Local<I32>;
  readonly rows: Local<I32>;
  readonly cols: Local<I32>;
  readonly a: { readonly [K in keyof PanelArgs]: Local<I32> };
}

function panelKernel(key: string, body: (f: Fn, p: Panel) => void): Kernel<PanelArgs> {
  return defineKernel({
    key,
    args: panelArgs,
    chunk(f, a, chunk) {
      const blocks = f.let(a.rowBlocks.mul(a.colBlocks));
      const block = f.let(chunk.remU(blocks));
      const bi = f.let(block.divU(a.colBlocks));
      const bj = f.let(block.remU(a.colBlocks));
      const row = f.let(bi.mul(a.rowBlock));
      const col = f.let(bj.mul(a.colBlock));
      // The last block takes the rest too, so that no block is smaller than a vector.
      const rows = f.let(select(bi.add(1).eq(a.rowBlocks), a.rows.sub(row), a.rowBlock));
      const cols = f.let(select(bj.add(1).eq(a.colBlocks), a.cols.sub(col), a.colBlock));
      const sBase = f.let(a.src.add(row.mul(a.sRow)).add(col.mul(a.sCol)));
      const dBase = f.let(a.dst.add(row.mul(a.dRow)).add(col.mul(a.dCol)));
      const panel = f.let(chunk.divU(blocks).mul(a.panelsPerChunk));
      const end = f.let(panel.add(a.panelsPerChunk));
      f.set(end, end.minS(a.panels));
      const q = f.local('i32');
      const s = f.local('i32');
      const d = f.local('i32');
      const i = f.local('i32');
      f.while(panel.ltS(end), () => {
        f.set(q, panel);
        f.set(s, sBase);
        f.set(d, dBase);
        for (const [n, ds, dd] of [
          [a.o3, a.s3, a.d3],
          [a.o2, a.s2, a.d2],
          [a.o1, a.s1, a.d1],
        ] as const) {
          f.if(n.ne(1), () => {
            f.set(i, q.remU(n));
            f.set(q, q.divU(n));
            f.inc(s, i.mul(ds));
            f.inc(d, i.mul(dd));
          });
        }
        f.inc(s, q.mul(a.s0));
        f.inc(d, q.mul(a.d0));
        body(f, { s, d, rows, cols, a });
        f.inc(panel, 1);
      });
    },
  });
}

/** Walks the rows of a panel: s and d advance. */
function eachRow(f: Fn, { s, d, rows, a }: Panel, body: () => void): void {
  f.for(0, rows, 1, () => {
    body();
    f.inc(s, a.sRow);
    f.inc(d, a.dRow);
  });
}

/** Rows contiguous on both sides; here an element is a byte, so one kernel serves every dtype. */
export const copyRows = panelKernel('copyRows', (f, p) => eachRow(f, p, () => emitCopy(f, p.d, p.s, p.cols)));
/** Rows of one constant. */
const fillRows = panelKernel('fillRows', (f, p) => eachRow(f, p, () => emitFill(f, p.d, p.a.value, p.cols)));
/** Rows that repeat one source element (columns in bytes). */
const repeatRows = (bytes: ElementBytes) =>
  panelKernel(`repeatRows${bytes}`, (f, p) => {
    const word = f.local('i32');
    eachRow(f, p, () => {
      f.set(word, bytes === 4 ? loadI32(p.s) : loadU8(p.s).mul(0x01010101));
      emitFill(f, p.d, word, p.cols);
    });
  });

/** Any strides: element by element, four to a turn. */
const stridedElements = (bytes: ElementBytes) =>
  panelKernel(`strided${bytes}`, (f, p) => {
    const { sCol, dCol } = p.a;
    const move = (d: I32, s: I32) => (bytes === 4 ? f.storeI32(d, loadI32(s)) : f.storeU8(d, loadU8(s)));
    const [s2, d2] = [f.let(sCol.shl(1)), f.let(dCol.shl(1))];
    const [s3, d3] = [f.let(sCol.add(s2)), f.let(dCol.add(d2))];
    const [s4, d4] = [f.let(sCol.shl(2)), f.let(dCol.shl(2))];
    const cols4 = f.let(p.cols.sub(3));
    const [s, d, j] = [f.local('i32'), f.local('i32'), f.local('i32')];
    eachRow(f, p, () => {
      f.set(s, p.s);
      f.set(d, p.d);
      f.set(j, 0);
      f.while(j.ltS(cols4), () => {
        move(d, s);
        move(d.add(dCol), s.add(sCol));
        move(d.add(d2), s.add(s2));
        move(d.add(d3), s.add(s3));
        f.inc(s, s4);
        f.inc(d, d4);
        f.inc(j, 4);
      });
      f.while(j.ltS(p.cols), () => {
        move(d, s);
        f.inc(s, sCol);
        f.inc(d, dCol);
        f.inc(j, 1);
      });
    });
  });

/** Rows of the panel are contiguous in the source's other direction: dst[row][col] = src[col][row], both at least 4. */
const transposePanel = (bytes: ElementBytes) =>
  panelKernel(`transpose${bytes}`, (f, { s, d, rows, cols, a }) => {
    // A strip of 16 rows reads whole cache lines of the source and keeps 16 lines of the destination open.
    const strip = f.local('i32');
    const [row, rowEnd, col] = [f.local('i32'), f.local('i32'), f.local('i32')];
    const [i, j] = [f.local('i32'), f.local('i32')];
    const [lastRow, lastCol] = [f.let(rows.sub(4)), f.let(cols.sub(4))];
    const [s2, d2] = [f.let(a.sCol.shl(1)), f.let(a.dRow.shl(1))];
    const [s3, d3] = [f.let(s2.add(a.sCol)), f.let(d2.add(a.dRow))];
    f.set(strip, 0);
    f.while(strip.ltS(rows), () => {
      f.set(rowEnd, strip.add(16));
      f.set(rowEnd, rowEnd.minS(rows));
      f.set(col, 0);
      f.while(col.ltS(cols), () => {
        f.set(j, col.minS(lastCol));
        f.set(row, strip);
        f.while(row.ltS(rowEnd), () => {
          f.set(i, row.minS(lastRow));
          const from = f.let(s.add(j.mul(a.sCol)).add(i.mul(bytes)));
          const to = f.let(d.add(i.mul(a.dRow)).add(j.mul(bytes)));
          const sources = [from, from.add(a.sCol), from.add(s2), from.add(s3)];
          const targets = [to, to.add(a.dRow), to.add(d2), to.add(d3)];
          if (bytes === 4) {
            const [r0, r1, r2, r3] = sources.map((x): V128 => f.let(loadV128(x))) as [V128, V128, V128, V128];
            const lo01 = f.let(r0.lanes(r1, [0, 4, 1, 5]));
            const hi01 = f.let(r0.lanes(r1, [2, 6, 3, 7]));
            const lo23 = f.let(r2.lanes(r3, [0, 4, 1, 5]));
            const hi23 = f.let(r2.lanes(r3, [2, 6, 3, 7]));
            f.storeV128(targets[0]!, lo01.lanes(lo23, [0, 1, 4, 5]));
            f.storeV128(targets[1]!, lo01.lanes(lo23, [2, 3, 6, 7]));
            f.storeV128(targets[2]!, hi01.lanes(hi23, [0, 1, 4, 5]));
            f.storeV128(targets[3]!, hi01.lanes(hi23, [2, 3, 6, 7]));
          } else {
            const [r0, r1, r2, r3] = sources.map((x) => loadWord(x)) as [V128, V128, V128, V128];
            const block = f.let(r0.lanes(r1, [0, 4, 1, 5]).lanes(r2.lanes(r3, [0, 4, 1, 5]), [0, 1, 4, 5]));
            const turned = f.let(block.shuffle(block, [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]));
            targets.forEach((x, r) => {
              f.storeI32(x, turned.ilane(r as 0 | 1 | 2 | 3));
            });
          }
          f.inc(row, 4);
        });
        f.inc(col, 4);
      });
      f.inc(strip, 16);
    });
  });

const kernels = {
  1: { repeat: repeatRows(1), strided: stridedElements(1), transpose: transposePanel(1) },
  4: { repeat: repeatRows(4), strided: stridedElements(4), transpose: transposePanel(4) },
} as const;

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
  let kernel: Kernel<PanelArgs> = kernels[bytes].strided;
  let [columns, unit, widest]: [Dim, number, number] = [col, bytes, Number.POSITIVE_INFINITY];
  if (col.d === bytes && (!src || col.s === 0)) {
    [kernel, columns, unit] = [src ? kernels[bytes].repeat : fillRows, { ...bytesRow, s: 0 }, 1];
  } else if (!src) {
    // A constant into scattered places: spread it as single-element rows.
    merged.push(col);
    rowAt = merged.length - 1;
    [kernel, columns, unit] = [fillRows, { n: bytes, s: 0, d: 1 }, 1];
  } else if (col.d === bytes && col.s === bytes && (bytesRow.n >= 16 || merged.length === 0)) {
    [kernel, columns, unit] = [copyRows, bytesRow, 1];
  } else if (col.d === bytes && col.n >= 4) {
    const j = merged.findIndex((x) => x.s === bytes && x.n >= 4);
    if (j >= 0) [kernel, rowAt, widest] = [kernels[bytes].transpose, j, 128];
  }
  let row = merged[rowAt] ?? one;
  const outer = merged.filter((_, k) => k !== rowAt);
  // The long side inside, unless the kernel cares which is which.
  if (kernel === kernels[bytes].strided && row.n > columns.n) [row, columns] = [columns, row];
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
