/**
 * From a recipe to its data: real pictures where a path is given, synthetic people otherwise.
 */
import { syntheticPairs, syntheticSet } from '../../datasets/synthetic.ts';
import type { Dataset, PairSet } from '../data/dataset.ts';
import { openDataset } from '../data/open.ts';
import { pairsOf } from '../data/openPairs.ts';
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
