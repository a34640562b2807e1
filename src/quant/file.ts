/**
 * A quantised network as tensors and text, as its safetensors file holds them: weights as I8, their scales as F32, biases as
 * I32, and in the metadata the graph, the levels of its values and which nodes are quantised.
 *
 * The one idea: nothing in a file is believed. Whatever the kernels rely on (numbers of products, sizes of biases, levels that
 * are levels) is checked here, and every difference is listed by name.
 */
import { DataError } from '../core/errors.ts';
import { sameShape, showShape } from '../core/shape.ts';
import type { HostTensor } from '../core/tensor.ts';
import { storedPreprocessing } from '../models/described.ts';
import { operatorOf } from '../models/graph/network.ts';
import { checkGraph, type GraphNode } from '../models/graph/spec.ts';
import type { Preprocessing } from '../models/network.ts';
import { Int8Network } from './network.ts';
import { type Int8Model, type Levels, mostBias, mostProducts, mostWeight } from './quantize.ts';

/** Name of the architecture in metadata. */
export const int8Architecture = 'int8';

/** Tensors by name; `storage` is the element type in the file where that is another. */
export type Int8Tensors = Map<string, HostTensor & { readonly storage?: string }>;

/** What a file of the network holds, but for what makes it a checkpoint. */
export function int8State({ model, preprocessing }: Int8Network): {
  readonly tensors: Int8Tensors;
  readonly metadata: Record<string, string>;
} {
  const bytes = new Set([...model.quantised].map((path) => `layers.${path}.weight`));
  return {
    tensors: new Map(
      [...model.tensors].map(([name, t]) => [name, bytes.has(name) ? { ...t, storage: 'I8' } : { ...t }]),
    ),
    metadata: {
      architecture: int8Architecture,
      storage: 'int8',
      preprocessing: JSON.stringify(preprocessing),
      graph: JSON.stringify(checkGraph(model.spec, 'int8 network')),
      levels: JSON.stringify(Object.fromEntries([...model.levels].map(([v, l]) => [v, [l.scale, l.zero]]))),
      quantised: JSON.stringify([...model.quantised]),
    },
  };
}

/**
 * The network that tensors and metadata of a file describe.
 * @param source what errors call the file
 * @throws DataError where they are not what `int8State` gives
 */
export function int8NetworkOf(
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>>,
  source: string,
): Int8Network {
  const fail = (what: string, cause?: unknown): never => {
    throw new DataError(`${source}: ${what}\nThe file is damaged: quantise the network again.`, { cause });
  };
  const parsed = (key: string): unknown => {
    try {
      return JSON.parse(metadata[key] ?? '');
    } catch (error) {
      return fail(`its metadata '${key}' is ${metadata[key] === undefined ? 'missing' : 'not JSON'}`, error);
    }
  };
  const spec = checkGraph(parsed('graph'), source);
  const nodes = new Map(spec.nodes.map((n) => [n.path, n]));
  const paths = parsed('quantised');
  if (!Array.isArray(paths)) return fail("its metadata 'quantised' is no list");
  const wrong: string[] = [];
  for (const path of paths) {
    const node = typeof path === 'string' ? nodes.get(path) : undefined;
    if (node && (node.op === 'conv2d' || node.op === 'linear')) wrong.push(...differences(node, tensors));
    else wrong.push(`quantised: ${JSON.stringify(path)} is no convolution or dense layer`);
  }
  const levels = new Map<string, Levels>();
  for (const [value, pair] of Object.entries((parsed('levels') ?? {}) as Record<string, unknown>)) {
    const [scale, zero] = Array.isArray(pair) ? (pair as unknown[]) : [];
    if (
      !(
        typeof scale === 'number' &&
        scale >= 1e-30 &&
        scale <= 1e30 &&
        Number.isInteger(zero) &&
        0 <= +zero! &&
        +zero! <= 255
      )
    )
      wrong.push(`levels of ${value}: expected [scale, zero point], got ${JSON.stringify(pair)}`);
    else levels.set(value, { scale, zero: zero as number });
  }
  if (wrong.length) {
    const shown = wrong.slice(0, 12);
    if (wrong.length > shown.length) shown.push(`… and ${wrong.length - shown.length} more`);
    fail(`expected the numbers of an 8-bit network, but ${wrong.length} differ\n  ${shown.join('\n  ')}`);
  }
  const model: Int8Model = { spec, levels, quantised: new Set(paths as string[]), tensors };
  const [height = 1, width = 1] = spec.inputs[0]!.shape;
  const preprocessing: Preprocessing = {
    colourOrder: 'RGB',
    mean: 0,
    scale: 1,
    inputSize: [height, width],
    ...storedPreprocessing(metadata, source),
  };
  try {
    return new Int8Network(model, preprocessing, source);
  } catch (error) {
    if (error instanceof DataError) throw error;
    return fail(`its graph does not fit: ${(error as Error).message.split('\n')[0]}`, error);
  }
}

/** What is wrong with the numbers of a quantised node. */
function differences(node: GraphNode, tensors: ReadonlyMap<string, HostTensor>): string[] {
  const { attrs } = operatorOf(node) as { attrs: Record<string, unknown> };
  const { inputs, outputs, kernel, groups } = attrs as {
    inputs: number;
    outputs: number;
    kernel: readonly [number, number];
    groups: number;
  };
  const shape = node.op === 'linear' ? [inputs, outputs] : [kernel[0], kernel[1], inputs / groups, outputs];
  const products = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const expected = { weight: shape, scale: [outputs], bias: [outputs] } as const;
  const fits: Record<keyof typeof expected, (x: number) => boolean> = {
    weight: (x) => Math.abs(x) <= mostWeight,
    scale: (x) => x > 0 && x < Number.POSITIVE_INFINITY,
    // A channel that takes its bias's scale may be a unit off by rounding.
    bias: (x) => Math.abs(x) <= mostBias + 1,
  };
  const wrong: string[] = [];
  if (products > mostProducts) wrong.push(`${node.path}: expected at most ${mostProducts} products, got ${products}`);
  for (const what of ['weight', 'scale', 'bias'] as const) {
    const name = `layers.${node.path}.${what}`;
    const t = tensors.get(name);
    const dtype = what === 'scale' ? 'f32' : 'i32';
    if (!t) wrong.push(`missing ${name} ${showShape(expected[what])}`);
    else if (t.dtype !== dtype || !sameShape(t.shape, expected[what]))
      wrong.push(`${name}: expected ${dtype}${showShape(expected[what])}, got ${t.dtype}${showShape(t.shape)}`);
    else if (!t.data.every(fits[what])) wrong.push(`${name}: ${t.data.find((x) => !fits[what](x))} is out of range`);
  }
  return wrong;
}
