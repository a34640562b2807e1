/**
 * From JPEG component planes to RGB: chroma upsampling and colour conversion, row by row.
 *
 * The one idea: a missing chroma sample is 3/4 of the nearer and 1/4 of the farther one in each direction (a triangle
 * filter), rounded the way libjpeg-turbo's "fancy" upsampling rounds; the conversion uses its 16-bit fixed point.
 */
import type { Component } from './jpeg.ts';

/** Writes row y of a component, stretched to the image's width, into `row`; `sums` is scratch. */
type RowReader = (y: number, row: Uint8Array) => void;

function rowReader(c: Component, sx: number, sy: number, imageWidth: number): RowReader {
  const { plane, stride, width, height } = c;
  const sums = new Int32Array(width);
  if (sx === 1 && sy === 1) {
    return (y, row) => row.set(plane.subarray(y * stride, y * stride + imageWidth));
  }
  if (sx === 2 && sy === 1 && width > 2) {
    return (y, row) => {
      const i = y * stride;
      row[0] = plane[i]!;
      row[1] = (plane[i]! * 3 + plane[i + 1]! + 2) >> 2;
      for (let x = 1; x < width - 1; x++) {
        const v = plane[i + x]! * 3;
        row[2 * x] = (v + plane[i + x - 1]! + 1) >> 2;
        row[2 * x + 1] = (v + plane[i + x + 1]! + 2) >> 2;
      }
      const last = plane[i + width - 1]!;
      row[2 * width - 2] = (last * 3 + plane[i + width - 2]! + 1) >> 2;
      row[2 * width - 1] = last;
    };
  }
  // the farther row: above for the upper of two output rows, below for the lower, repeated at the edges
  const other = (y: number) => Math.min(height - 1, Math.max(0, (y >> 1) + (y & 1 ? 1 : -1))) * stride;
  if (sx === 1 && sy === 2) {
    return (y, row) => {
      const near = (y >> 1) * stride;
      const far = other(y);
      const bias = y & 1 ? 2 : 1;
      for (let x = 0; x < width; x++) row[x] = (plane[near + x]! * 3 + plane[far + x]! + bias) >> 2;
    };
  }
  if (sx === 2 && sy === 2 && width > 2) {
    return (y, row) => {
      const near = (y >> 1) * stride;
      const far = other(y);
      for (let x = 0; x < width; x++) sums[x] = plane[near + x]! * 3 + plane[far + x]!;
      row[0] = (sums[0]! * 4 + 8) >> 4;
      row[1] = (sums[0]! * 3 + sums[1]! + 7) >> 4;
      for (let x = 1; x < width - 1; x++) {
        const v = sums[x]! * 3;
        row[2 * x] = (v + sums[x - 1]! + 8) >> 4;
        row[2 * x + 1] = (v + sums[x + 1]! + 7) >> 4;
      }
      const last = sums[width - 1]!;
      row[2 * width - 2] = (last * 3 + sums[width - 2]! + 8) >> 4;
      row[2 * width - 1] = (last * 4 + 7) >> 4;
    };
  }
  // any other ratio repeats samples
  return (y, row) => {
    const i = Math.floor(y / sy) * stride;
    for (let x = 0; x < imageWidth; x++) row[x] = plane[i + Math.floor(x / sx)]!;
  };
}

const redOfCr = new Int32Array(256);
const blueOfCb = new Int32Array(256);
const greenOfCr = new Int32Array(256);
const greenOfCb = new Int32Array(256);
for (let i = 0; i < 256; i++) {
  // 1.402, 1.772, 0.71414, 0.34414 times 65536, rounded
  redOfCr[i] = (91881 * (i - 128) + 32768) >> 16;
  blueOfCb[i] = (116130 * (i - 128) + 32768) >> 16;
  greenOfCr[i] = -46802 * (i - 128);
  greenOfCb[i] = -22554 * (i - 128) + 32768;
}
const clamp = (v: number): number => (v < 0 ? 0 : Math.min(v, 255));

/** Upsamples and converts all rows of 1 or 3 components into `out`, [height, width, 3]. */
export function planesToRgb(
  components: readonly Component[],
  width: number,
  height: number,
  ycc: boolean,
  out: Uint8Array,
): void {
  const maxH = Math.max(...components.map((c) => c.h));
  const maxV = Math.max(...components.map((c) => c.v));
  const rows = components.map(() => new Uint8Array(width + 2 * maxH));
  const readers = components.map((c) => rowReader(c, maxH / c.h, maxV / c.v, width));
  const [r0, r1, r2] = rows as [Uint8Array, Uint8Array, Uint8Array];
  for (let y = 0, o = 0; y < height; y++) {
    for (let k = 0; k < readers.length; k++) readers[k]!(y, rows[k]!);
    if (components.length === 1) {
      for (let x = 0; x < width; x++, o += 3) {
        const v = r0[x]!;
        out[o] = v;
        out[o + 1] = v;
        out[o + 2] = v;
      }
    } else if (!ycc) {
      for (let x = 0; x < width; x++, o += 3) {
        out[o] = r0[x]!;
        out[o + 1] = r1[x]!;
        out[o + 2] = r2[x]!;
      }
    } else {
      for (let x = 0; x < width; x++, o += 3) {
        const l = r0[x]!;
        const cb = r1[x]!;
        const cr = r2[x]!;
        out[o] = clamp(l + redOfCr[cr]!);
        out[o + 1] = clamp(l + ((greenOfCb[cb]! + greenOfCr[cr]!) >> 16));
        out[o + 2] = clamp(l + blueOfCb[cb]!);
      }
    }
  }
}
