/**
 * From a recipe to its data: real pictures where a path is given, synthetic people otherwise.
 */
import { syntheticPairs, syntheticSet } from '../../datasets/synthetic.ts';
import type { Dataset, PairSet } from '../data/dataset.ts';
import { openDataset } from '../data/open.ts';
import { pairsOf, refolded } from '../data/openPairs.ts';
import { concat } from '../data/prepare/combine.ts';
import { readPicture } from '../data/readImage.ts';
import { hasTemplate } from '../image/align.ts';
import { enoughPictures, looksAligned, looksAlignedSet } from '../image/alignedCheck.ts';
import type { Recipe } from './recipe.ts';

/** [height, width] of the network's input. */
export const inputSizeOf = (recipe: Recipe): readonly [number, number] =>
  recipe.model.inputSize as readonly [number, number];

/** The set to train on: any formats that are known, several joined, or synthetic people. Throws DataError naming the path. */
export async function trainingData(recipe: Recipe): Promise<Dataset> {
  const { data, seed, identities, imagesPerIdentity, mergeIdentities } = recipe;
  if (data === undefined)
    return syntheticSet({ seed, identities, imagesPerIdentity, size: Math.max(...inputSizeOf(recipe)) });
  if (typeof data === 'string') return openDataset(data);
  const sets: Dataset[] = [];
  for (const path of data) sets.push(await openDataset(path));
  return sets.length === 1 ? sets[0]! : concat(sets, { mergeIdentities });
}

/** A verification set under the name that the recipe gives it. */
export interface ValidationSet {
  readonly name: string;
  readonly pairs: PairSet;
}

/** A set as a recipe gives it; `folds` in place of those that it names. */
async function pairSetOf({
  pairs,
  images,
  folds,
}: {
  readonly pairs?: string | undefined;
  readonly images?: string | undefined;
  readonly folds?: number | undefined;
}): Promise<PairSet> {
  const set = await pairsOf({ images, pairs });
  return folds === undefined ? set : refolded(set, folds);
}

/**
 * The sets to evaluate on; none where there are none. Without any in the recipe and without real data it is synthetic
 * pairs, of people that no training set holds.
 */
export async function validationSets(recipe: Recipe): Promise<ValidationSet[]> {
  const { validation, evalIdentities, data, seed } = recipe;
  const sets: ValidationSet[] = [];
  for (const [name, source] of Object.entries(validation))
    sets.push({
      name,
      pairs: await pairSetOf(typeof source === 'string' ? { pairs: source } : source),
    });
  if (sets.length || evalIdentities === 0 || data !== undefined) return sets;
  const folds = Math.min(10, Math.floor(evalIdentities / 2));
  const pairs = syntheticPairs({
    seed,
    folds,
    identitiesPerFold: Math.floor(evalIdentities / folds),
    imagesPerIdentity: 6,
    pairsPerFold: 30,
    size: Math.max(...inputSizeOf(recipe)),
  });
  return [{ name: 'synthetic', pairs }];
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
