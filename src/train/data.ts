/**
 * From a recipe to its data: real pictures where a path is given, synthetic people otherwise.
 */
import { stat } from 'node:fs/promises';
import { syntheticPairs, syntheticSet } from '../../datasets/synthetic.ts';
import { DataError } from '../core/errors.ts';
import type { Dataset, PairSet } from '../data/dataset.ts';
import { folderDataset } from '../data/folder.ts';
import { listDataset } from '../data/list.ts';
import { readPairs } from '../data/pairs.ts';
import type { Recipe } from './recipe.ts';

/** The set to train on: a folder per person, a `path label` list, or synthetic people. Throws DataError naming the path. */
export async function trainingData({ data, seed, identities, imagesPerIdentity, inputSize }: Recipe): Promise<Dataset> {
  if (data === undefined) return syntheticSet({ seed, identities, imagesPerIdentity, size: Math.max(...inputSize) });
  const found = await stat(data).catch((e: Error) => {
    throw new DataError(
      `--data ${data}: expected a folder with a folder per person or a list file, but ${e.message}\nCheck the path.`,
    );
  });
  return found.isDirectory() ? folderDataset(data) : listDataset(data);
}

/** The pairs to evaluate on; undefined where there are none. Synthetic pairs are of people that no training set holds. */
export async function evaluationPairs(recipe: Recipe): Promise<PairSet | undefined> {
  const { evalPairs, evalImages, evalIdentities, data, seed, inputSize } = recipe;
  if (evalPairs !== undefined && evalImages !== undefined) return readPairs(evalPairs, evalImages);
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
