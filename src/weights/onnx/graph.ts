/**
 * An ONNX model as a graph of this engine.
 *
 * The one idea: nodes are mapped one by one in the file's order, what depends on the file alone being computed on the way;
 * a node that is not supported is noted and what needs it is passed over, so that one error can list them all.
 *
 * The file's shapes hold for one number of images (its own, or 1 where it leaves that open) and one size, so a graph is
 * made for a size; other numbers of images are taken where the meaning allows them (models/graph/builder.ts).
 */
import { DataError } from '../../core/errors.ts';
import { GraphBuilder } from '../../models/graph/builder.ts';
import { ChannelsFirst } from '../../models/graph/channelsFirst.ts';
import type { Graph } from '../../models/graph/spec.ts';
import { named, outOf } from '../importErrors.ts';
import { dataTypes, type GraphProto, type ModelProto, type NodeProto, type ValueInfoProto } from './messages.ts';
import { firstOpset, type Item, isNumbers, latestOpset, OnnxNode, Unsupported } from './node.ts';
import { mostMade, readTensor, typeName } from './numbers.ts';
import { onnxOperators } from './operators.ts';

export interface OnnxGraphOptions {
  /** [height, width] of the images, where the file leaves it open or another size is wanted. */
  readonly inputSize?: readonly [number, number] | undefined;
  /** Bytes of the files beside the model's that hold numbers. */
  readonly outside?: (location: string) => Uint8Array | undefined;
}

export interface OnnxGraph {
  readonly graph: Graph;
  /** Version of the operator set. */
  readonly opset: number;
  /** Whether it takes means off pixels, or scales them, itself. */
  readonly normalises: boolean;
  /** What a user may want to know. */
  readonly notes: readonly string[];
}

const standard = (domain: string | undefined) => domain === undefined || domain === '' || domain === 'ai.onnx';
const mostListed = 40;
const floats: readonly (number | undefined)[] = [
  dataTypes.float,
  dataTypes.float16,
  dataTypes.double,
  dataTypes.bfloat16,
];

/** Whether images of sizes a, b, c hold their channels last: TensorFlow's converter writes such. */
export const isChannelsLast = ([a, , c]: readonly (number | undefined)[]): boolean =>
  (c === 1 || c === 3) && a !== 1 && a !== 3;

/**
 * @param name what errors call the file
 * @throws DataError for a model that is damaged, and for one that holds what is not supported, listing all of that
 */
export function onnxGraph(model: ModelProto, name: string, options: OnnxGraphOptions = {}): OnnxGraph {
  const refuse = (what: string, advice = 'The file is damaged: fetch or export it again.'): never => {
    throw new DataError(`${name}: ${what}\n${advice}`);
  };
  const proto = model.graph;
  if (!proto?.output?.length) return refuse('expected an ONNX model with a graph and outputs, got none');
  const opset = model.opsetImport?.find((o) => standard(o.domain))?.version ?? 1;
  if (opset < firstOpset || opset > latestOpset)
    refuse(
      `expected operator set ${firstOpset} to ${latestOpset}, got ${opset}`,
      'Export the model for one of these, or convert it (onnx.version_converter).',
    );
  try {
    const state = stateOf(proto, name, opset, options);
    for (const node of neededNodes(proto)) {
      const behind = node.input?.some((i) => state.lacking.has(i));
      const why = notRead(node, opset) ?? (behind ? undefined : mapNode(node, state));
      if (why) state.unsupported.push(`  ${calledOf(node)}, operator set ${opset}: ${why}`);
      // What needs it is passed over.
      if (behind || why) for (const o of node.output ?? []) state.lacking.add(o);
    }
    const { unsupported: list, builder, graph, notes } = state;
    if (list.length > 0) {
      const more = list.length > mostListed ? [`  and ${list.length - mostListed} more`] : [];
      refuse(
        `expected nodes that are supported, got ${list.length} that ${list.length > 1 ? 'are' : 'is'} not:\n${[...list.slice(0, mostListed), ...more].join('\n')}`,
        "Export the model without them ('facegrad ops --onnx' lists what is supported).",
      );
    }
    const outputs = proto.output.map(({ name: output = '' }) => {
      const item = state.items.get(output);
      if (!item) return refuse(`expected a node that makes the output '${output}', got none`);
      if (isNumbers(item)) return refuse(`expected outputs that depend on the input, but '${output}' does not`);
      const map = item.shape.length === 4 && !state.channelsLast;
      if (map) notes.push(`output ${output} is given as [N, H, W, C], not [N, C, H, W]`);
      return [output, map ? outOf(graph, item) : graph.plain(item)] as const;
    });
    const result = builder.finish(Object.fromEntries(outputs));
    const { batch } = result.spec;
    if (batch !== undefined)
      notes.push(`it takes ${batch} image${batch > 1 ? 's' : ''} at once: its shapes allow no other number`);
    return { graph: result, opset, normalises: state.normalises, notes };
  } catch (error) {
    throw named(error, name, name);
  }
}

/** What is known on the way through the nodes. */
interface State {
  readonly name: string;
  readonly opset: number;
  readonly builder: GraphBuilder;
  readonly graph: ChannelsFirst;
  /** Values and numbers by their names. */
  readonly items: Map<string, Item>;
  /** The images, and what arithmetic with constants makes of them. */
  readonly images: Set<Item>;
  /** How many more numbers may be computed on the way. */
  room: number;
  /** Whether something normalises them before the first layer. */
  normalises: boolean;
  /** Whether images come channels-last. */
  readonly channelsLast: boolean;
  /** Names of values that cannot be made. */
  readonly lacking: Set<string>;
  readonly unsupported: string[];
  readonly notes: string[];
  readonly outside: OnnxGraphOptions['outside'];
}

/** Operators that normalise images, and those that prepare them. */
const normalising: ReadonlySet<string> = new Set(['Sub', 'Add', 'Mul', 'Div', 'BatchNormalization']);
const preparing: ReadonlySet<string> = new Set(['Sub', 'Add', 'Mul', 'Div', 'Transpose', 'Identity', 'Cast']);

const calledOf = ({ name, output, opType }: NodeProto): string =>
  `${name || output?.find((o) => o !== '') || 'node'} (${opType})`;

/** Why a node's operator is not supported at all. */
function notRead({ opType = '', domain }: NodeProto, opset: number): string | undefined {
  const operator = onnxOperators.get(opType);
  if (!standard(domain)) return `of '${domain}', not of the standard`;
  if (!operator) return 'not a supported operator';
  const [from, to] = operator.opsets;
  return opset < from || opset > to ? `supported in operator sets ${from} to ${to}` : undefined;
}

/** Makes what a node gives; or says what of it is not supported. */
function mapNode(proto: NodeProto, state: State): string | undefined {
  const { opset, items, images, outside, graph } = state;
  const { input = [], output = [], opType = '' } = proto;
  const operator = onnxOperators.get(opType)!;
  const called = calledOf(proto);
  const missing = input.find((i) => i !== '' && !items.has(i));
  if (missing !== undefined)
    throw new DataError(
      `${state.name}: ${called}: expected inputs that nodes before it make, got '${missing}', which none makes\nThe file is damaged: fetch or export it again.`,
    );
  const inputs = input.map((i) => items.get(i));
  while (inputs.length > 0 && inputs[inputs.length - 1] === undefined) inputs.pop();
  // Arithmetic with constants on the images themselves is preprocessing, which training leaves alone.
  if (normalising.has(opType) && images.has(inputs[0]!)) state.normalises = true;
  const prepares = preparing.has(opType) && inputs.every((i) => i === undefined || isNumbers(i) || images.has(i));
  try {
    const made = operator.map(
      new OnnxNode({ proto, opset, graph, path: pathOf(proto), inputs, prepares, ...(outside && { outside }) }),
    );
    const list = Array.isArray(made) ? (made as readonly Item[]) : [made as Item];
    output.forEach((o, i) => {
      const item = list[i];
      if (o === '') return;
      if (!item) throw new Unsupported(`output ${i}`);
      if (items.has(o))
        throw new DataError(`expected a value that is made once, got '${o}' twice\nThe file is damaged.`);
      items.set(o, item);
      if (isNumbers(item) && !inputs.some((x) => x && isNumbers(x) && x.data === item.data)) {
        state.room -= item.data.length;
        if (state.room < 0) throw new DataError('expected less that can be computed beforehand\nThe file is damaged.');
      }
      if (prepares && !isNumbers(item)) images.add(item);
    });
    return undefined;
  } catch (error) {
    if (error instanceof Unsupported) return error.message;
    if (error instanceof RangeError)
      throw new DataError(`${state.name}: ${called}: ${error.message}\nThe file is damaged: fetch or export it again.`);
    throw named(error, `${state.name}: ${called}`, state.name);
  }
}

/** Where a node's layer is put: by its weight's name in the program that made it, else by its own. */
function pathOf({ input = [], name, opType }: NodeProto): string {
  const ending = /[./](weight|kernel|gamma|running_mean)$/;
  return input.find((i) => ending.test(i))?.replace(ending, '') || name || (opType ?? 'node').toLowerCase();
}

/** Whether the file leaves the size of its images to the caller. */
export const leavesSizeOpen = ({ graph }: ModelProto): boolean => {
  const given = new Set(graph?.initializer?.map((t) => t.name));
  const images = (graph?.input ?? []).filter((i) => !given.has(i.name));
  return images.some(({ type }) => {
    const dim = type?.tensorType?.shape?.dim ?? [];
    return dim.length === 4 && dim.slice(1).filter((d) => (d.dimValue ?? 0) <= 0).length > 1;
  });
};

/** The images and the numbers of a model, as items by name. */
function stateOf(proto: GraphProto, name: string, opset: number, { inputSize, outside }: OnnxGraphOptions): State {
  const refuse = (what: string, advice = 'The file is damaged: fetch or export it again.'): never => {
    throw new DataError(`${name}: ${what}\n${advice}`);
  };
  const notes: string[] = [];
  const items = new Map<string, Item>();
  const used = new Set((proto.node ?? []).flatMap((n) => n.input ?? []));
  const initializers = proto.initializer ?? [];
  for (const t of initializers)
    if (used.has(t.name ?? '')) items.set(t.name ?? '', readTensor(t, `${name}: ${t.name}`, true, outside));
  const unused = initializers.filter((t) => !used.has(t.name ?? '')).length;
  if (unused > 0) notes.push(`${unused} tensor${unused > 1 ? 's' : ''} that no node reads left out`);
  // Old files list their numbers among the inputs.
  const given = new Set(initializers.map((t) => t.name));
  const inputs = (proto.input ?? []).filter((i) => !given.has(i.name));
  if (inputs.length === 0) refuse('expected an input, got none');
  const shapes = inputs.map((i) => sizesOf(i, name, inputSize));
  const fixed = shapes.flatMap((s) => (s[0] === undefined ? [] : [s[0]]));
  const batch = fixed[0] ?? 1;
  if (fixed.some((n) => n !== batch))
    refuse(
      `expected inputs of one number of images, got ${fixed.join(', ')}`,
      'Export the model with the batch in front.',
    );
  const builder = new GraphBuilder(batch);
  const graph = new ChannelsFirst(builder);
  const images = new Set<Item>();
  let channelsLast = false;
  inputs.forEach(({ name: input = '' }, i) => {
    const sizes = shapes[i]!.slice(1) as number[];
    const order = shapes[i]!.map((_, k) => k);
    const last = order.length === 4 && isChannelsLast(sizes);
    channelsLast ||= last;
    const item = graph.input(input, sizes, order.length === 4 && !last ? [0, 2, 3, 1] : order);
    items.set(input, item);
    images.add(item);
  });
  return {
    name,
    opset,
    builder,
    graph,
    items,
    images,
    room: 4 * [...items.values()].reduce((n, i) => n + (isNumbers(i) ? i.data.length : 0), 0) + 16 * mostMade,
    normalises: false,
    channelsLast,
    lacking: new Set(),
    unsupported: [],
    notes,
    outside,
  };
}

/** An input's sizes; the first is undefined where it is open. */
function sizesOf(
  { name: input = '', type }: ValueInfoProto,
  name: string,
  inputSize: readonly [number, number] | undefined,
): [number | undefined, ...number[]] {
  const refuse = (what: string, advice: string): never => {
    throw new DataError(`${name}: input '${input}': ${what}\n${advice}`);
  };
  const elements = type?.tensorType?.elemType;
  if (!floats.includes(elements))
    refuse(`expected floating-point numbers, got ${typeName(elements)}`, 'Export the model with images as float32.');
  const dims = type?.tensorType?.shape?.dim;
  if (!dims || dims.length === 0)
    return refuse('expected a shape with a batch axis in front', 'Export the model with the shape of its input.');
  const [first, ...rest] = dims.map((d) => d.dimValue);
  const last = isChannelsLast(rest);
  const sizes = rest.map((d, i) => {
    const place = dims.length === 4 ? (last ? i : i - 1) : -1;
    if (inputSize && (place === 0 || place === 1)) return inputSize[place]!;
    if (d === undefined || d <= 0) {
      if (d !== undefined && d < -1) refuse(`expected sizes of at least 1, got ${d}`, 'The file is damaged.');
      return refuse(
        `expected the size of axis ${i + 1}, which the file leaves open`,
        place === 0 || place === 1 ? 'Say the size of the images (inputSize).' : 'Export the model with that size.',
      );
    }
    return d;
  });
  if (sizes.some((d) => d > 1 << 24)) refuse(`expected an image, got sizes ${sizes.join('x')}`, 'The file is damaged.');
  if (first !== undefined && (first < -1 || first > 1 << 20))
    refuse(`expected a number of images, got ${first}`, 'The file is damaged.');
  return [first === undefined || first <= 0 ? undefined : first, ...sizes];
}

/** The nodes that the outputs need, in the file's order; where that order is wrong, an input is missing later. */
function neededNodes({ node: nodes = [], output = [] }: GraphProto): NodeProto[] {
  const needed = new Set(output.map((o) => o.name ?? ''));
  const out: NodeProto[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.output?.some((o) => o !== '' && needed.has(o))) continue;
    for (const i of node.input ?? []) needed.add(i);
    out.push(node);
  }
  return out.reverse();
}
