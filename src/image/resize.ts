/**
 * Resizing of RGB images, rows and columns apart.
 *
 * The one idea: along each axis an output pixel is a short weighted sum of input pixels, so both methods are tables of
 * (first, weights). Pixel centres lie at half-integers, as in OpenCV: output i looks at (i + 0.5) * in / out - 0.5.
 */
import { UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';

export type ResizeMethod = 'bilinear' | 'area';

interface Taps {
  /** First input of each output, `count` weights each (weights past the edge are 0). */
  first: Int32Array;
  count: number;
  weights: Float64Array;
}

function bilinearTaps(from: number, to: number): Taps {
  const first = new Int32Array(to);
  const count = Math.min(2, from);
  const weights = new Float64Array(to * count);
  for (let i = 0; i < to; i++) {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const left = Math.min(Math.floor(at), from - count);
    first[i] = left;
    weights[i * count] = count === 1 ? 1 : 1 - (at - left);
    if (count === 2) weights[i * count + 1] = at - left;
  }
  return { first, count, weights };
}

function areaTaps(from: number, to: number): Taps {
  if (from <= to) return bilinearTaps(from, to);
  const scale = from / to;
  const count = Math.min(from, Math.ceil(scale) + 1);
  const first = new Int32Array(to);
  const weights = new Float64Array(to * count);
  for (let i = 0; i < to; i++) {
    const begin = Math.min(Math.floor(i * scale), from - count);
    first[i] = begin;
    for (let k = 0; k < count; k++) {
      const covered = Math.min((i + 1) * scale, begin + k + 1) - Math.max(i * scale, begin + k);
      weights[i * count + k] = Math.max(0, covered) / scale;
    }
  }
  return { first, count, weights };
}

/**
 * Resizes an RGB image to width x height pixels.
 * @param method 'bilinear' (default) takes the nearest two pixels along each axis; 'area' averages what an output pixel
 * covers when shrinking, and is bilinear when enlarging.
 * @returns a new image, or the same one when the size is already right.
 */
export function resize(image: RgbImage, width: number, height: number, method: ResizeMethod = 'bilinear'): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new UsageError(
      `resize: the new size must be whole and positive, got ${width}x${height}\npass both in pixels`,
    );
  }
  if (width === image.width && height === image.height) return image;
  const taps = method === 'area' ? areaTaps : bilinearTaps;
  const across = taps(image.width, width);
  const down = taps(image.height, height);
  const middle = new Float32Array(image.height * width * 3);
  for (let y = 0, o = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++, o += 3) {
      let i = (y * image.width + across.first[x]!) * 3;
      for (let k = 0; k < across.count; k++, i += 3) {
        const w = across.weights[x * across.count + k]!;
        for (let c = 0; c < 3; c++) middle[o + c] = middle[o + c]! + w * image.data[i + c]!;
      }
    }
  }
  const data = new Uint8Array(width * height * 3);
  const row = width * 3;
  const sums = new Float64Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let k = 0; k < down.count; k++) {
      const w = down.weights[y * down.count + k]!;
      const from = (down.first[y]! + k) * row;
      if (w !== 0) for (let x = 0; x < row; x++) sums[x] = sums[x]! + w * middle[from + x]!;
    }
    for (let x = 0; x < row; x++) data[y * row + x] = Math.floor(sums[x]! + 0.5);
  }
  return { width, height, data };
}

/** The first pixel of the window of each output, and the one after its last. */
function windowsOf(size: number, outputs: number): { from: Int32Array; to: Int32Array } {
  const from = Int32Array.from({ length: outputs }, (_, i) => Math.floor((i * size) / outputs));
  const to = Int32Array.from({ length: outputs }, (_, i) => Math.ceil(((i + 1) * size) / outputs));
  return { from, to };
}

/**
 * Means of whole pixels: output i of m along an axis of n is the mean of pixels ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉, so windows may share
 * pixels, and when enlarging pixels are repeated. It is what PyTorch calls adaptive average pooling, and `interpolate` by area.
 * @param part [x0, y0, x1, y1]: the pixels to take, by default all
 * @returns float32 [height, width, 3] of 0 to 255, not rounded to levels
 */
export function adaptiveMean(
  image: RgbImage,
  width: number,
  height: number,
  part: readonly [number, number, number, number] = [0, 0, image.width, image.height],
): Float32Array {
  const [x0, y0, x1, y1] = part;
  const sides = [width, height, x1 - x0, y1 - y0];
  if (sides.some((n) => !Number.isInteger(n) || n < 1) || x0 < 0 || y0 < 0 || x1 > image.width || y1 > image.height)
    throw new UsageError(
      `adaptiveMean: expected whole sizes and a part of the ${image.width}x${image.height} picture, got ${width}x${height} of [${part.join(', ')}]\nCut the part at the picture's edges.`,
    );
  const across = windowsOf(x1 - x0, width);
  const down = windowsOf(y1 - y0, height);
  const row = 3 * width;
  const out = new Float32Array(height * row);
  // Sums of bytes are whole numbers, so their order changes nothing.
  const columns = new Float64Array(3 * (x1 - x0));
  for (let y = 0; y < height; y++) {
    columns.fill(0);
    for (let v = down.from[y]!; v < down.to[y]!; v++) {
      const at = 3 * ((y0 + v) * image.width + x0);
      for (let i = 0; i < columns.length; i++) columns[i] = columns[i]! + image.data[at + i]!;
    }
    const rows = down.to[y]! - down.from[y]!;
    for (let x = 0, o = y * row; x < width; x++, o += 3) {
      const [first, last] = [across.from[x]!, across.to[x]!];
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let u = first; u < last; u++) sum += columns[3 * u + c]!;
        out[o + c] = sum / (rows * (last - first));
      }
    }
  }
  return out;
}
