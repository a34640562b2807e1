/**
 * Filters that look around each pixel: Gaussian, average and median blur, morphological opening, sharpening.
 *
 * The one idea: all but the median are taken along rows and columns apart, so a window of k x k costs 2k samples a
 * pixel; channels never mix. Borders follow OpenCV, whose results they equal (test/reference/filters.py): mirrored
 * about the edge pixel (`dcb|abcd|cba`) for sums, repeated for the median, left out for the opening.
 */
import { UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';

/** Throws UsageError unless `side` is a window's: odd, or with `even` any whole number from 1 on. */
function checkSide(filter: string, side: number, even = false): void {
  if (!Number.isInteger(side) || side < 1 || side > 255 || (!even && side % 2 === 0))
    throw new UsageError(
      `${filter}: expected ${even ? 'a whole' : 'an odd'} number of pixels from 1 to 255, got ${side}\nGive the side of the window.`,
    );
}

/** The pixel that stands in for `i` in a line of n: mirrored about the first and last pixel. */
function mirrored(i: number, n: number): number {
  if (n === 1) return 0;
  const period = 2 * (n - 1);
  const m = ((i % period) + period) % period;
  return m < n ? m : period - m;
}

/** Columns -before .. width-1+after of each row, mirrored at both ends: offsets of their samples in a row. */
const columns = (width: number, before: number, after: number): Int32Array =>
  Int32Array.from({ length: width + before + after }, (_, i) => 3 * mirrored(i - before, width));

/** Weights 0 .. radius of a Gaussian that is cut off at three sigma (radius floor(3 sigma + 0.5)), of sum 1 with both sides. */
function gaussianWeights(sigma: number): Float64Array {
  const radius = Math.floor(3 * sigma + 0.5);
  const half = Float64Array.from({ length: radius + 1 }, (_, k) => Math.exp((-k * k) / (2 * sigma * sigma)));
  const sum = half.reduce((s, w, k) => s + (k ? 2 * w : w), 0);
  return half.map((w) => w / sum);
}

/**
 * Gaussian blur. The kernel ends at floor(3 sigma + 0.5) pixels and is normalised, as scipy.ndimage.gaussian_filter
 * with `truncate=3, mode='mirror'`; rounded once, half up.
 * @param sigma standard deviation in pixels, from 0 (the same picture) to 100
 */
export function gaussianBlur(image: RgbImage, sigma: number): RgbImage {
  if (!(sigma >= 0 && sigma <= 100))
    throw new UsageError(`gaussianBlur: expected a sigma from 0 to 100 pixels, got ${sigma}\nGive it in pixels.`);
  const weights = gaussianWeights(Math.max(sigma, 1e-3));
  const radius = weights.length - 1;
  if (radius === 0) return image;
  const { width, height, data } = image;
  const row = 3 * width;
  const centre = 3 * radius;
  const from = columns(width, radius, radius);
  const line = new Float64Array(row + 2 * centre);
  const sums = new Float64Array(row);
  const out = new Uint8Array(data.length);
  for (let y = 0, o = 0; y < height; y++, o += row) {
    for (let x = 0; x < row; x++) sums[x] = weights[0]! * data[o + x]!;
    for (let k = 1; k <= radius; k++) {
      const w = weights[k]!;
      const up = mirrored(y - k, height) * row;
      const down = mirrored(y + k, height) * row;
      for (let x = 0; x < row; x++) sums[x] = sums[x]! + w * (data[up + x]! + data[down + x]!);
    }
    for (let i = 0, at = 0; i < from.length; i++, at += 3)
      for (let c = 0; c < 3; c++) line[at + c] = sums[from[i]! + c]!;
    for (let x = 0; x < row; x++) sums[x] = weights[0]! * line[centre + x]! + 0.5;
    for (let k = 1; k <= radius; k++) {
      const w = weights[k]!;
      const left = centre - 3 * k;
      const right = centre + 3 * k;
      for (let x = 0; x < row; x++) sums[x] = sums[x]! + w * (line[left + x]! + line[right + x]!);
    }
    for (let x = 0; x < row; x++) out[o + x] = sums[x]!;
  }
  return { width, height, data: out };
}

/** Sums over side x side windows from (x - floor(side/2), y - floor(side/2)) on, mirrored at the borders. */
function windowSums({ width, height, data }: RgbImage, side: number): Int32Array {
  const before = side >> 1;
  const row = 3 * width;
  const from = columns(width, before, side - 1 - before);
  const across = new Int32Array(data.length);
  for (let y = 0; y < height; y++)
    for (let c = 0; c < 3; c++) {
      const start = y * row + c;
      let sum = 0;
      for (let k = 0; k < side; k++) sum += data[start + from[k]!]!;
      across[start] = sum;
      for (let x = 1; x < width; x++) {
        sum += data[start + from[x + side - 1]!]! - data[start + from[x - 1]!]!;
        across[start + 3 * x] = sum;
      }
    }
  const out = new Int32Array(data.length);
  for (let k = 0; k < side; k++) {
    const at = mirrored(k - before, height) * row;
    for (let x = 0; x < row; x++) out[x] = out[x]! + across[at + x]!;
  }
  for (let y = 1; y < height; y++) {
    const gone = mirrored(y - 1 - before, height) * row;
    const come = mirrored(y + side - 1 - before, height) * row;
    for (let x = 0, o = y * row; x < row; x++, o++) out[o] = out[o - row]! + across[come + x]! - across[gone + x]!;
  }
  return out;
}

/**
 * Average blur: the mean of side x side pixels, rounded half up, as cv2.blur (which for sides 2 and 4
 * rounds some quarters up as well). An even window reaches one pixel further
 * to the left and up.
 */
export function boxBlur(image: RgbImage, side: number): RgbImage {
  checkSide('boxBlur', side, true);
  if (side === 1) return image;
  const sums = windowSums(image, side);
  const out = new Uint8Array(sums.length);
  for (let i = 0; i < out.length; i++) out[i] = sums[i]! / (side * side) + 0.5;
  return { width: image.width, height: image.height, data: out };
}

/**
 * Sharpening: (1 - alpha) of the picture and alpha of its 3 x 3 product with -1 around 8 + lightness, as imgaug's
 * Sharpen; clipped and rounded half to even, as cv2.filter2D.
 * @param alpha 0 (the same picture) to 1
 * @param lightness brightness of the sharpened part; 1 keeps flat areas as they are
 */
export function sharpen(image: RgbImage, alpha: number, lightness = 1): RgbImage {
  if (!(alpha >= 0 && alpha <= 1 && Number.isFinite(lightness)))
    throw new UsageError(
      `sharpen: expected an alpha from 0 to 1 and a lightness, got ${alpha} and ${lightness}\nGive such numbers.`,
    );
  if (alpha === 0) return image;
  const { width, height, data } = image;
  const sums = windowSums(image, 3);
  const out = new Uint8ClampedArray(data.length); // rounds half to even
  const centre = 1 + alpha * (8 + lightness);
  for (let i = 0; i < out.length; i++) out[i] = centre * data[i]! - alpha * sums[i]!;
  return { width, height, data: new Uint8Array(out.buffer) };
}

/**
 * Median of side x side pixels (odd), each channel by itself, edge pixels repeated, as cv2.medianBlur. A histogram of
 * the window moves along the row, so a pixel costs two columns (Huang et al. 1979).
 */
export function medianBlur(image: RgbImage, side: number): RgbImage {
  checkSide('medianBlur', side);
  if (side === 1) return image;
  const { width, height, data } = image;
  const radius = side >> 1;
  const rank = (side * side) >> 1;
  const out = new Uint8Array(data.length);
  const counts = new Int32Array(256);
  const rows = new Int32Array(side);
  for (let y = 0; y < height; y++) {
    for (let k = 0; k < side; k++) rows[k] = 3 * width * Math.min(height - 1, Math.max(0, y + k - radius));
    for (let c = 0; c < 3; c++) {
      counts.fill(0);
      for (let x = -radius; x <= radius; x++) {
        const at = 3 * Math.min(width - 1, Math.max(0, x)) + c;
        for (let k = 0; k < side; k++) {
          const v = data[rows[k]! + at]!;
          counts[v] = counts[v]! + 1;
        }
      }
      let median = 0;
      /** How many of the window are below the median. */
      let below = 0;
      for (let x = 0, o = 3 * y * width + c; x < width; x++, o += 3) {
        if (x > 0) {
          const gone = 3 * Math.max(0, x - 1 - radius) + c;
          const come = 3 * Math.min(width - 1, x + radius) + c;
          for (let k = 0; k < side; k++) {
            const a = data[rows[k]! + gone]!;
            const b = data[rows[k]! + come]!;
            counts[a] = counts[a]! - 1;
            counts[b] = counts[b]! + 1;
            if (a < median) below--;
            if (b < median) below++;
          }
        }
        while (below > rank) below -= counts[--median]!;
        while (below + counts[median]! <= rank) below += counts[median++]!;
        out[o] = median;
      }
    }
  }
  return { width, height, data: out };
}

/** Smallest (sign 1) or largest (sign -1) sample of the windows; pixels outside do not count. */
function extreme({ width, height, data }: RgbImage, side: number, sign: 1 | -1): RgbImage {
  const row = 3 * width;
  const across = data.slice();
  const merge = (to: Uint8Array, o: number, from: Uint8Array, i: number, n: number) => {
    if (sign === 1) for (let k = 0; k < n; k++) to[o + k] = Math.min(to[o + k]!, from[i + k]!);
    else for (let k = 0; k < n; k++) to[o + k] = Math.max(to[o + k]!, from[i + k]!);
  };
  for (let d = 1; d <= Math.min(side >> 1, width - 1); d++)
    for (let y = 0; y < height; y++) {
      const start = y * row;
      const n = row - 3 * d;
      merge(across, start, data, start + 3 * d, n);
      merge(across, start + 3 * d, data, start, n);
    }
  const out = across.slice();
  for (let d = 1; d <= Math.min(side >> 1, height - 1); d++) {
    const n = (height - d) * row;
    merge(out, 0, across, d * row, n);
    merge(out, d * row, across, 0, n);
  }
  return { width, height, data: out };
}

/**
 * Morphological opening: erosion, then dilation, with side x side ones (odd, default 5), each channel by itself, as
 * cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((side, side))). Bright details that are smaller than the window go.
 */
export function opening(image: RgbImage, side = 5): RgbImage {
  checkSide('opening', side);
  if (side === 1) return image;
  return extreme(extreme(image, side, 1), side, -1);
}
