/**
 * Rebuilding a piece of a graph with some of its tensors replaced: what graph transforms are made of.
 */
import { Node, Tensor } from '../core/tensor.ts';
import { ancestors } from '../grad.ts';

/**
 * The roots, with every use of a replaced tensor reading its replacement. Nodes that depend on none stay as they are;
 * the others are built again, in their old order, as the newest nodes.
 * @param replace new tensors by the id of the old ones; shapes must agree
 */
export function rewrite(roots: readonly Tensor[], replace: ReadonlyMap<string, Tensor>): Tensor[] {
  const rebuilt = new Map<Node, Node>();
  const of = (t: Tensor): Tensor => {
    const other = replace.get(t.id);
    if (other) return other;
    const node = rebuilt.get(t.node);
    return node ? new Tensor(node, t.index) : t;
  };
  for (const node of ancestors(roots)) {
    if (node.outputs.every((_, i) => replace.has(`${node.id}.${i}`))) continue;
    const inputs = node.inputs.map(of);
    if (inputs.some((t, i) => t.id !== node.inputs[i]!.id))
      rebuilt.set(node, new Node(node.op, inputs, node.attrs, node.outputs, node.path));
  }
  return roots.map(of);
}
