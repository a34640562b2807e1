/** MultiFace (src/heads/multiFace.ts). */
import { describe, expect, it } from 'vitest';
import { subEmbedding } from '../../src/heads/multiFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'multiface',
  slices: 2,
  gradients: [
    { options: { s: 8 } },
    { options: { s: 8, norm: 'slice' } },
    { options: { s: 8, loss: 'cosface', m: 0.35 } },
    { options: { s: 8, loss: 'normface', norm: 'slice' } },
    { options: { n: 1, s: 8 } },
  ],
  refused: [
    [{ n: 0 }, /n expected a whole number of at least 1, got 0/],
    [{ n: 3 }, /embedding size that divides into n = 3 slices, got 4/],
    [{ loss: 'softmax' }, /loss expected arcface, cosface or normface, got "softmax"/],
    [{ norm: 'none' }, /norm expected whole or slice, got "none"/],
    [{ m: -1 }, /m expected a number from 0 to 1.571, got -1/],
  ],
});

describe('a sub-embedding', () => {
  const rows = Float32Array.from({ length: 12 }, (_, i) => i);
  it('is its columns of every row', () => {
    expect([...subEmbedding(rows, 6, 3, 1)]).toEqual([2, 3, 8, 9]);
    expect([...subEmbedding(rows, 6, 1, 0)]).toEqual([...rows]);
    expect([0, 1].flatMap((i) => [...subEmbedding(rows, 4, 2, i)])).toEqual([0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
  });
  it('must exist', () => {
    expect(() => subEmbedding(rows, 6, 4, 0)).toThrow(/number of slices that divides the embedding size 6, got 4/);
    expect(() => subEmbedding(rows, 6, 3, 3)).toThrow(/slice from 0 to 2, got 3/);
    expect(() => subEmbedding(rows, 5, 5, 0)).toThrow(/rows of 5 numbers, got 12/);
  });
});
