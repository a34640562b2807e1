/**
 * Any network as a graph: what every exporter starts from.
 *
 * The one idea: nothing is written twice. The network is traced in inference, and each node of the trace becomes the operator
 * that means it. Arithmetic per element is recognised by its expression, compared with the expressions of the operators
 * themselves; what is none of them becomes a tree of additions, products and so on. Heads are no part of a network, so they
 * are no part of its graph; dropout is the identity in inference and is not there.
 */
import { UsageError } from '../../core/errors.ts';
import {
  constantOp,
  type HostTensor,
  host,
  type Node,
  placeholderOp,
  type Tensor,
  type Variable,
  variableOp,
} from '../../core/tensor.ts';
import * as E from '../../expr/nodes.ts';
import { ancestors } from '../../grad.ts';
import { BatchNorm } from '../../nn/layers.ts';
import { Module, modulesOf, Parameter, stateOf, variablesOf } from '../../nn/module.ts';
import type { ConvAttrs } from '../../ops/convolution.ts';
import type { PointwiseAttrs } from '../../ops/pointwise.ts';
import { rootsOf, type Graph as Trace, trace } from '../../plan/trace.ts';
import type { FaceNetwork } from '../network.ts';
import { GraphBuilder, type Value } from './builder.ts';
import { GraphNetwork } from './network.ts';
import { operators } from './operators.ts';
import { match, normalizeExpr, operandsIn, plainScaleExpr, preluExpr, scaleExpr, templates } from './patterns.ts';
import type { Graph } from './spec.ts';

/** Images in the trace: a number that no size of a layer is a multiple of, so that the batch is seen wherever it goes. */
const batch = 1_000_003;

/** Operators that compute what an expression's operation does. */
const unaryNames: ReadonlySet<string> = new Set(
  ['neg', 'abs', 'floor', 'ceil', 'round', 'sqrt', 'exp', 'log', 'tanh', 'sigmoid', 'sin', 'cos'].filter((n) =>
    operators.has(n),
  ),
);
const binaryNames: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'div', 'min', 'max', 'pow']);

class Translation {
  readonly builder = new GraphBuilder();
  private readonly values = new Map<string, Value>();
  private readonly users = new Map<string, Node[]>();
  private readonly numbers: ReadonlyMap<string, HostTensor>;
  /** Nodes that the images have a part in: their first axis is the batch. */
  private readonly ofImages = new Set<Node>();
  private readonly leaves: ReadonlySet<string>;
  private readonly norms: ReadonlyMap<Variable, BatchNorm>;

  constructor(network: FaceNetwork, numbers: ReadonlyMap<string, HostTensor>) {
    this.numbers = numbers;
    const modules = modulesOf(network);
    this.leaves = new Set(
      modules
        .filter(
          (m) =>
            !Object.values(m)
              .flat()
              .some((v) => v instanceof Module),
        )
        .map((m) => m.path),
    );
    this.norms = new Map(modules.filter((m) => m instanceof BatchNorm).map((m) => [m.runningMean, m]));
  }

  run(traced: Trace, output: string): Graph {
    const nodes = ancestors(rootsOf(traced));
    for (const n of nodes)
      if (n.op === placeholderOp || n.inputs.some((x) => this.ofImages.has(x.node))) this.ofImages.add(n);
    for (const n of nodes) for (const x of n.inputs) this.users.set(x.id, [...(this.users.get(x.id) ?? []), n]);
    for (const [name, t] of traced.inputs) this.values.set(t.id, this.builder.input(name, t.shape.slice(1)));
    for (const n of nodes) this.node(n);
    const result = traced.outputs.get('result')!;
    return this.builder.finish({ [output]: this.value(result) });
  }

  /** The graph's path for an operator that a node becomes: of a layer its own, within others the operator's name behind it. */
  private path(n: Node, op: string): string {
    return this.leaves.has(n.path) && n.path ? n.path : [n.path, op].filter(Boolean).join('.');
  }
  private refuse(n: Node, what: string): never {
    throw new UsageError(
      `export: expected operators that a graph has, but ${n.path || 'the network'} ${what}\nWrite this layer with other operations.`,
    );
  }
  private variable(t: Tensor | undefined): Variable | undefined {
    return t?.node.op === variableOp ? (t.node.attrs as { variable: Variable }).variable : undefined;
  }
  private numbersOf(v: Variable): HostTensor {
    return this.numbers.get(v.name)!;
  }
  /** The value of a tensor; numbers that are no layer's come in here, when they are first asked for. */
  private value(t: Tensor): Value {
    const known = this.values.get(t.id);
    if (known) return known;
    const v = this.variable(t);
    let made: Value;
    if (v) {
      const add = v instanceof Parameter ? 'parameter' : 'constant';
      made = this.builder[add](this.numbersOf(v), v.name);
    } else if (t.node.op === constantOp) {
      const { data } = t.node.attrs as { data: HostTensor['data'] };
      made = this.builder.constant(host(data, t.shape, t.dtype), this.path(t.node, 'constant'));
    } else return this.refuse(t.node, `has '${t.node.op.name}' whose value is not known`);
    this.values.set(t.id, made);
    return made;
  }
  private set(n: Node, value: Value, index = 0): void {
    this.values.set(n.tensor(index).id, value);
  }
  private apply(n: Node, op: string, inputs: readonly Value[], attrs: Record<string, unknown> = {}): Value {
    return this.builder.apply(op, inputs, attrs, this.path(n, op));
  }

  /** The node that adds a bias to this one's result and is all that reads it. */
  private biasAfter(n: Node): { adder: Node; bias: Variable } | undefined {
    const [adder, ...others] = this.users.get(n.tensor().id) ?? [];
    if (!adder || others.length) return undefined;
    const found = operandsIn(E.add(E.input(0), E.input(1)), adder);
    const bias = this.variable(found?.tensors[1]);
    if (found?.tensors[0]?.node !== n || bias?.shape.length !== 1) return undefined;
    return bias.size === n.outputs[0]!.shape.at(-1) ? { adder, bias } : undefined;
  }

  private node(n: Node): void {
    if (this.values.has(n.tensor().id)) return;
    const value = this.translated(n);
    if (value) this.set(n, value);
  }
  /** The value of a node; undefined for those that come in when they are asked for. */
  private translated(n: Node): Value | undefined {
    switch (n.op.name) {
      case placeholderOp.name:
      case variableOp.name:
      case constantOp.name:
        return undefined;
      case 'conv2d':
      case 'depthwiseConv2d':
        return this.convolution(n);
      case 'matmul':
        return this.matmul(n);
      case 'pointwise':
        return this.pointwise(n);
      case 'stopGradient':
        return this.value(n.inputs[0]!);
      case 'concat': {
        const { axis } = n.attrs as { axis: number };
        this.noBatch(n, [axis]);
        return this.apply(
          n,
          'concat',
          n.inputs.map((x) => this.value(x)),
          { axis },
        );
      }
      default:
        return this.moved(n);
    }
  }
  private noBatch(n: Node, axes: readonly number[]): number[] {
    if (axes.includes(0) && this.ofImages.has(n)) this.refuse(n, `has '${n.op.name}' across the images of a batch`);
    return [...axes];
  }

  private convolution(n: Node): Value {
    const [x, w] = n.inputs as [Tensor, Tensor];
    const weight = this.variable(w);
    if (!weight) this.refuse(n, 'convolves with weights that it computes');
    const { stride, padding, dilation, groups } = n.attrs as ConvAttrs;
    const after = this.biasAfter(n);
    const value = this.builder.conv2d(
      this.value(x),
      {
        weight: this.numbersOf(weight!),
        ...(after && { bias: this.numbersOf(after.bias) }),
        stride,
        padding,
        dilation,
        groups,
      },
      this.path(n, 'conv'),
    );
    if (after) this.set(after.adder, value);
    return value;
  }

  private matmul(n: Node): Value {
    const [a, b] = n.inputs as [Tensor, Tensor];
    const { transA, transB } = n.attrs as { transA: boolean; transB: boolean };
    const weight = this.variable(b);
    if (weight?.shape.length !== 2 || transA || transB)
      return this.apply(n, 'matmul', [this.value(a), this.value(b)], { transA, transB });
    const after = this.biasAfter(n);
    const value = this.builder.linear(
      this.value(a),
      { weight: this.numbersOf(weight), ...(after && { bias: this.numbersOf(after.bias) }) },
      this.path(n, 'linear'),
    );
    if (after) this.set(after.adder, value);
    return value;
  }

  private pointwise(n: Node): Value | undefined {
    const { expr, shape, label } = n.attrs as PointwiseAttrs;
    if (n.outputs[0]!.dtype !== 'f32') {
      // What only other operators' patterns read (a comparison inside of one) is never asked for.
      this.refuse(n, `gives ${n.outputs[0]!.dtype} ('${label}')`);
    }
    const value = this.batchNorm(n) ?? this.prelu(n) ?? this.expression(n, expr);
    const target = n.outputs[0]!.shape;
    const grows = shape && value?.shape.some((d, i) => i > 0 && d !== target[i]);
    return grows ? this.apply(n, 'broadcastTo', [value!], { shape: this.freeShape(n, target, target) }) : value;
  }

  /** The factor of a batch norm is part of the layer that reads it; alone it has no value. */
  private isNormScale(n: Node): boolean {
    const used = this.users.get(n.tensor().id) ?? [];
    return (
      (operandsIn(scaleExpr, n) ?? operandsIn(plainScaleExpr, n)) !== undefined &&
      used.length > 0 &&
      used.every((u) => operandsIn(normalizeExpr, u)?.tensors[2]?.node === n && this.norm(u))
    );
  }
  /** What a node normalises by, where it is a batch norm in inference. */
  private norm(n: Node) {
    const outer = operandsIn(normalizeExpr, n);
    const scale = outer?.tensors[2]?.node;
    const inner = scale && (operandsIn(scaleExpr, scale) ?? operandsIn(plainScaleExpr, scale));
    if (!outer || !inner) return undefined;
    const [mean, variance, bias] = [outer.tensors[1], inner.tensors[0], outer.tensors[3]].map((t) => this.variable(t));
    const weight = inner.tensors.length > 1 ? this.variable(inner.tensors[1]) : undefined;
    if (!mean || !variance || !bias || (inner.tensors.length > 1 && !weight)) return undefined;
    const channels = n.outputs[0]!.shape.at(-1);
    if ([mean, variance, bias].some((v) => v.shape.length !== 1 || v.size !== channels)) return undefined;
    return { x: outer.tensors[0]!, mean, variance, bias, weight, eps: inner.attrs.slope! };
  }
  private batchNorm(n: Node): Value | undefined {
    const found = this.norm(n);
    if (!found) return undefined;
    const { x, mean, variance, bias, weight, eps } = found;
    return this.builder.batchNorm(
      this.value(x),
      {
        mean: this.numbersOf(mean),
        variance: this.numbersOf(variance),
        bias: this.numbersOf(bias),
        weight: weight && this.numbersOf(weight),
        eps,
        momentum: this.norms.get(mean)?.momentum,
      },
      this.path(n, 'bn'),
    );
  }

  private prelu(n: Node): Value | undefined {
    const [x, slope] = operandsIn(preluExpr, n)?.tensors ?? [];
    const weight = this.variable(slope);
    if (!x || weight?.shape.length !== 1 || weight.size !== n.outputs[0]!.shape.at(-1)) return undefined;
    return this.builder.prelu(this.value(x), this.numbersOf(weight), this.path(n, 'prelu'));
  }

  /** Any expression, as one operator or a tree of them. */
  private expression(n: Node, expr: E.Expr): Value | undefined {
    if (this.isNormScale(n)) return undefined;
    const done = new Map<string, Value>();
    const go = (e: E.Expr): Value => {
      const key = E.keyOf(e);
      const before = done.get(key);
      if (before) return before;
      const made = compute(e);
      done.set(key, made);
      return made;
    };
    const compute = (e: E.Expr): Value => {
      if (e.kind === 'input') return this.value(n.inputs[e.index]!);
      if (e.kind === 'const')
        return this.builder.constant(host(Float32Array.of(e.value), []), this.path(n, 'constant'));
      for (const { op, expr: template } of templates) {
        const found = match(template, e);
        if (found) return this.apply(n, op, [go(found.operands[0]!)], found.attrs);
      }
      if (e.kind === 'unary' && unaryNames.has(e.op)) return this.apply(n, e.op, [go(e.a)]);
      if (e.kind === 'binary' && binaryNames.has(e.op)) {
        const [a, b] = [number(e.a), number(e.b)];
        if (b !== undefined && a === undefined) return this.apply(n, e.op, [go(e.a)], { value: b });
        if (a !== undefined && b === undefined) return this.apply(n, e.op, [go(e.b)], { value: a, reversed: true });
        return this.apply(n, e.op, [go(e.a), go(e.b)]);
      }
      return this.refuse(
        n,
        `computes '${(n.attrs as PointwiseAttrs).label}', in which '${'op' in e ? e.op : e.kind}' is no operator of a graph`,
      );
    };
    /** The number that an operand is, whatever its position. */
    const number = (e: E.Expr): number | undefined => {
      if (e.kind === 'const') return e.value;
      const t = e.kind === 'input' ? n.inputs[e.index] : undefined;
      if (t?.node.op !== constantOp || t.rank !== 0) return undefined;
      return (t.node.attrs as { data: ArrayLike<number> }).data[0];
    };
    return go(expr);
  }

  /** A shape with the batch free: 0 where the first axis stays, -1 where the batch is a part of it. */
  private freeShape(n: Node, shape: readonly number[], from: readonly number[]): number[] {
    if (!this.ofImages.has(n)) return [...shape];
    const holds = shape.filter((d) => d !== 0 && d % batch === 0);
    if (holds.length !== 1 || holds[0] !== shape[0])
      this.refuse(n, `has '${n.op.name}' to [${shape}], where the images of a batch are not the first axis`);
    return shape.map((d, i) => (i > 0 ? d : d === from[0] ? 0 : -1));
  }

  /** Operators that move, pool, reduce or resize: one input, attributes of much the same names. */
  private moved(n: Node): Value {
    const x = n.inputs[0];
    // biome-ignore lint/suspicious/noExplicitAny: each op's attributes are its own
    const a = n.attrs as any;
    const give = (op: string, attrs: Record<string, unknown>) => this.apply(n, op, [this.value(x!)], attrs);
    switch (x && n.op.name) {
      case 'maxPool':
      case 'avgPool':
      case 'resize':
        return give(n.op.name, { ...a });
      case 'sum':
      case 'mean':
      case 'max':
      case 'min':
        return give('reduce', { kind: n.op.name, axes: this.noBatch(n, a.axes), keep: false });
      case 'reshape':
        return give('reshape', { shape: this.freeShape(n, n.outputs[0]!.shape, x!.shape) });
      case 'transpose':
        if (a.axes[0] !== 0) this.noBatch(n, [0]);
        return give('transpose', { axes: [...a.axes] });
      case 'flip':
        return give('flip', { axes: this.noBatch(n, a.axes) });
      case 'pad':
        if (a.pads[0].some((p: number) => p > 0)) this.noBatch(n, [0]);
        return give('pad', { pads: a.pads, value: a.value });
      case 'slice': {
        let value = this.value(x!);
        x!.shape.forEach((size, axis) => {
          const [start, end, step] = [a.starts[axis], a.ends[axis], a.steps?.[axis] ?? 1];
          if (start === 0 && end === size && step === 1) return;
          this.noBatch(n, [axis]);
          value = this.apply(n, 'slice', [value], { axis, start, end, step });
        });
        return value;
      }
      default:
        return this.refuse(n, `has '${n.op.name}', which is no operator of a graph`);
    }
  }
}

/**
 * The graph of a network with its present numbers: input `input` of prepared images [H, W, C], output `embedding`. An
 * imported network is its own graph.
 * @throws UsageError where the network computes something that graphs have no operator for, or mixes the images of a batch
 */
export async function traced(network: FaceNetwork): Promise<Graph> {
  const numbers = await stateOf(variablesOf(network));
  if (network instanceof GraphNetwork) return { spec: network.options.graph, tensors: numbers as Graph['tensors'] };
  const [h, w] = network.preprocessing.inputSize;
  const found = trace(
    ({ input }, ctx) => network.call(input!, ctx),
    { input: { shape: [batch, h, w, 3], dtype: 'f32' } },
    false,
  );
  return new Translation(network, numbers as ReadonlyMap<string, HostTensor>).run(found, 'embedding');
}
