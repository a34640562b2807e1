import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DataError, ShapeError, UsageError } from '../../src/core/errors.ts';
import { auc, eer, meanStd, roc, valAtFar } from '../../src/evaluate/metrics.ts';
import { syntheticPairs } from './synthetic.ts';

test('a curve small enough for the head', () => {
  const curve = roc([0.9, 0.8, 0.7, 0.6], [true, false, true, false]);
  expect([...curve.threshold]).toEqual([Number.POSITIVE_INFINITY, 0.9, 0.8, 0.7, 0.6]);
  expect([...curve.far]).toEqual([0, 0, 0.5, 0.5, 1]);
  expect([...curve.val]).toEqual([0, 0.5, 0.5, 1, 1]);
  expect(auc(curve)).toBe(0.75);
  expect(eer(curve)).toBe(0.5);
  expect(valAtFar(curve, 0.1)).toEqual({ val: 0.5, far: 0, threshold: 0.9 });
  expect(valAtFar(curve, 0.5)).toEqual({ val: 1, far: 0.5, threshold: 0.7 });
  expect(valAtFar(curve, 1)).toEqual({ val: 1, far: 1, threshold: 0.6 });
});

test('perfect, inverted and constant scores', () => {
  const [same, up, down] = [
    [1, 1, 0],
    [3, 2, 1],
    [1, 2, 3],
  ];
  expect([auc(roc(up, same)), eer(roc(up, same))]).toEqual([1, 0]);
  expect([auc(roc(down, same)), eer(roc(down, same))]).toEqual([0, 1]);
  expect([auc(roc([5, 5, 5], same)), eer(roc([5, 5, 5], same))]).toEqual([0.5, 0.5]);
  // The diagonal meets a slope: from (0, 0) straight to (0.5, 1), where x = 1 - 2x.
  expect(eer(roc([5, 5, 4], [1, 0, 0]))).toBeCloseTo(1 / 3, 15);
});

test('the figures of scikit-learn 1.9 on 103 scores with ties', () => {
  const { scores, same } = syntheticPairs();
  const curve = roc(scores, same);
  expect(curve.far.length).toBe(47);
  expect(auc(curve)).toBeCloseTo(0.8575331772053084, 14);
  expect(eer(curve)).toBeCloseTo(0.23809523809521718, 12); // by brentq, to its 2e-12
  expect(valAtFar(curve, 0.05)).toEqual({ far: 3 / 61, val: 25 / 42, threshold: 1.5 });
});

test('the area is the share of (same, different) pairs in the right order, ties half', () => {
  const rows = fc.array(fc.tuple(fc.integer({ min: -4, max: 4 }), fc.boolean()), { minLength: 2, maxLength: 40 });
  fc.assert(
    fc.property(rows, (list) => {
      const of = (kind: boolean) => list.filter(([, s]) => s === kind).map(([x]) => x);
      fc.pre(of(true).length > 0 && of(false).length > 0);
      let right = 0;
      for (const p of of(true)) for (const q of of(false)) right += p > q ? 1 : p === q ? 0.5 : 0;
      const curve = roc(
        list.map(([x]) => x),
        list.map(([, s]) => s),
      );
      expect(auc(curve)).toBeCloseTo(right / (of(true).length * of(false).length), 12);
      // The equal error point lies on the curve drawn as lines: turning all scores round swaps the two rates.
      const turned = roc(
        list.map(([x]) => -x),
        list.map(([, s]) => !s),
      );
      expect(eer(turned)).toBeCloseTo(eer(curve), 12);
    }),
    { seed: 1 },
  );
});

test('what cannot be rated is refused', () => {
  expect(() => roc([1], [1, 0])).toThrow(ShapeError);
  expect(() => roc([1, 2], [1, 1])).toThrow(DataError);
  expect(() => roc([1, Number.NaN], [1, 0])).toThrow(/score 1 is NaN/);
  expect(() => valAtFar(roc([2, 1], [1, 0]), 0)).toThrow(UsageError);
  expect(() => valAtFar(roc([2, 1], [1, 0]), Number.NaN)).toThrow(UsageError);
});

test('the deviation is that of the population', () => expect(meanStd([1, 3])).toEqual({ mean: 2, std: 1 }));
