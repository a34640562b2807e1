/**
 * What a network costs: parameters and multiply-adds, in all and layer by layer, and the memory of its activations.
 *
 * The one idea: nothing is counted by hand. The network is traced once in inference mode and the op records say what
 * each convolution and matrix product costs; a layer is a module with variables of its own, and an op belongs to the
 * layer whose variable it reads. Additions, activations and normalisations are not multiply-adds, as in the papers. The
 * memory is that of the plan: what it stores, placed as it would be, and not what it computes again.
 */
import { type Shape, sizeOf } from '../core/shape.ts';
import { type Node, type Tensor, type TensorSpec, type Variable, variableOp } from '../core/tensor.ts';
import { ancestors, grad } from '../grad.ts';
import { modulesOf, Parameter, parametersOf } from '../nn/module.ts';
import type { Op } from '../ops/define.ts';
import { add } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import { place } from '../plan/arena.ts';
import { fuse } from '../plan/fuse.ts';
import { lower } from '../plan/lower.ts';
import { type Graph, rootsOf, type TraceContext, trace } from '../plan/trace.ts';
import { GraphNetwork } from './graph/network.ts';
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

/** What is traced of a network: of an imported graph all its inputs and outputs, of others images and embeddings. */
interface Whole {
  /** Shapes of its inputs for n images. */
  specs(n: number): Record<string, TensorSpec>;
  outputs(inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext): Tensor[];
  /** The only number of images, where there is one. */
  readonly batch?: number | undefined;
}
function wholeOf(network: FaceNetwork): Whole {
  if (!(network instanceof GraphNetwork)) {
    const shape = [...network.preprocessing.inputSize, 3];
    return {
      specs: (n) => ({ x: { shape: [n, ...shape], dtype: 'f32' } }),
      outputs: ({ x }, ctx) => [network.call(x!, ctx)],
    };
  }
  const { inputs, batch } = network.options.graph;
  return {
    specs: (n) => Object.fromEntries(inputs.map((i) => [i.name, { shape: [n, ...i.shape], dtype: 'f32' }])),
    outputs: (x, ctx) => [
      ...network
        .outputs(
          inputs.map((i) => x[i.name]!),
          ctx,
        )
        .values(),
    ],
    batch,
  };
}
const byNumber = (tensors: readonly Tensor[]) => Object.fromEntries(tensors.map((t, i) => [String(i), t]));

/** Counts for one image of the network's input size. */
export function summarize(network: FaceNetwork): NetworkSummary {
  const { specs, outputs, batch = 1 } = wholeOf(network);
  const graph = trace((x, ctx) => byNumber(outputs(x, ctx)), specs(batch), false);
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

/** Bytes of device memory for the activations of one image. */
export interface ActivationBytes {
  /** In a step that computes the gradients of all parameters: kept for the backward pass, and their gradients. */
  readonly training: number;
  readonly inference: number;
}

/** Bytes that the plan of a graph stores between its inputs and its outputs, without the kernels' own temporaries. */
function stepBytes(graph: Graph): number {
  const { homes, bytes } = lower(fuse(graph), { step: () => {}, copy: () => {} });
  return place(homes.flatMap((h, id) => (h.kind === 'step' ? [{ ...h, bytes: bytes[id]! }] : []))).bytes;
}

/** A batch beside which what does not grow with it (gradients of parameters) is nothing. Only shapes are computed. */
const largeBatch = 2 ** 20;

/**
 * Activation memory by the plan: the share of each image in that of a large batch. Parameters, their gradients and what the
 * optimizer keeps do not grow with the batch and are not in it; nor is the room that single kernels need while they run.
 */
export function activationBytes(network: FaceNetwork): ActivationBytes {
  const { specs, outputs, batch: images = largeBatch } = wholeOf(network);
  const parameters = parametersOf(network);
  const perImage = (training: boolean): number => {
    const graph = trace(
      (x, ctx) => {
        const made = outputs(x, ctx);
        if (!training) return byNumber(made);
        return byNumber(grad(made.map((y) => sum(y)).reduce(add), parameters));
      },
      { ...specs(images), key: { shape: [2], dtype: 'i32' } },
      training,
    );
    return Math.round(stepBytes(graph) / images);
  };
  return { training: perImage(true), inference: perImage(false) };
}
