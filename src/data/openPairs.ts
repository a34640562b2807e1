/** Pairs to verify on, from whatever holds them (Node): a pairs file over a data set, or a set with pairs of its own. */
import { UsageError } from '../core/errors.ts';
import type { PairSet } from './dataset.ts';
import { formatOf, openDataset } from './open.ts';
import { contiguousFolds } from './pairs.ts';
import { readPairTable } from './readPairs.ts';

/**
 * @param from `pairs`: a pairs file, whose pictures are those of the set `images`; or a set with pairs, without `images`.
 * `images` alone: a set with pairs.
 * @throws UsageError where nothing, or a set without pairs, is named; DataError naming file and line
 */
export async function pairsOf({
  images,
  pairs,
}: {
  readonly images?: string | undefined;
  readonly pairs?: string | undefined;
}): Promise<PairSet> {
  if (images !== undefined && pairs !== undefined) {
    const itself = await formatOf(pairs).catch(() => undefined);
    if (itself?.name === 'verification' || itself?.name === 'packed')
      throw new UsageError(
        `${pairs}: expected a pairs file over ${images}, but this is a set that holds its own images\nName it alone, without a set of images.`,
      );
    const set = await openDataset(images);
    return { name: pairs, images: set, pairs: readPairTable(pairs, set) };
  }
  const path = images ?? pairs;
  if (path === undefined)
    throw new UsageError(
      'pairs: expected a pairs file and its images, or a verification set, got neither\nExample: --images lfw --pairs lfw/pairs.txt, or --pairs lfw.bin.',
    );
  const format = await formatOf(path);
  if (format.name === 'list')
    throw new UsageError(
      `${path}: expected a set that holds pairs with their images, but this is a text file\nName the set of its images besides: --images (in training --evalImages).`,
    );
  const set = await format.open(path);
  if (!set.pairs)
    throw new UsageError(
      `${path}: expected a set that holds pairs, but this ${format.name} holds none\nName both --images and --pairs.`,
    );
  return { name: path, images: set, pairs: set.pairs };
}

/** The same pairs in `folds` contiguous folds: for sets whose file holds no folds, such as a part of LFW as a .bin. */
export function refolded(set: PairSet, folds: number): PairSet {
  const { pairs } = set;
  return { ...set, pairs: { ...pairs, folds, fold: contiguousFolds(pairs.left.length, folds) } };
}
