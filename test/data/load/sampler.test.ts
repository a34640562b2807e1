import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { syntheticSet } from '../../../datasets/synthetic.ts';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import { fold, keyOf, permutation } from '../../../src/core/random.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { createLoader } from '../../../src/data/load/loader.ts';
import { identityBalanced, shuffled } from '../../../src/data/load/sampler.ts';
import { labelsOf, peopleOf } from '../../../src/data/people.ts';

/** A set with these labels and no pictures behind them. */
const labelled = (labels: readonly number[], classes = Math.max(-1, ...labels) + 1): Dataset => ({
  name: 'labelled',
  classes,
  length: labels.length,
  label: (i) => labels[i]!,
  identityName: (l) => `p${l}`,
  imageName: (i) => `${i}.png`,
  source: () => ({ kind: 'synthetic', seed: 1, identity: 0, image: 0, size: 8 }),
});
const someLabels = fc.array(fc.integer({ min: -1, max: 6 }), { minLength: 1, maxLength: 60 });

describe('peopleOf', () => {
  it('groups every labelled image once, in the order given', () => {
    fc.assert(
      fc.property(someLabels, fc.boolean(), (list, mixed) => {
        const set = labelled(list, 8);
        const labels = labelsOf(set);
        const order = mixed ? permutation(keyOf(list.length), list.length) : undefined;
        const { starts, images } = peopleOf(labels, 8, order);
        const all = order ? [...order] : list.map((_, i) => i);
        for (let l = 0; l < 8; l++)
          expect([...images.subarray(starts[l], starts[l + 1])]).toEqual(all.filter((i) => list[i] === l));
        expect(starts[8]).toBe(list.filter((l) => l >= 0).length);
      }),
    );
  });
  it('refuses labels without a person', () => {
    expect(() => labelsOf(labelled([0, 3], 3))).toThrow(DataError);
    expect(() => labelsOf(labelled([0, 3], 3))).toThrow(/^labelled: .* got 3 of image 1\n/);
    expect(() => labelsOf(labelled([0, -2], 3))).toThrow(DataError);
    expect(() => labelsOf(labelled([0.5], 3))).toThrow(DataError);
  });
});

describe('shuffled', () => {
  it('keeps the order of earlier runs', () => {
    const sampler = shuffled(labelled([0, 0, 1, 1, 1]), keyOf(7));
    expect(sampler.length).toBe(5);
    for (const epoch of [0, 3])
      expect(sampler.order(epoch)).toEqual(permutation(fold(fold(keyOf(7), 'order'), epoch), 5));
  });
});

describe('identityBalanced', () => {
  it('gives batches of P different people with K pictures each, evenly', () => {
    fc.assert(
      fc.property(
        someLabels,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(1000),
        (list, people, images, epoch) => {
          const set = labelled(list, 9);
          const present = new Set(list.filter((l) => l >= 0));
          if (present.size < people) {
            expect(() => identityBalanced(set, { people, images }, keyOf(1))).toThrow(UsageError);
            return;
          }
          const sampler = identityBalanced(set, { people, images }, keyOf(1));
          const count = list.filter((l) => l >= 0).length;
          const batches = Math.max(1, Math.floor(count / (people * images)));
          expect(sampler.length).toBe(batches * people * images);
          const order = [...sampler.order(epoch)];
          expect(order).toHaveLength(sampler.length);
          expect([...sampler.order(epoch)]).toEqual(order);
          const turns = new Map<number, number>();
          for (let b = 0; b < batches; b++) {
            const batch = order.slice(b * people * images, (b + 1) * people * images);
            const inBatch = new Set<number>();
            for (let p = 0; p < people; p++) {
              const of = batch.slice(p * images, (p + 1) * images);
              const label = list[of[0]!]!;
              expect(label).toBeGreaterThanOrEqual(0);
              expect(of.every((i) => list[i] === label)).toBe(true);
              expect(inBatch.has(label)).toBe(false);
              inBatch.add(label);
              turns.set(label, (turns.get(label) ?? 0) + 1);
              // all different where the person has enough, every one where not
              const has = list.filter((l) => l === label).length;
              expect(new Set(of).size).toBe(Math.min(images, has));
            }
          }
          // a round leaves out fewer people than a batch holds, so two people differ by at most the rounds begun
          const rounds = Math.ceil(batches / Math.floor(present.size / people));
          const counts = [...present].map((l) => turns.get(l) ?? 0);
          expect(Math.max(...counts)).toBeLessThanOrEqual(rounds);
          if (present.size % people === 0) expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        },
      ),
      { numRuns: 300 },
    );
  });
  it('takes all pictures of a person before any comes again within an epoch', () => {
    const list = [...Array(12).fill(0), ...Array(12).fill(1)];
    const order = [...identityBalanced(labelled(list), { people: 2, images: 4 }, keyOf(3)).order(0)];
    expect(order.sort((a, b) => a - b)).toEqual(list.map((_, i) => i));
  });
  it('differs by epoch and key', () => {
    const set = labelled(Array.from({ length: 40 }, (_, i) => i % 8));
    const of = (seed: number, epoch: number) =>
      identityBalanced(set, { people: 4, images: 2 }, keyOf(seed)).order(epoch).join();
    expect(new Set([of(1, 0), of(1, 1), of(2, 0), of(2, 1)]).size).toBe(4);
  });
  it('refuses impossible numbers', () => {
    const set = labelled([0, 0, 1]);
    for (const [people, images] of [
      [0, 1],
      [1, 0],
      [1.5, 1],
      [3, 1],
    ] as const)
      expect(() => identityBalanced(set, { people, images }, keyOf(1))).toThrow(UsageError);
  });
  it('orders millions of pictures', () => {
    const n = 1_000_000;
    const big: Dataset = { ...labelled([]), classes: 10_000, length: n, label: (i) => i % 10_000 };
    const sampler = identityBalanced(big, { people: 64, images: 4 }, keyOf(1));
    const start = performance.now();
    const order = sampler.order(0);
    expect(order).toHaveLength(Math.floor(n / 256) * 256);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('createLoader with a sampler', () => {
  const set = syntheticSet({ identities: 6, imagesPerIdentity: 3, size: 16 });
  const options = { dataset: set, batch: 8, size: [16, 16] as const, key: keyOf(5), sampler: { people: 2, images: 4 } };
  it('gives such batches, and the same after resuming', async () => {
    const loader = createLoader({ ...options, workers: 0 });
    expect(loader.stepsPerEpoch).toBe(2);
    const batches = [];
    for (let i = 0; i < 5; i++) batches.push(await loader.next());
    for (const { labels } of batches) {
      const [a, b] = [labels[0]!, labels[4]!];
      expect(a).not.toBe(b);
      expect([...labels]).toEqual([a, a, a, a, b, b, b, b]);
    }
    expect(batches.map((b) => b.epoch)).toEqual([0, 0, 1, 1, 2]);
    const resumed = createLoader({ ...options, workers: 1 });
    resumed.seek(3);
    expect(await resumed.next()).toEqual(batches[3]);
    expect(await resumed.next()).toEqual(batches[4]);
    await Promise.all([loader.close(), resumed.close()]);
  });
  it('wants the batch to be their product', () => {
    expect(() => createLoader({ ...options, batch: 9 })).toThrow(UsageError);
    expect(() => createLoader({ ...options, batch: 9 })).toThrow(/2 people with 4 pictures each, got 9\n/);
  });
});
