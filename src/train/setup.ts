/** What every run begins with, from a recipe: the data, what is trained, the batches, and how long it goes. */
import { DataError, UsageError } from '../core/errors.ts';
import { fold, keyOf } from '../core/random.ts';
import type { Dataset } from '../data/dataset.ts';
import { createLoader, epochOf, type Loader, type LoaderOptions } from '../data/load/loader.ts';
import { parseAugment } from '../image/augment.ts';
import { initialize } from '../nn/module.ts';
import { readCheckpoint } from './checkpointFile.ts';
import { trainingData } from './data.ts';
import type { Recipe } from './recipe.ts';
import { fromWeights } from './recipeFields.ts';
import { readyRecipes } from './recipes.ts';
import { teacherOf } from './start.ts';
import { headFor, networkFor, type Trainable, termsFor, trainable } from './trainable.ts';

/** Steps of an epoch of a set taken in any order. Throws DataError where the data does not fill one batch. */
function stepsPerEpochOf(recipe: Recipe, data: Pick<Dataset, 'length' | 'name'>): number {
  const perEpoch = Math.floor(data.length / recipe.batch);
  if (perEpoch < 1)
    throw new DataError(
      `${data.name}: expected at least one batch of ${recipe.batch} pictures, got ${data.length}\nLower --batch or add pictures.`,
    );
  return perEpoch;
}

/** Steps of the whole run. Throws DataError where the data does not fill one batch. */
export const stepsOf = (
  recipe: Recipe,
  data: Pick<Dataset, 'length' | 'name'>,
  perEpoch = stepsPerEpochOf(recipe, data),
): number => recipe.maxSteps ?? recipe.epochs * perEpoch;

/** Throws DataError where a label is no class. */
export function checkLabels(data: Dataset): void {
  if (data.classes === 0)
    throw new DataError(
      `${data.name}: expected a set whose people are known, but it names none\nUse a set with a folder or a label per person.`,
    );
  for (let i = 0; i < data.length; i++) {
    const label = data.label(i);
    if (label === -1)
      throw new DataError(
        `${data.name}: expected the person of every picture, but that of ${data.imageName(i)} is not known\nLeave such pictures out: facegrad prepare --at-least 1.`,
      );
    if (!(Number.isInteger(label) && label >= 0 && label < data.classes))
      throw new DataError(
        `${data.name}: expected labels from 0 to ${data.classes - 1}, got ${label} for picture ${i}\nNumber the people without gaps.`,
      );
  }
}

/** Throws UsageError where a ready recipe lacks what only its user can give. */
export function checkNeeds(recipe: Recipe): void {
  const given = { data: recipe.data, from: recipe.from, 'distillation.teacher': recipe.distillation.teacher };
  for (const key of readyRecipes[recipe.recipe]?.needs ?? [])
    if (given[key] === undefined)
      throw new UsageError(
        `recipe ${recipe.recipe}: expected --${key} PATH, got none\nIt is for ${key === 'data' ? 'real pictures: pass a data set' : 'weights of yours: pass a checkpoint'}.`,
      );
}

export interface Setup {
  readonly data: Dataset;
  /** With the numbers that the seed gives. */
  readonly t: Trainable;
  readonly stepsPerEpoch: number;
  readonly steps: number;
  /** Batches; close it. */
  loader(): Loader;
}

/**
 * Opens the data and builds what is trained on it.
 * @throws DataError for data or weights that are not what they should be
 */
export async function setUp(
  recipe: Recipe,
  {
    workers,
    described,
  }: {
    readonly workers?: number | undefined;
    /** Metadata of the checkpoint that is gone on from, which describes the network of recipes that leave it to weights. */
    readonly described?: Readonly<Record<string, string>> | undefined;
  } = {},
): Promise<Setup> {
  checkNeeds(recipe);
  const data = await trainingData(recipe);
  checkLabels(data);
  stepsPerEpochOf(recipe, data);
  const teacher = await teacherOf(recipe);
  const leaves = recipe.model.name === fromWeights && !described && recipe.from !== undefined;
  const network = networkFor(recipe, leaves ? (await readCheckpoint(recipe.from)).metadata : described);
  const head = headFor(recipe, network, data.classes);
  const terms = termsFor(recipe, network, data.classes);
  const t = trainable(network, head, recipe, { terms, teacher });
  for (const m of [network, head, ...terms.map((x) => x.loss), ...(t.teacher ? [t.teacher.distillation] : [])])
    initialize(m, recipe.seed);
  const { people, images } = recipe.sampler;
  const batches: LoaderOptions = {
    dataset: data,
    batch: recipe.batch,
    size: network.preprocessing.inputSize,
    flip: recipe.flip,
    augment: parseAugment(recipe.augment),
    key: fold(keyOf(recipe.seed), 'data'),
    dropLast: true,
    skipBad: recipe.skipBad,
    ...(people !== undefined && images !== undefined && { sampler: { people, images } }),
    ...(workers !== undefined && { workers }),
  };
  // A sampler decides how many batches make an epoch.
  const { stepsPerEpoch } = epochOf(batches);
  return { data, t, stepsPerEpoch, steps: stepsOf(recipe, data, stepsPerEpoch), loader: () => createLoader(batches) };
}
