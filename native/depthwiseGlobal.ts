/**
 * The depthwise convolution whose kernel covers the whole map (output 1×1, no padding): MobileFaceNet's "global depthwise
 * convolution" (Chen et al., 2018), a weighted sum over positions.
 *
 * The one idea: without a window all three passes stream whole kernel rows, P = kw pixels of C channels, contiguously.
 * Forward adds a kernel row of products into y; the input gradient is an outer product; the weight gradient sums
 * a few images at a time into dw, which stays in cache.
 */
import type { DepthwiseGeometry } from './depthwiseGeometry.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { type ArgType, defineKernel } from './kernel.ts';
import { channelBlocks, storeResult } from './lanes.ts';
import type { Emitter, Value } from './lower.ts';
import { f32x4, type I32, i32, type Local, type V128 } from './wasm.ts';

export const isGlobal = (g: DepthwiseGeometry): boolean =>
  [g.rows, g.columns].every((a) => a.kernel === a.size && a.outSize === 1 && a.before === 0 && a.dilation === 1);

const rowKey = (g: DepthwiseGeometry) => `${g.rows.kernel}x${g.columns.kernel}_c${g.channels}`;

export function globalForward(e: Emitter, g: DepthwiseGeometry, x: Value, w: Value, y: Value, ep?: Epilogue): void {
  const [kh, kw, channels] = [g.rows.kernel, g.columns.kernel, g.channels];
  const pixel = 4 * channels;
  const kernel = defineKernel({
    key: `depthwiseGlobal_${rowKey(g)}${epilogueKey(ep)}`,
    args: { x: 'i32', w: 'i32', y: 'i32', ...(epilogueArgs(ep) as Record<never, ArgType>) },
    chunk(f, a, image) {
      const cursor = new EpilogueCursor(f, ep, a);
      const y = f.let(a.y.add(image.mul(pixel)));
      const x = f.let(a.x.add(image.mul(kh * kw * pixel)));
      const w = f.let(a.w.add(0));
      const row = (first: boolean, last: boolean) =>
        channelBlocks(f, channels, (cb, lanes) => {
          const acc = first ? lanes.vectors.map(() => f.let(f32x4(0))) : lanes.load(f, y.add(cb));
          const xAt = f.let(x.add(cb));
          const wAt = f.let(w.add(cb));
          for (let s = 0; s < kw; s++) {
            const u = lanes.load(f, xAt, s * pixel);
            const v = lanes.load(f, wAt, s * pixel);
            acc.forEach((t, i) => {
              f.set(t, f.madd(u[i] as V128, v[i] as V128, t));
            });
          }
          if (last) {
            cursor.seek(image, cb.shrU(2), channels);
            storeResult(f, cursor, lanes, f.let(y.add(cb)), acc);
          } else lanes.store(f, f.let(y.add(cb)), acc);
        });
      row(true, kh === 1);
      if (kh > 1) {
        f.for(1, kh - 1, 1, () => {
          f.inc(x, kw * pixel);
          f.inc(w, kw * pixel);
          row(false, false);
        });
        f.inc(x, kw * pixel);
        f.inc(w, kw * pixel);
        row(false, true);
      }
    },
  });
  e.call(kernel, { x: x.buffer, w: w.buffer, y: y.buffer, ...epilogueValues(ep) }, g.batch);
}

export function globalInputGrad(e: Emitter, g: DepthwiseGeometry, dy: Value, w: Value, dx: Value): void {
  const [kh, kw, channels] = [g.rows.kernel, g.columns.kernel, g.channels];
  const pixel = 4 * channels;
  const kernel = defineKernel({
    key: `depthwiseGlobalInputGrad_${rowKey(g)}`,
    args: { dy: 'i32', w: 'i32', dx: 'i32' },
    chunk(f, a, image) {
      const dy = f.let(a.dy.add(image.mul(pixel)));
      const dx = f.let(a.dx.add(image.mul(kh * kw * pixel)));
      f.for(0, kh * kw * pixel, pixel, (p) => {
        const out = f.let(dx.add(p));
        const w = f.let(a.w.add(p));
        channelBlocks(f, channels, (cb, lanes) => {
          const u = lanes.load(f, dy.add(cb));
          const v = lanes.load(f, w.add(cb));
          lanes.store(
            f,
            f.let(out.add(cb)),
            u.map((t, i) => t.mul(v[i] as V128)),
          );
        });
      });
    },
  });
  e.call(kernel, { dy: dy.buffer, w: w.buffer, dx: dx.buffer }, g.batch);
}

/** Images that one pass over a kernel row of dw sums. */
const imagesAtOnce = 4;

export function globalWeightGrad(e: Emitter, g: DepthwiseGeometry, x: Value, dy: Value, dw: Value): void {
  const [kh, kw, channels] = [g.rows.kernel, g.columns.kernel, g.channels];
  const pixel = 4 * channels;
  const map = kh * kw * pixel;
  const kernel = defineKernel({
    key: `depthwiseGlobalWeightGrad_${rowKey(g)}`,
    args: { x: 'i32', dy: 'i32', dw: 'i32', batch: 'i32' },
    chunk(f, a, row) {
      const dw = f.let(a.dw.add(row.mul(kw * pixel)));
      const x = f.let(a.x.add(row.mul(kw * pixel)));
      const dy = f.let(a.dy.add(0));
      f.fill(dw, 0, kw * pixel);
      const images = (count: number, n: Local<I32>) => {
        f.for(0, kw * pixel, pixel, (p) => {
          channelBlocks(f, channels, (cb, lanes) => {
            const out = f.let(dw.add(p).add(cb));
            const xAt = f.let(x.add(p).add(cb));
            const dyAt = f.let(dy.add(cb));
            const acc = lanes.load(f, out);
            for (let i = 0; i < count; i++) {
              const u = lanes.load(f, xAt, i * map);
              const v = lanes.load(f, dyAt, i * pixel);
              acc.forEach((t, j) => {
                f.set(t, f.madd(u[j] as V128, v[j] as V128, t));
              });
            }
            lanes.store(f, out, acc);
          });
        });
        f.inc(x, count * map);
        f.inc(dy, count * pixel);
        f.inc(n, count);
      };
      const n = f.let(i32(0));
      const whole = f.let(a.batch.sub(imagesAtOnce - 1));
      f.while(n.ltS(whole), () => images(imagesAtOnce, n));
      f.while(n.ltS(a.batch), () => images(1, n));
    },
  });
  e.call(kernel, { x: x.buffer, dy: dy.buffer, dw: dw.buffer, batch: g.batch }, kh);
}
