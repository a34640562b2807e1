/**
 * Depthwise convolution in WASM: weight gradient.
 *
 * The one idea: the rows N·OH are split into a fixed number of blocks; each sums its own copy of dw (a few kilobytes,
 * so it stays in L1), and a second call adds the copies in order. Which thread runs a block does not matter.
 * Within a row the accumulators of one kernel row stay in registers while a segment of columns slides by; the segment
 * is short enough that all channels of it stay in L1.
 */
import type { ConvAttrs } from './conv2d.ts';
import { type DepthwiseSpec, depthwiseGeometry, specKey } from './depthwiseGeometry.ts';
import { globalWeightGrad, isGlobal } from './depthwiseGlobal.ts';
import { defineKernel } from './kernel.ts';
import { channelBlocks, type Lanes } from './lanes.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32, f32x4, type I32, i32, type Local, loadF32, loadV128, type V128 } from './wasm.ts';

/** Output columns per turn of the inner loop. */
const unroll = 4;

/** acc[s] += x(column t·sw + s·dw) · dy(column t) for t < count, inputs in ascending order, each loaded once. */
function slide(f: Fn, spec: DepthwiseSpec, lanes: Lanes, count: number, acc: Local<V128>[][], x: I32, dy: I32) {
  const pixel = 4 * spec.channels;
  const [, kw] = spec.kernel;
  const [sw, dw] = [spec.stride[1], spec.dilation[1]];
  const grads: Local<V128>[][] = [];
  for (let k = 0; k <= (count - 1) * sw + (kw - 1) * dw; k++) {
    let input: Local<V128>[] | undefined;
    for (let s = kw - 1; s >= 0; s--) {
      const t = (k - s * dw) / sw;
      if (t < 0 || t >= count || !Number.isInteger(t)) continue;
      input ??= lanes.load(f, x, k * pixel);
      grads[t] ??= lanes.load(f, dy, t * pixel);
      const g = grads[t];
      const a = acc[s] as Local<V128>[];
      const u = input;
      a.forEach((sum, v) => {
        f.set(sum, f.madd(u[v] as V128, g[v] as V128, sum));
      });
    }
  }
}

export function depthwiseWeightGradKernel(spec: DepthwiseSpec) {
  const { channels } = spec;
  const [kh, kw] = spec.kernel;
  const [sh, sw] = spec.stride;
  const [dh, dw] = spec.dilation;
  const pixel = 4 * channels;
  return defineKernel({
    key: `depthwiseWeightGrad_${specKey(spec)}`,
    args: {
      x: 'i32',
      dy: 'i32',
      partials: 'i32',
      height: 'i32',
      width: 'i32',
      outHeight: 'i32',
      outWidth: 'i32',
      top: 'i32',
      left: 'i32',
      /** Output columns [inner, innerEnd) have their whole window inside. */
      inner: 'i32',
      innerEnd: 'i32',
      segment: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
    },
    chunk(f, a, chunk) {
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const sums = f.let(a.partials.add(chunk.mul(kh * kw * pixel)));
      f.fill(sums, 0, kh * kw * pixel);
      const rowBytes = f.let(a.width.mul(pixel));
      const edgeColumn = (ow: I32, r0: I32, r1: I32, input: I32, dy: I32) => {
        const iw = f.let(ow.mul(sw).sub(a.left));
        const g = f.let(dy.add(ow.mul(pixel)));
        f.for(0, kw, 1, (s) => {
          const iws = f.let(iw.add(s.mul(dw)));
          f.if(iws.geS(0).and(iws.ltS(a.width)), () => {
            const x = f.let(input.add(iws.mul(pixel)));
            const w = f.let(sums.add(r0.mul(kw).add(s).mul(pixel)));
            f.for(r0, r1, 1, () => {
              channelBlocks(f, channels, (cb, lanes) => {
                const at = f.let(w.add(cb));
                const sum = lanes.load(f, at);
                const u = lanes.load(f, x.add(cb));
                const v = lanes.load(f, g.add(cb));
                lanes.store(
                  f,
                  at,
                  sum.map((t, i) => f.madd(u[i] as V128, v[i] as V128, t)),
                );
              });
              f.inc(x, rowBytes.mul(dh));
              f.inc(w, kw * pixel);
            });
          });
        });
      };
      f.while(row.ltS(end), () => {
        const ih = f.let(row.remU(a.outHeight).mul(sh).sub(a.top));
        const r0 = f.let(
          i32(0)
            .sub(ih)
            .add(dh - 1)
            .divS(dh),
        );
        f.set(r0, r0.maxS(0));
        const r1 = f.let(
          a.height
            .sub(ih)
            .add(dh - 1)
            .divS(dh),
        );
        f.set(r1, r1.minS(kh));
        const input = f.let(a.x.add(row.divU(a.outHeight).mul(a.height).add(ih).add(r0.mul(dh)).mul(rowBytes)));
        const dy = f.let(a.dy.add(row.mul(a.outWidth).mul(pixel)));
        f.for(0, a.inner, 1, (ow) => edgeColumn(ow, r0, r1, input, dy));
        const ow = f.let(a.inner.add(0));
        f.while(ow.ltS(a.innerEnd), () => {
          const segmentEnd = f.let(ow.add(a.segment));
          f.set(segmentEnd, segmentEnd.minS(a.innerEnd));
          const unrolledEnd = f.let(segmentEnd.sub(unroll - 1));
          const x = f.let(input.add(ow.mul(sw).sub(a.left).mul(pixel)));
          const g = f.let(dy.add(ow.mul(pixel)));
          const w = f.let(sums.add(r0.mul(kw * pixel)));
          f.for(r0, r1, 1, () => {
            channelBlocks(f, channels, (cb, lanes) => {
              const wAt = f.let(w.add(cb));
              const xAt = f.let(x.add(cb));
              const gAt = f.let(g.add(cb));
              const acc = Array.from({ length: kw }, (_, s) => lanes.load(f, wAt, s * pixel));
              const t = f.let(ow.add(0));
              f.while(t.ltS(unrolledEnd), () => {
                slide(f, spec, lanes, unroll, acc, xAt, gAt);
                f.inc(xAt, unroll * sw * pixel);
                f.inc(gAt, unroll * pixel);
                f.inc(t, unroll);
              });
              f.while(t.ltS(segmentEnd), () => {
                slide(f, spec, lanes, 1, acc, xAt, gAt);
                f.inc(xAt, sw * pixel);
                f.inc(gAt, pixel);
                f.inc(t, 1);
              });
              acc.forEach((sum, s) => {
                lanes.store(f, wAt, sum, s * pixel);
              });
            });
            f.inc(x, rowBytes.mul(dh));
            f.inc(w, kw * pixel);
          });
          f.set(ow, segmentEnd);
        });
        f.for(a.innerEnd, a.outWidth, 1, (ow) => edgeColumn(ow, r0, r1, input, dy));
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
  const { kernel, stride, dilation, channels } = g.spec;
  const [top, , left] = g.padding;
  const span = (kernel[1] - 1) * dilation[1];
  const inner = Math.min(g.outWidth, Math.max(0, Math.ceil(left / stride[1])));
  const innerEnd = Math.max(inner, Math.min(g.outWidth, Math.floor((g.width + left - span - 1) / stride[1]) + 1));
  // A segment's columns of one input row and of dy, every channel, in half of a 32 KB cache.
  const fit = Math.floor((16384 / (4 * channels) - span) / (stride[1] + 1));
  const segment = Math.max(unroll, fit - (fit % unroll));
  const rows = g.batch * g.outHeight;
  const rowsPerChunk = Math.ceil(rows / blocks);
  const count = Math.ceil(rows / rowsPerChunk);
  const n = kernel[0] * kernel[1] * channels;
  const partials = count === 1 ? dw!.buffer : e.temp(4 * n * count);
  e.call(
    depthwiseWeightGradKernel(g.spec),
    {
      x: x!.buffer,
      dy: dy!.buffer,
      partials,
      height: g.height,
      width: g.width,
      outHeight: g.outHeight,
      outWidth: g.outWidth,
      top,
      left,
      inner,
      innerEnd,
      segment,
      rows,
      rowsPerChunk,
    },
    count,
  );
  if (count === 1) return;
  const block = 4096;
  e.call(mergePartialsKernel, { partials, out: dw!.buffer, n, count, block }, Math.ceil(n / block));
};
