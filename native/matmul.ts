/**
 * Matrix products in generated WASM: all four transposes, batches, fused epilogues.
 *
 * The one idea: how the work is cut (blocks of rows, groups of panels, blocks of k) follows from the shapes alone, so
 * the result does not depend on who computes which chunk. Long k (weight gradients sum over every pixel of a batch) is
 * cut into fixed blocks whose partial sums are added in order; otherwise one accumulator runs over all of k.
 */
import { ShapeError } from '../src/core/errors.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { edgeBytes, emitPackPanel, emitTouch, gemmBlock, gemmTile, packedBytes, type Tile } from './gemm.ts';
import { defineKernel, type Kernel } from './kernel.ts';
import { at, type Buffer, type Emitter, type Lowering, type Value } from './lower.ts';
import { type Fn, type I32, i32, type Local, loadV128, type Mode, type V128 } from './wasm.ts';

export interface MatmulAttrs {
  readonly transA: boolean;
  readonly transB: boolean;
  /** Applied to each element before it is stored. Batches count as one matrix of batch·M rows. */
  readonly epilogue?: Epilogue;
  /** B is a buffer that `packB` wrote for this mode; its shape is still that of the matrix. */
  readonly packed?: boolean;
}

/** Longest k that one accumulator runs over, and the k of a block inside a split. */
const maxWholeK = 1024;
const splitStep = 256;
/** Bytes of all partial sums together, about: more would cost memory and passes over it. */
const partialBytes = 1 << 22;
/** Bytes of A per block of rows: half of a second-level cache of 512 KiB. */
const rowBlockBytes = 1 << 18;
/**
 * Bytes from which on a matrix is taken to lie beyond the caches near the core. Its blocks are then read ahead in order,
 * unless its rows are so short that the processor prefetches them anyway.
 */
const fromMemory = 1 << 22;
/** Rows of a chunk that packs B itself, and rows of a chunk of a split. */
const rowsOfOneChunk = 128;
/** Bytes of a B that is packed in a call of its own even where each panel is used by one chunk only. */
const smallB = 1 << 20;
const rowsOfSplit = 512;
/** Scratch of one chunk: one panel of B, and the edge of C or A. */
const largest: Tile = { mr: 6, nr: 16 };
const scratchB = packedBytes(largest, maxWholeK, largest.nr);
const scratchEdge = edgeBytes(largest, maxWholeK);
const scratchBytes = scratchB + scratchEdge;

const ceil = (a: number, b: number) => Math.ceil(a / b);
const tileKey = ({ mr, nr }: Tile) => `${mr}x${nr}`;
const memo = new Map<string, Kernel>();
/** One kernel object per key. Keys of kernels with an epilogue hold all that their code depends on. */
function cached<K>(key: string, make: (key: string) => K): K {
  const found = memo.get(key) ?? make(key);
  memo.set(key, found as Kernel);
  return found as K;
}

/** Packs one panel of B per chunk; chunks run over panels, then over batch elements. */
const packKernel = (tile: Tile, transposed: boolean) =>
  cached(`gemm_pack_${tile.nr}${transposed ? '_t' : ''}`, (key) =>
    defineKernel({
      key,
      args: { source: 'i32', to: 'i32', k: 'i32', n: 'i32', batchBytes: 'i32', panels: 'i32' },
      chunk(f, { source, to, k, n, batchBytes, panels }, chunk) {
        const batch = f.let(chunk.divU(panels));
        const j = f.let(chunk.remU(panels).mul(tile.nr));
        const stride = f.let((transposed ? k : n).shl(2));
        emitPackPanel(f, {
          width: tile.nr,
          columns: f.let(n.sub(j)),
          k,
          source: f.let(source.add(batch.mul(batchBytes)).add(transposed ? j.mul(stride) : j.shl(2))),
          stride,
          to: f.let(to.add(chunk.mul(k).mul(4 * tile.nr))),
          transposed,
        });
      },
    }),
  );

type BSource = 'packed' | 'n' | 't';

/** Packs a panel into scratch just before it is used. `whole`: the source's rows are k long, so reading ahead pays. */
function panelMaker(
  f: Fn,
  tile: Tile,
  from: 'n' | 't',
  source: I32,
  stride: Local<I32>,
  k: Local<I32>,
  to: I32,
  whole: boolean,
) {
  return (j: Local<I32>, columns: Local<I32>) => {
    const transposed = from === 't';
    if (whole && transposed) emitTouch(f, source.add(j.mul(stride)), f.let(columns.minS(tile.nr)).mul(stride));
    emitPackPanel(f, {
      width: tile.nr,
      columns,
      k,
      source: f.let(source.add(transposed ? j.mul(stride) : j.shl(2))),
      stride,
      to: f.let(to),
      transposed,
    });
    return to;
  };
}

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

/**
 * Partial sums over one block of k for one block of rows × group of columns per chunk. Partials lie
 * [split][mBlocks · (rowsPerBlock + mr)][width], width a multiple of nr.
 */
const splitKernel = (tile: Tile, transA: boolean, b: BSource) =>
  cached(`gemm_split_${tileKey(tile)}_${transA ? 't' : 'n'}${b}`, (key) =>
    defineKernel({
      key,
      args: {
        a: 'i32',
        b: 'i32',
        partials: 'i32',
        m: 'i32',
        n: 'i32',
        k: 'i32',
        kPerSplit: 'i32',
        rowsPerBlock: 'i32',
        columnsPerChunk: 'i32',
        mBlocks: 'i32',
        nBlocks: 'i32',
        touch: 'i32',
        width: 'i32',
      },
      scratchBytes,
      chunk(f, args, chunk, scratch) {
        const { m, n, k } = args;
        const [nBlock, rest] = [f.let(chunk.remU(args.nBlocks)), f.let(chunk.divU(args.nBlocks))];
        const [mBlock, split] = [f.let(rest.remU(args.mBlocks)), f.let(rest.divU(args.mBlocks))];
        const j0 = f.let(nBlock.mul(args.columnsPerChunk));
        const columns = f.let(f.let(n.sub(j0)).minS(args.columnsPerChunk));
        const i0 = f.let(mBlock.mul(args.rowsPerBlock));
        const rows = f.let(f.let(m.sub(i0)).minS(args.rowsPerBlock));
        const room = f.let(args.rowsPerBlock.add(tile.mr));
        const cStride = f.let(args.width.shl(2));
        // rest = split · mBlocks + mBlock: this chunk's block of rows among all of them.
        const c = f.let(args.partials.add(rest.mul(room).mul(cStride)).add(j0.shl(2)));
        const lineBytes = f.let(
          columns
            .add(tile.nr - 1)
            .divU(tile.nr)
            .mul(4 * tile.nr),
        );
        const clear = f.let(c as I32);
        f.for(0, room, 1, () => {
          f.fill(clear, 0, lineBytes);
          f.inc(clear, cStride);
        });
        const aStride = f.let((transA ? m : k).shl(2));
        const bStride = f.let((b === 't' ? k : n).shl(2));
        const edge = f.let(scratch.add(scratchB));
        const start = f.let(split.mul(args.kPerSplit));
        const end = f.let(f.let(start.add(args.kPerSplit)).minS(k));
        f.for(start, end, splitStep, (at) => {
          const depth = f.let(f.let(end.sub(at)).minS(splitStep));
          if (transA) f.if(args.touch.and(1), () => emitTouch(f, args.a.add(at.mul(aStride)), depth.mul(aStride)));
          if (b === 'n') f.if(args.touch.and(2), () => emitTouch(f, args.b.add(at.mul(bStride)), depth.mul(bStride)));
          const b0 = f.let(
            args.b.add(
              b === 'packed'
                ? j0.mul(k).add(at.mul(tile.nr)).shl(2)
                : b === 't'
                  ? j0.mul(bStride).add(at.shl(2))
                  : at.mul(bStride).add(j0.shl(2)),
            ),
          );
          gemmBlock(f, {
            tile,
            rows,
            columns,
            k: depth,
            a: transA
              ? { columns: args.a.add(at.mul(aStride)).add(i0.shl(2)), stride: aStride }
              : { rows: args.a.add(i0.mul(aStride)).add(at.shl(2)), stride: aStride },
            b:
              b === 'packed'
                ? (j) => b0.add(j.mul(k).shl(2))
                : panelMaker(f, tile, b, b0, bStride, depth, scratch, false),
            c,
            cStride,
            cursor: new EpilogueCursor(f, undefined, {}),
            row: i32(0),
            column: i32(0),
            width: i32(0),
            edge,
            accumulate: true,
          });
        });
      },
    }),
  );

/** Adds the partials of `splitKernel` in order and applies the epilogue; `rowsPerChunk` rows per chunk. */
const mergeKernel = (tile: Tile, ep: Epilogue | undefined) =>
  cached(`gemm_merge_${tile.mr}${epilogueKey(ep)}`, (key) =>
    defineKernel({
      key,
      args: {
        partials: 'i32',
        c: 'i32',
        m: 'i32',
        n: 'i32',
        firstRow: 'i32',
        splits: 'i32',
        splitBytes: 'i32',
        rowsPerBlock: 'i32',
        width: 'i32',
        rowsPerChunk: 'i32',
        ...epilogueArgs(ep),
      },
      chunk(f, args, chunk) {
        const { n } = args;
        const start = f.let(chunk.mul(args.rowsPerChunk));
        const end = f.let(f.let(start.add(args.rowsPerChunk)).minS(args.m));
        const pairs = f.let(n.and(-8));
        const cursor = new EpilogueCursor(f, ep, args);
        const [x, y] = [f.local('v128'), f.local('v128')];
        f.for(start, end, 1, (i) => {
          const padded = i.add(i.divU(args.rowsPerBlock).mul(tile.mr));
          const from = f.let(args.partials.add(padded.mul(args.width).shl(2)));
          const to = f.let(args.c.add(i.mul(n).shl(2)));
          cursor.seek(f.let(i.add(args.firstRow)), 0, n);
          const sum = () => {
            const place = f.let(from as I32);
            f.set(x, loadV128(place) as Local<V128>);
            f.set(y, loadV128(place, 16) as Local<V128>);
            f.for(1, args.splits, 1, () => {
              f.inc(place, args.splitBytes);
              f.set(x, x.add(loadV128(place)) as Local<V128>);
              f.set(y, y.add(loadV128(place, 16)) as Local<V128>);
            });
          };
          f.for(0, pairs, 8, () => {
            sum();
            const [p, q] = cursor.pair(x, y);
            f.storeV128(to, p);
            f.storeV128(to, q, 16);
            f.inc(from, 32);
            f.inc(to, 32);
            cursor.right(32);
          });
          // The padding of the partials makes whole loads safe; stores go one by one.
          f.if(pairs.ltS(n), () => {
            sum();
            f.for(pairs, n, 1, () => {
              f.storeF32(to, cursor.single(x).lane(0));
              f.set(x, x.lanes(y, [1, 2, 3, 4]) as Local<V128>);
              f.set(y, y.lanes(y, [1, 2, 3, 0]) as Local<V128>);
              f.inc(to, 4);
              cursor.right(4);
            });
          });
        });
      },
    }),
  );

interface Dims {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  /** Whether each side has a matrix per batch element. */
  readonly batchedA: boolean;
  readonly batchedB: boolean;
}

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

/** How many chunks are worth making: each of some 200 kflop, 64 at most. */
const chunksFor = (flops: number) => Math.max(1, Math.min(64, Math.floor(flops / 2e5)));

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

function splitProduct(e: Emitter, a: Value, b: Value, c: Value, d: Dims, attrs: MatmulAttrs): void {
  const tile = gemmTile(e.mode);
  const { mr, nr } = tile;
  const rowsPerBlock = ceil(d.m, ceil(d.m, rowsOfSplit));
  const mBlocks = ceil(d.m, rowsPerBlock);
  const panels = ceil(d.n, nr);
  const mostSplits = Math.max(1, Math.floor(partialBytes / (4 * d.m * d.n)));
  const splits0 = Math.min(32, mostSplits, ceil(d.k, splitStep));
  const kPerSplit = ceil(ceil(d.k, splits0), 8) * 8;
  const splits = ceil(d.k, kPerSplit);
  const wanted = Math.max(1, Math.min(16, chunksFor(2 * d.m * d.n * d.k)));
  const columnsPerChunk = ceil(panels, Math.min(panels, ceil(wanted, splits * mBlocks))) * nr;
  const nBlocks = ceil(d.n, columnsPerChunk);
  const width = panels * nr;
  const bBytes = attrs.packed ? packedBytes(tile, d.k, d.n) : 4 * d.k * d.n;
  const splitBytes = 4 * mBlocks * (rowsPerBlock + mr) * width;
  const partials = e.temp(splits * splitBytes);
  const rowsPerChunk = Math.max(1, ceil(d.m, Math.min(16, ceil(d.m * d.n * splits, 1 << 16))));
  for (let i = 0; i < d.batch; i++) {
    e.call(
      splitKernel(tile, attrs.transA, attrs.packed ? 'packed' : attrs.transB ? 't' : 'n'),
      {
        a: at(a.buffer, d.batchedA ? 4 * d.m * d.k * i : 0),
        b: at(b.buffer, d.batchedB ? bBytes * i : 0),
        partials,
        m: d.m,
        n: d.n,
        k: d.k,
        kPerSplit,
        rowsPerBlock,
        columnsPerChunk,
        mBlocks,
        nBlocks,
        // Bit 0: A, bit 1: B.
        touch: 4 * (d.m + d.n) * d.k >= 2 * fromMemory ? Number(mBlocks === 1) + 2 * Number(nBlocks === 1) : 0,
        width,
      },
      splits * mBlocks * nBlocks,
    );
    e.call(
      mergeKernel(tile, attrs.epilogue),
      {
        partials,
        c: at(c.buffer, 4 * d.m * d.n * i),
        m: d.m,
        n: d.n,
        firstRow: d.m * i,
        splits,
        splitBytes,
        rowsPerBlock,
        width,
        rowsPerChunk,
        ...epilogueValues(attrs.epilogue),
      },
      ceil(d.m, rowsPerChunk),
    );
  }
}
