/**
 * A network as data: the form that every imported graph takes and every exported one is written from.
 *
 * The one idea: a graph is a list of named values and the operators that make them, in this engine's own conventions (images
 * NHWC, convolution weights [kh, kw, Cin/groups, Cout], dense weights [in, out]); a format's own conventions are undone where
 * it is read and put back where it is written. What an operator does is in operators.ts; numbers are kept beside the graph.
 */
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';
import type { Shape } from '../../core/shape.ts';
import type { HostTensor } from '../../core/tensor.ts';

/** One application of an operator. */
export interface GraphNode {
  /** Name of the operator, as in operators.ts. */
  readonly op: string;
  /** Dotted module path, each node's own: its variables are `layers.<path>.weight` and so on; messages name it. */
  readonly path: string;
  /** Names of the values that it takes. */
  readonly inputs: readonly string[];
  /** Names of the values that it makes, no two nodes the same. */
  readonly outputs: readonly string[];
  readonly attrs: Readonly<Record<string, unknown>>;
}

export interface GraphSpec {
  /** Shapes without the batch axis: [H, W, C] for images. */
  readonly inputs: readonly { readonly name: string; readonly shape: Shape }[];
  /** Each after those that make its inputs. */
  readonly nodes: readonly GraphNode[];
  /** What the graph gives, under the names its users know; the first is the embedding of a face network. */
  readonly outputs: readonly { readonly name: string; readonly value: string }[];
  /** The only number of images that it takes at once, where its source fixed one. */
  readonly batch?: number;
}

/** A graph with its numbers, by name of the variable. */
export interface Graph {
  readonly spec: GraphSpec;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

const name = v.pipe(v.string(), v.minLength(1), v.maxLength(1000));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const schema = v.object({
  inputs: v.pipe(v.array(v.object({ name, shape: v.array(size) })), v.minLength(1)),
  nodes: v.array(
    v.object({
      op: name,
      path: name,
      inputs: v.array(name),
      outputs: v.array(name),
      attrs: v.record(v.string(), v.unknown()),
    }),
  ),
  outputs: v.pipe(v.array(v.object({ name, value: name })), v.minLength(1)),
  batch: v.exactOptional(v.pipe(size, v.minValue(1))),
});

/**
 * Checks that data is a graph: its form, that values are made once and before they are read, and that paths differ.
 * @param source what errors call it
 * @throws DataError
 */
export function checkGraph(data: unknown, source: string): GraphSpec {
  const fail = (what: string): never => {
    throw new DataError(`${source}: expected a graph, but ${what}\nThe file is damaged: write or fetch it again.`);
  };
  const result = v.safeParse(schema, data);
  if (!result.success) {
    const { message, path } = result.issues[0];
    return fail(`${(path ?? []).map((p) => String(p.key)).join('.')}: ${message}`);
  }
  const { inputs, nodes, outputs } = result.output;
  const known = new Set<string>();
  const make = (value: string, by: string) => {
    if (known.has(value)) fail(`'${value}' is made twice, again by ${by}`);
    known.add(value);
  };
  for (const i of inputs) make(i.name, 'the inputs');
  const paths = new Set<string>();
  for (const n of nodes) {
    for (const i of n.inputs)
      if (!known.has(i)) fail(`${n.path} (${n.op}) reads '${i}', which nothing before it makes`);
    for (const o of n.outputs) make(o, n.path);
    if (paths.has(n.path)) fail(`two nodes have the path ${n.path}`);
    paths.add(n.path);
  }
  for (const o of outputs) if (!known.has(o.value)) fail(`output ${o.name} is '${o.value}', which nothing makes`);
  return result.output as GraphSpec;
}
