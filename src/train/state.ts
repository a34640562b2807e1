/**
 * What a training checkpoint holds: every variable, and in words the network, its preprocessing, the recipe and how far
 * the run is. Nothing in it depends on time, threads or how often the run was interrupted.
 */
import { DataError } from '../core/errors.ts';
import { describeNetwork, storedPreprocessing } from '../models/index.ts';
import { loadState, stateOf } from '../nn/module.ts';
import type { PlateauState } from '../optim/plateau.ts';
import type { Checkpoint } from './checkpointFile.ts';
import { type Recipe, type RecipeChanges, savedRecipe } from './recipe.ts';
import { prepareAs } from './start.ts';
import type { Trainable } from './trainable.ts';

/** Outcome of one evaluation. The cosine threshold is that of the unit vectors of single embeddings. */
export interface Evaluation {
  readonly step: number;
  /** The set's name in the recipe. */
  readonly set?: string;
  readonly data: string;
  readonly pairs: number;
  readonly protocol: string;
  readonly flip: string;
  readonly accuracy: number;
  readonly std: number;
  readonly threshold: number;
  readonly metric: 'squaredL2' | 'cosine';
}

/** How far a run is. */
export interface Progress {
  /** Steps done: the next batch is that of this number. */
  readonly step: number;
  readonly classes: number;
  readonly images: number;
  /** The latest evaluation of the first set, which thresholds are taken from. */
  readonly last?: Evaluation;
  /** The best mean accuracy over all sets. */
  readonly best?: { readonly step: number; readonly accuracy: number };
  /** Losses since the last evaluation. */
  readonly interval?: { readonly sum: number; readonly steps: number };
  /** Sums of figures over the steps since the last line of the log. */
  readonly logged?: { readonly steps: number; readonly sums: Readonly<Record<string, number>> };
  readonly plateau?: PlateauState;
  readonly earlyStop?: { readonly best: number | null; readonly bad: number };
}

/** The whole state of a run, ready to write. */
export async function checkpointOf(
  t: Trainable,
  recipe: Recipe,
  progress: Progress,
  kernelMode: string,
): Promise<Checkpoint> {
  const tensors = await stateOf(t.variables);
  const { network, head } = t;
  return {
    tensors: new Map(tensors),
    metadata: {
      ...describeNetwork(network),
      revision: '1',
      head: JSON.stringify({ name: recipe.head.name, ...head.options }),
      recipe: JSON.stringify(recipe),
      seed: String(recipe.seed),
      progress: JSON.stringify(progress),
      kernelMode,
      ...(t.average ? { averaged: 'true' } : {}),
      ...(progress.last ? { verification: JSON.stringify(progress.last) } : {}),
    },
  };
}

function field<T>(c: Checkpoint, key: string, path: string): T {
  const s = c.metadata[key];
  try {
    if (s === undefined) throw new Error('it is missing');
    return JSON.parse(s) as T;
  } catch (e) {
    throw new DataError(
      `${path}: expected '${key}' in the checkpoint's metadata, but ${(e as Error).message}\nGive a checkpoint that 'facegrad train' wrote.`,
    );
  }
}

export interface Resumed {
  readonly recipe: Recipe;
  readonly progress: Progress;
  readonly kernelMode: string;
}

/** Reads what is in words; the numbers follow with `restore`. */
export function resumedFrom(c: Checkpoint, path: string, changes: RecipeChanges = {}): Resumed {
  if (c.metadata.recipe === undefined)
    throw new DataError(
      `${path}: expected a checkpoint of a training run, but it holds no recipe\nTo start from its weights, train with --from ${path}.`,
    );
  return {
    recipe: savedRecipe(c.metadata.recipe, `${path}: recipe`, changes),
    progress: field<Progress>(c, 'progress', path),
    kernelMode: c.metadata.kernelMode ?? '',
  };
}

/** Writes a checkpoint's numbers, and how its pictures are prepared, into a run. Throws DataError listing tensors that do not fit. */
export function restore(c: Checkpoint, t: Trainable, recipe: Recipe, path: string): void {
  prepareAs(t, recipe, storedPreprocessing(c.metadata, path));
  try {
    loadState(t.variables, c.tensors, path);
  } catch (e) {
    if (!(e instanceof DataError)) throw e;
    const [first = '', ...rest] = e.message.split('\n');
    throw new DataError(
      [
        first.replace('of this network', 'of this run'),
        ...rest.slice(0, -1),
        `Go on with the options of the run, or start a new one from its weights: --from ${path}.`,
      ].join('\n'),
      { cause: e },
    );
  }
}
