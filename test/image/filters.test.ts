/** Filters against PIL, OpenCV and SciPy (test/reference/filters.py), and against plain loops over any picture. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { fold, keyOf, threefry } from '../../src/core/random.ts';
import { encodeJpeg } from '../../src/image/encode.ts';
import * as filters from '../../src/image/filters.ts';
import { decodeJpeg, type RgbImage } from '../../src/image/jpeg.ts';
import golden from '../reference/filters.json' with { type: 'json' };

const results = golden.results as Record<string, string>;
const { width: goldenWidth, height: goldenHeight } = golden;

/** The picture of filters.py, drawn from the same keys. */
function goldenPicture(): RgbImage {
  const key = fold(keyOf(5), 'filters');
  const data = new Uint8Array(goldenWidth * goldenHeight * 3);
  for (let y = 0, i = 0; y < goldenHeight; y++)
    for (let x = 0; x < goldenWidth; x++)
      for (let c = 0; c < 3; c++, i++) {
        const block = Math.floor((2 * y) / goldenHeight) * 2 + Math.floor((2 * x) / goldenWidth);
        const level = (threefry(key, 3 * block + c, 1)[1] & 255) + (threefry(key, i, 0)[0] & 63) - 32;
        data[i] = Math.min(255, Math.max(0, level));
      }
  return { width: goldenWidth, height: goldenHeight, data };
}

type Filter = (image: RgbImage, ...numbers: number[]) => RgbImage;

describe('equals the programs it is named after', () => {
  const image = goldenPicture();
  it('on the same picture', () => {
    expect(Buffer.from(image.data).toString('base64')).toBe(results.picture);
  });
  test.each(Object.keys(results).filter((name) => name !== 'picture'))('%s', (name) => {
    const [filter, ...numbers] = name.split(' ');
    const got = (filters as unknown as Record<string, Filter>)[filter!]!(image, ...numbers.map(Number));
    const want = new Uint8Array(Buffer.from(results[name]!, 'base64'));
    expect(got.data).toEqual(want);
  });
});

/** Any picture of 1 to 12 pixels a side. */
const pictures = fc
  .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 1e6 }))
  .map(([width, height, seed]): RgbImage => {
    const key = keyOf(seed);
    return {
      width,
      height,
      data: Uint8Array.from({ length: 3 * width * height }, (_, i) => threefry(key, i, 0)[0] & 255),
    };
  });
const key = keyOf(7);
const grey = (...levels: number[]): RgbImage => ({
  width: levels.length,
  height: 1,
  data: Uint8Array.from(levels.flatMap((v) => [v, v, v])),
});
const reds = ({ data }: RgbImage) => [...data].filter((_, i) => i % 3 === 0);
const flat = (width: number, height: number, level: number): RgbImage => ({
  width,
  height,
  data: new Uint8Array(3 * width * height).fill(level),
});

/** Every filter with a strength that changes pictures, and where there is one, with the strength that does not. */
type One = (x: RgbImage) => RgbImage;
const all: readonly (readonly [string, One, One?])[] = [
  ['grey', filters.grey],
  ['brightness', (x) => filters.brightness(x, 0.4), (x) => filters.brightness(x, 1)],
  ['contrast', (x) => filters.contrast(x, 1.7), (x) => filters.contrast(x, 1)],
  ['saturation', (x) => filters.saturation(x, 2), (x) => filters.saturation(x, 1)],
  ['multiply', (x) => filters.multiply(x, 1.5), (x) => filters.multiply(x, 1)],
  ['add', (x) => filters.add(x, -10), (x) => filters.add(x, 0)],
  ['mirror', filters.mirror],
  ['rotate', (x) => filters.rotate(x, 17), (x) => filters.rotate(x, 0)],
  ['recompress', (x) => filters.recompress(x, 40)],
  ['downUp', (x) => filters.downUp(x, 0.4), (x) => filters.downUp(x, 1)],
  ['gaussianBlur', (x) => filters.gaussianBlur(x, 1.2), (x) => filters.gaussianBlur(x, 0)],
  ['boxBlur', (x) => filters.boxBlur(x, 4), (x) => filters.boxBlur(x, 1)],
  ['medianBlur', (x) => filters.medianBlur(x, 5), (x) => filters.medianBlur(x, 1)],
  ['opening', (x) => filters.opening(x), (x) => filters.opening(x, 1)],
  ['sharpen', (x) => filters.sharpen(x, 0.8, 1.2), (x) => filters.sharpen(x, 0)],
  ['gaussianNoise', (x) => filters.gaussianNoise(x, 0.01, key), (x) => filters.gaussianNoise(x, 0, key)],
  ['saltPepper', (x) => filters.saltPepper(x, 0.2, key), (x) => filters.saltPepper(x, 0, key)],
  ['pixelDropout', (x) => filters.pixelDropout(x, 0.2, key), (x) => filters.pixelDropout(x, 0, key)],
  ['coarseDropout', (x) => filters.coarseDropout(x, 0.5, [1, 1], key), (x) => filters.coarseDropout(x, 0, [1, 1], key)],
  ['blockDropout', (x) => filters.blockDropout(x, 0.5, 3, key), (x) => filters.blockDropout(x, 0, 3, key)],
  ['cutout', (x) => filters.cutout(x, 0, 0, 3), (x) => filters.cutout(x, 0, 0, 0)],
];

for (const [name, filter, none] of all)
  test(`${name} keeps the size and its input, repeats itself, and does nothing at no strength`, () => {
    fc.assert(
      fc.property(pictures, (image) => {
        const before = image.data.slice();
        const out = filter(image);
        expect([out.width, out.height, out.data.length]).toEqual([image.width, image.height, image.data.length]);
        expect(filter(image).data).toEqual(out.data);
        if (none) expect(none(image).data).toEqual(before);
        expect(image.data).toEqual(before);
      }),
      { numRuns: 40 },
    );
  });

/** Sample (x, y, c) with the coordinates put inside by `at`. */
const sampler =
  (image: RgbImage, at: (i: number, n: number) => number) =>
  (x: number, y: number, c: number): number =>
    image.data[3 * (at(y, image.height) * image.width + at(x, image.width)) + c]!;
const clamp = (i: number, n: number) => Math.min(n - 1, Math.max(0, i));
/** Walks back and forth between 0 and n-1; from 0 a walk to the left is one to the right. */
function bounce(i: number, n: number): number {
  let at = 0;
  let step = 1;
  for (let k = 0; k < Math.abs(i); k++) {
    if (n === 1) return 0;
    if (at + step < 0 || at + step >= n) step = -step;
    at += step;
  }
  return at;
}
const toEven = (x: number) => (x - Math.floor(x) === 0.5 ? 2 * Math.round(x / 2) : Math.floor(x + 0.5));
const everySample = ({ width, height }: RgbImage, f: (x: number, y: number, c: number, i: number) => void) => {
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++, i++) f(x, y, c, i);
};

describe('equals plain loops over any picture', () => {
  const check = (property: (image: RgbImage) => void) => fc.assert(fc.property(pictures, property), { numRuns: 60 });

  it('gaussianBlur', () =>
    check((image) => {
      const sigma = 0.3 + (image.data[0]! / 255) * 3;
      const out = filters.gaussianBlur(image, sigma).data;
      const radius = Math.floor(3 * sigma + 0.5);
      const get = sampler(image, bounce);
      const weight = (d: number) => Math.exp(-(d * d) / (2 * sigma * sigma));
      everySample(image, (x, y, c, i) => {
        let sum = 0;
        let total = 0;
        for (let dy = -radius; dy <= radius; dy++)
          for (let dx = -radius; dx <= radius; dx++) {
            sum += weight(dx) * weight(dy) * get(x + dx, y + dy, c);
            total += weight(dx) * weight(dy);
          }
        expect(Math.abs(out[i]! - sum / total)).toBeLessThanOrEqual(0.5 + 1e-9);
      });
    }));
  it('boxBlur and sharpen', () =>
    check((image) => {
      const side = 1 + (image.data[0]! % 6);
      const blurred = filters.boxBlur(image, side).data;
      const sharp = filters.sharpen(image, 0.5, 1.25).data;
      const get = sampler(image, bounce);
      const sum = (x: number, y: number, c: number, first: number, n: number) => {
        let s = 0;
        for (let dy = first; dy < first + n; dy++)
          for (let dx = first; dx < first + n; dx++) s += get(x + dx, y + dy, c);
        return s;
      };
      everySample(image, (x, y, c, i) => {
        expect(blurred[i]).toBe(Math.floor(sum(x, y, c, -Math.floor(side / 2), side) / side ** 2 + 0.5));
        // half of it stays, half is the product with -1 around 9.25
        const v = image.data[i]!;
        const product = 9.25 * v - (sum(x, y, c, -1, 3) - v);
        expect(sharp[i]).toBe(Math.min(255, Math.max(0, toEven(0.5 * v + 0.5 * product))));
      });
    }));
  it('medianBlur', () =>
    check((image) => {
      const side = 1 + 2 * (image.data[0]! % 5);
      const out = filters.medianBlur(image, side).data;
      const get = sampler(image, clamp);
      const r = side >> 1;
      everySample(image, (x, y, c, i) => {
        const window: number[] = [];
        for (let dy = -r; dy <= r; dy++) for (let dx = -r; dx <= r; dx++) window.push(get(x + dx, y + dy, c));
        expect(out[i]).toBe(window.sort((a, b) => a - b)[window.length >> 1]);
      });
    }));
  it('opening', () =>
    check((image) => {
      const side = 1 + 2 * (image.data[0]! % 4);
      const r = side >> 1;
      const pass = (from: RgbImage, best: (...v: number[]) => number): RgbImage => {
        const data = new Uint8Array(from.data.length);
        everySample(from, (x, y, c, i) => {
          const window: number[] = [];
          for (let v = Math.max(0, y - r); v <= Math.min(from.height - 1, y + r); v++)
            for (let u = Math.max(0, x - r); u <= Math.min(from.width - 1, x + r); u++)
              window.push(from.data[3 * (v * from.width + u) + c]!);
          data[i] = best(...window);
        });
        return { ...from, data };
      };
      expect(filters.opening(image, side).data).toEqual(pass(pass(image, Math.min), Math.max).data);
    }));
  it('rotate', () =>
    check((image) => {
      const degrees = image.data[0]! * 1.7 - 200;
      const out = filters.rotate(image, degrees).data;
      const a = (degrees / 180) * Math.PI;
      const { width: w, height: h } = image;
      everySample(image, (x, y, c, i) => {
        // where the pixel comes from: the turn undone, y downward
        const dx = x - (w - 1) / 2;
        const dy = y - (h - 1) / 2;
        const sx = Math.cos(a) * dx - Math.sin(a) * dy + (w - 1) / 2;
        const sy = Math.sin(a) * dx + Math.cos(a) * dy + (h - 1) / 2;
        let sum = 0;
        for (let v = 0; v < h; v++)
          for (let u = 0; u < w; u++)
            sum +=
              Math.max(0, 1 - Math.abs(sx - u)) * Math.max(0, 1 - Math.abs(sy - v)) * image.data[3 * (v * w + u) + c]!;
        expect(Math.abs(out[i]! - sum)).toBeLessThanOrEqual(0.5 + 1e-6);
      });
    }));
});

describe('cases by hand', () => {
  it('grey weighs the channels', () => {
    const image = { width: 4, height: 1, data: Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30) };
    expect(reds(filters.grey(image))).toEqual([76, 150, 29, 18]);
  });
  it('brightness cuts off, multiply rounds, both clip', () => {
    expect(reds(filters.brightness(grey(0, 1, 3, 201), 0.5))).toEqual([0, 0, 1, 100]);
    expect(reds(filters.multiply(grey(0, 1, 3, 201), 0.5))).toEqual([0, 1, 2, 101]);
    expect(reds(filters.brightness(grey(100, 200), 2))).toEqual([200, 255]);
    expect(reds(filters.multiply(grey(100, 200), 2))).toEqual([200, 255]);
    expect(reds(filters.add(grey(0, 5, 250), 10))).toEqual([10, 15, 255]);
    expect(reds(filters.add(grey(0, 5, 250), -7.6))).toEqual([0, 0, 242]);
  });
  it('contrast 0 is the mean, saturation 0 is grey', () => {
    expect(reds(filters.contrast(grey(10, 20, 31), 0))).toEqual([20, 20, 20]);
    const image = { width: 1, height: 1, data: Uint8Array.of(200, 100, 50) };
    expect(filters.saturation(image, 0).data).toEqual(filters.grey(image).data);
  });
  it('rotate by quarters moves pixels', () => {
    const image = { width: 2, height: 2, data: Uint8Array.from([1, 2, 3, 4].flatMap((v) => [v, v, v])) };
    expect(reds(filters.rotate(image, 90))).toEqual([2, 4, 1, 3]);
    expect(reds(filters.rotate(image, 180))).toEqual([4, 3, 2, 1]);
    expect(reds(filters.rotate(image, -90))).toEqual([3, 1, 4, 2]);
    expect(filters.rotate(image, 720)).toBe(image);
  });
  it('crop, pad and mirror', () => {
    const image = { width: 3, height: 2, data: Uint8Array.from([1, 2, 3, 4, 5, 6].flatMap((v) => [v, v, v])) };
    expect(reds(filters.crop(image, 1, 0, 2, 2))).toEqual([2, 3, 5, 6]);
    expect(reds(filters.pad(image, { left: 1, bottom: 1 }, 9))).toEqual([9, 1, 2, 3, 9, 4, 5, 6, 9, 9, 9, 9]);
    expect(reds(filters.mirror(image))).toEqual([3, 2, 1, 6, 5, 4]);
    expect(filters.crop(filters.pad(image, { left: 2, top: 1, right: 3 }), 2, 1, 3, 2)).toEqual(image);
  });
  it('cutout cuts a square around its centre, as far as it is inside', () => {
    const cut = (x: number, y: number, side: number) => reds(filters.cutout(flat(4, 3, 1), x, y, side, 0));
    expect(cut(1, 1, 2)).toEqual([0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]);
    expect(cut(1, 1, 3)).toEqual([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect(cut(3, 2, 2)).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]);
    expect(cut(0, 0, 99)).toEqual(Array(12).fill(0));
    expect(cut(9, 9, 2)).toEqual(Array(12).fill(1));
  });
  it('downUp keeps means, recompress is one round of JPEG', () => {
    expect(reds(filters.downUp(grey(0, 100, 200, 40), 0.5))).toEqual([50, 68, 103, 120]);
    expect(reds(filters.downUp(grey(0, 100, 200), 0.01))).toEqual([100, 100, 100]);
    const image = goldenPicture();
    expect(filters.recompress(image, 30)).toEqual(decodeJpeg(encodeJpeg(image, 30), 'same', 1e6));
  });
});

describe('draws', () => {
  const n = 200;
  const canvas = flat(n, n, 128);
  const samples = 3 * n * n;
  const share = (image: RgbImage, of: (v: number, i: number) => boolean) => image.data.filter(of).length / samples;
  /** Five standard deviations of a share of independent cells. */
  const within = (p: number, cells: number) => 5 * Math.sqrt((p * (1 - p)) / cells);

  it('gaussianNoise has its mean and variance, in tails too, and channels of their own', () => {
    for (const perChannel of [true, false]) {
      const { data } = filters.gaussianNoise(canvas, 0.01, key, perChannel);
      const cells = perChannel ? samples : samples / 3;
      const noise = Float64Array.from(data, (v) => (v - 128) / 255);
      const mean = noise.reduce((s, v) => s + v) / samples;
      const variance = noise.reduce((s, v) => s + v * v, 0) / samples;
      expect(Math.abs(mean)).toBeLessThan((5 * 0.1) / Math.sqrt(cells));
      // rounding to levels adds 1/12 of a level squared
      expect(Math.abs(variance - 0.01 - 1 / 12 / 255 ** 2)).toBeLessThan(5 * 0.01 * Math.sqrt(2 / cells));
      for (const [z, p] of [
        [1, 0.31731],
        [2, 0.0455],
        [3, 0.0026998],
      ] as const) {
        // half a level is what rounding moves the bound by
        const far = noise.filter((v) => Math.abs(v) > Math.floor(z * 25.5) / 255 + 1e-9).length / samples;
        expect(Math.abs(far - p)).toBeLessThan(within(p, cells) + 0.25 * p);
      }
      const same = [...Array(n * n).keys()].filter((i) => data[3 * i] === data[3 * i + 1]).length / (n * n);
      if (perChannel) expect(same).toBeLessThan(0.03);
      else expect(same).toBe(1);
    }
    expect(filters.gaussianNoise(flat(9, 9, 255), 0.5, key).data.every((v) => v <= 255)).toBe(true);
  });
  it('saltPepper gives half of its amount each', () => {
    for (const perChannel of [true, false]) {
      const out = filters.saltPepper(canvas, 0.05, key, perChannel);
      const cells = perChannel ? samples : samples / 3;
      for (const level of [0, 255])
        expect(Math.abs(share(out, (v) => v === level) - 0.025)).toBeLessThan(within(0.025, cells));
      expect(share(out, (v) => v === 128)).toBeCloseTo(0.95, 2);
    }
    expect(new Set(filters.saltPepper(canvas, 1, key).data)).toEqual(new Set([0, 255]));
  });
  it('dropouts take their share', () => {
    for (const p of [0.02, 0.3]) {
      const pixels = filters.pixelDropout(canvas, p, key);
      expect(Math.abs(share(pixels, (v) => v === 0) - p)).toBeLessThan(within(p, n * n));
      for (let i = 0; i < samples; i += 3)
        expect(pixels.data[i] === pixels.data[i + 1] && pixels.data[i] === pixels.data[i + 2]).toBe(true);
      const single = filters.pixelDropout(canvas, p, key, true);
      expect(Math.abs(share(single, (v) => v === 0) - p)).toBeLessThan(within(p, samples));
      const coarse = filters.coarseDropout(canvas, p, [50, 40], key);
      expect(Math.abs(share(coarse, (v) => v === 0) - p)).toBeLessThan(within(p, 2000));
      // whole cells of 4 x 5 pixels
      for (let y = 0; y < n; y++)
        for (let x = 0; x < n; x++)
          expect(coarse.data[3 * (y * n + x)]).toBe(coarse.data[3 * ((y - (y % 5)) * n + x - (x % 4))]);
      // overlapping squares leave (1 - gamma)^(side^2), about exp(-p), standing
      const blocks = share(filters.blockDropout(canvas, p, 7, key), (v) => v === 0);
      expect(Math.abs(blocks - (1 - Math.exp(-p)))).toBeLessThan(within(p, (n * n) / 49));
    }
    expect(filters.pixelDropout(canvas, 1, key).data.every((v) => v === 0)).toBe(true);
    expect(filters.blockDropout(flat(3, 2, 9), 1, 10, key).data.every((v) => v === 0)).toBe(true);
  });
  it('depend on the key, and only on it', () => {
    const other = fold(key, 'other');
    for (const draw of [
      (k: typeof key) => filters.gaussianNoise(canvas, 0.01, k),
      (k: typeof key) => filters.saltPepper(canvas, 0.05, k),
      (k: typeof key) => filters.pixelDropout(canvas, 0.1, k),
      (k: typeof key) => filters.coarseDropout(canvas, 0.5, [9, 9], k),
      (k: typeof key) => filters.blockDropout(canvas, 0.1, 5, k),
    ]) {
      expect(draw(key).data).toEqual(draw(key).data);
      expect(Buffer.from(draw(key).data).equals(draw(other).data)).toBe(false);
    }
  });
});

test('impossible numbers are refused', () => {
  const image = flat(4, 4, 9);
  for (const wrong of [
    () => filters.brightness(image, -1),
    () => filters.contrast(image, Number.NaN),
    () => filters.saturation(image, Number.POSITIVE_INFINITY),
    () => filters.multiply(image, -0.1),
    () => filters.add(image, Number.NaN),
    () => filters.rotate(image, Number.NaN),
    () => filters.crop(image, 1, 1, 4, 3),
    () => filters.crop(image, 0.5, 0, 1, 1),
    () => filters.pad(image, { left: -1 }),
    () => filters.pad(image, { left: 1e9 }),
    () => filters.recompress(image, 0),
    () => filters.downUp(image, 0),
    () => filters.downUp(image, 1.1),
    () => filters.gaussianBlur(image, -1),
    () => filters.gaussianBlur(image, 1e9),
    () => filters.boxBlur(image, 0),
    () => filters.medianBlur(image, 4),
    () => filters.opening(image, 2),
    () => filters.sharpen(image, 2),
    () => filters.gaussianNoise(image, -1, key),
    () => filters.saltPepper(image, 1.1, key),
    () => filters.pixelDropout(image, -0.1, key),
    () => filters.coarseDropout(image, 0.1, [5, 1], key),
    () => filters.coarseDropout(image, 0.1, [0, 1], key),
    () => filters.blockDropout(image, 0.1, 0, key),
    () => filters.cutout(image, 0.5, 0, 1),
  ])
    expect(wrong).toThrow(UsageError);
});
