/**
 * Max and average pooling in WASM, with gradients.
 *
 * The one idea: windows shorten at the edges instead of reading padding, so loops over the taps inside suffice, with
 * channels as vectors. The gradient of the mean gathers; that of the maximum scatters over one image and a block of
 * channels per chunk, in a fixed order, since finding the winners of a window twice costs more than adding to memory.
 */
import { ShapeError } from '../src/core/errors.ts';
import { defineKernel } from './kernel.ts';
import { channelBlocks } from './lanes.ts';
import type { Lowering, Value } from './lower.ts';
import { type F32, type Fn, f32, f32x4, type I32, i32, type Local, type V128 } from './wasm.ts';
import { type Axis, axisKey, outputSize } from './window.ts';

export interface PoolAttrs {
  /** Window [down, right]. */
  readonly kernel: readonly [number, number];
  /** [down, right], at least 1. */
  readonly stride: readonly [number, number];
  /** Around the input: [top, bottom, left, right]; less than the kernel. */
  readonly padding: readonly [number, number, number, number];
}

export interface AvgPoolAttrs extends PoolAttrs {
  /** Divide by kh·kw always (true), or by the number of pixels inside the image. */
  readonly countIncludePad: boolean;
}

interface PoolGeometry {
  readonly batch: number;
  readonly rows: Axis;
  readonly columns: Axis;
  readonly channels: number;
}

function poolGeometry(op: string, x: Value, y: Value, { kernel, stride, padding }: PoolAttrs): PoolGeometry {
  const [batch = 0, height = 0, width = 0, channels = 0] = x.shape;
  const [top, bottom, left, right] = padding;
  const oh = outputSize(height, top + bottom, kernel[0], stride[0], 1);
  const ow = outputSize(width, left + right, kernel[1], stride[1], 1);
  const want = [batch, oh, ow, channels];
  const outside = Math.max(top, bottom) >= kernel[0] || Math.max(left, right) >= kernel[1];
  if (x.shape.length !== 4 || outside || want.some((n, i) => n !== y.shape[i]))
    throw new ShapeError(
      `${op}: expected x [N, H, W, C], y [${want.join(', ')}] and padding below the kernel; ` +
        `got x [${x.shape}], y [${y.shape}], kernel [${kernel}], padding [${padding}].\n` +
        'Check kernel, stride and padding.',
    );
  const axis = (size: number, outSize: number, i: 0 | 1, before: number): Axis => ({
    size,
    outSize,
    kernel: kernel[i],
    stride: stride[i],
    dilation: 1,
    before,
  });
  return { batch, rows: axis(height, oh, 0, top), columns: axis(width, ow, 1, left), channels };
}

const keyOf = (g: PoolGeometry) => `${axisKey(g.rows)}_${axisKey(g.columns)}_c${g.channels}`;

interface Range {
  readonly from: Local<I32>;
  readonly to: Local<I32>;
}

/** Inputs [from, to) of output o's window that lie inside. */
function windowOf(f: Fn, a: Axis, o: I32): Range {
  const from = f.let(o.mul(a.stride).sub(a.before));
  const to = f.let(from.add(a.kernel));
  f.set(to, to.minS(a.size));
  f.set(from, from.maxS(0));
  return { from, to };
}

/** Outputs [from, to) whose windows hold input i. */
function windowsWith(f: Fn, a: Axis, i: I32): Range {
  const p = f.let(i.add(a.before));
  const from = f.let(p.sub(a.kernel - a.stride).divS(a.stride));
  // The division rounds toward zero: what starts below the first output is cut off here.
  f.set(from, from.maxS(0));
  const to = f.let(p.divS(a.stride).add(1));
  f.set(to, to.minS(a.outSize));
  return { from, to };
}

/** Rows per chunk, from shapes alone. */
const rowsPerChunkOf = (rowElements: number) => Math.max(1, Math.ceil(32768 / rowElements));

/** Emits `pixel` for every pixel of this chunk's rows of a [N, rows, columns, C] tensor. */
function forPixels(
  f: Fn,
  chunk: I32,
  total: I32,
  perChunk: number,
  [rows, columns]: readonly [number, number],
  row: (image: I32, y: I32) => (x: I32, number: I32) => void,
) {
  const start = f.let(chunk.mul(perChunk));
  const end = f.let(start.add(perChunk));
  f.set(end, end.minS(total));
  f.for(start, end, 1, (r) => {
    const image = f.let(r.divU(rows));
    const pixel = row(image, f.let(r.remU(rows)));
    const first = f.let(r.mul(columns));
    f.for(0, columns, 1, (x) => pixel(x, first.add(x)));
  });
}

/** A kernel that reduces each window of the input to one output pixel. */
function reduceKernel(
  name: string,
  g: PoolGeometry,
  first: number,
  reduce: (acc: V128, x: V128) => V128,
  finish: (acc: V128, rows: Range, columns: Range) => V128,
) {
  const pixel = 4 * g.channels;
  const total = g.batch * g.rows.outSize;
  const perChunk = rowsPerChunkOf(g.columns.size * g.channels);
  const kernel = defineKernel({
    key: `${name}_${keyOf(g)}`,
    args: { x: 'i32', y: 'i32', rows: 'i32' },
    chunk(f, a, chunk) {
      forPixels(f, chunk, a.rows, perChunk, [g.rows.outSize, g.columns.outSize], (image, oy) => {
        const rows = windowOf(f, g.rows, oy);
        const line = f.let(
          a.x.add(
            image
              .mul(g.rows.size)
              .add(rows.from)
              .mul(g.columns.size * pixel),
          ),
        );
        return (ox, number) => {
          const columns = windowOf(f, g.columns, ox);
          const input = f.let(line.add(columns.from.mul(pixel)));
          const out = f.let(a.y.add(number.mul(pixel)));
          channelBlocks(f, g.channels, (cb, lanes) => {
            const acc = lanes.vectors.map(() => f.let(f32x4(first)));
            const at = f.let(input.add(cb));
            f.for(rows.from, rows.to, 1, () => {
              const x = f.let(at as I32);
              f.for(columns.from, columns.to, 1, () => {
                const v = lanes.load(f, x);
                acc.forEach((s, i) => {
                  f.set(s, reduce(s, v[i] as V128) as Local<V128>);
                });
                f.inc(x, pixel);
              });
              f.inc(at, g.columns.size * pixel);
            });
            lanes.store(
              f,
              out.add(cb),
              acc.map((s) => finish(s, rows, columns)),
            );
          });
        };
      });
    },
  });
  return { kernel, rows: total, chunks: Math.ceil(total / perChunk) };
}

/**
 * y[n, i, j, c] = max over the window of x. NaN wins over numbers.
 *
 * Input x [N, H, W, C]; output y [N, OH, OW, C], OH = ⌊(H + top + bottom − kh)/sh⌋ + 1.
 * @throws ShapeError where the shapes do not fit or the padding is not less than the kernel.
 */
export const maxPoolWasm: Lowering<PoolAttrs> = (e, [x], [y], attrs) => {
  const g = poolGeometry('maxPool', x!, y!, attrs);
  const { kernel, rows, chunks } = reduceKernel(
    'maxPool',
    g,
    Number.NEGATIVE_INFINITY,
    // Keeps the first of equal values, the sign of a zero too, and takes NaN: what the gradient's winner holds.
    (a, v) => v.select(a, v.gt(a).or(v.ne(v))),
    (a) => a,
  );
  e.call(kernel, { x: x!.buffer, y: y!.buffer, rows }, chunks);
};

const divisor = (rows: Range, columns: Range): F32 => rows.to.sub(rows.from).mul(columns.to.sub(columns.from)).toF32();

/**
 * y[n, i, j, c] = mean over the window of x; see `countIncludePad` for what the sum is divided by.
 *
 * Input x [N, H, W, C]; output y [N, OH, OW, C].
 * @throws ShapeError where the shapes do not fit or the padding is not less than the kernel.
 */
export const avgPoolWasm: Lowering<AvgPoolAttrs> = (e, [x], [y], attrs) => {
  const g = poolGeometry('avgPool', x!, y!, attrs);
  const size = g.rows.kernel * g.columns.kernel;
  const whole = attrs.countIncludePad;
  const { kernel, rows, chunks } = reduceKernel(
    whole ? 'avgPoolWithPad' : 'avgPool',
    g,
    0,
    (a, v) => a.add(v),
    (a, rows, columns) => a.div((whole ? f32(size) : divisor(rows, columns)).splat()),
  );
  e.call(kernel, { x: x!.buffer, y: y!.buffer, rows }, chunks);
};

/**
 * dx[n, h, v, c] = Σ dy[n, i, j, c] / divisor(i, j) over the windows (i, j) that hold (h, v), in row-major order.
 *
 * Input dy [N, OH, OW, C]; output dx [N, H, W, C].
 * @throws ShapeError where the shapes do not fit or the padding is not less than the kernel.
 */
export const avgPoolGradWasm: Lowering<AvgPoolAttrs> = (e, [dy], [dx], attrs) => {
  const g = poolGeometry('avgPoolGrad', dx!, dy!, attrs);
  const { rows, columns, channels } = g;
  const pixel = 4 * channels;
  const total = g.batch * rows.size;
  const perChunk = rowsPerChunkOf(columns.size * channels);
  const whole = attrs.countIncludePad;
  const kernel = defineKernel({
    key: `avgPoolGrad${whole ? 'WithPad' : ''}_${keyOf(g)}`,
    args: { dy: 'i32', dx: 'i32', rows: 'i32' },
    chunk(f, a, chunk) {
      forPixels(f, chunk, a.rows, perChunk, [rows.size, columns.size], (image, y) => {
        const down = windowsWith(f, rows, y);
        const base = f.let(a.dy.add(image.mul(rows.outSize * columns.outSize * pixel)));
        return (x, number) => {
          const across = windowsWith(f, columns, x);
          const out = f.let(a.dx.add(number.mul(pixel)));
          channelBlocks(f, channels, (cb, lanes) => {
            const acc = lanes.vectors.map(() => f.let(f32x4(0)));
            f.for(down.from, down.to, 1, (oy) => {
              const height = whole ? undefined : windowOf(f, rows, oy);
              const at = f.let(base.add(oy.mul(columns.outSize).add(across.from).mul(pixel)).add(cb));
              f.for(across.from, across.to, 1, (ox) => {
                const by = f.let(
                  (height ? divisor(height, windowOf(f, columns, ox)) : f32(rows.kernel * columns.kernel)).splat(),
                );
                const v = lanes.load(f, at);
                acc.forEach((s, i) => {
                  f.set(s, s.add((v[i] as V128).div(by)) as Local<V128>);
                });
                f.inc(at, pixel);
              });
            });
            lanes.store(f, out.add(cb), acc);
          });
        };
      });
    },
  });
  e.call(kernel, { dy: dy!.buffer, dx: dx!.buffer, rows: total }, Math.ceil(total / perChunk));
};

/** Channels of a chunk that owns an image's gradient: whole cache lines, and more chunks than images. */
export const channelsPerChunk = (channels: number) => (channels % 64 === 0 ? 64 : channels);

/** Zeroes the chunk's channels of every pixel of an image at `to`. */
export function emitClear(f: Fn, to: I32, pixels: number, pixelBytes: number, channels: number): void {
  const at = f.let(to);
  if (pixelBytes === 4 * channels) f.fill(at, 0, pixels * pixelBytes);
  else
    f.for(0, pixels, 1, () => {
      channelBlocks(f, channels, (cb, lanes) => {
        lanes.store(
          f,
          at.add(cb),
          lanes.vectors.map(() => f32x4(0)),
        );
      });
      f.inc(at, pixelBytes);
    });
}

/**
 * dx: each window's dy goes to its first maximum in row-major order (to its last NaN where it holds one, as `maxPool`
 * gives NaN there).
 *
 * Inputs x [N, H, W, C], dy [N, OH, OW, C]; output dx [N, H, W, C].
 * @throws ShapeError where the shapes do not fit or the padding is not less than the kernel.
 */
export const maxPoolGradWasm: Lowering<PoolAttrs> = (e, [x, dy], [dx], attrs) => {
  const g = poolGeometry('maxPoolGrad', dx!, dy!, attrs);
  e.call(maxPoolGradKernel(g), { x: x!.buffer, dy: dy!.buffer, dx: dx!.buffer }, chunksOf(g));
};

const chunksOf = (g: PoolGeometry) => g.batch * (g.channels / channelsPerChunk(g.channels));

function maxPoolGradKernel(g: PoolGeometry) {
  const { rows, columns } = g;
  const pixel = 4 * g.channels;
  const channels = channelsPerChunk(g.channels);
  const blocks = g.channels / channels;
  const line = columns.size * pixel;
  return defineKernel({
    key: `maxPoolGrad_${keyOf(g)}`,
    args: { x: 'i32', dy: 'i32', dx: 'i32' },
    chunk(f, a, chunk) {
      const image = f.let(chunk.divU(blocks));
      const shift = f.let(chunk.remU(blocks).mul(4 * channels));
      const offset = f.let(image.mul(rows.size * line).add(shift));
      const dx = f.let(a.dx.add(offset));
      const x = f.let(a.x.add(offset));
      emitClear(f, dx, rows.size * columns.size, pixel, channels);
      const dy = f.let(a.dy.add(image.mul(rows.outSize * columns.outSize * pixel)).add(shift));
      f.for(0, rows.outSize, 1, (oy) => {
        const down = windowOf(f, rows, oy);
        f.for(0, columns.outSize, 1, (ox) => {
          const across = windowOf(f, columns, ox);
          const corner = f.let(down.from.mul(line).add(across.from.mul(pixel)));
          const jump = f.let(i32(line).sub(across.to.sub(across.from).mul(pixel)));
          channelBlocks(f, channels, (cb, lanes) => {
            const best = lanes.vectors.map(() => f.let(f32x4(Number.NEGATIVE_INFINITY)));
            const winner = lanes.vectors.map(() => f.let(i32(0).splat()));
            const eachTap = (body: (at: I32, tap: V128) => void) => {
              const at = f.let(corner.add(cb));
              const tap = f.let(i32(0));
              f.for(down.from, down.to, 1, () => {
                f.for(across.from, across.to, 1, () => {
                  body(at, f.let(tap.splat()));
                  f.inc(at, pixel);
                  f.inc(tap, 1);
                });
                f.inc(at, jump);
              });
            };
            eachTap((at, tap) => {
              const v = lanes.load(f, x.add(at));
              v.forEach((u, i) => {
                const [b, w] = [best[i] as Local<V128>, winner[i] as Local<V128>];
                const wins = f.let(u.gt(b).or(u.ne(u)));
                f.set(b, u.select(b, wins) as Local<V128>);
                f.set(w, tap.select(w, wins) as Local<V128>);
              });
            });
            const grad = lanes.load(f, dy.add(cb));
            eachTap((at, tap) => {
              const to = f.let(dx.add(at));
              const sum = lanes.load(f, to);
              lanes.store(
                f,
                to,
                sum.map((s, i) => s.add((grad[i] as V128).and((winner[i] as V128).ieq(tap)))),
              );
            });
          });
          f.inc(dy, pixel);
        });
      });
    },
  });
}
