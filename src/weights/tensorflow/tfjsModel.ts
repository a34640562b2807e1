/**
 * Reads TFJS models, and bare weights manifests.
 *
 * The one idea: a graph model is a GraphDef whose constants lie outside, a layers model Keras' configuration with its weights
 * by name; a manifest without a model is a state, whose network its names tell. Source: tfjs-core's io/types.ts (ModelJSON).
 */
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';
import type { ImportedFile, ReadOptions, StateFile, WeightSource } from '../format.ts';
import { graphOfKeras } from '../keras/graph.ts';
import { graphDefOfJson } from './graphDef.ts';
import { importGraph } from './importGraph.ts';
import { manifestOf, readManifest } from './manifest.ts';
import { asHostTensor } from './state.ts';
import type { Constant } from './wire.ts';

const signatureSchema = v.object({
  outputs: v.optional(v.record(v.string(), v.object({ name: v.optional(v.string()) }))),
});
const modelSchema = v.object({
  format: v.optional(v.nullable(v.string())),
  modelTopology: v.nullish(v.record(v.string(), v.unknown())),
  weightsManifest: v.nullish(v.unknown()),
  signature: v.nullish(v.unknown()),
  userDefinedMetadata: v.nullish(v.record(v.string(), v.unknown())),
});
type ModelJson = v.InferOutput<typeof modelSchema>;

/** Throws DataError for a file that is damaged, holds what is not supported, or lacks its weights. */
export async function readTfjs(source: WeightSource, options: ReadOptions): Promise<ImportedFile> {
  const { name } = source;
  let data: unknown;
  try {
    data = JSON.parse(new TextDecoder().decode(await source.bytes()));
  } catch (error) {
    throw new DataError(`${name}: expected a TFJS model, got damaged JSON\nFetch or convert the model again.`, {
      cause: error,
    });
  }
  if (Array.isArray(data)) return state(await readManifest(manifestOf(data, name), source));
  const result = v.safeParse(modelSchema, data);
  if (!result.success || !result.output.weightsManifest)
    throw new DataError(
      `${name}: expected a TFJS model with modelTopology and weightsManifest, got ${typeof data === 'object' && data ? Object.keys(data).slice(0, 10).join(', ') : typeof data}\nGive the model.json that the converter wrote.`,
    );
  return model(result.output, source, options);
}

async function model(json: ModelJson, source: WeightSource, options: ReadOptions): Promise<ImportedFile> {
  const { name } = source;
  const topology = json.modelTopology ?? undefined;
  const weights = await readManifest(manifestOf(json.weightsManifest, name), source);
  if (topology && 'node' in topology) {
    const outputs = signed(json);
    return importGraph(graphDefOfJson(topology, name), { ...options, source: name, weights, outputs });
  }
  if (!topology) return state(weights);
  const { model_config: config = topology, keras_version: version } = topology;
  const { graph, notes } = graphOfKeras(config, hostTensors(weights), {
    file: name,
    inputSize: options.inputSize,
    version: typeof version === 'string' ? version : undefined,
  });
  return { kind: 'graph', graph, notes };
}

/** The outputs that a model's signature names. */
function signed({ signature, userDefinedMetadata }: ModelJson): ReadonlyMap<string, string> | undefined {
  for (const candidate of [signature, userDefinedMetadata?.signature]) {
    const result = v.safeParse(signatureSchema, candidate);
    const outputs = result.success ? Object.entries(result.output.outputs ?? {}) : [];
    if (outputs.length > 0)
      return new Map(outputs.map(([key, { name }]) => [key.replace(/:0$/, ''), (name ?? key).replace(/:0$/, '')]));
  }
  return undefined;
}

const hostTensors = (tensors: ReadonlyMap<string, Constant>) =>
  new Map([...tensors].map(([name, t]) => [name, asHostTensor(t)]));

const state = (tensors: ReadonlyMap<string, Constant>): StateFile => ({
  kind: 'state',
  tensors: hostTensors(tensors),
  convention: 'tensorflow',
  notes: [],
});
