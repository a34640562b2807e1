/**
 * Recomputation: trading time for memory (Chen, Xu, Zhang, Guestrin 2016, "Training Deep Nets with Sublinear Memory
 * Cost", arXiv 1604.06174).
 *
 * The one idea: a checkpointed piece is differentiated on a second copy of its nodes, made in the backward pass from the
 * kept input. Nothing of the first copy is read again, so its buffers are free after the forward pass. State changes
 * belong to the first copy alone, so they happen once; equal kernels on equal bits make the gradients the same.
 */
import { constantOp, type Tensor } from '../core/tensor.ts';
import { ancestors, vjp } from '../grad.ts';
import { defineOp, type Op } from '../ops/define.ts';
import { rewrite } from './rewrite.ts';

/**
 * The same value, which the plan may not see through: what is computed from it is no duplicate of what was computed
 * from the original. The number tells one barrier from another.
 */
export const recomputeBarrierOp: Op<{ nonce: number }> = defineOp<{ nonce: number }>('recomputeBarrier', {
  roles: ['x'],
  infer: ([x]) => [x!],
  reference: ([x], [y]) => y!.set(x!),
  backward: ({ dys }) => [dys[0]],
  kernels: { kind: 'view', offset: () => 0 },
  cost: () => ({ flops: 0, bytes: 0 }),
  samples: [{ inputs: [{ shape: [3, 5] }], attrs: { nonce: 0 } }],
  errorSamples: [],
});
let nextNonce = 1;

/**
 * Output of a checkpointed piece: its value, then what it was computed from. The value receives no gradient; the rest
 * receives that of the second copy.
 */
export const checkpointOp: Op<Record<string, never>> = defineOp<Record<string, never>>('checkpoint', {
  roles: ['y'],
  variadic: true,
  infer: ([y]) => [y!],
  reference: ([y], [out]) => out!.set(y!),
  backward({ inputs: [y, ...sources], dys }) {
    const nonce = nextNonce++;
    // Leaves cost nothing to keep and are read as they are.
    const copies = sources.map((x) => (isLeaf(x) ? x : recomputeBarrierOp.apply([x], { nonce })[0]!));
    const again = rewrite([y!], new Map(sources.map((x, i) => [x.id, copies[i]!])));
    return [undefined, ...vjp(again, [dys[0]!], copies)];
  },
  kernels: { kind: 'view', offset: () => 0 },
  cost: () => ({ flops: 0, bytes: 0 }),
  samples: [],
  errorSamples: [],
});

/**
 * A function of one tensor whose inner values are not kept for the backward pass but computed again there, from the
 * input. Values and gradients are those of `fn`. What `x` was made from, variables and inputs are kept.
 */
export function checkpoint(fn: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  return (x) => {
    const outside = new Set(ancestors([x]).map((n) => n.id));
    const y = fn(x);
    if (outside.has(y.node.id)) return y;
    const sources = new Map<string, Tensor>();
    for (const n of ancestors([y]))
      if (!outside.has(n.id))
        for (const t of n.inputs)
          if (t.dtype === 'f32' && t.node.op !== constantOp && (outside.has(t.node.id) || isLeaf(t)))
            sources.set(t.id, t);
    return checkpointOp.apply([y, ...sources.values()], {})[0]!;
  };
}

const isLeaf = (t: Tensor): boolean => t.node.inputs.length === 0;
