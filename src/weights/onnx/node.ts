/**
 * One node of an ONNX graph, as its operator's mapping sees it.
 *
 * The one idea: an input is either numbers that are known already or a value of the graph; the mapping asks for what it
 * needs and says by `refuse` what it cannot do, so that every node that is not supported can be listed at once.
 */
import { DataError } from '../../core/errors.ts';
import type { Shape } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { ChannelsFirst, Ordered } from '../../models/graph/channelsFirst.ts';
import type { AttributeProto, NodeProto } from './messages.ts';
import { type Numbers, readTensor } from './numbers.ts';

/** Numbers, or a value of the graph. */
export type Item = Numbers | Ordered;
export const isNumbers = (item: Item): item is Numbers => 'type' in item;

/** Something of the standard that importing does not do. */
export class Unsupported extends Error {}

/** An operator of the standard. */
export interface OnnxOperator {
  readonly name: string;
  /** Versions of the operator set in which it is read, the first and the last. */
  readonly opsets: readonly [number, number];
  /** What of it is not read; '' where all is. */
  readonly limits: string;
  /** What it gives, one item an output; fewer where the others are not read. */
  map(node: OnnxNode): Item | readonly Item[];
}

/** The newest operator set that was read when this was written. */
export const latestOpset = 22;
/** The oldest. */
export const firstOpset = 7;

const utf8 = new TextDecoder();

export class OnnxNode {
  readonly proto: NodeProto;
  readonly opset: number;
  readonly graph: ChannelsFirst;
  /** Where its layer is put in the tree of the network. */
  readonly path: string;
  /** Number of outputs that are named. */
  readonly outputs: number;
  private readonly items: readonly (Item | undefined)[];
  private readonly attributes: ReadonlyMap<string, AttributeProto>;
  private readonly outside: ((location: string) => Uint8Array | undefined) | undefined;
  /** Whether it prepares the images, before any layer. */
  readonly prepares: boolean;

  constructor(options: {
    proto: NodeProto;
    opset: number;
    graph: ChannelsFirst;
    path: string;
    inputs: readonly (Item | undefined)[];
    prepares: boolean;
    outside?: (location: string) => Uint8Array | undefined;
  }) {
    this.proto = options.proto;
    this.opset = options.opset;
    this.graph = options.graph;
    this.path = options.path;
    this.items = options.inputs;
    this.prepares = options.prepares;
    this.outside = options.outside;
    this.outputs = (options.proto.output ?? []).filter((o) => o !== '').length;
    this.attributes = new Map((options.proto.attribute ?? []).map((a) => [a.name ?? '', a]));
  }

  get type(): string {
    return this.proto.opType ?? '';
  }
  /** Number of inputs, with those left out between others. */
  get count(): number {
    return this.items.length;
  }
  refuse(what: string): never {
    throw new Unsupported(what);
  }
  fail(expected: string): never {
    throw new DataError(`expected ${expected}\nThe file is damaged, or breaks the standard.`);
  }

  has(i: number): boolean {
    return this.items[i] !== undefined;
  }
  item(i: number): Item {
    return this.items[i] ?? this.fail(`an input ${i}`);
  }
  /** All inputs, at least one. */
  all(): Item[] {
    if (this.items.length === 0) this.fail('an input');
    return this.items.map((_, i) => this.item(i));
  }
  shape(i: number): Shape {
    return this.item(i).shape;
  }
  /** An input as a value of the graph; numbers become one when they are used. */
  value(i: number, trains = true): Ordered {
    return this.asValue(this.item(i), trains);
  }
  asValue(item: Item, trains = true): Ordered {
    if (!isNumbers(item)) return item;
    if (item.type !== 'float') this.fail(`numbers of a floating-point type, got ${item.type}`);
    const path = item.name === '' ? `${this.path}.constant` : item.name;
    // A single number is a factor of the formula and no weight.
    return this.graph.given(asHost(item), path, trains && item.trained && item.data.length > 1);
  }
  /** An input that must be known when the graph is made. */
  numbers(i: number, role: string): Numbers {
    const item = this.item(i);
    return isNumbers(item) ? item : this.refuse(`${role} that is computed from the images`);
  }
  /** Weights. */
  host(i: number, role: string): HostTensor {
    const n = this.numbers(i, role);
    return n.type === 'float' ? asHost(n) : this.fail(`${role} of floating-point numbers`);
  }
  list(i: number, role: string): number[] {
    const n = this.numbers(i, role);
    if (n.shape.length > 1) this.fail(`${role} as a list, got shape [${n.shape.join(', ')}]`);
    return Array.from(n.data);
  }

  hasAttribute(name: string): boolean {
    return this.attributes.has(name);
  }
  int(name: string, fallback: number): number {
    return this.attributes.get(name)?.i ?? fallback;
  }
  float(name: string, fallback: number): number {
    return this.attributes.get(name)?.f ?? fallback;
  }
  ints(name: string): readonly number[] | undefined {
    const a = this.attributes.get(name);
    return a && (a.ints ?? []);
  }
  floats(name: string): number[] | undefined {
    const a = this.attributes.get(name);
    return a && Array.from(a.floats ?? []);
  }
  text(name: string, fallback: string): string {
    const s = this.attributes.get(name)?.s;
    return s ? utf8.decode(s.slice(0, 200)) : fallback;
  }
  tensor(name: string): Numbers | undefined {
    const t = this.attributes.get(name)?.t;
    return t && readTensor(t, `${this.path}.${name}`, false, this.outside);
  }
  /** Whole numbers that later versions take as an input and earlier ones as an attribute. */
  listOf(attribute: string, input: number): number[] | undefined {
    if (this.has(input)) return this.list(input, attribute);
    const ints = this.ints(attribute);
    return ints && Array.from(ints);
  }

  /** An axis counted from 0. */
  axis(axis: number, rank: number): number {
    const at = axis < 0 ? axis + rank : axis;
    return Number.isInteger(at) && at >= 0 && at < Math.max(rank, 1)
      ? at
      : this.fail(`an axis of ${rank}, got ${axis}`);
  }
}

export const asHost = (n: Numbers): HostTensor => host(n.data as Float32Array, n.shape);
