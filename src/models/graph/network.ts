/**
 * A graph as a network: it runs, trains, saves and loads like those of the registry.
 *
 * The one idea: the operators that have weights are the same layers that other networks are made of, placed in a tree by
 * their paths; so names, patterns for freezing, summaries and checkpoints need nothing of their own. The graph itself is the
 * network's one option and travels in its checkpoint.
 */
import { DataError, ShapeError, UsageError } from '../../core/errors.ts';
import type { OptionSpec } from '../../core/options.ts';
import { resolveOptions } from '../../core/options.ts';
import type { Shape } from '../../core/shape.ts';
import { type Tensor, within } from '../../core/tensor.ts';
import { loadState, Module, nameTree, variablesOf } from '../../nn/module.ts';
import { placeholder, TraceContext } from '../../plan/trace.ts';
import { defineModel, type FaceNetwork, type Preprocessing } from '../network.ts';
import { type Operator, operators } from './operators.ts';
import { checkGraph, type Graph, type GraphNode, type GraphSpec } from './spec.ts';

/** A place in the tree of paths that is no layer itself. */
class Group extends Module {
  protected forward(): Tensor {
    throw new UsageError('graph: a group of layers cannot be called\nCall the network.');
  }
}

/** Names that a module's properties must not take. */
const reserved = new Set([
  'path',
  'call',
  'forward',
  'constructor',
  'weight',
  'bias',
  'runningMean',
  'runningVar',
  'value',
]);

/** A dotted path that can be one of properties: parts of letters, digits and _ that hide nothing of a module. */
export const graphPath = (name: string): string =>
  name
    .split(/[./:]+/)
    .map((part) => part.replace(/\W+/g, '_'))
    .filter((part) => part !== '')
    .map((part) => (reserved.has(part) || part in Object.prototype ? `${part}_` : part))
    .join('.') || 'node';

/** The layer of a node, and its attributes complete. */
interface Step {
  readonly node: GraphNode;
  readonly operator: Operator;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly layer: Module | undefined;
}

/** An operator's attributes with their defaults. Throws UsageError for unknown operators and attributes that do not fit. */
export function operatorOf({ op, path, inputs, attrs }: Pick<GraphNode, 'op' | 'path' | 'inputs' | 'attrs'>) {
  const operator = operators.get(op);
  if (!operator)
    throw new UsageError(
      `${path}: expected one of the operators ${[...operators.keys()].join(', ')}, got '${op}'\nA newer facegrad may know it.`,
    );
  const [least, most] = operator.takes;
  if (inputs.length < least || inputs.length > most)
    throw new UsageError(
      `${path} (${op}): expected ${least === most ? least : `${least} to ${most}`} values, got ${inputs.length}\nCorrect the graph.`,
    );
  return { operator, attrs: resolveOptions(`${path} (${op})`, operator.attrs, attrs) };
}

/** Applies an operator; shape errors name its path. */
export function applyOperator(
  step: Pick<Step, 'operator' | 'attrs' | 'layer'> & { path: string },
  inputs: readonly Tensor[],
  ctx: TraceContext,
) {
  const { operator, attrs, layer, path } = step;
  // Operators without inputs ignore what a layer is called with.
  if (layer) return [layer.call(inputs[0]!, ctx)];
  try {
    const made = within(path, () => operator.apply!(inputs, attrs));
    return Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor];
  } catch (error) {
    if (error instanceof ShapeError && !error.message.includes('\n  in ')) {
      const [first, ...rest] = error.message.split('\n');
      error.message = [first, `  in ${path} (${operator.name})`, ...rest].join('\n');
    }
    throw error;
  }
}

const graphOption: OptionSpec<GraphSpec> = {
  expects: 'a graph',
  means: 'graph that an importer made',
  fallback: undefined as unknown as GraphSpec,
  accepts: (x) => typeof x === 'object' && x !== null && !Array.isArray(x),
};

export class GraphNetwork extends Module implements FaceNetwork {
  readonly architecture = 'graph';
  readonly options: { readonly embeddingSize: number; readonly graph: GraphSpec };
  preprocessing: Preprocessing;
  readonly batch: number | undefined;
  /** What it gives of one image, by name. */
  readonly outputShapes: ReadonlyMap<string, Shape>;
  readonly layers: Module = new Group();
  private readonly steps: readonly Step[];

  /** @throws UsageError, DataError or ShapeError for a graph that is none */
  constructor(graph: GraphSpec, source = 'graph') {
    super();
    const spec = checkGraph(graph, source);
    const steps: Step[] = [];
    for (const node of spec.nodes) {
      const { operator, attrs } = operatorOf(node);
      const layer = operator.module?.(attrs);
      if (layer) place(this.layers, node.path, layer);
      steps.push({ node, operator, attrs, layer });
    }
    this.steps = steps;
    nameTree(this);
    const [image] = spec.inputs;
    const shape = image!.shape;
    // Pixels as they are, unless the importer knows better: many graphs normalise themselves.
    this.preprocessing = { colourOrder: 'RGB', mean: 0, scale: 1, inputSize: [shape[0] ?? 1, shape[1] ?? 1] };
    this.batch = spec.batch;
    this.options = { embeddingSize: 1, graph: spec };
    // Its shapes are checked here, where the file can be named.
    const made = this.outputs(
      spec.inputs.map((i) => placeholder(i.name, { shape: [spec.batch ?? 1, ...i.shape], dtype: 'f32' })),
      new TraceContext(false),
    );
    this.outputShapes = new Map([...made].map(([name, t]) => [name, t.shape.slice(1)]));
    const [first] = made.values();
    this.options = { embeddingSize: first!.size / (spec.batch ?? 1), graph: spec };
  }

  /** All that the graph gives, by name. */
  outputs(inputs: readonly Tensor[], ctx: TraceContext): Map<string, Tensor> {
    const { graph } = this.options;
    const count = inputs[0]?.shape[0];
    if (graph.batch !== undefined && count !== graph.batch)
      throw new ShapeError(
        `graph: expected ${graph.batch} image${graph.batch > 1 ? 's' : ''} at once, got ${count}\nIts file mixes axes so that no other number fits: give it that many.`,
      );
    const values = new Map(graph.inputs.map((input, i) => [input.name, inputs[i]!]));
    for (const { node, operator, attrs, layer } of this.steps) {
      const made = applyOperator(
        { operator, attrs, layer, path: node.path },
        node.inputs.map((name) => values.get(name)!),
        ctx,
      );
      node.outputs.forEach((name, i) => {
        const value = made[i];
        if (!value)
          throw new DataError(
            `${node.path} (${node.op}): expected ${node.outputs.length} values, got ${made.length}\nCorrect the graph.`,
          );
        values.set(name, value);
      });
    }
    return new Map(graph.outputs.map(({ name, value }) => [name, values.get(value)!]));
  }

  /** The first output, as embeddings [N, d]. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const { inputs } = this.options.graph;
    if (inputs.length !== 1)
      throw new UsageError(
        `graph: expected a network of one input, got ${inputs.map((i) => i.name).join(', ')}\nGive all of them to its outputs().`,
      );
    const [first] = this.outputs([x], ctx).values();
    return first!;
  }
}

/** Puts a layer at a path of the tree. */
function place(root: Module, path: string, layer: Module): void {
  const parts = path.split('.');
  const last = parts.pop()!;
  let at = root as unknown as Record<string, unknown>;
  const refuse = () => {
    throw new DataError(
      `graph: expected paths of letters, digits and dots that differ, got '${path}'\nCorrect the graph.`,
    );
  };
  if ([...parts, last].some((p) => !/^\w+$/.test(p) || reserved.has(p) || p in Object.prototype)) refuse();
  for (const part of parts) {
    at[part] ??= new Group();
    if (!(at[part] instanceof Module)) refuse();
    at = at[part] as Record<string, unknown>;
  }
  const there = at[last];
  // A group that an earlier, deeper path has made gives its members to the layer.
  if (there instanceof Group)
    for (const [k, v] of Object.entries(there))
      if (v instanceof Module) (layer as unknown as Record<string, unknown>)[k] = v;
  if (there !== undefined && !(there instanceof Group)) refuse();
  at[last] = layer;
}

/** A graph's network with its numbers. Throws as the constructor, and DataError listing tensors that do not fit. */
export function graphNetwork({ spec, tensors }: Graph, source = 'graph'): GraphNetwork {
  const network = new GraphNetwork(spec, source);
  loadState(variablesOf(network), tensors, source);
  return network;
}

/** A network whose first output is a map of one pixel, as one that gives embeddings [N, d]; others as they are. */
export function withEmbedding(network: GraphNetwork): GraphNetwork {
  const { graph } = network.options;
  const [first, ...others] = graph.outputs;
  const shape = network.outputShapes.get(first!.name)!;
  if (shape.length !== 3 || shape[0] !== 1 || shape[1] !== 1) return network;
  const taken = new Set(graph.nodes.flatMap((n) => [n.path, ...n.outputs]));
  let path = 'embedding';
  while (taken.has(path)) path += '_';
  const node = { op: 'reshape', path, inputs: [first!.value], outputs: [path], attrs: { shape: [0, shape[2]!] } };
  const outputs = [{ name: first!.name, value: path }, ...others];
  const flat = new GraphNetwork({ ...graph, nodes: [...graph.nodes, node], outputs });
  const state = new Map(variablesOf(network).map((v) => [v.name, { data: v.host, shape: v.shape, dtype: v.dtype }]));
  loadState(variablesOf(flat), state, 'graph');
  return flat;
}

/** The family of all graphs, by which checkpoints name them. It is made by importing, so it is not among the registry's. */
export const graphModel = defineModel({
  name: 'graph',
  means: 'network imported as a graph',
  source: 'the file it was imported from',
  options: { graph: graphOption },
  create: ({ graph } = {}) => new GraphNetwork(graph as GraphSpec),
  variants: {},
});
