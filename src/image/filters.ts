/**
 * Pixel filters: pure functions from an RGB image to an RGB image; the given one stays as it is, and is what comes back
 * where nothing would change.
 *
 * The one idea: every filter is defined by a program of the field that it equals, and the tests hold it to that
 * program's results: colours as torchvision's ColorJitter on PIL pictures, windows as OpenCV (neighbourhood.ts), noise
 * as scikit-image and imgaug (noise.ts).
 */
import { UsageError } from '../core/errors.ts';
import { warpAffine } from './align.ts';
import { encodeJpeg } from './encode.ts';
import { decodeJpeg, type RgbImage } from './jpeg.ts';
import { resize } from './resize.ts';

export { boxBlur, gaussianBlur, medianBlur, opening, sharpen } from './neighbourhood.ts';
export { blockDropout, coarseDropout, cutout, gaussianNoise, pixelDropout, saltPepper } from './noise.ts';

/** Luma of ITU-R BT.601 in 16 bits, as PIL's convert('L'). */
const luma = (r: number, g: number, b: number): number => (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;

function checkFactor(filter: string, factor: number): void {
  if (!(factor >= 0 && factor < 1e6))
    throw new UsageError(`${filter}: expected a factor of at least 0, got ${factor}\n1 leaves the picture as it is.`);
}

/** A picture with each sample replaced by what its level maps to. */
function mapLevels({ width, height, data }: RgbImage, map: (level: number) => number): RgbImage {
  const table = Uint8Array.from({ length: 256 }, (_, v) => Math.min(255, Math.max(0, map(v))));
  const out = new Uint8Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = table[data[i]!]!;
  return { width, height, data: out };
}

/** `from` + factor · (level - `from`) as PIL blends: in f32, clipped, cut off to a whole level. */
const blend = (from: number, level: number, factor: number): number => {
  const v = Math.fround(from + Math.fround(factor * (level - from)));
  return v <= 0 ? 0 : v >= 255 ? 255 : v | 0;
};

/** Grey: each channel becomes (19595 R + 38470 G + 7471 B + 32768) >> 16, as PIL's convert('L'). */
export function grey({ width, height, data }: RgbImage): RgbImage {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < out.length; i += 3) {
    const level = luma(data[i]!, data[i + 1]!, data[i + 2]!);
    out[i] = level;
    out[i + 1] = level;
    out[i + 2] = level;
  }
  return { width, height, data: out };
}

/** Brightness: between black (factor 0) and the picture (1), and beyond. */
export function brightness(image: RgbImage, factor: number): RgbImage {
  checkFactor('brightness', factor);
  const f = Math.fround(factor);
  return f === 1 ? image : mapLevels(image, (v) => blend(0, v, f));
}

/** Contrast: between the picture's mean grey level, rounded (factor 0), and the picture (1), and beyond. */
export function contrast(image: RgbImage, factor: number): RgbImage {
  checkFactor('contrast', factor);
  const f = Math.fround(factor);
  if (f === 1) return image;
  const { data } = image;
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += luma(data[i]!, data[i + 1]!, data[i + 2]!);
  const mean = Math.floor(sum / (data.length / 3) + 0.5);
  return mapLevels(image, (v) => blend(mean, v, f));
}

/** Saturation: between the grey picture (factor 0) and the picture (1), and beyond. */
export function saturation(image: RgbImage, factor: number): RgbImage {
  checkFactor('saturation', factor);
  const f = Math.fround(factor);
  if (f === 1) return image;
  const { width, height, data } = image;
  const out = new Uint8Array(data.length);
  for (let i = 0; i < out.length; i += 3) {
    const level = luma(data[i]!, data[i + 1]!, data[i + 2]!);
    out[i] = blend(level, data[i]!, f);
    out[i + 1] = blend(level, data[i + 1]!, f);
    out[i + 2] = blend(level, data[i + 2]!, f);
  }
  return { width, height, data: out };
}

/** Every level times a factor, rounded half up and clipped. */
export function multiply(image: RgbImage, factor: number): RgbImage {
  checkFactor('multiply', factor);
  return factor === 1 ? image : mapLevels(image, (v) => Math.floor(v * factor + 0.5));
}

/** A number of levels added to every level, rounded half up and clipped. */
export function add(image: RgbImage, levels: number): RgbImage {
  if (!Number.isFinite(levels))
    throw new UsageError(`add: expected a number of levels, got ${levels}\nGive one from -255 to 255.`);
  return levels === 0 ? image : mapLevels(image, (v) => Math.floor(v + levels + 0.5));
}

/** The mirror image, left and right exchanged. */
export function mirror({ width, height, data }: RgbImage): RgbImage {
  const out = new Uint8Array(data.length);
  const row = 3 * width;
  for (let y = 0; y < data.length; y += row)
    for (let x = 0; x < row; x += 3) {
      const from = y + row - 3 - x;
      out[y + x] = data[from]!;
      out[y + x + 1] = data[from + 1]!;
      out[y + x + 2] = data[from + 2]!;
    }
  return { width, height, data: out };
}

/**
 * The picture turned about its centre, bilinear, black where nothing was.
 * @param degrees counter-clockwise
 */
export function rotate(image: RgbImage, degrees: number): RgbImage {
  if (!Number.isFinite(degrees))
    throw new UsageError(`rotate: expected an angle in degrees, got ${degrees}\nGive a finite number.`);
  if (degrees % 360 === 0) return image;
  const { width, height } = image;
  const c = Math.cos((degrees * Math.PI) / 180);
  const s = Math.sin((degrees * Math.PI) / 180);
  const x = (width - 1) / 2;
  const y = (height - 1) / 2;
  return warpAffine(image, [c, s, x - c * x - s * y, -s, c, y + s * x - c * y], width, height);
}

/** The part of width x height pixels from (left, top) on. Throws UsageError where it leaves the picture. */
export function crop(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  const inside = (at: number, n: number, of: number) =>
    Number.isInteger(at) && Number.isInteger(n) && at >= 0 && n >= 1 && at + n <= of;
  if (!inside(left, width, image.width) || !inside(top, height, image.height))
    throw new UsageError(
      `crop: expected a part of ${image.width}x${image.height} pixels, got ${width}x${height} at (${left}, ${top})\nGive whole pixels inside the picture.`,
    );
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const from = 3 * ((top + y) * image.width + left);
    data.set(image.data.subarray(from, from + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** Pixels to add on each side. */
export interface Margins {
  readonly left?: number;
  readonly top?: number;
  readonly right?: number;
  readonly bottom?: number;
}

/** The picture in a larger one. @param level of all channels of the margins, default 0 */
export function pad(image: RgbImage, margins: Margins, level = 0): RgbImage {
  const { left = 0, top = 0, right = 0, bottom = 0 } = margins;
  const width = image.width + left + right;
  const height = image.height + top + bottom;
  if (![left, top, right, bottom].every((n) => Number.isInteger(n) && n >= 0) || width * height > 100e6)
    throw new UsageError(
      `pad: expected margins in whole pixels, got ${left}, ${top}, ${right}, ${bottom}\nThe result may have 100 million pixels.`,
    );
  const data = new Uint8Array(3 * width * height).fill(level);
  const row = 3 * image.width;
  for (let y = 0; y < image.height; y++)
    data.set(image.data.subarray(y * row, (y + 1) * row), 3 * ((top + y) * width + left));
  return { width, height, data };
}

/** The picture after being written as a JPEG file (4:2:0) and read again, as by OpenCV. @param quality 1 to 100 */
export const recompress = (image: RgbImage, quality: number): RgbImage =>
  decodeJpeg(encodeJpeg(image, quality), 'recompress', 100e6);

/**
 * The picture made smaller (each pixel the mean of what it covers) and bilinearly as large as it was again.
 * @param factor of both sides, above 0 to 1; a side keeps at least one pixel
 */
export function downUp(image: RgbImage, factor: number): RgbImage {
  if (!(factor > 0 && factor <= 1))
    throw new UsageError(`downUp: expected a factor above 0 and at most 1, got ${factor}\nGive such a number.`);
  const side = (n: number) => Math.max(1, Math.round(n * factor));
  const { width, height } = image;
  return resize(resize(image, side(width), side(height), 'area'), width, height);
}
