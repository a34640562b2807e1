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
import { channelBlocks, type Lanes } from './lanes.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32, f32x4, type I32, i32, type Local, loadF32, loadV128, type V128 } from './wasm.ts';
import { axisKey, emitSweep, forwardPlan, forwardRowTaps, type Run, sweepNewRows } from './window.ts';

/** Output columns per turn of the inner loop. */
const unroll = 4;

/** acc[tap] += x(column) · dy(output) over the feeds of one tile; every x and dy is loaded once. */
function emitProducts(f: Fn, lanes: Lanes, run: Run, pixel: number, acc: Local<V128>[][], x: I32, dy: I32) {
  const grads: Local<V128>[][] = [];
  let column = -1;
  let u: Local<V128>[] = [];
  for (const feed of run.feeds) {
    if (feed.column !== column) u = lanes.load(f, x, feed.column * pixel);
    column = feed.column;
    grads[feed.output] ??= lanes.load(f, dy, feed.output * pixel);
    const g = grads[feed.output] as Local<V128>[];
    const sum = acc[feed.tap] as Local<V128>[];
    sum.forEach((a, v) => {
      f.set(a, f.madd(u[v] as V128, g[v] as V128, a));
    });
  }
}

/** Tiles of a run at a time: all channels of their inputs and gradients stay in half of a 32 KB cache. */
const tilesAtOnce = (run: Run, stride: number, pixel: number) =>
  Math.max(1, Math.floor(16384 / (pixel * run.outputs * (stride + 1))));

export function depthwiseWeightGradKernel({ rows, columns, channels }: DepthwiseGeometry) {
  const pixel = 4 * channels;
  const rowBytes = columns.size * pixel;
  const wRow = columns.kernel * pixel;
  const wBytes = rows.kernel * wRow;
  const runs = forwardPlan(columns, unroll);
  return defineKernel({
    key: `depthwiseWeightGrad_${axisKey(rows)}_${axisKey(columns)}_c${channels}`,
    args: { x: 'i32', dy: 'i32', partials: 'i32', rows: 'i32', rowsPerChunk: 'i32' },
    scratchBytes: 16,
    chunk(f, a, chunk, scratch) {
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const sums = f.let(a.partials.add(chunk.mul(wBytes)));
      f.fill(sums, 0, wBytes);
      f.while(row.ltS(end), () => {
        const o = f.let(row.remU(rows.outSize));
        const image = f.let(a.x.add(row.divU(rows.outSize).mul(rows.size * rowBytes)));
        const taps = forwardRowTaps(f, rows, o);
        const input = f.let(image.add(taps.input.mul(rowBytes)));
        const dy = f.let(a.dy.add(row.mul(columns.outSize * pixel)));
        const weight = f.let(sums.add(taps.first.mul(wRow)));
        sweepNewRows(f, 'forward', rows, o, image, rowBytes, scratch);
        emitSweep(f, dy, i32(columns.outSize * pixel), scratch);
        for (const run of runs) {
          const x = f.let(input.add(run.inStart * pixel));
          const g = f.let(dy.add(run.outStart * pixel));
          const most = tilesAtOnce(run, columns.stride, pixel);
          const left = f.let(i32(run.count));
          const tileBytes = run.outputs * pixel;
          f.while(i32(0).ltS(left), () => {
            const count = f.let(left.minS(most));
            const xRow = f.let(x.add(0));
            const wRowAt = f.let(weight.add(0));
            const gEnd = f.let(count.mul(tileBytes));
            f.for(0, taps.count, 1, () => {
              channelBlocks(f, channels, (cb, lanes) => {
                const wAt = f.let(wRowAt.add(cb));
                const xAt = f.let(xRow.add(cb));
                const acc = Array.from({ length: columns.kernel }, (_, s) => lanes.load(f, wAt, s * pixel));
                const gAt = f.let(g.add(cb));
                f.for(0, gEnd, tileBytes, () => {
                  emitProducts(f, lanes, run, pixel, acc, xAt, gAt);
                  f.inc(xAt, run.inStep * pixel);
                  f.inc(gAt, tileBytes);
                });
                acc.forEach((sum, s) => {
                  lanes.store(f, wAt, sum, s * pixel);
                });
              });
              f.inc(xRow, taps.inStep * rowBytes);
              f.inc(wRowAt, wRow);
            });
            f.inc(x, count.mul(run.inStep * pixel));
            f.inc(g, gEnd);
            f.set(left, left.sub(count));
          });
        }
        f.inc(row, 1);
      });
    },
  });
}

/** Sums `count` arrays of `n` floats, `n` apart, in order: chunk i writes elements [i·block, (i+1)·block). */
export const mergePartialsKernel = defineKernel({
  key: 'mergePartials',
  args: { partials: 'i32', out: 'i32', n: 'i32', count: 'i32', block: 'i32' },
  chunk(f, a, chunk) {
    const from = f.let(chunk.mul(a.block));
    const to = f.let(from.add(a.block));
    f.set(to, to.minS(a.n));
    const vectors = f.let(to.sub(7));
    const stride = f.let(a.n.shl(2));
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
  e.call(depthwiseWeightGradKernel(g), { x: x!.buffer, dy: dy!.buffer, partials, rows, rowsPerChunk }, count);
  if (count === 1) return;
  const block = 4096;
  e.call(mergePartialsKernel, { partials, out: dw!.buffer, n, count, block }, Math.ceil(n / block));
};
