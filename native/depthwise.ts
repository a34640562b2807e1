/**
 * Depthwise convolution in WASM: forward and input gradient.
 *
 * The one idea: both are a sum over a window of one channel plane, so a register tile of neighbouring output columns
 * times eight channels walks the window's rows and loads each input vector once for every output that it feeds.
 * Channels are the inner loop, so every stream through memory is contiguous. Rows outside the image shorten the row
 * loop; columns whose window leaves the image go through slower code outside of the hot loop.
 * The input gradient is a gather: dx at column sw·j + q − left reads the taps s with s·dw ≡ q (mod sw) only, which is
 * known when the code is generated (the sub-pixel view of Shi et al., "Is the deconvolution layer the same as a
 * convolutional layer?", 2016).
 */

import type { ConvAttrs } from './conv2d.ts';

export { depthwiseWeightGradWasm } from './depthwiseWeightGrad.ts';

import { type DepthwiseSpec, depthwiseGeometry, specKey } from './depthwiseGeometry.ts';
import { globalForward, globalInputGrad, isGlobal } from './depthwiseGlobal.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { type ArgType, defineKernel } from './kernel.ts';
import { channelBlocks, storeResult } from './lanes.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32x4, type I32, i32, type Local, type V128 } from './wasm.ts';

/** A run of taps and the input positions they meet: taps first, first + step, … (count of them). */
interface Taps {
  readonly count: I32;
  /** Byte step of the input address from one tap to the next. */
  readonly inStep: I32;
  /** Byte step of the weight address from one tap to the next. */
  readonly wStep: I32;
}

/** Where a result goes: its first pixel's number, that pixel's address, and what is done before the store. */
interface Out {
  readonly pixel: Local<I32>;
  readonly address: I32;
  readonly cursor: EpilogueCursor;
}

/** One output pixel by loops over whatever taps are inside: edges, and everything that has no tile. */
function windowSum(f: Fn, spec: DepthwiseSpec, rows: Taps, cols: Taps, input: I32, weight: I32, out: Out) {
  channelBlocks(f, spec.channels, (cb, lanes) => {
    const acc = lanes.vectors.map(() => f.let(f32x4(0)));
    const inRow = f.let(input.add(cb));
    const wRow = f.let(weight.add(cb));
    f.for(0, rows.count, 1, () => {
      const inAt = f.let(inRow.add(0));
      const wAt = f.let(wRow.add(0));
      f.for(0, cols.count, 1, () => {
        const x = lanes.load(f, inAt);
        const w = lanes.load(f, wAt);
        acc.forEach((a, v) => {
          f.set(a, f.madd(x[v] as V128, w[v] as V128, a));
        });
        f.inc(inAt, cols.inStep);
        f.inc(wAt, cols.wStep);
      });
      f.inc(inRow, rows.inStep);
      f.inc(wRow, rows.wStep);
    });
    out.cursor.seek(out.pixel, cb.shrU(2), spec.channels);
    storeResult(f, out.cursor, lanes, out.address.add(cb), acc);
  });
}

/** `count` output columns at once. `feeds[k]` lists the (output, tap) pairs that input column k of the tile feeds. */
interface Tile {
  readonly outputs: number;
  readonly columns: number;
  readonly feeds: readonly (readonly { readonly output: number; readonly tap: number }[])[];
}

/** The tile's window sums for every channel. `input` is the address of the tile's input column 0 in the first row. */
function tileSum(f: Fn, spec: DepthwiseSpec, tile: Tile, rows: Taps, input: I32, weight: I32, out: Out) {
  const pixel = 4 * spec.channels;
  channelBlocks(f, spec.channels, (cb, lanes) => {
    const acc = Array.from({ length: tile.outputs }, () => lanes.vectors.map(() => f.let(f32x4(0))));
    const inAt = f.let(input.add(cb));
    const wAt = f.let(weight.add(cb));
    f.for(0, rows.count, 1, () => {
      const taps = new Map<number, Local<V128>[]>();
      tile.feeds.forEach((feeds, k) => {
        if (feeds.length === 0) return;
        const x = lanes.load(f, inAt, k * pixel);
        for (const { output, tap } of feeds) {
          const w = taps.get(tap) ?? lanes.load(f, wAt, tap * pixel);
          taps.set(tap, w);
          const sum = acc[output] as Local<V128>[];
          sum.forEach((a, v) => {
            f.set(a, f.madd(x[v] as V128, w[v] as V128, a));
          });
        }
      });
      f.inc(inAt, rows.inStep);
      f.inc(wAt, rows.wStep);
    });
    const outAt = f.let(out.address.add(cb));
    out.cursor.seek(out.pixel, cb.shrU(2), spec.channels);
    acc.forEach((a, t) => {
      if (t) out.cursor.nextRow(pixel);
      storeResult(f, out.cursor, lanes, outAt, a, t * pixel);
    });
  });
}

const gcd = (a: number, b: number): number => (b ? gcd(b, a % b) : a);

/** The forward tile of t columns: input column k feeds output o through tap s where o·sw + s·dw = k. */
function forwardTile(spec: DepthwiseSpec, t: number): Tile {
  const [, kw] = spec.kernel;
  const [sw, dw] = [spec.stride[1], spec.dilation[1]];
  const columns = (t - 1) * sw + (kw - 1) * dw + 1;
  const feeds = Array.from({ length: columns }, () => [] as { output: number; tap: number }[]);
  for (let o = 0; o < t; o++) for (let s = 0; s < kw; s++) feeds[o * sw + s * dw]?.push({ output: o, tap: s });
  return { outputs: t, columns, feeds };
}

/** The gradient tile of t·sw columns: dy column k − back feeds dx column (k − back + ⌊s·dw/sw⌋)·sw + s·dw mod sw. */
function gradTile(spec: DepthwiseSpec, t: number): Tile & { readonly back: number } {
  const [, kw] = spec.kernel;
  const [sw, dw] = [spec.stride[1], spec.dilation[1]];
  const back = Math.floor(((kw - 1) * dw) / sw);
  const columns = t + back;
  const feeds = Array.from({ length: columns }, (_, k) => {
    const list: { output: number; tap: number }[] = [];
    for (let s = 0; s < kw; s++) {
      const j = k - back + Math.floor((s * dw) / sw);
      if (j >= 0 && j < t) list.push({ output: j * sw + ((s * dw) % sw), tap: s });
    }
    return list;
  });
  return { outputs: t * sw, columns, feeds, back };
}

/** Wide enough to reuse inputs and taps; small enough that accumulators, a row of taps and an input stay in registers. */
const forwardColumns = 3;
const gradColumns = (sw: number) => (sw === 1 ? 3 : sw === 2 ? 2 : 1);

export function depthwiseForwardKernel(spec: DepthwiseSpec, ep?: Epilogue) {
  const { channels } = spec;
  const [kh, kw] = spec.kernel;
  const [sh, sw] = spec.stride;
  const [dh, dw] = spec.dilation;
  const pixel = 4 * channels;
  const tile = forwardTile(spec, forwardColumns);
  return defineKernel({
    key: `depthwise_${specKey(spec)}${epilogueKey(ep)}`,
    args: {
      x: 'i32',
      w: 'i32',
      y: 'i32',
      height: 'i32',
      width: 'i32',
      outHeight: 'i32',
      outWidth: 'i32',
      top: 'i32',
      left: 'i32',
      /** Output columns [inner, innerEnd) have their whole window inside. */
      inner: 'i32',
      innerEnd: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
      ...(epilogueArgs(ep) as Record<never, ArgType>),
    },
    chunk(f, a, chunk) {
      const cursor = new EpilogueCursor(f, ep, a);
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const rowBytes = f.let(a.width.mul(pixel));
      f.while(row.ltS(end), () => {
        const oh = f.let(row.remU(a.outHeight));
        const image = f.let(row.divU(a.outHeight));
        const ih = f.let(oh.mul(sh).sub(a.top));
        // Taps r with 0 <= ih + r·dh < height.
        const first = f.let(
          i32(0)
            .sub(ih)
            .add(dh - 1)
            .divS(dh),
        );
        f.set(first, first.maxS(0));
        const last = f.let(
          a.height
            .sub(ih)
            .add(dh - 1)
            .divS(dh),
        );
        f.set(last, last.minS(kh));
        const rows: Taps = {
          count: f.let(last.sub(first)),
          inStep: f.let(rowBytes.mul(dh)),
          wStep: i32(kw * pixel),
        };
        const input = f.let(a.x.add(image.mul(a.height).add(ih).add(first.mul(dh)).mul(rowBytes)));
        const weight = f.let(a.w.add(first.mul(kw * pixel)));
        const ow = f.let(i32(0));
        const tiles = f.let(a.innerEnd.sub(forwardColumns - 1));
        f.while(ow.ltS(a.outWidth), () => {
          const iw = f.let(ow.mul(sw).sub(a.left));
          const number = f.let(row.mul(a.outWidth).add(ow));
          const out: Out = { pixel: number, address: f.let(a.y.add(number.mul(pixel))), cursor };
          f.if(
            ow.geS(a.inner).and(ow.ltS(tiles)),
            () => {
              tileSum(f, spec, tile, rows, f.let(input.add(iw.mul(pixel))), weight, out);
              f.inc(ow, forwardColumns);
            },
            () => {
              const s0 = f.let(
                i32(0)
                  .sub(iw)
                  .add(dw - 1)
                  .divS(dw),
              );
              f.set(s0, s0.maxS(0));
              const s1 = f.let(
                a.width
                  .sub(iw)
                  .add(dw - 1)
                  .divS(dw),
              );
              f.set(s1, s1.minS(kw));
              const cols: Taps = { count: f.let(s1.sub(s0)), inStep: i32(dw * pixel), wStep: i32(pixel) };
              windowSum(
                f,
                spec,
                rows,
                cols,
                f.let(input.add(iw.add(s0.mul(dw)).mul(pixel))),
                f.let(weight.add(s0.mul(pixel))),
                out,
              );
              f.inc(ow, 1);
            },
          );
        });
        f.inc(row, 1);
      });
    },
  });
}

/**
 * Taps that meet gradient position p (= input position + padding) along one axis: k with k·dilation ≡ p (mod stride)
 * and 0 <= (p − k·dilation)/stride < size. They are first, first + step, …; sets `first` and `count`.
 */
function gradTaps(f: Fn, p: I32, k: number, stride: number, dilation: number, size: I32) {
  const first = f.let(i32(0));
  const count = f.let(i32(0));
  f.for(0, k, 1, (i) => {
    const t = f.let(p.sub(i.mul(dilation)));
    // A negative p only meets negative positions, which the range test drops.
    f.if(
      t
        .geS(0)
        .and(t.remS(stride).eqz())
        .and(t.ltS(size.mul(stride))),
      () => {
        f.if(count.eqz(), () => {
          f.set(first, i);
        });
        f.inc(count, 1);
      },
    );
  });
  const step = stride / gcd(stride, dilation);
  return { first, count, step, backStep: (step * dilation) / stride };
}

export function depthwiseInputGradKernel(spec: DepthwiseSpec) {
  const { channels } = spec;
  const [kh, kw] = spec.kernel;
  const [sh, sw] = spec.stride;
  const [dh, dw] = spec.dilation;
  const pixel = 4 * channels;
  const t = gradColumns(sw);
  const tile = gradTile(spec, t);
  return defineKernel({
    key: `depthwiseInputGrad_${specKey(spec)}`,
    args: {
      dy: 'i32',
      w: 'i32',
      dx: 'i32',
      height: 'i32',
      width: 'i32',
      outHeight: 'i32',
      outWidth: 'i32',
      top: 'i32',
      left: 'i32',
      /** Input columns [inner, innerEnd), a whole number of strides, have all their taps' outputs inside. */
      inner: 'i32',
      innerEnd: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
    },
    chunk(f, a, chunk) {
      const cursor = new EpilogueCursor(f, undefined, a);
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const rowBytes = f.let(a.outWidth.mul(pixel));
      f.while(row.ltS(end), () => {
        const p = f.let(row.remU(a.height).add(a.top));
        const image = f.let(row.divU(a.height));
        const r = gradTaps(f, p, kh, sh, dh, a.outHeight);
        const rows: Taps = {
          count: r.count,
          inStep: f.let(rowBytes.mul(-r.backStep)),
          wStep: i32(r.step * kw * pixel),
        };
        const oh = p.sub(r.first.mul(dh)).divS(sh);
        const input = f.let(a.dy.add(image.mul(a.outHeight).add(oh).mul(rowBytes)));
        const weight = f.let(a.w.add(r.first.mul(kw * pixel)));
        const iw = f.let(i32(0));
        const tiles = f.let(a.innerEnd.sub(t * sw - 1));
        f.while(iw.ltS(a.width), () => {
          const q = f.let(iw.add(a.left));
          const number = f.let(row.mul(a.width).add(iw));
          const out: Out = { pixel: number, address: f.let(a.dx.add(number.mul(pixel))), cursor };
          f.if(
            iw.geS(a.inner).and(iw.ltS(tiles)),
            () => {
              const j = f.let(q.divS(sw).sub(tile.back));
              tileSum(f, spec, tile, rows, f.let(input.add(j.mul(pixel))), weight, out);
              f.inc(iw, t * sw);
            },
            () => {
              const s = gradTaps(f, q, kw, sw, dw, a.outWidth);
              const cols: Taps = { count: s.count, inStep: i32(-s.backStep * pixel), wStep: i32(s.step * pixel) };
              const ow = q.sub(s.first.mul(dw)).divS(sw);
              windowSum(
                f,
                spec,
                rows,
                cols,
                f.let(input.add(ow.mul(pixel))),
                f.let(weight.add(s.first.mul(pixel))),
                out,
              );
              f.inc(iw, 1);
            },
          );
        });
        f.inc(row, 1);
      });
    },
  });
}

/** Rows per chunk: enough work to hide the claim, few enough chunks lost at the end. From shapes alone. */
const rowsPerChunkOf = (rowElements: number) => Math.max(1, Math.ceil(32768 / rowElements));

/**
 * y[n, oh, ow, c] = Σ_{r,s} x[n, oh·sh + r·dh − top, ow·sw + s·dw − left, c] · w[r, s, 0, c].
 *
 * Inputs x [N, H, W, C], w [kh, kw, 1, C]; output y [N, OH, OW, C]. Sums run over r, then s, in f32. The epilogue, if
 * any, is applied before the store.
 * @throws ShapeError where the shapes do not fit.
 */
export const depthwiseWasm: Lowering<ConvAttrs & { readonly epilogue?: Epilogue }> = (e, [x, w], [y], attrs) => {
  const g = depthwiseGeometry('depthwise', x!, w!, y!, attrs);
  const ep = attrs.epilogue;
  if (isGlobal(g)) return globalForward(e, g, x!, w!, y!, ep);
  const [top, , left] = g.padding;
  const [sw, dw, kw] = [g.spec.stride[1], g.spec.dilation[1], g.spec.kernel[1]];
  const inner = Math.max(0, Math.ceil(left / sw));
  const innerEnd = Math.min(g.outWidth, Math.floor((g.width + left - (kw - 1) * dw - 1) / sw) + 1);
  const rows = g.batch * g.outHeight;
  const rowsPerChunk = rowsPerChunkOf(g.outWidth * g.spec.channels);
  e.call(
    depthwiseForwardKernel(g.spec, ep),
    {
      x: x!.buffer,
      w: w!.buffer,
      y: y!.buffer,
      height: g.height,
      width: g.width,
      outHeight: g.outHeight,
      outWidth: g.outWidth,
      top,
      left,
      inner,
      innerEnd,
      rows,
      rowsPerChunk,
      ...epilogueValues(ep),
    },
    Math.ceil(rows / rowsPerChunk),
  );
};

/**
 * dx[n, ih, iw, c] = Σ dy[n, oh, ow, c] · w[r, s, 0, c] over oh·sh + r·dh − top = ih, ow·sw + s·dw − left = iw.
 *
 * Inputs dy [N, OH, OW, C], w [kh, kw, 1, C]; output dx [N, H, W, C].
 * @throws ShapeError where the shapes do not fit.
 */
export const depthwiseInputGradWasm: Lowering<ConvAttrs> = (e, [dy, w], [dx], attrs) => {
  const g = depthwiseGeometry('depthwiseInputGrad', dx!, w!, dy!, attrs);
  if (isGlobal(g)) return globalInputGrad(e, g, dy!, w!, dx!);
  const [top, , left] = g.padding;
  const [sw, dw, kw] = [g.spec.stride[1], g.spec.dilation[1], g.spec.kernel[1]];
  const back = Math.floor(((kw - 1) * dw) / sw);
  const j0 = Math.max(back, Math.ceil(left / sw));
  const j1 = Math.max(j0, Math.min(g.outWidth, Math.floor((g.width + left) / sw)));
  const rows = g.batch * g.height;
  const rowsPerChunk = rowsPerChunkOf(g.width * g.spec.channels);
  e.call(
    depthwiseInputGradKernel(g.spec),
    {
      dy: dy!.buffer,
      w: w!.buffer,
      dx: dx!.buffer,
      height: g.height,
      width: g.width,
      outHeight: g.outHeight,
      outWidth: g.outWidth,
      top,
      left,
      inner: sw * j0 - left,
      innerEnd: sw * j1 - left,
      rows,
      rowsPerChunk,
    },
    Math.ceil(rows / rowsPerChunk),
  );
};
