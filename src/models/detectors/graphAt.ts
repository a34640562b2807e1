/**
 * An imported graph of convolutions for pictures of another size.
 *
 * The one idea: sizes stand in a graph in two places only: where a map is brought to the size of another one, which it is then
 * joined with, and where a map becomes rows. Both follow from the sizes of the values, so the graph is walked with the new ones.
 */
import { DataError } from '../../core/errors.ts';
import type { Shape } from '../../core/shape.ts';
import { sizeOf } from '../../core/shape.ts';
import type { Tensor } from '../../core/tensor.ts';
import { placeholder, TraceContext } from '../../plan/trace.ts';
import { applyOperator, operatorOf } from '../graph/network.ts';
import type { GraphNode, GraphSpec } from '../graph/spec.ts';

type Values = Map<string, Tensor>;

/** Adds what a node makes to the values. */
function apply(node: GraphNode, values: Values, ctx: TraceContext): void {
  const { operator, attrs } = operatorOf(node);
  const inputs = node.inputs.map((name) => values.get(name)!);
  const made = applyOperator({ operator, attrs, layer: operator.module?.(attrs), path: node.path }, inputs, ctx);
  node.outputs.forEach((name, i) => {
    values.set(name, made[i]!);
  });
}

const start = ({ inputs, batch = 1 }: GraphSpec, [height, width]: readonly [number, number]): Values => {
  const [image] = inputs;
  if (inputs.length !== 1 || image!.shape.length !== 3)
    throw new DataError('graph: expected one image as input\nOnly networks of images have other sizes.');
  return new Map([
    [image!.name, placeholder(image!.name, { shape: [batch, height, width, image!.shape[2]!], dtype: 'f32' })],
  ]);
};

/**
 * The graph for images of [height, width]; its tensors stay the same.
 * @throws DataError, ShapeError or UsageError where it is not of a kind that has other sizes
 */
export function graphAt(spec: GraphSpec, size: readonly [number, number]): GraphSpec {
  const ctx = new TraceContext(false);
  const old = start(spec, spec.inputs[0]!.shape as unknown as readonly [number, number]);
  const values = start(spec, size);
  const shapeOf = (from: Values, name: string): Shape => from.get(name)!.shape;
  const nodes = spec.nodes.map((node, at): GraphNode => {
    const [x] = node.inputs;
    let attrs = node.attrs;
    if (node.op === 'resize' && (attrs.size as number[] | undefined)?.length) {
      const partner = spec.nodes
        .slice(at + 1)
        .filter((n) => n.inputs.includes(node.outputs[0]!))
        .flatMap((n) => n.inputs)
        .find((name) => values.has(name));
      if (partner !== undefined) attrs = { ...attrs, size: shapeOf(values, partner).slice(1, 3) };
    }
    if (node.op === 'reshape' && sizeOf(shapeOf(old, x!)) !== sizeOf(shapeOf(values, x!))) {
      const shape = attrs.shape as readonly number[];
      if (!shape.includes(-1)) attrs = { ...attrs, shape: shape.map((n, i) => (i === 1 ? -1 : n)) };
    }
    apply(node, old, ctx);
    const next = { ...node, attrs };
    apply(next, values, ctx);
    return next;
  });
  const [image] = spec.inputs;
  return { ...spec, inputs: [{ name: image!.name, shape: [...size, image!.shape[2]!] }], nodes };
}
