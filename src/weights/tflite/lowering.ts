/**
 * A graph on its way to TFLite operators: what the rules of lower.ts are written in.
 *
 * The one idea: a rule sees one node, with its attributes complete and its inputs as tensors of the program, and says which
 * operators make the node's value. Paddings that TensorFlow's SAME does not say become a PAD before; an activation behind a
 * layer that nothing else reads becomes part of it.
 */
import { UsageError } from '../../core/errors.ts';
import type { Shape } from '../../core/shape.ts';
import { operatorOf } from '../../models/graph/network.ts';
import { shapesOf } from '../../models/graph/shapes.ts';
import type { Graph, GraphNode } from '../../models/graph/spec.ts';
import { samePadding } from '../samePadding.ts';
import { fusedActivation, Program, type ProgramData } from './program.ts';
import { type BuiltinName, paddings } from './schema.ts';

// biome-ignore lint/suspicious/noExplicitAny: an operator's attributes are those of its own record
export type Attrs = any;
/** What an operator of a graph becomes. */
export type Rule = (n: Lowering) => void;
export type Four = [number, number, number, number];

/** Operators that can have an activation of their own. */
const canFuse: ReadonlySet<BuiltinName> = new Set<BuiltinName>([
  'CONV_2D',
  'DEPTHWISE_CONV_2D',
  'FULLY_CONNECTED',
  'ADD',
  'SUB',
  'MUL',
  'DIV',
  'AVERAGE_POOL_2D',
  'MAX_POOL_2D',
  'CONCATENATION',
]);

/** The whole graph. */
export class Lowerer {
  readonly program = new Program();
  readonly graph: Graph;
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Tensor of each value. */
  readonly values = new Map<string, number>();
  private readonly reads = new Map<string, number>();

  constructor(graph: Graph, batch: number) {
    this.graph = graph;
    this.shapes = shapesOf(graph.spec, batch);
    const read = (value: string) => this.reads.set(value, (this.reads.get(value) ?? 0) + 1);
    for (const n of graph.spec.nodes) n.inputs.forEach(read);
    for (const o of graph.spec.outputs) read(o.value);
  }
  run(rules: Readonly<Record<string, Rule>>): Program {
    const { program, graph } = this;
    for (const { name } of graph.spec.inputs) {
      const tensor = program.tensor({ name, shape: this.shapes.get(name)!, type: 'f32', value: name });
      this.values.set(name, tensor);
      program.inputs.push({ name, tensor });
    }
    const unknown = new Map<string, string>();
    for (const n of graph.spec.nodes) if (!Object.hasOwn(rules, n.op)) unknown.set(n.op, n.path);
    if (unknown.size)
      throw new UsageError(
        `TFLite: expected operators that it has, got\n${[...unknown].map(([op, path]) => `  ${op} (${path})`).join('\n')}\nExport to ONNX, which has them.`,
      );
    for (const n of graph.spec.nodes) rules[n.op]!(new Lowering(this, n));
    const used = new Set(program.inputs.map((p) => p.tensor));
    for (const { name, value } of graph.spec.outputs) {
      let tensor = this.values.get(value)!;
      // An output of its own for each name, made by an operator.
      if (used.has(tensor) || program.tensors[tensor]!.data) {
        const { shape } = program.tensors[tensor]!;
        const copy = program.tensor({ name, shape, type: 'f32', value });
        const to = program.tensor({
          name: `${name}.shape`,
          shape: [shape.length],
          type: 'i32',
          data: Int32Array.from(shape),
        });
        program.add('RESHAPE', [tensor, to], [copy], { newShape: shape });
        tensor = copy;
      }
      used.add(tensor);
      program.outputs.push({ name, tensor });
    }
    return program;
  }
  readOnce(value: string): boolean {
    return this.reads.get(value) === 1;
  }
}

/** One node of the graph. */
export class Lowering {
  readonly node: GraphNode;
  readonly attrs: Attrs;
  private readonly all: Lowerer;
  constructor(all: Lowerer, node: GraphNode) {
    this.all = all;
    this.node = node;
    this.attrs = operatorOf(node).attrs;
  }
  private get program(): Program {
    return this.all.program;
  }
  fail(what: string): never {
    throw new UsageError(`${this.node.path} (${this.node.op}): ${what}\nExport to ONNX, which has it.`);
  }
  input(i = 0): number {
    return this.all.values.get(this.node.inputs[i]!)!;
  }
  get count(): number {
    return this.node.inputs.length;
  }
  shape(i = 0): Shape {
    return this.all.shapes.get(this.node.inputs[i]!)!;
  }
  outShape(i = 0): Shape {
    return this.all.shapes.get(this.node.outputs[i]!)!;
  }
  shapeOf(tensor: number): Shape {
    return this.program.tensors[tensor]!.shape;
  }
  weight(name: string): { data: Float32Array; shape: Shape } {
    const t = this.all.graph.tensors.get(`layers.${this.node.path}.${name}`)!;
    return { data: Float32Array.from(t.data), shape: t.shape };
  }
  constant(data: ProgramData, shape: Shape, what: string): number {
    const type = data instanceof Int32Array ? 'i32' : 'f32';
    return this.program.tensor({ name: `${this.node.path}.${what}`, shape, type, data });
  }
  ints(list: readonly number[], what: string): number {
    return this.constant(Int32Array.from(list), [list.length], what);
  }
  number(x: number, what: string): number {
    return this.constant(Float32Array.of(x), [], what);
  }
  /** An operator whose result is on the way to the node's value. */
  step(op: BuiltinName, inputs: readonly number[], shape: Shape, options: Attrs = {}): number {
    const tensor = this.program.tensor({ name: `${this.node.path}.${op.toLowerCase()}`, shape, type: 'f32' });
    this.program.add(op, inputs, [tensor], options);
    return tensor;
  }
  /** The operator that makes the node's value. */
  last(op: BuiltinName, inputs: readonly number[], options: Attrs = {}): void {
    const value = this.node.outputs[0]!;
    const tensor = this.program.tensor({ name: value, shape: this.outShape(), type: 'f32', value });
    this.program.add(op, inputs, [tensor], options);
    this.all.values.set(value, tensor);
  }
  /** The operator that makes all of the node's values. */
  lastMany(op: BuiltinName, inputs: readonly number[], options: Attrs): void {
    const tensors = this.node.outputs.map((value, i) => {
      const tensor = this.program.tensor({ name: value, shape: this.outShape(i), type: 'f32', value });
      this.all.values.set(value, tensor);
      return tensor;
    });
    this.program.add(op, inputs, tensors, options);
  }
  /** The node's value is its input's. */
  pass(tensor = this.input()): void {
    this.all.values.set(this.node.outputs[0]!, tensor);
  }
  /** Makes the activation part of what made its input, where nothing else reads that. */
  fuse(name: 'relu' | 'relu6' | 'reluN1To1'): boolean {
    const from = this.node.inputs[0]!;
    const { ops, tensors } = this.program;
    const at = ops.findLastIndex((o) => o.outputs.includes(this.input()));
    const op = ops[at];
    // A value that goes by two names may have other readers.
    const own = tensors[this.input()]!.value === from && this.all.readOnce(from);
    if (!op || !own || !canFuse.has(op.op) || op.options.activation) return false;
    const value = this.node.outputs[0]!;
    ops[at] = { ...op, options: { ...op.options, activation: fusedActivation(name) } };
    const t = op.outputs[0]!;
    tensors[t] = { ...tensors[t]!, value };
    this.all.values.set(value, t);
    return true;
  }
  transposed(x: number, axes: readonly number[]): number {
    const shape = this.shapeOf(x);
    return this.step(
      'TRANSPOSE',
      [x, this.ints(axes, 'axes')],
      axes.map((a) => shape[a]!),
    );
  }
  /** Windows as TFLite says them, with a PAD of `value` before where it cannot. */
  windows(kernel: readonly [number, number], dilation: readonly [number, number] = [1, 1], value = 0) {
    const padding = this.attrs.padding as Four;
    const [sh, sw] = this.attrs.stride as [number, number];
    const options = { strideH: sh, strideW: sw, padding: paddings.valid as number };
    if (padding.every((p) => p === 0)) return { x: this.input(), options };
    const [, h, w] = this.shape() as Four;
    const same = samePadding([h, w], kernel, [sh, sw], dilation);
    if (same.every((p, i) => p === padding[i]))
      return { x: this.input(), options: { ...options, padding: paddings.same } };
    return { x: this.padded(this.input(), [[0, 0], padding.slice(0, 2), padding.slice(2), [0, 0]], value), options };
  }
  padded(x: number, pads: readonly (readonly number[])[], value: number, op = this.step.bind(this)): number {
    const shape = this.shapeOf(x).map((d, i) => d + pads[i]![0]! + pads[i]![1]!);
    const to = this.constant(Int32Array.from(pads.flat()), [pads.length, 2], 'paddings');
    if (value === 0) return op('PAD', [x, to], shape);
    return op('PADV2', [x, to, this.number(value, 'around')], shape);
  }
  axis(a: number, rank: number): number {
    return a < 0 ? a + rank : a;
  }
  /** Applies an operator that works along the last axis along another one. */
  alongLast(axis: number, op: BuiltinName, options: Attrs = {}): void {
    const rank = this.shape().length;
    const at = this.axis(axis, rank);
    if (at === rank - 1) {
      this.last(op, [this.input()], options);
      return;
    }
    const axes = this.shape().map((_, i) => i);
    [axes[at], axes[rank - 1]] = [axes[rank - 1]!, axes[at]!];
    const moved = this.transposed(this.input(), axes);
    const done = this.step(op, [moved], this.shapeOf(moved), options);
    this.last('TRANSPOSE', [done, this.ints(axes, 'axes')]);
  }
}
