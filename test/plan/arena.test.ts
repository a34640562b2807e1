/** Placing step buffers: nothing that lives together shares bytes, and what must be apart is in different banks. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Lifetime, place, placeInBanks } from '../../src/plan/arena.ts';

const lifetimes = fc.array(
  fc
    .record({ bytes: fc.integer({ min: 1, max: 3000 }), start: fc.nat(20), length: fc.nat(6) })
    .map(({ bytes, start, length }): Lifetime => ({ bytes, start, end: start + length })),
  { minLength: 1, maxLength: 30 },
);
const together = (a: Lifetime, b: Lifetime) => a.start <= b.end && b.start <= a.end;
const overlap = (a: number, n: number, b: number, m: number) => a < b + m && b < a + n;

test('one block: no two buffers that live together overlap', () => {
  fc.assert(
    fc.property(lifetimes, (list) => {
      const { offsets, bytes } = place(list);
      list.forEach((a, i) => {
        expect(offsets[i]! % 64).toBe(0);
        expect(offsets[i]! + a.bytes).toBeLessThanOrEqual(bytes);
        list.forEach((b, j) => {
          if (i < j && together(a, b)) expect(overlap(offsets[i]!, a.bytes, offsets[j]!, b.bytes)).toBe(false);
        });
      });
    }),
  );
});

test('banks: the same, pairs that must be apart are, and no bank outgrows its limit', () => {
  const pairs = fc.array(fc.tuple(fc.nat(29), fc.nat(29)), { maxLength: 40 });
  fc.assert(
    fc.property(lifetimes, pairs, fc.constantFrom(4096, 2 ** 20), (list, drawn, limit) => {
      const apart = drawn.filter(([i, j]) => i !== j && i < list.length && j < list.length);
      const { places, bankBytes } = placeInBanks(list, apart, limit, 256);
      for (const [i, j] of apart) expect(places[i]!.bank).not.toBe(places[j]!.bank);
      for (const n of bankBytes) expect(n).toBeLessThanOrEqual(limit);
      list.forEach((a, i) => {
        const { bank, offset } = places[i]!;
        expect(offset % 256).toBe(0);
        expect(offset + a.bytes).toBeLessThanOrEqual(bankBytes[bank]!);
        list.forEach((b, j) => {
          if (i < j && bank === places[j]!.bank && together(a, b))
            expect(overlap(offset, a.bytes, places[j]!.offset, b.bytes)).toBe(false);
        });
      });
    }),
  );
});

test('banks of a chain, where each step reads what the one before wrote, are two and as small as one block', () => {
  const chain = Array.from({ length: 40 }, (_, i): Lifetime => ({ bytes: 1024, start: i, end: i + 1 }));
  const apart = chain.slice(1).map((_, i) => [i, i + 1] as const);
  const { bankBytes } = placeInBanks(chain, apart, 2 ** 20, 256);
  expect(bankBytes).toEqual([1024, 1024]);
});
