/**
 * Numbers of an ONNX file: its tensors as host arrays, and what importing computes with them.
 *
 * The one idea: whatever depends on the file alone (shapes, indices, sizes, constant weights) is computed here and never
 * reaches a device. Whole numbers are held as doubles, exact to 2^53; larger ones only stand for "to the end".
 */
import { DataError } from '../../core/errors.ts';
import { broadcastShapes, broadcastStrides, type Shape, sizeOf, stridesOf } from '../../core/shape.ts';
import { bfloatToFloat, halfToFloat } from '../safetensors.ts';
import { dataTypes, type TensorProto } from './messages.ts';

export type NumberType = 'float' | 'int' | 'bool';
type Held = Float32Array | Float64Array | Uint8Array;

export interface Numbers {
  readonly type: NumberType;
  readonly shape: Shape;
  /** Float32Array, Float64Array (whole numbers) or Uint8Array (0 and 1), by type. */
  readonly data: Held;
  /** Weights, which training changes, as against constants. */
  readonly trained: boolean;
  /** As in the file, where it has one. */
  readonly name: string;
}

/** Most elements that something small may grow to: a file of a few bytes must not ask for gigabytes. */
export const mostMade = 1 << 20;

const held = (type: NumberType, n: number): Held =>
  type === 'float' ? new Float32Array(n) : type === 'int' ? new Float64Array(n) : new Uint8Array(n);

/** Room for a result; `from` is how many elements it is made of. Throws DataError where it would be huge. */
function room(type: NumberType, shape: Shape, from: number): Held {
  if (shape.some((d) => !Number.isSafeInteger(d) || d < 0))
    throw new DataError(`expected sizes of 0 or more, got [${shape.join(', ')}]\nThe file is damaged.`);
  const n = shape.reduce((a, b) => a * b, 1);
  if (!(n <= Math.max(from, mostMade)))
    throw new DataError(
      `expected at most ${mostMade} numbers, got the shape [${shape.join(', ')}]\nThe file is damaged.`,
    );
  return held(type, n);
}

export const numbersOf = (
  values: ArrayLike<number>,
  shape: Shape = [values.length],
  type: NumberType = 'int',
): Numbers => {
  const data = room(type, shape, values.length);
  data.set(values);
  return { type, shape, data, trained: false, name: '' };
};

/** How an element type lies in raw_data: bytes, what it becomes, and how it is read. */
const readers = new Map<number, { size: number; type: NumberType; get: (v: DataView, at: number) => number }>([
  [dataTypes.float, { size: 4, type: 'float', get: (v, at) => v.getFloat32(at, true) }],
  [dataTypes.double, { size: 8, type: 'float', get: (v, at) => v.getFloat64(at, true) }],
  [dataTypes.float16, { size: 2, type: 'float', get: (v, at) => halfToFloat(v.getUint16(at, true)) }],
  [dataTypes.bfloat16, { size: 2, type: 'float', get: (v, at) => bfloatToFloat(v.getUint16(at, true)) }],
  [dataTypes.int64, { size: 8, type: 'int', get: (v, at) => Number(v.getBigInt64(at, true)) }],
  [dataTypes.uint64, { size: 8, type: 'int', get: (v, at) => Number(v.getBigUint64(at, true)) }],
  [dataTypes.int32, { size: 4, type: 'int', get: (v, at) => v.getInt32(at, true) }],
  [dataTypes.uint32, { size: 4, type: 'int', get: (v, at) => v.getUint32(at, true) }],
  [dataTypes.int16, { size: 2, type: 'int', get: (v, at) => v.getInt16(at, true) }],
  [dataTypes.uint16, { size: 2, type: 'int', get: (v, at) => v.getUint16(at, true) }],
  [dataTypes.int8, { size: 1, type: 'int', get: (v, at) => v.getInt8(at) }],
  [dataTypes.uint8, { size: 1, type: 'int', get: (v, at) => v.getUint8(at) }],
  [dataTypes.bool, { size: 1, type: 'bool', get: (v, at) => (v.getUint8(at) ? 1 : 0) }],
]);

/** What a Cast to an element type makes: undefined for types that are no numbers. */
export const numberTypeOf = (dataType: number | undefined): NumberType | undefined => readers.get(dataType ?? 0)?.type;
export const typeName = (dataType: number | undefined): string =>
  Object.entries(dataTypes).find(([, n]) => n === dataType)?.[0] ?? `element type ${dataType}`;

/**
 * A tensor of a file.
 * @param what what errors call it
 * @param outside bytes of a file beside the model's
 */
export function readTensor(
  t: TensorProto,
  what: string,
  trained: boolean,
  outside: (location: string) => Uint8Array | undefined = () => undefined,
): Numbers {
  const fail = (expected: string): never => {
    throw new DataError(`${what}: expected ${expected}\nThe file is damaged: fetch or export it again.`);
  };
  const shape = t.dims ?? [];
  const n = shape.reduce((a, b) => a * b, 1);
  if (shape.some((d) => !Number.isSafeInteger(d) || d < 0) || !Number.isSafeInteger(n))
    return fail(`sizes of 0 or more, got [${shape.join(', ')}]`);
  const reader = readers.get(t.dataType ?? 0);
  if (!reader) return fail(`elements that are numbers, got ${typeName(t.dataType)}`);
  const { size, type, get } = reader;
  const made = (data: Held): Numbers => ({ type, shape, data, trained, name: t.name ?? '' });
  const raw = t.dataLocation === 1 ? external(t, outside, fail) : t.rawData;
  // An empty raw_data beside values in their own field is a writer's habit.
  if (raw && (raw.length > 0 || n === 0 || t.dataLocation === 1)) {
    if (raw.length !== n * size) return fail(`${n * size} bytes for shape [${shape.join(', ')}], got ${raw.length}`);
    const data = held(type, n);
    if (t.dataType === dataTypes.float) new Uint8Array(data.buffer).set(raw);
    else {
      const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
      for (let i = 0; i < n; i++) data[i] = get(view, i * size);
    }
    return made(data);
  }
  const half =
    t.dataType === dataTypes.float16 ? halfToFloat : t.dataType === dataTypes.bfloat16 ? bfloatToFloat : undefined;
  const values: ArrayLike<number> | undefined =
    t.dataType === dataTypes.float
      ? t.floatData
      : t.dataType === dataTypes.double
        ? t.doubleData
        : t.dataType === dataTypes.int64
          ? t.int64Data
          : t.dataType === dataTypes.uint64 || t.dataType === dataTypes.uint32
            ? t.uint64Data
            : t.int32Data;
  if ((values?.length ?? 0) !== n)
    return fail(`${n} elements for shape [${shape.join(', ')}], got ${values?.length ?? 0}`);
  const data = held(type, n);
  for (let i = 0; i < n; i++)
    data[i] = half ? half(values![i]!) : type === 'bool' ? Number(values![i] !== 0) : values![i]!;
  return made(data);
}

function external(
  { externalData = [] }: TensorProto,
  outside: (location: string) => Uint8Array | undefined,
  fail: (expected: string) => never,
): Uint8Array {
  const entries = new Map(externalData.map(({ key, value }) => [key, value]));
  const location = entries.get('location') ?? '';
  const file = outside(location);
  if (!file) return fail(`its numbers in a file '${location}' beside the model, which is not there`);
  const offset = Number(entries.get('offset') ?? 0);
  const length = Number(entries.get('length') ?? file.length - offset);
  if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0))
    return fail('an offset and a length of its numbers');
  if (offset + length > file.length)
    return fail(`${length} bytes at ${offset} of '${location}', which has ${file.length}`);
  return file.subarray(offset, offset + length);
}

/** Element by element, with NumPy's broadcasting. */
export function combine(xs: readonly Numbers[], type: NumberType, f: (...values: number[]) => number): Numbers {
  const shape = broadcastShapes(xs.map((x) => x.shape));
  if (!shape)
    throw new DataError(
      `expected shapes that broadcast, got ${xs.map((x) => `[${x.shape.join(', ')}]`).join(' and ')}\nThe file is damaged.`,
    );
  const data = room(
    type,
    shape,
    xs.reduce((n, x) => n + x.data.length, 0),
  );
  const strides = xs.map((x) => broadcastStrides(x.shape, shape));
  const steps = stridesOf(shape);
  const values = xs.map(() => 0);
  for (let i = 0; i < data.length; i++) {
    xs.forEach((x, k) => {
      let at = 0;
      for (let d = 0, rest = i; d < shape.length; d++) {
        const index = Math.floor(rest / steps[d]!);
        rest -= index * steps[d]!;
        at += index * strides[k]![d]!;
      }
      values[k] = x.data[at]!;
    });
    data[i] = f(...values);
  }
  return { type, shape, data, trained: xs.some((x) => x.trained), name: xs.find((x) => x.trained)?.name ?? '' };
}

export const cast = (x: Numbers, type: NumberType): Numbers => {
  if (x.type === type) return x;
  const data = held(type, x.data.length);
  // Towards zero, as C converts.
  for (let i = 0; i < data.length; i++) {
    const v = x.data[i]!;
    data[i] = type === 'int' ? Math.trunc(v) : type === 'bool' ? Number(v !== 0) : v;
  }
  return { ...x, type, data };
};

/** The numbers at these indices of one axis, in their order. */
export function take(x: Numbers, axis: number, indices: readonly number[]): Numbers {
  const shape = x.shape.map((d, i) => (i === axis ? indices.length : d));
  const data = room(x.type, shape, x.data.length);
  const inner = sizeOf(x.shape.slice(axis + 1));
  const outer = sizeOf(x.shape.slice(0, axis));
  const n = x.shape[axis]!;
  for (let o = 0, to = 0; o < outer; o++)
    for (const i of indices) {
      data.set(x.data.subarray((o * n + i) * inner, (o * n + i + 1) * inner), to);
      to += inner;
    }
  return { ...x, shape, data };
}

export function joined(xs: readonly Numbers[], axis: number): Numbers {
  const [first] = xs as [Numbers];
  const fits = (x: Numbers) =>
    x.type === first.type &&
    x.shape.length === first.shape.length &&
    x.shape.every((d, i) => i === axis || d === first.shape[i]);
  if (!xs.every(fits))
    throw new DataError(
      `expected numbers of one type whose shapes differ in axis ${axis} only, got ${xs.map((x) => `[${x.shape.join(', ')}]`).join(', ')}\nThe file is damaged.`,
    );
  const shape = first.shape.map((d, i) => (i === axis ? xs.reduce((n, x) => n + x.shape[axis]!, 0) : d));
  const data = held(first.type, sizeOf(shape));
  const outer = sizeOf(shape.slice(0, axis));
  for (let o = 0, to = 0; o < outer; o++)
    for (const x of xs) {
      const n = x.data.length / outer;
      data.set(x.data.subarray(o * n, (o + 1) * n), to);
      to += n;
    }
  return { ...first, shape, data, trained: xs.some((x) => x.trained) };
}

/** Over axes (counted from 0), with f of what came before and the next number. */
export function reduced(
  x: Numbers,
  axes: readonly number[],
  keep: boolean,
  start: number,
  f: (a: number, b: number) => number,
): Numbers {
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const sums = new Float64Array(sizeOf(kept)).fill(start);
  const strides = broadcastStrides(kept, x.shape);
  const steps = stridesOf(x.shape);
  for (let i = 0; i < x.data.length; i++) {
    let at = 0;
    for (let d = 0, rest = i; d < x.shape.length; d++) {
      const index = Math.floor(rest / steps[d]!);
      rest -= index * steps[d]!;
      at += index * strides[d]!;
    }
    sums[at] = f(sums[at]!, x.data[i]!);
  }
  const data = held(x.type, sums.length);
  data.set(sums);
  return { ...x, shape: keep ? kept : x.shape.filter((_, i) => !axes.includes(i)), data };
}
