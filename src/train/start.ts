/**
 * Starting a run from weights: fine-tuning, the head swapped where people or loss changed, and teachers.
 *
 * The one idea: a checkpoint is read as what it is used for, so of a run with averaged weights the averages are taken.
 */
import { sameShape, showShape } from '../core/shape.ts';
import type { Variable } from '../core/tensor.ts';
import { inferenceState, networkOf, storedPreprocessing } from '../models/index.ts';
import type { FaceNetwork, Preprocessing } from '../models/network.ts';
import { loadState, type State, variablesOf } from '../nn/module.ts';
import { expectArchitecture, readCheckpoint } from './checkpointFile.ts';
import type { Recipe } from './recipe.ts';
import type { Trainable } from './trainable.ts';

/** Pictures are prepared as they were for the weights, but for what the recipe says itself; the input size is the run's own. */
export function prepareAs({ network }: Trainable, { preprocessing }: Recipe, stored: Partial<Preprocessing>): void {
  const own = network.preprocessing;
  network.preprocessing = { ...own, ...stored, ...(preprocessing as Partial<Preprocessing>), inputSize: own.inputSize };
}

/** What of a state fits these variables, and what of them is missing or of another shape. */
function fitting(variables: readonly Variable[], state: State) {
  const fits: Variable[] = [];
  const others: string[] = [];
  for (const v of variables) {
    const s = state.get(v.name);
    if (s && sameShape(s.shape, v.shape)) fits.push(v);
    else others.push(`${v.name} ${showShape(v.shape)}${s ? `, in the weights ${showShape(s.shape)}` : ', missing'}`);
  }
  return { fits, others };
}

/**
 * Fills the network, and the head where it fits, from the weights that `recipe.from` names. All else keeps the numbers
 * that `initialize` gave. Tells in words what was taken.
 * @throws DataError for weights of another network, or that lack tensors of it unless the recipe says `fromMissing: fresh`
 */
export async function startFrom(t: Trainable, recipe: Recipe, note: (text: string) => void): Promise<void> {
  const path = recipe.from;
  if (path === undefined) return;
  const checkpoint = await readCheckpoint(path);
  expectArchitecture(checkpoint, t.network.architecture, path);
  const { tensors, metadata } = checkpoint;
  const state = inferenceState(tensors, metadata);
  const own = variablesOf(t.network);
  const { fits, others } = fitting(own, state);
  if (others.length && recipe.fromMissing === 'error')
    // Lists them all by name.
    loadState(own, state, `${path} (--fromMissing fresh lets these start anew)`, { allowExtra: true });
  loadState(fits, state, path, { allowExtra: true });
  prepareAs(t, recipe, storedPreprocessing(metadata, path));
  const head = variablesOf(t.head);
  const sameHead = headName(metadata) === recipe.head.name && fitting(head, tensors).others.length === 0;
  if (sameHead && recipe.fromHead === 'auto') loadState(head, tensors, path, { allowExtra: true });
  note(
    [
      `${fits.length} of ${own.length} tensors of the network from ${path}`,
      ...(others.length ? [`new: ${others.join('; ')}`] : []),
      sameHead && recipe.fromHead === 'auto'
        ? 'the head, too'
        : `a new head (${recipe.head.name}, ${t.head.options.classes} people)`,
    ].join('; '),
  );
}

function headName(metadata: Readonly<Record<string, string>>): string | undefined {
  try {
    return (JSON.parse(metadata.head ?? '{}') as { name?: string }).name;
  } catch {
    return undefined;
  }
}

/** The teacher that a recipe names; undefined where it names none. */
export async function teacherOf({ distillation }: Recipe): Promise<FaceNetwork | undefined> {
  const path = distillation.teacher;
  if (path === undefined) return undefined;
  const { tensors, metadata } = await readCheckpoint(path);
  const network = networkOf(metadata, path);
  loadState(variablesOf(network), inferenceState(tensors, metadata), path, { allowExtra: true });
  return network;
}
