/** Suppression held to what defines it: no two that stay overlap, and what went overlaps with a better one that stays. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byScore, type NmsOptions, nms } from '../../src/detect/nms.ts';

/** Overlap by whole pixels, in float64; for boxes at whole pixels the areas are exact in float32 too. */
function overlap(a: readonly number[], b: readonly number[], { over = 'union', edge = 0 }: NmsOptions): number {
  const side = (p: readonly number[], i: 0 | 1) => p[i + 2]! - p[i]! + edge;
  const shared = ([0, 1] as const)
    .map((i) => Math.max(0, Math.min(a[i + 2]!, b[i + 2]!) - Math.max(a[i]!, b[i]!) + edge))
    .reduce((x, y) => x * y);
  const [m, n] = [a, b].map((p) => side(p, 0) * side(p, 1)) as [number, number];
  return Math.fround(shared / (over === 'smaller' ? Math.min(m, n) : m + n - shared));
}

const box = fc
  .tuple(fc.nat(40), fc.nat(40), fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }))
  .map(([x, y, w, h]) => [x, y, x + w, y + h]);
const options = fc.record({
  threshold: fc.constantFrom(0.3, 0.4, 0.5, 0.7),
  over: fc.constantFrom('union' as const, 'smaller' as const),
  edge: fc.constantFrom(0 as const, 1 as const),
});

describe('nms', () => {
  it('keeps what no better one overlaps, by falling score', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(box, fc.constantFrom(0.2, 0.5, 0.5, 0.8, 0.9)), { maxLength: 25 }),
        options,
        (faces, o) => {
          const scores = faces.map(([, s]) => s);
          const kept = nms(
            faces.flatMap(([b]) => b),
            scores,
            o,
          );
          const rank = new Map(byScore(scores).map((i, at) => [i, at]));
          for (const [k, i] of kept.entries()) {
            if (k > 0) expect(rank.get(i)!).toBeGreaterThan(rank.get(kept[k - 1]!)!);
            for (const j of kept.slice(0, k))
              expect(overlap(faces[i]![0], faces[j]![0], o)).toBeLessThanOrEqual(o.threshold);
          }
          for (let i = 0; i < faces.length; i++) {
            if (kept.includes(i)) continue;
            const by = kept.some(
              (j) => rank.get(j)! < rank.get(i)! && overlap(faces[i]![0], faces[j]![0], o) > o.threshold,
            );
            expect(by).toBe(true);
          }
        },
      ),
    );
  });
  it('counts an overlap of just the threshold as none, and pixels from first to last where asked', () => {
    // 10x10 and its left half: 50 of 100.
    const boxes = [0, 0, 10, 10, 0, 0, 5, 10];
    expect(nms(boxes, [0.9, 0.8], { threshold: 0.5 })).toEqual([0, 1]);
    // 11x11 and 6x11: 66 of 121.
    expect(nms(boxes, [0.9, 0.8], { threshold: 0.5, edge: 1 })).toEqual([0]);
    expect(nms(boxes, [0.8, 0.9], { threshold: 0.9, over: 'smaller' })).toEqual([1]);
    expect(nms(boxes, [0.5, 0.5], { threshold: 0.9, most: 1 })).toEqual([0]);
    expect(nms([], [], { threshold: 0.5 })).toEqual([]);
  });
});
