/**
 * An MXNet symbol with its arrays as a graph.
 *
 * The one idea: only what the heads need is looked at, so labels and losses of training fall away; then every operator that is
 * unknown and every array that is missing is listed, before anything is built.
 */
import { DataError } from '../../core/errors.ts';
import { GraphBuilder } from '../../models/graph/builder.ts';
import { ChannelsFirst, type Ordered } from '../../models/graph/channelsFirst.ts';
import type { Graph } from '../../models/graph/spec.ts';
import { named, outOf } from '../importErrors.ts';
import type { HostTensor } from '../safetensors.ts';
import { auxiliary, mxOperators, withLabels } from './operators.ts';
import { Attributes, type Entry, type MxSymbol, type SymbolNode } from './symbol.ts';

/** The nodes that the heads need, with all that they read: labels left out, auxiliary states of old files put in. */
function reach({ nodes, heads }: MxSymbol): { nodes: (SymbolNode | undefined)[]; extra: SymbolNode[] } {
  const needed: (SymbolNode | undefined)[] = nodes.map(() => undefined);
  const extra: SymbolNode[] = [];
  const wanted = new Set(heads.map(([i]) => i));
  for (let i = nodes.length - 1; i >= 0; i--) {
    if (!wanted.has(i)) continue;
    const node = nodes[i]!;
    const inputs: Entry[] = node.inputs.slice(0, withLabels.has(node.op) ? 1 : undefined);
    for (const [from] of inputs) wanted.add(from);
    const states = auxiliary.get(node.op);
    if (states && inputs.length === states[0])
      for (const name of states.slice(1)) {
        inputs.push([nodes.length + extra.length, 0]);
        extra.push({ op: 'null', name: `${node.name}_${name}`, attrs: {}, inputs: [] });
      }
    needed[i] = { ...node, inputs };
  }
  return { nodes: needed, extra };
}

/** What a symbol takes: the one variable without an array, or of several the one called data. */
interface Plan {
  readonly nodes: readonly (SymbolNode | undefined)[];
  readonly input: SymbolNode;
  /** Channels that the first convolution reads. */
  readonly channels: number;
  /** [height, width], where the symbol says. */
  readonly size: readonly [number, number] | undefined;
  readonly normalises: boolean;
}

/** Whether what reads the input, copies looked through, takes numbers off or multiplies. */
function normalises(nodes: readonly (SymbolNode | undefined)[], input: number): boolean {
  const images = new Set([input]);
  return nodes.some((node, i) => {
    if (!node?.inputs.some(([from]) => images.has(from))) return false;
    if (['identity', '_copy', 'BlockGrad', 'Cast', 'cast', 'amp_cast'].includes(node.op)) images.add(i);
    return /scalar|^BatchNorm/i.test(node.op);
  });
}

/** @throws DataError listing unknown operators and missing arrays */
export function planOf(symbol: MxSymbol, params: ReadonlyMap<string, HostTensor>, file: string): Plan {
  const { nodes: needed, extra } = reach(symbol);
  const nodes = [...needed, ...extra];
  const unknown = new Map<string, string>();
  const free: SymbolNode[] = [];
  for (const node of nodes) {
    if (!node) continue;
    if (node.op === 'null') {
      if (!params.has(node.name)) free.push(node);
    } else if (!mxOperators.has(node.op)) unknown.set(node.op, node.name);
  }
  if (unknown.size)
    throw new DataError(
      `${file}: expected known operators, got ${[...unknown].map(([op, name]) => `${op} (${name})`).join(', ')}\n` +
        `These are read: ${[...mxOperators.keys()].join(', ')}.`,
    );
  const input = free.length === 1 ? free[0] : free.find((n) => n.name === 'data');
  if (!input || free.length > 1)
    throw new DataError(
      `${file}: expected one input and arrays for all other variables, but ${free.length ? `no array is there for ${free.map((n) => n.name).join(', ')}` : 'every variable has an array'}\n` +
        'Symbol and .params belong to different networks, or the network takes several inputs, which is not supported.',
    );
  const first = nodes.find(
    (n) => n?.op.startsWith('Convolution') && params.has(nodes[n.inputs[1]?.[0] ?? -1]?.name ?? ''),
  );
  const weight = first && params.get(nodes[first.inputs[1]![0]]!.name);
  const groups = first ? new Attributes(first, file).number('num_group', 1) : 1;
  const stated = input.attrs.__shape__ === undefined ? [] : new Attributes(input, file).numbers('__shape__', []);
  const [, channels, height, width] = stated;
  return {
    nodes,
    input,
    channels: channels && channels > 0 ? channels : (weight?.shape[1] ?? 3) * groups,
    size: height && width && height > 0 && width > 0 ? [height, width] : undefined,
    normalises: normalises(nodes, nodes.indexOf(input)),
  };
}

/** @throws DataError naming the node whose values do not fit; ShapeError likewise */
export function graphOfSymbol(
  { heads, nodes: all }: MxSymbol,
  { nodes, input, channels }: Plan,
  params: ReadonlyMap<string, HostTensor>,
  [height, width]: readonly [number, number],
  file: string,
): Graph {
  const builder = new GraphBuilder();
  const graph = new ChannelsFirst(builder);
  const made = new Map<number, readonly Ordered[]>();
  // Auxiliary states that old files leave out stand behind the nodes that read them.
  const order = [...nodes.keys()].slice(all.length).concat([...nodes.keys()].slice(0, all.length));
  for (const i of order) {
    const node = nodes[i];
    if (!node) continue;
    if (node.op === 'null') {
      const array = params.get(node.name);
      const trained = !/_moving_(mean|var)$/.test(node.name);
      made.set(i, [
        array ? graph.given(array, node.name, trained) : graph.input(input.name, [channels, height, width]),
      ]);
      continue;
    }
    if (!node.inputs.length)
      throw new DataError(`${file}: ${node.name} (${node.op}): expected at least one value\nThe symbol is damaged.`);
    const inputs = node.inputs.map(([from, output]) => {
      const value = made.get(from)?.[output];
      if (value) return value;
      throw new DataError(
        `${file}: ${node.name} (${node.op}): expected output ${output} of ${nodes[from]?.name}, which it does not give\nThe network is of a kind that is not supported.`,
      );
    });
    const weight = (k: number): HostTensor => {
      const { given } = inputs[k] ?? {};
      if (given) return given;
      throw new DataError(
        `expected numbers of the .params file as input ${k}\nThe symbol is damaged or of another kind.`,
      );
    };
    try {
      const out = mxOperators.get(node.op)!({
        graph,
        name: node.name,
        attrs: new Attributes(node, file),
        inputs,
        weight,
      });
      made.set(i, Array.isArray(out) ? out : [out]);
    } catch (error) {
      throw named(error, `${file}: ${node.name} (${node.op})`, file);
    }
  }
  const outputs: Record<string, ReturnType<ChannelsFirst['plain']>> = {};
  for (const [i, output] of heads) {
    const value = made.get(i)?.[output];
    const name = all[i]!.name;
    if (!value) throw new DataError(`${file}: ${name} gives no output ${output}\nThe symbol is damaged.`);
    outputs[output || name in outputs ? `${name}_${output}` : name] = outOf(graph, value);
  }
  return builder.finish(outputs);
}
