/**
 * Random changes of single pixels and areas: noise, salt and pepper, dropout in its forms.
 *
 * The one idea: sample i looks at draw i of its key (src/core/random.ts), so a result is a function of (image, key)
 * alone. Sixteen bits a sample are enough here, four of which come from one counter.
 */
import { UsageError } from '../core/errors.ts';
import { type Key, threefry } from '../core/random.ts';
import type { RgbImage } from './jpeg.ts';

function checkShare(filter: string, what: string, x: number): void {
  if (!(x >= 0 && x <= 1))
    throw new UsageError(`${filter}: expected ${what} from 0 to 1, got ${x}\nGive a number in that range.`);
}

/** n numbers 0 .. 65535: counter i gives numbers 4i to 4i+3, low halves of a word first. */
function draws(key: Key, n: number): Uint16Array {
  const out = new Uint16Array((n + 3) & ~3);
  for (let i = 0, counter = 0; i < n; i += 4, counter++) {
    const [a, b] = threefry(key, counter, 0);
    out[i] = a;
    out[i + 1] = a >>> 16;
    out[i + 2] = b;
    out[i + 3] = b >>> 16;
  }
  return out;
}

let quantileTable: Float32Array | undefined;

/** Quantiles (i + 0.5) / 65536 of the standard normal distribution: its density summed by the trapezoidal rule. */
function normalQuantiles(): Float32Array {
  if (quantileTable) return quantileTable;
  const step = 1 / 8192;
  const density = (z: number) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const table = new Float32Array(65536);
  let z = 0;
  let p = 0.5;
  let gain = 0;
  for (let i = 32768; i < 65536; i++) {
    const wanted = (i + 0.5) / 65536;
    while (p <= wanted) {
      gain = ((density(z) + density(z + step)) / 2) * step;
      p += gain;
      z += step;
    }
    table[i] = z - (step * (p - wanted)) / gain;
    table[65535 - i] = -table[i]!;
  }
  quantileTable = table;
  return table;
}

/**
 * Adds Gaussian noise of mean 0, clips and rounds to the nearest level.
 * @param variance on the scale where 255 is 1; 0.01 as skimage's random_noise
 * @param perChannel each channel has its own noise (default), or all three the same
 */
export function gaussianNoise(image: RgbImage, variance: number, key: Key, perChannel = true): RgbImage {
  checkShare('gaussianNoise', 'a variance', variance);
  if (variance === 0) return image;
  const { width, height, data } = image;
  const table = normalQuantiles();
  const levels = 255 * Math.sqrt(variance);
  const random = draws(key, perChannel ? data.length : data.length / 3);
  const out = new Uint8Array(data.length);
  for (let i = 0, pixel = 0; i < out.length; pixel++) {
    for (let c = 0; c < 3; c++, i++) {
      const v = data[i]! + levels * table[random[perChannel ? i : pixel]!]! + 0.5;
      out[i] = v < 0 ? 0 : Math.min(v, 255);
    }
  }
  return { width, height, data: out };
}

/**
 * Salt and pepper: of the samples, a share becomes 255 or 0, half each; 0.05 as skimage's random_noise.
 * @param perChannel decided for each channel by itself (default, as skimage does), or for whole pixels
 */
export function saltPepper(image: RgbImage, amount: number, key: Key, perChannel = true): RgbImage {
  checkShare('saltPepper', 'an amount', amount);
  if (amount === 0) return image;
  const { width, height, data } = image;
  const random = draws(key, perChannel ? data.length : data.length / 3);
  const changed = amount * 65536;
  const pepper = changed / 2;
  const out = data.slice();
  for (let i = 0, pixel = 0; i < out.length; pixel++) {
    for (let c = 0; c < 3; c++, i++) {
      const u = random[perChannel ? i : pixel]!;
      if (u < changed) out[i] = u < pepper ? 0 : 255;
    }
  }
  return { width, height, data: out };
}

/**
 * Sets pixels to 0, each with probability `share`, as imgaug's Dropout.
 * @param perChannel each channel by itself; default false
 */
export function pixelDropout(image: RgbImage, share: number, key: Key, perChannel = false): RgbImage {
  return coarseDropout(image, share, [image.width, image.height], key, perChannel);
}

/**
 * Sets areas to 0, as imgaug's CoarseDropout: a grid of columns x rows, each cell of it with probability `share`,
 * enlarged to the picture (pixel x lies in cell floor(x columns / width)).
 * @param perChannel each channel by itself; default false
 */
export function coarseDropout(
  image: RgbImage,
  share: number,
  [columns, rows]: readonly [columns: number, rows: number],
  key: Key,
  perChannel = false,
): RgbImage {
  checkShare('dropout', 'a share', share);
  const { width, height, data } = image;
  const fits = (n: number, most: number) => Number.isInteger(n) && n >= 1 && n <= most;
  if (!fits(columns, width) || !fits(rows, height))
    throw new UsageError(
      `coarseDropout: expected a grid of at most ${width}x${height} cells, got ${columns}x${rows}\nGive whole numbers.`,
    );
  if (share === 0) return image;
  const random = draws(key, columns * rows * (perChannel ? 3 : 1));
  const dropped = share * 65536;
  const out = data.slice();
  for (let y = 0, i = 0; y < height; y++) {
    const line = Math.floor((y * rows) / height) * columns;
    for (let x = 0; x < width; x++) {
      const cell = line + (columns === width ? x : Math.floor((x * columns) / width));
      for (let c = 0; c < 3; c++, i++) if (random[perChannel ? 3 * cell + c : cell]! < dropped) out[i] = 0;
    }
  }
  return { width, height, data: out };
}

/**
 * Sets squares to 0, as DropBlock (Ghiasi et al. 2018) does to features: each place where a whole square fits is the
 * corner of one with probability share · area / (side² · places). Squares may overlap, so a little less than `share` is
 * gone.
 * @param side of a square in pixels; one that is larger than the picture is as large as it
 */
export function blockDropout(image: RgbImage, share: number, side: number, key: Key): RgbImage {
  checkShare('blockDropout', 'a share', share);
  if (!Number.isInteger(side) || side < 1)
    throw new UsageError(`blockDropout: expected a whole number of pixels from 1 on, got ${side}\nGive the side.`);
  if (share === 0) return image;
  const { width, height, data } = image;
  const wide = Math.min(side, width);
  const high = Math.min(side, height);
  const across = width - wide + 1;
  const places = across * (height - high + 1);
  const chance = Math.min(1, (share * width * height) / (wide * high * places)) * 2 ** 32;
  const out = data.slice();
  for (let i = 0; i < places; i += 2) {
    const words = threefry(key, i >> 1, 0);
    for (let k = 0; k < 2 && i + k < places; k++) {
      if (words[k as 0 | 1] >= chance) continue;
      const x = (i + k) % across;
      fillArea(out, width, x, Math.floor((i + k) / across), x + wide, high, 0);
    }
  }
  return { width, height, data: out };
}

/** Fills columns left .. right-1 of `high` rows from `top` on. */
function fillArea(
  out: Uint8Array,
  width: number,
  left: number,
  top: number,
  right: number,
  high: number,
  level: number,
): void {
  for (let y = top; y < top + high; y++) out.fill(level, 3 * (y * width + left), 3 * (y * width + right));
}

/**
 * Cutout (DeVries & Taylor 2017): a square of side x side pixels from (x - floor(side/2), y - floor(side/2)) on, cut
 * off where it leaves the picture.
 * @param level what it is filled with; default 128, which is nearest to 0 for a network that sees (level - 127.5) / 128
 */
export function cutout(image: RgbImage, x: number, y: number, side: number, level = 128): RgbImage {
  if (![x, y, side].every(Number.isInteger) || side < 0)
    throw new UsageError(
      `cutout: expected whole pixels, got a side of ${side} at (${x}, ${y})\nGive the centre and the side of the square.`,
    );
  const { width, height } = image;
  const left = Math.max(0, x - (side >> 1));
  const top = Math.max(0, y - (side >> 1));
  const right = Math.min(width, x - (side >> 1) + side);
  const bottom = Math.min(height, y - (side >> 1) + side);
  if (right <= left || bottom <= top) return image;
  const data = image.data.slice();
  fillArea(data, width, left, top, right, bottom - top, level);
  return { width, height, data };
}
