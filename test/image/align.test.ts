import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { fold, keyOf, uniform } from '../../src/core/random.ts';
import {
  type Affine,
  alignFace,
  centralCrop,
  cropBox,
  cutCrop,
  faceTemplate,
  fitCrop,
  similarity,
  warpAffine,
} from '../../src/image/align.ts';
import { decodeImage, type RgbImage } from '../../src/image/decode.ts';
import { resize } from '../../src/image/resize.ts';
import { picture } from '../helpers/pictures.ts';
import golden from '../reference/align.json' with { type: 'json' };

const shared = new URL('../../../shared/data/', import.meta.url);
const apply = ([a, b, c, d, e, f]: Affine, p: ArrayLike<number>): number[] =>
  Array.from(p, (_, i) => {
    const x = p[i & ~1]!;
    const y = p[i | 1]!;
    return i % 2 ? d * x + e * y + f : a * x + b * y + c;
  });
const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0);

describe('similarity', () => {
  it.each(golden.map((m, k) => [k, m] as const))("pair %i: the matrix of Umeyama's decomposition", (k, matrix) => {
    const n = 2 + (k % 6);
    const draw = (name: string) => Float64Array.from(uniform(fold(keyOf(k), name), 2 * n));
    const from = draw('from').map((v) => v * 250);
    const noise = draw('to');
    const to = noise.map((v, i) => (k % 3 === 2 ? (i % 2 ? 0.5 : -0.5) * from[i]! + (v * 112) / 16 : v * 112));
    expect(worst(similarity(from, to), matrix)).toBeLessThan(1e-8);
  });
  const coordinate = fc.double({ min: -1000, max: 1000, noNaN: true });
  it('finds the similarity that moved the points', () => {
    const angle = fc.double({ min: -3.1, max: 3.1, noNaN: true });
    const scale = fc.double({ min: 0.01, max: 50, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(coordinate, { minLength: 4, maxLength: 12 }),
        angle,
        scale,
        coordinate,
        (p, turn, s, shift) => {
          const from = p.slice(0, p.length & ~1);
          fc.pre(Math.max(...from.map((v, i) => Math.abs(v - from[i & 1]!))) > 1);
          const matrix: Affine = [
            s * Math.cos(turn),
            -s * Math.sin(turn),
            shift,
            s * Math.sin(turn),
            s * Math.cos(turn),
            7,
          ];
          const found = similarity(from, apply(matrix, from));
          expect(worst(apply(found, from), apply(matrix, from))).toBeLessThan(1e-6);
        },
      ),
    );
  });
  it('no similarity near the one found fits better', () => {
    fc.assert(
      fc.property(fc.array(coordinate, { minLength: 10, maxLength: 10 }), (from) => {
        const to = faceTemplate([112, 112]);
        fc.pre(Math.max(...from.map((v, i) => Math.abs(v - from[i & 1]!))) > 1);
        let m: Affine;
        try {
          m = similarity(from, to);
        } catch {
          return;
        }
        const loss = (q: Affine) => apply(q, from).reduce((s, v, i) => s + (v - to[i]!) ** 2, 0);
        const [c, , x, s, , y] = m;
        const best = loss(m);
        for (const [dc, ds, dx, dy] of [
          [1e-3, 0, 0, 0],
          [-1e-3, 0, 0, 0],
          [0, 1e-3, 0, 0],
          [0, -1e-3, 0, 0],
          [0, 0, 0.1, 0],
          [0, 0, 0, -0.1],
        ] as const)
          expect(loss([c + dc, -s - ds, x + dx, s + ds, c + dc, y + dy])).toBeGreaterThanOrEqual(best - 1e-6);
      }),
    );
  });
  it('refuses points that fix none', () => {
    const to = faceTemplate([112, 112]);
    expect(() => similarity(new Array(10).fill(7.3), to)).toThrow(/all in one place: \(7\.3, 7\.3\)/);
    expect(() => similarity(new Array(10).fill(1e8 + 0.1), to)).toThrow(DataError);
    expect(() => similarity(to, new Array(10).fill(3))).toThrow(DataError);
    expect(() => similarity([0, 0, 1, Number.NaN], [0, 0, 1, 1])).toThrow(/finite/);
    expect(() => similarity([0, 0, Number.POSITIVE_INFINITY, 1], [0, 0, 1, 1])).toThrow(DataError);
    // an equilateral triangle and its mirror image: every rotation is as good
    const t = [1, 0, -0.5, Math.sqrt(0.75), -0.5, -Math.sqrt(0.75)];
    expect(() => similarity(t, [t[0]!, t[1]!, t[4]!, t[5]!, t[2]!, t[3]!])).toThrow(/fix a rotation/);
    expect(() => similarity([1, 2], [1, 2])).toThrow(UsageError);
    expect(() => similarity([1, 2, 3], [1, 2, 3])).toThrow(UsageError);
    expect(() => similarity([1, 2, 3, 4], [1, 2, 3, 4, 5, 6])).toThrow(UsageError);
  });
});

describe('faceTemplate', () => {
  const at = (h: number, w: number) => [...faceTemplate([h, w])].map((v) => Number(v.toFixed(4)));
  const arcFace = [38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041];
  it('is what the field uses', () => {
    expect(at(112, 112)).toEqual(arcFace);
    expect(at(112, 96)).toEqual([
      30.2946, 51.6963, 65.5318, 51.5014, 48.0252, 71.7366, 33.5493, 92.3655, 62.7299, 92.2041,
    ]);
    expect(at(128, 128).slice(0, 4)).toEqual([46.2946, 51.6963, 81.5318, 51.5014]);
    expect(at(256, 256).slice(0, 2)).toEqual([92.5892, 103.3926]);
    expect(at(224, 224)).toEqual(arcFace.map((v) => Number((2 * v).toFixed(4))));
    expect(at(896, 896)[0]).toBe(Number((8 * 38.2946).toFixed(4)));
    expect(at(160, 160).slice(0, 2)).toEqual([54.7066, 73.8519]);
    expect(at(224, 192)[0]).toBe(60.5892);
  });
  it('refuses other shapes', () => {
    expect(() => faceTemplate([96, 112])).toThrow(/square crop or one of 7:6 .*, got 96x112/);
    for (const size of [
      [0, 0],
      [112.5, 112.5],
      [1e9, 1e9],
      [Number.NaN, 112],
    ] as const)
      expect(() => faceTemplate(size)).toThrow(UsageError);
  });
});

/** Bilinear with black outside, as slow and plain as can be. */
function sampled(image: RgbImage, x: number, y: number, c: number): number {
  const pixel = (ix: number, iy: number) =>
    ix < 0 || iy < 0 || ix >= image.width || iy >= image.height ? 0 : image.data[(iy * image.width + ix) * 3 + c]!;
  const [fx, fy] = [Math.floor(x), Math.floor(y)];
  const [rx, ry] = [x - fx, y - fy];
  return (
    (1 - ry) * ((1 - rx) * pixel(fx, fy) + rx * pixel(fx + 1, fy)) +
    ry * ((1 - rx) * pixel(fx, fy + 1) + rx * pixel(fx + 1, fy + 1))
  );
}

describe('warpAffine', () => {
  const image = picture(1, 1, 24);
  it('the identity gives the same pixels, whole shifts move them', () => {
    expect(warpAffine(image, [1, 0, 0, 0, 1, 0], 24, 24)).toEqual(image);
    const moved = warpAffine(image, [1, 0, 3, 0, 1, -2], 24, 24);
    for (let y = 0; y < 24; y++)
      for (let x = 0; x < 24; x++) expect(moved.data[(y * 24 + x) * 3 + 1]).toBe(sampled(image, x - 3, y + 2, 1));
  });
  it('any map: bilinear, with black outside', () => {
    const entry = fc.double({ min: -2, max: 2, noNaN: true });
    const shift = fc.double({ min: -30, max: 30, noNaN: true });
    fc.assert(
      fc.property(entry, entry, shift, entry, entry, shift, (a, b, c, d, e, f) => {
        const det = a * e - b * d;
        fc.pre(Math.abs(det) > 0.05);
        const out = warpAffine(image, [a, b, c, d, e, f], 13, 9);
        for (let y = 0; y < 9; y++)
          for (let x = 0; x < 13; x++) {
            const sx = (e * (x - c) - b * (y - f)) / det;
            const sy = (a * (y - f) - d * (x - c)) / det;
            for (let k = 0; k < 3; k++) {
              const got = out.data[(y * 13 + x) * 3 + k]!;
              expect(Math.abs(got - sampled(image, sx, sy, k))).toBeLessThan(0.5 + 1e-6);
            }
          }
      }),
      { numRuns: 60 },
    );
  });
  it('refuses what it cannot do', () => {
    expect(() => warpAffine(image, [0, 0, 1, 0, 0, 1], 9, 9)).toThrow(/can be inverted/);
    expect(() => warpAffine(image, [1, 0, Number.NaN, 0, 1, 1], 9, 9)).toThrow(UsageError);
    expect(() => warpAffine(image, [1, 0, 0, 0, 1, 0], 0, 9)).toThrow(UsageError);
    expect(() => warpAffine(image, [1, 0, 0, 0, 1, 0], 1e6, 1e6)).toThrow(UsageError);
  });
});

describe('alignFace', () => {
  const image = picture(1, 1, 112);
  it('leaves a picture whose points are at the template as it is', () => {
    expect(worst(alignFace(image, faceTemplate([112, 112])).data, image.data)).toBeLessThanOrEqual(1);
    const narrow = alignFace(image, faceTemplate([112, 112]), [112, 96]);
    expect([narrow.width, narrow.height]).toEqual([96, 112]);
    expect(worst(narrow.data, warpAffine(image, [1, 0, -8, 0, 1, 0], 96, 112).data)).toBeLessThanOrEqual(1);
  });
  it('refuses points that are not of this picture', () => {
    expect(() => alignFace(image, [1, 2, 3, 4])).toThrow(/five points \(10 numbers\), got 4/);
    const far = [...faceTemplate([112, 112])].map((v) => v * 5);
    expect(() => alignFace(image, far)).toThrow(
      /inside of the picture, got points about \(280\.\d, 359\.\d\) in 112x112/,
    );
    expect(() => alignFace(image, new Array(10).fill(Number.NaN))).toThrow(DataError);
  });
});

describe('crops without points', () => {
  const image = picture(2, 1, 64);
  const inside = (x: number, y: number, w: number, h: number) => warpAffine(image, [1, 0, -x, 0, 1, -y], w, h);
  it('centralCrop takes the middle', () => {
    expect(centralCrop(image, [56, 56])).toEqual(inside(4, 4, 56, 56));
    expect(centralCrop(image, [28, 20])).toEqual(resize(inside(4, 4, 56, 56), 20, 28));
    expect(centralCrop(image, [64, 64], 0)).toEqual(image);
    expect(centralCrop(picture(1, 1, 1), [8, 8], 0.49).data.length).toBe(192);
    expect(() => centralCrop(image, [8, 8], 0.5)).toThrow(UsageError);
    expect(() => centralCrop(image, [8, 0])).toThrow(UsageError);
  });
  it('cutCrop takes a narrower crop of the same face out of a wider one', () => {
    const wide = picture(3, 1, 128);
    expect(cutCrop(wide, [112, 112])).toEqual(warpAffine(wide, [1, 0, -8, 0, 1, 0], 112, 112));
    const square = cutCrop(wide, [112, 112])!;
    // Columns 8 to 103, counted from 0.
    const narrow = cutCrop(square, [112, 96])!;
    expect(narrow).toEqual(warpAffine(square, [1, 0, -8, 0, 1, 0], 96, 112));
    expect(fitCrop(square, [112, 96])).toEqual(narrow);
    expect(cutCrop(square, [96, 96])).toBeUndefined();
    expect(cutCrop(narrow, [112, 112])).toBeUndefined();
    expect(cutCrop(square, [100, 90])).toBeUndefined();
    expect(fitCrop(square, [96, 96])).toEqual(resize(square, 96, 96));
  });
  it('cropBox widens the box, cuts it at the edges and to whole pixels', () => {
    expect(cropBox(image, [20.6, 25.2, 40.9, 40], [24, 31], 10)).toEqual(resize(inside(15, 20, 30, 25), 31, 24));
    expect(cropBox(image, [20, 20, 43, 42], [64, 64])).toEqual(image);
    expect(cropBox(image, [-9, 50, 10, 90], [12, 12], 0)).toEqual(resize(inside(0, 50, 10, 14), 12, 12));
    expect(() => cropBox(image, [70, 70, 90, 90], [8, 8], 2)).toThrow(/inside of the 64x64 picture/);
    expect(() => cropBox(image, [Number.NaN, 1, 2, 3], [8, 8])).toThrow(DataError);
    expect(() => cropBox(image, [1, 2, 3], [8, 8])).toThrow(UsageError);
  });
});

const lfw = new URL('verify/lfw250/', shared);
const present = existsSync(lfw);
if (!present) console.log(`skipped: no ${lfw.pathname}, alignment not compared with OpenCV's crops`);
describe.skipIf(!present)('real photographs', () => {
  interface Expected {
    images: Record<string, { points: number[][]; matrix: number[][]; crop: string }>;
  }
  it('matrices to 1e-6, crops within what OpenCV rounds', () => {
    const { images } = JSON.parse(readFileSync(new URL('expected.json', lfw), 'utf8')) as Expected;
    expect(Object.keys(images).length).toBe(20);
    for (const [path, { points, matrix, crop }] of Object.entries(images)) {
      expect(worst(similarity(points.flat(), faceTemplate([112, 112])), matrix.flat()), path).toBeLessThan(1e-6);
      const photo = decodeImage(readFileSync(new URL(`images/${path}`, lfw)), path);
      const ours = alignFace(photo, points.flat()).data;
      const theirs = decodeImage(readFileSync(new URL(`crops/${crop}`, lfw)), crop).data;
      expect(worst(ours, theirs), path).toBeLessThanOrEqual(2);
      const mean = ours.reduce((s, v, i) => s + Math.abs(v - theirs[i]!), 0) / ours.length;
      expect(mean, path).toBeLessThan(0.1);
    }
  });
});
