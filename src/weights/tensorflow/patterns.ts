/**
 * What TensorFlow writes in several operators and is one here: PReLU and leaky ReLU, unit length, a bias after a layer,
 * padding before one.
 *
 * The one idea: nodes are replaced by one that says the same, under the name of the last of them; what it no longer reads is
 * never reached from the outputs and so falls away.
 */
import type { TfAttr, TfNode } from './graphDef.ts';
import { type Constant, constant } from './wire.ts';

/** The name of a node and which of its outputs, from an input as nodes list it. */
export function place(input: string): { readonly name: string; readonly index: number } {
  const at = input.lastIndexOf(':');
  const index = at > 0 ? Number(input.slice(at + 1)) : 0;
  return Number.isInteger(index) && at > 0 ? { name: input.slice(0, at), index } : { name: input, index: 0 };
}

/** Operators that give what they take. */
export const passing: ReadonlySet<string> = new Set([
  'Identity',
  'StopGradient',
  'PreventGradient',
  'CheckNumerics',
  'Snapshot',
  'PlaceholderWithDefault',
  'ReadVariableOp',
  'EnsureShape',
]);

/** Layers that a bias and an activation can be part of: their names with and without. */
export const layers: ReadonlyMap<string, string> = new Map([
  ['Conv2D', '_FusedConv2D'],
  ['DepthwiseConv2dNative', 'FusedDepthwiseConv2dNative'],
  ['MatMul', '_FusedMatMul'],
]);

/** Nodes by name, with what is known of them while they are rewritten. */
export interface TfGraph {
  readonly nodes: Map<string, TfNode>;
  /** Constants by the name of the node that gives them. */
  readonly constants: Map<string, Constant>;
}

/** Rewrites a graph in place. */
export function simplify(graph: TfGraph): void {
  const { nodes, constants } = graph;
  const uses = new Map<string, number>();
  for (const node of nodes.values())
    for (const input of node.inputs) {
      const { name } = place(input);
      uses.set(name, (uses.get(name) ?? 0) + 1);
    }
  const constantOf = (input: string | undefined) =>
    input === undefined ? undefined : constants.get(place(input).name);
  const alone = (node: TfNode) => uses.get(node.name) === 1;
  /** The node that an input comes from, through those that give what they take. */
  const source = (input: string | undefined): TfNode | undefined => {
    let at = input === undefined ? undefined : nodes.get(place(input).name);
    for (let i = 0; at && passing.has(at.op) && at.inputs[0] !== undefined && i < 100; i++) {
      if (place(at.inputs[0]).index !== 0) return at;
      at = nodes.get(place(at.inputs[0]).name);
    }
    return at;
  };
  const from = (input: string | undefined, ops: readonly string[]) => {
    const node = source(input);
    return node && ops.includes(node.op) ? node : undefined;
  };
  /** Whether two inputs are one value. */
  const same = (a: string | undefined, b: string | undefined) => {
    const [x, y] = [source(a), source(b)];
    return x !== undefined && x === y && a !== undefined && b !== undefined && place(a).index === place(b).index;
  };
  const is = (input: string | undefined, value: number) => {
    const c = constantOf(input);
    return c !== undefined && c.data.length > 0 && c.data.every((x) => x === value);
  };
  /** The other input of an operator of two, where one is a given number. */
  const beside = (node: TfNode, value: number) =>
    is(node.inputs[1], value) ? node.inputs[0] : is(node.inputs[0], value) ? node.inputs[1] : undefined;

  const replace = (
    node: TfNode,
    op: string,
    inputs: readonly string[],
    attrs: Readonly<Record<string, TfAttr>> = {},
    kept: TfNode = node,
  ) => nodes.set(node.name, { name: node.name, op, inputs, attrs: new Map([...kept.attrs, ...Object.entries(attrs)]) });

  /** The value whose positive part an input is: relu(x), or max(x, 0). */
  const positivePart = (input: string): string | undefined => {
    const relu = from(input, ['Relu']);
    if (relu) return relu.inputs[0];
    const max = from(input, ['Maximum']);
    return max && beside(max, 0);
  };

  /**
   * The slopes a of a·min(x, 0), however it is written: k·(x − |x|) with k = a/2, k·relu(−x) with k = −a, k·min(x, 0).
   * A product may be of several factors, one of which is not constant.
   */
  const negativePart = (input: string): { readonly x: string; readonly slopes: Constant } | undefined => {
    let factor: Constant | undefined;
    let at: string | undefined = input;
    for (let i = 0; i < 4 && at !== undefined; i++) {
      const mul = from(at, ['Mul']);
      if (!mul) break;
      const [a, b] = mul.inputs;
      const k: Constant | undefined = constantOf(a) ?? constantOf(b);
      if (!k) return undefined;
      if (factor && k.data.length !== 1 && factor.data.length !== 1) return undefined;
      const [wide, one]: [Constant, number] = !factor
        ? [k, 1]
        : k.data.length === 1
          ? [factor, k.data[0]!]
          : [k, factor.data[0]!];
      factor = constant(
        'float',
        wide.shape,
        wide.data.map((v) => v * one),
      );
      at = constantOf(a) ? b : a;
    }
    if (!factor || at === undefined) return undefined;
    const times = (by: number) =>
      constant(
        'float',
        factor!.shape,
        factor!.data.map((v) => v * by),
      );
    const minimum = from(at, ['Minimum']);
    const least = minimum && beside(minimum, 0);
    if (least !== undefined) return { x: least, slopes: times(1) };
    const relu = from(at, ['Relu']);
    const negated = relu && from(relu.inputs[0], ['Neg']);
    if (negated?.inputs[0] !== undefined) return { x: negated.inputs[0], slopes: times(-1) };
    const difference = from(at, ['Sub']);
    const size = difference && from(difference.inputs[1], ['Abs']);
    const x = difference?.inputs[0];
    if (x !== undefined && size && same(x, size.inputs[0])) return { x, slopes: times(2) };
    return undefined;
  };

  const prelu = (node: TfNode): boolean => {
    const [a, b] = node.inputs;
    if (a === undefined || b === undefined) return false;
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const x = positivePart(one);
      const low = x !== undefined && negativePart(other);
      if (!low || !same(x, low.x)) continue;
      const name = `${node.name}/slopes`;
      if (nodes.has(name)) return false;
      constants.set(name, low.slopes);
      nodes.set(name, { name, op: 'Const', inputs: [], attrs: new Map() });
      replace(node, 'Prelu', [x, name]);
      return true;
    }
    return false;
  };

  /** max(x, slope·x) */
  const leaky = (node: TfNode): boolean => {
    const [a, b] = node.inputs;
    for (const [x, scaled] of [
      [a, b],
      [b, a],
    ] as const) {
      const mul = from(scaled, ['Mul']);
      if (!mul || x === undefined) continue;
      const [p, q] = mul.inputs;
      const k = constantOf(p) ?? constantOf(q);
      const other = constantOf(p) ? q : p;
      if (k?.data.length !== 1 || !(k.data[0]! >= 0 && k.data[0]! <= 1) || !same(other, x)) continue;
      replace(node, 'LeakyRelu', [x], { alpha: { f: k.data[0]! } });
      return true;
    }
    return false;
  };

  /** x · rsqrt(max(Σ x², eps)), and x / sqrt of that. */
  const unitLength = (node: TfNode): boolean => {
    const division = node.op === 'RealDiv';
    for (const [x, length] of division ? [node.inputs] : [node.inputs, node.inputs.toReversed()]) {
      const root = from(length, [division ? 'Sqrt' : 'Rsqrt']);
      const clamped = root && from(root.inputs[0], ['Maximum']);
      if (!clamped || x === undefined) continue;
      for (const [summed, least] of [clamped.inputs, clamped.inputs.toReversed()]) {
        const eps = constantOf(least);
        const sum = from(summed, ['Sum']);
        const square = sum && from(sum.inputs[0], ['Square']);
        const axis = sum && constantOf(sum.inputs[1]);
        if (!sum || !square || eps?.data.length !== 1 || axis?.data.length !== 1) continue;
        if (!same(square.inputs[0], x) || !(sum.attrs.get('keep_dims') ?? sum.attrs.get('keepdims'))?.b) continue;
        replace(node, 'L2Normalize', [x], { axis: { i: axis.data[0]! }, eps: { f: Math.sqrt(eps.data[0]!) } }, sum);
        return true;
      }
    }
    return false;
  };

  /** A layer that only this node reads, and a bias of one number a channel. */
  const bias = (node: TfNode): boolean => {
    for (const [x, b] of node.op === 'BiasAdd' ? [node.inputs] : [node.inputs, node.inputs.toReversed()]) {
      const layer = x === undefined ? undefined : nodes.get(place(x).name);
      const numbers = constantOf(b);
      const weight = layer && constantOf(layer.inputs[1]);
      if (!layer || !numbers || !weight || b === undefined || !alone(layer) || !layers.has(layer.op)) continue;
      const [p, q] = weight.shape.slice(-2);
      const outputs = layer.op === 'DepthwiseConv2dNative' ? p! * q! : layer.attrs.get('transpose_b')?.b ? p : q;
      if (numbers.data.length !== outputs || numbers.shape.at(-1) !== outputs) continue;
      replace(
        node,
        layers.get(layer.op)!,
        [...layer.inputs.slice(0, 2), b],
        { fused_ops: { texts: ['BiasAdd'] } },
        layer,
      );
      return true;
    }
    return false;
  };

  /** Zeros around an image before a layer without padding of its own. */
  const padding = (node: TfNode): boolean => {
    const pad = node.inputs[0] === undefined ? undefined : nodes.get(place(node.inputs[0]).name);
    if (!pad || !['Pad', 'PadV2'].includes(pad.op) || node.attrs.get('padding')?.s !== 'VALID' || !alone(pad))
      return false;
    const sizes = constantOf(pad.inputs[1]);
    if (sizes?.data.length !== 8 || (pad.op === 'PadV2' && !is(pad.inputs[2], 0))) return false;
    const all = [...sizes.data];
    if ([0, 1, 6, 7].some((i) => all[i] !== 0) || all.some((n) => !(Number.isSafeInteger(n) && n >= 0))) return false;
    replace(node, node.op, [pad.inputs[0]!, ...node.inputs.slice(1)], {
      padding: { s: 'EXPLICIT' },
      explicit_paddings: { numbers: all },
    });
    return true;
  };

  const convolutions = new Set([...layers].flat().filter((op) => !op.includes('MatMul')));
  for (const name of [...nodes.keys()]) {
    const node = nodes.get(name)!;
    if (constants.has(name)) continue;
    if (convolutions.has(node.op)) padding(node);
    else if (node.op === 'BiasAdd') bias(node);
    else if (node.op === 'Add' || node.op === 'AddV2') bias(node) || prelu(node);
    else if (node.op === 'Maximum') leaky(node);
    else if (node.op === 'Mul' || node.op === 'RealDiv') unitLength(node);
  }
}
