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
import { blocksBetween, Stepper, storeResult } from './lanes.ts';
import type { Emitter, Value } from './lower.ts';
import { i32, type Local, type V128 } from './wasm.ts';

export const isGlobal = (g: DepthwiseGeometry): boolean =>
  [g.rows, g.columns].every((a) => a.kernel === a.size && a.outSize === 1 && a.before === 0 && a.dilation === 1);

/** Bytes of a pixel, and of an image of `positions` pixels. */
const sizesOf = (g: DepthwiseGeometry) => {
  const pixel = 4 * g.channels;
  return { pixel, rowBytes: g.columns.kernel * pixel, map: g.rows.kernel * g.columns.kernel * pixel };
};

export function globalForward(e: Emitter, g: DepthwiseGeometry, x: Value, w: Value, y: Value, ep?: Epilogue): void {
  const kw = g.columns.kernel;
  const kernel = defineKernel({
    key: `depthwiseGlobal_k${kw}${epilogueKey(ep)}`,
    args: {
      x: 'i32',
      w: 'i32',
      y: 'i32',
      pixel: 'i32',
      rowBytes: 'i32',
      map: 'i32',
      ...(epilogueArgs(ep) as Record<never, ArgType>),
    },
    chunk(f, a, image) {
      const cursor = new EpilogueCursor(f, ep, a);
      const y = f.let(a.y.add(image.mul(a.pixel)));
      const x = f.let(a.x.add(image.mul(a.map)));
      const w = f.let(a.w.add(0));
      const end = f.let(w.add(a.map));
      f.fill(y, 0, a.pixel);
      f.while(w.ne(end), () => {
        blocksBetween(f, 0, a.pixel, (cb, lanes) => {
          const out = f.let(y.add(cb));
          const acc = lanes.load(f, out);
          const [xs, ws] = [new Stepper(f, x.add(cb), a.pixel), new Stepper(f, w.add(cb), a.pixel)];
          for (let s = 0; s < kw; s++) {
            const u = lanes.load(f, xs.to(s));
            const v = lanes.load(f, ws.to(s));
            acc.forEach((t, i) => {
              f.set(t, f.madd(u[i] as V128, v[i] as V128, t));
            });
          }
          lanes.store(f, out, acc);
        });
        f.inc(x, a.rowBytes);
        f.inc(w, a.rowBytes);
      });
      if (!cursor.active) return;
      blocksBetween(f, 0, a.pixel, (cb, lanes) => {
        const out = f.let(y.add(cb));
        cursor.seek(image, cb.shrU(2), a.pixel.shrU(2));
        storeResult(f, cursor, lanes, out, lanes.load(f, out));
      });
    },
  });
  e.call(kernel, { x: x.buffer, w: w.buffer, y: y.buffer, ...sizesOf(g), ...epilogueValues(ep) }, g.batch);
}

const inputGradKernel = defineKernel({
  key: 'depthwiseGlobalInputGrad',
  args: { dy: 'i32', w: 'i32', dx: 'i32', pixel: 'i32', map: 'i32' },
  chunk(f, a, image) {
    const dy = f.let(a.dy.add(image.mul(a.pixel)));
    const out = f.let(a.dx.add(image.mul(a.map)));
    const w = f.let(a.w.add(0));
    const end = f.let(w.add(a.map));
    f.while(w.ne(end), () => {
      blocksBetween(f, 0, a.pixel, (cb, lanes) => {
        const u = lanes.load(f, f.let(dy.add(cb)));
        const v = lanes.load(f, f.let(w.add(cb)));
        lanes.store(
          f,
          f.let(out.add(cb)),
          u.map((t, i) => t.mul(v[i] as V128)),
        );
      });
      f.inc(out, a.pixel);
      f.inc(w, a.pixel);
    });
  },
});

export function globalInputGrad(e: Emitter, g: DepthwiseGeometry, dy: Value, w: Value, dx: Value): void {
  const { pixel, map } = sizesOf(g);
  e.call(inputGradKernel, { dy: dy.buffer, w: w.buffer, dx: dx.buffer, pixel, map }, g.batch);
}

/** Images that one pass over a kernel row of dw sums. */
const imagesAtOnce = 4;

const weightGradKernel = defineKernel({
  key: 'depthwiseGlobalWeightGrad',
  args: { x: 'i32', dy: 'i32', dw: 'i32', batch: 'i32', pixel: 'i32', rowBytes: 'i32', map: 'i32' },
  chunk(f, a, row) {
    const dw = f.let(a.dw.add(row.mul(a.rowBytes)));
    const end = f.let(dw.add(a.rowBytes));
    const x = f.let(a.x.add(row.mul(a.rowBytes)));
    const dy = f.let(a.dy.add(0));
    f.fill(dw, 0, a.rowBytes);
    const n = f.let(i32(0));
    const images = (count: number) => {
      const out = f.let(dw.add(0));
      const from = f.let(x.add(0));
      f.while(out.ne(end), () => {
        blocksBetween(f, 0, a.pixel, (cb, lanes) => {
          const at = f.let(out.add(cb));
          const acc = lanes.load(f, at);
          const [xs, dys] = [new Stepper(f, from.add(cb), a.map), new Stepper(f, dy.add(cb), a.pixel)];
          for (let i = 0; i < count; i++) {
            const u = lanes.load(f, xs.to(i));
            const v: Local<V128>[] = lanes.load(f, dys.to(i));
            acc.forEach((t, j) => {
              f.set(t, f.madd(u[j] as V128, v[j] as V128, t));
            });
          }
          lanes.store(f, at, acc);
        });
        f.inc(out, a.pixel);
        f.inc(from, a.pixel);
      });
      f.inc(x, a.map.mul(count));
      f.inc(dy, a.pixel.mul(count));
      f.inc(n, count);
    };
    const whole = f.let(a.batch.sub(imagesAtOnce - 1));
    f.while(n.ltS(whole), () => images(imagesAtOnce));
    f.while(n.ltS(a.batch), () => images(1));
  },
});

export function globalWeightGrad(e: Emitter, g: DepthwiseGeometry, x: Value, dy: Value, dw: Value): void {
  const args = { x: x.buffer, dy: dy.buffer, dw: dw.buffer, batch: g.batch, ...sizesOf(g) };
  e.call(weightGradKernel, args, g.rows.kernel);
}
