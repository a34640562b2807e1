/**
 * What the layouts of MobileFaceNet share: its options read off the shapes of its units.
 *
 * A unit says its inputs, its width and its outputs. The three units of stride 2 stand out: the first is the first, the
 * second widens the map, the third is four times as wide inside as the table's second number (Chen et al. 2018, table 1).
 */
import { DataError } from '../../core/errors.ts';
import { agree, shapeOf, type Tensors } from './layout.ts';

export interface Unit {
  readonly inputs: number;
  readonly wide: number;
  readonly outputs: number;
}

/** By the names of a unit's first and last convolution. */
export function unitAt(tensors: Tensors, expand: string, project: string, source: string): Unit {
  const [wide, inputs] = shapeOf(tensors, expand, 4, source);
  const [outputs] = shapeOf(tensors, project, 4, source);
  return { inputs: inputs!, wide: wide!, outputs: outputs! };
}

/** Units of equal shape in stages 2 to 4, from the list of all units from the first strided one on. */
export function stageCounts(units: readonly Unit[], source: string): [number, number, number] {
  const second = units.findIndex((u) => u.outputs !== u.inputs);
  const third = units.findIndex((u, i) => i > second && u.wide === 2 * units[second]!.wide);
  if (second < 1 || third < 0)
    throw new DataError(
      `${source}: expected the three strided units of MobileFaceNet among ${units.length}, got other widths\nIts table differs from the paper's: convert it as a graph, for example from ONNX.`,
    );
  return [second - 1, third - second - 1, units.length - third - 1];
}

/** The options that all share. `first` is the first strided unit. */
export function sharedOptions(
  tensors: Tensors,
  first: Unit,
  names: { readonly globalDepthwise: string; readonly embedding: string },
  source: string,
): { embeddingSize: number; inputSize: readonly [number, number]; width: number; scale: number } {
  const [channels, , kh, kw] = shapeOf(tensors, names.globalDepthwise, 4, source);
  const embeddingSize = tensors.get(names.embedding)?.shape[0];
  if (!embeddingSize || !kh || !kw)
    throw new DataError(`${source}: expected ${names.embedding}, got none\nIt is another network, or part of one.`);
  const narrow = first.wide / 2;
  agree(source, 'channels before the global layer', 8 * narrow, channels);
  return { embeddingSize, inputSize: [16 * kh, 16 * kw], width: narrow / 64, scale: first.inputs / narrow };
}
