/**
 * Graphs as ncnn's files: `NAME.param`, the layers as text, and `NAME.bin`, their numbers as float32.
 *
 * The one idea: images lie as C, H, W there and as H, W, C here, and no number says which; so maps are written as if they had
 * been C, H, W all along, and only where memory itself is meant (a reshape) does a Permute stand. Before a dense layer the
 * weight's rows move instead. ncnn lets one layer read a value: for others there are Splits.
 * Source: ncnn's docs/developer-guide/operators.md and its plain implementations.
 */
import { UsageError } from '../../core/errors.ts';
import { type Shape, sizeOf } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import { permuted } from '../../models/graph/channelsFirst.ts';
import { operatorOf } from '../../models/graph/network.ts';
import { shapesOf } from '../../models/graph/shapes.ts';
import type { Graph, GraphNode } from '../../models/graph/spec.ts';
import { floatText, type Line, textOf } from './lines.ts';

export interface NcnnFiles {
  /** What `NAME.param` holds. */
  readonly param: string;
  /** What `NAME.bin` holds. */
  readonly bin: Uint8Array;
}

// biome-ignore lint/suspicious/noExplicitAny: an operator's attributes are those of its own record
type Attrs = any;

/** A value: the name it has in the file, or numbers without a place in it, or the map that it is the flattened form of. */
interface Held {
  readonly shape: Shape;
  readonly blob: string;
  readonly given?: HostTensor;
  readonly map?: Held;
}

const unaries: Readonly<Record<string, number>> = {
  abs: 0,
  neg: 1,
  floor: 2,
  ceil: 3,
  square: 4,
  sqrt: 5,
  exp: 7,
  log: 8,
  sin: 9,
  cos: 10,
  round: 18,
};
const binaries: Readonly<Record<string, number>> = { add: 0, sub: 1, mul: 2, div: 3, max: 4, min: 5, pow: 6 };
/** The number first. */
const reversals: Readonly<Record<string, number>> = { sub: 7, div: 8, pow: 9 };
const reductions: Readonly<Record<string, number>> = {
  sum: 0,
  sumSquare: 2,
  mean: 3,
  max: 4,
  min: 5,
  l1: 7,
  l2: 8,
  logSumExp: 10,
};
/** New orders of a map's axes, from the last to the first, by ncnn's number. */
const orders = ['WHC', 'HWC', 'WCH', 'CWH', 'HCW', 'CHW'];

class Writer {
  private readonly graph: Graph;
  private readonly shapes: ReadonlyMap<string, Shape>;
  private readonly values = new Map<string, Held>();
  private readonly lines: Line[] = [];
  private readonly bin: Uint8Array[] = [];
  private readonly names = new Set<string>();

  constructor(graph: Graph) {
    this.graph = graph;
    this.shapes = shapesOf(graph.spec);
    for (const { name, shape } of graph.spec.inputs) {
      const [a, b, c] = shape;
      const params =
        shape.length === 3 ? { 0: b!, 1: a!, 2: c! } : { 0: shape.at(-1)!, ...(b !== undefined && { 1: a! }) };
      this.values.set(name, { shape: [1, ...shape], blob: this.layer('Input', name, [], params) });
    }
    for (const n of graph.spec.nodes) this.node(n);
  }

  private unique(wanted: string): string {
    const name = wanted.replace(/\s+/g, '_').slice(0, 200);
    let out = name;
    for (let i = 1; this.names.has(out); i++) out = `${name}_${i}`;
    this.names.add(out);
    return out;
  }
  /** A layer of one value, which is named as the layer. */
  private layer(
    type: string,
    wanted: string,
    inputs: readonly string[],
    params: Readonly<Record<number, number | string>> = {},
    outputs = 1,
  ): string {
    const name = this.unique(wanted);
    const made = outputs === 1 ? [name] : Array.from({ length: outputs }, (_, i) => this.unique(`${name}_${i}`));
    const text = Object.entries(params)
      .map(([key, value]) => `${key}=${value}`)
      .join(' ');
    this.lines.push({ type, name, inputs: [...inputs], outputs: made, params: text });
    return made[0]!;
  }
  private several(type: string, wanted: string, inputs: readonly string[], params: string, outputs: number): string[] {
    this.layer(type, wanted, inputs, {}, outputs);
    const line = this.lines.pop()!;
    this.lines.push({ ...line, params });
    return line.outputs;
  }
  private plain(...tensors: readonly HostTensor[]): void {
    for (const { data } of tensors) this.bin.push(new Uint8Array(Float32Array.from(data).buffer));
  }
  /** Behind the tag of float32. */
  private tagged(tensor: HostTensor): void {
    this.bin.push(new Uint8Array(4));
    this.plain(tensor);
  }
  private weight(n: GraphNode, what: string): HostTensor {
    return this.graph.tensors.get(`layers.${n.path}.${what}`)!;
  }
  private refuse(n: GraphNode, what = `'${n.op}'`): never {
    throw new UsageError(
      `ncnn: ${n.path} is ${what}, which this writer has no layer for\nExport to another format, or write the layer with other operations.`,
    );
  }

  /** The value as one of the file. */
  private blob(h: Held): string {
    if (h.given) return this.memory(h);
    return h.map ? this.flat(h.map, `${h.blob}.flat`) : h.blob;
  }
  /** Numbers of the file as a value, their axes those of a map where there are as many. */
  private memory({ given, blob }: Held): string {
    const shape = given!.shape.slice(given!.shape.length === 4 ? 1 : 0);
    if (shape.length > 3 || (given!.shape.length === 4 && given!.shape[0] !== 1))
      throw new UsageError(
        `ncnn: ${blob} is a constant of shape [${given!.shape}], which ncnn has no place for\nExport to another format.`,
      );
    const map = shape.length === 3;
    const [c, h, w] = map ? [shape[2]!, shape[0]!, shape[1]!] : [undefined, shape.at(-2), shape.at(-1) ?? 1];
    const name = this.layer('MemoryData', blob, [], { 0: w!, ...(h !== undefined && { 1: h }), ...(map && { 2: c! }) });
    this.plain(map ? permuted(host(given!.data, shape), [2, 0, 1]) : given!);
    return name;
  }
  /** A map as a vector in the order of this engine's memory. */
  private flat(map: Held, name: string): string {
    return this.layer('Flatten', name, [this.asMemory(map, name)]);
  }
  /** A map with H, W, C in ncnn's memory as well. */
  private asMemory(map: Held, name: string): string {
    const [, h, w, c] = map.shape as [number, number, number, number];
    return h * w === 1 || c === 1 ? this.blob(map) : this.layer('Permute', `${name}.order`, [this.blob(map)], { 0: 3 });
  }
  /** ncnn's number for an axis of this engine's: it has no batch, and channels first. */
  private axis(n: GraphNode, x: Held, axis: number): number {
    const rank = x.shape.length;
    const at = axis < 0 ? axis + rank : axis;
    if (at < 1 || at >= rank || rank > 4) this.refuse(n, `'${n.op}' along axis ${axis} of a value of ${rank} axes`);
    return rank === 4 ? at % 3 : at - 1;
  }

  private node(n: GraphNode): void {
    const { attrs: a }: { attrs: Attrs } = operatorOf(n);
    const [name] = n.outputs as [string];
    const shape = this.shapes.get(name)!;
    const inputs = n.inputs.map((i) => this.values.get(i)!);
    const [x] = inputs as [Held];
    if (n.op === 'constant' || n.op === 'parameter') {
      this.values.set(name, { shape, blob: n.path, given: this.weight(n, 'value') });
      return;
    }
    if (n.op === 'split') {
      const params = `-23300=${a.sizes.length},${a.sizes.join(',')} 1=${this.axis(n, x, a.axis)}`;
      const made = this.several('Slice', n.path, [this.blob(x)], params, a.sizes.length);
      n.outputs.forEach((o, i) => {
        this.values.set(o, { shape: this.shapes.get(o)!, blob: made[i]! });
      });
      return;
    }
    if (n.op === 'reshape' && x.shape.length === 4 && shape.length === 2) {
      this.values.set(name, { shape, blob: n.path, map: x });
      return;
    }
    if (n.op === 'dropout') {
      this.values.set(name, { ...x, shape });
      return;
    }
    const blob =
      n.op in binaries
        ? this.binary(n, inputs, a)
        : (this.layers(n, x, a) ?? this.elements(n, x, a) ?? this.moved(n, inputs, a, shape));
    this.values.set(name, { shape, blob: blob ?? this.refuse(n) });
  }

  /** Layers with weights, and windows. */
  private layers(n: GraphNode, x: Held, a: Attrs): string | undefined {
    switch (n.op) {
      case 'conv2d': {
        const weight = permuted(this.weight(n, 'weight'), [3, 2, 0, 1]);
        const [down, right] = a.kernel;
        const [top, bottom, left, after] = a.padding;
        const made = this.layer(a.groups === 1 ? 'Convolution' : 'ConvolutionDepthWise', n.path, [this.blob(x)], {
          0: a.outputs,
          1: right,
          11: down,
          2: a.dilation[1],
          12: a.dilation[0],
          3: a.stride[1],
          13: a.stride[0],
          4: left,
          15: after,
          14: top,
          16: bottom,
          5: a.bias ? 1 : 0,
          6: weight.data.length,
          ...(a.groups !== 1 && { 7: a.groups }),
        });
        this.tagged(weight);
        if (a.bias) this.plain(this.weight(n, 'bias'));
        return made;
      }
      case 'linear': {
        if (x.shape.length > 3) this.refuse(n, 'a dense layer over the channels of a map');
        const { map } = x;
        const weight = this.weight(n, 'weight');
        const [rows, outputs] = weight.shape as [number, number];
        const byChannel = map ? host(weight.data, [...map.shape.slice(1), outputs]) : weight;
        const made = this.layer('InnerProduct', n.path, [map ? this.blob(map) : this.blob(x)], {
          0: outputs,
          1: a.bias ? 1 : 0,
          2: rows * outputs,
        });
        this.tagged(permuted(byChannel, map ? [3, 2, 0, 1] : [1, 0]));
        if (a.bias) this.plain(this.weight(n, 'bias'));
        return made;
      }
      case 'batchNorm': {
        if (x.shape.length === 3) this.refuse(n, 'a batch norm of rows');
        const mean = this.weight(n, 'runningMean');
        const one = host(new Float32Array(mean.data.length).fill(1), mean.shape);
        const made = this.layer('BatchNorm', n.path, [this.blob(x)], { 0: a.channels, 1: floatText(a.eps) });
        this.plain(
          a.scale ? this.weight(n, 'weight') : one,
          mean,
          this.weight(n, 'runningVar'),
          this.weight(n, 'bias'),
        );
        return made;
      }
      case 'prelu': {
        if (x.shape.length === 3) this.refuse(n, 'a PReLU of rows');
        const made = this.layer('PReLU', n.path, [this.blob(x)], { 0: a.channels });
        this.plain(this.weight(n, 'weight'));
        return made;
      }
      case 'maxPool':
      case 'avgPool': {
        const [top, bottom, left, right] = a.padding;
        return this.layer('Pooling', n.path, [this.blob(x)], {
          0: n.op === 'maxPool' ? 0 : 1,
          1: a.kernel[1],
          11: a.kernel[0],
          2: a.stride[1],
          12: a.stride[0],
          3: left,
          13: top,
          14: right,
          15: bottom,
          5: 1,
          ...(n.op === 'avgPool' && { 6: a.countIncludePad ? 1 : 0 }),
        });
      }
      case 'resize': {
        const [, h, w] = this.shapes.get(n.outputs[0]!)!;
        const bilinear = a.mode === 'bilinear';
        return this.layer('Interp', n.path, [this.blob(x)], {
          0: bilinear ? 2 : 1,
          3: h!,
          4: w!,
          ...(bilinear && a.alignCorners && { 6: 1 }),
        });
      }
      default:
        return undefined;
    }
  }

  /** What acts on each number, and along an axis. */
  private elements(n: GraphNode, x: Held, a: Attrs): string | undefined {
    const one = (type: string, params: Readonly<Record<number, number | string>> = {}) =>
      this.layer(type, n.path, [this.blob(x)], params);
    const f = floatText;
    if (n.op in unaries) return one('UnaryOp', { 0: unaries[n.op]! });
    switch (n.op) {
      case 'relu':
        return one('ReLU');
      case 'relu6':
        return one('Clip', { 0: f(0), 1: f(6) });
      case 'leakyRelu':
        return one('ReLU', { 0: f(a.slope) });
      case 'clamp':
        return one('Clip', { 0: f(a.min), 1: f(a.max) });
      case 'sigmoid':
        return one('Sigmoid');
      case 'tanh':
        return one('TanH');
      case 'swish':
        return one('Swish');
      case 'softplus':
        return one('Softplus');
      case 'elu':
        return one('ELU', { 0: f(a.alpha) });
      case 'selu':
        return one('SELU', { 0: f(a.alpha), 1: f(a.gamma) });
      case 'hardSigmoid':
        return one('HardSigmoid', { 0: f(a.alpha), 1: f(a.beta) });
      case 'hardSwish':
        return one('HardSwish', { 0: f(1 / 6), 1: f(0.5) });
      case 'softmax':
        return one('Softmax', { 0: this.axis(n, x, a.axis), 1: 1 });
      case 'logSoftmax': {
        const soft = this.layer('Softmax', `${n.path}.softmax`, [this.blob(x)], { 0: this.axis(n, x, a.axis), 1: 1 });
        return this.layer('UnaryOp', n.path, [soft], { 0: unaries.log! });
      }
      case 'l2Normalize': {
        // Vectors are places of one channel.
        const vector = x.shape.length === 2;
        if (!vector && (x.shape.length !== 4 || this.axis(n, x, a.axis) !== 0)) this.refuse(n);
        const made = one('Normalize', { 0: vector ? 1 : 0, 1: 1, 2: f(a.eps), 3: 1, 4: 1, 9: 1 });
        this.plain(host(Float32Array.of(1), [1]));
        return made;
      }
      default:
        return undefined;
    }
  }

  /** Two values, or one and a number. */
  private binary(n: GraphNode, inputs: readonly Held[], a: Attrs): string {
    const single = inputs.find((h) => h.given && sizeOf(h.given.shape) === 1)?.given;
    const number = inputs.length === 1 ? a.value : single?.data[0];
    if (number !== undefined) {
      const x = inputs.find((h) => h.given === undefined || sizeOf(h.given.shape) !== 1)!;
      const reversed = inputs.length === 1 ? a.reversed : x !== inputs[0];
      const op = reversed ? (reversals[n.op] ?? binaries[n.op]!) : binaries[n.op]!;
      return this.layer('BinaryOp', n.path, [this.blob(x)], { 0: op, 1: 1, 2: floatText(number) });
    }
    const rank = Math.max(...inputs.map((h) => h.shape.length));
    const blobs = inputs.map((h) => {
      const vector = h.shape.filter((d) => d !== 1).length <= 1 && h.shape.length < rank && rank === 4;
      const c = h.shape.at(-1)!;
      if (h.given) return this.blob(vector ? { ...h, given: host(h.given.data, [1, 1, 1, c]) } : h);
      if (h.shape.length === rank) return this.blob(h);
      if (!vector) this.refuse(n, `'${n.op}' of shapes ${inputs.map((i) => `[${i.shape}]`).join(' and ')}`);
      return this.layer('Reshape', `${n.path}.channels`, [this.blob(h)], { 0: 1, 1: 1, 2: c });
    });
    return this.layer('BinaryOp', n.path, blobs, { 0: binaries[n.op]! });
  }

  /** What moves, joins or reduces. */
  private moved(n: GraphNode, inputs: readonly Held[], a: Attrs, shape: Shape): string | undefined {
    const [x] = inputs as [Held];
    const rank = x.shape.length;
    switch (n.op) {
      case 'concat':
        return this.layer(
          'Concat',
          n.path,
          inputs.map((h) => this.blob(h)),
          { 0: this.axis(n, x, a.axis) },
        );
      case 'slice': {
        if (a.step !== 1 || a.start < 0) this.refuse(n, `a slice from ${a.start} in steps of ${a.step}`);
        const params = `-23309=1,${a.start} -23310=1,${a.end ?? -233} -23311=1,${this.axis(n, x, a.axis)}`;
        return this.several('Crop', n.path, [this.blob(x)], params, 1)[0];
      }
      case 'flip': {
        const axes = a.axes as readonly number[];
        const channels = shape.at(-1)!;
        if (axes.length !== 1 || (axes[0]! + rank) % rank !== rank - 1 || rank !== 4 || channels > 64) this.refuse(n);
        const parts = this.several(
          'Slice',
          `${n.path}.channels`,
          [this.blob(x)],
          `-23300=${channels},${Array(channels).fill(1)} 1=0`,
          channels,
        );
        return this.layer('Concat', n.path, parts.toReversed(), { 0: 0 });
      }
      case 'pad': {
        const [batch, down, right, channels] = a.pads as readonly (readonly [number, number])[];
        if (rank !== 4 || [...batch!, ...channels!].some((p) => p !== 0)) this.refuse(n, 'padding of other than a map');
        return this.layer('Padding', n.path, [this.blob(x)], {
          0: down![0],
          1: down![1],
          2: right![0],
          3: right![1],
          4: 0,
          5: floatText(a.value),
        });
      }
      case 'transpose':
        return this.transpose(n, x, a.axes);
      case 'reshape':
        return this.reshape(n, x, shape);
      case 'reduce':
        return this.reduce(n, x, a, shape);
      default:
        return undefined;
    }
  }

  private transpose(n: GraphNode, x: Held, axes: readonly number[]): string {
    if (axes[0] === 0 && axes.length === 3)
      return this.layer('Permute', n.path, [this.blob(x)], { 0: axes[1] === 1 ? 0 : 1 });
    if (axes[0] !== 0 || axes.length !== 4) this.refuse(n, `a transposition of ${axes.length} axes`);
    // From the last axis of the result to its first: its W, H and C.
    const order = [axes[2], axes[1], axes[3]].map((i) => ' HWC'[i!]).join('');
    return this.layer('Permute', n.path, [this.blob(x)], { 0: orders.indexOf(order) });
  }

  private reshape(n: GraphNode, x: Held, shape: Shape): string {
    const [first, ...sizes] = shape;
    if (first !== x.shape[0] || sizes.length > 3) this.refuse(n, `a reshape to [${shape}]`);
    const from = x.shape.length === 4 ? this.asMemory(x, n.path) : this.blob(x);
    if (sizes.length < 3)
      return this.layer('Reshape', n.path, [from], Object.fromEntries(sizes.toReversed().map((d, i) => [i, d])));
    const [h, w, c] = sizes as [number, number, number];
    if (h * w === 1 || c === 1) return this.layer('Reshape', n.path, [from], { 0: w, 1: h, 2: c });
    const memory = this.layer('Reshape', `${n.path}.memory`, [from], { 0: c, 1: w, 2: h });
    return this.layer('Permute', n.path, [memory], { 0: orders.indexOf('HCW') });
  }

  private reduce(n: GraphNode, x: Held, a: Attrs, shape: Shape): string {
    const rank = x.shape.length;
    const listed = (a.axes as readonly number[]).map((i) => (i < 0 ? i + rank : i));
    if (!listed.length || listed.includes(0)) this.refuse(n, 'a reduction over the batch');
    const axes = listed.map((i) => this.axis(n, x, i)).sort();
    if (rank === 4 && axes.join() === '1,2' && (a.kind === 'mean' || a.kind === 'max')) {
      const name = a.keep ? `${n.path}.pool` : n.path;
      const pooled = this.layer('Pooling', name, [this.blob(x)], { 0: a.kind === 'max' ? 0 : 1, 4: 1 });
      return a.keep ? this.layer('Reshape', n.path, [pooled], { 0: 1, 1: 1, 2: shape[3]! }) : pooled;
    }
    // One of the places gone, the other and the channels would change their order.
    if (rank === 4 && !a.keep && axes.length === 1 && axes[0] !== 0)
      this.refuse(n, `a reduction of a map over one side`);
    const params = `0=${reductions[a.kind] ?? this.refuse(n, a.kind)} 1=0 2=${floatText(1)} -23303=${axes.length},${axes} 4=${a.keep ? 1 : 0} 5=1`;
    return this.several('Reduction', n.path, [this.blob(x)], params, 1)[0]!;
  }

  finish(): NcnnFiles {
    const outputs = this.graph.spec.outputs.map(({ name, value }) => ({
      name,
      blob: this.blob(this.values.get(value)!),
    }));
    const bin = new Uint8Array(this.bin.reduce((sum, b) => sum + b.length, 0));
    let at = 0;
    for (const b of this.bin) {
      bin.set(b, at);
      at += b.length;
    }
    return { param: textOf(this.lines, outputs), bin };
  }
}

/**
 * A graph as ncnn's two files. Without batch norms and dropout the network is smaller: fold the graph first.
 * @throws UsageError naming the node for operators that ncnn has no layer for
 */
export const writeNcnn = (graph: Graph): NcnnFiles => new Writer(graph).finish();
