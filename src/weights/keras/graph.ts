/**
 * A Keras model's configuration with its weights as a graph: of HDF5, of `.keras` archives, and of TFJS layers models, which
 * hold the same configuration.
 */
import { DataError } from '../../core/errors.ts';
import { GraphBuilder, type Value } from '../../models/graph/builder.ts';
import type { Graph } from '../../models/graph/spec.ts';
import { named } from '../importErrors.ts';
import type { HostTensor } from '../safetensors.ts';
import { type KerasLayer, type KerasModel, type KerasValue, readConfig } from './config.ts';
import { Fields, kerasLayers, normalizes } from './layers.ts';

export interface KerasOptions {
  /** What errors call the file. */
  readonly file: string;
  /** [height, width] where the model leaves it open. Default 112x112. */
  readonly inputSize?: readonly [number, number] | undefined;
  /** Version of Keras that wrote it: '2.4.0'. From 3 on hard_sigmoid is another function. */
  readonly version?: string | undefined;
  /** Weights by number in place of name, as Keras 3 writes them: `conv2d_1/0`. */
  readonly numbered?: boolean | undefined;
}

interface KerasGraph {
  readonly graph: Graph;
  readonly notes: readonly string[];
}

/** Layers in one another's way: a chain this long is none of a network's. */
const mostCalls = 20_000;
const usualSize = [112, 112] as const;

/** Names of a layer's weights in the order in which Keras makes them, as far as its configuration has them. */
function order({ kind, config }: KerasLayer): string[] {
  const has = (key: string) => config[key] !== false;
  if (kind.startsWith('BatchNorm') || kind.startsWith('SyncBatchNorm'))
    return [...(has('scale') ? ['gamma'] : []), ...(has('center') ? ['beta'] : []), 'moving_mean', 'moving_variance'];
  if (kind === 'PReLU') return ['alpha'];
  const bias = has('use_bias') ? ['bias'] : [];
  if (kind === 'DepthwiseConv2D') return ['depthwise_kernel', ...bias];
  return kind.startsWith('Separable') ? ['depthwise_kernel', 'pointwise_kernel', ...bias] : ['kernel', ...bias];
}
/** Keras 3's name of a class in its files: `BatchNormalization` is batch_normalization, `Conv2D` conv2d. */
const snake = (kind: string): string =>
  kind
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();

class Build {
  readonly builder = new GraphBuilder();
  readonly notes: string[] = [];
  readonly used = new Set<string>();
  private readonly options: KerasOptions;
  private readonly weights: ReadonlyMap<string, HostTensor>;
  /** Names of weights by the layer that stands first in them. */
  private readonly byLayer = new Map<string, string[]>();
  private calls = 0;

  constructor(weights: ReadonlyMap<string, HostTensor>, options: KerasOptions) {
    this.weights = weights;
    this.options = options;
    for (const key of weights.keys()) {
      // Under the names of the models around a layer it stands further behind.
      const parts = key.split('/').slice(0, -1);
      for (const part of new Set(parts)) this.byLayer.set(part, [...(this.byLayer.get(part) ?? []), key]);
    }
  }

  /** A weight's name in the file: `layer/…/weight`, with what version and saving put around. */
  private find(layer: KerasLayer, place: string, names: readonly string[]): HostTensor {
    const wanted = this.options.numbered ? names.map((n) => String(order(layer).indexOf(n))) : names;
    const keys = (this.byLayer.get(place) ?? []).filter((k) => wanted.includes(k.slice(k.lastIndexOf('/') + 1)));
    // Of several the one that begins with the layer, or has least around it.
    const first = keys.find((k) => k.startsWith(`${place}/`)) ?? keys.sort((a, b) => a.length - b.length)[0];
    if (first === undefined) {
      const there = (this.byLayer.get(place) ?? []).join(', ');
      throw new DataError(
        `expected its weight '${names[0]}', but ${there ? `there are only ${there}` : 'the file has none of the layer'}\nConfiguration and weights belong to different models.`,
      );
    }
    this.used.add(first);
    return this.weights.get(first)!;
  }

  /** The values that a model gives for those it takes. */
  run(model: KerasModel, given: readonly Value[] | undefined, prefix: string): Value[] {
    const layers = new Map(model.layers.map((l) => [l.name, l]));
    const places = this.places(model);
    const made = new Map<string, readonly Value[]>();
    const open = new Set<string>();
    const { file } = this.options;
    const fail = (layer: string, what: string): never => {
      throw new DataError(`${file}: ${prefix}${layer}: ${what}\nThe configuration is damaged.`);
    };
    if (given)
      model.inputs.forEach(({ layer }, i) => {
        made.set(`${layer}:0`, [
          given[i] ?? fail(layer, `expected ${model.inputs.length} values, got ${given.length}`),
        ]);
      });
    const valueFrom = ({ layer, call, output }: KerasValue, by: string): Value => {
      const key = `${layer}:${call}`;
      const there = made.get(key) ?? evaluate(layer, call, by);
      return there[output] ?? fail(by, `expected output ${output} of ${layer}, which gives ${there.length}`);
    };
    const evaluate = (name: string, call: number, by: string): readonly Value[] => {
      const key = `${name}:${call}`;
      const layer = layers.get(name) ?? fail(by, `expected a layer '${name}', but there is none`);
      if (open.has(key)) fail(name, 'it takes what it gives itself');
      if (++this.calls > mostCalls) fail(name, `more than ${mostCalls} calls of layers`);
      open.add(key);
      const values = this.apply(layer, call, places.get(name)!, prefix, (v) => valueFrom(v, name));
      open.delete(key);
      made.set(key, values);
      return values;
    };
    // In the order of the file first, which nearly always is one that works: few calls then lie in one another.
    const reached = reach(model);
    for (const { name, calls } of model.layers)
      for (let i = 0; i < Math.max(1, calls.length); i++)
        if (reached.has(`${name}:${i}`) && !made.has(`${name}:${i}`)) evaluate(name, i, name);
    return model.outputs.map((o) => valueFrom(o, 'the outputs'));
  }

  /** Under which name a layer's weights are: its own, or Keras 3's by class and number. */
  private places(model: KerasModel): Map<string, string> {
    const counts = new Map<string, number>();
    const weighted = model.layers.filter((l) => /^(Conv|Depthwise|Separable|Dense$|.*BatchNorm|PReLU)/.test(l.kind));
    const ofClass = !weighted.every((l) => this.byLayer.has(l.name));
    return new Map(
      model.layers.map(({ name, kind }) => {
        if (!this.options.numbered || !ofClass) return [name, name];
        const plain = snake(kind);
        const n = counts.get(plain) ?? 0;
        counts.set(plain, n + 1);
        return [name, n ? `${plain}_${n}` : plain];
      }),
    );
  }

  private apply(
    layer: KerasLayer,
    call: number,
    place: string,
    prefix: string,
    value: (v: KerasValue) => Value,
  ): readonly Value[] {
    const { kind, name, config } = layer;
    const { file, version = '' } = this.options;
    if (kind === 'InputLayer') return [this.input(layer)];
    const inputs = (layer.calls[call] ?? []).map(value);
    if (layer.model) return this.run(layer.model, inputs, `${prefix}${name}.`);
    try {
      if (!inputs.length) throw new DataError('expected at least one value\nThe configuration is damaged.');
      const made = kerasLayers.get(kind)!({
        builder: this.builder,
        name: `${prefix}${name}`,
        kind,
        inputs,
        fields: new Fields(config),
        three: /^[3-9]/.test(version),
        weight: (...names) => this.find(layer, place, names),
        note: (what) => this.notes.push(what),
      });
      return [made];
    } catch (error) {
      throw named(error, `${file}: ${prefix}${name} (${kind})`, file);
    }
  }

  private input({ name, config }: KerasLayer): Value {
    const { file, inputSize } = this.options;
    const shape = config.batch_input_shape ?? config.batch_shape;
    const ok = Array.isArray(shape) && shape.length > 1 && shape.length <= 5;
    const sizes = ok ? shape.slice(1) : [];
    if (!sizes.length || sizes.some((d) => d !== null && !(Number.isSafeInteger(d) && d > 0)))
      throw new DataError(
        `${file}: ${name}: expected the input's shape [batch, height, width, channels], got ${JSON.stringify(shape)?.slice(0, 80)}\nSave the model again with its input's shape.`,
      );
    const open = sizes.slice(0, 2).includes(null);
    const known = inputSize ?? usualSize;
    if (open && !inputSize)
      this.notes.push(
        `the model takes images of any size; ${known[0]}x${known[1]} is used; another can be named (--input)`,
      );
    const last = sizes.length - 1;
    return this.builder.input(
      name,
      sizes.map((d, i) => (d as number | null) ?? (i === last ? 3 : known[i === 0 ? 0 : 1]!)),
    );
  }
}

/** Calls that the outputs need. */
function reach({ layers, outputs }: KerasModel): Set<string> {
  const byName = new Map(layers.map((l) => [l.name, l]));
  const reached = new Set<string>();
  const left = [...outputs];
  for (let v = left.pop(); v; v = left.pop()) {
    const key = `${v.layer}:${v.call}`;
    if (reached.has(key)) continue;
    reached.add(key);
    left.push(...(byName.get(v.layer)?.calls[v.call] ?? []));
  }
  return reached;
}

/** All layers with those of models inside. */
const allLayers = (model: KerasModel): KerasLayer[] =>
  model.layers.flatMap((l) => (l.model ? allLayers(l.model) : [l]));

/**
 * The model without a last layer that no program but its own knows: a loss of training, which takes labels beside the
 * embeddings.
 */
function withoutHead(model: KerasModel, isKnown: (layer: KerasLayer) => boolean) {
  const byName = new Map(model.layers.map((l) => [l.name, l]));
  const notes: string[] = [];
  const outputs = model.outputs.map((output) => {
    const layer = byName.get(output.layer);
    const [first, ...labels] = layer?.calls[output.call] ?? [];
    const isHead = layer && !isKnown(layer) && layer.kind !== 'Lambda' && first && labels.length > 0;
    if (!isHead || labels.some((l) => byName.get(l.layer)?.kind !== 'InputLayer')) return output;
    notes.push(`${layer.name} (${layer.kind}), which takes labels, is left out: the model gives what it was given`);
    return first;
  });
  return { model: { ...model, outputs }, notes };
}

/**
 * The graph of a model: its configuration (`{ class_name, config }`, parsed) and its weights by name (`layer/kernel`, also with
 * names of models in front and `:0` behind).
 * @throws DataError naming the file and every layer that is not known, or the layer whose weights or shapes do not fit
 */
export function graphOfKeras(
  config: unknown,
  weights: ReadonlyMap<string, HostTensor>,
  options: KerasOptions,
): KerasGraph {
  const { file } = options;
  const whole = readConfig(config, file);
  const isKnown = ({ kind, config: own, model: inner }: KerasLayer): boolean =>
    inner !== undefined || kind === 'InputLayer' || (kerasLayers.has(kind) && (kind !== 'Lambda' || normalizes(own)));
  const { model, notes: cut } = withoutHead(whole, isKnown);
  const needed = reach(model);
  const unknown = allLayers({
    ...model,
    layers: model.layers.filter((l) => [0, ...l.calls.keys()].some((i) => needed.has(`${l.name}:${i}`))),
  }).filter((l) => !isKnown(l));
  if (unknown.length)
    throw new DataError(
      `${file}: expected known layers, got ${unknown.map((l) => `${l.name} (${l.kind})`).join(', ')}\n` +
        `These are read: ${[...kerasLayers.keys()].join(', ')}. A Lambda is a program of its own: replace it by a layer before saving.`,
    );
  const plain = new Map([...weights].map(([name, t]) => [name.replace(/:0$/, ''), t]));
  const build = new Build(plain, options);
  const outputs = build.run(model, undefined, '');
  if (!outputs.length) throw new DataError(`${file}: expected a model with outputs, got none\nSave the model again.`);
  const names = model.outputs.map(({ layer, output }) => (output ? `${layer}_${output}` : layer));
  const graph = build.builder.finish(Object.fromEntries(outputs.map((v, i) => [names[i]!, v])));
  const unused = [...plain.keys()].filter((k) => !build.used.has(k));
  const notes = unused.length
    ? [`weights of no layer: ${unused.slice(0, 20).join(', ')}${unused.length > 20 ? ' …' : ''}`]
    : [];
  return { graph, notes: [...cut, ...build.notes, ...notes] };
}
