/**
 * Depthwise 8-bit convolutions: one filter per channel.
 *
 * The one idea: here 16-bit products save nothing, because a filter is not shared by neighbouring channels and the pairs that
 * the instruction adds would have to be shuffled together. Sums of a few taps are exact in float32, though, so each input
 * row is widened once, some channels at a time, into a ring of rows that stays in the first-level cache, with zeros around
 * it; a tile of neighbouring columns times eight channels then runs over the taps with multiply-adds. What is saved against
 * float32 is memory traffic: three quarters of it.
 */
import { convGeometry } from './convGeometry.ts';
import {
  type Int8Attrs,
  operandsOf,
  ResultStore,
  resultArgs,
  resultKey,
  resultScratchBytes,
  resultValues,
  weightZero,
  widened,
  zeroLanes,
} from './int8.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import { type Fn, type I32, i32, type Local, loadU8, loadV128, type V128 } from './wasm.ts';
import type { Axis } from './window.ts';

/** Taps that the kernel is generated for, and whose sums stay below 2^24. */
export const mostTaps = 64;

const eight = (channels: number) => (channels + 7) & ~7;

/** Weights as float32 [tap][channel], a row of taps a chunk, zeros in channels that are padding. */
const packKernel = (channels: number) =>
  defineKernel({
    key: `int8_depthwise_pack_${channels}`,
    args: { w: 'i32', to: 'i32' },
    chunk(f, a, chunk) {
      const from = f.let(a.w.add(chunk.mul(channels)));
      const to = f.let(a.to.add(chunk.mul(4 * eight(channels))));
      f.fill(to, 0, 4 * eight(channels));
      f.for(0, channels, 1, (c) => {
        f.storeF32(to.add(c.shl(2)), loadU8(from.add(c)).sub(weightZero).toF32());
      });
    },
  });

interface DepthwiseSpec {
  readonly rows: Axis;
  readonly columns: Axis;
  readonly channels: number;
  readonly attrs: Int8Attrs;
}

/** Channels widened at once. */
const blockOf = (channels: number) => Math.min(32, eight(channels));
/** Output columns of a tile: as in depthwise.ts, what registers hold as pairs of vectors. */
const tileOf = (outColumns: number) => Math.min(3, outColumns);
/** Columns of a widened row: all that whole tiles read. */
const widenedColumns = ({ columns: c }: DepthwiseSpec) => {
  const tile = tileOf(c.outSize);
  return (Math.ceil(c.outSize / tile) * tile - 1) * c.stride + (c.kernel - 1) * c.dilation + 1;
};

function depthwiseKernel(spec: DepthwiseSpec) {
  const { rows, columns, channels, attrs } = spec;
  const block = blockOf(channels);
  const pixel = 4 * block;
  const across = widenedColumns(spec);
  const rowBytes = across * pixel;
  const ring = (rows.kernel - 1) * rows.dilation + 1;
  const tile = tileOf(columns.outSize);
  const key = [rows, columns].map((a) => `${a.size}k${a.kernel}s${a.stride}d${a.dilation}p${a.before}>${a.outSize}`);
  return defineKernel({
    key: `int8_depthwise_${key.join('_')}_c${channels}_${resultKey(attrs)}`,
    args: { x: 'i32', w: 'i32', zero: 'i32', rowBlocks: 'i32', rowsPerChunk: 'i32', blocks: 'i32', ...resultArgs },
    scratchBytes: ring * rowBytes + resultScratchBytes,
    chunk(f, a, chunk, scratch) {
      const store = new ResultStore(f, attrs, a, f.let(scratch.add(ring * rowBytes)));
      const zero = zeroLanes(f, a.zero);
      const channel = f.let(chunk.remU(a.blocks).mul(block));
      const rest = f.let(chunk.divU(a.blocks));
      const start = f.let(rest.remU(a.rowBlocks).mul(a.rowsPerChunk));
      const image = f.let(rest.divU(a.rowBlocks));
      const end = f.let(f.let(start.add(a.rowsPerChunk)).minS(rows.outSize));
      const width = f.let(f.let(i32(channels).sub(channel)).minS(block));
      const source = f.let(a.x.add(image.mul(rows.size * columns.size * channels)).add(channel));
      const weights = f.let(a.w.add(channel.shl(2)));
      // Columns and channels that are padding stay zero from here on.
      f.fill(scratch, 0, ring * rowBytes);
      // Rows are counted from the first of the padding above.
      const next = f.let(start.mul(rows.stride)) as Local<I32>;
      f.for(start, end, 1, (row) => {
        const first = f.let(row.mul(rows.stride));
        f.set(next, next.maxS(first) as Local<I32>);
        f.while(next.leS(f.let(first.add(ring - 1))), () => {
          const to = f.let(scratch.add(next.remU(ring).mul(rowBytes)));
          const y = f.let(next.sub(rows.before));
          f.if(
            y.ltU(rows.size),
            () =>
              widenRow(f, {
                spec,
                from: source.add(y.mul(columns.size * channels)),
                to,
                width,
                zero,
                zeroPoint: a.zero,
              }),
            () => f.fill(to, 0, rowBytes),
          );
          f.inc(next, 1);
        });
        const lines = Array.from({ length: rows.kernel }, (_, i) =>
          f.let(
            scratch.add(
              first
                .add(i * rows.dilation)
                .remU(ring)
                .mul(rowBytes),
            ),
          ),
        );
        const output = f.let(
          image
            .mul(rows.outSize)
            .add(row)
            .mul(columns.outSize * channels)
            .add(channel),
        );
        f.for(0, columns.outSize, tile, (ox) => {
          const place = f.let(output.add(ox.mul(channels)));
          const left = f.let(i32(columns.outSize).sub(ox));
          const at = f.let(ox.mul(columns.stride * pixel)) as Local<I32>;
          const w = f.let(weights as I32) as Local<I32>;
          f.for(0, width, 8, (c) => {
            const parameters = store.channels(channel.add(c).shl(2));
            const sums = emitTaps(f, spec, lines, at, w, parameters.bias);
            sums.forEach((x, t) => {
              const one = () => {
                const index = place.add(t * channels).add(c);
                if (channels % 8 === 0) store.eight(x, parameters, index);
                else {
                  const there = f.let(width.sub(c));
                  f.if(
                    there.geS(8),
                    () => store.eight(x, parameters, index),
                    () => store.some(x, parameters, index, there),
                  );
                }
              };
              if (t === 0) one();
              else f.if(left.gtS(t), one);
            });
            f.inc(at, 32);
            f.inc(w, 32);
          });
        });
      });
    },
  });
}

/** Bias and products of a tile's output columns, for eight channels: a pair of vectors each. */
function emitTaps(
  f: Fn,
  { columns, channels }: DepthwiseSpec,
  lines: readonly Local<I32>[],
  at: Local<I32>,
  w: Local<I32>,
  bias: readonly V128[],
): Local<V128>[][] {
  const pixel = 4 * blockOf(channels);
  const tile = tileOf(columns.outSize);
  const sums = Array.from({ length: tile }, () => bias.map((b) => f.let(b.toFloat())));
  const pairAt = (place: I32, offset: number) => [f.let(loadV128(place, offset)), f.let(loadV128(place, offset + 16))];
  lines.forEach((line, i) => {
    const place = f.let(line.add(at));
    const taps = new Map<number, V128[]>();
    const feeds = Array.from({ length: tile }, (_, t) =>
      Array.from({ length: columns.kernel }, (_, s) => ({ t, s, column: t * columns.stride + s * columns.dilation })),
    ).flat();
    for (const column of [...new Set(feeds.map((x) => x.column))].sort((p, q) => p - q)) {
      const x = pairAt(place, column * pixel);
      for (const { t, s } of feeds.filter((x) => x.column === column)) {
        const tap = taps.get(s) ?? pairAt(w, (i * columns.kernel + s) * 4 * eight(channels));
        taps.set(s, tap);
        sums[t]!.forEach((sum, v) => {
          f.set(sum, f.madd(x[v]!, tap[v]!, sum) as Local<V128>);
        });
      }
    }
  });
  return sums;
}

interface WidenRow {
  readonly spec: DepthwiseSpec;
  readonly from: I32;
  readonly to: I32;
  readonly width: Local<I32>;
  readonly zero: Local<V128>;
  readonly zeroPoint: I32;
}

/** One input row as float32 less the zero point; columns around the image stay as they are. */
function widenRow(f: Fn, { spec, from, to, width, zero, zeroPoint }: WidenRow): void {
  const { columns, channels } = spec;
  const pixel = 4 * blockOf(channels);
  const across = widenedColumns(spec);
  const there = Math.max(0, Math.min(columns.size, across - columns.before));
  const source = f.let(from) as Local<I32>;
  const place = f.let(to.add(columns.before * pixel)) as Local<I32>;
  const wholes = f.let(width.and(-8));
  f.for(0, there, 1, () => {
    const at = f.let(place as I32) as Local<I32>;
    f.for(0, wholes, 8, (c) => {
      const x = f.let(widened(source.add(c), zero));
      f.storeV128(at, x.extendLowI16().toFloat());
      f.storeV128(at, x.extendHighI16().toFloat(), 16);
      f.inc(at, 32);
    });
    if (channels % 8)
      f.for(wholes, width, 1, (c) => {
        f.storeF32(at, loadU8(source.add(c)).sub(zeroPoint).toF32());
        f.inc(at, 4);
      });
    f.inc(source, channels);
    f.inc(place, pixel);
  });
}

/** Chunks that are enough for many threads; rows are cut where blocks of channels give fewer. */
const enoughChunks = 16;

/**
 * The convolution of int8.ts with x uint8 [N, H, W, C], w uint8 [kh, kw, 1, C], groups = C, at most `mostTaps` taps and a
 * bias below 2^23; the rest as for `int8Product`.
 * @throws ShapeError where the shapes do not fit
 */
export const int8Depthwise: Lowering<Int8Attrs> = (e, inputs, [y], attrs) => {
  const { x, w } = operandsOf(inputs, attrs);
  const { batch, rows, columns, cin: channels } = convGeometry('int8Depthwise', x, w, y!, attrs);
  if (batch * rows.outSize * columns.outSize === 0) return;
  const taps = rows.kernel * columns.kernel;
  const packed = e.prepared(w, taps * 4 * eight(channels), (to) =>
    e.call(packKernel(channels), { w: w.buffer, to }, taps),
  );
  const blocks = Math.ceil(channels / blockOf(channels));
  const rowBlocks = Math.min(Math.ceil(rows.outSize / 4), Math.ceil(enoughChunks / (blocks * batch)));
  const rowsPerChunk = Math.ceil(rows.outSize / rowBlocks);
  e.call(
    depthwiseKernel({ rows, columns, channels, attrs }),
    {
      x: x.buffer,
      w: packed,
      y: y!.buffer,
      zero: attrs.zero,
      rowBlocks: Math.ceil(rows.outSize / rowsPerChunk),
      rowsPerChunk,
      blocks,
      ...resultValues(inputs, attrs),
    },
    blocks * Math.ceil(rows.outSize / rowsPerChunk) * batch,
  );
};
