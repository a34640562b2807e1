/**
 * Batch-norm statistics: mean and biased variance of every channel of x [rows, C].
 *
 * The one idea: a block of rows gives (mean, M2) from one pass, shifted by the mean of its first rows so that squares do
 * not cancel; blocks merge in order (Chan, Golub and LeVeque 1979). Means are kept relative to the shift of the first
 * block, so a large common offset costs no digits. Blocks depend on the shape alone.
 */
import { loadElements } from './elements.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32x4, type I32, type Local, loadSplat, type V128 } from './wasm.ts';

/** Elements of a block, about; and at most 1024 rows, so that its sums stay short. */
const blockElements = 131072;
/** Columns of a chunk. */
const tileColumns = 512;

/** Vectors `ahead` floats after the address; a single one holds one float in every lane. */
const loadLanes = (f: Fn, at: Local<I32>, vectors: number, ahead = 0): Local<V128>[] =>
  (vectors === 1
    ? [f.let(loadSplat(at, 4 * ahead))]
    : Array.from({ length: vectors / 2 }, (_, t) =>
        loadElements(f, 'f32', at, 8, 8 * t + ahead),
      ).flat()) as Local<V128>[];
const storeLanes = (f: Fn, at: Local<I32>, x: readonly V128[], ahead = 0) => {
  if (x.length === 1) f.storeF32(at, x[0]!.lane(0), 4 * ahead);
  else for (const [k, v] of x.entries()) f.storeV128(at, v, 16 * k + 4 * ahead);
};

/** Columns from i0 to i1 in strips: `vectors` adjacent vectors at a time, then two, then one column alone. */
function strips(
  f: Fn,
  i0: Local<I32>,
  i1: Local<I32>,
  vectors: number,
  emit: (i: Local<I32>, vectors: number) => void,
) {
  const i = f.let(i0);
  for (const n of vectors > 2 ? [vectors, 2] : [2]) {
    f.while(i.add(4 * n).leS(i1), () => {
      emit(i, n);
      f.inc(i, 4 * n);
    });
  }
  f.while(i.ltS(i1), () => {
    emit(i, 1);
    f.inc(i, 1);
  });
}

/** Rows whose mean is the block's shift. */
const shiftRows = 8;

/** Partial results of block b, each [blocks, C]: `shift`, mean less shift at `mean`, squared deviations at `m2`. */
const blockKernel = defineKernel({
  key: 'batchNormBlocks',
  args: {
    x: 'i32',
    shift: 'i32',
    mean: 'i32',
    m2: 'i32',
    rows: 'i32',
    channels: 'i32',
    length: 'i32',
    tiles: 'i32',
    group: 'i32',
  },
  scratchBytes: 12 * tileColumns,
  chunk(f, { x, shift, mean, m2, rows, channels, length, tiles, group }, chunk, scratch) {
    const block = f.let(chunk.divU(tiles));
    const i0 = f.let(chunk.remU(tiles).mul(tileColumns));
    const i1 = f.let(i0.add(tileColumns));
    f.set(i1, i1.minS(channels));
    const r0 = f.let(block.mul(length));
    const r1 = f.let(r0.add(length));
    f.set(r1, r1.minS(rows));
    const step = f.let(channels.shl(2));
    const first = f.let(x.add(r0.mul(step)));
    const place = (base: I32, i: I32) => f.let(base.add(i.shl(2)));
    const forStrips = (emit: (i: Local<I32>, vectors: number) => void) => strips(f, i0, i1, f.mode.wide ? 4 : 2, emit);
    // A strip of L columns keeps its L sums, L sums of squares and L shifts side by side in scratch. Three arrays apart by
    // a power of two would meet in the same cache sets, and stores to one would stall loads from the others.
    const own = (i: Local<I32>) => f.let(scratch.add(i.sub(i0).mul(12)));
    const lanes = (vectors: number) => (vectors === 1 ? 1 : 4 * vectors);
    const load = (at: Local<I32>, part: number, vectors: number) => loadLanes(f, at, vectors, part * lanes(vectors));
    const store = (at: Local<I32>, part: number, v: readonly V128[]) => storeLanes(f, at, v, part * lanes(v.length));
    f.fill(scratch, 0, 12 * tileColumns);
    /**
     * Adds rows less their shift to the sums, and their squares to the sums of squares. Row after row, so that memory is
     * read in order; narrow rows go in groups, column by column.
     */
    const pass = (last: Local<I32>, withSquares: boolean) => {
      f.for(r0, last, group, (r) => {
        const end = f.let(r.add(group));
        f.set(end, end.minS(last));
        const row = f.let(x.add(r.mul(step)));
        forStrips((i, vectors) => {
          const at = own(i);
          const s = load(at, 0, vectors);
          const q = withSquares ? load(at, 1, vectors) : [];
          const base = withSquares ? load(at, 2, vectors) : loadLanes(f, place(first, i), vectors);
          const from = place(row, i);
          f.for(r, end, 1, () => {
            const d = loadLanes(f, from, vectors).map((v, k) => f.let(v.sub(base[k]!)));
            for (const [k, v] of d.entries()) f.set(s[k]!, s[k]!.add(v));
            if (withSquares) for (const [k, v] of d.entries()) f.set(q[k]!, f.madd(v, v, q[k]!));
            f.inc(from, step);
          });
          store(at, 0, s);
          if (withSquares) store(at, 1, q);
        });
      });
    };
    const head = f.let(r0.add(shiftRows));
    f.set(head, head.minS(r1));
    pass(head, false);
    const headRows = f.let(head.sub(r0).toF32().splat());
    forStrips((i, vectors) => {
      const at = own(i);
      const base = loadLanes(f, place(first, i), vectors);
      const s = load(at, 0, vectors).map((v, k) => f.let(base[k]!.add(v.div(headRows))));
      store(at, 2, s);
      storeLanes(f, place(f.let(shift.add(block.mul(step))), i), s);
      store(
        at,
        0,
        s.map(() => f.let(f32x4(0))),
      );
    });
    pass(r1, true);
    const n = f.let(r1.sub(r0).toF32().splat());
    forStrips((i, vectors) => {
      const at = own(i);
      const s = load(at, 0, vectors);
      const q = load(at, 1, vectors);
      const m = s.map((v) => f.let(v.div(n)));
      storeLanes(f, place(f.let(mean.add(block.mul(step))), i), m);
      storeLanes(
        f,
        place(f.let(m2.add(block.mul(step))), i),
        m.map((v, k) => f.let(f.nmadd(v, s[k]!, q[k]!).max(f32x4(0)))),
      );
    });
  },
});

const mergeColumns = 64;

const mergeKernel = defineKernel({
  key: 'batchNormMerge',
  args: {
    partShift: 'i32',
    partMean: 'i32',
    partM2: 'i32',
    mean: 'i32',
    variance: 'i32',
    rows: 'i32',
    channels: 'i32',
    length: 'i32',
    blocks: 'i32',
  },
  chunk(f, { partShift, partMean, partM2, mean, variance, rows, channels, length, blocks }, chunk) {
    const i0 = f.let(chunk.mul(mergeColumns));
    const i1 = f.let(i0.add(mergeColumns));
    f.set(i1, i1.minS(channels));
    const step = f.let(channels.shl(2));
    strips(f, i0, i1, 2, (i, vectors) => {
      const offset = f.let(i.shl(2));
      const fromShift = f.let(partShift.add(offset));
      const fromMean = f.let(partMean.add(offset));
      const fromM2 = f.let(partM2.add(offset));
      const m = loadLanes(f, fromMean, vectors);
      const q = loadLanes(f, fromM2, vectors);
      const origin = loadLanes(f, fromShift, vectors);
      const seen = f.let(length.minS(rows));
      f.for(1, blocks, 1, () => {
        f.inc(fromShift, step);
        f.inc(fromMean, step);
        f.inc(fromM2, step);
        const left = f.let(rows.sub(seen));
        const n = f.let(left.minS(length).toF32());
        const before = f.let(seen.toF32());
        const share = f.let(n.div(before.add(n)));
        const weight = f.let(before.mul(share).splat());
        const part = f.let(share.splat());
        const low = loadLanes(f, fromMean, vectors);
        const d = loadLanes(f, fromShift, vectors).map((v, k) => f.let(v.sub(origin[k]!).add(low[k]!).sub(m[k]!)));
        const add = loadLanes(f, fromM2, vectors);
        for (const [k, v] of d.entries()) f.set(m[k]!, f.madd(v, part, m[k]!));
        for (const [k, v] of d.entries()) f.set(q[k]!, q[k]!.add(f.madd(v.mul(v), weight, add[k]!)));
        f.inc(seen, length);
      });
      const all = f.let(rows.toF32().splat());
      storeLanes(
        f,
        f.let(mean.add(offset)),
        m.map((v, k) => f.let(v.add(origin[k]!))),
      );
      storeLanes(
        f,
        f.let(variance.add(offset)),
        q.map((v) => f.let(v.div(all))),
      );
    });
  },
});

/** x [..., C] of at least one row to mean [C] and biased variance [C], all f32. */
export const momentsWasm: Lowering<unknown> = (e, [x], [mean, variance]) => {
  const channels = x!.shape[x!.shape.length - 1]!;
  const total = x!.shape.reduce((a, b) => a * b, 1);
  if (total === 0) return;
  const rows = total / channels;
  const length = Math.min(1024, Math.max(64, Math.ceil(blockElements / channels)));
  const blocks = Math.ceil(rows / length);
  const tiles = Math.ceil(channels / tileColumns);
  const group = channels <= 64 ? Math.floor(256 / channels) : 1;
  const partShift = e.temp(4 * blocks * channels);
  const partMean = e.temp(4 * blocks * channels);
  const partM2 = e.temp(4 * blocks * channels);
  e.call(
    blockKernel,
    { x: x!.buffer, shift: partShift, mean: partMean, m2: partM2, rows, channels, length, tiles, group },
    blocks * tiles,
  );
  e.call(
    mergeKernel,
    { partShift, partMean, partM2, mean: mean!.buffer, variance: variance!.buffer, rows, channels, length, blocks },
    Math.ceil(channels / mergeColumns),
  );
};
