/**
 * Keras' configuration of a model: layers and how they are joined, of Keras 1 to 3, Sequential and Functional.
 *
 * The one idea: all forms come down to a list of layers and, for each time one is called, the values that it takes.
 */
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';

/** One output of one call of a layer. */
export interface KerasValue {
  readonly layer: string;
  readonly call: number;
  readonly output: number;
}

export interface KerasLayer {
  readonly kind: string;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** The values that each of its calls takes. */
  readonly calls: readonly (readonly KerasValue[])[];
  /** Of a model inside the model. */
  readonly model?: KerasModel;
}

export interface KerasModel {
  readonly layers: readonly KerasLayer[];
  readonly inputs: readonly KerasValue[];
  readonly outputs: readonly KerasValue[];
}

const layerSchema = v.object({
  class_name: v.string(),
  name: v.optional(v.nullable(v.string())),
  config: v.union([v.record(v.string(), v.unknown()), v.array(v.unknown())]),
  inbound_nodes: v.optional(v.array(v.unknown()), []),
});
const modelConfig = v.object({
  layers: v.array(layerSchema),
  input_layers: v.optional(v.unknown()),
  output_layers: v.optional(v.unknown()),
});

const models = ['Functional', 'Model', 'Sequential'];
/** Models in one another. */
const mostNested = 20;

const isObject = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x);

/** `["conv1", 0, 0]`, with more behind it or not. */
function oneValue(x: unknown): KerasValue | undefined {
  if (!Array.isArray(x) || typeof x[0] !== 'string') return undefined;
  const [layer, call = 0, output = 0] = x as [string, unknown, unknown];
  return Number.isSafeInteger(call) && Number.isSafeInteger(output)
    ? { layer, call: call as number, output: output as number }
    : undefined;
}
/** A value, or a list of them. */
function valuesOf(x: unknown): KerasValue[] {
  const one = oneValue(x);
  if (one) return [one];
  return Array.isArray(x) ? x.flatMap((y) => oneValue(y) ?? []) : [];
}

/**
 * The values of a call. Keras 1 and 2: a list of values; Keras 3: `{ args, kwargs }` with `keras_history` somewhere inside.
 * @param depth of lists and records gone into
 */
function callOf(node: unknown, depth = 0): KerasValue[] {
  if (depth > 8) return [];
  if (Array.isArray(node)) {
    const one = oneValue(node);
    return one ? [one] : node.flatMap((x) => callOf(x, depth + 1));
  }
  if (!isObject(node)) return [];
  if (node.class_name === '__keras_tensor__' && isObject(node.config)) return valuesOf(node.config.keras_history);
  return callOf(node.args, depth + 1);
}

/** @throws DataError for what is no such configuration, naming the file */
export function readConfig(json: unknown, file: string, depth = 0): KerasModel {
  const fail = (what: string): never => {
    throw new DataError(
      `${file}: expected Keras' configuration of a model, but ${what}\nSave the model again, or convert it to ONNX.`,
    );
  };
  if (depth > mostNested) fail(`models lie in one another more than ${mostNested} deep`);
  const outer = v.safeParse(v.object({ class_name: v.string(), config: v.unknown() }), json);
  if (!outer.success) return fail(`at its top: ${outer.issues[0].message}`);
  const { class_name: kind, config } = outer.output;
  if (!models.includes(kind)) fail(`it is of class ${kind}, which only its own program can build`);
  // Keras 1's Sequential is a bare list.
  const inner = v.safeParse(modelConfig, Array.isArray(config) ? { layers: config } : config);
  if (!inner.success) {
    const { message, path } = inner.issues[0];
    return fail(`at ${(path ?? []).map((p) => String(p.key)).join('.')}: ${message}`);
  }
  const { layers: found, input_layers: inputs, output_layers: outputs } = inner.output;
  const layers = found.map(({ class_name: type, name, config: own, inbound_nodes: nodes }): KerasLayer => {
    const fields = Array.isArray(own) ? {} : own;
    const nested = models.includes(type);
    return {
      kind: type,
      name: name ?? (typeof fields.name === 'string' ? fields.name : fail(`a layer of class ${type} has no name`)),
      config: fields,
      calls: nodes.map((n) => callOf(n)),
      ...(nested && { model: readConfig({ class_name: type, config: own }, file, depth + 1) }),
    };
  });
  const names = new Set(layers.map((l) => l.name));
  if (names.size !== layers.length) fail('two of its layers have one name');
  return kind === 'Sequential'
    ? sequential(layers, fail)
    : { layers, inputs: valuesOf(inputs), outputs: valuesOf(outputs) };
}

/** Each layer takes what the one before gives; the input may be no layer of its own. */
function sequential(given: readonly KerasLayer[], fail: (what: string) => never): KerasModel {
  const [first] = given;
  if (!first) return fail('it has no layers');
  // A model that comes first says itself what it takes.
  const { config } = first.model?.layers.find((l) => l.kind === 'InputLayer') ?? first;
  const shape = config.batch_input_shape ?? config.batch_shape;
  const layers = first.kind === 'InputLayer' ? [...given] : [];
  if (first.kind !== 'InputLayer')
    layers.push(
      { kind: 'InputLayer', name: `${first.name}_input`, config: { batch_input_shape: shape }, calls: [] },
      ...given,
    );
  return chain(layers);
}
function chain(layers: readonly KerasLayer[]): KerasModel {
  const at = (i: number): KerasValue => ({ layer: layers[i]!.name, call: 0, output: 0 });
  return {
    layers: layers.map((l, i) => ({ ...l, calls: i ? [[at(i - 1)]] : [] })),
    inputs: [at(0)],
    outputs: [at(layers.length - 1)],
  };
}
