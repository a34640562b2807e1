/**
 * A state's tensors into a network: axes put in our order, and every difference named.
 *
 * Axes: PyTorch and MXNet have OIHW and [out, in], TensorFlow and Keras HWIO (depthwise HWC1) and [in, out]. Where a dense
 * layer takes a flattened map, PyTorch's inputs come in the order C, H, W, ours in the order H, W, C.
 */
import type { Data } from '../../core/dtype.ts';
import { DataError } from '../../core/errors.ts';
import { sameShape } from '../../core/shape.ts';
import type { Variable } from '../../core/tensor.ts';
import { permuted } from '../../models/graph/channelsFirst.ts';
import { initialize, type Module, variablesOf } from '../../nn/module.ts';
import type { Convention } from '../format.ts';
import type { HostTensor } from '../safetensors.ts';
import type { Tensors } from './layout.ts';

/** 'own' is facegrad's. */
export type Axes = Convention | 'own';

/** The shape that a variable of ours has in a file of that convention. */
function theirShape(shape: readonly number[], axes: Axes): readonly number[] {
  if (axes === 'pytorch' || axes === 'mxnet') {
    if (shape.length === 4) return [shape[3]!, shape[2]!, shape[0]!, shape[1]!];
    if (shape.length === 2) return [shape[1]!, shape[0]!];
  }
  return shape;
}

/** Axes of size 1 say nothing. */
const real = (shape: readonly number[]) => shape.filter((d) => d !== 1);

/** Numbers for a variable of that shape; undefined where the tensor does not fit. */
export function fitted(
  tensor: HostTensor,
  shape: readonly number[],
  axes: Axes,
  map?: readonly [number, number],
): Data | undefined {
  if (tensor.dtype !== 'f32') return undefined;
  // One slope for all channels.
  if (shape.length === 1 && tensor.data.length === 1) return new Float32Array(shape[0]!).fill(tensor.data[0]!);
  const theirs = theirShape(shape, axes);
  // A dense layer may be a 1x1 convolution, and a depthwise one have its channels before or after the 1.
  if (!sameShape(real(tensor.shape), real(theirs))) return undefined;
  if (axes !== 'pytorch' && axes !== 'mxnet') return tensor.data.slice() as Data;
  if (shape.length === 2 && map) {
    const [h, w] = map;
    const [inputs, outputs] = shape as [number, number];
    const channels = inputs / (h * w);
    if (!Number.isInteger(channels)) return undefined;
    return permuted({ ...tensor, shape: [outputs, channels, h, w] }, [2, 3, 1, 0]).data;
  }
  if (shape.length === 4) return permuted({ ...tensor, shape: theirs }, [2, 3, 1, 0]).data;
  if (shape.length === 2) return permuted({ ...tensor, shape: theirs }, [1, 0]).data;
  return tensor.data.slice() as Data;
}

/** Which tensor of the file a variable is. */
export interface Place {
  readonly variable: Variable;
  readonly name: string;
  readonly map?: readonly [number, number] | undefined;
  /** Fills the variable where the file has no such tensor. */
  readonly absent?: number | undefined;
}

export interface Loaded {
  readonly loaded: number;
  readonly missing: string[];
  readonly unexpected: string[];
  readonly notes: string[];
}

/**
 * Writes a state into a network.
 * @param title what errors call the network: a layout or an architecture
 * @throws DataError listing every difference, unless `lenient`; nothing is written then
 */
export function load(
  network: Module,
  places: readonly Place[],
  tensors: Tensors,
  {
    axes,
    ignored,
    lenient,
    title,
    source,
  }: {
    readonly axes: Axes;
    readonly ignored?: RegExp | undefined;
    readonly lenient: boolean;
    readonly title: string;
    readonly source: string;
  },
): Loaded {
  const missing: string[] = [];
  const wrong: string[] = [];
  const used = new Set<string>();
  const found: [Variable, Data][] = [];
  const filled: [Variable, number][] = [];
  for (const { variable, name, map, absent } of places) {
    const tensor = tensors.get(name);
    used.add(name);
    if (!tensor) {
      if (absent === undefined) missing.push(name);
      else filled.push([variable, absent]);
      continue;
    }
    const data = fitted(tensor, variable.shape, axes, map);
    if (data) found.push([variable, data]);
    else
      wrong.push(`${name}: expected f32 [${theirShape(variable.shape, axes)}], got ${tensor.dtype} [${tensor.shape}]`);
  }
  const unexpected = [...tensors.keys()].filter((n) => !used.has(n) && !ignored?.test(n));
  if (!lenient && missing.length + wrong.length + unexpected.length)
    throw new DataError(
      `${source}: expected the ${places.length} tensors of ${title}, but ${missing.length} are missing, ${wrong.length} have another shape and ${unexpected.length} are not its\n${[
        ...listed(wrong, ''),
        ...listed(missing, 'missing '),
        ...listed(unexpected, 'unexpected '),
      ].join('\n')}\nIt is another network, or one with other options: name them, or take what fits (lenient).`,
    );
  if (found.length === 0)
    throw new DataError(
      `${source}: expected the tensors of ${title}, got none that fits\nIt is another network: name its layout or architecture.`,
    );
  if (lenient && found.length < variablesOf(network).length) initialize(network, 0);
  for (const [variable, data] of found) variable.write(data);
  for (const [variable, value] of filled) variable.write(new Float32Array(variable.size).fill(value));
  return { loaded: found.length, missing, unexpected, notes: wrong.map((w) => `left out, of another shape: ${w}`) };
}

/** Names as lines, all of them where a file is nearly the network's; of others a beginning tells enough. */
export const listed = (names: readonly string[], before: string, most = 1000): string[] => [
  ...names.slice(0, most).map((n) => `  ${before}${n.length > 200 ? `${n.slice(0, 197)}...` : n}`),
  ...(names.length > most ? [`  … and ${names.length - most} more ${before}`.trimEnd()] : []),
];
