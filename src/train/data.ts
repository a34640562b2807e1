/**
 * From a recipe to its data: real pictures where a path is given, synthetic people otherwise.
 */
import { syntheticPairs, syntheticSet } from '../../datasets/synthetic.ts';
import type { Dataset, PairSet } from '../data/dataset.ts';
import { openDataset } from '../data/open.ts';
import { pairsOf } from '../data/openPairs.ts';
import { readPicture } from '../data/readImage.ts';
import { hasTemplate } from '../image/align.ts';
import { enoughPictures, looksAligned, looksAlignedSet } from '../image/alignedCheck.ts';
import type { Recipe } from './recipe.ts';

/** The set to train on: any format that is known, or synthetic people. Throws DataError naming the path. */
export async function trainingData({ data, seed, identities, imagesPerIdentity, inputSize }: Recipe): Promise<Dataset> {
  if (data === undefined) return syntheticSet({ seed, identities, imagesPerIdentity, size: Math.max(...inputSize) });
  return openDataset(data);
}

/** The pairs to evaluate on; undefined where there are none. Synthetic pairs are of people that no training set holds. */
export async function evaluationPairs(recipe: Recipe): Promise<PairSet | undefined> {
  const { evalPairs, evalImages, evalIdentities, data, seed, inputSize } = recipe;
  if (evalPairs !== undefined || evalImages !== undefined) return pairsOf({ images: evalImages, pairs: evalPairs });
  if (evalIdentities === 0 || data !== undefined) return undefined;
  const folds = Math.min(10, Math.floor(evalIdentities / 2));
  return syntheticPairs({
    seed,
    folds,
    identitiesPerFold: Math.floor(evalIdentities / folds),
    imagesPerIdentity: 6,
    pairsPerFold: 30,
    size: Math.max(...inputSize),
  });
}

/** A warning where pictures spread over a set do not look like aligned face crops; unreadable ones are left to the loader. */
export async function alignmentDoubt(set: Dataset, size: readonly [number, number]): Promise<string | undefined> {
  const scores: number[] = [];
  const count = Math.min(enoughPictures, set.length);
  for (let k = 0; k < count && hasTemplate(size); k++) {
    const source = set.source(Math.floor((k * set.length) / count));
    if (source.kind === 'synthetic') return undefined;
    const image = await readPicture(source).catch(() => undefined);
    if (image) scores.push(looksAligned(image, size).score);
  }
  const { aligned, why } = looksAlignedSet(scores);
  return aligned ? undefined : `${why}; facegrad prepare --align makes such crops from five points`;
}
