/**
 * Matrix products in generated WASM: all four transposes, batches, fused epilogues.
 *
 * The one idea: how the work is cut (blocks of rows, groups of panels, blocks of k) follows from the shapes alone, so
 * the result does not depend on who computes which chunk. Long k (weight gradients sum over every pixel of a batch) is
 * cut into fixed blocks whose partial sums are added in order; otherwise one accumulator runs over all of k.
 */
import { ShapeError } from '../src/core/errors.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { emitTouch, gemmBlock, gemmTile, packedBytes, type Tile } from './gemm.ts';
import { defineKernel } from './kernel.ts';
import type { Buffer, Emitter, Lowering, Value } from './lower.ts';
import {
  type BSource,
  cached,
  ceil,
  chunksFor,
  type Dims,
  fromMemory,
  type MatmulAttrs,
  maxWholeK,
  packKernel,
  panelMaker,
  scratchB,
  scratchBytes,
  tileKey,
} from './matmulParts.ts';
import { splitProduct } from './matmulSplit.ts';
import type { Mode } from './wasm.ts';

export type { MatmulAttrs } from './matmulParts.ts';

/** Bytes of A per block of rows: half of a second-level cache of 512 KiB. */
const rowBlockBytes = 1 << 18;
/** Rows of a chunk that packs B itself. */
const rowsOfOneChunk = 128;
/** Bytes of a B that is packed in a call of its own even where each panel is used by one chunk only. */
const smallB = 1 << 20;

/** One block of rows × group of panels of one batch element per chunk, over all of k. */
const gemmKernel = (tile: Tile, transA: boolean, b: BSource, ep: Epilogue | undefined) =>
  cached(`gemm_${tileKey(tile)}_${transA ? 't' : 'n'}${b}${epilogueKey(ep)}`, (key) =>
    defineKernel({
      key,
      args: {
        a: 'i32',
        b: 'i32',
        c: 'i32',
        m: 'i32',
        n: 'i32',
        k: 'i32',
        aBatch: 'i32',
        bBatch: 'i32',
        rowsPerChunk: 'i32',
        rowsPerBlock: 'i32',
        columnsPerChunk: 'i32',
        mBlocks: 'i32',
        nBlocks: 'i32',
        touch: 'i32',
        ...epilogueArgs(ep),
      },
      scratchBytes,
      chunk(f, args, chunk, scratch) {
        const { m, n, k } = args;
        const [mBlock, rest] = [f.let(chunk.remU(args.mBlocks)), f.let(chunk.divU(args.mBlocks))];
        const [nBlock, batch] = [f.let(rest.remU(args.nBlocks)), f.let(rest.divU(args.nBlocks))];
        const j0 = f.let(nBlock.mul(args.columnsPerChunk));
        const columns = f.let(f.let(n.sub(j0)).minS(args.columnsPerChunk));
        const start = f.let(mBlock.mul(args.rowsPerChunk));
        const end = f.let(f.let(start.add(args.rowsPerChunk)).minS(m));
        const cStride = f.let(n.shl(2));
        const aStride = f.let((transA ? m : k).shl(2));
        const bStride = f.let((b === 't' ? k : n).shl(2));
        const a0 = f.let(args.a.add(batch.mul(args.aBatch)));
        const b0 = f.let(args.b.add(batch.mul(args.bBatch)));
        const edge = f.let(scratch.add(scratchB));
        const batchRow = f.let(batch.mul(m));
        const cursor = new EpilogueCursor(f, ep, args);
        f.for(start, end, args.rowsPerBlock, (i) => {
          const rows = f.let(f.let(end.sub(i)).minS(args.rowsPerBlock));
          if (!transA) f.if(args.touch.and(1), () => emitTouch(f, a0.add(i.mul(aStride)), rows.mul(aStride)));
          const row = f.let(batchRow.add(i));
          f.if(args.touch.and(2), () => {
            const line = f.let(args.c.add(row.mul(cStride)).add(j0.shl(2)));
            f.for(0, rows, 1, () => {
              emitTouch(f, line, columns.shl(2));
              f.inc(line, cStride);
            });
          });
          gemmBlock(f, {
            tile,
            rows,
            columns,
            k,
            a: transA
              ? { columns: a0.add(i.shl(2)), stride: aStride }
              : { rows: a0.add(i.mul(aStride)), stride: aStride },
            b:
              b === 'packed'
                ? b0.add(j0.mul(k).shl(2))
                : panelMaker(f, tile, b, b0.add(b === 't' ? j0.mul(bStride) : j0.shl(2)), bStride, k, scratch, true),
            c: args.c.add(row.mul(cStride)).add(j0.shl(2)),
            cStride,
            cursor,
            row,
            column: j0,
            width: n,
            edge,
          });
        });
      },
    }),
  );

const product = (xs: readonly number[]) => xs.reduce((p, x) => p * x, 1);

function dimsOf(a: readonly number[], b: readonly number[], transA: boolean, transB: boolean): Dims {
  const fail = (what: string): never => {
    const side = (s: readonly number[], t: boolean) => `[${s.join(', ')}]${t ? 'ᵀ' : ''}`;
    throw new ShapeError(
      `matmul: ${what}, got ${side(a, transA)} · ${side(b, transB)}\n` +
        'Pass [..., M, K] and [..., K, N] (or their transposes) with equal leading dimensions, or one side with two.',
    );
  };
  if (a.length < 2 || b.length < 2) fail('expected matrices');
  const [a0, a1] = a.slice(-2) as [number, number];
  const [b0, b1] = b.slice(-2) as [number, number];
  const [m, k] = transA ? [a1, a0] : [a0, a1];
  const [kb, n] = transB ? [b1, b0] : [b0, b1];
  if (k !== kb) fail(`expected equal inner dimensions`);
  const [batchA, batchB] = [a.slice(0, -2), b.slice(0, -2)];
  if (batchA.length && batchB.length && batchA.join() !== batchB.join()) fail('expected equal leading dimensions');
  const d = { m, n, k, batchedA: batchA.length > 0, batchedB: batchB.length > 0 };
  // Rows of every batch element against one B are one tall matrix.
  if (d.batchedA && !d.batchedB && !transA) return { ...d, m: m * product(batchA), batch: 1, batchedA: false };
  return { ...d, batch: product(d.batchedA ? batchA : batchB) };
}

/** Bytes of the buffer that `packB` writes for a B of K rows and N columns. */
export const packBBytes = (mode: Mode, k: number, n: number, batch = 1): number =>
  batch * packedBytes(gemmTile(mode), k, n);

function emitPackB(e: Emitter, b: Buffer, to: Buffer, k: number, n: number, batch: number, transB: boolean): void {
  const tile = gemmTile(e.mode);
  const panels = ceil(n, tile.nr);
  const args = { source: b, to, k, n, batchBytes: 4 * k * n, panels };
  e.call(packKernel(tile, transB), args, panels * batch);
}

/**
 * B [..., K, N] (or its transpose) as panels [ceil(N / nr)][K][nr] with zeros in the last one: what `matmulWasm` reads
 * with `packed`. Layout and size (`packBBytes`) depend on the mode. Weights that do not change are packed once.
 */
export const packB: Lowering<{ readonly transB: boolean }> = (e, [b], [packed], { transB }) => {
  const { shape, buffer } = b as Value;
  const [p, q] = shape.slice(-2) as [number, number];
  const [k, n] = transB ? [q, p] : [p, q];
  emitPackB(e, buffer, (packed as Value).buffer, k, n, product(shape.slice(0, -2)), transB);
};

/**
 * C = op(A) · op(B), then the epilogue. A [..., M, K] (`transA`: [..., K, M]), B [..., K, N] (`transB`: [..., N, K]),
 * C [..., M, N], all f32; leading dimensions are equal or one side has none and is shared.
 */
export const matmulWasm: Lowering<MatmulAttrs> = (e, [a, b], [c], attrs) => {
  const { transA, transB } = attrs;
  const dims = dimsOf((a as Value).shape, (b as Value).shape, transA, transB);
  if (product((c as Value).shape) === 0) return;
  if (dims.k > maxWholeK) splitProduct(e, a as Value, b as Value, c as Value, dims, attrs);
  else wholeProduct(e, a as Value, b as Value, c as Value, dims, attrs);
};

function wholeProduct(e: Emitter, a: Value, b: Value, c: Value, d: Dims, attrs: MatmulAttrs): void {
  const tile = gemmTile(e.mode);
  const { mr, nr } = tile;
  const panels = ceil(d.n, nr);
  const wanted = ceil(chunksFor(2 * d.m * d.n * d.k * d.batch), d.batch);
  const rowsPerChunk = ceil(ceil(d.m, Math.min(wanted, ceil(d.m, rowsOfOneChunk))), mr) * mr;
  const mBlocks = ceil(d.m, rowsPerChunk);
  const columnsPerChunk = ceil(panels, Math.min(panels, ceil(wanted, mBlocks))) * nr;
  const nBlocks = ceil(d.n, columnsPerChunk);
  const fitting = Math.max(mr, Math.floor(rowBlockBytes / (4 * d.k + 1) / mr) * mr);
  const rowsPerBlock = mBlocks === 1 ? rowsPerChunk : fitting;
  // A from memory in blocks; C where its rows lie so far apart that each store would miss alone.
  const touchA = Number(d.k > 64 && 4 * d.m * d.k * (d.batchedA ? d.batch : 1) >= fromMemory);
  const touchC = 2 * Number(mBlocks === 1 && nBlocks > 1 && 4 * d.m * d.n * d.batch >= fromMemory);
  let source: BSource = attrs.packed ? 'packed' : attrs.transB ? 't' : 'n';
  let from = b.buffer;
  const copies = d.batchedB ? d.batch : 1;
  const bytes = copies * packedBytes(tile, d.k, d.n);
  if (!attrs.packed && (mBlocks > 1 || bytes <= smallB)) {
    from = e.prepared(b, bytes, (to) => emitPackB(e, b.buffer, to, d.k, d.n, copies, attrs.transB));
    source = 'packed';
  }
  const bBytes = source === 'packed' ? packedBytes(tile, d.k, d.n) : 4 * d.k * d.n;
  e.call(
    gemmKernel(tile, attrs.transA, source, attrs.epilogue),
    {
      a: a.buffer,
      b: from,
      c: c.buffer,
      m: d.m,
      n: d.n,
      k: d.k,
      aBatch: d.batchedA ? 4 * d.m * d.k : 0,
      bBatch: d.batchedB ? bBytes : 0,
      rowsPerChunk,
      rowsPerBlock,
      columnsPerChunk,
      mBlocks,
      nBlocks,
      touch: touchA + touchC,
      ...epilogueValues(attrs.epilogue),
    },
    mBlocks * nBlocks * d.batch,
  );
}
