import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DataError, NumericsError, ShapeError, UsageError } from '../../src/core/errors.ts';
import { keyOf, uniform } from '../../src/core/random.ts';
import {
  combineFlip,
  kFold,
  meanNorm,
  pairAngles,
  thresholdUnits,
  type VerificationInput,
  verify,
} from '../../src/evaluate/verification.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { syntheticPairs } from './synthetic.ts';

/** Pairs listed as [same, left vector, right vector]. */
function pairsOf(list: [boolean, number[], number[]][], folds: number | number[]): VerificationInput {
  return {
    embeddings: Float32Array.from(list.flatMap(([, a, b]) => [...a, ...b])),
    dim: list[0]![1].length,
    left: list.map((_, i) => 2 * i),
    right: list.map((_, i) => 2 * i + 1),
    same: list.map(([s]) => s),
    folds,
  };
}

test('protocol A, small enough for the head', () => {
  // Squared distances 0 and 2 in fold 0, just over 1 and 4 in fold 1, of vectors that are not of unit length.
  const r = verify(
    pairsOf(
      [
        [true, [3, 0], [5, 0]],
        [false, [1, 0], [0, 9]],
        [true, [2, 0], [1, Math.sqrt(3) + 1e-6]],
        [false, [0, 4], [0, -1]],
      ],
      2,
    ),
    'insightface',
    0.5,
  );
  // Fold 1 allows 1.01 ... 3.99, the first is taken; fold 0 allows 0.01 ... 2.00.
  expect(r.folds).toEqual([
    { fold: 0, pairs: 2, accuracy: 1, threshold: 1.01 },
    { fold: 1, pairs: 2, accuracy: 0.5, threshold: 0.01 },
  ]);
  expect([r.accuracy, r.std, r.threshold, r.pairs, r.metric]).toEqual([0.75, 0.25, 0.51, 4, 'squaredL2']);
  // Fold 1 has no false accept on the grid (threshold 0); in fold 0 the FAR jumps from 0 to 1 between 2.000 and 2.001.
  expect(r.valAtFar.threshold).toBeCloseTo(2.0005 / 2, 12);
  expect([r.valAtFar.val, r.valAtFar.std, r.valAtFar.far]).toEqual([0.5, 0.5, 0]);
  expect(r.eer).toBe(0);
  expect(r.scores[1]).toBe(2);
  expect(pairAngles(r).same.mean).toBeCloseTo(30, 4);
  expect(pairAngles(r).different).toEqual({ mean: 135, std: 45 });
});

test('protocol B, small enough for the head', () => {
  // About the mean (100, 50) of each fold: cosines 0.857.. and 0 in fold 0, 0.780.. and 0 in fold 1.
  const at = (x: number, y: number) => [100 + x, 50 + y];
  const input = pairsOf(
    [
      [true, at(5, 0), at(5, 3)],
      [true, at(5, 0), at(5, 4)],
      [false, at(-10, 0), at(0, -3)],
      [false, at(-10, 0), at(0, -4)],
    ],
    [7, 9, 7, 9],
  );
  const r = verify(input, 'cosine');
  expect(r.folds.map((f) => [f.fold, f.accuracy])).toEqual([
    [7, 1],
    [9, 1],
  ]);
  // A threshold equal to the score 0 counts as wrong: the best ones start at 0.0001.
  expect(r.folds[0]!.threshold).toBeCloseTo((0.0001 + 0.7808) / 2, 10);
  expect(r.folds[1]!.threshold).toBeCloseTo((0.0001 + 0.8574) / 2, 10);
  expect([r.auc, r.eer]).toEqual([1, 0]);
  expect(r.scores[0]).toBeCloseTo(5 / Math.sqrt(34), 12);
});

test('the figures of scikit-learn 1.9 and scipy 1.17 on 103 pairs in ten folds', () => {
  const pairs = syntheticPairs();
  const a = verify(pairs, 'insightface', 0.05);
  expect(a.folds.map((f) => f.threshold)).toEqual([46, 27, 46, 27, 31, 46, 27, 27, 33, 25].map((t) => t * 0.01));
  expect(a.accuracy).toBeCloseTo(0.6581818181818181, 12);
  expect(a.std).toBeCloseTo(0.07398905436136657, 12);
  expect(a.auc).toBeCloseTo(0.8134761904761906, 12);
  expect(a.eer).toBeCloseTo(0.2785714285708468, 11);
  expect(a.valAtFar.val).toBeCloseTo(0.215, 12);
  expect(a.valAtFar.std).toBeCloseTo(0.13425721582097552, 12);
  expect(a.valAtFar.far).toBeCloseTo(0.06428571428571428, 12);
  expect(a.valAtFar.threshold).toBeCloseTo(0.132645, 12);
  const b = verify(pairs, 'cosine');
  expect(b.accuracy).toBeCloseTo(0.7763636363636365, 12);
  expect(b.std).toBeCloseTo(0.07769403861535092, 12);
  expect(b.threshold).toBeCloseTo(0.44434076249921245, 12);
});

test('the histograms give what plain loops over all thresholds give, ties included', () => {
  for (let seed = 0; seed < 6; seed++) {
    // Few distinct small integers: many scores are equal, and some are thresholds (0, 2, 4; 0, 1).
    const u = uniform(keyOf(seed), 2 * 24 * 2);
    const same = Array.from(uniform(keyOf(seed + 100), 24), (x) => x < 0.5);
    const input = {
      ...pairsOf(
        same.map((s) => [s, [0, 0], [0, 0]]),
        4,
      ),
      embeddings: u.map((x) => Math.round(4 * x - 2)),
    };
    for (const protocol of ['insightface', 'cosine'] as const) {
      const r = verify(input, protocol);
      for (const { fold, threshold, accuracy } of r.folds) {
        const s = Array.from({ length: 24 }, (_, i) => plainScore(input, i, protocol, fold));
        const right = (t: number, held: boolean) =>
          s.reduce((n, x, i) => {
            if ((Math.floor(i / 6) === fold) !== held) return n;
            return n + Number(protocol === 'insightface' ? x < t === same[i] : same[i] ? x > t : x < t);
          }, 0);
        const grid =
          protocol === 'insightface'
            ? Array.from({ length: 400 }, (_, i) => i * 0.01)
            : Array.from({ length: 20001 }, (_, i) => i / 10000 - 1);
        const hits = grid.map((t) => right(t, false));
        const most = Math.max(...hits);
        const best = grid.filter((_, i) => hits[i] === most);
        const want = protocol === 'insightface' ? best[0]! : best.reduce((x, y) => x + y, 0) / best.length;
        expect(threshold).toBeCloseTo(want, 11);
        expect(accuracy).toBe(right(threshold, true) / 6);
        expect(r.scores[fold * 6]).toBe(s[fold * 6]);
      }
    }
  }
});

/** The same sums in the same order as the module's, so that ties are ties here too. */
function plainScore({ embeddings: e }: VerificationInput, pair: number, protocol: string, fold: number): number {
  const mean = [0, 0];
  for (let i = 0; i < 24; i++) {
    if (Math.floor(i / 6) === fold || protocol === 'insightface') continue;
    for (const k of [0, 1]) mean[k]! += e[4 * i + k]! + e[4 * i + 2 + k]!;
  }
  const v = [0, 1, 2, 3].map((k) => e[4 * pair + k]! - mean[k % 2]! / 36);
  const inverse = [0, 2].map((k) => (v[k] || v[k + 1] ? 1 / Math.sqrt(v[k]! ** 2 + v[k + 1]! ** 2) : 0));
  if (protocol === 'cosine') return (v[0]! * v[2]! + v[1]! * v[3]!) * inverse[0]! * inverse[1]!;
  return (v[0]! * inverse[0]! - v[2]! * inverse[1]!) ** 2 + (v[1]! * inverse[0]! - v[3]! * inverse[1]!) ** 2;
}

test('folds as a count are contiguous, the first ones longer', () => {
  expect([...kFold(8, 3)]).toEqual([0, 0, 0, 1, 1, 1, 2, 2]);
  const pairs = syntheticPairs();
  expect(verify({ ...pairs, folds: kFold(103, 10) }, 'cosine')).toEqual(verify(pairs, 'cosine'));
});

test('flip rules', () => {
  const [a, b] = [Float32Array.of(3, 4, 0, 2), Float32Array.of(0, 1, 2, -2)];
  expect(combineFlip(a, b, 2, 'none')).toEqual({ embeddings: a, dim: 2 });
  expect(combineFlip(a, b, 2, 'concat')).toEqual({ embeddings: Float32Array.of(3, 4, 0, 1, 0, 2, 2, -2), dim: 4 });
  const sum = combineFlip(a, b, 2, 'sum').embeddings;
  [3 / Math.sqrt(34), 5 / Math.sqrt(34), 1, 0].forEach((x, i) => {
    expect(sum[i]).toBe(Math.fround(x));
  });
  // Unit vectors first: (0.6, 1.8) and (sqrt 1/2, 1 - sqrt 1/2).
  const unit = combineFlip(a, b, 2, 'unitSum').embeddings;
  expect(unit[1]! / unit[0]!).toBeCloseTo(3, 5);
  expect(unit[3]! / unit[2]!).toBeCloseTo(Math.SQRT2 - 1, 5);
  expect(() => combineFlip(a, b.subarray(2), 2, 'sum')).toThrow(ShapeError);
  expect(meanNorm(Float32Array.of(3, 4, 0, 0, 0, 1), 2)).toBe(2);
  expect(thresholdUnits(0.5)).toEqual({ cosine: 0.5, squaredL2: 1, l2: 1 });
});

test('a dead network (all embeddings equal, or zero) is rated, not refused', () => {
  const pairs = syntheticPairs();
  for (const value of [0, 3]) {
    for (const protocol of ['insightface', 'cosine'] as const) {
      const r = verify({ ...pairs, embeddings: pairs.embeddings.map(() => value) }, protocol);
      for (const x of [r.accuracy, r.auc, r.eer, r.valAtFar.val, r.threshold]) expect(x).toBeGreaterThanOrEqual(0);
      expect(r.eer).toBe(0.5);
    }
  }
});

test('what cannot be rated is refused', () => {
  const pairs = syntheticPairs();
  const broken = pairs.embeddings.slice();
  broken[8 * 5 + 3] = Number.NaN;
  expect(() => verify({ ...pairs, embeddings: broken }, 'cosine')).toThrow(NumericsError);
  expect(() => verify({ ...pairs, embeddings: broken }, 'cosine')).toThrow(/embedding 5 has NaN at position 3/);
  expect(() => verify({ ...pairs, dim: 7 }, 'cosine')).toThrow(ShapeError);
  expect(() => verify({ ...pairs, left: pairs.left.slice(1) }, 'cosine')).toThrow(ShapeError);
  expect(() => verify({ ...pairs, left: pairs.left.map(() => 206) }, 'cosine')).toThrow(/pair 0 names row 206/);
  expect(() => verify({ ...pairs, folds: 1 }, 'cosine')).toThrow(UsageError);
  expect(() => verify({ ...pairs, folds: pairs.same.map(() => 4) }, 'cosine')).toThrow(/at least 2 folds/);
  expect(() => verify({ ...pairs, folds: [0, 1] }, 'cosine')).toThrow(ShapeError);
  expect(() => verify({ ...pairs, same: pairs.same.map(() => true) }, 'cosine')).toThrow(DataError);
  expect(() => verify(pairs, 'lfw' as 'cosine')).toThrow(/there are insightface and cosine/);
  expect(() => verify(pairs, 'cosine', 0)).toThrow(UsageError);
});

const data = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const present = existsSync(`${data}weights/golden/accuracy.json`);
if (!present) console.log(`verification golden test skipped: there is no ${data}weights/golden`);

describe.skipIf(!present)('published networks on LFW folds 1-3, upright crops', () => {
  const lines = (file: string) =>
    readFileSync(data + file, 'utf8')
      .trim()
      .split('\n');
  const golden = present ? JSON.parse(readFileSync(`${data}weights/golden/accuracy.json`, 'utf8')).networks : {};
  const pairs = () => {
    const row = new Map(lines('weights/golden/images.txt').map((name, i) => [name, i]));
    const at = (name: string, k: string) => row.get(`${name}/${name}_${k.padStart(4, '0')}.jpg`)!;
    const list = lines('verify/lfw112/pairs.txt')
      .slice(1)
      .map((line) => line.split('\t'));
    return {
      left: list.map((l) => at(l[0]!, l[1]!)),
      right: list.map((l) => at(l.at(-2) === l[1] ? l[0]! : l[2]!, l.at(-1)!)),
      same: list.map((l) => l.length === 3),
      folds: 3,
    };
  };
  for (const net of Object.keys(golden)) {
    test.each([
      ['insightface', 'A_noflip'],
      ['cosine', 'B_noflip'],
    ] as const)(`${net}, %s`, (protocol, key) => {
      const { data: embeddings, shape } = readNpy(readFileSync(`${data}weights/golden/${net}.npy`), net);
      const r = verify({ embeddings: embeddings as Float32Array, dim: shape[1]!, ...pairs() }, protocol);
      const round = (x: number) => Math.round(x * 1e6) / 1e6;
      expect({
        mean: round(r.accuracy),
        std: round(r.std),
        folds: r.folds.map((f) => round(f.accuracy)),
        thresholds: r.folds.map((f) => round(f.threshold)),
      }).toEqual({ ...golden[net][key], closest: undefined });
    });
  }
});
