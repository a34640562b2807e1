/**
 * JPEG encoding (ITU T.81 baseline, 8 bit) of RGB, equal byte for byte to what libjpeg-turbo's default compressor writes,
 * and with it OpenCV's imencode and Pillow's save: its fixed-point colour conversion, its box-filtered chroma, its accurate
 * integer DCT, its rounding, the standard's tables scaled by its quality.
 *
 * The one idea: rows of one MCU's height become component planes, the picture's edges repeated to whole blocks, and the
 * planes' blocks are coded at once. Planes and tables stay for the next picture.
 */

import type { RgbImage } from './jpeg.ts';
import { acChroma, acLuma, BitWriter, codesOf, dcChroma, dcLuma, type HuffmanSpec } from './jpegBits.ts';
import { natural } from './jpegEntropy.ts';
import { createQuantiser, forwardDct, type Quantiser, quantise } from './jpegForwardDct.ts';

/** Chroma at full resolution, at half the width, or at half the width and height. */
export type Subsampling = '4:4:4' | '4:2:2' | '4:2:0';

/** Luma samples per chroma sample, across and down. */
const samplings: Record<Subsampling, readonly [number, number]> = { '4:4:4': [1, 1], '4:2:2': [2, 1], '4:2:0': [2, 2] };
export const subsamplings = Object.keys(samplings) as Subsampling[];

/** Tables K.1 and K.2, natural order. */
const lumaSteps = [
  [16, 11, 10, 16, 24, 40, 51, 61],
  [12, 12, 14, 19, 26, 58, 60, 55],
  [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62],
  [18, 22, 37, 56, 68, 109, 103, 77],
  [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101],
  [72, 92, 95, 98, 112, 100, 103, 99],
].flat();
const chromaSteps = [
  [17, 18, 24, 47, 99, 99, 99, 99],
  [18, 21, 26, 66, 99, 99, 99, 99],
  [24, 26, 56, 99, 99, 99, 99, 99],
  [47, 66, 99, 99, 99, 99, 99, 99],
  [99, 99, 99, 99, 99, 99, 99, 99],
  [99, 99, 99, 99, 99, 99, 99, 99],
  [99, 99, 99, 99, 99, 99, 99, 99],
  [99, 99, 99, 99, 99, 99, 99, 99],
].flat();

/** A table scaled by quality as the IJG defined it: 50 leaves it as it is, 100 makes all steps 1. */
function scaled(steps: readonly number[], quality: number): Uint8Array {
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  return Uint8Array.from(steps, (s) => Math.min(255, Math.max(1, Math.floor((s * percent + 50) / 100))));
}

/** What depends on quality and subsampling alone. */
interface Settings {
  readonly luma: Quantiser;
  readonly chroma: Quantiser;
  /** The file up to its first MCU; width and height are to be filled in. */
  readonly head: Uint8Array;
  readonly sizeAt: number;
}

const known = new Map<string, Settings>();

function settingsOf(quality: number, subsampling: Subsampling): Settings {
  const name = `${quality} ${subsampling}`;
  let settings = known.get(name);
  if (settings) return settings;
  const luma = scaled(lumaSteps, quality);
  const chroma = scaled(chromaSteps, quality);
  const [h, v] = samplings[subsampling];
  const out: number[] = [0xff, 0xd8];
  const segment = (marker: number, ...content: number[]) =>
    out.push(0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 255, ...content);
  const huffman = (id: number, { counts, symbols }: HuffmanSpec) => segment(0xc4, id, ...counts, ...symbols);
  // JFIF 1.1, square pixels, no thumbnail
  segment(0xe0, 0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0);
  segment(0xdb, 0, ...Array.from(natural, (i) => luma[i]!));
  segment(0xdb, 1, ...Array.from(natural, (i) => chroma[i]!));
  const sizeAt = out.length + 5;
  segment(0xc0, 8, 0, 0, 0, 0, 3, 1, (h << 4) | v, 0, 2, 0x11, 1, 3, 0x11, 1);
  huffman(0x00, dcLuma);
  huffman(0x10, acLuma);
  huffman(0x01, dcChroma);
  huffman(0x11, acChroma);
  segment(0xda, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0);
  settings = { luma: createQuantiser(luma), chroma: createQuantiser(chroma), head: Uint8Array.from(out), sizeAt };
  known.set(name, settings);
  return settings;
}

const codes = {
  dcLuma: codesOf(dcLuma),
  acLuma: codesOf(acLuma),
  dcChroma: codesOf(dcChroma),
  acChroma: codesOf(acChroma),
};
const writer = new BitWriter();
const coefficients = new Int32Array(64);
/** Y, Cb, Cr of one row of MCUs, and chroma with fewer samples. */
let planes: Uint8Array[] = [];

/**
 * The bytes of a JPEG file. The caller has checked the picture.
 * @param quality whole, 1 to 100
 */
export function writeJpeg({ width, height, data }: RgbImage, quality: number, subsampling: Subsampling): Uint8Array {
  const { luma, chroma, head, sizeAt } = settingsOf(quality, subsampling);
  const [h, v] = samplings[subsampling];
  const rows = 8 * v;
  const across = Math.ceil(width / (8 * h));
  const stride = across * 8 * h;
  // blocks that hold image content; luma may have fewer than its MCUs do
  const blocksWide = Math.ceil(width / 8);
  const blocksHigh = Math.ceil(height / 8);
  if (planes.length === 0 || planes[0]!.length < rows * stride)
    planes = Array.from({ length: 5 }, () => new Uint8Array(rows * stride));
  const [y, fullCb, fullCr, fewCb, fewCr] = planes as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const cb = h === 1 ? fullCb : fewCb;
  const cr = h === 1 ? fullCr : fewCr;
  writer.start(head, sizeAt, width, height);
  let dcY = 0;
  let dcCb = 0;
  let dcCr = 0;
  for (let top = 0; top < height; top += rows) {
    const some = Math.min(rows, height - top);
    toYcc(data, top * width * 3, width, some, y, fullCb, fullCr, stride);
    // rows of chroma that the picture gives, its last row standing in where a pair lacks one; then the last of them repeats
    const pairs = Math.ceil(some / v);
    for (const plane of [y, fullCb, fullCr]) if (some < rows) repeatRow(plane, stride, some, rows);
    if (h === 2) {
      halve(fullCb, stride, v, pairs, cb);
      halve(fullCr, stride, v, pairs, cr);
      repeatRow(cb, stride / 2, pairs, 8);
      repeatRow(cr, stride / 2, pairs, 8);
    }
    for (let m = 0; m < across; m++) {
      writer.reserve(h * v + 2);
      for (let by = 0; by < v; by++)
        for (let bx = 0; bx < h; bx++) {
          const x = m * h + bx;
          if (x >= blocksWide || (top >> 3) + by >= blocksHigh) {
            writer.filler(codes.dcLuma, codes.acLuma);
            continue;
          }
          forwardDct(y, by * 8 * stride + x * 8, stride, coefficients);
          quantise(coefficients, luma);
          writer.block(coefficients, dcY, codes.dcLuma, codes.acLuma);
          dcY = coefficients[0]!;
        }
      forwardDct(cb, m * 8, across * 8, coefficients);
      quantise(coefficients, chroma);
      writer.block(coefficients, dcCb, codes.dcChroma, codes.acChroma);
      dcCb = coefficients[0]!;
      forwardDct(cr, m * 8, across * 8, coefficients);
      quantise(coefficients, chroma);
      writer.block(coefficients, dcCr, codes.dcChroma, codes.acChroma);
      dcCr = coefficients[0]!;
    }
  }
  return writer.finish();
}

const imul = Math.imul;

/** Rows of RGB from `at` on to Y, Cb, Cr (ITU-R BT.601 in 16-bit fixed point), each row's last sample repeated to `stride`. */
function toYcc(
  rgb: Uint8Array,
  at: number,
  width: number,
  rows: number,
  y: Uint8Array,
  cb: Uint8Array,
  cr: Uint8Array,
  stride: number,
): void {
  // 128, and one less than a half: libjpeg's choice, that keeps the largest value at 255
  const middle = (128 << 16) + 32767;
  for (let row = 0, i = at, o = 0; row < rows; row++, o += stride) {
    const end = o + width;
    for (let p = o; p < end; p++, i += 3) {
      const r = rgb[i]!;
      const g = rgb[i + 1]!;
      const b = rgb[i + 2]!;
      y[p] = (imul(r, 19595) + imul(g, 38470) + imul(b, 7471) + 32768) >> 16;
      cb[p] = (imul(b, 32768) - imul(r, 11059) - imul(g, 21709) + middle) >> 16;
      cr[p] = (imul(r, 32768) - imul(g, 27439) - imul(b, 5329) + middle) >> 16;
    }
    if (width === stride) continue;
    y.fill(y[end - 1]!, end, o + stride);
    cb.fill(cb[end - 1]!, end, o + stride);
    cr.fill(cr[end - 1]!, end, o + stride);
  }
}

/** Means over two columns and `v` rows; halves go up and down by turns, as libjpeg has it. */
function halve(from: Uint8Array, stride: number, v: number, rows: number, to: Uint8Array): void {
  const width = stride >> 1;
  for (let row = 0, o = 0; row < rows; row++) {
    let i = row * v * stride;
    if (v === 1) for (let x = 0; x < width; x++, i += 2) to[o++] = (from[i]! + from[i + 1]! + (x & 1)) >> 1;
    else
      for (let x = 0; x < width; x++, i += 2)
        to[o++] = (from[i]! + from[i + 1]! + from[i + stride]! + from[i + stride + 1]! + 1 + (x & 1)) >> 2;
  }
}

/** Repeats row `have` - 1 until there are `want` rows. */
function repeatRow(plane: Uint8Array, stride: number, have: number, want: number): void {
  for (let row = have; row < want; row++) plane.copyWithin(row * stride, (have - 1) * stride, have * stride);
}
