/**
 * The registry of architectures with graphs among them: what checkpoints may name. It is apart from registry.ts, so that a
 * page with a network of the registry does not bring the operators of graphs.
 */
import { graphModel } from './graph/network.ts';
import type { FaceNetwork, ModelEntry } from './network.ts';
import * as registry from './registry.ts';

export { describeNetwork, inferenceState, storedPreprocessing } from './described.ts';
export { type Architecture, architectures, models } from './registry.ts';

/** Graphs are made by importing: checkpoints name them, lists of what there is to choose do not. */
const imported: registry.Architecture = {
  name: graphModel.name,
  means: graphModel.means,
  family: graphModel as unknown as ModelEntry,
  preset: {},
};

/** @throws UsageError naming the nearest where there is none of that name */
export const architectureOf = (name: string): registry.Architecture => registry.architectureOf(name, imported);

/**
 * Builds a network by name; its parameters are empty until `initialize` or `loadState` fills them.
 * @throws UsageError for a name that is not in the registry, or options the network refuses
 */
export const create = (name: string, options: Readonly<Record<string, unknown>> = {}): FaceNetwork =>
  registry.create(name, options, imported);

/**
 * The network that a checkpoint's metadata describes, and how its images are prepared.
 * @param source what errors call the file
 * @throws DataError where the metadata names no architecture known here, or holds no such description
 */
export const networkOf = (metadata: Readonly<Record<string, string>>, source: string): FaceNetwork =>
  registry.networkOf(metadata, source, imported);
