import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { adaptiveMean, resize } from '../../src/image/resize.ts';
import golden from '../reference/resampling.json' with { type: 'json' };

/** A grey row as an RGB image. */
const row = (...levels: number[]) => ({
  width: levels.length,
  height: 1,
  data: Uint8Array.from(levels.flatMap((v) => [v, v, v])),
});
const levels = (image: { data: Uint8Array }) => [...image.data].filter((_, i) => i % 3 === 0);

describe('resize', () => {
  it('bilinear looks at pixel centres', () => {
    expect(levels(resize(row(0, 100), 4, 1))).toEqual([0, 25, 75, 100]);
    expect(levels(resize(row(0, 100, 200, 40), 2, 1))).toEqual([50, 120]);
    expect(levels(resize(row(7), 3, 2))).toEqual([7, 7, 7, 7, 7, 7]);
  });
  it('area averages what a pixel covers', () => {
    expect(levels(resize(row(10, 20, 60, 0, 30, 60), 2, 1, 'area'))).toEqual([30, 30]);
    // 5 to 2: each covers two and a half
    expect(levels(resize(row(100, 0, 50, 0, 200), 2, 1, 'area'))).toEqual([50, 90]);
  });
  it('keeps the size it has, and refuses no size', () => {
    const image = row(1, 2, 3);
    expect(resize(image, 3, 1)).toBe(image);
    expect(() => resize(image, 0, 1)).toThrow(UsageError);
    expect(() => resize(image, 1.5, 1)).toThrow(UsageError);
  });
  it('equals the weighted sum over all inputs, in any size, channel by channel', () => {
    const side = fc.integer({ min: 1, max: 13 });
    fc.assert(
      fc.property(
        side,
        side,
        side,
        side,
        fc.constantFrom('bilinear' as const, 'area' as const),
        (w, h, w2, h2, method) => {
          const data = Uint8Array.from({ length: w * h * 3 }, (_, i) => (i * 97 + (i * i) / 3) & 255);
          const out = resize({ width: w, height: h, data }, w2, h2, method).data;
          const weight = (from: number, to: number, o: number, i: number): number => {
            if (method === 'area' && from > to) {
              const s = from / to;
              return Math.max(0, Math.min((o + 1) * s, i + 1) - Math.max(o * s, i)) / s;
            }
            const at = Math.min(from - 1, Math.max(0, ((o + 0.5) * from) / to - 0.5));
            return Math.max(0, 1 - Math.abs(at - i));
          };
          for (let y = 0; y < h2; y++) {
            for (let x = 0; x < w2; x++) {
              for (let c = 0; c < 3; c++) {
                let sum = 0;
                for (let j = 0; j < h; j++) {
                  for (let i = 0; i < w; i++)
                    sum += weight(h, h2, y, j) * weight(w, w2, x, i) * data[(j * w + i) * 3 + c]!;
                }
                // half a level for the rounding, and what f32 rows may move a sum of 255
                expect(Math.abs(out[(y * w2 + x) * 3 + c]! - sum)).toBeLessThanOrEqual(0.5 + 255 * 13 * 2 ** -24);
              }
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** The pictures of the reference program. */
const drawn = ([width, height]: readonly number[]) => ({
  width: width!,
  height: height!,
  data: Uint8Array.from({ length: 3 * width! * height! }, (_, i) => (i * 97 + Math.floor((i * i) / 3)) & 255),
});

describe('shrinking as the reference programs do', () => {
  it.each(golden.map((g) => [g.from.join('x'), g.to.join('x'), g] as const))(
    '%s to %s: means of whole pixels are those of PyTorch',
    (_from, _to, { from, to, adaptive }) => {
      const got = adaptiveMean(drawn(from), to[0]!, to[1]!);
      expect(got.length).toBe(adaptive.length);
      // A sum of bytes is exact; PyTorch divides it in float32, once or twice.
      got.forEach((v, i) => {
        expect(Math.abs(v - adaptive[i]!)).toBeLessThanOrEqual(adaptive[i]! * 2 ** -23);
      });
    },
  );
  it.each(golden.flatMap((g) => (g.area ? [[g.from.join('x'), g.to.join('x'), g.from, g.to, g.area] as const] : [])))(
    '%s to %s: areas are those of the formula, rounded',
    (_from, _to, from, to, area) => {
      const got = resize(drawn(from), to[0]!, to[1]!, 'area').data;
      expect(got.length).toBe(area.length);
      // Half a level for the rounding, half a digit of the file, and what float32 rows may move a sum of 255.
      const bound = 0.5 + 0.5e-4 + 255 * 2 ** -22;
      got.forEach((v, i) => {
        expect(Math.abs(v - area[i]!)).toBeLessThanOrEqual(bound);
      });
    },
  );
  it('means of a part are those of the part cut out', () => {
    const image = drawn([11, 9]);
    const [x0, y0, x1, y1] = [3, 2, 10, 7] as const;
    const cut = new Uint8Array(3 * (x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++)
      cut.set(image.data.subarray(3 * (11 * y + x0), 3 * (11 * y + x1)), 3 * (x1 - x0) * (y - y0));
    const own = adaptiveMean({ width: x1 - x0, height: y1 - y0, data: cut }, 4, 6);
    expect(adaptiveMean(image, 4, 6, [x0, y0, x1, y1])).toEqual(own);
    expect(() => adaptiveMean(image, 4, 6, [0, 0, 12, 9])).toThrow(UsageError);
    expect(() => adaptiveMean(image, 0, 6)).toThrow(UsageError);
  });
});
