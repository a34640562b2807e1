/**
 * A graph for inference alone: the same function in fewer operators.
 *
 * The one idea: a batch norm in inference is y = s·x + t per channel, and a convolution or dense layer beside it is linear, so
 * the two are one layer with other numbers: after it always, before it where no padding comes between (a padded zero is not
 * t). What has no such neighbour becomes a product and a sum. Numbers are computed in float64 and rounded once.
 */
import { type Shape, sameShape } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { Preprocessing } from '../network.ts';
import { shapesOf } from './shapes.ts';
import type { Graph, GraphNode } from './spec.ts';

type Numbers = Float64Array;

/** A graph that is being changed. Values that are no longer made are called by others' names. */
class Edit {
  nodes: GraphNode[];
  readonly shapes: ReadonlyMap<string, Shape>;
  private readonly graph: Graph;
  private readonly numbers = new Map<string, { data: ArrayLike<number>; shape: Shape }>();
  private readonly renamed = new Map<string, string>();

  constructor(graph: Graph) {
    this.graph = graph;
    this.nodes = [...graph.spec.nodes];
    this.shapes = shapesOf(graph.spec);
    for (const [name, t] of graph.tensors) this.numbers.set(name, t);
  }
  nameOf(value: string): string {
    const by = this.renamed.get(value);
    return by === undefined ? value : this.nameOf(by);
  }
  inputOf(n: GraphNode, i = 0): string {
    return this.nameOf(n.inputs[i]!);
  }
  shapeOf(value: string): Shape {
    return this.shapes.get(value)!;
  }
  /** The node of a path as it is now. */
  at(path: string): GraphNode | undefined {
    return this.nodes.find((n) => n.path === path);
  }
  makerOf(value: string): GraphNode | undefined {
    return this.nodes.find((n) => n.outputs.includes(value));
  }
  /** The one node that reads a value; undefined where there are others, or it is an output of the graph. */
  onlyReader(value: string): GraphNode | undefined {
    if (this.graph.spec.outputs.some((o) => this.nameOf(o.value) === value)) return undefined;
    const readers = this.nodes.flatMap((n) => n.inputs.flatMap((_, i) => (this.inputOf(n, i) === value ? [n] : [])));
    return readers.length === 1 ? readers[0] : undefined;
  }
  get(n: GraphNode, what: string): ArrayLike<number> | undefined {
    return this.numbers.get(`layers.${n.path}.${what}`)?.data;
  }
  shapeOfWeight(n: GraphNode): Shape {
    return this.numbers.get(`layers.${n.path}.weight`)!.shape;
  }
  set(path: string, what: string, data: Numbers, shape: Shape): void {
    this.numbers.set(`layers.${path}.${what}`, { data, shape });
  }
  change(n: GraphNode, attrs: Readonly<Record<string, unknown>>): void {
    this.nodes = this.nodes.map((m) => (m.path === n.path ? { ...m, attrs: { ...m.attrs, ...attrs } } : m));
  }
  /** Takes a node out; what read its value reads its input. */
  remove(n: GraphNode): void {
    this.renamed.set(n.outputs[0]!, n.inputs[0]!);
    this.nodes = this.nodes.filter((m) => m.path !== n.path);
  }
  replace(n: GraphNode, by: readonly GraphNode[]): void {
    this.nodes = this.nodes.flatMap((m) => (m.path === n.path ? by : [m]));
  }

  finish(): Graph {
    const outputs = this.graph.spec.outputs.map((o) => ({ ...o, value: this.nameOf(o.value) }));
    const needed = new Set(outputs.map((o) => o.value));
    const nodes: GraphNode[] = [];
    for (const n of this.nodes.toReversed()) {
      if (!n.outputs.some((o) => needed.has(o))) continue;
      const inputs = n.inputs.map((i) => this.nameOf(i));
      for (const i of inputs) needed.add(i);
      nodes.unshift({ ...n, inputs });
    }
    const owners = new Set(nodes.map((n) => `layers.${n.path}`));
    const tensors = new Map<string, HostTensor>();
    for (const [name, { data, shape }] of this.numbers)
      if (owners.has(name.slice(0, name.lastIndexOf('.'))))
        tensors.set(name, host(data instanceof Float32Array ? data : Float32Array.from(data), shape));
    return { spec: { ...this.graph.spec, nodes, outputs }, tensors };
  }
}

/** s and t of a batch norm. */
function factors(edit: Edit, n: GraphNode): { s: Numbers; t: Numbers } {
  const [weight, bias, mean, variance] = ['weight', 'bias', 'runningMean', 'runningVar'].map((w) => edit.get(n, w));
  const { eps = 1e-5 } = n.attrs as { eps?: number };
  const s = Float64Array.from(variance!, (v, i) => (weight?.[i] ?? 1) / Math.sqrt(v + eps));
  return { s, t: Float64Array.from(s, (x, i) => bias![i]! - mean![i]! * x) };
}

const isLayer = (n: GraphNode): boolean => n.op === 'conv2d' || n.op === 'linear';

/** s·(W·x + b) + t in the layer before. Its outputs are the weight's last axis. */
function intoBefore(edit: Edit, layer: GraphNode, { s, t }: { s: Numbers; t: Numbers }): void {
  const weight = edit.get(layer, 'weight')!;
  const bias = edit.get(layer, 'bias');
  const outputs = s.length;
  edit.set(
    layer.path,
    'weight',
    Float64Array.from(weight, (w, i) => w * s[i % outputs]!),
    edit.shapeOfWeight(layer),
  );
  edit.set(
    layer.path,
    'bias',
    t.map((x, o) => x + s[o]! * (bias?.[o] ?? 0)),
    [outputs],
  );
  edit.change(layer, { bias: true });
}

/** W·(s·x + t) + b in the layer behind; `channel` says which channel of the batch norm a row of the weight takes. */
function intoBehind(
  edit: Edit,
  layer: GraphNode,
  { s, t }: { s: Numbers; t: Numbers },
  channel: (row: number, output: number) => number,
): void {
  const weight = edit.get(layer, 'weight')!;
  const shape = edit.shapeOfWeight(layer);
  const outputs = shape[shape.length - 1]!;
  const bias = Float64Array.from(edit.get(layer, 'bias') ?? new Float64Array(outputs));
  const scaled = Float64Array.from(weight, (w, i) => {
    const [row, o] = [Math.floor(i / outputs), i % outputs];
    const c = channel(row, o);
    bias[o]! += w * t[c]!;
    return w * s[c]!;
  });
  edit.set(layer.path, 'weight', scaled, shape);
  edit.set(layer.path, 'bias', bias, [outputs]);
  edit.change(layer, { bias: true });
}

/** A batch norm into the layer beside it; false where there is none that takes it. */
function intoNeighbour(edit: Edit, n: GraphNode): boolean {
  const by = factors(edit, n);
  const channels = by.s.length;
  // Through reshapes that leave the channels last: they only move rows.
  let value = edit.inputOf(n);
  for (;;) {
    const maker = edit.makerOf(value);
    if (edit.onlyReader(value) === undefined || !maker) break;
    if (isLayer(maker)) {
      intoBefore(edit, maker, by);
      edit.remove(n);
      return true;
    }
    if (maker.op !== 'reshape' || edit.shapeOf(edit.inputOf(maker)).at(-1) !== channels) break;
    value = edit.inputOf(maker);
  }
  let reader = edit.onlyReader(n.outputs[0]!);
  while (reader?.op === 'reshape') reader = edit.onlyReader(reader.outputs[0]!);
  const direct = reader && edit.inputOf(reader) === n.outputs[0];
  if (reader?.op === 'linear' && (reader.attrs.inputs as number) % channels === 0) {
    // Rows of the weight are numbers of whole pixels, channels last.
    intoBehind(edit, reader, by, (row) => row % channels);
    edit.remove(n);
    return true;
  }
  const { padding, groups, outputs } = (reader?.attrs ?? {}) as {
    padding?: number[];
    groups?: number;
    outputs?: number;
  };
  if (reader?.op === 'conv2d' && direct && !padding?.some((p) => p > 0)) {
    const each = channels / (groups ?? 1);
    const perGroup = outputs! / (groups ?? 1);
    intoBehind(edit, reader, by, (row, o) => Math.floor(o / perGroup) * each + (row % each));
    edit.remove(n);
    return true;
  }
  return false;
}

/** A batch norm as a product and a sum. */
function asArithmetic(edit: Edit, n: GraphNode): void {
  const by = factors(edit, n);
  const channels = by.s.length;
  const node = (op: string, path: string, inputs: string[], output: string, attrs = {}): GraphNode => ({
    op,
    path: `${n.path}.${path}`,
    inputs,
    outputs: [output],
    attrs,
  });
  const [scale, shift, product] = ['scale', 'shift', 'product'].map((w) => `${n.path}:${w}`) as [
    string,
    string,
    string,
  ];
  edit.set(`${n.path}.scale`, 'value', by.s, [channels]);
  edit.set(`${n.path}.shift`, 'value', by.t, [channels]);
  edit.replace(n, [
    node('constant', 'scale', [], scale, { shape: [channels] }),
    node('constant', 'shift', [], shift, { shape: [channels] }),
    node('mul', 'mul', [n.inputs[0]!, scale], product),
    node('add', 'add', [product, shift], n.outputs[0]!),
  ]);
}

/** Movement that comes to nothing, or to one step where there were several. */
function tidy(edit: Edit): void {
  for (const { path } of [...edit.nodes]) {
    const n = edit.at(path);
    if (!n) continue;
    const input = n.inputs.length ? edit.inputOf(n) : '';
    const [from, to] = [edit.shapeOf(input), edit.shapeOf(n.outputs[0]!)];
    if (n.op === 'dropout') edit.remove(n);
    else if (n.op === 'transpose') {
      const axes = n.attrs.axes as number[];
      const before = edit.makerOf(input);
      if (axes.every((a, i) => a === i)) edit.remove(n);
      else if (before?.op === 'transpose') {
        const joined = axes.map((a) => (before.attrs.axes as number[])[a]!);
        edit.replace(n, [{ ...n, inputs: [edit.inputOf(before)], attrs: { axes: joined } }]);
        if (joined.every((a, i) => a === i)) edit.remove({ ...n, inputs: [edit.inputOf(before)] });
      }
    } else if (n.op === 'reshape') {
      const before = edit.makerOf(input);
      const shape = n.attrs.shape as number[];
      if (sameShape(from, to)) edit.remove(n);
      else if (before?.op === 'reshape' && edit.onlyReader(input) === n) {
        const source = edit.inputOf(before);
        const origin = edit.shapeOf(source);
        if (sameShape(origin, to)) {
          edit.remove({ ...n, inputs: [source] });
          continue;
        }
        const stays = shape[0] === 0 && (before.attrs.shape as number[])[0] === 0;
        edit.replace(n, [{ ...n, inputs: [source], attrs: { shape: [stays ? 0 : -1, ...to.slice(1)] } }]);
      } else if (before?.op === 'reduce' && !before.attrs.keep && edit.onlyReader(input) === n && shape[0] === 0) {
        const all = edit.shapeOf(edit.inputOf(before));
        const axes = (before.attrs.axes as number[]).map((a) => (a < 0 ? a + all.length : a));
        if (
          axes.length &&
          sameShape(
            to,
            all.map((d, i) => (axes.includes(i) ? 1 : d)),
          )
        ) {
          edit.replace(before, [{ ...before, outputs: n.outputs, attrs: { ...before.attrs, keep: true } }]);
          edit.nodes = edit.nodes.filter((m) => m.path !== n.path);
        }
      }
    }
  }
}

export interface FoldOptions {
  /** What becomes of batch norms that no layer takes in: a product and a sum (default), or what they are. */
  readonly rest?: 'arithmetic' | 'keep';
}

/**
 * The graph without batch norms, dropout and movement that comes to nothing. It gives the same numbers but for rounding, and
 * cannot be trained as the original was.
 */
export function folded(graph: Graph, { rest = 'arithmetic' }: FoldOptions = {}): Graph {
  const edit = new Edit(graph);
  tidy(edit);
  for (const n of [...edit.nodes])
    if (n.op === 'batchNorm' && !intoNeighbour(edit, n) && rest === 'arithmetic') asArithmetic(edit, n);
  return edit.finish();
}

/**
 * The graph with the preparation of its images in front: it takes RGB pixels from 0 to 255, as floats.
 * @param preprocessing of the graph's network
 */
export function withPreprocessing({ spec, tensors }: Graph, { colourOrder, mean, scale }: Preprocessing): Graph {
  const [input] = spec.inputs;
  const nodes: GraphNode[] = [];
  const numbers = new Map(tensors);
  let value = input!.name;
  const then = (op: string, attrs: Readonly<Record<string, unknown>>, more: string[] = []) => {
    const output = `prepare:${op}`;
    nodes.push({ op, path: `prepare.${op}`, inputs: [value, ...more], outputs: [output], attrs });
    value = output;
  };
  const arithmetic = (op: 'sub' | 'mul', by: Preprocessing['mean'], nothing: number) => {
    if (typeof by === 'number') {
      if (by !== nothing) then(op, { value: by });
      return;
    }
    const path = `prepare.${op === 'sub' ? 'mean' : 'scale'}`;
    nodes.push({ op: 'constant', path, inputs: [], outputs: [path], attrs: { shape: [3] } });
    numbers.set(`layers.${path}.value`, host(Float32Array.from(by), [3]));
    then(op, {}, [path]);
  };
  if (colourOrder === 'BGR') then('flip', { axes: [3] });
  arithmetic('sub', mean, 0);
  arithmetic('mul', scale, 1);
  const named = (name: string) => (name === input!.name ? value : name);
  return {
    spec: {
      ...spec,
      nodes: [...nodes, ...spec.nodes.map((n) => ({ ...n, inputs: n.inputs.map(named) }))],
      outputs: spec.outputs.map((o) => ({ ...o, value: named(o.value) })),
    },
    tensors: numbers,
  };
}
