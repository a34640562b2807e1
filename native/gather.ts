/**
 * Indexing: gather, scatter-add, their element-wise forms along an axis, and one-hot.
 *
 * Tensors are seen as [outer, axis, inner]. A scatter gives each chunk a part of the destination of its own (columns,
 * or a range of places) and lets it walk all indices in order: additions to one place happen in index order, so sums
 * are equal to the bit for any number of threads and to a plain loop.
 * Indices out of [0, size) are no error, since a kernel cannot raise one: a gather gives NaN (0 for integers), a
 * scatter-add and one-hot leave them out. Negative indices do not count from the end. Shapes are checked by the op.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering, Value } from './lower.ts';
import { emitCopy, emitFill } from './panels.ts';
import { type Fn, type I32, i32, type Local, loadF32, loadI32, loadU8, loadV128, select } from './wasm.ts';

/** Bytes of one chunk. */
const chunkBytes = 1 << 16;
const product = (shape: readonly number[]) => shape.reduce((p, n) => p * n, 1);
const wordNaN = 0x7fc00000;
const missingOf = (dtype: DType) => (dtype === 'f32' ? wordNaN : 0);

/** Extents before, at and after the axis. */
function around({ shape }: Value, axis: number): { outer: number; size: number; inner: number } {
  return { outer: product(shape.slice(0, axis)), size: shape[axis]!, inner: product(shape.slice(axis + 1)) };
}

const gatherRows = defineKernel({
  key: 'gatherRows',
  args: {
    dst: 'i32',
    src: 'i32',
    indices: 'i32',
    count: 'i32',
    size: 'i32',
    rowBytes: 'i32',
    missing: 'i32',
    rows: 'i32',
    rowsPerChunk: 'i32',
  },
  chunk(f, a, chunk) {
    const row = f.let(chunk.mul(a.rowsPerChunk));
    const end = f.let(row.add(a.rowsPerChunk));
    f.set(end, end.minS(a.rows));
    const d = f.let(a.dst.add(row.mul(a.rowBytes)));
    const panelBytes = f.let(a.size.mul(a.rowBytes));
    const panel = f.let(a.src.add(row.divU(a.count).mul(panelBytes)));
    const i = f.let(row.remU(a.count));
    const index = f.local('i32');
    f.while(row.ltS(end), () => {
      f.set(index, loadI32(a.indices.add(i.shl(2))));
      f.if(
        index.ltU(a.size),
        () => emitCopy(f, d, panel.add(index.mul(a.rowBytes)), a.rowBytes),
        () => emitFill(f, d, a.missing, a.rowBytes),
      );
      f.inc(d, a.rowBytes);
      f.inc(row, 1);
      f.inc(i, 1);
      f.if(i.eq(a.count), () => {
        f.set(i, 0);
        f.inc(panel, panelBytes);
      });
    });
  },
});

/** y[o, k, j] = x[o, index[o, k, j], j]. `indexOuter` is the distance of the outer index, 0 to share one list. */
const gatherElements = (bytes: 1 | 4) =>
  defineKernel({
    key: `gatherElements${bytes}`,
    args: {
      dst: 'i32',
      src: 'i32',
      indices: 'i32',
      indexOuter: 'i32',
      count: 'i32',
      size: 'i32',
      inner: 'i32',
      missing: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
    },
    chunk(f, a, chunk) {
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const d = f.let(a.dst.add(row.mul(a.inner).mul(bytes)));
      const o = f.let(row.divU(a.count));
      const k = f.let(row.remU(a.count));
      const [panel, list, index, j] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')];
      f.while(row.ltS(end), () => {
        f.set(panel, a.src.add(o.mul(a.size).mul(a.inner).mul(bytes)));
        f.set(list, a.indices.add(o.mul(a.indexOuter).add(k.mul(a.inner)).shl(2)));
        // All rows of this panel that are the chunk's: a stretch of k.
        const stretch = f.let(end.sub(row));
        f.set(stretch, select(stretch.ltS(a.count.sub(k)), stretch, a.count.sub(k)));
        const n = f.let(stretch.mul(a.inner));
        f.set(j, 0);
        f.for(0, n, 1, () => {
          f.set(index, loadI32(list));
          const from = panel.add(index.mul(a.inner).add(j).mul(bytes));
          f.if(
            index.ltU(a.size),
            () => (bytes === 4 ? f.storeI32(d, loadI32(from)) : f.storeU8(d, loadU8(from))),
            () => (bytes === 4 ? f.storeI32(d, a.missing) : f.storeU8(d, a.missing)),
          );
          f.inc(list, 4);
          f.inc(d, bytes);
          f.inc(j, 1);
          f.if(j.eq(a.inner), () => f.set(j, 0));
        });
        f.inc(row, stretch);
        f.set(k, 0);
        f.inc(o, 1);
      });
    },
  });
const gatherBy = { 1: gatherElements(1), 4: gatherElements(4) } as const;

/** Clears rows × cols words at d, `pitch` bytes apart. */
function clear(f: Fn, d0: I32, rows: Local<I32>, cols: Local<I32>, pitch: Local<I32>): void {
  const d = f.let(d0);
  const width = f.let(cols.shl(2));
  const whole = f.let(width.eq(pitch));
  const n = f.let(select(whole, i32(1), rows));
  const bytes = f.let(select(whole, rows.mul(pitch), width));
  const zero = f.let(i32(0));
  f.for(0, n, 1, () => {
    emitFill(f, d, zero, bytes);
    f.inc(d, pitch);
  });
}

/** d[0..cols) += u[0..cols) */
function emitAdd(f: Fn, dtype: 'f32' | 'i32', d0: I32, u0: I32, cols: Local<I32>): void {
  const [d, u, left] = [f.let(d0), f.let(u0), f.let(cols)];
  const add = (o: number) => {
    const [x, y] = [loadV128(d, o), loadV128(u, o)];
    return dtype === 'f32' ? x.add(y) : x.iadd(y);
  };
  f.while(left.geS(8), () => {
    const [p, q] = [f.let(add(0)), f.let(add(16))];
    f.storeV128(d, p, 0);
    f.storeV128(d, q, 16);
    f.inc(d, 32);
    f.inc(u, 32);
    f.inc(left, -8);
  });
  f.while(i32(0).ltS(left), () => {
    addOne(f, dtype, d, u);
    f.inc(d, 4);
    f.inc(u, 4);
    f.inc(left, -1);
  });
}
function addOne(f: Fn, dtype: 'f32' | 'i32', d: I32, u: I32): void {
  if (dtype === 'f32') f.storeF32(d, loadF32(d).add(loadF32(u)));
  else f.storeI32(d, loadI32(d).add(loadI32(u)));
}

/** A chunk owns columns [col, col + cols) of places [low, low + span) of one outer panel. */
const scatterRows = (dtype: 'f32' | 'i32') =>
  defineKernel({
    key: `scatterRows_${dtype}`,
    args: {
      dst: 'i32',
      indices: 'i32',
      updates: 'i32',
      count: 'i32',
      size: 'i32',
      inner: 'i32',
      colBlock: 'i32',
      colBlocks: 'i32',
      placeBlock: 'i32',
      placeBlocks: 'i32',
    },
    chunk(f, a, chunk) {
      const o = f.let(chunk.divU(a.colBlocks).divU(a.placeBlocks));
      const col = f.let(chunk.remU(a.colBlocks).mul(a.colBlock));
      const low = f.let(chunk.divU(a.colBlocks).remU(a.placeBlocks).mul(a.placeBlock));
      const cols = f.let(a.inner.sub(col));
      f.set(cols, cols.minS(a.colBlock));
      const span = f.let(a.size.sub(low));
      f.set(span, span.minS(a.placeBlock));
      const pitch = f.let(a.inner.shl(2));
      const d = f.let(a.dst.add(o.mul(a.size).add(low).mul(pitch)).add(col.shl(2)));
      clear(f, d, span, cols, pitch);
      const u = f.let(a.updates.add(o.mul(a.count).mul(pitch)).add(col.shl(2)));
      const list = f.let(a.indices);
      const place = f.local('i32');
      f.for(0, a.count, 1, () => {
        f.set(place, loadI32(list).sub(low));
        f.if(place.ltU(span), () => emitAdd(f, dtype, d.add(place.mul(pitch)), u, cols));
        f.inc(list, 4);
        f.inc(u, pitch);
      });
    },
  });
const scatterBy = { f32: scatterRows('f32'), i32: scatterRows('i32') } as const;

/** y[o, index[o, k, j], j] += u[o, k, j]. A chunk owns some columns of some outer panels. */
const scatterElements = (dtype: 'f32' | 'i32') =>
  defineKernel({
    key: `scatterElements_${dtype}`,
    args: {
      dst: 'i32',
      indices: 'i32',
      updates: 'i32',
      outer: 'i32',
      outerPerChunk: 'i32',
      count: 'i32',
      size: 'i32',
      inner: 'i32',
      colBlock: 'i32',
      colBlocks: 'i32',
    },
    chunk(f, a, chunk) {
      const o = f.let(chunk.divU(a.colBlocks).mul(a.outerPerChunk));
      const end = f.let(o.add(a.outerPerChunk));
      f.set(end, end.minS(a.outer));
      const col = f.let(chunk.remU(a.colBlocks).mul(a.colBlock));
      const cols = f.let(a.inner.sub(col));
      f.set(cols, cols.minS(a.colBlock));
      const pitch = f.let(a.inner.shl(2));
      const [d, from, index, at] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')];
      f.while(o.ltS(end), () => {
        f.set(d, a.dst.add(o.mul(a.size).mul(pitch)).add(col.shl(2)));
        clear(f, d, a.size, cols, pitch);
        f.set(from, o.mul(a.count).mul(pitch).add(col.shl(2)));
        f.for(0, a.count, 1, () => {
          f.set(at, from);
          f.for(0, cols, 1, (j) => {
            f.set(index, loadI32(a.indices.add(at)));
            f.if(index.ltU(a.size), () => {
              const to = f.let(d.add(index.mul(pitch)).add(j.shl(2)));
              addOne(f, dtype, to, a.updates.add(at));
            });
            f.inc(at, 4);
          });
          f.inc(from, pitch);
        });
        f.inc(o, 1);
      });
    },
  });
const scatterAlongBy = { f32: scatterElements('f32'), i32: scatterElements('i32') } as const;

const oneHotKernel = defineKernel({
  key: 'oneHot',
  args: { dst: 'i32', indices: 'i32', depth: 'i32', rows: 'i32', rowsPerChunk: 'i32' },
  chunk(f, a, chunk) {
    const row = f.let(chunk.mul(a.rowsPerChunk));
    const end = f.let(row.add(a.rowsPerChunk));
    f.set(end, end.minS(a.rows));
    const pitch = f.let(a.depth.shl(2));
    const d = f.let(a.dst.add(row.mul(pitch)));
    const [zero, bytes] = [f.let(i32(0)), f.let(end.sub(row).mul(pitch))];
    emitFill(f, d, zero, bytes);
    const index = f.local('i32');
    f.while(row.ltS(end), () => {
      f.set(index, loadI32(a.indices.add(row.shl(2))));
      f.if(index.ltU(a.depth), () => f.storeF32(d.add(index.shl(2)), 1));
      f.inc(d, pitch);
      f.inc(row, 1);
    });
  },
});

/**
 * (x, indices i32) → x's dimensions with `axis` replaced by the indices' shape: y[o, i…, j] = x[o, indices[i…], j]
 * (NumPy's take). x of any dtype.
 */
export const gatherWasm: Lowering<{ readonly axis: number }> = (e, [x, indices], [y], { axis }) => {
  const { outer, size, inner } = around(x!, axis);
  const count = product(indices!.shape);
  const rows = outer * count;
  if (rows * inner === 0) return;
  const bytes = bytesOf(x!.dtype) as 1 | 4;
  const rowsPerChunk = Math.max(1, Math.floor(chunkBytes / (inner * bytes)));
  const chunks = Math.ceil(rows / rowsPerChunk);
  const missing = missingOf(x!.dtype);
  const place = { dst: y!.buffer, src: x!.buffer, indices: indices!.buffer, count, size, missing, rows, rowsPerChunk };
  if (inner === 1) e.call(gatherBy[bytes], { ...place, indexOuter: 0, inner }, chunks);
  else e.call(gatherRows, { ...place, rowBytes: inner * bytes }, chunks);
};

/**
 * (x, indices i32) of equal rank and extents except along `axis` → the indices' shape:
 * y[o, k, j] = x[o, indices[o, k, j], j] (torch.gather). x of any dtype.
 */
export const gatherAlongWasm: Lowering<{ readonly axis: number }> = (e, [x, indices], [y], { axis }) => {
  const { outer, size, inner } = around(x!, axis);
  const count = indices!.shape[axis]!;
  const rows = outer * count;
  if (rows * inner === 0) return;
  const bytes = bytesOf(x!.dtype) as 1 | 4;
  const rowsPerChunk = Math.max(1, Math.floor(chunkBytes / (inner * bytes)));
  const missing = missingOf(x!.dtype);
  const place = { dst: y!.buffer, src: x!.buffer, indices: indices!.buffer, count, size, missing, rows, rowsPerChunk };
  e.call(gatherBy[bytes], { ...place, indexOuter: count * inner, inner }, Math.ceil(rows / rowsPerChunk));
};

export interface ScatterAttrs {
  readonly axis: number;
  /** Extent of the output along the axis. */
  readonly size: number;
}

/**
 * (indices i32, updates) → zeros with `size` places along `axis`, then y[o, indices[i…], j] += updates[o, i…, j] in the
 * order of i. The updates' dimensions are y's with `axis` replaced by the indices' shape. f32 or i32.
 */
export const scatterAddWasm: Lowering<ScatterAttrs> = (e, [indices, updates], [y], { axis, size }) => {
  const { outer, inner } = around(y!, axis);
  const count = product(indices!.shape);
  scatterOrdered(e, indices!, updates!, y!, outer, count, size, inner);
};

function scatterOrdered(
  e: Parameters<Lowering<unknown>>[0],
  indices: Value,
  updates: Value,
  y: Value,
  outer: number,
  count: number,
  size: number,
  inner: number,
): void {
  if (outer * size * inner === 0) return;
  // Ranges of whole places where they outnumber the updates, so that clearing them runs through memory in order. Else
  // columns in cache lines, a share alike of every update; ranges then only where columns give too few chunks.
  const colBlock = inner >= 128 && size < count ? 64 : inner;
  const colBlocks = Math.ceil(inner / colBlock);
  const wanted = Math.ceil(8 / (outer * colBlocks));
  const worth = Math.ceil(((count + size) * colBlock) / 4096);
  const placeBlock = Math.ceil(size / Math.max(1, Math.min(wanted, worth, size)));
  const placeBlocks = Math.ceil(size / placeBlock);
  const buffers = { dst: y.buffer, indices: indices.buffer, updates: updates.buffer };
  const args = { ...buffers, count, size, inner, colBlock, colBlocks, placeBlock, placeBlocks };
  e.call(scatterBy[y.dtype === 'f32' ? 'f32' : 'i32'], args, outer * colBlocks * placeBlocks);
}

/**
 * (indices i32, updates) of equal shape → zeros with `size` places along `axis`, then
 * y[o, indices[o, k, j], j] += updates[o, k, j] in the order of k (torch.scatter_add on zeros). f32 or i32.
 */
export const scatterAddAlongWasm: Lowering<ScatterAttrs> = (e, [indices, updates], [y], { axis, size }) => {
  const { outer, inner } = around(y!, axis);
  const count = updates!.shape[axis]!;
  if (outer * inner === 1) {
    scatterOrdered(e, indices!, updates!, y!, 1, count, size, 1);
    return;
  }
  if (outer * size * inner === 0) return;
  const colBlock = inner >= 32 ? 16 : inner;
  const colBlocks = Math.ceil(inner / colBlock);
  const outerPerChunk = Math.max(1, Math.min(Math.ceil(outer / 8), Math.floor(8192 / ((count + size) * colBlock))));
  const buffers = { dst: y!.buffer, indices: indices!.buffer, updates: updates!.buffer };
  const args = { ...buffers, outer, outerPerChunk, count, size, inner, colBlock, colBlocks };
  const kernel = scatterAlongBy[y!.dtype === 'f32' ? 'f32' : 'i32'];
  e.call(kernel, args, Math.ceil(outer / outerPerChunk) * colBlocks);
};

/** i32 [...] → f32 [..., depth]: 1 at the index, 0 elsewhere. */
export const oneHotWasm: Lowering<{ readonly depth: number }> = (e, [indices], [y], { depth }) => {
  const rows = product(indices!.shape);
  if (rows * depth === 0) return;
  const rowsPerChunk = Math.max(1, Math.floor(chunkBytes / (4 * depth)));
  const args = { dst: y!.buffer, indices: indices!.buffer, depth, rows, rowsPerChunk };
  e.call(oneHotKernel, args, Math.ceil(rows / rowsPerChunk));
};
