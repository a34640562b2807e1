/**
 * What whole and split matrix products share: scratch, packing of B, the kernels' cache.
 *
 * The one idea: B is either packed once before (many chunks use a panel) or panel by panel just before use (one does).
 */
import type { Epilogue } from './epilogue.ts';
import { edgeBytes, emitPackPanel, emitTouch, packedBytes, type Tile } from './gemm.ts';
import { defineKernel, type Kernel } from './kernel.ts';
import type { Fn, I32, Local } from './wasm.ts';

export interface MatmulAttrs {
  readonly transA: boolean;
  readonly transB: boolean;
  /** Applied to each element before it is stored. Batches count as one matrix of batch·M rows. */
  readonly epilogue?: Epilogue;
  /** B is a buffer that `packB` wrote for this mode; its shape is still that of the matrix. */
  readonly packed?: boolean;
}

/** Sizes of a product. */
export interface Dims {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  /** Whether each side has a matrix per batch element. */
  readonly batchedA: boolean;
  readonly batchedB: boolean;
}

/** Longest k that one accumulator runs over. */
export const maxWholeK = 1024;
/**
 * Bytes from which on a matrix is taken to lie beyond the caches near the core. Its blocks are then read ahead in order,
 * unless its rows are so short that the processor prefetches them anyway.
 */
export const fromMemory = 1 << 22;
/** Scratch of one chunk: one panel of B, and the edge of C or A. */
const largest: Tile = { mr: 6, nr: 16 };
export const scratchB = packedBytes(largest, maxWholeK, largest.nr);
const scratchEdge = edgeBytes(largest, maxWholeK);
export const scratchBytes = scratchB + scratchEdge;

export const ceil = (a: number, b: number) => Math.ceil(a / b);
export const tileKey = ({ mr, nr }: Tile) => `${mr}x${nr}`;
const memo = new Map<string, Kernel>();
/** One kernel object per key. Keys of kernels with an epilogue hold all that their code depends on. */
export function cached<K>(key: string, make: (key: string) => K): K {
  const found = memo.get(key) ?? make(key);
  memo.set(key, found as Kernel);
  return found as K;
}

/** How many chunks are worth making: each of some 200 kflop, 64 at most. */
export const chunksFor = (flops: number) => Math.max(1, Math.min(64, Math.floor(flops / 2e5)));

/** Packs one panel of B per chunk; chunks run over panels, then over batch elements. */
export const packKernel = (tile: Tile, transposed: boolean) =>
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

/** Where a kernel finds B: packed before, or [k][n] or [n][k] as it lies. */
export type BSource = 'packed' | 'n' | 't';

/** Packs a panel into scratch just before it is used. `whole`: the source's rows are k long, so reading ahead pays. */
export function panelMaker(
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
