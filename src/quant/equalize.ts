/**
 * The same network with its channels brought to like ranges, so that one scale of 8 bits serves all channels of a map.
 *
 * The one idea: what is positive and constant per channel passes through rectifiers, sums and pools. So the layers that make
 * a map can divide its channels by any numbers, if the layers that read it multiply by them. All maps that hang together so
 * (a block's, or a whole chain of shortcuts) get one number per channel: channels of a small range are enlarged as far as the
 * readers' weights, whose rows then shrink, allow. After Nagel et al., "Data-free quantization through weight equalization and
 * bias correction" (2019, arXiv 1906.04721), section 4.1, with the ranges of activations in place of weights as in Xiao et al.,
 * "SmoothQuant" (2022, arXiv 2211.10438), equation 4.
 */
import { compile, defaultDevice } from '../compile.ts';
import { UsageError } from '../core/errors.ts';
import { type HostTensor, host, type Tensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { graphNetwork } from '../models/graph/network.ts';
import { shapesOf } from '../models/graph/shapes.ts';
import type { Graph, GraphNode } from '../models/graph/spec.ts';
import { type Preprocessing, preprocess } from '../models/network.ts';
import { freeVariables } from '../nn/module.ts';
import { abs } from '../ops/pointwise.ts';
import { max } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { CalibrationBatch } from './calibrate.ts';

export interface EqualizeOptions {
  /** Where the graph runs. Default: WASM on all cores. */
  readonly device?: Device | undefined;
  /** How uint8 images [N, H, W, 3] become the input. Without it inputs are taken as they are. */
  readonly preprocessing?: Preprocessing | undefined;
}

/** Maps whose channels are scaled alike, and the layers at their ends. */
interface Chain {
  readonly values: string[];
  readonly makers: GraphNode[];
  readonly readers: GraphNode[];
}

/** Operators through which a positive factor per channel passes, of every size of map. */
const passes: ReadonlySet<string> = new Set([
  'relu',
  'leakyRelu',
  'prelu',
  'dropout',
  'maxPool',
  'avgPool',
  'resize',
  'neg',
  'abs',
]);
const isLayer = ({ op }: GraphNode): boolean => op === 'conv2d' || op === 'linear';

/** Whether factors per channel pass through an operator. */
function transparent({ op, inputs, attrs }: GraphNode, shape: (value: string) => readonly number[]): boolean {
  if (passes.has(op)) return true;
  const channels = (value: string) => shape(value).at(-1);
  if (op === 'add' || op === 'sub') return inputs.length === 2 && channels(inputs[0]!) === channels(inputs[1]!);
  if (op === 'pad') return (attrs.value ?? 0) === 0 && (attrs.pads as number[][]).at(-1)!.every((p) => p === 0);
  if (op === 'reduce')
    return (
      ['mean', 'sum', 'max'].includes((attrs.kind as string) ?? 'mean') &&
      (attrs.axes as number[]).length > 0 &&
      !(attrs.axes as number[]).some((a) => a === -1 || a === shape(inputs[0]!).length - 1)
    );
  return false;
}

function chainsOf({ spec }: Graph): Chain[] {
  const shapes = shapesOf(spec);
  const shape = (value: string) => shapes.get(value)!;
  const parent = new Map<string, string>();
  const root = (value: string): string => {
    const up = parent.get(value) ?? value;
    return up === value ? value : root(up);
  };
  /** A reshape of a map of one pixel moves nothing. */
  const squeezes = (n: GraphNode) =>
    n.op === 'reshape' &&
    shape(n.inputs[0]!)
      .slice(1, -1)
      .every((d) => d === 1) &&
    shape(n.outputs[0]!).at(-1) === shape(n.inputs[0]!).at(-1);
  const inside = (n: GraphNode) => transparent(n, shape) || squeezes(n);
  for (const n of spec.nodes) if (inside(n)) for (const v of n.inputs) parent.set(root(v), root(n.outputs[0]!));
  const chains = new Map<string, Chain>();
  const chain = (value: string) => {
    const at = root(value);
    if (!chains.has(at)) chains.set(at, { values: [], makers: [], readers: [] });
    return chains.get(at)!;
  };
  // What comes from, or goes to, anything but layers keeps its scale.
  const fixed = new Set<string>([...spec.inputs.map((i) => i.name), ...spec.outputs.map((o) => o.value)].map(root));
  const outputs = new Set(spec.outputs.map((o) => o.value));
  /** A value of which a rectifier is part, so that it is never stored itself. */
  const cutOff = (value: string) =>
    !outputs.has(value) && spec.nodes.every((n) => n.op === 'relu' || !n.inputs.includes(value));
  for (const n of spec.nodes) {
    if (isLayer(n)) {
      chain(n.outputs[0]!).makers.push(n);
      chain(n.inputs[0]!).readers.push(n);
      if (!cutOff(n.outputs[0]!)) chain(n.outputs[0]!).values.push(n.outputs[0]!);
    } else if (inside(n)) chain(n.outputs[0]!).values.push(n.outputs[0]!);
    else for (const v of [...n.inputs, ...n.outputs]) fixed.add(root(v));
  }
  return [...chains].flatMap(([at, c]) => (fixed.has(at) || !c.makers.length || !c.readers.length ? [] : [c]));
}

/** Greatest absolute number of each channel of the values, over all batches. */
async function channelRanges(
  graph: Graph,
  values: readonly string[],
  batches: readonly CalibrationBatch[],
  { device, preprocessing }: EqualizeOptions,
): Promise<Map<string, Float64Array>> {
  const network = graphNetwork({
    ...graph,
    spec: { ...graph.spec, outputs: values.map((v) => ({ name: v, value: v })) },
  });
  const on = device ?? (await defaultDevice());
  const run = compile(
    (inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext) => {
      const given = Object.values(inputs).map((x, i) => (i === 0 && preprocessing ? preprocess(x, preprocessing) : x));
      const made = network.outputs(given, ctx);
      return Object.fromEntries(
        values.map((v, i) => {
          const x = made.get(v)!;
          return [
            `most ${i}`,
            max(
              abs(x),
              x.shape.slice(0, -1).map((_, axis) => axis),
            ),
          ];
        }),
      );
    },
    { device: on },
  );
  const ranges = new Map<string, Float64Array>();
  try {
    for (const batch of batches) {
      const inputs = 'data' in batch ? [batch] : batch;
      const results = await run(Object.fromEntries(inputs.map((x, i) => [`input ${i}`, x])));
      values.forEach((v, i) => {
        const { data } = results[`most ${i}`]!;
        const before = ranges.get(v) ?? new Float64Array(data.length);
        ranges.set(
          v,
          before.map((m, c) => Math.max(m, data[c]!)),
        );
      });
    }
  } finally {
    run.dispose();
    freeVariables(network, on);
  }
  return ranges;
}

/** The input channel that each row of a layer's weight belongs to, for one of its outputs. */
function rowChannels({ op, attrs }: GraphNode, outputs: number): (row: number, output: number) => number {
  const groups = op === 'conv2d' ? ((attrs.groups as number) ?? 1) : 1;
  const each = (attrs.inputs as number) / groups;
  const perGroup = outputs / groups;
  return (row, output) => Math.floor(output / perGroup) * each + (row % each);
}
const isDepthwise = ({ op, attrs }: GraphNode): boolean => op === 'conv2d' && attrs.groups === attrs.inputs;

/** Ranges closer to nothing than this share of the largest are not enlarged any more: what is rare there would be cut off. */
const leastShare = 1 / 32;

/** What the chain's channels are divided by. */
function factors(
  { values, readers }: Chain,
  ranges: ReadonlyMap<string, Float64Array>,
  numbers: Numbers,
): Float64Array {
  const channels = ranges.get(values[0]!)!.length;
  const range = new Float64Array(channels);
  for (const v of values)
    ranges.get(v)!.forEach((m, c) => {
      range[c] = Math.max(range[c]!, m);
    });
  const most = Math.max(...range);
  if (!(most > 0)) return new Float64Array(channels).fill(1);
  const share = range.map((r) => Math.max(r / most, leastShare));
  // Depthwise readers have a scale for each channel anyway.
  const dense = readers.filter((n) => !isDepthwise(n));
  if (dense.length === 0) return share;
  const weight = new Float64Array(channels);
  for (const n of dense) {
    const { data, shape } = numbers.get(n, 'weight')!;
    const outputs = shape.at(-1)!;
    const channel = rowChannels(n, outputs);
    const largest = new Float64Array(outputs);
    for (let i = 0; i < data.length; i++) largest[i % outputs] = Math.max(largest[i % outputs]!, Math.abs(data[i]!));
    for (let i = 0; i < data.length; i++) {
      const o = i % outputs;
      const c = channel(Math.floor(i / outputs), o);
      if (largest[o]! > 0) weight[c] = Math.max(weight[c]!, Math.abs(data[i]!) / largest[o]!);
    }
  }
  return share.map((s, c) => Math.sqrt(s / Math.max(weight[c]!, leastShare)));
}

/** The graph's numbers while they change, in float64. */
class Numbers {
  private readonly tensors: Map<string, { data: Float64Array; shape: readonly number[] }>;
  constructor({ tensors }: Graph) {
    this.tensors = new Map([...tensors].map(([k, t]) => [k, { data: Float64Array.from(t.data), shape: t.shape }]));
  }
  get(n: GraphNode, what: string) {
    return this.tensors.get(`layers.${n.path}.${what}`);
  }
  finish(): Map<string, HostTensor> {
    return new Map([...this.tensors].map(([k, { data, shape }]) => [k, host(Float32Array.from(data), shape)]));
  }
}

/**
 * The graph with like ranges in all channels of its maps, as far as that can be; it computes the same but for rounding.
 * Fold the graph first; calibrate and quantise what comes out.
 * @param batches example inputs, as for `calibrate`
 */
export async function equalized(
  graph: Graph,
  batches: readonly CalibrationBatch[],
  options: EqualizeOptions = {},
): Promise<Graph> {
  if (batches.length === 0)
    throw new UsageError('equalized: expected at least one batch, got none\nGive pictures like those of use.');
  const chains = chainsOf(graph);
  if (chains.length === 0) return graph;
  const ranges = await channelRanges(
    graph,
    chains.flatMap((c) => c.values),
    batches,
    options,
  );
  const numbers = new Numbers(graph);
  for (const chain of chains) {
    const by = factors(chain, ranges, numbers);
    for (const n of chain.makers)
      for (const what of ['weight', 'bias']) {
        const t = numbers.get(n, what);
        t?.data.forEach((x, i) => {
          t.data[i] = x / by[i % by.length]!;
        });
      }
    for (const n of chain.readers) {
      const { data, shape } = numbers.get(n, 'weight')!;
      const outputs = shape.at(-1)!;
      const channel = rowChannels(n, outputs);
      for (let i = 0; i < data.length; i++) data[i]! *= by[channel(Math.floor(i / outputs), i % outputs)]!;
    }
  }
  return { spec: graph.spec, tensors: numbers.finish() };
}
