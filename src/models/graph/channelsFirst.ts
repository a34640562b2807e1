/**
 * Making graphs from sources that are channels-first: ONNX, MXNet, ncnn.
 *
 * The one idea: a value keeps the source's axes in its meaning and this engine's in memory. Its `order` says which of the
 * source's axes each axis in memory holds; transposing only changes the order, convolutions ask for channels-last, and numbers
 * move only where the meaning needs it, as before a dense layer on a map (and there the weight's rows move instead).
 */
import { DataError } from '../../core/errors.ts';
import { broadcastShapes, type Shape, sizeOf, stridesOf } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { ConvWeights, GraphBuilder, NormWeights, Value } from './builder.ts';

/** Axes in memory → axes of the source, all as they are. */
const plainOrder = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i);
/** N, then the places, then the channels. */
const lastOrder = (rank: number): number[] =>
  rank < 3 ? plainOrder(rank) : [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1];

/** A tensor's numbers with its axes in another order: axis i of the result is axis order[i]. */
export function permuted(t: HostTensor, order: readonly number[]): HostTensor {
  if (order.every((a, i) => a === i)) return t;
  const shape = order.map((a) => t.shape[a]!);
  const strides = stridesOf(t.shape);
  const steps = order.map((a) => strides[a]!);
  const data = t.data.slice();
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < data.length; to++) {
    data[to] = t.data[from]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d]!++;
      from += steps[d]!;
      if (index[d]! < shape[d]!) break;
      from -= steps[d]! * shape[d]!;
      index[d] = 0;
    }
  }
  return host(data, shape, t.dtype);
}

/** A value of the source, or numbers that it holds. */
export interface Ordered {
  /** In the source's axes, at batch 1. */
  readonly shape: Shape;
  /** For each axis in memory the source's. */
  readonly order: readonly number[];
  readonly value?: Value;
  /** Numbers of the file, not yet part of the graph; in the source's axes. */
  readonly given?: HostTensor;
  /** Whether training changes these numbers, and their path. */
  readonly trained?: boolean;
  readonly path?: string;
  /** A map [N, C, H, W] that this is the flattened form of. */
  readonly map?: Ordered;
}

/** A convolution with its weight as [Cout, Cin/groups, kh, kw]. */
export type ConvFirst = Omit<ConvWeights, 'weight'> & { readonly weight: HostTensor };

/** A transposed convolution with its weight as [Cin, Cout/groups, kh, kw]. */
export interface ConvTransposeFirst {
  readonly weight: HostTensor;
  readonly bias?: HostTensor | undefined;
  readonly stride?: readonly [number, number];
  /** Rows and columns of the full result that are cut off: [top, bottom, left, right]. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation?: readonly [number, number];
  readonly groups?: number;
}

/** [Cin, Cout/groups, kh, kw] as the [kh, kw, Cin/groups, Cout] of the convolution that does the same. */
function turnedAround(weight: HostTensor, groups: number): HostTensor {
  const [inputs, each, kh, kw] = weight.shape as [number, number, number, number];
  const perGroup = inputs / groups;
  const data = new Float32Array(weight.data.length);
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < each; o++)
      for (let r = 0; r < kh * kw; r++) {
        const output = Math.floor(i / perGroup) * each + o;
        data[((kh * kw - 1 - r) * perGroup + (i % perGroup)) * each * groups + output] =
          weight.data[(i * each + o) * kh * kw + r]!;
      }
  return host(data, [kh, kw, perGroup, each * groups]);
}

export class ChannelsFirst {
  readonly builder: GraphBuilder;
  constructor(builder: GraphBuilder) {
    this.builder = builder;
  }

  /** An input, its shape without the batch: [C, H, W] for images. Others, and images in another order, say their `order`. */
  input(name: string, shape: Shape, order: readonly number[] = lastOrder(shape.length + 1)): Ordered {
    const memory = order.slice(1).map((a) => shape[a - 1]!);
    return this.of(this.builder.input(name, memory), order);
  }
  /** Numbers of the file; `trained` where training may change them. */
  given(tensor: HostTensor, path = 'constant', trained = true): Ordered {
    return { shape: tensor.shape, order: plainOrder(tensor.shape.length), given: tensor, trained, path };
  }
  private of(value: Value, order: readonly number[]): Ordered {
    const shape = order.map(() => 0);
    order.forEach((axis, i) => {
      shape[axis] = value.shape[i]!;
    });
    return { shape, order, value };
  }

  /** The value with its axes in memory in this order. */
  as(x: Ordered, order: readonly number[]): Value {
    if (x.given) {
      const numbers = permuted(x.given, order);
      return x.trained ? this.builder.parameter(numbers, x.path) : this.builder.constant(numbers, x.path);
    }
    const value = x.value!;
    if (order.every((a, i) => a === x.order[i])) return value;
    // Axes of size 1 may stand anywhere without a number moving.
    const real = (axes: readonly number[]) => axes.filter((a) => x.shape[a] !== 1 || a === 0).join();
    if (real(order) === real(x.order))
      return this.builder.reshape(
        value,
        order.map((a) => x.shape[a]!),
      );
    // The batch is the first axis in memory until here; from now on nothing tells where it is.
    if (order[0] !== x.order[0]) this.builder.fixBatch();
    return this.builder.apply('transpose', [value], { axes: order.map((a) => x.order.indexOf(a)) });
  }
  /** Memory as the source has it. */
  plain(x: Ordered): Value {
    return this.as(x, plainOrder(x.shape.length));
  }
  private last(x: Ordered): Ordered {
    const order = lastOrder(x.shape.length);
    return this.of(this.as(x, order), order);
  }
  private axis(x: Ordered, axis: number): number {
    const at = axis < 0 ? axis + x.shape.length : axis;
    if (!Number.isInteger(at) || at < 0 || at >= x.shape.length)
      throw new DataError(`expected an axis of ${x.shape.length}, got ${axis}\nThe file is damaged.`);
    return at;
  }
  /** Where an axis is in memory, for an operator that works along it; along the first it would mix images. */
  private inMemory(x: Ordered, axis: number): number {
    const at = x.order.indexOf(this.axis(x, axis));
    if (at === 0) this.builder.fixBatch();
    return at;
  }
  private real(x: Ordered): Ordered {
    return x.given ? this.of(this.plain(x), x.order) : x;
  }

  conv2d(x: Ordered, { weight, ...rest }: ConvFirst, path?: string): Ordered {
    const y = this.last(x);
    return this.of(this.builder.conv2d(y.value!, { ...rest, weight: permuted(weight, [2, 3, 1, 0]) }, path), y.order);
  }
  /**
   * A transposed convolution, its weight as [Cin, Cout/groups, kh, kw]: zeros between the pixels, then a convolution with
   * the kernel turned around. `padding` is what it takes off each side; less than nothing adds.
   */
  convTranspose2d(x: Ordered, weights: ConvTransposeFirst, path = 'conv'): Ordered {
    const { weight, bias, stride = [1, 1], padding, dilation = [1, 1], groups = 1 } = weights;
    const { builder } = this;
    const y = this.last(x);
    const [n, h, w, c] = y.value!.shape as [number, number, number, number];
    let value = y.value!;
    if (stride.some((s) => s > 1)) {
      const [down, right] = stride;
      const between = [
        [0, 0],
        [0, 0],
        [0, down - 1],
        [0, 0],
        [0, (right - 1) * c],
      ]; // [N, H, 1, W, C]
      value = builder.apply('pad', [builder.reshape(value, [n, h, 1, w, c], path)], { pads: between }, path);
      value = builder.reshape(value, [n, h * down, w * right, c], path);
      // What came behind the last pixel goes again.
      if (down > 1) value = builder.apply('slice', [value], { axis: 1, start: 0, end: (h - 1) * down + 1 }, path);
      if (right > 1) value = builder.apply('slice', [value], { axis: 2, start: 0, end: (w - 1) * right + 1 }, path);
    }
    const kernel = weight.shape.slice(2);
    const reach = kernel.map((k, i) => (k - 1) * dilation[i]!);
    const around = padding.map((p, i) => reach[i >> 1]! - p) as [number, number, number, number];
    const cut = around.map((p) => Math.max(0, -p));
    const [height, width] = value.shape.slice(1) as [number, number];
    if (cut[0]! + cut[1]! > 0)
      value = builder.apply('slice', [value], { axis: 1, start: cut[0]!, end: height - cut[1]! }, path);
    if (cut[2]! + cut[3]! > 0)
      value = builder.apply('slice', [value], { axis: 2, start: cut[2]!, end: width - cut[3]! }, path);
    const turned = { weight: turnedAround(weight, groups), bias, dilation, groups };
    const made = builder.conv2d(
      value,
      { ...turned, padding: around.map((p) => Math.max(0, p)) as typeof around },
      path,
    );
    return this.of(made, y.order);
  }
  batchNorm(x: Ordered, weights: NormWeights, path?: string): Ordered {
    const y = this.last(x);
    return this.of(this.builder.batchNorm(y.value!, weights, path), y.order);
  }
  /** x·weight + bias over the last axis; weight [in, out]. The rows for a flattened map go where its numbers are. */
  linear(x: Ordered, { weight, bias }: { weight: HostTensor; bias?: HostTensor | undefined }, path?: string): Ordered {
    const { map } = x;
    if (map && weight.shape[0] === sizeOf(map.shape.slice(1))) {
      const [, c, h, w] = map.shape as [number, number, number, number];
      const rows = host(weight.data, [c, h, w, weight.shape[1]!], weight.dtype);
      const flat = this.builder.reshape(this.last(map).value!, [map.shape[0]!, weight.shape[0]!]);
      const moved = host(permuted(rows, [1, 2, 0, 3]).data, weight.shape, weight.dtype);
      return this.of(this.builder.linear(flat, { weight: moved, bias }, path), [0, 1]);
    }
    const y = this.plain(x);
    return this.of(this.builder.linear(y, { weight, bias }, path), plainOrder(y.shape.length));
  }
  /** Slopes of any shape that broadcasts to x. */
  prelu(x: Ordered, slope: HostTensor, path?: string): Ordered {
    const channels = x.shape[1];
    const sizes = slope.shape.filter((d) => d !== 1);
    const alongChannels =
      sizeOf(slope.shape) === 1 ||
      (sizes.length === 1 && sizes[0] === channels && [1, x.shape.length - 1].includes(slope.shape.length));
    if (alongChannels && channels !== undefined) {
      const y = this.last(x);
      return this.of(this.builder.prelu(y.value!, slope, path), y.order);
    }
    const below = this.binary('mul', this.unary('min', x, { value: 0 }), this.given(slope, path));
    return this.binary('add', this.unary('relu', x), below);
  }

  /** An operator on each number. */
  unary(op: string, x: Ordered, attrs: Readonly<Record<string, unknown>> = {}, path?: string): Ordered {
    const y = this.real(x);
    return this.of(this.builder.apply(op, [y.value!], attrs, path), y.order);
  }
  /** An operator on two values that broadcast by NumPy's rule. */
  binary(op: string, a: Ordered, b: Ordered, path?: string): Ordered {
    const shape = broadcastShapes([a.shape, b.shape]);
    if (!shape)
      throw new DataError(
        `${path ?? op}: expected shapes that broadcast, got [${a.shape}] and [${b.shape}]\nThe file is damaged.`,
      );
    for (const [x, other, reversed] of [
      [a, b, false],
      [b, a, true],
    ] as const)
      if (other.given && !other.trained && other.given.data.length === 1 && other.shape.length <= x.shape.length) {
        const y = this.real(x);
        return this.of(this.builder.apply(op, [y.value!], { value: other.given.data[0], reversed }, path), y.order);
      }
    const rank = shape.length;
    const whole =
      [a, b].find((x) => x.shape.length === rank && !x.given) ?? [a, b].find((x) => x.shape.length === rank)!;
    const { order } = whole;
    const values = [a, b].map((x) => this.stretched(x, rank, order));
    return this.of(this.builder.apply(op, values, {}, path), order);
  }
  /** With axes of size 1 in front up to `rank`, in the order. */
  private stretched(x: Ordered, rank: number, order: readonly number[]): Value {
    const missing = rank - x.shape.length;
    if (missing === 0) return this.as(x, order);
    const shape = [...Array<number>(missing).fill(1), ...x.shape];
    if (x.given) return this.as({ ...x, shape, given: host(x.given.data, shape, x.given.dtype) }, order);
    return this.as(this.of(this.builder.reshape(this.plain(x), shape), plainOrder(rank)), order);
  }

  /** An operator on images: pools, resize. */
  image(op: string, x: Ordered, attrs: Readonly<Record<string, unknown>>, path?: string): Ordered {
    const y = this.last(x);
    return this.of(this.builder.apply(op, [y.value!], attrs, path), y.order);
  }
  /** An operator along one axis: softmax, l2Normalize, slice. */
  along(op: string, x: Ordered, axis: number, attrs: Readonly<Record<string, unknown>> = {}, path?: string): Ordered {
    const y = this.real(x);
    const at = this.inMemory(y, axis);
    return this.of(this.builder.apply(op, [y.value!], { ...attrs, axis: at }, path), y.order);
  }
  split(x: Ordered, axis: number, sizes: readonly number[], path?: string): Ordered[] {
    let from = 0;
    return sizes.map((n) => {
      from += n;
      return this.along('slice', x, axis, { start: from - n, end: from }, path);
    });
  }
  concat(xs: readonly Ordered[], axis: number, path?: string): Ordered {
    const first = xs.find((x) => !x.given) ?? xs[0]!;
    const { order } = first;
    const values = xs.map((x) => this.as(x, order));
    return this.of(this.builder.apply('concat', values, { axis: this.inMemory(first, axis) }, path), order);
  }
  /** Over axes of the source; none named: all. `kind` as in the operator. */
  reduce(kind: string, x: Ordered, axes: readonly number[], keep: boolean, path?: string): Ordered {
    const y = this.real(x);
    const gone = new Set((axes.length ? axes : y.shape.map((_, i) => i)).map((a) => this.axis(y, a)));
    const attrs = { kind, axes: [...gone].map((a) => this.inMemory(y, a)), keep };
    const value = this.builder.apply('reduce', [y.value!], attrs, path);
    if (keep) return this.of(value, y.order);
    const left = y.order.filter((a) => !gone.has(a));
    const rank = left.toSorted((a, b) => a - b);
    return this.of(
      value,
      left.map((a) => rank.indexOf(a)),
    );
  }
  /** [before, after] for each axis of the source. */
  pad(x: Ordered, pads: readonly (readonly [number, number])[], value = 0, path?: string): Ordered {
    const y = this.real(x);
    if (pads[y.order[0]!]?.some((n) => n !== 0)) this.builder.fixBatch();
    return this.of(this.builder.apply('pad', [y.value!], { pads: y.order.map((a) => pads[a]!), value }, path), y.order);
  }
  /** No number moves: axis i of the result is axis axes[i]. */
  transpose(x: Ordered, axes: readonly number[]): Ordered {
    const y = this.real(x);
    return this.of(
      y.value!,
      y.order.map((a) => axes.indexOf(a)),
    );
  }
  /** To a shape that is known, the batch in front being 1. */
  reshape(x: Ordered, shape: Shape, path?: string): Ordered {
    if (x.given)
      return { ...x, shape, order: plainOrder(shape.length), given: host(x.given.data, shape, x.given.dtype) };
    const flattens = x.shape.length === 4 && shape.length === 2 && shape[0] === x.shape[0];
    const flat = this.of(this.builder.reshape(this.plain(x), shape, path), plainOrder(shape.length));
    return flattens ? { ...flat, map: x } : flat;
  }
  /** Repeated along axes of size 1, to a shape of as many axes or more. */
  expand(x: Ordered, shape: Shape, path?: string): Ordered {
    const order = x.shape.length === shape.length && !x.given ? x.order : plainOrder(shape.length);
    const value = this.stretched(x, shape.length, order);
    const target = order.map((a, i) => (shape[a] === value.shape[i] ? 0 : shape[a]!));
    if (target[0] !== 0 && !x.given) this.builder.fixBatch();
    return this.of(this.builder.apply('broadcastTo', [value], { shape: target }, path), order);
  }
  /** The product over the last two axes. */
  matmul(a: Ordered, b: Ordered, path?: string): Ordered {
    if (!b.given && b.shape.length === 2) this.builder.fixBatch();
    const value = this.builder.apply('matmul', [this.plain(a), this.plain(b)], {}, path);
    return this.of(value, plainOrder(value.shape.length));
  }
}
