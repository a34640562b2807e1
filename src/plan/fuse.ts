/**
 * From a graph to steps: which values are stored, which are recomputed inside their readers.
 *
 * Four rules. (1) Equal nodes are one node. (2) A pointwise value that only pointwise and reduction kernels read is
 * computed inside them when that moves fewer bytes than storing it. (3) Kernels over the same elements that share an
 * operand are one kernel with several outputs. (4) A pointwise tail of a heavy op becomes its epilogue when nothing
 * else reads the op. Rule 2 is why training does not store normalised activations: backward recomputes them.
 */
import { broadcastStrides, type Shape, sameShape, sizeOf } from '../core/shape.ts';
import { constantOp, Node, placeholderOp, Tensor, type Variable, variableOp } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { simplify } from '../expr/simplify.ts';
import { ancestors } from '../grad.ts';
import type { Op } from '../ops/define.ts';
import type { PointwiseAttrs } from '../ops/pointwise.ts';
import { type ReduceAttrs, type ReduceKind, reduceSpace } from '../ops/reduce.ts';
import { type Graph, rootsOf } from './trace.ts';

/** What all steps have. */
interface StepBase {
  readonly label: string;
  /** Module of its first op; empty outside of modules. */
  readonly path: string;
}
export interface PointwiseStep extends StepBase {
  readonly kind: 'pointwise';
  readonly exprs: readonly Expr[];
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}
export interface ReduceStep extends StepBase {
  readonly kind: 'reduce';
  readonly space: readonly [number, number, number];
  readonly reductions: readonly { readonly op: ReduceKind; readonly expr: Expr }[];
  readonly inputs: readonly Tensor[];
  /** Element strides of each input over the space; 0 where it is broadcast. */
  readonly strides: readonly (readonly [number, number, number])[];
  readonly outputs: readonly Tensor[];
}
export interface OpStep extends StepBase {
  readonly kind: 'op';
  readonly node: Node;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly epilogue?: EpilogueStep;
}
/** A fused tail: operand 0 of the expression is the op's result, operand i + 1 is `inputs[i]`. */
export interface EpilogueStep {
  readonly expr: Expr;
  readonly inputs: readonly Tensor[];
  readonly kinds: readonly ('column' | 'full' | 'scalar')[];
}
export type Step = PointwiseStep | ReduceStep | OpStep;

/** A tensor that is part of another's memory. */
export interface View {
  readonly of: Tensor;
  /** Elements past its start. */
  readonly offset: number;
}

export interface Fused {
  readonly steps: readonly Step[];
  /** By tensor id. */
  readonly views: ReadonlyMap<string, View>;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly assigns: ReadonlyMap<Variable, Tensor>;
}

/** A stored tensor that a kernel reads, by its number in the kernel's expressions. */
interface Operand {
  readonly index: number;
  readonly tensor: Tensor;
}

export interface FuseOptions {
  /** False leaves every op a kernel of its own. Default true. */
  readonly enabled?: boolean;
  /** Most tensors that one fused kernel reads. Default 14. */
  readonly operands?: number;
  /** Most tensors that one fused kernel reads or writes, small ones together counted as one. Default: any number. */
  readonly buffers?: number;
  /** Elements of a small tensor at most. Default 0. */
  readonly small?: number;
}

/** Rule 1: rebuilds the graph with equal nodes merged. Leaves stay as they are. */
function merge(graph: Graph): { nodes: Node[]; of: (t: Tensor) => Tensor } {
  const replaced = new Map<Node, Node>();
  const known = new Map<string, Node>();
  const nodes: Node[] = [];
  const of = (t: Tensor) => new Tensor(replaced.get(t.node)!, t.index);
  for (const node of ancestors(rootsOf(graph))) {
    const inputs = node.inputs.map(of);
    if (node.op === placeholderOp || node.op === variableOp) {
      replaced.set(node, node);
      continue;
    }
    const attrs = node.attrs as { data?: ArrayLike<number> };
    const key =
      node.op === constantOp
        ? attrs.data!.length === 1
          ? `constant ${node.outputs[0]!.dtype} ${node.outputs[0]!.shape} ${exactly('', attrs.data![0])}`
          : `constant #${node.id}`
        : `${node.op.name} ${attrsKey(node)} ${inputs.map((t) => t.id)}`;
    const before = known.get(key);
    if (before) {
      replaced.set(node, before);
      continue;
    }
    const fresh = inputs.every((t, i) => t.node === node.inputs[i]!.node)
      ? node
      : new Node(node.op, inputs, node.attrs, node.outputs, node.path);
    known.set(key, fresh);
    replaced.set(node, fresh);
    nodes.push(fresh);
  }
  return { nodes, of };
}

/** JSON has no word for infinities and NaN, and drops the sign of zero. */
const exactly = (_: string, v: unknown) =>
  typeof v !== 'number' || (Number.isFinite(v) && !Object.is(v, -0)) ? v : `number ${Object.is(v, -0) ? '-0' : v}`;

function attrsKey(node: Node): string {
  if ((node.op as Op).name !== 'pointwise') return JSON.stringify(node.attrs, exactly);
  const { expr, shape, dtype } = node.attrs as PointwiseAttrs;
  return `${E.keyOf(expr)} ${shape ?? ''} ${dtype ?? ''}`;
}

const kindOf = (n: Node) => (n.op === constantOp ? 'leaf' : (n.op as Op).kernels.kind);
const exprOf = (n: Node) => (n.attrs as PointwiseAttrs).expr;

/** Strides of a broadcast operand over the [outer, reduced, inner] space of `shape`; undefined where they are not uniform. */
function spaceStrides(operand: Shape, shape: Shape, axes: readonly number[]): [number, number, number] | undefined {
  const strides = broadcastStrides(operand, shape);
  const first = axes[0]!;
  const end = axes[axes.length - 1]! + 1;
  const group = (from: number, to: number): number | undefined => {
    let stride: number | undefined;
    let expected = 0;
    for (let i = to - 1; i >= from; i--) {
      if (shape[i] === 1) continue;
      if (stride === undefined) stride = strides[i]!;
      else if (strides[i] !== expected) return undefined;
      expected = strides[i]! * shape[i]!;
    }
    return stride ?? 0;
  };
  const out = [group(0, first), group(first, end), group(end, shape.length)];
  return out.every((s) => s !== undefined) ? (out as [number, number, number]) : undefined;
}

export function fuse(
  graph: Graph,
  {
    enabled = true,
    operands: maxOperands = 14,
    buffers: maxBuffers = Number.POSITIVE_INFINITY,
    small = 0,
  }: FuseOptions = {},
): Fused {
  /** Whether one kernel can read these tensors and write that many. */
  const canBind = (sizes: readonly number[], outputs: number): boolean => {
    const large = sizes.filter((n) => n > small).length;
    return sizes.length <= maxOperands && large + (large < sizes.length ? 1 : 0) + outputs <= maxBuffers;
  };
  const { nodes, of } = merge(graph);
  const outputs = new Map([...graph.outputs].map(([name, t]) => [name, of(t)]));
  const assigns = new Map([...graph.assigns].map(([v, t]) => [v, of(t)]));
  const inputs = graph.inputs;

  const readers = new Map<string, Node[]>();
  for (const n of nodes)
    for (const x of n.inputs) {
      const known = readers.get(x.id);
      if (known) known.push(n);
      else readers.set(x.id, [n]);
    }
  const wanted = new Set([...outputs.values(), ...assigns.values()].map((t) => t.id));

  // Rule 2, from the last node back: `inside` holds for each inlined node the kernels (by their node) it is part of.
  const inside = new Map<Node, Set<Node>>();
  /** What the kernel of a node reads, with the sizes. */
  const reads = new Map<Node, Map<string, number>>();
  const isInlined = (n: Node) => inside.has(n);
  for (const n of [...nodes].reverse()) {
    const kind = kindOf(n);
    if (kind === 'pointwise' || kind === 'reduce') reads.set(n, new Map(n.inputs.map((x) => [x.id, x.size])));
    if (!enabled || kind !== 'pointwise' || wanted.has(n.tensor().id)) continue;
    const out = n.outputs[0]!;
    if (out.dtype !== 'f32' && out.dtype !== 'bool') continue;
    const kernels = new Set<Node>();
    const fits = (readers.get(n.tensor().id) ?? []).every((r) => {
      const k = kindOf(r);
      if (k === 'pointwise' && sameShape(r.outputs[0]!.shape, out.shape)) {
        for (const kernel of inside.get(r) ?? [r]) kernels.add(kernel);
        return true;
      }
      if (k === 'reduce') {
        kernels.add(r);
        return true;
      }
      return false;
    });
    if (!fits || kernels.size === 0) continue;
    const reducers = [...kernels].filter((k) => kindOf(k) === 'reduce');
    if (reducers.some((k) => n.inputs.some((x) => !spaceStrides(x.shape, out.shape, (k.attrs as ReduceAttrs).axes))))
      continue;
    const size = sizeOf(out.shape);
    const full = n.inputs.filter((x) => x.size === size && size > 1);
    // Reductions over the same space will become one kernel (rule 3), so they count as one.
    const groups = new Map<string, Set<string>>();
    for (const k of kernels) {
      const key =
        kindOf(k) === 'reduce' ? `reduce ${k.inputs[0]!.shape} over ${(k.attrs as ReduceAttrs).axes}` : `${k.id}`;
      groups.set(key, new Set([...(groups.get(key) ?? []), ...reads.get(k)!.keys()]));
    }
    let again = 0;
    for (const seen of groups.values()) again += full.filter((x) => !seen.has(x.id)).length;
    // In accesses per element. An operation costs about a tenth of one (measured: a core streams ~10 GB/s).
    const recompute = again + 0.1 * E.costOf(exprOf(n)) * (groups.size - 1);
    const store = full.length + 1 + groups.size;
    if (groups.size > 1 && recompute >= store) continue;
    const withInputs = (k: Node) => {
      const all = new Map(reads.get(k));
      all.delete(n.tensor().id);
      for (const x of n.inputs) all.set(x.id, x.size);
      return all;
    };
    if ([...kernels].some((k) => !canBind([...withInputs(k).values()], 1))) continue;
    inside.set(n, kernels);
    for (const k of kernels) reads.set(k, withInputs(k));
  }

  const views = new Map<string, View>();
  const steps: Step[] = [];
  /** Index of the step that makes a tensor; leaves have none. */
  const madeAt = new Map<string, number>();
  const rootOf = (t: Tensor): Tensor => {
    const v = views.get(t.id);
    return v ? rootOf(v.of) : t;
  };
  const readyAt = (t: Tensor) => madeAt.get(rootOf(t).id) ?? -1;

  /** The expression of a kernel at `t`, reading stored tensors. */
  const build = (t: Tensor, operands: Map<string, Operand>, memo: Map<Node, Expr>): Expr => {
    const n = t.node;
    if (n.op === constantOp && t.size === 1) return E.constant((n.attrs as { data: ArrayLike<number> }).data[0]!);
    if (isInlined(n)) return expand(n, operands, memo);
    const at = operands.get(t.id) ?? { index: operands.size, tensor: t };
    operands.set(t.id, at);
    return E.input(at.index, t.dtype === 'bool');
  };

  const expand = (n: Node, operands: Map<string, Operand>, memo: Map<Node, Expr>): Expr => {
    const done = memo.get(n);
    if (done) return done;
    const e = E.substitute(
      exprOf(n),
      n.inputs.map((x) => build(x, operands, memo)),
    );
    memo.set(n, e);
    return e;
  };

  const addPointwise = (n: Node) => {
    const y = n.tensor();
    // Rule 3: join an earlier kernel over the same elements once all operands are there.
    for (let i = steps.length - 1; enabled && i >= Math.max(0, steps.length - 8); i--) {
      const s = steps[i]!;
      if (s.kind !== 'pointwise' || !sameShape(s.outputs[0]!.shape, y.shape)) continue;
      const own = new Map(s.outputs.map((o, k) => [o.id, s.exprs[k]!]));
      const made = new Map(s.inputs.map((tensor, index) => [tensor.id, { index, tensor }]));
      const expr = substituteOwn(expand(n, made, new Map()), made, own);
      const fresh = [...made.values()].filter((o) => !own.has(o.tensor.id));
      const sizes = fresh.map((o) => o.tensor.size);
      if (!canBind(sizes, s.outputs.length + 1) || fresh.some((o) => readyAt(o.tensor) >= i)) continue;
      const before = new Set(s.inputs.map((x) => x.id));
      const shares = [...readsOf(n, inside)].some((x) => own.has(x.id) || (before.has(x.id) && x.size === y.size));
      if (!shares) continue;
      const compact = renumber([...s.exprs, simplify(expr)], fresh);
      steps[i] = {
        ...s,
        label: joinLabels(s.label, (n.attrs as PointwiseAttrs).label),
        exprs: compact.exprs,
        inputs: compact.inputs,
        outputs: [...s.outputs, y],
      };
      madeAt.set(y.id, i);
      return;
    }
    const operands = new Map<string, Operand>();
    const expr = simplify(expand(n, operands, new Map()));
    const compact = renumber([expr], [...operands.values()]);
    madeAt.set(y.id, steps.length);
    steps.push({
      kind: 'pointwise',
      label: (n.attrs as PointwiseAttrs).label,
      path: n.path,
      exprs: compact.exprs,
      inputs: compact.inputs,
      outputs: [y],
    });
  };
  const addReduce = (n: Node) => {
    const x = n.inputs[0]!;
    const y = n.tensor();
    const { axes } = n.attrs as ReduceAttrs;
    const space = reduceSpace(x.shape, axes);
    const op = n.op.name as ReduceKind;
    for (let i = steps.length - 1; enabled && i >= Math.max(0, steps.length - 16); i--) {
      const s = steps[i]!;
      if (s.kind !== 'reduce' || s.space.some((d, k) => d !== space[k])) continue;
      const made = new Map(s.inputs.map((tensor, index) => [tensor.id, { index, tensor }]));
      const expr = simplify(build(x, made, new Map()));
      const all = [...made.values()];
      const read = new Set(E.inputsOf(expr));
      const shared = all.some((o) => o.index < s.inputs.length && read.has(o.index) && o.tensor.size === x.size);
      const sizes = all.map((o) => o.tensor.size);
      if (!shared || !canBind(sizes, s.outputs.length + 1)) continue;
      if (all.some((o) => readyAt(o.tensor) >= i)) continue;
      const strides = all.map((o, k) => s.strides[k] ?? spaceStrides(o.tensor.shape, x.shape, axes));
      if (strides.some((v) => !v)) continue;
      steps[i] = {
        ...s,
        label: joinLabels(s.label, op),
        reductions: [...s.reductions, { op, expr }],
        inputs: all.map((o) => o.tensor),
        strides: strides as ReduceStep['strides'],
        outputs: [...s.outputs, y],
      };
      madeAt.set(y.id, i);
      return;
    }
    const operands = new Map<string, Operand>();
    const expr = simplify(build(x, operands, new Map()));
    const list = [...operands.values()];
    madeAt.set(y.id, steps.length);
    steps.push({
      kind: 'reduce',
      label: op,
      path: n.path,
      space,
      reductions: [{ op, expr }],
      inputs: list.map((o) => o.tensor),
      strides: list.map((o) => spaceStrides(o.tensor.shape, x.shape, axes)!),
      outputs: [y],
    });
  };

  for (const n of nodes) {
    const kind = kindOf(n);
    if (kind === 'leaf' || isInlined(n)) continue;
    if (kind === 'pointwise') addPointwise(n);
    else if (kind === 'reduce') addReduce(n);
    else if (kind === 'view') {
      const record = (n.op as Op).kernels as Extract<Op['kernels'], { kind: 'view' }>;
      n.outputs.forEach((_, i) => {
        const t = n.tensor(i);
        views.set(t.id, { of: n.inputs[0]!, offset: record.offset(n.inputs, n.attrs, i) });
      });
    } else {
      const made = n.outputs.map((_, i) => n.tensor(i));
      for (const t of made) madeAt.set(t.id, steps.length);
      steps.push({ kind: 'op', label: n.op.name, path: n.path, node: n, inputs: n.inputs, outputs: made });
    }
  }
  return { steps: enabled ? fuseEpilogues(steps, views, wanted, canBind) : steps, views, inputs, outputs, assigns };
}

/** What a kernel at node n reads, inlined producers included. */
function readsOf(n: Node, inside: ReadonlyMap<Node, unknown>): Set<Tensor> {
  const out = new Set<Tensor>();
  const visit = (m: Node) => {
    for (const x of m.inputs) {
      if (inside.has(x.node)) visit(x.node);
      else out.add(x);
    }
  };
  visit(n);
  return out;
}

const joinLabels = (a: string, b: string) => (a.split('+').includes(b) ? a : a.split('+').length > 5 ? a : `${a}+${b}`);

/** Replaces reads of a kernel's own outputs by their expressions. */
function substituteOwn(e: Expr, operands: Map<string, Operand>, own: Map<string, Expr>): Expr {
  const list: Expr[] = [];
  for (const { index, tensor } of operands.values())
    list[index] = own.get(tensor.id) ?? E.input(index, tensor.dtype === 'bool');
  return E.substitute(e, list);
}

/** Drops operands that no expression reads and numbers the rest from 0. */
function renumber(exprs: readonly Expr[], operands: readonly Operand[]) {
  const used = new Set(E.inputsOf(exprs));
  const kept = operands.filter((o) => used.has(o.index));
  const list: Expr[] = [];
  kept.forEach((o, i) => {
    list[o.index] = E.input(i, o.tensor.dtype === 'bool');
  });
  for (let i = 0; i < list.length; i++) list[i] ??= E.constant(0);
  return { exprs: exprs.map((e) => E.substitute(e, list)), inputs: kept.map((o) => o.tensor) };
}

/** Rule 4. */
function fuseEpilogues(
  steps: readonly Step[],
  views: ReadonlyMap<string, View>,
  wanted: ReadonlySet<string>,
  canBind: (sizes: readonly number[], outputs: number) => boolean,
): Step[] {
  const uses = new Map<string, number>();
  for (const s of steps) for (const x of s.inputs) uses.set(x.id, (uses.get(x.id) ?? 0) + 1);
  for (const v of views.values()) uses.set(v.of.id, (uses.get(v.of.id) ?? 0) + 1);
  const madeAt = new Map<string, number>();
  steps.forEach((s, i) => {
    for (const y of s.outputs) madeAt.set(y.id, i);
  });
  const out: (Step | undefined)[] = [...steps];
  steps.forEach((s, i) => {
    if (s.kind !== 'pointwise' || s.outputs.length !== 1 || s.outputs[0]!.dtype !== 'f32') return;
    const y = s.outputs[0]!;
    for (const x of s.inputs) {
      const at = madeAt.get(x.id);
      const heavy = at === undefined ? undefined : out[at];
      if (at === undefined || heavy?.kind !== 'op' || heavy.epilogue || heavy.outputs.length !== 1) continue;
      const record = (heavy.node.op as Op).kernels;
      if (
        record.kind !== 'kernel' ||
        !record.epilogue ||
        uses.get(x.id) !== 1 ||
        wanted.has(x.id) ||
        !sameShape(x.shape, y.shape)
      )
        continue;
      const rest = s.inputs.filter((t) => t.id !== x.id);
      // The op's own operands are bound whatever their size.
      const own = [...heavy.inputs, y].map(() => Number.POSITIVE_INFINITY);
      if (!canBind([...own, ...rest.map((t) => t.size)], 0)) continue;
      const columns = y.shape[y.rank - 1]!;
      const kinds = rest.map((t) =>
        t.size === 1
          ? ('scalar' as const)
          : t.size === columns && t.shape[t.rank - 1] === columns
            ? ('column' as const)
            : sameShape(t.shape, y.shape)
              ? ('full' as const)
              : undefined,
      );
      if (kinds.some((k) => !k) || rest.some((t) => t.dtype !== 'f32')) continue;
      const list = s.inputs.map((t) =>
        t.id === x.id ? E.input(0) : E.input(1 + rest.findIndex((r) => r.id === t.id)),
      );
      // The op moves to its tail's place, where all operands are made; nothing in between reads it.
      out[i] = {
        ...heavy,
        label: `${heavy.label}+${s.label}`,
        inputs: heavy.inputs,
        outputs: [y],
        epilogue: { expr: E.substitute(s.exprs[0]!, list), inputs: rest, kinds: kinds as EpilogueStep['kinds'] },
      };
      out[at] = undefined;
      return;
    }
  });
  return out.filter((s) => s !== undefined);
}
