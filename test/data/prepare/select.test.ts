import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { syntheticFace } from '../../../datasets/synthetic.ts';
import { UsageError } from '../../../src/core/errors.ts';
import { keyOf } from '../../../src/core/random.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import {
  atLeast,
  atMost,
  balance,
  defaultBands,
  everything,
  exactly,
  type Selection,
} from '../../../src/data/prepare/select.ts';
import { chain, type Treatment, treat } from '../../../src/data/prepare/treat.ts';
import { gaussianNoise, opening, saltPepper } from '../../../src/image/filters.ts';

const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
/** People with these numbers of images, interleaved, and two images of nobody in front. */
function setOf(counts: readonly number[]): Dataset {
  const labels = [-1, -1];
  for (let round = 0; round < Math.max(0, ...counts); round++)
    counts.forEach((n, l) => {
      if (round < n) labels.push(l);
    });
  return {
    name: 'set',
    classes: counts.length,
    length: labels.length,
    label: (i) => labels[i]!,
    identityName: (l) => `p${l}`,
    imageName: (i) => `p${labels[i]}/${i}.jpg`,
    source: (i) => ({ kind: 'file', path: `${i}` }),
  };
}
const kinds: readonly Treatment[] = ['keep', 'open', 'gaussian', 'saltPepper', 'chain'];
const kindsAt = (s: Selection) => Array.from(s.treatment, (t) => kinds[t]!);
/** Of each person who stays, by name: how often each treatment comes. */
function told(s: Selection): Record<string, Partial<Record<Treatment, number>>> {
  const out: Record<string, Partial<Record<Treatment, number>>> = {};
  for (let k = 0; k < s.length; k++) {
    const label = s.set.label(s.image[k]!);
    const name = label < 0 ? 'nobody' : s.set.identityName(label);
    out[name] ??= {};
    const person = out[name];
    const kind = kindsAt(s)[k]!;
    person[kind] = (person[kind] ?? 0) + 1;
  }
  return out;
}
/** What holds for any selection. */
function expectSound(s: Selection): void {
  expect([s.image.length, s.treatment.length, s.draw.length]).toEqual([s.length, s.length, s.length]);
  expect([...s.image]).toEqual([...s.image].sort((a, b) => a - b));
  const names = numbers(s.length).map((k) => s.nameOf(k));
  expect(new Set(names).size).toBe(s.length);
  const used = new Set(Array.from(s.image, (i) => s.set.label(i)).filter((l) => l >= 0));
  expect([...used].sort((a, b) => a - b)).toEqual(numbers(s.set.classes));
  const keys = numbers(s.length).flatMap((k) => s.treatmentOf(k)?.key.join() ?? []);
  expect(new Set(keys).size).toBe(keys.length);
}

describe('balance', () => {
  it('treats people by the bands of their numbers, at the edges too', () => {
    const s = balance(setOf([30, 31, 90, 91, 200, 201, 350, 351, 0, 1]), keyOf(1));
    expectSound(s);
    expect(told(s)).toEqual({
      p1: { keep: 31, open: 31, gaussian: 31, saltPepper: 31 },
      p2: { keep: 90, open: 90, gaussian: 90, saltPepper: 90 },
      p3: { keep: 91, open: 91 },
      p4: { keep: 200, open: 200 },
      p5: { keep: 201 },
      p6: { keep: 350 },
      p7: { keep: 350 },
    });
    expect(numbers(s.set.classes).map((l) => s.set.identityName(l))).toEqual([
      'p1',
      'p2',
      'p3',
      'p4',
      'p5',
      'p6',
      'p7',
    ]);
  });
  it('names copies by what was done to them', () => {
    const s = balance(setOf([2]), keyOf(1), [{ above: 1, give: ['keep', 'open', 'gaussian', 'saltPepper', 'chain'] }]);
    expect(numbers(5).map((k) => s.nameOf(k))).toEqual([
      'p0/2.jpg',
      'p0/Open_2.jpg',
      'p0/AddGaussian_2.jpg',
      'p0/AddSP_2.jpg',
      'p0/Chain1_2.jpg',
    ]);
    expect(s.nameOf(1, 'plain.png')).toBe('Open_plain.png');
    expect([s.treatmentOf(0), s.treatmentOf(1)?.kind]).toEqual([undefined, 'open']);
  });
  it('draws who stays of many from the key and the person', () => {
    const of = (seed: number, counts: number[]) => {
      const s = balance(setOf(counts), keyOf(seed));
      return Array.from(s.image, (i) => s.set.imageName(i)).filter((n) => n.startsWith('p0/'));
    };
    expect(of(1, [400])).toHaveLength(350);
    expect(of(1, [400])).toEqual(of(1, [400]));
    expect(of(1, [400])).not.toEqual(of(2, [400]));
  });
  it('takes other bands, and refuses those that make no sense', () => {
    const s = balance(setOf([1, 2, 3, 9]), keyOf(1), [
      { above: 5, give: ['keep'], most: 4 },
      { above: 1, give: ['open'] },
    ]);
    expect(told(s)).toEqual({ p1: { open: 2 }, p2: { open: 3 }, p3: { keep: 4 } });
    for (const bands of [
      [...defaultBands].reverse(),
      [{ above: -1, give: ['keep'] as const }],
      [{ above: 1, give: ['blur' as Treatment] }],
      [{ above: 1, give: ['keep'] as const, most: 0 }],
    ])
      expect(() => balance(setOf([3]), keyOf(1), bands)).toThrow(UsageError);
    expect(() => balance({ ...setOf([]), classes: 0 }, keyOf(1))).toThrow(/whose people are known/);
  });
});

const counts = fc.array(fc.nat(12), { minLength: 1, maxLength: 6 });
describe('exactly', () => {
  it('gives n of each, copies evenly', () => {
    fc.assert(
      fc.property(counts, fc.integer({ min: 1, max: 15 }), fc.nat(3), (list, n, seed) => {
        const set = setOf(list);
        const s = exactly(set, n, keyOf(seed));
        expectSound(s);
        const of = told(s);
        list.forEach((count, l) => {
          const { keep = 0, chain: copies = 0 } = of[`p${l}`] ?? {};
          expect([keep, copies]).toEqual(count === 0 ? [0, 0] : [Math.min(n, count), Math.max(0, n - count)]);
          const times = numbers(set.length)
            .filter((i) => set.label(i) === l)
            .map((i) => s.image.filter((x) => x === i).length);
          if (count > 0 && count <= n) expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(1);
        });
        expect(of.nobody).toBeUndefined();
        expect(exactly(set, n, keyOf(seed)).image).toEqual(s.image);
      }),
    );
  });
});

describe('atLeast, atMost', () => {
  it('leave out people with few, and images of people with many', () => {
    fc.assert(
      fc.property(counts, fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), (list, least, most) => {
        const set = setOf(list);
        const many = atLeast(set, least);
        expectSound(many);
        const both = atMost(many, most, keyOf(4));
        expectSound(both);
        list.forEach((n, l) => {
          expect(told(many)[`p${l}`]?.keep ?? 0).toBe(n >= least ? n : 0);
          expect(told(both)[`p${l}`]?.keep ?? 0).toBe(n >= least ? Math.min(n, most) : 0);
        });
        expect(told(many).nobody).toBeUndefined();
      }),
    );
  });
  it('keep what was to be done to the images of a selection', () => {
    const all = balance(setOf([3, 2]), keyOf(1), [{ above: 0, give: ['keep', 'gaussian', 'chain'] }]);
    const some = atMost(all, 4, keyOf(2));
    expectSound(some);
    expect(Object.values(told(some)).map((t) => Object.values(t).reduce((a, b) => a + b))).toEqual([4, 4]);
    for (let k = 0; k < some.length; k++) {
      const from = numbers(all.length).find((j) => all.nameOf(j) === some.nameOf(k))!;
      expect(some.treatmentOf(k)).toEqual(all.treatmentOf(from));
    }
  });
  it('refuse impossible numbers and sets without people', () => {
    for (const n of [0, -1, 1.5, Number.NaN]) {
      expect(() => atLeast(setOf([3]), n)).toThrow(UsageError);
      expect(() => atMost(setOf([3]), n, keyOf(1))).toThrow(UsageError);
      expect(() => exactly(setOf([3]), n, keyOf(1))).toThrow(UsageError);
    }
    expect(() => atLeast(setOf([]), 1)).toThrow(UsageError);
  });
});

describe('everything', () => {
  it('is the set as it is', () => {
    const set = setOf([2, 0, 1]);
    const s = everything(set);
    expect([s.set, [...s.image]]).toEqual([set, numbers(5)]);
    expect(numbers(5).map((k) => [s.nameOf(k), s.treatmentOf(k)])).toEqual(
      numbers(5).map((i) => [set.imageName(i), undefined]),
    );
  });
  it('and exact numbers of a million images take little time', () => {
    const big: Dataset = { ...setOf([]), classes: 20_000, length: 1_000_000, label: (i) => i % 20_000 };
    const start = performance.now();
    expect(everything(big).length).toBe(1_000_000);
    expect(exactly(big, 60, keyOf(1)).length).toBe(1_200_000);
    expect(exactly(big, 40, keyOf(1)).length).toBe(800_000);
    expect(performance.now() - start).toBeLessThan(8000);
  });
});

describe('treat', () => {
  const image = { width: 40, height: 36, data: syntheticFace(1, 2, 3, 40).slice(0, 40 * 36 * 3) };
  it('does what the preparation scripts do, and leaves the picture alone', () => {
    const before = image.data.slice();
    const key = keyOf(9);
    expect(treat(image, 'keep', key)).toEqual(image);
    expect(treat(image, 'open', key)).toEqual(opening(image, 5));
    expect(treat(image, 'gaussian', key)).toEqual(gaussianNoise(image, 0.01, key));
    expect(treat(image, 'saltPepper', key)).toEqual(saltPepper(image, 0.05, key));
    for (const kind of kinds.slice(1)) {
      const out = treat(image, kind, key);
      expect([out.width, out.height, out.data.length]).toEqual([40, 36, image.data.length]);
      expect(out.data).not.toEqual(before);
      expect(treat(image, kind, key)).toEqual(out);
    }
    expect(image.data).toEqual(before);
  });
  it('chains differently for each key, on pictures of any size', () => {
    const seen = new Set(numbers(40).map((seed) => Buffer.from(chain(image, keyOf(seed)).data).toString('base64')));
    expect(seen.size).toBe(40);
    for (const [width, height] of [
      [1, 1],
      [2, 5],
      [112, 3],
    ] as const)
      for (let seed = 0; seed < 12; seed++)
        expect(
          chain({ width, height, data: new Uint8Array(width * height * 3).fill(90) }, keyOf(seed)).data.length,
        ).toBe(width * height * 3);
  });
  it('chains within the ranges that it states', () => {
    const grey = { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).fill(127) };
    const means = numbers(200).map((seed) => chain(grey, keyOf(seed)).data.reduce((a, b) => a + b, 0) / (32 * 32 * 3));
    // levels are halved to doubled about the middle, a sixth at most of them black
    expect(Math.min(...means)).toBeGreaterThanOrEqual(0);
    expect(Math.min(...means)).toBeLessThan(70);
    expect(Math.max(...means)).toBeGreaterThan(170);
    const middle = means.reduce((a, b) => a + b) / means.length;
    expect(middle).toBeGreaterThan(95);
    expect(middle).toBeLessThan(145);
  });
});
