/** Shapes of all values of a graph: its operators applied to placeholders. */
import type { Shape } from '../../core/shape.ts';
import { placeholder, TraceContext } from '../../plan/trace.ts';
import { GraphNetwork } from './network.ts';
import type { GraphSpec } from './spec.ts';

/**
 * By name of the value, the batch axis first.
 * @param batch images; default 1, or what the graph fixes
 */
export function shapesOf(spec: GraphSpec, batch: number = spec.batch ?? 1): Map<string, Shape> {
  const values = [...spec.inputs.map((i) => i.name), ...spec.nodes.flatMap((n) => n.outputs)];
  const network = new GraphNetwork({ ...spec, outputs: values.map((value) => ({ name: value, value })) });
  const made = network.outputs(
    spec.inputs.map((i) => placeholder(i.name, { shape: [batch, ...i.shape], dtype: 'f32' })),
    new TraceContext(false),
  );
  return new Map([...made].map(([name, t]) => [name, t.shape]));
}
