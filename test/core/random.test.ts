import { describe, expect, it } from 'vitest';
import { fold, keyOf, permutation, threefry, uniform, uniformAt } from '../../src/core/random.ts';

describe('threefry', () => {
  it("gives the published words (Random123's known answers for 2x32, 20 rounds)", () => {
    expect(threefry([0, 0], 0, 0)).toEqual([0x6b200159, 0x99ba4efe]);
    expect(threefry([0xffffffff, 0xffffffff], 0xffffffff, 0xffffffff)).toEqual([0x1cb996fc, 0xbb002be7]);
    expect(threefry([0x13198a2e, 0x03707344], 0x243f6a88, 0x85a308d3)).toEqual([0xc4923a9c, 0x483df7a0]);
  });
});

describe('permutation', () => {
  it('is Fisher-Yates with counter i for swap i, at any length', () => {
    for (const [seed, n] of [0, 1, 2, 3, 50, 4096, 4097, 4098, 8193].entries()) {
      const key = fold(keyOf(seed), 'order');
      const want = Array.from({ length: n }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor((threefry(key, i, 1)[0] / 2 ** 32) * (i + 1));
        [want[i], want[j]] = [want[j]!, want[i]!];
      }
      expect([...permutation(key, n)]).toEqual(want);
    }
  });
  it('keeps its bits, on which resumed runs depend', () => {
    expect([...permutation(keyOf(11), 12)]).toEqual([11, 0, 5, 10, 7, 6, 2, 3, 8, 4, 1, 9]);
    expect([...uniform(keyOf(5), 3)]).toEqual([0, 1, 2].map((i) => uniformAt(keyOf(5), i)));
  });
});
