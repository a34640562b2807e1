/**
 * The parts of an ONNX file that is being written: nodes, and numbers that they read.
 *
 * The one idea: names are unique, and numbers that two nodes share in one form are in the file once.
 */
import type { Shape } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import { permuted } from '../../models/graph/channelsFirst.ts';
import { type AttributeProto, attributeTypes, dataTypes, type NodeProto, type TensorProto } from './messages.ts';

/** For each axis in the file the axis of the graph's value. */
export type Order = readonly number[];
export const plain = (rank: number): Order => Array.from({ length: rank }, (_, i) => i);

const utf8 = new TextEncoder();
export function attribute(
  name: string,
  value: number | string | readonly number[] | { readonly float: number },
): AttributeProto {
  if (typeof value === 'string') return { name, s: utf8.encode(value), type: attributeTypes.string };
  if (typeof value === 'number') return { name, i: value, type: attributeTypes.int };
  if ('float' in value) return { name, f: value.float, type: attributeTypes.float };
  return { name, ints: value, type: attributeTypes.ints };
}
export type Attributes = Readonly<Record<string, Parameters<typeof attribute>[1]>>;

export interface Form {
  readonly shape?: Shape;
  readonly dims?: Shape;
}

export class Parts {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  private readonly taken = new Set<string>();
  /** Names of initializers by their numbers and form. */
  private readonly shared = new Map<ArrayLike<number>, Map<string, string>>();

  unique(name: string): string {
    let out = name;
    for (let i = 1; this.taken.has(out); i++) out = `${name}_${i}`;
    this.taken.add(out);
    return out;
  }
  /** Writes a node with one result; gives the result's name. */
  emit(opType: string, input: readonly string[], wanted: string, attributes: Attributes = {}): string {
    const output = this.unique(wanted);
    this.nodes.push({
      input,
      output: [output],
      name: output,
      opType,
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    return output;
  }
  /**
   * Numbers with their axes in another order.
   * @param form `shape`: what the numbers are before, `dims` behind, where that is not what they say
   */
  floats(wanted: string, t: HostTensor, order?: Order, { shape = t.shape, dims }: Form = {}): string {
    const key = `${shape} ${order} ${dims}`;
    const known = this.shared.get(t.data) ?? new Map<string, string>();
    this.shared.set(t.data, known);
    const before = known.get(key);
    if (before) return before;
    const name = this.unique(wanted);
    known.set(key, name);
    const turned = permuted(host(t.data, shape), order ?? plain(shape.length));
    const { buffer, byteOffset, byteLength } = turned.data as Float32Array;
    const rawData = new Uint8Array(buffer, byteOffset, byteLength);
    this.initializers.push({ name, dims: dims ?? turned.shape, dataType: dataTypes.float, rawData });
    return name;
  }
  scalar(path: string, value: number): string {
    return this.floats(`${path}.value`, host(Float32Array.of(value), []));
  }
  ints(path: string, values: readonly number[]): string {
    const name = this.unique(path);
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.initializers.push({ name, dims: [values.length], dataType: dataTypes.int64, rawData });
    return name;
  }
}
