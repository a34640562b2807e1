/**
 * Depthwise convolution in WASM: weight gradient.
 *
 * The one idea: the rows N·OH are split into a fixed number of blocks; each sums its own copy of dw (a few kilobytes,
 * so it stays in L1), and a second call adds the copies in order. Which thread runs a block does not matter.
 * Within a row the accumulators of one kernel row stay in registers while tiles of columns go by, few enough at a time
 * that all their channels stay in L1.
 */
import type { ConvAttrs } from './convGeometry.ts';
import { type DepthwiseGeometry, depthwiseGeometry } from './depthwiseGeometry.ts';
import { globalWeightGrad, isGlobal } from './depthwiseGlobal.ts';
import { defineKernel } from './kernel.ts';
import { blocksBetween, pairLanes, Stepper } from './lanes.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32, f32x4, type I32, type Local, loadF32, loadV128, type V128 } from './wasm.ts';
import {
  eachLeftover,
  emitSweep,
  forwardPattern,
  forwardTaps,
  newRows,
  type Pattern,
  type Tile,
  tapsKey,
  walkArgs,
  walkOf,
  worthSweeping,
} from './window.ts';

/** Output columns per turn of the inner loop: four. */
const patternFor = (g: DepthwiseGeometry): Pattern => forwardPattern(g.columns, g.after, 4);

/** acc[tap] += x(column) · dy(output) over the feeds of one tile; every x and dy is loaded once. */
function emitProducts(f: Fn, tile: Tile, acc: Local<V128>[][], x: Stepper, dy: Stepper) {
  const grads: Local<V128>[][] = [];
  let column = -1;
  let u: Local<V128>[] = [];
  for (const feed of tile.feeds) {
    if (feed.column !== column) u = pairLanes.load(f, x.to(feed.column));
    column = feed.column;
    grads[feed.output] ??= pairLanes.load(f, dy.to(feed.output));
    const g = grads[feed.output] as Local<V128>[];
    const sum = acc[feed.tap] as Local<V128>[];
    sum.forEach((a, v) => {
      f.set(a, f.madd(u[v] as V128, g[v] as V128, a));
    });
  }
}

/** Tiles of a run at a time: all channels of their inputs and gradients stay in half of a 32 KB cache. */
const tilesAtOnce = (p: Pattern, stride: number, pixel: number) =>
  Math.max(1, Math.floor(16384 / (pixel * p.inside.outputs * (stride + 1))));

function depthwiseWeightGradKernel(g: DepthwiseGeometry) {
  const { rows, columns } = g;
  const pattern = patternFor(g);
  const { outputs } = pattern.inside;
  return defineKernel({
    key: `depthwiseWeightGrad_${tapsKey(rows)}_${tapsKey(columns)}+${g.after}`,
    args: {
      x: 'i32',
      dy: 'i32',
      partials: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
      inRows: 'i32',
      inColumns: 'i32',
      outRows: 'i32',
      outColumns: 'i32',
      pixel: 'i32',
      tilesAtOnce: 'i32',
      sweep: 'i32',
      ...walkArgs,
    },
    scratchBytes: 16,
    chunk(f, a, chunk, scratch) {
      const { pixel } = a;
      const pairs = f.let(pixel.and(-32));
      const inRow = f.let(a.inColumns.mul(pixel));
      const outRow = f.let(a.outColumns.mul(pixel));
      const tapRow = f.let(pixel.mul(columns.kernel));
      const wBytes = f.let(tapRow.mul(rows.kernel));
      const inTile = f.let(pixel.mul(pattern.step));
      const outTile = f.let(pixel.mul(outputs));
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const sums = f.let(a.partials.add(chunk.mul(wBytes)));
      f.fill(sums, 0, wBytes);
      const dy = f.let(a.dy.add(row.mul(outRow)));
      f.while(row.ltS(end), () => {
        const o = f.let(row.remU(a.outRows));
        const image = f.let(a.x.add(row.divU(a.outRows).mul(a.inRows).mul(inRow)));
        const fresh = newRows(f, 'forward', rows, a.inRows, o);
        f.if(a.sweep, () => {
          emitSweep(f, image.add(fresh.from.mul(inRow)), fresh.end.sub(fresh.from).mul(inRow), scratch);
          emitSweep(f, dy, outRow, scratch);
        });
        const taps = forwardTaps(f, rows, a.inRows, o);
        const input = f.let(image.add(taps.input.mul(inRow)));
        const weight = f.let(sums.add(taps.first.mul(tapRow)));
        const inStep = f.let(inRow.mul(taps.inStep));
        const x = f.let(input.add(pixel.mul(pattern.base)));
        const grad = f.let(dy as I32);
        /** `count` equal tiles: the sums of a row of taps stay in registers while they go by. */
        const tiles = (tile: Tile, count: I32 | 1) => {
          const xRow = f.let(x as I32);
          const wRow = f.let(weight as I32);
          const span = count === 1 ? outTile : f.let(outTile.mul(count));
          f.for(0, taps.count, 1, () => {
            f.for(0, pairs, 32, (cb) => {
              const wAt = f.let(wRow.add(cb));
              const place = new Stepper(f, wAt, pixel);
              const acc = Array.from({ length: columns.kernel }, (_, s) => pairLanes.load(f, place.to(s)));
              const xAt = f.let(xRow.add(cb));
              const gAt = f.let(grad.add(cb));
              const turn = () => emitProducts(f, tile, acc, new Stepper(f, xAt, pixel), new Stepper(f, gAt, pixel));
              if (count === 1) turn();
              else {
                const gEnd = f.let(gAt.add(span));
                f.while(gAt.ne(gEnd), () => {
                  turn();
                  f.inc(xAt, inTile);
                  f.inc(gAt, outTile);
                });
              }
              const back = new Stepper(f, wAt, pixel);
              acc.forEach((sum, s) => {
                pairLanes.store(f, back.to(s), sum);
              });
            });
            f.inc(xRow, inStep);
            f.inc(wRow, tapRow);
          });
          f.inc(x, count === 1 ? inTile : inTile.mul(count));
          f.inc(grad, span);
        };
        if (pattern.heads.length)
          f.if(a.heads, () => {
            for (const tile of pattern.heads) tiles(tile, 1);
          });
        const left = f.let(a.tiles as I32);
        f.while(left.gtS(0), () => {
          const count = f.let(left.minS(a.tilesAtOnce));
          tiles(pattern.inside, count);
          f.set(left, left.sub(count));
        });
        eachLeftover(f, a, pattern, pixel, pairs, (column, start) => {
          const across = forwardTaps(f, columns, a.inColumns, column);
          blocksBetween(f, start, pixel, (cb, lanes) => {
            const u = lanes.load(f, f.let(dy.add(column.mul(pixel)).add(cb)));
            const xRow = f.let(input.add(across.input.mul(pixel)).add(cb));
            const wRow = f.let(weight.add(across.first.mul(pixel)).add(cb));
            f.for(0, taps.count, 1, () => {
              const [xAt, wAt] = [f.let(xRow as I32), f.let(wRow as I32)];
              f.for(0, across.count, 1, () => {
                const v = lanes.load(f, xAt);
                const sum = lanes.load(f, wAt).map((t, i) => f.let(f.madd(v[i] as V128, u[i] as V128, t)));
                lanes.store(f, wAt, sum);
                f.inc(xAt, pixel.mul(across.inStep));
                f.inc(wAt, pixel);
              });
              f.inc(xRow, inStep);
              f.inc(wRow, tapRow);
            });
          });
        });
        if (pattern.tails.length) {
          f.inc(x, a.middle.mul(columns.stride).mul(pixel));
          f.inc(grad, a.middle.mul(pixel));
          pattern.tails.forEach((tile, i) => {
            f.if(a.tail.eq(i), () => tiles(tile, 1));
          });
        }
        f.inc(dy, outRow);
        f.inc(row, 1);
      });
    },
  });
}

/** Sums `count` arrays of `n` floats, `stride` apart, in order: chunk i writes elements [i·block, (i+1)·block). */
export const mergePartialsKernel = defineKernel({
  key: 'mergePartials',
  args: { partials: 'i32', out: 'i32', n: 'i32', count: 'i32', block: 'i32', stride: 'i32' },
  chunk(f, a, chunk) {
    const from = f.let(chunk.mul(a.block));
    const to = f.let(from.add(a.block));
    f.set(to, to.minS(a.n));
    const vectors = f.let(to.sub(7));
    const stride = f.let(a.stride.shl(2));
    f.while(from.ltS(vectors), () => {
      const at = f.let(a.partials.add(from.shl(2)));
      const [p, q] = [f.let(f32x4(0)), f.let(f32x4(0))];
      f.for(0, a.count, 1, () => {
        f.set(p, p.add(loadV128(at)));
        f.set(q, q.add(loadV128(at, 16)));
        f.inc(at, stride);
      });
      const out = f.let(a.out.add(from.shl(2)));
      f.storeV128(out, p);
      f.storeV128(out, q, 16);
      f.inc(from, 8);
    });
    f.while(from.ltS(to), () => {
      const at = f.let(a.partials.add(from.shl(2)));
      const sum = f.let(f32(0));
      f.for(0, a.count, 1, () => {
        f.set(sum, sum.add(loadF32(at)));
        f.inc(at, stride);
      });
      f.storeF32(a.out.add(from.shl(2)), sum);
      f.inc(from, 1);
    });
  },
});

/** Copies of dw: enough for many threads, few enough that merging them is nothing. From shapes alone. */
const blocks = 32;

/**
 * dw[r, s, 0, c] = Σ_{n,oh,ow} x[n, oh·sh + r·dh − top, ow·sw + s·dw − left, c] · dy[n, oh, ow, c].
 *
 * Inputs x [N, H, W, C], dy [N, OH, OW, C]; output dw [kh, kw, 1, C].
 * @throws ShapeError where the shapes do not fit.
 */
export const depthwiseWeightGradWasm: Lowering<ConvAttrs> = (e, [x, dy], [dw], attrs) => {
  const g = depthwiseGeometry('depthwiseWeightGrad', x!, dw!, dy!, attrs);
  if (isGlobal(g)) return globalWeightGrad(e, g, x!, dy!, dw!);
  const rows = g.batch * g.rows.outSize;
  const rowsPerChunk = Math.ceil(rows / blocks);
  const count = Math.ceil(rows / rowsPerChunk);
  const n = g.rows.kernel * g.columns.kernel * g.channels;
  const partials = count === 1 ? dw!.buffer : e.temp(4 * n * count);
  const pattern = patternFor(g);
  const pixel = 4 * g.channels;
  e.call(
    depthwiseWeightGradKernel(g),
    {
      x: x!.buffer,
      dy: dy!.buffer,
      partials,
      rows,
      rowsPerChunk,
      inRows: g.rows.size,
      inColumns: g.columns.size,
      outRows: g.rows.outSize,
      outColumns: g.columns.outSize,
      pixel,
      tilesAtOnce: tilesAtOnce(pattern, g.columns.stride, pixel),
      sweep: worthSweeping(pixel * (g.batch * g.rows.size * g.columns.size + rows * g.columns.outSize)),
      ...walkOf(pattern, g.columns.outSize, g.columns.size),
    },
    count,
  );
  if (count === 1) return;
  const block = 4096;
  e.call(mergePartialsKernel, { partials, out: dw!.buffer, n, count, block, stride: n }, Math.ceil(n / block));
};
