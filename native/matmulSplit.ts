/**
 * Matrix products over long k: weight gradients sum over every pixel of a batch.
 *
 * The one idea: k is cut into blocks that depend on the shapes alone; each block's sum is a chunk of its own, and a
 * second kernel adds them in order. So the result has the same bits on one thread and on many.
 */
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { emitTouch, gemmBlock, gemmTile, packedBytes, type Tile } from './gemm.ts';
import { defineKernel } from './kernel.ts';
import { at, type Emitter, type Value } from './lower.ts';
import {
  type BSource,
  cached,
  ceil,
  chunksFor,
  type Dims,
  fromMemory,
  type MatmulAttrs,
  panelMaker,
  scratchB,
  scratchBytes,
  tileKey,
} from './matmulParts.ts';
import { type I32, i32, type Local, loadV128, type V128 } from './wasm.ts';

/** k of a block inside a split: what a panel of B and the tiles of A keep in the caches. */
const splitStep = 256;
/** Bytes of all partial sums together, about: more would cost memory and passes over it. */
const partialBytes = 1 << 22;
/** Rows of a chunk. */
const rowsOfSplit = 512;

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

/** Lowers one product as partial sums and their merge. */
export function splitProduct(e: Emitter, a: Value, b: Value, c: Value, d: Dims, attrs: MatmulAttrs): void {
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
