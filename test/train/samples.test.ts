/** Pictures of a run: where a batch's pixels and a pair's pictures stand, and which pairs are called wrong, near and worst. */
import { describe, expect, it } from 'vitest';
import { ShapeError, UsageError } from '../../src/core/errors.ts';
import { fold, keyOf, normal, uniform } from '../../src/core/random.ts';
import { type Protocol, type VerificationResult, verify } from '../../src/evaluate/verification.ts';
import type { RgbImage } from '../../src/image/jpeg.ts';
import { contactSheet } from '../../src/image/sheet.ts';
import {
  batchSheet,
  type JudgedPair,
  judgedPairs,
  nearestPairs,
  pairSheet,
  worstPairs,
} from '../../src/train/samples.ts';
import { picture } from '../helpers/pictures.ts';

const part = ({ width, data }: RgbImage, left: number, top: number, w: number, h: number): RgbImage => ({
  width: w,
  height: h,
  data: Uint8Array.from({ length: 3 * w * h }, (_, i) => {
    const [y, x] = [Math.floor(i / (3 * w)), i % (3 * w)];
    return data[3 * ((top + y) * width + left) + x]!;
  }),
});

/** Equal to the last byte; comparing element by element takes seconds. */
const expectAlike = (found: RgbImage, wanted: RgbImage): void => {
  expect([found.width, found.height]).toEqual([wanted.width, wanted.height]);
  expect(Buffer.compare(found.data, wanted.data)).toBe(0);
};

describe('batchSheet', () => {
  const [h, w] = [10, 20];
  const pictures = Array.from({ length: 5 }, (_, i) => part(picture(i, 0, 20), 0, 0, w, h));
  const images = new Uint8Array(5 * h * w * 3);
  pictures.forEach((p, i) => {
    images.set(p.data, i * h * w * 3);
  });
  const labels = Int32Array.of(3, 1, 4, 1, 5);
  const name = (label: number) => `Ann_Lee_${label}`;

  it('shows the very pixels of the batch, in its order, over the names of its people', () => {
    const sheet = batchSheet({ images, labels }, [h, w], { columns: 3, tile: [h, w], name });
    const want = contactSheet(pictures, {
      columns: 3,
      tile: [h, w],
      captions: ['Ann Lee 3', 'Ann Lee 1', 'Ann Lee 4', 'Ann Lee 1', 'Ann Lee 5'],
    });
    expectAlike(sheet, want);
    pictures.forEach((p, i) => {
      const [row, column] = [Math.floor(i / 3), i % 3];
      expectAlike(part(sheet, 4 + column * (w + 4), 4 + row * (h + 15), w, h), p);
    });
  });
  it('numbers the classes where there are no names, and shows no more than it should', () => {
    const captions = ['3', '1'];
    expectAlike(batchSheet({ images, labels }, [h, w], { most: 2 }), contactSheet(pictures.slice(0, 2), { captions }));
  });
  it('refuses sizes that do not fit', () => {
    expect(() => batchSheet({ images, labels }, [h, w + 1])).toThrow(ShapeError);
    expect(() => batchSheet({ images, labels: [] }, [h, w])).toThrow(ShapeError);
    expect(() => batchSheet({ images: new Uint8Array(0), labels: [] }, [h, w])).toThrow(UsageError);
  });
});

describe('pairs of an evaluation', () => {
  /** Pairs of people in two pictures each, some of them hard; cosines fall on grid thresholds in the second. */
  function evaluate(protocol: Protocol, ties: boolean): { result: VerificationResult; folds: Int32Array } {
    const [n, dim] = [120, 6];
    const noise = normal(fold(keyOf(3), protocol), 2 * n * dim);
    const draws = uniform(keyOf(4), n);
    const same = Uint8Array.from(draws, (u) => (u < 0.5 ? 1 : 0));
    const embeddings = new Float32Array(2 * n * dim);
    for (let p = 0; p < n; p++)
      for (let k = 0; k < dim; k++) {
        const [a, b] = [noise[2 * p * dim + k]!, noise[(2 * p + 1) * dim + k]!];
        // Corners of a cube have few different angles.
        embeddings[2 * p * dim + k] = ties ? Math.sign(a) : a;
        embeddings[(2 * p + 1) * dim + k] = ties ? Math.sign(same[p] ? b + a : b) : same[p] ? b + 0.8 * a : b;
      }
    const left = Int32Array.from({ length: n }, (_, p) => 2 * p);
    const folds = Int32Array.from({ length: n }, (_, p) => p % 5);
    const right = left.map((row) => row + 1);
    return { result: verify({ embeddings, dim, left, right, same, folds }, protocol), folds };
  }
  it.each([
    ['insightface', false],
    ['cosine', false],
    ['insightface', true],
    ['cosine', true],
  ] as const)('are judged as the accuracy counts them: %s, ties %s', (protocol, ties) => {
    const { result, folds } = evaluate(protocol, ties);
    const judged = judgedPairs(result, folds);
    expect(judged.map((j) => [j.pair, j.score, j.same])).toEqual(
      Array.from(result.scores, (score, i) => [i, score, result.same[i] === 1]),
    );
    for (const { fold: id, accuracy, threshold } of result.folds) {
      const inFold = judged.filter((j) => folds[j.pair] === id);
      expect(inFold.every((j) => j.threshold === threshold)).toBe(true);
      expect(inFold.filter((j) => j.correct).length / inFold.length).toBe(accuracy);
    }
    expect(result.accuracy).toBeLessThan(1);
  });
  it('equal to the threshold are judged by the protocol’s rule', () => {
    const at = (metric: VerificationResult['metric'], same: number) =>
      judgedPairs(
        {
          ...evaluate('cosine', false).result,
          metric,
          folds: [{ fold: 7, pairs: 1, accuracy: 1, threshold: 0.5 }],
          scores: Float64Array.of(0.5),
          same: Uint8Array.of(same),
        },
        [7],
      )[0]!.correct;
    expect([at('cosine', 1), at('cosine', 0), at('squaredL2', 1), at('squaredL2', 0)]).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });
  it('are found nearest to their own fold’s threshold, and most wrong', () => {
    const { result, folds } = evaluate('insightface', false);
    const judged = judgedPairs(result, folds);
    const apart = (j: JudgedPair) => Math.abs(j.score - j.threshold);
    const near = nearestPairs(judged, 9);
    expect(near).toHaveLength(9);
    const furthest = Math.max(...near.map(apart));
    expect(judged.filter((j) => apart(j) < furthest).length).toBeLessThan(9);
    expect(near.map(apart)).toEqual(near.map(apart).sort((a, b) => a - b));
    const wrong = judged.filter((j) => !j.correct);
    const worst = worstPairs(judged, 1000);
    expect(worst).toHaveLength(wrong.length);
    expect(worst.every((j) => !j.correct)).toBe(true);
    expect(worst.map(apart)).toEqual(wrong.map(apart).sort((a, b) => b - a));
    expect(worstPairs(judged, 2)).toEqual(worst.slice(0, 2));
    expect(worstPairs(judged.filter((j) => j.correct))).toEqual([]);
  });

  const pairs: JudgedPair[] = [
    { pair: 5, same: true, score: 0.61, threshold: 0.3, correct: true },
    { pair: 2, same: false, score: 0.5, threshold: 0.25, correct: false },
  ];
  const show = (pair: number) => [picture(pair, 0, 112), picture(pair, 1, 112)] as const;
  it('stand side by side, unchanged, in a frame that tells right from wrong', () => {
    const sheet = pairSheet(pairs, show, { columns: 1 });
    const frame = 3; // a fortieth of 112
    const [tall, wide] = [112 + 2 * frame, 2 * 112 + 3 * frame];
    expect([sheet.width, sheet.height]).toEqual([wide + 8, 2 * (tall + 15) + 4]);
    const colours = pairs.map(({ pair }, i) => {
      const top = 4 + i * (tall + 15);
      const [left, right] = show(pair);
      expectAlike(part(sheet, 4 + frame, top + frame, 112, 112), left);
      expectAlike(part(sheet, 4 + 2 * frame + 112, top + frame, 112, 112), right);
      return [...part(sheet, 4, top, 1, 1).data];
    });
    // Green where it is right, red where it is wrong.
    expect(colours[0]![1]).toBeGreaterThan(colours[0]![0]!);
    expect(colours[1]![0]).toBeGreaterThan(colours[1]![1]!);
  });
  it('say under them what they are, score, threshold, and what is wrong', () => {
    const sheet = pairSheet(pairs, show, { columns: 1 });
    const [tall, wide] = [118, 233];
    const blank: RgbImage = { width: wide, height: tall, data: new Uint8Array(3 * wide * tall) };
    const captions = ['same 0.610 (0.300)', 'different 0.500 (0.250) wrong'];
    const want = contactSheet([blank, blank], { columns: 1, tile: [tall, wide], captions });
    for (const top of [4 + tall, 4 + tall + 133])
      expectAlike(part(sheet, 0, top, sheet.width, 15), part(want, 0, top, sheet.width, 15));
  });
  it('are shown larger or smaller, whatever their size', () => {
    const small = (pair: number) => [picture(pair, 0, 32), picture(pair, 1, 32)] as const;
    for (const height of [32, 64, 200]) {
      const sheet = pairSheet(pairs, small, { height });
      expect(sheet.width).toBeGreaterThan(2 * height);
      expect(sheet.height).toBeGreaterThan(2 * height);
    }
    expect(() => pairSheet([], small)).toThrow(UsageError);
  });
});
