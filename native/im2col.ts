/**
 * Gathering windows into rows: the implicit GEMM's A, made a block of pixels at a time in scratch memory.
 *
 * The one idea: along each axis a window is an arithmetic progression, input = stride·output + offset + step·i, for a
 * convolution as for one stride phase of its transpose. Neighbouring taps of a row are one copy, and zeros are written
 * where the window leaves the image, so the product itself has no edges. After Chellapilla, Puri, Simard, "High
 * performance convolutional neural networks for document processing" (2006), without the matrix ever lying in memory.
 */
import { type Fn, f32x4, type I32, type Local, loadF32, loadV128 } from './wasm.ts';

/** One axis: output o reads inputs stride·o + offset + step·i for i < taps; those outside of the image are zero. */
export interface GatherAxis {
  readonly stride: number;
  readonly offset: number;
  readonly step: number;
  readonly taps: number;
}

export interface Gather {
  readonly rows: GatherAxis;
  readonly columns: GatherAxis;
  /** Channels read, and channels of a pixel in memory. */
  readonly channels: number;
  readonly pixelChannels: number;
}

const axisKey = (a: GatherAxis) => `s${a.stride}o${a.offset}d${a.step}t${a.taps}`;
export const gatherKey = (g: Gather) => `${axisKey(g.rows)}_${axisKey(g.columns)}_c${g.channels}of${g.pixelChannels}`;

/** Floats of one gathered row. */
export const gatherWidth = (g: Gather) => g.rows.taps * g.columns.taps * g.channels;

/** Emits `block` for every 8 floats, `quad` for 4 and `single` for 1 of n: a loop where n is large. */
function eachFloat(f: Fn, n: number, from: I32, to: I32, copy: boolean): void {
  const [src, dst] = [f.let(from), f.let(to)];
  const eight = (offset: number) => {
    const [a, b] = copy ? [f.let(loadV128(src, offset)), f.let(loadV128(src, offset + 16))] : [f32x4(0), f32x4(0)];
    f.storeV128(dst, a, offset);
    f.storeV128(dst, b, offset + 16);
  };
  let done = 0;
  if (n >= 48) {
    const end = f.let(dst.add((n >> 4) * 64));
    f.while(dst.ltU(end), () => {
      eight(0);
      eight(32);
      f.inc(src, 64);
      f.inc(dst, 64);
    });
    done = n & ~15;
  }
  // Offsets from where the loop left the pointers.
  for (let left = n - done, offset = 0; left > 0; ) {
    const take = left >= 8 ? 8 : left >= 4 ? 4 : 1;
    if (take === 8) eight(offset);
    else if (take === 4) f.storeV128(dst, copy ? loadV128(src, offset) : f32x4(0), offset);
    else f.storeF32(dst, copy ? loadF32(src, offset) : 0, offset);
    left -= take;
    offset += 4 * take;
  }
}
const emitCopy = (f: Fn, n: number, from: I32, to: I32) => eachFloat(f, n, from, to, true);
const emitZero = (f: Fn, n: number, to: I32) => eachFloat(f, n, to, to, false);

/** Sizes of an image and of its outputs, known at run time. */
export const gatherArgs = { inRows: 'i32', inColumns: 'i32', outRows: 'i32', outColumns: 'i32' } as const;
export type GatherSizes = { readonly [K in keyof typeof gatherArgs]: Local<I32> };

export interface GatherBlock {
  readonly sizes: GatherSizes;
  /** Address of the first image, moved to the first channel read. */
  readonly source: I32;
  /** First output pixel, counted over all images, and how many. */
  readonly first: I32;
  readonly count: I32;
  readonly to: I32;
  /** Bytes from one gathered row to the next. */
  readonly stride: number;
  /** Taps gathered: all, or these many from the given ones on. */
  readonly part?: { readonly row: I32; readonly column: I32; readonly rows: number; readonly columns: number };
}

/** Walks output pixels, counted over all images, from one on: its column and row, and the address of its image. */
export function outputPixels(
  f: Fn,
  { source: from, first }: { readonly source: I32; readonly first: I32 },
  { inRows, inColumns, outRows, outColumns }: GatherSizes,
  pixelBytes: number,
) {
  const lineBytes = f.let(inColumns.mul(pixelBytes));
  const imageBytes = f.let(inRows.mul(lineBytes));
  const line = f.let(first.divU(outColumns));
  const ox = f.let(first.sub(line.mul(outColumns))) as Local<I32>;
  const image = f.let(line.divU(outRows));
  const oy = f.let(line.sub(image.mul(outRows))) as Local<I32>;
  const source = f.let(from.add(image.mul(imageBytes))) as Local<I32>;
  const next = () => {
    f.inc(ox, 1);
    f.if(ox.eq(outColumns), () => {
      f.set(ox, 0);
      f.inc(oy, 1);
      f.if(oy.eq(outRows), () => {
        f.set(oy, 0);
        f.inc(source, imageBytes);
      });
    });
  };
  return { ox, oy, source, lineBytes, next };
}

/** Writes the windows of `count` output pixels, [pixel][row tap][column tap][channel]. */
export function emitGather(f: Fn, g: Gather, b: GatherBlock): void {
  const { rows, columns, channels } = g;
  const pixel = 4 * g.pixelChannels;
  const rowTaps = b.part?.rows ?? rows.taps;
  const columnTaps = b.part?.columns ?? columns.taps;
  if (rowTaps * columnTaps === 0) return;
  const width = columnTaps * channels;
  const oneCopy = columns.step === 1 && channels === g.pixelChannels;
  const { inRows, inColumns } = b.sizes;
  const { ox, oy, source, lineBytes, next } = outputPixels(f, b, b.sizes, pixel);
  // First columns of windows that lie inside as a whole.
  const inside = f.let(inColumns.sub(columnTaps - 1));
  f.set(inside, inside.maxS(0));
  const rowShift = b.part ? f.let(b.part.row.mul(rows.step).add(rows.offset)) : undefined;
  const columnShift = b.part ? f.let(b.part.column.mul(columns.step).add(columns.offset)) : undefined;
  const to = f.let(b.to);
  f.for(0, b.count, 1, () => {
    const iy = f.let(oy.mul(rows.stride).add(rowShift ?? rows.offset));
    const ix = f.let(ox.mul(columns.stride).add(columnShift ?? columns.offset));
    const at = f.let(to as I32) as Local<I32>;
    f.for(0, rowTaps, 1, () => {
      f.if(
        iy.ltU(inRows),
        () => {
          const from = f.let(source.add(iy.mul(lineBytes)).add(ix.mul(pixel)));
          const tapByTap = () => {
            const x = f.let(ix as I32) as Local<I32>;
            const place = f.let(at as I32) as Local<I32>;
            f.for(0, columnTaps, 1, () => {
              f.if(
                x.ltU(inColumns),
                () => emitCopy(f, channels, from, place),
                () => emitZero(f, channels, place),
              );
              f.inc(x, columns.step);
              f.inc(from, columns.step * pixel);
              f.inc(place, 4 * channels);
            });
          };
          if (oneCopy && columnTaps > 1) f.if(ix.ltU(inside), () => emitCopy(f, width, from, at), tapByTap);
          else tapByTap();
        },
        () => emitZero(f, width, at),
      );
      f.inc(iy, rows.step);
      f.inc(at, 4 * width);
    });
    f.inc(to, b.stride);
    next();
  });
}
