/** ncnn's layers with their weights as a graph. Layers that are unknown are listed before anything is built. */
import { DataError } from '../../core/errors.ts';
import { GraphBuilder } from '../../models/graph/builder.ts';
import { ChannelsFirst, type Ordered } from '../../models/graph/channelsFirst.ts';
import type { Graph } from '../../models/graph/spec.ts';
import { named, outOf } from '../importErrors.ts';
import { ncnnLayers } from './layers.ts';
import type { NcnnLayer } from './param.ts';
import { NcnnWeights } from './weights.ts';

/** @throws DataError listing types of layers that are not known */
export function checkLayers(layers: readonly NcnnLayer[], file: string): void {
  const unknown = layers.filter((l) => !ncnnLayers.has(l.type));
  if (unknown.length)
    throw new DataError(
      `${file}: expected known layers, got ${unknown.map((l) => `${l.type} (${l.name})`).join(', ')}\n` +
        `These are read: ${[...ncnnLayers.keys()].join(', ')}.`,
    );
}

/** Channels that the first convolution reads. */
function inputChannels(layers: readonly NcnnLayer[]): number {
  const first = layers.find((l) => l.type.startsWith('Convolution'));
  if (!first) return 3;
  const { params } = first;
  const across = params.whole(1);
  const n = (params.whole(6) * params.whole(7, 1)) / (params.whole(0) * across * params.whole(11, across));
  return Number.isSafeInteger(n) && n > 0 && n <= 4096 ? n : 3;
}

/**
 * @param file what errors call the `.param`
 * @throws DataError naming the layer
 */
export function graphOfLayers(
  layers: readonly NcnnLayer[],
  bin: { readonly bytes: Uint8Array; readonly name: string },
  size: readonly [number, number],
  file: string,
): Graph {
  const builder = new GraphBuilder();
  const graph = new ChannelsFirst(builder);
  const weights = new NcnnWeights(bin.bytes, bin.name);
  const values = new Map<string, Ordered>();
  const read = new Set<string>();
  const channels = inputChannels(layers);
  for (const { type, name, inputs: taken, outputs, params } of layers) {
    const place = `${file}: ${name} (${type})`;
    const inputs = taken.map((v) => {
      read.add(v);
      const value = values.get(v);
      if (value) return value;
      throw new DataError(`${place}: expected '${v}' of a layer before it, but none makes it\nThe file is damaged.`);
    });
    try {
      if (type !== 'Input' && type !== 'MemoryData' && inputs.length === 0)
        throw new DataError('expected at least one value\nThe file is damaged.');
      const call = { graph, name, params, inputs, weights, outputs: outputs.length, size, channels };
      const made = ncnnLayers.get(type)!(call);
      const all = Array.isArray(made) ? made : [made];
      if (all.length !== outputs.length)
        throw new DataError(`expected ${all.length} values of it, got ${outputs.length}\nThe file is damaged.`);
      outputs.forEach((v, i) => {
        if (values.has(v)) throw new DataError(`'${v}' is made twice\nThe file is damaged.`);
        values.set(v, all[i]!);
      });
    } catch (error) {
      throw named(error, place, file);
    }
  }
  if (weights.left)
    throw new DataError(
      `${bin.name}: expected the file to end with its last layer, but ${weights.left} bytes follow\nIt belongs to another .param file, or is damaged.`,
    );
  const outputs = [...values.keys()].filter((v) => !read.has(v));
  if (!outputs.length)
    throw new DataError(
      `${file}: expected a layer whose value no other reads, got none\nThe file is cut off or damaged.`,
    );
  return builder.finish(Object.fromEntries(outputs.map((v) => [v, outOf(graph, values.get(v)!)])));
}
