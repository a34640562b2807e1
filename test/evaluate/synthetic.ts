import { keyOf, normal } from '../../src/core/random.ts';

/**
 * 103 pairs (ten folds of unequal length) of 8-d embeddings around person centres, with enough noise to err, and scores
 * rounded to tenths (so that many are equal) for the exact curve.
 */
export function syntheticPairs() {
  const [n, dim] = [103, 8];
  const noise = normal(keyOf(7), 2 * n * dim);
  const centres = normal(keyOf(8), 2 * n * dim);
  const same = Array.from({ length: n }, (_, i) => i % 5 < 2);
  const embeddings = noise.map((x, i) => {
    const [row, k] = [Math.floor(i / dim), i % dim];
    const person = same[row >> 1] ? row & ~1 : row;
    return 2 + x + centres[person * dim + k]!; // off the origin, so that the mean matters
  });
  const scores = normal(keyOf(9), n).map((x, i) => Math.round(10 * (x + (same[i] ? 1.5 : 0))) / 10);
  const left = same.map((_, i) => 2 * i);
  const right = same.map((_, i) => 2 * i + 1);
  return { embeddings, dim, left, right, same, scores };
}
