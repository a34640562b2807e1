/**
 * TensorFlow's protobuf messages that graphs and checkpoints share: shapes, tensors, element types.
 *
 * The one idea: a message is gone over once and each field handed to a visitor, which takes it or leaves it; nothing is
 * kept that no one asked for. Elements become float32, or float64 for whole numbers (exact to 2^53).
 * Source: tensorflow/core/framework/{types,tensor,tensor_shape}.proto; the wire format is read by @bufbuild/protobuf.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { Shape } from '../../core/shape.ts';
import { sizeOf } from '../../core/shape.ts';
import { bfloatToFloat, halfToFloat } from '../safetensors.ts';

/** Goes over the fields of a message; those that `visit` does not take (false) are skipped. */
export function fields(
  message: Uint8Array,
  visit: (field: number, type: WireType, reader: BinaryReader) => boolean,
): void {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (!visit(field, type, reader)) reader.skip(type, field);
  }
  if (reader.pos > reader.len) throw new RangeError('a field runs past the end');
}

const utf8 = new TextDecoder();
export const text = (bytes: Uint8Array): string => utf8.decode(bytes);
/** A whole number of 64 bits as a double. */
export const int64 = (reader: BinaryReader): number => Number(reader.int64());

/** A repeated number, packed or not. */
export function numbersOf(
  type: WireType,
  reader: BinaryReader,
  into: number[],
  read: (r: BinaryReader) => number,
): void {
  if (type !== WireType.LengthDelimited) {
    into.push(read(reader));
    return;
  }
  const packed = new BinaryReader(reader.bytes());
  while (packed.pos < packed.len) into.push(read(packed));
  if (packed.pos > packed.len) throw new RangeError('a packed field runs past the end');
}

/** Names of DataType's numbers, as in `DT_FLOAT`, in lower case. */
const types: Readonly<Record<number, string>> = {
  1: 'float',
  2: 'double',
  3: 'int32',
  4: 'uint8',
  5: 'int16',
  6: 'int8',
  7: 'string',
  8: 'complex64',
  9: 'int64',
  10: 'bool',
  14: 'bfloat16',
  17: 'uint16',
  18: 'complex128',
  19: 'half',
  20: 'resource',
  21: 'variant',
  22: 'uint32',
  23: 'uint64',
};
/** The name of a DataType; numbers over 100 are references to such values. */
export const typeName = (n: number): string => types[n > 100 ? n - 100 : n] ?? `type ${n}`;

/** How elements lie in `tensor_content` and in checkpoints: little-endian. */
export const elements: Readonly<
  Record<
    string,
    { readonly size: number; readonly kind: Constant['kind']; readonly get: (v: DataView, at: number) => number }
  >
> = {
  float: { size: 4, kind: 'float', get: (v, at) => v.getFloat32(at, true) },
  double: { size: 8, kind: 'float', get: (v, at) => v.getFloat64(at, true) },
  half: { size: 2, kind: 'float', get: (v, at) => halfToFloat(v.getUint16(at, true)) },
  bfloat16: { size: 2, kind: 'float', get: (v, at) => bfloatToFloat(v.getUint16(at, true)) },
  int32: { size: 4, kind: 'int', get: (v, at) => v.getInt32(at, true) },
  uint32: { size: 4, kind: 'int', get: (v, at) => v.getUint32(at, true) },
  int64: { size: 8, kind: 'int', get: (v, at) => Number(v.getBigInt64(at, true)) },
  uint64: { size: 8, kind: 'int', get: (v, at) => Number(v.getBigUint64(at, true)) },
  int16: { size: 2, kind: 'int', get: (v, at) => v.getInt16(at, true) },
  uint16: { size: 2, kind: 'int', get: (v, at) => v.getUint16(at, true) },
  int8: { size: 1, kind: 'int', get: (v, at) => v.getInt8(at) },
  uint8: { size: 1, kind: 'int', get: (v, at) => v.getUint8(at) },
  bool: { size: 1, kind: 'bool', get: (v, at) => +(v.getUint8(at) !== 0) },
};

/**
 * Numbers known while importing. Whole numbers are doubles; NaN among them is a size that goes with the number of images,
 * which is not known then.
 */
export interface Constant {
  readonly kind: 'float' | 'int' | 'bool';
  readonly shape: Shape;
  readonly data: Float32Array | Float64Array;
}

export const isConstant = (x: unknown): x is Constant =>
  typeof x === 'object' && x !== null && 'kind' in x && 'data' in x;

export function constant(kind: Constant['kind'], shape: Shape, values: ArrayLike<number>): Constant {
  const data = kind === 'float' ? Float32Array.from(values) : Float64Array.from(values);
  return { kind, shape, data };
}

/** Elements of a type from bytes, `sizeOf(shape)` of them. Throws RangeError where the bytes are not as many. */
export function fromBytes(type: string, shape: Shape, bytes: Uint8Array): Constant {
  const element = elements[type];
  if (!element) throw new RangeError(`a tensor of ${type}, which holds no numbers known here`);
  const n = sizeOf(shape);
  if (bytes.length !== n * element.size)
    throw new RangeError(`${bytes.length} bytes for ${n} elements of ${type}, expected ${n * element.size}`);
  const { kind } = element;
  if (type === 'float') return { kind, shape, data: new Float32Array(new Uint8Array(bytes).buffer) };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = kind === 'float' ? new Float32Array(n) : new Float64Array(n);
  for (let i = 0; i < n; i++) data[i] = element.get(view, i * element.size);
  return { kind, shape, data };
}

/** TensorShapeProto: sizes, -1 where not known; undefined where even the rank is not. */
export function shapeProto(message: Uint8Array): number[] | undefined {
  const dims: number[] = [];
  let unknown = false;
  fields(message, (field, type, reader) => {
    if (field === 3 && type === WireType.Varint) unknown = reader.bool();
    else if (field === 2 && type === WireType.LengthDelimited) {
      let size = 0;
      fields(reader.bytes(), (inner, innerType, r) => {
        if (inner !== 1 || innerType !== WireType.Varint) return false;
        size = int64(r);
        return true;
      });
      dims.push(size);
    } else return false;
    return true;
  });
  return unknown ? undefined : dims;
}

/**
 * TensorProto. Tensors of text and of other things give undefined. Throws where the message is damaged.
 * @param repeats called with the number of elements beyond those the message holds: its last value stands for all that follow
 */
export function tensorProto(message: Uint8Array, repeats: (elements: number) => void): Constant | undefined {
  let type = 'float';
  let shape: number[] | undefined = [];
  let content: Uint8Array | undefined;
  const values: number[] = [];
  const one: Readonly<Record<number, (r: BinaryReader) => number>> = {
    5: (r) => r.float(),
    6: (r) => r.double(),
    7: (r) => r.int32(),
    10: int64,
    11: (r) => +r.bool(),
    13: (r) => r.int32(),
    16: (r) => r.uint32(),
    17: (r) => Number(r.uint64()),
  };
  fields(message, (field, wire, reader) => {
    if (field === 1 && wire === WireType.Varint) type = typeName(reader.int32());
    else if (field === 2 && wire === WireType.LengthDelimited) shape = shapeProto(reader.bytes());
    else if (field === 4 && wire === WireType.LengthDelimited) content = reader.bytes();
    else if (one[field]) numbersOf(wire, reader, values, one[field]);
    else return false;
    return true;
  });
  const element = elements[type];
  if (!element) return undefined;
  if (!shape || shape.some((d) => d < 0)) throw new RangeError('a tensor without a shape');
  if (content?.length) return fromBytes(type, shape, content);
  const n = sizeOf(shape);
  if (!Number.isSafeInteger(n)) throw new RangeError(`a tensor of ${n} elements`);
  if (n > values.length) repeats(n - values.length);
  if (type === 'half' || type === 'bfloat16')
    values.forEach((bits, i) => {
      values[i] = type === 'half' ? halfToFloat(bits & 0xffff) : bfloatToFloat(bits & 0xffff);
    });
  const data = element.kind === 'float' ? new Float32Array(n) : new Float64Array(n);
  if (n > 0 && values.length > 0) {
    data.fill(values[Math.min(values.length, n) - 1]!);
    data.set(values.slice(0, n));
  }
  return { kind: element.kind, shape, data };
}
