/** Levels and weights of 8 bits: what a quantiser must keep to, for ranges and weights of any size. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { host } from '../../src/core/tensor.ts';
import { dequantise, levelsOf, quantise, quantiseWeights } from '../../src/quant/quantize.ts';

const number = fc.double({ min: -1e6, max: 1e6, noNaN: true });
const range = fc.tuple(number, number).map(([a, b]) => ({ min: Math.min(a, b), max: Math.max(a, b) }));

describe('levels', () => {
  it('hold 0 exactly, and every number of the range to half a step', () => {
    fc.assert(
      fc.property(range, fc.double({ min: 0, max: 1, noNaN: true }), (r, at) => {
        const levels = levelsOf(r);
        expect(dequantise(quantise(0, levels), levels)).toBe(0);
        const x = r.min + at * (r.max - r.min);
        const back = dequantise(quantise(x, levels), levels);
        // At an end of the range the zero point's own rounding adds as much again.
        const end = Math.min(Math.abs(x - Math.min(0, r.min)), Math.abs(x - Math.max(0, r.max))) < levels.scale;
        expect(Math.abs(back - x)).toBeLessThanOrEqual((end ? 1 : 0.5) * levels.scale * (1 + 1e-9));
      }),
      { seed: 1, numRuns: 2000 },
    );
  });
  it('of nothing but 0 are some', () => {
    const levels = levelsOf({ min: 0, max: 0 });
    expect(levels.scale).toBeGreaterThan(0);
    expect(dequantise(quantise(0, levels), levels)).toBe(0);
  });
});

describe('weights', () => {
  const weights = fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 12, maxLength: 12 });
  it('come back to half a step of their channel, the largest at 127', () => {
    fc.assert(
      fc.property(weights, (w) => {
        const { weight, scale } = quantiseWeights(host(Float32Array.from(w), [4, 3]), undefined, 0.01);
        w.forEach((x, i) => {
          const [q, s] = [weight.data[i]!, scale.data[i % 3]!];
          expect(Math.abs(q)).toBeLessThanOrEqual(127);
          expect(Math.abs(q * s - x)).toBeLessThanOrEqual(s * 0.5 * (1 + 1e-5));
        });
      }),
      { seed: 2, numRuns: 500 },
    );
    const { weight } = quantiseWeights(host(Float32Array.of(1, -6, 0.5, 3), [2, 2]), undefined, 1);
    expect([...weight.data]).toEqual([127, -127, 64, 64]);
  });
  it('have a bias in units of a product, to half of one, that stays small', () => {
    fc.assert(
      fc.property(weights, fc.float({ min: -1000, max: 1000, noNaN: true }), (w, b) => {
        const { scale, bias } = quantiseWeights(host(Float32Array.from(w), [4, 3]), [b, -b, 0], 1e-3);
        [b, -b, 0].forEach((x, o) => {
          expect(Math.abs(bias.data[o]!)).toBeLessThanOrEqual(2 ** 22 * (1 + 1e-6));
          expect(Math.abs(bias.data[o]! * scale.data[o]! * 1e-3 - x)).toBeLessThanOrEqual(
            scale.data[o]! * 1e-3 * 0.5 + Math.abs(x) * 1e-9,
          );
        });
      }),
      { seed: 3, numRuns: 500 },
    );
  });
});
