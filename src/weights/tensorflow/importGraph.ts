/**
 * A TensorFlow graph (frozen, or a TFJS graph model) as a graph of this engine.
 *
 * The one idea: nodes are worked off from the outputs backwards, each giving a value of the graph, numbers known already, or
 * nothing (a branch not taken). Training's switches stand at "not training". An output that needs an operator unknown here is
 * left out and told; where none is left, all that is missing is listed.
 */
import { DataError, ShapeError, UsageError } from '../../core/errors.ts';
import { GraphBuilder, type Value } from '../../models/graph/builder.ts';
import type { GraphFile, ReadOptions } from '../format.ts';
import { sizeNote, withInputSize } from '../inputSize.ts';
import { fold } from './folding.ts';
import type { TfNode } from './graphDef.ts';
import { handlers } from './operators.ts';
import { passing, place, simplify, type TfGraph } from './patterns.ts';
import { type Constant, constant, isConstant } from './wire.ts';
import { dead, type Result, Unsupported } from './work.ts';

interface GraphImport extends ReadOptions {
  /** What errors call the file. */
  readonly source: string;
  /** Outputs of the model by the name its users know: the node that gives each. Otherwise those that nothing reads. */
  readonly outputs?: ReadonlyMap<string, string> | undefined;
  /** Numbers of constants that are not in the graph itself, by node. */
  readonly weights?: ReadonlyMap<string, Constant> | undefined;
}

/** Operators whose results no one wants: what saves, restores, counts and checks. */
const sideEffects = /^(NoOp|Assert|.*Summary.*|Save.*|Restore.*|Assign.*|.*Queue.*|Print.*|Placeholder|Const)$/;
/** Names of outputs that are scores of classes: not the embedding, which is to be the first. */
const scores: ReadonlySet<string> = new Set(['Softmax', 'Sigmoid', 'LogSoftmax', 'ArgMax']);

/**
 * Where the graph leaves the size of its images open and none is given, the first usual one that fits is taken and told.
 * @throws DataError listing what is not supported where no output is left, or where the graph is damaged
 */
export function importGraph(list: readonly TfNode[], options: GraphImport): GraphFile {
  if (options.inputSize || !list.some(leavesSizeOpen)) return importSized(list, options);
  const { made, size } = withInputSize(undefined, (inputSize) => importSized(list, { ...options, inputSize }));
  return { ...made, notes: [...made.notes, sizeNote(size)] };
}

/** Whether a node is an input of images whose sides are not known. */
function leavesSizeOpen({ op, attrs }: TfNode): boolean {
  const shape = attrs.get('shape')?.shape;
  const pixels = ['float', 'half', 'double', 'uint8'].includes(attrs.get('dtype')?.type ?? '');
  if (!op.startsWith('Placeholder') || !pixels) return false;
  return shape ? shape.length === 4 && shape.slice(1, 3).some((d) => d < 0) : op !== 'PlaceholderWithDefault';
}

function importSized(list: readonly TfNode[], options: GraphImport): GraphFile {
  const { source, weights = new Map() } = options;
  const nodes = new Map(list.map((n) => [n.name, n]));
  const constants = new Map<string, Constant>();
  for (const node of list) {
    if (node.op !== 'Const') continue;
    const numbers = weights.get(node.name) ?? node.attrs.get('value')?.tensor;
    if (numbers) constants.set(node.name, numbers);
  }
  const graph = { nodes, constants };
  const spend = spender(constants, source);
  const wanted = options.outputs ?? sinks(graph);
  foldConstants(graph, spend);
  simplify(graph);

  const work = new Working(graph, options, spend);
  const made = new Map<string, Value>();
  const notes: string[] = [];
  const reasons = new Set<string>();
  for (const [name, from] of wanted) {
    const result = work.result(from);
    if (typeof result === 'string') {
      reasons.add(result);
      if (wanted.size > 1) notes.push(`output ${name} is left out: ${result}`);
    } else if (result !== dead && !isConstant(result)) made.set(name, result);
    else if (options.outputs) notes.push(`output ${name} is left out: it does not depend on the input`);
  }
  if (made.size === 0 || work.inputs === 0)
    throw new DataError(
      [
        `${source}: expected a graph from images to embeddings of operators known here, got ${made.size === 0 ? 'no output that can be had' : 'outputs without an input'}`,
        ...[...reasons].slice(0, 20).map((r) => `  ${r}`),
        'Freeze the graph for inference (NHWC, without loops and losses) and import that.',
      ].join('\n'),
    );
  const isScore = (name: string) => +scores.has(nodes.get(place(wanted.get(name)!).name)?.op ?? '');
  const order = [...made].sort(([a], [b]) => +/embed/i.test(b) - +/embed/i.test(a) || isScore(a) - isScore(b));
  return {
    kind: 'graph',
    graph: work.builder.finish(Object.fromEntries(order)),
    notes: [...work.notes, ...notes],
  };
}

/** Takes account of what is computed beforehand: operators of a few bytes may ask for any number of numbers. */
type Spend = (made: Constant, from: readonly (Constant | undefined)[]) => Constant;

function spender(constants: ReadonlyMap<string, Constant>, source: string): Spend {
  const given = [...constants.values()].reduce((n, c) => n + c.data.length, 0);
  let left = 4 * given + 2 ** 22;
  return (made, from) => {
    if (!from.some((c) => c?.data === made.data)) left -= made.data.length;
    if (left >= 0) return made;
    throw new DataError(
      `${source}: expected a network, got arithmetic on constants that makes far more numbers than it holds\nThe file is damaged or hostile.`,
    );
  };
}

/** Nodes that no other reads. */
function sinks({ nodes, constants }: TfGraph): Map<string, string> {
  const read = new Set([...nodes.values()].flatMap((n) => n.inputs.map((i) => place(i.replace(/^\^/, '')).name)));
  const out = [...nodes.values()].filter((n) => !read.has(n.name) && !constants.has(n.name) && !sideEffects.test(n.op));
  return new Map(out.map((n) => [n.name, n.name]));
}

/** Inputs that carry numbers; the others only say what runs first. */
const dataInputs = (node: TfNode) => node.inputs.filter((i) => !i.startsWith('^'));

/** Works out all nodes that depend on constants alone. */
function foldConstants({ nodes, constants }: TfGraph, spend: Spend): void {
  const readers = new Map<string, string[]>();
  const missing = new Map<string, number>();
  for (const node of nodes.values()) {
    const inputs = dataInputs(node);
    missing.set(node.name, inputs.length);
    for (const input of inputs) {
      const { name } = place(input);
      const known = readers.get(name);
      if (known) known.push(node.name);
      else readers.set(name, [node.name]);
    }
  }
  const ready = [...constants.keys()];
  for (let name = ready.pop(); name !== undefined; name = ready.pop())
    for (const reader of readers.get(name) ?? []) {
      const left = missing.get(reader)! - 1;
      missing.set(reader, left);
      const node = nodes.get(reader)!;
      if (left > 0 || constants.has(reader)) continue;
      const inputs = dataInputs(node).map((i) => (place(i).index === 0 ? constants.get(place(i).name) : undefined));
      const result = passing.has(node.op) ? inputs[0] : fold(node.op, inputs, node.attrs);
      if (!result) continue;
      constants.set(reader, spend(result, inputs));
      ready.push(reader);
    }
}

/** Results of nodes, made when asked for. A text says why there is none. */
class Working {
  readonly builder = new GraphBuilder();
  readonly notes: string[] = [];
  inputs = 0;
  private readonly graph: TfGraph;
  private readonly options: GraphImport;
  private readonly spend: Spend;
  private readonly results = new Map<string, readonly Result[] | string>();
  /** Inputs, and what only arithmetic with constants was done on. */
  private readonly rawValues = new Set<Value>();

  constructor(graph: TfGraph, options: GraphImport, spend: Spend) {
    this.graph = graph;
    this.spend = spend;
    this.options = options;
    for (const [name, c] of graph.constants) this.results.set(name, [c]);
  }

  /** The result that an input names, everything before it made first. */
  result(input: string): Result | string {
    const { name, index } = place(input);
    this.make(name);
    const made = this.results.get(name)!;
    return typeof made === 'string' ? made : (made[index] ?? `${name} has no output ${index}`);
  }

  /** Depth first without recursion: graphs may be as deep as they have nodes. */
  private make(wanted: string): void {
    const open = new Set<string>();
    const stack = [wanted];
    while (stack.length > 0) {
      const name = stack.at(-1)!;
      if (this.results.has(name)) {
        stack.pop();
        continue;
      }
      const node = this.graph.nodes.get(name);
      if (!node) this.results.set(name, `${name} is read but not in the graph`);
      else if (open.has(name)) {
        this.results.set(name, this.apply(node));
        open.delete(name);
      } else {
        open.add(name);
        const before = dataInputs(node).map((i) => place(i).name);
        for (const b of before) {
          if (open.has(b)) this.results.set(b, `${b} (${this.graph.nodes.get(b)?.op}) is part of a loop`);
          else if (!this.results.has(b)) stack.push(b);
        }
      }
    }
  }

  private apply(node: TfNode): readonly Result[] | string {
    const where = `${node.name} (${node.op})`;
    const inputs: Result[] = [];
    for (const i of dataInputs(node)) {
      const made = this.results.get(place(i).name)!;
      const one = typeof made === 'string' ? made : (made[place(i).index] ?? `${i} is read by ${where} but not made`);
      if (typeof one !== 'string') inputs.push(one);
      // The branch not taken may hold anything.
      else if (node.op !== 'Merge') return one;
    }
    if (node.op === 'Merge') {
      const at = inputs.findIndex((x) => x !== dead);
      return at < 0 ? [dead, dead] : [inputs[at]!, constant('int', [], [at])];
    }
    if (node.op === 'Placeholder' || node.op === 'PlaceholderV2') return this.placeholder(node);
    if (inputs.includes(dead)) return [dead, dead, dead, dead, dead];
    if (passing.has(node.op)) return inputs[0] === undefined ? `${where} takes nothing` : this.passed(node, inputs[0]);
    if (node.op === 'IdentityN') return inputs;
    const { rawValues } = this;
    const constants = inputs.map((x) => (isConstant(x) ? x : undefined));
    try {
      const folded = fold(node.op, constants, node.attrs);
      if (folded) return [this.spend(folded, constants)];
      const handler = handlers.get(node.op);
      if (!handler) return `${where} is not supported`;
      if (inputs.length === 0) return `${where} takes nothing`;
      const made = handler({ node, inputs, builder: this.builder, raw: (x) => rawValues.has(x) });
      const results = Array.isArray(made) ? (made as readonly Result[]) : [made as Result];
      if (
        /^(Add|AddV2|Sub|Mul|RealDiv|Cast)$/.test(node.op) &&
        inputs.every((x) => isConstant(x) || rawValues.has(x as Value))
      )
        for (const r of results) if (typeof r === 'object' && !isConstant(r)) rawValues.add(r);
      return results;
    } catch (error) {
      if (error instanceof Unsupported) return `${where}: ${error.message}`;
      if (error instanceof ShapeError || error instanceof UsageError)
        return `${where}: ${error.message.split('\n')[0]}`;
      throw error;
    }
  }

  private passed(node: TfNode, x: Result): readonly Result[] {
    if (node.op === 'PlaceholderWithDefault' && isConstant(x))
      this.notes.push(`input ${node.name} is left at its default`);
    return [x];
  }

  private placeholder(node: TfNode): readonly Result[] | string {
    const type = node.attrs.get('dtype')?.type;
    const shape = node.attrs.get('shape')?.shape;
    if (type === 'bool') {
      this.notes.push(`${node.name} is taken as false: not training`);
      return [constant('bool', [], [0])];
    }
    if (shape?.length === 0 || (shape === undefined && type?.includes('int') && type !== 'uint8')) {
      const images = type?.includes('int');
      this.notes.push(`${node.name} is taken as ${images ? 'the number of images' : '1: nothing is dropped'}`);
      return [images ? constant('int', [], [Number.NaN]) : constant('float', [], [1])];
    }
    let sizes = shape?.slice(1);
    const size = this.options.inputSize;
    if (size && sizes?.length === 3) sizes = sizes.map((d, i) => (i < 2 && d < 0 ? size[i]! : d));
    else if (size && !shape) sizes = [...size, 3];
    if (!sizes || sizes.some((d) => !(d >= 1 && d <= 65536)))
      return `${node.name} (${node.op}) does not say the size of its images: give it`;
    const input = this.builder.input(node.name, sizes);
    this.inputs++;
    this.rawValues.add(input);
    return [input];
  }
}
