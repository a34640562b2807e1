/**
 * What pickles of numpy arrays and scalars name, for `readPickle`: arrays come as element type, shape and the bytes where
 * they lie. Structured types and arrays of Python objects are refused.
 * Browser-safe. Format: numpy's `ndarray.__reduce__`, `dtype.__reduce__` and `_frombuffer` (protocol 5), numpy 1 and 2.
 */

import { fromFortran, numberKinds } from './npy.ts';
import { type PickleCall, type PickleContext, type PickleGlobals, PickleObject, pickleKind } from './pickle.ts';
import { plainGlobals } from './pickleGlobals.ts';
import { type HostTensor, halfToFloat, hostData } from './safetensors.ts';

type Get = (v: DataView, at: number, little: boolean) => number | bigint | boolean;
const safe = (n: bigint) => (Number.isSafeInteger(Number(n)) ? Number(n) : n);
const kinds: Readonly<Record<string, { readonly size: number; readonly get: Get }>> = {
  b1: { size: 1, get: (v, at) => v.getUint8(at) !== 0 },
  u1: { size: 1, get: (v, at) => v.getUint8(at) },
  i1: { size: 1, get: (v, at) => v.getInt8(at) },
  u2: { size: 2, get: (v, at, little) => v.getUint16(at, little) },
  i2: { size: 2, get: (v, at, little) => v.getInt16(at, little) },
  u4: { size: 4, get: (v, at, little) => v.getUint32(at, little) },
  i4: { size: 4, get: (v, at, little) => v.getInt32(at, little) },
  u8: { size: 8, get: (v, at, little) => safe(v.getBigUint64(at, little)) },
  i8: { size: 8, get: (v, at, little) => safe(v.getBigInt64(at, little)) },
  f2: { size: 2, get: (v, at, little) => halfToFloat(v.getUint16(at, little)) },
  f4: { size: 4, get: (v, at, little) => v.getFloat32(at, little) },
  f8: { size: 8, get: (v, at, little) => v.getFloat64(at, little) },
};

/** Text, or a byte string of Python 2 that stands for it. */
const asText = (value: unknown): string | undefined =>
  typeof value === 'string'
    ? value
    : value instanceof Uint8Array && value.length < 100
      ? String.fromCharCode(...value)
      : undefined;
/** Bytes, or what `strings: 'text'` has made of them. */
function asBytes(value: unknown, pickle: PickleContext): Uint8Array | undefined {
  if (typeof value !== 'string') return value instanceof Uint8Array ? value : undefined;
  pickle.spend(0, value.length);
  return new TextEncoder().encode(value);
}

/** numpy.dtype */
class NumpyType extends PickleObject {
  readonly kind: string;
  little = true;
  constructor(kind: string) {
    super();
    this.kind = kind;
  }
  /** (version, byte order, subarray, names, fields, size, alignment, flags …) */
  setState(state: unknown, pickle: PickleContext): void {
    const order = Array.isArray(state) ? asText(state[1]) : undefined;
    if (!Array.isArray(state) || order === undefined || !'<>|='.includes(order) || order.length !== 1)
      pickle.refuse(`expected the state of a numpy dtype, got ${pickleKind(state)}`);
    if (state.slice(2, 5).some((part) => part !== null))
      pickle.refuse('expected a numpy array of plain numbers, got one of structured elements');
    this.little = order !== '>';
  }
  /** As numpy writes it: '|u1', '<f4', '>i8'. */
  get text(): string {
    return `${kinds[this.kind]!.size === 1 ? '|' : this.little ? '<' : '>'}${this.kind}`;
  }
}

/** A numpy array: its bytes as they lie in the file, or a copy where the file holds them as text. */
export class NumpyArray extends PickleObject {
  /** numpy's name of the element type, byte order first: '|u1', '<f4', '>i8'. */
  dtype = '|u1';
  shape: readonly number[] = [0];
  /** Column-major. */
  fortran = false;
  data: Uint8Array = new Uint8Array(0);

  /** ([version], shape, dtype, fortran order, bytes) */
  setState(state: unknown, pickle: PickleContext): void {
    if (!Array.isArray(state) || state.length < 4 || state.length > 5)
      pickle.refuse(`expected the state of a numpy array, got ${pickleKind(state)}`);
    const [shape, dtype, fortran, data] = state.slice(-4);
    this.set(shape, dtype, fortran === true || fortran === 1, data, pickle);
  }
  set(shape: unknown, dtype: unknown, fortran: boolean, content: unknown, pickle: PickleContext): void {
    if (!(dtype instanceof NumpyType)) pickle.refuse(`expected a numpy dtype, got ${pickleKind(dtype)}`);
    const sizes: unknown = typeof shape === 'number' ? [shape] : shape;
    if (!Array.isArray(sizes) || sizes.length > 32 || !sizes.every((n) => Number.isSafeInteger(n) && n >= 0))
      pickle.refuse(`expected the shape of a numpy array, got ${pickleKind(shape)}`);
    const data = asBytes(content, pickle);
    if (!data) pickle.refuse(`expected the bytes of a numpy array, got ${pickleKind(content)}`);
    const expected = sizes.reduce((a, b) => a * b, 1) * kinds[dtype.kind]!.size;
    if (data.length !== expected)
      pickle.refuse(
        `a numpy array of shape (${sizes}) and type ${dtype.text} is ${expected} bytes, got ${data.length}`,
      );
    this.dtype = dtype.text;
    this.shape = [...sizes];
    this.fortran = fortran;
    this.data = data;
  }
  /** How many elements. */
  get length(): number {
    return this.data.length / kinds[this.dtype.slice(1)]!.size;
  }
  /** Element i in the order of the bytes; a bigint where a number does not hold it. */
  get(i: number): number | bigint | boolean {
    const { size, get } = kinds[this.dtype.slice(1)]!;
    const { buffer, byteOffset, byteLength } = this.data;
    return get(new DataView(buffer, byteOffset, byteLength), i * size, this.dtype[0] !== '>');
  }
}

/** An array of numbers as a host tensor, as `readNpy` would give it. Throws DataError where an integer does not fit. */
export function hostTensorOf(array: NumpyArray, name: string): HostTensor {
  const kind = numberKinds[array.dtype.slice(1)]!;
  const little = array.dtype[0] !== '>';
  const get = kind.same && little ? undefined : (v: DataView, at: number) => kind.get(v, at, little);
  const data = hostData(array.data, array.length, kind.size, kind.dtype, get, name);
  return { dtype: kind.dtype, shape: array.shape, data: array.fortran ? fromFortran(data, array.shape) : data };
}

/** dtype(name, align, copy) */
const dtype: PickleCall = ([name], pickle) => {
  const found = /^([<>|=]?)([a-z]\d)$/.exec(asText(name) ?? '');
  if (!found || !Object.hasOwn(kinds, found[2]!))
    return pickle.refuse(
      `expected a numpy array of one of the types ${Object.keys(kinds).join(' ')}, got ${pickleKind(name)}`,
    );
  const type = new NumpyType(found[2]!);
  type.little = found[1] !== '>';
  return type;
};
/** _reconstruct(ndarray, (0,), b'b'): an empty array, which BUILD then fills. */
const reconstruct: PickleCall = () => new NumpyArray();
/** scalar(dtype, bytes) */
const scalar: PickleCall = ([type, bytes], pickle) => {
  const one = new NumpyArray();
  one.set([], type, false, bytes, pickle);
  return one.get(0);
};
/** _frombuffer(bytes, dtype, shape, order) */
const fromBuffer: PickleCall = ([bytes, type, shape, order], pickle) => {
  const array = new NumpyArray();
  array.set(shape, type, order === 'F', bytes, pickle);
  return array;
};

/** `plainGlobals`, and what numpy arrays (as `NumpyArray`) and numpy's numbers and booleans (as plain ones) name. */
export const numpyGlobals: PickleGlobals = {
  ...plainGlobals,
  'numpy.ndarray': null,
  'numpy.dtype': dtype,
  ...Object.fromEntries(
    ['numpy.core', 'numpy._core'].flatMap((core) => [
      [`${core}.multiarray._reconstruct`, reconstruct],
      [`${core}.multiarray.scalar`, scalar],
      [`${core}.numeric._frombuffer`, fromBuffer],
    ]),
  ),
};
