/**
 * The kernels of the strided copy: each moves blocks of a 2-D panel of rows × columns under four outer dimensions.
 * Five ways: rows that are contiguous on both sides, rows that repeat one element, rows of one constant, transposes in
 * 4×4 register blocks, and element by element. Dimensions and strides are arguments.
 */
import { defineKernel, type Kernel } from './kernel.ts';
import { type Fn, type I32, i32, type Local, loadI32, loadU8, loadV128, loadWord, select, type V128 } from './wasm.ts';

export type ElementBytes = 1 | 4;

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
export type PanelArgs = typeof panelArgs;

/** What the body of a panel kernel sees: a block of rows × cols at addresses s and d. */
interface Panel {
  readonly s: Local<I32>;
  readonly d: Local<I32>;
  readonly rows: Local<I32>;
  readonly cols: Local<I32>;
  readonly a: { readonly [K in keyof PanelArgs]: Local<I32> };
  readonly scratch: I32;
}

function panelKernel(key: string, body: (f: Fn, p: Panel) => void, scratchBytes = 0): Kernel<PanelArgs> {
  return defineKernel({
    key,
    args: panelArgs,
    scratchBytes,
    chunk(f, a, chunk, scratch) {
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
        body(f, { s, d, rows, cols, a, scratch });
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
export const fillRows = panelKernel('fillRows', (f, p) => eachRow(f, p, () => emitFill(f, p.d, p.a.value, p.cols)));
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

/** Transposes 4×4 words: from four addresses to four addresses. */
function turn(f: Fn, sources: readonly I32[], targets: readonly I32[]): void {
  const [r0, r1, r2, r3] = sources.map((x): V128 => f.let(loadV128(x))) as [V128, V128, V128, V128];
  const lo01 = f.let(r0.lanes(r1, [0, 4, 1, 5]));
  const hi01 = f.let(r0.lanes(r1, [2, 6, 3, 7]));
  const lo23 = f.let(r2.lanes(r3, [0, 4, 1, 5]));
  const hi23 = f.let(r2.lanes(r3, [2, 6, 3, 7]));
  f.storeV128(targets[0]!, lo01.lanes(lo23, [0, 1, 4, 5]));
  f.storeV128(targets[1]!, lo01.lanes(lo23, [2, 3, 6, 7]));
  f.storeV128(targets[2]!, hi01.lanes(hi23, [0, 1, 4, 5]));
  f.storeV128(targets[3]!, hi01.lanes(hi23, [2, 3, 6, 7]));
}

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
            turn(f, sources, targets);
          } else {
            // Interleavings, because a free byte shuffle takes V8 through memory.
            const [r0, r1, r2, r3] = sources.map((x) => loadWord(x)) as [V128, V128, V128, V128];
            const mix = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
            const turned = f.let(r0.shuffle(r2, mix).shuffle(r1.shuffle(r3, mix), mix));
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

const tile = 16;
/**
 * The same for 4-byte elements in tiles of 16×16 by way of scratch memory, both sides at least 16. For strides of a
 * multiple of 1 KiB: there the lines of a strip fall into few sets of the first-level cache and push each other out;
 * here each cache line is read and written at once, whole. Down the rows, so that the source is read as streams.
 */
export const transposeTiles = panelKernel(
  'transposeTiles',
  (f, { s, d, rows, cols, a, scratch }) => {
    const [row, col, i, j, k] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')];
    const [from, to] = [f.local('i32'), f.local('i32')];
    const [lastRow, lastCol] = [f.let(rows.sub(tile)), f.let(cols.sub(tile))];
    const [s2, s4] = [f.let(a.sCol.shl(1)), f.let(a.sCol.shl(2))];
    const s3 = f.let(s2.add(a.sCol));
    f.set(col, 0);
    f.while(col.ltS(cols), () => {
      f.set(j, col.minS(lastCol));
      f.set(row, 0);
      f.while(row.ltS(rows), () => {
        f.set(i, row.minS(lastRow));
        f.set(from, s.add(j.mul(a.sCol)).add(i.shl(2)));
        f.set(k, 0);
        f.while(k.ltS(4 * tile), () => {
          f.set(to, scratch.add(k));
          for (let r = 0; r < 4 * tile; r += 16) {
            const line = [from, from.add(a.sCol), from.add(s2), from.add(s3)].map((x) => x.add(r));
            turn(
              f,
              line,
              [0, 1, 2, 3].map((q) => to.add((r / 4 + q) * 4 * tile)),
            );
          }
          f.inc(from, s4);
          f.inc(k, 16);
        });
        f.set(from, scratch);
        f.set(to, d.add(i.mul(a.dRow)).add(j.shl(2)));
        f.set(k, 0);
        f.while(k.ltS(tile), () => {
          for (let o = 0; o < 4 * tile; o += 16) f.storeV128(to, loadV128(from, o), o);
          f.inc(from, 4 * tile);
          f.inc(to, a.dRow);
          f.inc(k, 1);
        });
        f.inc(row, tile);
      });
      f.inc(col, tile);
    });
  },
  4 * tile * tile,
);

export const panelKernels = {
  1: { repeat: repeatRows(1), strided: stridedElements(1), transpose: transposePanel(1) },
  4: { repeat: repeatRows(4), strided: stridedElements(4), transpose: transposePanel(4) },
} as const;
