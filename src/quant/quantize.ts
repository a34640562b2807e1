/**
 * From a graph and the ranges of its values to 8-bit numbers: weights per output channel, activations per value.
 *
 * The one idea: only convolutions and dense layers are quantised, since they are nearly all of the work; arithmetic between
 * them runs in float32 on numbers that are read from 8 bits and written to 8 bits in the same pass. A value that is stored in
 * 8 bits means scale·(q − zero) with 0 among its levels, so that padding is exact; weights are symmetric, −127 to 127 times the
 * scale of their channel; biases are int32 in units of a product. After Jacob et al. (CVPR 2018, arXiv 1712.05877).
 */
import { UsageError } from '../core/errors.ts';
import { sizeOf } from '../core/shape.ts';
import { type HostTensor, host } from '../core/tensor.ts';
import type { Graph, GraphNode, GraphSpec } from '../models/graph/spec.ts';
import type { ValueRange } from './calibrate.ts';

/** How a value is stored: it means scale·(q − zero), q from 0 to 255. */
export interface Levels {
  readonly scale: number;
  readonly zero: number;
}

/** A quantised graph. Its numbers are by name of the variable. */
export interface Int8Model {
  readonly spec: GraphSpec;
  /** Of every value that may be stored in 8 bits. */
  readonly levels: ReadonlyMap<string, Levels>;
  /** Paths of the quantised nodes. They have `weight` (int32 from −127 to 127), `scale` (float32) and `bias` (int32). */
  readonly quantised: ReadonlySet<string>;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

export interface QuantizeOptions {
  /** Paths of nodes that stay float32. Default: none. */
  readonly keep?: readonly string[] | undefined;
}

const steps = 255;
/** Greatest weight. −128 is left out, so that a channel and its negative are quantised alike. */
export const mostWeight = 127;
/** Greatest bias in units of a product, so that with it a sum of few products stays exact in float32. */
export const mostBias = 2 ** 22;
/** Products whose sum fits 32 bits whatever they are. */
export const mostProducts = 60_000;

/** Levels over a range; 0 is one of them. */
export function levelsOf({ min, max }: ValueRange): Levels {
  const [low, high] = [Math.min(0, min), Math.max(0, max)];
  const scale = Math.max((high - low) / steps, 1e-30);
  return { scale, zero: Math.min(steps, Math.max(0, Math.round(-low / scale))) };
}

/** A number as the level that stands for it. */
export const quantise = (x: number, { scale, zero }: Levels): number =>
  Math.min(steps, Math.max(0, Math.round(x / scale) + zero));
/** What a level means. */
export const dequantise = (q: number, { scale, zero }: Levels): number => scale * (q - zero);

/** Weights [.., outputs] in 8 bits with a scale per output, and the bias in units of `input`·scale. */
export function quantiseWeights(weight: HostTensor, bias: ArrayLike<number> | undefined, input: number) {
  const outputs = weight.shape[weight.shape.length - 1]!;
  const scale = new Float32Array(outputs);
  weight.data.forEach((w, i) => {
    scale[i % outputs] = Math.max(scale[i % outputs]!, Math.abs(w));
  });
  for (let o = 0; o < outputs; o++) {
    // A channel whose weights are all but nothing beside its bias takes the bias's scale.
    const least = Math.abs(bias?.[o] ?? 0) / (input * mostBias);
    scale[o] = Math.max(scale[o]! / mostWeight, least, 1e-30);
  }
  const q = Int32Array.from(weight.data, (w, i) =>
    Math.max(-mostWeight, Math.min(mostWeight, Math.round(w / scale[i % outputs]!))),
  );
  const b = Int32Array.from(scale, (s, o) => Math.round((bias?.[o] ?? 0) / (input * s)));
  return { weight: host(q, weight.shape), scale: host(scale, [outputs]), bias: host(b, [outputs]) };
}

/** Products of a sum, where a node is one that can be quantised. */
function productsOf({ op, path }: GraphNode, tensors: ReadonlyMap<string, HostTensor>): number | undefined {
  if (op !== 'conv2d' && op !== 'linear') return undefined;
  const { shape } = tensors.get(`layers.${path}.weight`)!;
  return sizeOf(shape) / shape[shape.length - 1]!;
}

/**
 * Quantises a graph. Fold its batch norms first.
 * @param ranges of all its values, as `calibrate` gives them
 * @throws UsageError where a value has no range, or `keep` names no node
 */
export function quantize(
  { spec, tensors }: Graph,
  ranges: ReadonlyMap<string, ValueRange>,
  { keep = [] }: QuantizeOptions = {},
): Int8Model {
  const paths = new Set(spec.nodes.map((n) => n.path));
  const unknown = keep.filter((k) => !paths.has(k));
  if (unknown.length)
    throw new UsageError(
      `quantize: expected paths of nodes to keep, got '${unknown.join("', '")}'\nThe nodes are ${[...paths].slice(0, 8).join(', ')} …`,
    );
  const levels = new Map<string, Levels>();
  const levelsFor = (value: string): Levels => {
    const range = ranges.get(value);
    if (!range || !Number.isFinite(range.max - range.min))
      throw new UsageError(
        `quantize: expected a range of '${value}', got ${range ? `${range.min} to ${range.max}` : 'none'}\nCalibrate this very graph.`,
      );
    const l = levelsOf(range);
    levels.set(value, l);
    return l;
  };
  const numbers = new Map(tensors);
  const quantised = new Set<string>();
  for (const node of spec.nodes) {
    const products = productsOf(node, tensors);
    if (products === undefined || products > mostProducts || keep.includes(node.path)) continue;
    const of = (what: string) => `layers.${node.path}.${what}`;
    const input = levelsFor(node.inputs[0]!);
    const made = quantiseWeights(tensors.get(of('weight'))!, tensors.get(of('bias'))?.data, input.scale);
    for (const [what, t] of Object.entries(made)) numbers.set(of(what), t);
    quantised.add(node.path);
  }
  for (const node of spec.nodes) if (node.op !== 'constant' && node.op !== 'parameter') node.outputs.forEach(levelsFor);
  return { spec, levels, quantised, tensors: numbers };
}
