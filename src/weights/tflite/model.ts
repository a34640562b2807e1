/**
 * What a TFLite file says, checked, and its tensors as numbers.
 *
 * The one idea: constants come out as float32 or whole numbers whatever they are stored as: half precision is widened, and
 * 8-bit weights become the numbers that their scales say.
 */
import { DataError } from '../../core/errors.ts';
import { sizeOf } from '../../core/shape.ts';
import { type HostTensor, halfToFloat } from '../safetensors.ts';
import { readFlat } from './flat.ts';
import {
  fileIdentifier,
  modelTable,
  operatorName,
  type TfliteModel,
  type TfliteOperator,
  type TfliteTensor,
  tensorTypes,
  typeNames,
} from './schema.ts';

/** An operator by name, with what it takes (undefined: left out), makes, and its options. */
export interface TfliteNode {
  readonly op: string;
  readonly inputs: readonly (number | undefined)[];
  readonly outputs: readonly number[];
  readonly options: Readonly<Record<string, unknown>>;
}

export class TfliteFile {
  readonly name: string;
  readonly model: TfliteModel;
  readonly tensors: readonly TfliteTensor[];
  readonly nodes: readonly TfliteNode[];
  /** Name and index of tensors. */
  readonly inputs: readonly (readonly [name: string, tensor: number])[];
  readonly outputs: readonly (readonly [name: string, tensor: number])[];
  private readonly bytes: Uint8Array;

  /** @throws DataError for what is no TFLite file, or one of several subgraphs (control flow) */
  constructor(bytes: Uint8Array, name: string) {
    this.name = name;
    this.bytes = bytes;
    const model = readFlat(bytes, modelTable, fileIdentifier, name);
    this.model = model;
    if (model.subgraphs.length !== 1)
      this.fail(`expected one subgraph, got ${model.subgraphs.length}`, 'Export the network without control flow.');
    const graph = model.subgraphs[0]!;
    this.tensors = graph.tensors;
    const indices = (list: readonly number[]) => list.map((i) => this.index(i));
    this.nodes = graph.operators.map((o) => this.node(o));
    const inputs = indices(graph.inputs);
    const outputs = indices(graph.outputs);
    const signature = model.signatures.length === 1 ? model.signatures[0]! : { inputs: [], outputs: [] };
    const named = (list: readonly number[], maps: readonly { name: string; tensor: number }[]) =>
      list.map((i) => [maps.find((m) => m.tensor === i)?.name || this.tensors[i]!.name || `tensor ${i}`, i] as const);
    this.inputs = named(inputs, signature.inputs);
    this.outputs = named(outputs, signature.outputs);
  }

  fail(what: string, advice: string): never {
    throw new DataError(`${this.name}: ${what}\n${advice}`);
  }
  private index(i: number): number {
    if (!(i >= 0 && i < this.tensors.length))
      this.fail(
        `expected tensors 0 to ${this.tensors.length - 1}, got a reference to ${i}`,
        'The file is damaged: fetch it again.',
      );
    return i;
  }
  private node({ opcode, inputs, outputs, options }: TfliteOperator): TfliteNode {
    const code = this.model.operatorCodes[opcode];
    if (!code)
      this.fail(
        `an operator refers to code ${opcode} of ${this.model.operatorCodes.length}`,
        'The file is damaged: fetch it again.',
      );
    // Files from before operators outgrew one byte have the first number alone.
    const number = Math.max(code.code, code.deprecatedCode);
    return {
      op: code.customCode ? `CUSTOM (${code.customCode})` : operatorName(number),
      inputs: inputs.map((i) => (i === -1 ? undefined : this.index(i))),
      outputs: outputs.map((i) => this.index(i)),
      options: options?.value ?? {},
    };
  }

  /** How messages name a tensor. */
  label(i: number): string {
    return `tensor ${i}${this.tensors[i]!.name ? ` (${this.tensors[i]!.name})` : ''}`;
  }
  private raw(i: number): Uint8Array | undefined {
    const buffer = this.model.buffers[this.tensors[i]!.buffer];
    if (!buffer) return undefined;
    if (buffer.offset > 1) {
      const end = buffer.offset + buffer.size;
      if (!(end <= this.bytes.length))
        this.fail(
          `${this.label(i)} lies at bytes ${buffer.offset} to ${end} of ${this.bytes.length}`,
          'The file is cut off: fetch it again.',
        );
      return this.bytes.subarray(buffer.offset, end);
    }
    return buffer.data.length ? buffer.data : undefined;
  }
  /** The numbers of a constant; undefined where the file holds none. `storage` is the type in the file, if another. */
  constant(i: number): HostTensor | undefined {
    const bytes = this.raw(i);
    const { shape, type, quantization, sparsity } = this.tensors[i]!;
    const n = sizeOf(shape);
    // An empty list (the shape of a scalar) has no bytes.
    if (!bytes) return undefined;
    if (sparsity) this.fail(`${this.label(i)} is stored sparsely`, 'Export the network with dense weights.');
    const layout = elements[type];
    if (!layout)
      this.fail(
        `${this.label(i)} has elements of type ${typeNames[type] ?? type}`,
        `Types that are read: ${Object.keys(elements)
          .map((t) => typeNames[Number(t)])
          .join(', ')}.`,
      );
    if (shape.some((d) => d < 0) || bytes.length !== n * layout.size)
      this.fail(
        `${this.label(i)} of shape [${shape}] should have ${n * layout.size} bytes, but has ${bytes.length}`,
        'The file is damaged: fetch it again.',
      );
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const values = (out: Float32Array | Int32Array) => {
      for (let k = 0; k < n; k++) out[k] = layout.get(view, k * layout.size);
      return out;
    };
    const storage = typeNames[type]!;
    if (quantization?.scale.length) {
      const data = values(new Float32Array(n)) as Float32Array;
      this.dequantise(data, i);
      return { data, shape, dtype: 'f32', storage };
    }
    if (layout.whole) return { data: this.whole(values(new Int32Array(n)), view, layout, i), shape, dtype: 'i32' };
    return { data: values(new Float32Array(n)), shape, dtype: 'f32', ...(type !== tensorTypes.f32 && { storage }) };
  }
  /** Numbers of 64 bits must fit. */
  private whole(out: Float32Array | Int32Array, view: DataView, { size, get }: Element, i: number) {
    for (let k = 0; k < out.length; k++)
      if (out[k] !== get(view, k * size))
        this.fail(
          `${this.label(i)} holds ${get(view, k * size)}, which does not fit 32 bits`,
          'Export the network with INT32.',
        );
    return out;
  }
  /** (q − zero point) · scale, along an axis where there are several. */
  private dequantise(data: Float32Array, i: number): void {
    const { shape, quantization } = this.tensors[i]!;
    const { scale, zeroPoint, dimension } = quantization!;
    const channels = scale.length;
    if (channels !== 1 && shape[dimension] !== channels)
      this.fail(
        `${this.label(i)} of shape [${shape}] has ${channels} scales along axis ${dimension}`,
        'The file is damaged: fetch it again.',
      );
    const inner = channels === 1 ? data.length : sizeOf(shape.slice(dimension + 1));
    for (let k = 0; k < data.length; k++) {
      const c = channels === 1 ? 0 : Math.floor(k / inner) % channels;
      data[k] = (data[k]! - (zeroPoint[c] ?? 0)) * scale[c]!;
    }
  }
}

interface Element {
  readonly size: number;
  readonly whole?: boolean;
  get(view: DataView, at: number): number;
}
const elements: Readonly<Record<number, Element>> = {
  [tensorTypes.f32]: { size: 4, get: (v, at) => v.getFloat32(at, true) },
  [tensorTypes.f16]: { size: 2, get: (v, at) => halfToFloat(v.getUint16(at, true)) },
  [tensorTypes.i32]: { size: 4, whole: true, get: (v, at) => v.getInt32(at, true) },
  [tensorTypes.u8]: { size: 1, whole: true, get: (v, at) => v.getUint8(at) },
  [tensorTypes.i64]: { size: 8, whole: true, get: (v, at) => Number(v.getBigInt64(at, true)) },
  [tensorTypes.bool]: { size: 1, whole: true, get: (v, at) => v.getUint8(at) },
  [tensorTypes.i8]: { size: 1, whole: true, get: (v, at) => v.getInt8(at) },
};
