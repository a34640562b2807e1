/**
 * Tiles of matrix products by device and shape: plain data, measured.
 *
 * The one idea: the first row that a product fits is its tile. Where the tiles are too few to keep the device busy, K is cut
 * into slices whose sums are added afterwards; all of it follows from the shape, so results do not depend on the run.
 */
import { ceilDiv, type GpuLimits } from './lower.ts';

/** C [M, N] = A [M, K] · B [K, N], `batch` times. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
}

export interface Tile {
  /** What a workgroup makes at a time. */
  readonly tileM: number;
  readonly tileN: number;
  /** Steps along K, where staged. */
  readonly tileK: number;
  /** What an invocation makes of it: multiples of 4. At most 256 invocations. */
  readonly rows: number;
  readonly columns: number;
}

/** A tile, and the products it is for: those that exceed none of these. */
export interface TileRow extends Tile {
  readonly maxM?: number;
  readonly maxN?: number;
  /** Multiply-adds. */
  readonly maxWork?: number;
}

export interface TileTable {
  /** Through workgroup memory. Otherwise each invocation reads its operands itself. */
  readonly staged: boolean;
  /** Workgroups that keep the device busy; K is cut where there would be fewer. */
  readonly busy: number;
  /** Least length of a slice of K. */
  readonly depth: number;
  readonly rows: readonly TileRow[];
}

export const tileTables: { readonly gpu: TileTable; readonly software: TileTable } = {
  gpu: {
    staged: true,
    busy: 256,
    depth: 128,
    rows: [
      { maxWork: 2 ** 27, tileM: 32, tileN: 32, tileK: 16, rows: 4, columns: 4 },
      { maxM: 32, tileM: 32, tileN: 128, tileK: 16, rows: 4, columns: 8 },
      { maxN: 32, tileM: 128, tileN: 32, tileK: 16, rows: 8, columns: 4 },
      { tileM: 64, tileN: 64, tileK: 16, rows: 8, columns: 4 },
    ],
  },
  // A GPU that is emulated on the CPU: a load takes the time of a dozen products, a barrier that of a hundred, and zeroing
  // workgroup memory is compiled word by word. Small products have small blocks, which compile sooner.
  software: {
    staged: false,
    busy: 32,
    depth: 256,
    rows: [
      { maxWork: 2 ** 22, tileM: 32, tileN: 32, tileK: 4, rows: 8, columns: 8 },
      { maxM: 8, tileM: 8, tileN: 64, tileK: 4, rows: 8, columns: 16 },
      { maxN: 8, tileM: 64, tileN: 8, tileK: 4, rows: 16, columns: 8 },
      { tileM: 32, tileN: 32, tileK: 4, rows: 16, columns: 16 },
    ],
  },
};

export interface Tiling {
  readonly tile: Tile;
  readonly staged: boolean;
  readonly tilesM: number;
  readonly tilesN: number;
  /** Slices of K, and their length: a multiple of `tileK`. */
  readonly slices: number;
  readonly depth: number;
}

/** How a product is spread over a device. `whole`: K is not to be cut. */
export function tilingOf({ m, n, k, batch }: Product, limits: GpuLimits, whole = false): Tiling {
  const { staged, busy, depth: least, rows } = limits.software ? tileTables.software : tileTables.gpu;
  const work = m * n * k * batch;
  const tile = rows.find(({ maxM = m, maxN = n, maxWork = work }) => m <= maxM && n <= maxN && work <= maxWork)!;
  const [tilesM, tilesN] = [ceilDiv(m, tile.tileM), ceilDiv(n, tile.tileN)];
  const wanted = whole ? 1 : ceilDiv(busy, Math.max(1, batch * tilesM * tilesN));
  const most = Math.max(1, Math.min(wanted, Math.floor(k / least)));
  const depth = most === 1 ? k : Math.floor(k / most / tile.tileK) * tile.tileK;
  return { tile, staged, tilesM, tilesN, slices: most === 1 ? 1 : ceilDiv(k, depth), depth };
}
