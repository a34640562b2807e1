/** Augmentation in the loader: whatever the workers, the cache and the place it resumes at, the same pictures. */
import { describe, expect, it } from 'vitest';
import { syntheticFace, syntheticSet } from '../../../datasets/synthetic.ts';
import { UsageError } from '../../../src/core/errors.ts';
import { fold, keyOf, uniformAt } from '../../../src/core/random.ts';
import { type Batch, createLoader, type LoaderOptions } from '../../../src/data/load/loader.ts';
import { type AugmentSpec, augment, parseAugment } from '../../../src/image/augment.ts';
import { mirror } from '../../../src/image/filters.ts';
import type { RgbImage } from '../../../src/image/jpeg.ts';

const key = keyOf(11);
const set = syntheticSet({ identities: 7, imagesPerIdentity: 3, size: 16 });
// Every operation at once.
const spec: AugmentSpec = { ...parseAugment('strong'), cutout: 5, saltPepper: 0.1, dropBlock: 0.2, sharpen: 0.5 };
const plain = { dataset: set, batch: 4, size: [16, 16] as const, key, flip: true };

async function batches(options: LoaderOptions, n: number, from = 0): Promise<Batch[]> {
  const loader = createLoader(options);
  loader.seek(from);
  const all: Batch[] = [];
  for (let i = 0; i < n; i++) all.push(await loader.next());
  await loader.close();
  return all;
}

describe('the loader with augmentation', () => {
  it('gives the same batches with any workers, look-ahead and cache', async () => {
    const want = await batches({ ...plain, augment: spec, workers: 0, cacheBytes: 0 }, 12);
    for (const [workers, ahead, cacheBytes] of [
      [0, 2, 1e6],
      [1, 0, 0],
      [3, 3, 16 * 16 * 3 * 10],
    ] as const)
      expect(await batches({ ...plain, augment: spec, workers, ahead, cacheBytes }, 12), `${workers}`).toEqual(want);
    // the cache was filled in the first epoch and not changed by what was drawn on it
    expect(await batches({ ...plain, augment: spec, workers: 1 }, 2, 10)).toEqual(want.slice(10));
  });
  it('mirrors first, then draws by epoch and position', async () => {
    const [got] = await batches({ ...plain, augment: spec, workers: 0 }, 1, 7);
    const [still] = await batches({ ...plain, flip: false, workers: 0 }, 1, 7);
    expect(got!.labels).toEqual(still!.labels);
    const epoch = 1;
    const first = 2 * 4;
    for (let row = 0; row < 4; row++) {
      const part = (b: Batch) => b.images.slice(row * 768, (row + 1) * 768);
      let image: RgbImage = { width: 16, height: 16, data: part(still!) };
      if (uniformAt(fold(fold(key, 'flip'), epoch), first + row) < 0.5) image = mirror(image);
      const drawn = augment(image, spec, fold(fold(fold(key, 'augment'), epoch), first + row));
      expect(part(got!)).toEqual(drawn.data);
    }
  });
  it('draws anew in each epoch', async () => {
    const one = syntheticSet({ identities: 1, imagesPerIdentity: 1, size: 16 });
    const all = await batches({ dataset: one, batch: 1, size: [16, 16], key, augment: { rotate: [20, 1] } }, 5);
    expect(new Set(all.map((b) => Buffer.from(b.images).toString('hex'))).size).toBe(5);
    const none = await batches({ dataset: one, batch: 1, size: [16, 16], key, augment: {} }, 3);
    for (const b of none) expect(Buffer.from(b.images).equals(syntheticFace(1, 0, 0, 16))).toBe(true);
  });
  it('refuses specs that cannot be, before it starts', () => {
    expect(() => createLoader({ ...plain, augment: { rotate: -1 } })).toThrow(UsageError);
  });
});
