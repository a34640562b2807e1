/**
 * Resizing images in WASM: nearest and bilinear, with gradients. The conventions are PyTorch's `interpolate`.
 *
 * The one idea: an output pixel is a weighted sum of at most four input pixels whose places and weights depend on its
 * row and column alone. The gradient scatters those weights over one image and a block of channels per chunk, in a
 * fixed order.
 */
import { ShapeError } from '../src/core/errors.ts';
import { defineKernel } from './kernel.ts';
import { channelBlocks } from './lanes.ts';
import type { Lowering, Value } from './lower.ts';
import { channelsPerChunk, emitClear } from './pool.ts';
import { type F32, type Fn, f32, type I32, type Local, type V128 } from './wasm.ts';

export interface ResizeAttrs {
  /** Output [height, width]. */
  readonly size: readonly [number, number];
  readonly mode: 'nearest' | 'bilinear';
  /**
   * Bilinear: the corner pixels' centres meet (true), or the image's edges do, so that a pixel's centre lies at one half
   * (false). Nearest ignores it: it takes ⌊i·in/out⌋.
   */
  readonly alignCorners: boolean;
}

interface ResizeGeometry {
  readonly batch: number;
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  readonly channels: number;
  readonly mode: 'nearest' | 'bilinear';
  readonly alignCorners: boolean;
}

function resizeGeometry(op: string, x: Value, y: Value, { size, mode, alignCorners }: ResizeAttrs): ResizeGeometry {
  const [batch = 0, height = 0, width = 0, channels = 0] = x.shape;
  const want = [batch, size[0], size[1], channels];
  if (x.shape.length !== 4 || height < 1 || width < 1 || want.some((n, i) => n !== y.shape[i]))
    throw new ShapeError(
      `${op}: expected x [N, H, W, C] and y [${want.join(', ')}]; got x [${x.shape}], y [${y.shape}].\n` +
        'Give the size as [height, width].',
    );
  return { batch, from: [height, width], to: size, channels, mode, alignCorners };
}

const keyOf = (g: ResizeGeometry) =>
  `${g.mode}${g.mode === 'bilinear' && g.alignCorners ? 'Corners' : ''}_${g.from.join('x')}_${g.to.join('x')}_c${g.channels}`;

/** The two inputs along an axis that make output o, and the weight of the second; nearest has one. */
interface Source {
  readonly low: Local<I32>;
  readonly high: Local<I32>;
  readonly weight: Local<F32>;
}

function sourceOf(f: Fn, g: ResizeGeometry, axis: 0 | 1, o: I32): Source {
  const [n, m] = [g.from[axis], g.to[axis]];
  if (g.mode === 'nearest') {
    const low = f.let(o.mul(n).divU(m));
    return { low, high: low, weight: f.let(f32(0)) };
  }
  const place = g.alignCorners
    ? f.let(o.toF32().mul(m > 1 ? (n - 1) / (m - 1) : 0))
    : f.let(
        o
          .toF32()
          .add(0.5)
          .mul(n / m)
          .sub(0.5)
          .max(0),
      );
  const low = f.let(place.toI32());
  f.set(low, low.minS(n - 1));
  const high = f.let(low.add(1));
  f.set(high, high.minS(n - 1));
  return { low, high, weight: f.let(place.sub(low.toF32())) };
}

/** Rows per chunk, from shapes alone. */
const rowsPerChunkOf = (rowElements: number) => Math.max(1, Math.ceil(32768 / rowElements));

/**
 * y[n, i, j, c] = Σ weight · x over the input pixels around (i, j)'s place.
 *
 * Bilinear places: (i + ½)·H/h − ½, not below 0, or i·(H − 1)/(h − 1) with `alignCorners`. Nearest: ⌊i·H/h⌋.
 * Input x [N, H, W, C]; output y [N, h, w, C].
 * @throws ShapeError where the shapes do not fit.
 */
export const resizeWasm: Lowering<ResizeAttrs> = (e, [x], [y], attrs) => {
  const g = resizeGeometry('resize', x!, y!, attrs);
  const pixel = 4 * g.channels;
  const total = g.batch * g.to[0];
  const perChunk = rowsPerChunkOf(g.to[1] * g.channels);
  const kernel = defineKernel({
    key: `resize_${keyOf(g)}`,
    args: { x: 'i32', y: 'i32', rows: 'i32' },
    chunk(f, a, chunk) {
      const start = f.let(chunk.mul(perChunk));
      const end = f.let(start.add(perChunk));
      f.set(end, end.minS(a.rows));
      f.for(start, end, 1, (row) => {
        const image = f.let(a.x.add(row.divU(g.to[0]).mul(g.from[0] * g.from[1] * pixel)));
        const v = sourceOf(f, g, 0, f.let(row.remU(g.to[0])));
        const top = f.let(image.add(v.low.mul(g.from[1] * pixel)));
        const bottom = f.let(image.add(v.high.mul(g.from[1] * pixel)));
        const out = f.let(a.y.add(row.mul(g.to[1] * pixel)));
        f.for(0, g.to[1], 1, (ox) => {
          const h = sourceOf(f, g, 1, ox);
          const [left, right] = [f.let(h.low.mul(pixel)), f.let(h.high.mul(pixel))];
          const [down, across] = [f.let(v.weight.splat()), f.let(h.weight.splat())];
          const [up, back] = [f.let(f32(1).sub(v.weight).splat()), f.let(f32(1).sub(h.weight).splat())];
          channelBlocks(f, g.channels, (cb, lanes) => {
            const p = lanes.load(f, top.add(left).add(cb));
            if (g.mode === 'nearest') {
              lanes.store(f, out.add(cb), p);
              return;
            }
            const q = lanes.load(f, top.add(right).add(cb));
            const r = lanes.load(f, bottom.add(left).add(cb));
            const s = lanes.load(f, bottom.add(right).add(cb));
            const mix = (i: number) => {
              const upper = f.madd(across, q[i] as V128, back.mul(p[i] as V128));
              const lower = f.madd(across, s[i] as V128, back.mul(r[i] as V128));
              return f.madd(down, lower, up.mul(upper));
            };
            lanes.store(
              f,
              out.add(cb),
              p.map((_, i) => mix(i)),
            );
          });
          f.inc(out, pixel);
        });
      });
    },
  });
  e.call(kernel, { x: x!.buffer, y: y!.buffer, rows: total }, Math.ceil(total / perChunk));
};

/**
 * dx = the transpose of `resize` applied to dy: each output pixel adds weight · dy to the input pixels it was made of, in
 * row-major order.
 *
 * Input dy [N, h, w, C]; output dx [N, H, W, C].
 * @throws ShapeError where the shapes do not fit.
 */
export const resizeGradWasm: Lowering<ResizeAttrs> = (e, [dy], [dx], attrs) => {
  const g = resizeGeometry('resizeGrad', dx!, dy!, attrs);
  const pixel = 4 * g.channels;
  const channels = channelsPerChunk(g.channels);
  const blocks = g.channels / channels;
  const nearest = g.mode === 'nearest';
  const kernel = defineKernel({
    key: `resizeGrad_${keyOf(g)}`,
    args: { dy: 'i32', dx: 'i32' },
    chunk(f, a, chunk) {
      const image = f.let(chunk.divU(blocks));
      const shift = f.let(chunk.remU(blocks).mul(4 * channels));
      const dx = f.let(a.dx.add(image.mul(g.from[0] * g.from[1] * pixel)).add(shift));
      const dy = f.let(a.dy.add(image.mul(g.to[0] * g.to[1] * pixel)).add(shift));
      emitClear(f, dx, g.from[0] * g.from[1], pixel, channels);
      f.for(0, g.to[0], 1, (oy) => {
        const v = sourceOf(f, g, 0, oy);
        f.for(0, g.to[1], 1, (ox) => {
          const h = sourceOf(f, g, 1, ox);
          const sides = (s: Source) =>
            nearest
              ? [{ at: s.low, weight: f32(1) }]
              : [
                  { at: s.low, weight: f32(1).sub(s.weight) },
                  { at: s.high, weight: s.weight },
                ];
          const targets = sides(v).flatMap((y) =>
            sides(h).map((x) => ({
              at: f.let(dx.add(y.at.mul(g.from[1]).add(x.at).mul(pixel))),
              weight: f.let(y.weight.mul(x.weight).splat()),
            })),
          );
          channelBlocks(f, channels, (cb, lanes) => {
            const grad = lanes.load(f, dy.add(cb));
            // One after the other: at the border two of the four are the same pixel.
            for (const { at, weight } of targets) {
              const to = f.let(at.add(cb));
              const sum = lanes.load(f, to);
              lanes.store(
                f,
                to,
                sum.map((s, i) => (nearest ? s.add(grad[i] as V128) : f.madd(weight, grad[i] as V128, s))),
              );
            }
          });
          f.inc(dy, pixel);
        });
      });
    },
  });
  e.call(kernel, { dy: dy!.buffer, dx: dx!.buffer }, g.batch * blocks);
};
