/**
 * Making graphs: what importers, and networks written as programs, call.
 *
 * The one idea: every operator is applied to placeholders as it is added, so a value's shape is known at once and an error
 * names the node that made it; importers need no shape inference of their own.
 */
import { hostArray } from '../../core/dtype.ts';
import { DataError, ShapeError, UsageError } from '../../core/errors.ts';
import { type Shape, sameShape, sizeOf } from '../../core/shape.ts';
import { type HostTensor, host, type Tensor } from '../../core/tensor.ts';
import { nameTree } from '../../nn/module.ts';
import { type ConvOptions, fourSides, pair } from '../../ops/convolution.ts';
import { placeholder, TraceContext } from '../../plan/trace.ts';
import { applyOperator, GraphNetwork, graphPath, operatorOf } from './network.ts';
import type { Graph, GraphNode, GraphSpec } from './spec.ts';

/** A value of the graph. Its first axis is the batch, 1 unless the source fixed another. */
export class Value {
  readonly name: string;
  readonly tensor: Tensor;
  constructor(name: string, tensor: Tensor) {
    this.name = name;
    this.tensor = tensor;
  }
  get shape(): Shape {
    return this.tensor.shape;
  }
}

export interface ConvWeights extends ConvOptions {
  /** [kh, kw, Cin/groups, Cout]. */
  readonly weight: HostTensor;
  readonly bias?: HostTensor | undefined;
}
export interface NormWeights {
  readonly weight?: HostTensor | undefined;
  readonly bias?: HostTensor | undefined;
  readonly mean: HostTensor;
  readonly variance: HostTensor;
  readonly eps: number;
  /** The batch's share in the running statistics. Default 0.1. */
  readonly momentum?: number | undefined;
}

export class GraphBuilder {
  private readonly batch: number;
  private fixed = false;
  private readonly inputs: { name: string; shape: Shape }[] = [];
  private readonly nodes: GraphNode[] = [];
  private readonly tensors = new Map<string, HostTensor>();
  private readonly paths = new Set<string>();
  private readonly names = new Set<string>();
  private readonly ctx = new TraceContext(false);

  /** @param batch the number of images that the source's own shapes are given for */
  constructor(batch = 1) {
    this.batch = batch;
  }
  /** Says that images are mixed with each other or with places: the graph takes only as many as its source says. */
  fixBatch(): void {
    this.fixed = true;
  }

  /** An input, its shape without the batch: [H, W, C] for images. */
  input(name: string, shape: Shape): Value {
    const unique = this.unique(name, this.names);
    this.inputs.push({ name: unique, shape });
    return new Value(unique, placeholder(unique, { shape: [this.batch, ...shape], dtype: 'f32' }));
  }

  /** Weight [kh, kw, Cin/groups, Cout], and what conv2d takes. */
  conv2d(x: Value, { weight, bias, stride, padding, dilation, groups = 1 }: ConvWeights, path = 'conv'): Value {
    const [kh, kw, perGroup, outputs] = weight.shape as [number, number, number, number];
    const attrs = {
      inputs: perGroup * groups,
      outputs,
      kernel: [kh, kw],
      stride: [...pair(stride, 1)],
      padding: [...fourSides(padding)],
      dilation: [...pair(dilation, 1)],
      groups,
      bias: bias !== undefined,
    };
    return this.add('conv2d', [x], attrs, path, { weight, ...(bias && { bias }) })[0]!;
  }
  /** Weight [in, out]. */
  linear(x: Value, { weight, bias }: { weight: HostTensor; bias?: HostTensor | undefined }, path = 'linear'): Value {
    const [inputs, outputs] = weight.shape as [number, number];
    return this.add('linear', [x], { inputs, outputs, bias: bias !== undefined }, path, {
      weight,
      ...(bias && { bias }),
    })[0]!;
  }
  batchNorm(x: Value, { weight, bias, mean, variance, eps, momentum = 0.1 }: NormWeights, path = 'bn'): Value {
    const channels = sizeOf(mean.shape);
    const flat = (t: HostTensor) => host(t.data, [channels]);
    return this.add('batchNorm', [x], { channels, eps, momentum, scale: weight !== undefined }, path, {
      ...(weight && { weight: flat(weight) }),
      bias: flat(bias ?? host(new Float32Array(channels), [channels])),
      runningMean: flat(mean),
      runningVar: flat(variance),
    })[0]!;
  }
  /** A slope per channel; one slope is repeated. */
  prelu(x: Value, slope: HostTensor, path = 'prelu'): Value {
    const channels = x.shape[x.shape.length - 1]!;
    const weight = host(
      slope.data.length === 1 ? new Float32Array(channels).fill(slope.data[0]!) : (slope.data as Float32Array),
      [channels],
    );
    return this.add('prelu', [x], { channels }, path, { weight })[0]!;
  }
  /** A tensor that training changes. It has no batch axis but broadcasts. */
  parameter(value: HostTensor, path = 'parameter'): Value {
    return this.add('parameter', [], { shape: [...value.shape] }, path, { value })[0]!;
  }
  /** A tensor that stays as it is. */
  constant(value: HostTensor, path = 'constant'): Value {
    return this.add('constant', [], { shape: [...value.shape] }, path, { value })[0]!;
  }
  /** The same numbers in another shape; axis 0 holds the batch, of any size later, and what else is in it. */
  reshape(x: Value, shape: Shape, path?: string): Value {
    const rest = shape.slice(1).every((d) => d > 0) ? -1 : shape[0]!;
    const free = shape.map((d, i) => (i > 0 ? d : d === x.shape[0] ? 0 : rest));
    return this.apply('reshape', [x], { shape: free }, path);
  }

  /** Any other operator by name. `path` is made unique; by default it is the operator's name. */
  apply(op: string, inputs: readonly Value[], attrs: Readonly<Record<string, unknown>> = {}, path = op): Value {
    return this.add(op, inputs, attrs, path)[0]!;
  }
  /** As `apply`, for operators that give several values; `count` of them. */
  applyMany(op: string, inputs: readonly Value[], attrs: Readonly<Record<string, unknown>>, path = op): Value[] {
    return this.add(op, inputs, attrs, path);
  }

  private add(
    op: string,
    inputs: readonly Value[],
    attrs: Readonly<Record<string, unknown>>,
    wanted: string,
    weights: Readonly<Record<string, HostTensor>> = {},
  ): Value[] {
    const path = this.unique(graphPath(wanted), this.paths);
    const node = { op, path, inputs: inputs.map((v) => v.name), attrs };
    const { operator, attrs: complete } = operatorOf(node);
    const layer = operator.module?.(complete);
    if (layer) nameTree(layer, path);
    const made = applyOperator(
      { operator, attrs: complete, layer, path },
      inputs.map((v) => v.tensor),
      this.ctx,
    );
    for (const [name, t] of Object.entries(weights))
      this.tensors.set(`layers.${path}.${name}`, { data: asFloat(t, `${path}.${name}`), shape: t.shape, dtype: 'f32' });
    const values = made.map((t, i) => new Value(this.unique(made.length > 1 ? `${path}:${i}` : path, this.names), t));
    this.nodes.push({ ...node, outputs: values.map((v) => v.name) });
    return values;
  }

  private unique(name: string, taken: Set<string>): string {
    let out = name;
    for (let i = 1; taken.has(out); i++) out = `${name}_${i}`;
    taken.add(out);
    return out;
  }

  /**
   * The graph that gives these values. What nothing of them needs is left out.
   * @throws DataError where there is none
   */
  finish(outputs: Readonly<Record<string, Value>>): Graph {
    const needed = new Set(Object.values(outputs).map((v) => v.name));
    if (needed.size === 0) throw new DataError('graph: expected at least one output, got none\nName a value.');
    const nodes: GraphNode[] = [];
    for (const node of this.nodes.toReversed()) {
      if (!node.outputs.some((o) => needed.has(o))) continue;
      for (const i of node.inputs) needed.add(i);
      nodes.unshift(node);
    }
    const prefixes = new Set(nodes.map((n) => `layers.${n.path}.`));
    const prefixOf = (name: string) => name.slice(0, name.lastIndexOf('.') + 1);
    const spec: GraphSpec = {
      inputs: this.inputs,
      nodes,
      outputs: Object.entries(outputs).map(([name, value]) => ({ name, value: value.name })),
    };
    return {
      spec: !this.fixed && takesBatches(spec) ? spec : { ...spec, batch: this.batch },
      tensors: new Map([...this.tensors].filter(([name]) => prefixes.has(prefixOf(name)))),
    };
  }
}

/** Whether every output of a batch of two is two of what one image gives. */
function takesBatches(spec: GraphSpec): boolean {
  const at = (n: number) => spec.inputs.map((i) => placeholder(i.name, { shape: [n, ...i.shape], dtype: 'f32' }));
  try {
    const network = new GraphNetwork(spec);
    const [one, two] = [1, 2].map((n) => [...network.outputs(at(n), new TraceContext(false)).values()]);
    return two!.every((y, i) => sameShape(y.shape, [2, ...one![i]!.shape.slice(1)]) && one![i]!.shape[0] === 1);
  } catch (error) {
    if (error instanceof ShapeError || error instanceof UsageError) return false;
    throw error;
  }
}

function asFloat({ data, dtype }: HostTensor, what: string): Float32Array {
  if (dtype !== 'f32' && dtype !== 'i32' && dtype !== 'u8')
    throw new DataError(`${what}: expected numbers, got ${dtype}\nWeights are float32.`);
  if (data instanceof Float32Array) return data;
  const out = hostArray('f32', data.length) as Float32Array;
  out.set(data);
  return out;
}
