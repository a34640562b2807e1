/**
 * The register tile under every matrix product, and the block loop around it.
 *
 * The one idea: an mr × nr tile of C stays in registers while k runs; B comes as packed panels [k][nr], so that each
 * step reads adjacent vectors, and A is read in place, one value broadcast per row. One accumulator per element, in k
 * order: the result's bits depend on neither the tile nor the mode's vector width. After Goto and van de Geijn,
 * "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34(3), 2008), less the packing of A, which at these
 * sizes costs more than it saves.
 */
import type { EpilogueCursor } from './epilogue.ts';
import {
  type Fn,
  f32x4,
  type I32,
  i32,
  type Local,
  loadF32,
  loadI32,
  loadSplat,
  loadV128,
  type Mode,
  type V128,
} from './wasm.ts';

/** Rows and columns of the register tile. `nr` is a multiple of 8, so that vectors come in pairs. */
export interface Tile {
  readonly mr: number;
  readonly nr: number;
}

/**
 * The tile of a mode. Narrow: 12 accumulators, 2 vectors of B and a broadcast fill 15 of 16 registers. Wide: the same
 * with every register twice as long. Strict mode has one register less, for the product before its addition.
 */
export const gemmTile = (mode: Mode): Tile => ({ mr: mode.relaxed ? 6 : 5, nr: mode.wide ? 16 : 8 });

/** Bytes of B [k, n] as panels [ceil(n / nr)][k][nr]. */
export const packedBytes = (tile: Tile, k: number, n: number) => Math.ceil(n / tile.nr) * tile.nr * k * 4;

/** Bytes that `gemmBlock` needs at `edge`. `k` counts only for an A that lies transposed. */
export const edgeBytes = (tile: Tile, k = 0) => Math.max(tile.mr * tile.nr, (tile.mr - 1) * k) * 4;

type Acc = readonly (readonly Local<V128>[])[];

/** A tile's rows of A: a pointer into each row, or one to the first of adjacent rows, and the bytes from k to k + 1. */
export type TileA =
  | { readonly rows: readonly Local<I32>[] }
  | { readonly column: Local<I32>; readonly step: Local<I32> };

/**
 * acc[i][j] = Σ_k A[i][k] · B[k][4j…4j+3] in k order. Moves the pointers in `a` and `b` past what it read.
 * `bytes` is the panel's length, 4·nr·k.
 */
export function emitGemmTile(
  f: Fn,
  acc: Acc,
  a: TileA,
  b: Local<I32>,
  bytes: I32,
  from: 'zero' | 'acc' = 'zero',
): void {
  if (from === 'zero') for (const row of acc) for (const v of row) f.set(v, f32x4(0) as Local<V128>);
  const vectors = (acc[0] as readonly unknown[]).length;
  const end = f.let(b.add(bytes));
  f.while(b.ltU(end), () => {
    const bs = Array.from({ length: vectors }, (_, j) => f.let(loadV128(b, 16 * j)));
    acc.forEach((row, i) => {
      const x = f.let('rows' in a ? loadSplat(a.rows[i] as Local<I32>) : loadSplat(a.column, 4 * i));
      row.forEach((v, j) => {
        f.set(v, f.madd(x, bs[j] as V128, v) as Local<V128>);
      });
    });
    if ('column' in a) f.inc(a.column, a.step);
    else for (let i = 0; i < acc.length; i++) f.inc(a.rows[i] as Local<I32>, 4);
    f.inc(b, 16 * vectors);
  });
}

/** A block of C = A · B + epilogue: sizes at run time, any of them may be a tail. */
export interface GemmBlock {
  readonly tile: Tile;
  readonly rows: I32;
  readonly columns: I32;
  readonly k: I32;
  /** A in place, [row][k] or [k][row], with `stride` bytes from row to row or from k to k. */
  readonly a: { readonly rows: I32; readonly stride: I32 } | { readonly columns: I32; readonly stride: I32 };
  /**
   * Packed panels [ceil(columns / nr)][k][nr], or emits what makes the panel of the columns from `j` on (of which
   * `columns` exist, at least 1) and gives its address.
   */
  readonly b: I32 | ((j: Local<I32>, columns: Local<I32>) => I32);
  /** Address of the block's first element of C, and bytes from row to row. */
  readonly c: I32;
  readonly cStride: I32;
  readonly cursor: EpilogueCursor;
  /** Row and column of that element in the epilogue's operands, and their columns. */
  readonly row: I32;
  readonly column: I32;
  readonly width: I32;
  /** Scratch of `edgeBytes(tile, k)`. */
  readonly edge: I32;
  /**
   * C += A · B instead, without epilogue, into a C with room for whole tiles: columns up to a multiple of nr and mr more
   * rows. What lands in the padding has no meaning.
   */
  readonly accumulate?: boolean;
}

/**
 * Multiplies one block: panels of B outside, tiles of rows inside, so that a panel stays in the first-level cache and
 * the rows of A in the second. Tiles have mr and mr−1 rows, so that from (mr−1)(mr−2) rows on none is padding. Padding
 * rows repeat the last one; nothing outside A, B's panels and C is touched.
 */
export function gemmBlock(f: Fn, p: GemmBlock): void {
  const { mr, nr } = p.tile;
  const [rows, columns, k, c0, cStride] = [f.let(p.rows), f.let(p.columns), f.let(p.k), f.let(p.c), f.let(p.cStride)];
  const [row0, column0, width] = [f.let(p.row), f.let(p.column), f.let(p.width)];
  const panelBytes = f.let(k.mul(4 * nr));
  const acc: Acc = Array.from({ length: mr }, () => Array.from({ length: nr / 4 }, () => f.local('v128')));
  const pointers = Array.from({ length: mr }, () => f.local('i32'));
  const b = f.local('i32');
  const aPlace = f.local('i32');
  const aStart = f.let('rows' in p.a ? p.a.rows : p.a.columns);
  const aStride = f.let(p.a.stride);
  const inRows = 'rows' in p.a;
  const [column, step, edge] = [f.local('i32'), f.local('i32'), f.let(p.edge)];
  const cPlace = f.local('i32');
  const row = f.local('i32');
  const panel = typeof p.b === 'function' ? f.local('i32') : f.let(p.b);

  const store = (height: number, valid: I32, columnsHere: I32, j: I32, guarded: boolean) => {
    f.if(
      guarded ? valid.geS(height).and(columnsHere.geS(nr)) : columnsHere.geS(nr),
      () => {
        p.cursor.seek(row0.add(row), column0.add(j), width);
        const at = f.let(cPlace);
        for (let i = 0; i < height; i++) {
          const line = acc[i] as readonly Local<V128>[];
          for (let v = 0; v < line.length; v += 2) {
            const [x, y] = p.cursor.pair(line[v] as V128, line[v + 1] as V128, 16 * v);
            f.storeV128(at, x, 16 * v);
            f.storeV128(at, y, 16 * v + 16);
          }
          if (i + 1 < height) {
            f.inc(at, cStride);
            p.cursor.nextRow(width.shl(2));
          }
        }
      },
      () =>
        storeEdge(f, p, acc.slice(0, height), {
          rows: f.let(valid.minS(height)),
          columns: f.let(columnsHere.minS(nr)),
          row: f.let(row0.add(row)),
          column: f.let(column0.add(j)),
          c: cPlace,
          cStride,
          width,
        }),
    );
  };

  const tileRows = (height: number, j: Local<I32>, columnsHere: Local<I32>, guarded: boolean) => {
    const valid = f.let(rows.sub(row));
    f.set(b, panel as I32 as Local<I32>);
    if (inRows) {
      const last = f.let(valid.minS(height).sub(1));
      pointers.slice(0, height).forEach((pointer, i) => {
        const index = guarded && i > 0 ? last.minS(i) : i32(i);
        f.set(pointer, aPlace.add(aStride.mul(index)) as Local<I32>);
      });
      f.inc(aPlace, aStride.mul(height));
    } else {
      f.set(column, aPlace as I32 as Local<I32>);
      f.set(step, aStride as I32 as Local<I32>);
      if (guarded)
        f.if(valid.ltS(height), () => {
          // The adjacent rows are not all there: read them from a padded copy.
          const to = f.let(edge as I32);
          emitPackPanel(f, {
            width: height,
            columns: valid,
            k,
            source: aPlace,
            stride: aStride,
            to,
            transposed: false,
          });
          f.set(column, edge as I32 as Local<I32>);
          f.set(step, 4 * height);
        });
      f.inc(aPlace, 4 * height);
    }
    const used = acc.slice(0, height);
    if (p.accumulate)
      eachRow(f, used, cPlace, cStride, (v, at, offset) => f.set(v, loadV128(at, offset) as Local<V128>));
    const a = inRows ? { rows: pointers } : { column, step };
    emitGemmTile(f, used, a, b, panelBytes, p.accumulate ? 'acc' : 'zero');
    if (p.accumulate) eachRow(f, used, cPlace, cStride, (v, at, offset) => f.storeV128(at, v, offset));
    else store(height, valid, columnsHere, j, guarded);
    f.inc(row, height);
    f.inc(cPlace, cStride.mul(height));
  };

  // t tiles of mr rows hold the block; s of them can do with one row less. Where t < s all are small.
  const tiles = f.let(rows.add(mr - 1).divU(mr));
  const spare = f.let(tiles.mul(mr).sub(rows));
  const full = f.let(
    i32(0)
      .maxS(f.let(tiles.sub(spare)))
      .mul(mr),
  );
  f.for(0, columns, nr, (j) => {
    const columnsHere = f.let(columns.sub(j));
    if (typeof p.b === 'function') f.set(panel, p.b(j, columnsHere) as Local<I32>);
    f.set(row, 0);
    f.set(aPlace, aStart as I32 as Local<I32>);
    f.set(cPlace, c0.add(j.shl(2)) as Local<I32>);
    f.while(row.ltS(full), () => tileRows(mr, j, columnsHere, false));
    f.while(row.ltS(rows), () => tileRows(mr - 1, j, columnsHere, true));
    if (typeof p.b !== 'function') f.inc(panel, panelBytes);
  });
}

/** Visits a tile's vectors with the place in C that belongs to each. */
function eachRow(
  f: Fn,
  acc: Acc,
  c: I32,
  cStride: I32,
  visit: (v: Local<V128>, at: Local<I32>, offset: number) => void,
): void {
  const at = f.let(c);
  for (const row of acc) {
    row.forEach((v, j) => {
      visit(v, at, 16 * j);
    });
    f.inc(at, cStride);
  }
}

interface Edge {
  readonly rows: Local<I32>;
  readonly columns: Local<I32>;
  readonly row: Local<I32>;
  readonly column: Local<I32>;
  readonly c: I32;
  readonly cStride: I32;
  readonly width: I32;
}

/** Stores part of a tile: through scratch, four columns at a time, then one by one. */
function storeEdge(f: Fn, p: GemmBlock, acc: Acc, e: Edge): void {
  const from = f.let(p.edge);
  acc.forEach((line, i) => {
    line.forEach((v, j) => {
      f.storeV128(from, v, (i * line.length + j) * 16);
    });
  });
  const to = f.let(e.c);
  const vectors = f.let(e.columns.and(-4));
  f.for(0, e.rows, 1, (i) => {
    p.cursor.seek(e.row.add(i), e.column, e.width);
    f.for(0, vectors, 4, (j) => {
      f.storeV128(to.add(j.shl(2)), p.cursor.vector(loadV128(from.add(j.shl(2)))));
      p.cursor.right(16);
    });
    f.for(vectors, e.columns, 1, (j) => {
      f.storeF32(to.add(j.shl(2)), p.cursor.single(loadSplat(from.add(j.shl(2)))).lane(0));
      p.cursor.right(4);
    });
    f.inc(from, p.tile.nr * 4);
    f.inc(to, e.cStride);
  });
}

/**
 * Reads one word of every line of `bytes` bytes, in order. Tiles read many short streams, which the processor's
 * prefetcher does not follow; it does follow this one, which costs a fraction of the misses that it saves.
 */
export function emitTouch(f: Fn, start: I32, bytes: I32): void {
  const place = f.let(start);
  const end = f.let(place.add(bytes));
  f.while(end.sub(place).gtS(448), () => {
    for (let i = 0; i < 8; i++) f.drop(loadI32(place, 64 * i));
    f.inc(place, 512);
  });
  f.while(place.ltU(end), () => {
    f.drop(loadI32(place));
    f.inc(place, 64);
  });
}

/** Four 4-vectors, transposed. */
function transpose4(f: Fn, [a, b, c, d]: readonly [V128, V128, V128, V128]): [V128, V128, V128, V128] {
  const [ab0, ab1] = [f.let(a.lanes(b, [0, 4, 1, 5])), f.let(a.lanes(b, [2, 6, 3, 7]))];
  const [cd0, cd1] = [f.let(c.lanes(d, [0, 4, 1, 5])), f.let(c.lanes(d, [2, 6, 3, 7]))];
  return [
    ab0.lanes(cd0, [0, 1, 4, 5]),
    ab0.lanes(cd0, [2, 3, 6, 7]),
    ab1.lanes(cd1, [0, 1, 4, 5]),
    ab1.lanes(cd1, [2, 3, 6, 7]),
  ];
}

export interface PackPanel {
  readonly width: number;
  /** Columns that exist, at least 1; the rest of the panel becomes zero. */
  readonly columns: Local<I32>;
  readonly k: Local<I32>;
  /** Address of the panel's first element in the source, and bytes between its rows. */
  readonly source: Local<I32>;
  readonly stride: Local<I32>;
  readonly to: Local<I32>;
  /** The source is [column][k] instead of [k][column]. */
  readonly transposed: boolean;
}

/**
 * Writes one panel [k][width] and moves `to` past it. `width` is at least 4.
 */
export function emitPackPanel(f: Fn, p: PackPanel): void {
  const { width, columns, k, stride, to } = p;
  const line = 4 * width;
  const src = f.let(p.source);
  const end = f.let(to.add(k.mul(line)));
  f.if(
    columns.geS(width),
    () => {
      if (!p.transposed)
        f.while(to.ltU(end), () => {
          // Vectors at 0, 4, 8, …; the last one ends with the line, overlapping where the width is no multiple of 4.
          const offsets = Array.from({ length: Math.ceil(width / 4) }, (_, j) => Math.min(16 * j, line - 16));
          const vs = offsets.map((o) => f.let(loadV128(src, o)));
          vs.forEach((v, j) => {
            f.storeV128(to, v, offsets[j]);
          });
          f.inc(src, stride);
          f.inc(to, line);
        });
      else packTransposed(f, p, src, end);
    },
    () => {
      f.fill(to, 0, end.sub(to));
      const [step, across] = p.transposed ? [i32(4), stride] : [stride, i32(4)];
      f.while(to.ltU(end), () => {
        const from = f.let(src);
        f.for(0, columns, 1, (j) => {
          f.storeF32(to.add(j.shl(2)), loadF32(from));
          f.inc(from, across);
        });
        f.inc(src, step);
        f.inc(to, line);
      });
    },
  );
}

/** A full panel from [column][k]: 4 × 4 blocks, then what is left of k one by one. */
function packTransposed(f: Fn, p: PackPanel, src: Local<I32>, end: Local<I32>): void {
  const { width, k, stride, to } = p;
  const line = 4 * width;
  const vectorEnd = f.let(to.add(k.and(-4).mul(line)));
  const starts = Array.from({ length: Math.ceil(width / 4) }, (_, j) => Math.min(4 * j, width - 4));
  f.while(to.ltU(vectorEnd), () => {
    const from = f.let(src);
    let at = 0;
    for (const start of starts) {
      f.inc(from, stride.mul(start - at));
      at = start;
      const second = f.let(from.add(stride));
      const third = f.let(second.add(stride));
      const columns = transpose4(f, [
        f.let(loadV128(from)),
        f.let(loadV128(second)),
        f.let(loadV128(third)),
        f.let(loadV128(third.add(stride))),
      ]);
      columns.forEach((v, r) => {
        f.storeV128(to, v, r * line + 4 * start);
      });
    }
    f.inc(src, 16);
    f.inc(to, 4 * line);
  });
  f.while(to.ltU(end), () => {
    const from = f.let(src);
    for (let j = 0; j < width; j++) {
      f.storeF32(to, loadF32(from), 4 * j);
      f.inc(from, stride);
    }
    f.inc(src, 4);
    f.inc(to, line);
  });
}
