import { describe, expect, it } from 'vitest';
import { evaluationIdentities, syntheticFace, syntheticPairs, syntheticSet } from '../../datasets/synthetic.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { ImageSource } from '../../src/data/dataset.ts';
import { rawPixelAccuracy } from './rawPixels.ts';

const identityOf = (s: ImageSource) => (s.kind === 'synthetic' ? s.identity : -1);

function fnv(bytes: Uint8Array): number {
  let h = 0x811c9dc5;
  for (const b of bytes) h = Math.imul(h ^ b, 0x01000193);
  return h >>> 0;
}

describe('syntheticFace', () => {
  it('gives the bytes it gave before, at any size', () => {
    expect([
      fnv(syntheticFace(1, 0, 0)),
      fnv(syntheticFace(1, 7, 3, 33)),
      fnv(syntheticFace(2 ** 40 + 1, evaluationIdentities + 5, 9, 8)),
    ]).toMatchInlineSnapshot(`
      [
        3244740109,
        1049048811,
        3905892009,
      ]
    `);
  });
  it('differs by seed, identity and image, never by what was drawn before', () => {
    const face = syntheticFace(1, 2, 3, 24);
    for (const other of [syntheticFace(2, 2, 3, 24), syntheticFace(1, 3, 3, 24), syntheticFace(1, 2, 4, 24)]) {
      expect(other).not.toEqual(face);
    }
    expect(syntheticFace(1, 2, 3, 24)).toEqual(face);
  });
  it('shows the same picture at every size', () => {
    // an unblurred face averaged down four times is near the face drawn small
    const big = syntheticFace(3, 1, 0, 112);
    const small = syntheticFace(3, 1, 0, 28);
    let difference = 0;
    for (let y = 0; y < 28; y++) {
      for (let x = 0; x < 28; x++) {
        let sum = 0;
        for (let j = 0; j < 16; j++) sum += big[((y * 4 + (j >> 2)) * 112 + x * 4 + (j & 3)) * 3]!;
        difference += Math.abs(sum / 16 - small[(y * 28 + x) * 3]!);
      }
    }
    const other = syntheticFace(3, 1, 1, 28);
    let unrelated = 0;
    for (let i = 0; i < other.length; i += 3) unrelated += Math.abs(other[i]! - small[i]!);
    expect(difference).toBeLessThan(unrelated / 3);
  });
  it('refuses sizes that are no sizes', () => {
    expect(() => syntheticFace(1, 0, 0, 7)).toThrow(UsageError);
    expect(() => syntheticFace(1, 0, 0, 20.5)).toThrow(UsageError);
  });
});

describe('syntheticSet', () => {
  it('numbers people and pictures', () => {
    const set = syntheticSet({ identities: 3, imagesPerIdentity: 4, size: 16, firstIdentity: 10 });
    expect([set.classes, set.length, set.label(0), set.label(11), set.identityName(2)]).toEqual([
      3,
      12,
      0,
      2,
      'person12',
    ]);
    expect(set.source(5)).toEqual({ kind: 'synthetic', seed: 1, identity: 11, image: 1, size: 16 });
  });
  it('keeps out of the people for evaluation', () => {
    const beyond = { identities: 2, imagesPerIdentity: 1, firstIdentity: evaluationIdentities - 1 };
    expect(() => syntheticSet(beyond)).toThrow(UsageError);
    expect(() => syntheticSet({ identities: 0, imagesPerIdentity: 1 })).toThrow(UsageError);
  });
});

describe('syntheticPairs', () => {
  it('has folds of disjoint people, half of the pairs the same, none repeated', () => {
    const set = syntheticPairs({ folds: 4, pairsPerFold: 30, identitiesPerFold: 7 });
    const { left, right } = set.pairs;
    expect([left.length, set.pairs.folds]).toEqual([4 * 60, 4]);
    const foldOf = new Map<number, number>();
    const seen = new Set<string>();
    left.forEach((image, i) => {
      const [a, b] = [set.images.source(image), set.images.source(right[i]!)];
      const [same, fold] = [set.pairs.same[i] === 1, set.pairs.fold[i]!];
      expect(fold).toBe(Math.floor(i / 60));
      expect(same).toBe(i % 60 < 30);
      expect(identityOf(a) === identityOf(b)).toBe(same);
      for (const s of [a, b]) {
        expect(identityOf(s)).toBeGreaterThanOrEqual(evaluationIdentities);
        expect(foldOf.get(identityOf(s)) ?? fold).toBe(fold);
        foldOf.set(identityOf(s), fold);
      }
      expect(a).not.toEqual(b);
      if (same)
        seen.add(
          JSON.stringify(
            a.kind === 'synthetic' && b.kind === 'synthetic' && [a.identity, ...[a.image, b.image].sort()],
          ),
        );
    });
    expect(seen.size).toBe(4 * 30);
    expect(foldOf.size).toBe(4 * 7);
  });
  it('refuses more pairs than there are', () => {
    expect(() => syntheticPairs({ pairsPerFold: 7, identitiesPerFold: 2, imagesPerIdentity: 3 })).toThrow(UsageError);
  });
  it.each([1, 2, 3])('pixels alone verify at most 0.7 of seed %i', (seed) => {
    const set = syntheticPairs({ seed, size: 28, pairsPerFold: 40 });
    for (const accuracy of rawPixelAccuracy(set, [0, 127.5])) {
      expect(accuracy).toBeLessThanOrEqual(0.7);
      expect(accuracy).toBeGreaterThan(0.5);
    }
  });
});
