/**
 * Reverse-mode differentiation, graph in, graph out.
 *
 * The one idea: walk the nodes from the loss back in reverse order of creation, add up what each output receives, and
 * let the op's record say what its inputs get. Gradients are ordinary tensors, so they can be fused, read or
 * differentiated again.
 */
import { UsageError } from './core/errors.ts';
import { showShape } from './core/shape.ts';
import { type Node, Tensor, tensor, Variable, within } from './core/tensor.ts';
import type { Op } from './ops/define.ts';
import { zeros } from './ops/movement.ts';
import { add, broadcastTo } from './ops/pointwise.ts';

/** Every node that `roots` depend on, in topological order. */
export function ancestors(roots: readonly Tensor[]): Node[] {
  const seen = new Set<Node>();
  const stack = roots.map((t) => t.node);
  while (stack.length) {
    const n = stack.pop()!;
    if (seen.has(n)) continue;
    seen.add(n);
    for (const x of n.inputs) if (!seen.has(x.node)) stack.push(x.node);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/**
 * Gradients of a scalar with respect to tensors or variables, in their order. What the loss does not depend on gets
 * zeros. Throws UsageError if the loss is no scalar, or if an op in between has no gradient, with its reason.
 */
export function grad(loss: Tensor, wrt: readonly (Tensor | Variable)[]): Tensor[] {
  if (loss.size !== 1)
    throw new UsageError(`grad: expected a scalar loss, got ${loss}\nReduce it first, e.g. mean(loss).`);
  return vjp([loss], [broadcastTo(tensor(1), loss.shape)], wrt);
}

/**
 * Σ dy·∂y/∂x for outputs y that received dy, in the order of `wrt`: what `grad` is made of. Zeros where no y depends on x.
 */
export function vjp(ys: readonly Tensor[], dys: readonly Tensor[], wrt: readonly (Tensor | Variable)[]): Tensor[] {
  const targets = wrt.map((t) => (t instanceof Variable ? t.tensor : t));
  const wanted = new Set(targets.map((t) => t.id));
  const order = ancestors(ys);
  // Only nodes between the targets and the loss take part.
  const active = new Set<number>();
  for (const n of order)
    if (n.outputs.some((_, i) => wanted.has(`${n.id}.${i}`)) || n.inputs.some((x) => active.has(x.node.id)))
      active.add(n.id);

  const received = new Map<string, Tensor>();
  const give = (to: Tensor, dy: Tensor) => {
    const before = received.get(to.id);
    received.set(to.id, before ? add(before, dy) : dy);
  };
  ys.forEach((y, i) => {
    give(y, dys[i]!);
  });
  for (const node of order.reverse()) {
    if (!active.has(node.id) || node.inputs.length === 0) continue;
    const outputs = node.outputs.map((_, i) => new Tensor(node, i));
    const receivedHere = outputs.map((y) => received.get(y.id));
    if (receivedHere.every((d) => d === undefined)) continue;
    if (!node.inputs.some((x) => active.has(x.node.id))) continue;
    const op = node.op as Op;
    if (typeof op.backward !== 'function')
      throw new UsageError(
        `grad: '${op.name}' ${showShape(outputs[0]!.shape)} has no gradient: ${op.backward.reason}\nPut stopGradient before it, or leave it out of the loss.`,
      );
    const { backward } = op;
    const given = within(node.path, () =>
      backward({ inputs: node.inputs, outputs, dys: receivedHere, attrs: node.attrs }),
    );
    given.forEach((dx, i) => {
      const x = node.inputs[i]!;
      if (dx && active.has(x.node.id)) give(x, dx);
    });
  }
  return targets.map((t) => received.get(t.id) ?? zeros(t.shape));
}
