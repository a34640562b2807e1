/**
 * What a network costs: parameters and multiply-adds, in all and layer by layer.
 *
 * The one idea: nothing is counted by hand. The network is traced once in inference mode and the op records say what
 * each convolution and matrix product costs; a layer is a module with variables of its own, and an op belongs to the
 * layer whose variable it reads. Additions, activations and normalisations are not multiply-adds, as in the papers.
 */
import { type Shape, sizeOf } from '../core/shape.ts';
import { type Node, type Variable, variableOp } from '../core/tensor.ts';
import { ancestors } from '../grad.ts';
import { modulesOf, Parameter } from '../nn/module.ts';
import type { Op } from '../ops/define.ts';
import { rootsOf, trace } from '../plan/trace.ts';
import type { FaceNetwork } from './network.ts';

export interface LayerSummary {
  /** Dotted path of the module. */
  readonly name: string;
  readonly type: string;
  /** Of one image: [H, W, C], or [d]. */
  readonly output: Shape;
  readonly parameters: number;
  readonly multiplyAdds: number;
}
export interface NetworkSummary {
  readonly parameters: number;
  readonly multiplyAdds: number;
  readonly layers: readonly LayerSummary[];
}

const multiplies = new Set(['conv2d', 'depthwiseConv2d', 'matmul']);

function multiplyAddsOf(n: Node): number {
  return multiplies.has(n.op.name) ? (n.op as Op).cost(n.inputs, n.outputs, n.attrs).flops / 2 : 0;
}

/** Counts for one image of the network's input size. */
export function summarize(network: FaceNetwork): NetworkSummary {
  const [h, w] = network.preprocessing.inputSize;
  const graph = trace(({ x }, ctx) => network.call(x!, ctx), { x: { shape: [1, h, w, 3], dtype: 'f32' } }, false);
  const nodes = ancestors(rootsOf(graph));
  const variableOf = (n: Node): Variable | undefined =>
    n.op === variableOp ? (n.attrs as { variable: Variable }).variable : undefined;
  const layers: LayerSummary[] = [];
  for (const m of modulesOf(network)) {
    const own = new Set<Variable>(Object.values(m).filter((v) => v instanceof Parameter));
    if (own.size === 0) continue;
    const users = nodes.filter((n) => n.inputs.some((x) => own.has(variableOf(x.node)!)));
    const last = users[users.length - 1];
    layers.push({
      name: m.path,
      type: m.constructor.name,
      output: last ? last.outputs[0]!.shape.slice(1) : [],
      parameters: [...own].reduce((sum, p) => sum + sizeOf(p.shape), 0),
      multiplyAdds: users.reduce((sum, n) => sum + multiplyAddsOf(n), 0),
    });
  }
  return {
    parameters: layers.reduce((n, l) => n + l.parameters, 0),
    multiplyAdds: nodes.reduce((n, x) => n + multiplyAddsOf(x), 0),
    layers,
  };
}
