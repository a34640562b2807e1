/**
 * In which steps a quantised graph runs: what is fused behind each convolution, and which values are stored in 8 bits.
 *
 * The one idea: a convolution takes along a sum with a value that is there already and an activation behind it, as far as
 * nothing else reads what lies between, and runs where the last of them stood. A value is stored in 8 bits where a
 * convolution reads it.
 */
import { shapesOf } from '../models/graph/shapes.ts';
import type { GraphNode } from '../models/graph/spec.ts';
import type { Int8Model } from './quantize.ts';

/** An activation that a convolution's kernel can apply: slopes below 0, or bounds. */
export interface Activation {
  readonly node: GraphNode;
  readonly min?: number;
  readonly max?: number;
}

/** A convolution or dense layer of 8-bit numbers with what is fused behind it. */
export interface Int8Step {
  readonly kind: 'int8';
  readonly node: GraphNode;
  readonly input: string;
  /** The value that is added. */
  readonly residual?: string;
  readonly activation?: Activation;
  readonly output: string;
  /** Whether the output is stored in 8 bits; otherwise in float32. */
  readonly stored: boolean;
}

/** Anything else, in float32. */
export interface FloatStep {
  readonly kind: 'float';
  readonly node: GraphNode;
}

/** Bounds of operators that only cut off. */
const bounds: Readonly<Record<string, (attrs: Readonly<Record<string, unknown>>) => Omit<Activation, 'node'>>> = {
  relu: () => ({ min: 0 }),
  relu6: () => ({ min: 0, max: 6 }),
  clamp: ({ min, max }) => ({
    ...(typeof min === 'number' && { min }),
    ...(typeof max === 'number' && { max }),
  }),
};
const hasSlopes = (op: string) => op === 'prelu' || op === 'leakyRelu';

export function stepsOf({ spec, quantised }: Int8Model): (Int8Step | FloatStep)[] {
  // Two images: what has no batch axis must not look like one that has.
  const shapes = shapesOf(spec, spec.batch ?? 2);
  const place = new Map(spec.nodes.map((n, i) => [n, i]));
  const outputs = new Set(spec.outputs.map((o) => o.value));
  const readers = new Map<string, GraphNode[]>();
  for (const n of spec.nodes) for (const i of n.inputs) readers.set(i, [...(readers.get(i) ?? []), n]);
  /** Nodes that are part of a step of another. */
  const taken = new Set<GraphNode>();
  const onlyReader = (value: string) => {
    const list = readers.get(value) ?? [];
    return list.length === 1 && !outputs.has(value) && !taken.has(list[0]!) ? list[0] : undefined;
  };
  const isRead = (value: string) => (readers.get(value) ?? []).some((n) => quantised.has(n.path));
  const activationOf = (n: GraphNode | undefined): Activation | undefined => {
    if (!n) return undefined;
    if (hasSlopes(n.op)) return { node: n };
    // Bounds are levels: they need a value that is stored in 8 bits. Those of relu alone are slopes as well.
    const bound = bounds[n.op];
    return bound && (n.op === 'relu' || isRead(n.outputs[0]!)) ? { node: n, ...bound(n.attrs) } : undefined;
  };

  const fused = new Map<GraphNode, Int8Step[]>();
  for (const node of spec.nodes) {
    if (!quantised.has(node.path)) continue;
    let output = node.outputs[0]!;
    let last = node;
    let residual: string | undefined;
    const then = onlyReader(output);
    if (then?.op === 'add' && then.inputs.length === 2 && then.inputs[0] !== then.inputs[1]) {
      const other = then.inputs.find((i) => i !== output)!;
      if (shapes.get(other)!.join() === shapes.get(output)!.join()) {
        residual = other;
        [output, last] = [then.outputs[0]!, then];
        taken.add(then);
      }
    }
    const activation = activationOf(onlyReader(output));
    if (activation) {
      [output, last] = [activation.node.outputs[0]!, activation.node];
      taken.add(last);
    }
    const step: Int8Step = {
      kind: 'int8',
      node,
      input: node.inputs[0]!,
      output,
      stored: true,
      ...(residual !== undefined && { residual }),
      ...(activation && { activation }),
    };
    fused.set(last, [...(fused.get(last) ?? []), step]);
  }
  const steps = spec.nodes
    .toSorted((a, b) => place.get(a)! - place.get(b)!)
    .flatMap((n): (Int8Step | FloatStep)[] => {
      const own = fused.get(n);
      if (own) return own;
      return quantised.has(n.path) || taken.has(n) ? [] : [{ kind: 'float', node: n }];
    });
  // What only float32 arithmetic reads, or nothing but the user, need not be rounded.
  const read = new Set(steps.flatMap((s) => (s.kind === 'int8' ? [s.input, s.residual] : [])));
  return steps.map((s) => (s.kind === 'int8' ? { ...s, stored: read.has(s.output) } : s));
}
