/**
 * Graphs as ONNX files.
 *
 * The one idea: ONNX is channels-first, this engine channels-last, and neither order means anything. A value keeps the axes of
 * the graph in its meaning and says which of them each axis of the file holds; convolutions ask for channels first,
 * everything per element takes what there is, transposes are only written where two orders meet. Before a dense layer over
 * a map the weight's rows move instead.
 *
 * Operator set 13 (IR version 7, ONNX 1.8 of 2020): every operator of a graph can be said in it, and runtimes of the last five
 * years take it; later sets would only make HardSwish one node in place of two.
 * Source: the operators of the ONNX standard, docs/Operators.md.
 */
import { UsageError } from '../../core/errors.ts';
import { type Shape, sizeOf } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import { operatorOf } from '../../models/graph/network.ts';
import { shapesOf } from '../../models/graph/shapes.ts';
import type { Graph, GraphNode } from '../../models/graph/spec.ts';
import { dataTypes, encodeMessage, type ValueInfoProto } from './messages.ts';
import { type Attributes, attribute, type Order, Parts, plain } from './parts.ts';

const opset = 13;
const irVersion = 7;

export interface OnnxOptions {
  /** Name of the graph in the file. Default 'facegrad'. */
  readonly name?: string;
  /** Texts for the model's metadata_props. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A value that the file has, or numbers that have no place in it yet. */
interface Held {
  readonly shape: Shape;
  readonly name: string;
  readonly order: Order;
  readonly given?: HostTensor;
  /** Of a flattened map: the map. Its own columns are in the order of `map` in the file. */
  readonly map?: Held;
}

/** N, C, then the places. */
const channelsFirst = (rank: number): Order =>
  rank < 3 ? plain(rank) : [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)];
const sameOrder = (a: Order, b: Order) => a.every((x, i) => x === b[i]);
/** Whether the order moves axes of one element only, so that memory is the same. The batch is of any size. */
const moves = (shape: Shape, order: Order): boolean => {
  const large = order.filter((a) => a === 0 || shape[a] !== 1);
  return large.some((a, i) => i > 0 && a < large[i - 1]!);
};

/** Operators that are one of ONNX's, element by element. */
const same: Readonly<Record<string, string>> = {
  relu: 'Relu',
  sigmoid: 'Sigmoid',
  softplus: 'Softplus',
  tanh: 'Tanh',
  erf: 'Erf',
  exp: 'Exp',
  log: 'Log',
  sqrt: 'Sqrt',
  abs: 'Abs',
  neg: 'Neg',
  floor: 'Floor',
  ceil: 'Ceil',
  round: 'Round',
  sin: 'Sin',
  cos: 'Cos',
};
const binaries: Readonly<Record<string, string>> = {
  add: 'Add',
  sub: 'Sub',
  mul: 'Mul',
  div: 'Div',
  pow: 'Pow',
  min: 'Min',
  max: 'Max',
};
const reductions: Readonly<Record<string, string>> = {
  mean: 'ReduceMean',
  sum: 'ReduceSum',
  max: 'ReduceMax',
  min: 'ReduceMin',
  l1: 'ReduceL1',
  l2: 'ReduceL2',
  sumSquare: 'ReduceSumSquare',
  logSumExp: 'ReduceLogSumExp',
};
/** Further than any axis is long. */
const far = 2 ** 31 - 1;

class Writer extends Parts {
  private readonly graph: Graph;
  private readonly shapes: ReadonlyMap<string, Shape>;
  private readonly values = new Map<string, Held>();
  private readonly turned = new Map<string, string>();

  constructor(graph: Graph) {
    super();
    this.graph = graph;
    this.shapes = shapesOf(graph.spec);
    for (const { name } of [...graph.spec.inputs, ...graph.spec.outputs]) this.unique(name);
    for (const { name } of graph.spec.inputs) {
      const shape = this.shapes.get(name)!;
      this.values.set(name, { shape, name, order: shape.length === 4 ? channelsFirst(4) : plain(shape.length) });
    }
    for (const n of graph.spec.nodes) this.node(n);
  }

  private weight(n: GraphNode, what: string): HostTensor {
    return this.graph.tensors.get(`layers.${n.path}.${what}`)!;
  }

  private held(name: string): Held {
    return this.values.get(name)!;
  }
  /** The value's name in the file with its axes in this order. */
  private in(h: Held, order: Order): string {
    if (h.given) return this.floats(h.name, h.given, order);
    if (h.map) return this.in(this.unflattened(h), order);
    if (sameOrder(h.order, order)) return h.name;
    const key = `${h.name} ${order}`;
    const before = this.turned.get(key);
    if (before) return before;
    const perm = order.map((a) => h.order.indexOf(a));
    const name = this.emit('Transpose', [h.name], `${h.name}_turned`, { perm });
    this.turned.set(key, name);
    return name;
  }
  private plain(h: Held): string {
    return this.in(h, plain(h.shape.length));
  }
  private first(h: Held): string {
    return this.in(h, channelsFirst(h.shape.length));
  }
  /** A flattened map in the graph's own order. */
  private unflattened({ map, shape, name }: Held): Held {
    const key = `${name} flat`;
    let flat = this.turned.get(key);
    if (!flat) {
      flat = this.emit('Flatten', [this.plain(map!)], `${name}_plain`, { axis: 1 });
      this.turned.set(key, flat);
    }
    return { shape, name: flat, order: plain(2) };
  }

  private node(n: GraphNode): void {
    const { attrs: a }: { attrs: Attrs } = operatorOf(n);
    const inputs = n.inputs.map((i) => this.held(i));
    const shape = this.shapes.get(n.outputs[0]!)!;
    const give = (name: string, order: Order) => this.values.set(n.outputs[0]!, { shape, name, order });
    if (n.op === 'parameter' || n.op === 'constant') {
      this.values.set(n.outputs[0]!, {
        shape,
        name: n.path,
        order: plain(shape.length),
        given: this.weight(n, 'value'),
      });
      return;
    }
    if (n.op === 'split') {
      this.split(n, inputs[0]!, a);
      return;
    }
    const [x] = inputs as [Held];
    if (binaries[n.op]) return void this.binary(n, inputs, a, give);
    const layer = this.layer(n, x, a) ?? this.moved(n, inputs, a, shape) ?? this.elements(n, x, a);
    if ('held' in layer) this.values.set(n.outputs[0]!, layer.held);
    else give(layer.name, layer.order);
  }

  /** Layers with weights, and what else wants channels first. */
  private layer(n: GraphNode, x: Held, a: Attrs): Made | undefined {
    const rank = x.shape.length;
    const first = (opType: string, more: readonly string[], attributes: Attributes = {}): Made => ({
      name: this.emit(opType, [this.first(x), ...more], n.path, attributes),
      order: channelsFirst(rank),
    });
    const window = () => {
      const [top, bottom, left, right] = a.padding as readonly number[];
      return { kernel_shape: a.kernel, strides: a.stride, pads: [top, left, bottom, right] } as Attributes;
    };
    switch (n.op) {
      case 'conv2d': {
        const weight = this.floats(`${n.path}.weight`, this.weight(n, 'weight'), [3, 2, 0, 1]);
        const bias = a.bias ? [this.floats(`${n.path}.bias`, this.weight(n, 'bias'))] : [];
        return first('Conv', [weight, ...bias], { ...window(), dilations: a.dilation, group: a.groups });
      }
      case 'batchNorm': {
        const [mean] = [this.weight(n, 'runningMean')];
        const ones = host(new Float32Array(mean.data.length).fill(1), mean.shape);
        const numbers = { weight: a.scale ? this.weight(n, 'weight') : ones, bias: this.weight(n, 'bias') };
        const more = Object.entries({ ...numbers, mean, variance: this.weight(n, 'runningVar') }).map(([name, t]) =>
          this.floats(`${n.path}.${name}`, t),
        );
        return first('BatchNormalization', more, { epsilon: { float: a.eps } });
      }
      case 'prelu': {
        const slope = this.weight(n, 'weight');
        const dims = [slope.data.length, ...new Array<number>(Math.max(0, rank - 2)).fill(1)];
        return first('PRelu', [this.floats(`${n.path}.weight`, slope, undefined, { dims })]);
      }
      case 'maxPool':
        return first('MaxPool', [], window());
      case 'avgPool':
        return first('AveragePool', [], { ...window(), count_include_pad: a.countIncludePad ? 1 : 0 });
      case 'resize':
        return this.resize(n, x, a);
      case 'linear':
        return this.linear(n, x, a);
      default:
        return undefined;
    }
  }

  private linear(n: GraphNode, x: Held, a: Attrs): Made {
    const weight = this.weight(n, 'weight');
    const bias = a.bias ? [this.floats(`${n.path}.bias`, this.weight(n, 'bias'))] : [];
    const order = plain(x.shape.length);
    if (x.shape.length !== 2) {
      const product = this.emit(
        'MatMul',
        [this.plain(x), this.floats(`${n.path}.weight`, weight)],
        bias.length ? `${n.path}.product` : n.path,
      );
      return { name: bias.length ? this.emit('Add', [product, ...bias], n.path) : product, order };
    }
    // [in, out] to PyTorch's [out, in]; the rows of a flattened map in the file's order.
    const [rows, outputs] = weight.shape as [number, number];
    const form = { dims: [outputs, rows], shape: x.map ? [...x.map.shape.slice(1), outputs] : weight.shape };
    const places = x.map ? x.map.order.slice(1).map((axis) => axis - 1) : [0];
    const turned = this.floats(`${n.path}.weight`, weight, [places.length, ...places], form);
    const input = x.map ? x.name : this.plain(x);
    return { name: this.emit('Gemm', [input, turned, ...bias], n.path, { transB: 1 }), order };
  }

  private resize(n: GraphNode, x: Held, a: Attrs): Made {
    const input = this.first(x);
    const [, h, w] = this.shapes.get(n.outputs[0]!)!;
    // The batch may be of any size: its own is put before the new sides.
    const all = this.emit('Shape', [input], `${n.path}.shape`);
    const kept = this.emit(
      'Slice',
      [all, this.ints(`${n.path}.from`, [0]), this.ints(`${n.path}.to`, [2])],
      `${n.path}.kept`,
    );
    const sizes = this.emit('Concat', [kept, this.ints(`${n.path}.size`, [h!, w!])], `${n.path}.sizes`, { axis: 0 });
    const nearest = a.mode === 'nearest';
    const name = this.emit('Resize', [input, '', '', sizes], n.path, {
      mode: nearest ? 'nearest' : 'linear',
      coordinate_transformation_mode: nearest ? 'asymmetric' : a.alignCorners ? 'align_corners' : 'half_pixel',
      ...(nearest && { nearest_mode: 'floor' }),
    });
    return { name, order: channelsFirst(4) };
  }

  /** Two values, or one and a number. */
  private binary(n: GraphNode, inputs: readonly Held[], a: Attrs, give: (name: string, order: Order) => void): void {
    const opType = binaries[n.op]!;
    if (inputs.length === 1) {
      const [x] = inputs as [Held];
      const flat = x.map ? this.unflattened(x) : x;
      const operands = [flat.given ? this.plain(flat) : flat.name, this.scalar(n.path, a.value)];
      give(this.emit(opType, a.reversed ? operands.toReversed() : operands, n.path), flat.order);
      return;
    }
    const rank = Math.max(...inputs.map((h) => h.shape.length));
    const large = inputs.filter((h) => h.shape.length === rank && !h.given && !h.map);
    const fits = inputs.every((h) => h.given || h.shape.length === rank);
    const order = fits ? (large.find((h) => !sameOrder(h.order, plain(rank))) ?? large[0])?.order : undefined;
    const used = order ?? plain(rank);
    const names = inputs.map((h) => {
      if (!h.given || h.shape.length === rank) return order ? this.in(h, used) : this.plain(h);
      // Axes that broadcasting adds in front are of size 1.
      const shape = [...new Array<number>(rank - h.shape.length).fill(1), ...h.given.shape];
      return this.floats(h.name, h.given, used, { shape });
    });
    give(this.emit(opType, names, n.path), used);
  }

  /** What is computed element by element, in whatever order the value has. */
  private elements(n: GraphNode, x: Held, a: Attrs): Made {
    const flat = x.map ? this.unflattened(x) : x;
    const input = flat.given ? this.plain(flat) : flat.name;
    const { order } = flat;
    const one = (opType: string, more: readonly string[] = [], attributes: Attributes = {}): Made => ({
      name: this.emit(opType, [input, ...more], n.path, attributes),
      order,
    });
    if (same[n.op]) return one(same[n.op]!);
    const bound = (which: string, value: number) => this.floats(`${n.path}.${which}`, host(Float32Array.of(value), []));
    const times = (factor: string): Made => ({ name: this.emit('Mul', [input, factor], n.path), order });
    const axis = () => order.indexOf((a.axis as number) < 0 ? (a.axis as number) + x.shape.length : a.axis);
    switch (n.op) {
      case 'dropout':
        return { name: input, order };
      case 'relu6':
        return one('Clip', [bound('min', 0), bound('max', 6)]);
      case 'clamp':
        return one('Clip', [bound('min', a.min), bound('max', a.max)]);
      case 'leakyRelu':
        return one('LeakyRelu', [], { alpha: { float: a.slope } });
      case 'elu':
        return one('Elu', [], { alpha: { float: a.alpha } });
      case 'selu':
        return one('Selu', [], { alpha: { float: a.alpha }, gamma: { float: a.gamma } });
      case 'hardSigmoid':
        return one('HardSigmoid', [], { alpha: { float: a.alpha }, beta: { float: a.beta } });
      case 'hardSwish':
        return times(
          this.emit('HardSigmoid', [input], `${n.path}.gate`, { alpha: { float: 1 / 6 }, beta: { float: 0.5 } }),
        );
      case 'swish':
        return times(this.emit('Sigmoid', [input], `${n.path}.gate`));
      case 'square':
        return times(input);
      case 'softmax':
        return one('Softmax', [], { axis: axis() });
      case 'logSoftmax':
        return one('LogSoftmax', [], { axis: axis() });
      case 'l2Normalize': {
        const length = this.emit('ReduceL2', [input], `${n.path}.length`, { axes: [axis()], keepdims: 1 });
        return one('Div', [this.emit('Max', [length, bound('eps', a.eps)], `${n.path}.divisor`)]);
      }
      default:
        throw new UsageError(
          `onnx: ${n.path} is '${n.op}', which this writer has no operators for\nExport to another format, or write the layer with other operations.`,
        );
    }
  }

  /** What moves, joins or reduces. */
  private moved(n: GraphNode, inputs: readonly Held[], a: Attrs, shape: Shape): Made | undefined {
    const [x] = inputs as [Held];
    const flat = x?.map ? this.unflattened(x) : x!;
    const rank = x?.shape.length ?? 0;
    const positive = (axis: number) => (axis < 0 ? axis + rank : axis);
    const placed = (axis: number) => flat.order.indexOf(positive(axis));
    const input = () => (flat.given ? this.plain(flat) : flat.name);
    const ints = (what: string, values: readonly number[]) => this.ints(`${n.path}.${what}`, values);
    const slice = (starts: number[], ends: number[], axes: number[], steps: number[]): Made => ({
      name: this.emit(
        'Slice',
        [input(), ints('starts', starts), ints('ends', ends), ints('axes', axes), ints('steps', steps)],
        n.path,
      ),
      order: flat.order,
    });
    switch (n.op) {
      case 'reshape':
        return this.reshape(n, x, a.shape, shape);
      case 'transpose': {
        const axes = a.axes as readonly number[];
        return { name: input(), order: flat.order.map((axis) => axes.indexOf(axis)) };
      }
      case 'broadcastTo': {
        const order = shape.length === rank ? flat.order : plain(shape.length);
        const wanted = order.map((axis) => (axis === 0 ? 1 : shape[axis]!));
        const from = shape.length === rank ? input() : this.plain(flat);
        return { name: this.emit('Expand', [from, ints('shape', wanted)], n.path), order };
      }
      case 'concat': {
        const order = inputs.find((h) => !h.given && !h.map)?.order ?? plain(rank);
        const names = inputs.map((h) => this.in(h, order));
        return { name: this.emit('Concat', names, n.path, { axis: order.indexOf(positive(a.axis)) }), order };
      }
      case 'gather':
        return {
          name: this.emit('Gather', [input(), ints('indices', a.indices)], n.path, { axis: placed(a.axis) }),
          order: flat.order,
        };
      case 'slice':
        return slice([a.start], [a.end ?? far], [placed(a.axis)], [a.step]);
      case 'flip': {
        const axes = ((a.axes as number[]).length ? (a.axes as number[]) : plain(rank)).map(placed);
        const all = (value: number) => axes.map(() => value);
        return slice(all(-1), all(-far), axes, all(-1));
      }
      case 'pad': {
        const pads = flat.order.map((axis) => (a.pads as readonly (readonly [number, number])[])[axis]!);
        const list = ints('pads', [...pads.map(([before]) => before), ...pads.map(([, after]) => after)]);
        const value = this.floats(`${n.path}.value`, host(Float32Array.of(a.value), []));
        return { name: this.emit('Pad', [input(), list, value], n.path), order: flat.order };
      }
      case 'reduce':
        return this.reduce(n, flat, a, shape);
      case 'matmul': {
        const [p, q] = inputs.map((h, i) => {
          const name = this.plain(h);
          if (!(i === 0 ? a.transA : a.transB)) return name;
          const axes = [...plain(h.shape.length)];
          axes.push(...axes.splice(-2).toReversed());
          return this.emit('Transpose', [name], `${n.path}.${i === 0 ? 'a' : 'b'}`, { perm: axes });
        });
        return { name: this.emit('MatMul', [p!, q!], n.path), order: plain(shape.length) };
      }
      default:
        return undefined;
    }
  }

  private reduce(n: GraphNode, x: Held, a: Attrs, shape: Shape): Made {
    const rank = x.shape.length;
    const named = a.axes as readonly number[];
    const axes = (named.length ? named : plain(rank)).map((axis) => (axis < 0 ? axis + rank : axis));
    const places = rank === 4 && axes.length === 2 && axes.includes(1) && axes.includes(2);
    if (places && (a.kind === 'mean' || a.kind === 'max')) {
      const opType = a.kind === 'mean' ? 'GlobalAveragePool' : 'GlobalMaxPool';
      const pooled = this.emit(opType, [this.first(x)], a.keep ? n.path : `${n.path}.pooled`);
      if (a.keep) return { name: pooled, order: channelsFirst(4) };
      return { name: this.emit('Flatten', [pooled], n.path, { axis: 1 }), order: plain(2) };
    }
    const input = x.given ? this.plain(x) : x.name;
    const order = x.given ? plain(rank) : x.order;
    const at = axes.map((axis) => order.indexOf(axis)).sort((p, q) => p - q);
    const keepdims = a.keep ? 1 : 0;
    const name =
      a.kind === 'sum'
        ? this.emit('ReduceSum', [input, this.ints(`${n.path}.axes`, at)], n.path, { keepdims })
        : this.emit(reductions[a.kind]!, [input], n.path, { axes: at, keepdims });
    if (a.keep) return { name, order };
    const left = order.filter((axis) => !axes.includes(axis));
    const ranks = [...left].sort((p, q) => p - q);
    return { name, order: shape.length ? left.map((axis) => ranks.indexOf(axis)) : [] };
  }

  private reshape(n: GraphNode, x: Held, wanted: readonly number[], shape: Shape): Made {
    const source = x.map ? this.unflattened(x) : x;
    const keepsBatch =
      source.order[0] === 0 &&
      (wanted[0] === 0 || (wanted[0] === -1 && sizeOf(shape.slice(1)) === sizeOf(source.shape.slice(1))));
    if (!source.given && keepsBatch && shape.length === 2 && source.shape.length > 2) {
      const name = this.emit('Flatten', [source.name], n.path, { axis: 1 });
      if (!moves(source.shape, source.order)) return { name, order: plain(2) };
      return { held: { shape, name, order: plain(2), map: source } };
    }
    const input = source.given || moves(source.shape, source.order) ? this.plain(source) : source.name;
    const order = shape.length === 4 && !moves(shape, channelsFirst(4)) ? channelsFirst(4) : plain(shape.length);
    // 0 would copy an axis of the source as it lies in the file: only the batch is known to lie at its place.
    const sizes = order.map((axis) => (axis === 0 ? (keepsBatch ? 0 : wanted[0]!) : shape[axis]!));
    return { name: this.emit('Reshape', [input, this.ints(`${n.path}.shape`, sizes)], n.path), order };
  }

  private split(n: GraphNode, x: Held, a: Attrs): void {
    const flat = x.map ? this.unflattened(x) : x;
    const rank = x.shape.length;
    const axis = (a.axis as number) < 0 ? (a.axis as number) + rank : (a.axis as number);
    const input = flat.given ? this.plain(flat) : flat.name;
    const output = n.outputs.map((_, i) => this.unique(`${n.path}_${i}`));
    this.nodes.push({
      input: [input, this.ints(`${n.path}.sizes`, a.sizes)],
      output,
      name: n.path,
      opType: 'Split',
      attribute: [attribute('axis', flat.order.indexOf(axis))],
    });
    n.outputs.forEach((value, i) => {
      this.values.set(value, { shape: this.shapes.get(value)!, name: output[i]!, order: flat.order });
    });
  }

  /** What users see: maps are [N, C, H, W], all else as in the graph. */
  info(name: string, value: string): ValueInfoProto {
    const shape = this.shapes.get(value)!;
    const order = shape.length === 4 ? channelsFirst(4) : plain(shape.length);
    const { batch } = this.graph.spec;
    const dim = order.map((axis) =>
      axis > 0 || shape.length === 0
        ? { dimValue: shape[axis]! }
        : batch === undefined
          ? { dimParam: 'N' }
          : { dimValue: batch },
    );
    return { name, type: { tensorType: { elemType: dataTypes.float, shape: { dim } } } };
  }
  /** Gives the outputs their names. */
  finish(): void {
    for (const { name, value } of this.graph.spec.outputs) {
      const h = this.held(value);
      const made = h.shape.length === 4 ? this.first(h) : this.plain(h);
      this.nodes.push({ input: [made], output: [name], name: this.unique(`${name}.output`), opType: 'Identity' });
    }
    // What nothing else reads takes the output's name itself.
    for (const { name } of this.graph.spec.outputs) {
      const at = this.nodes.findIndex((n) => n.output![0] === name);
      const [made] = this.nodes[at]!.input!;
      const maker = this.nodes.findIndex((n) => n.output!.includes(made!));
      if (maker < 0 || this.nodes.some((n, i) => i !== at && n.input!.includes(made!))) continue;
      const { output, ...rest } = this.nodes[maker]!;
      this.nodes[maker] = { ...rest, output: output!.map((o) => (o === made ? name : o)) };
      this.nodes.splice(at, 1);
    }
  }
}

// biome-ignore lint/suspicious/noExplicitAny: an operator's attributes are those of its own record
type Attrs = any;
/** A new value in the file. */
type Made = { readonly name: string; readonly order: Order } | { readonly held: Held };

/**
 * The bytes of an ONNX file. Images are [N, C, H, W] as ONNX has them, the batch N of any size unless the graph fixes it.
 * @throws UsageError for an operator that cannot be written
 */
export function writeOnnx(
  graph: Graph,
  { name = 'facegrad', metadata = {} }: OnnxOptions = {},
): Uint8Array<ArrayBuffer> {
  const writer = new Writer(graph);
  writer.finish();
  return encodeMessage('ModelProto', {
    irVersion,
    producerName: 'facegrad',
    opsetImport: [{ domain: '', version: opset }],
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: {
      name,
      node: writer.nodes,
      initializer: writer.initializers,
      input: graph.spec.inputs.map((i) => writer.info(i.name, i.name)),
      output: graph.spec.outputs.map((o) => writer.info(o.name, o.value)),
    },
  });
}
