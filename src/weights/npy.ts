/**
 * NumPy's .npy, versions 1 to 3: magic, version, header length, a Python dict literal with element type, order and shape,
 * then the raw array. Fortran order is transposed on reading. Pickled objects are never read: a pickle is a program.
 * Browser-safe. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import type { DType } from '../core/dtype.ts';
import { DataError, UsageError } from '../core/errors.ts';
import type { ByteRanges } from '../core/ranges.ts';
import { elementsOf, type HostTensor, halfToFloat, hostData } from './safetensors.ts';

/** An array of strings, row-major. */
export interface TextArray {
  readonly dtype: 'text';
  readonly shape: readonly number[];
  readonly data: readonly string[];
}

/** What a .npy file can hold here. */
export type NpyArray = HostTensor | TextArray;

/** A matrix that is read some rows at a time. */
export interface MatrixRows {
  /** Element type in the file, as NumPy writes it: `<f4`, `>f8`, `|u1`. */
  readonly type: string;
  readonly shape: readonly number[];
  /** Rows: the first dimension; 1 for a single number. */
  readonly length: number;
  /** Numbers in a row: the product of the other dimensions. */
  readonly width: number;
  /**
   * Rows `from` to `from + count`, as float32 [count, width], in memory of their own.
   * @throws UsageError for rows that are not there; DataError where the file ends before them
   */
  rows(from: number, count: number): Promise<Float32Array<ArrayBuffer>>;
}

type Get = (v: DataView, at: number, little: boolean) => number;
export interface NumberKind {
  readonly size: number;
  readonly dtype: DType;
  readonly get: Get;
  /** The engine holds it as it is. */
  readonly same?: true;
}
/** Types of numbers by NumPy's name without the byte order. */
export const numberKinds: Readonly<Record<string, NumberKind>> = {
  f2: { size: 2, dtype: 'f32', get: (v, at, little) => halfToFloat(v.getUint16(at, little)) },
  f4: { size: 4, dtype: 'f32', get: (v, at, little) => v.getFloat32(at, little), same: true },
  f8: { size: 8, dtype: 'f32', get: (v, at, little) => v.getFloat64(at, little) },
  i1: { size: 1, dtype: 'i32', get: (v, at) => v.getInt8(at) },
  i2: { size: 2, dtype: 'i32', get: (v, at, little) => v.getInt16(at, little) },
  i4: { size: 4, dtype: 'i32', get: (v, at, little) => v.getInt32(at, little), same: true },
  i8: { size: 8, dtype: 'i32', get: (v, at, little) => Number(v.getBigInt64(at, little)) },
  u1: { size: 1, dtype: 'u8', get: (v, at) => v.getUint8(at), same: true },
  u2: { size: 2, dtype: 'i32', get: (v, at, little) => v.getUint16(at, little) },
  u4: { size: 4, dtype: 'i32', get: (v, at, little) => v.getUint32(at, little) },
  u8: { size: 8, dtype: 'i32', get: (v, at, little) => Number(v.getBigUint64(at, little)) },
  b1: { size: 1, dtype: 'bool', get: (v, at) => v.getUint8(at), same: true },
};
const descr: Record<DType, string> = { f32: '<f4', i32: '<i4', u8: '|u1', bool: '|b1' };
/** Strings of a fixed number of characters: U of four bytes each (UTF-32), S of one. */
const textType = /^[<>|=]([US])([1-9]\d{0,8})$/;
/** NumPy's own limits are 10000 bytes and 64 dimensions. */
const mostHeader = 1 << 20;
const mostDimensions = 64;
const advice = 'Fetch the file again or save it again with numpy.save.';

const failing =
  (name: string) =>
  (what: string, say = advice): never => {
    throw new DataError(`${name}: ${what}.\n${say}`);
  };

/** Where the data begin, by a file's first 12 bytes or what it has of them. */
function dataStart(bytes: Uint8Array, size: number, name: string): number {
  const fail = failing(name);
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(0, 6)) !== '\x93NUMPY') {
    fail('expected a .npy file, but it does not start with \\x93NUMPY');
  }
  const version = bytes[6]!;
  if (version < 1 || version > 3) fail(`.npy version ${version}.${bytes[7]}; versions 1 to 3 are read`);
  const lengthBytes = version === 1 ? 2 : 4;
  if (bytes.length < 8 + lengthBytes) fail(`the file ends after ${bytes.length} bytes, inside its header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = 8 + lengthBytes + length;
  if (start > size) fail(`header ends at byte ${start}, but the file has ${size} bytes`);
  if (length > mostHeader) fail(`its header has ${length} bytes, more than ${mostHeader}`);
  return start;
}

interface Header {
  readonly type: string;
  readonly little: boolean;
  /** Undefined for text. */
  readonly kind: NumberKind | undefined;
  /** Characters of a string, and bytes of a character. */
  readonly text: { readonly length: number; readonly bytes: number } | undefined;
  readonly fortran: boolean;
  readonly shape: number[];
  readonly n: number;
  readonly start: number;
}

/** The header of a file of `size` bytes, from its bytes up to `start`. */
function headerOf(bytes: Uint8Array, start: number, size: number, name: string): Header {
  const fail = failing(name);
  const version = bytes[6]!;
  const dict = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.slice(version === 1 ? 10 : 12, start));
  const type = /['"]descr['"]\s*:\s*(['"])([^'"]*)\1/.exec(dict)?.[2];
  const order = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(dict)?.[1];
  const dims = /['"]shape['"]\s*:\s*\(([\d\s,L]*)\)/.exec(dict)?.[1];
  if (!dict.startsWith('{') || !dict.trimEnd().endsWith('}') || order === undefined || dims === undefined)
    return fail(`header is ${JSON.stringify(dict.slice(0, 120))}`);
  const kind = type !== undefined && Object.hasOwn(numberKinds, type.slice(1)) ? numberKinds[type.slice(1)] : undefined;
  const letters = textType.exec(type ?? '');
  const text = letters ? { length: Number(letters[2]), bytes: letters[1] === 'U' ? 4 : 1 } : undefined;
  if (type === undefined || !(kind || text) || !'<>|='.includes(type[0]!)) {
    return fail(
      `element type ${type?.slice(0, 40) ?? 'of several fields'}; those read are ${Object.keys(numberKinds).join(' ')}, and text`,
      type?.includes('O')
        ? 'It holds pickled Python objects, which are never read: save plain arrays with numpy.save.'
        : 'Convert the array first, for example with array.astype("float32").',
    );
  }
  const parts = dims.split(',').map((s) => s.trim().replace(/L$/, '')); // Python 2 wrote 3L
  if (parts.at(-1) === '') parts.pop();
  const shape = parts.map((s) => (/^\d+$/.test(s) ? Number(s) : Number.NaN));
  const n =
    (shape.length <= mostDimensions ? elementsOf(shape) : undefined) ?? fail(`shape is (${dims.slice(0, 120)})`);
  const room = size - start;
  const wanted = n * (kind?.size ?? text!.length * text!.bytes);
  if (room !== wanted) fail(`shape (${dims}) of ${type} needs ${wanted} bytes, the file holds ${room}`);
  return { type, little: type[0] !== '>', kind, text, fortran: order === 'True' && shape.length > 1, shape, n, start };
}

/**
 * Reads one array of numbers or strings. f2 and f8 become f32; integers other than i4 and u1 become i32 and are refused
 * where a value does not fit. Strings (U and S) lose the zeros at their end, as in NumPy.
 * @param bytes the whole file
 * @param name what errors call it
 * @throws DataError naming the file and what is wrong with it
 */
export function readNpyArray(bytes: Uint8Array, name = 'npy file'): NpyArray {
  const header = headerOf(bytes, dataStart(bytes.subarray(0, 12), bytes.length, name), bytes.length, name);
  const { type, little, kind, shape, n, start, fortran } = header;
  if (!kind) {
    const data = strings(bytes, header, name);
    return { dtype: 'text', shape, data: fortran ? fromFortran(data, shape) : data };
  }
  const get = kind.same && little ? undefined : (v: DataView, at: number) => kind.get(v, at, little);
  const data = hostData(bytes.subarray(start), n, kind.size, kind.dtype, get, name);
  return {
    dtype: kind.dtype,
    shape,
    data: fortran ? fromFortran(data, shape) : data,
    ...(kind.same ? {} : { storage: type }),
  };
}

/** Reads one array of numbers, as `readNpyArray` does. Throws DataError naming the file, also where it holds strings. */
export function readNpy(bytes: Uint8Array, name = 'npy file'): HostTensor {
  const array = readNpyArray(bytes, name);
  if (array.dtype === 'text') return failing(name)('expected numbers, got text', 'Read it with readNpyText.');
  return array;
}

/** Reads one array of strings. Throws DataError naming the file, also where it holds numbers. */
export function readNpyText(bytes: Uint8Array, name = 'npy file'): TextArray {
  const array = readNpyArray(bytes, name);
  if (array.dtype !== 'text') return failing(name)(`expected text, got ${array.dtype}`, 'Read it with readNpy.');
  return array;
}

/** Numbers without loss: integers up to 2^53 and float64 as they are. */
export interface WideArray {
  readonly shape: readonly number[];
  readonly data: Float64Array<ArrayBuffer>;
}

/**
 * Reads one array of numbers of any type as float64, such as 64-bit integers beyond 32 bits.
 * @throws DataError naming the file, also where it holds text or an integer beyond 2^53
 */
export function readNpyWide(bytes: Uint8Array, name = 'npy file'): WideArray {
  const { kind, little, shape, n, start, fortran } = headerOf(
    bytes,
    dataStart(bytes.subarray(0, 12), bytes.length, name),
    bytes.length,
    name,
  );
  if (!kind) return failing(name)('expected numbers, got text', 'Read it with readNpyText.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = new Float64Array(n);
  for (let i = 0; i < n; i++) data[i] = kind.get(view, start + i * kind.size, little);
  const bad = kind.dtype === 'f32' ? -1 : data.findIndex((x) => !Number.isSafeInteger(x));
  if (bad >= 0) failing(name)(`element ${bad} is ${data[bad]}, beyond 2^53`, 'Store it as float64 or text.');
  return { shape, data: fortran ? fromFortran(data, shape) : data };
}

/** The strings of a file in the order that they lie there. */
function strings(bytes: Uint8Array, { text, little, n, start }: Header, name: string): string[] {
  const { length, bytes: each } = text!;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const codeAt = (at: number) => (each === 4 ? view.getUint32(at, little) : view.getUint8(at));
  const out = new Array<string>(n);
  for (let i = 0; i < n; i++) {
    const from = start + i * length * each;
    let end = length;
    while (end > 0 && codeAt(from + (end - 1) * each) === 0) end--;
    let s = '';
    for (let k = 0; k < end; k++) {
      const code = codeAt(from + k * each);
      if (code > 0x10ffff) failing(name)(`expected a character at offset ${from + k * each}, got ${code}`);
      s += String.fromCodePoint(code);
    }
    out[i] = s;
  }
  return out;
}

/** What a file's header says. */
export interface NpyDescription {
  /** Element type as NumPy writes it: `<f4`, `<U16`. */
  readonly type: string;
  readonly shape: readonly number[];
}

/** Reads the header alone. Throws DataError naming the file where it is no .npy file of numbers or text, or cut off. */
export const describeNpy = async (source: ByteRanges): Promise<NpyDescription> => {
  const { type, shape } = await openHeader(source);
  return { type, shape };
};

async function openHeader(source: ByteRanges): Promise<Header> {
  const { name, size } = source;
  const start = dataStart(await source.read(0, Math.min(12, size)), size, name);
  return headerOf(await source.read(0, start), start, size, name);
}

/**
 * Opens a .npy file of numbers to be read some rows at a time, so that embeddings of millions of faces need little memory.
 * Fortran order is read by columns, which is slower.
 * @throws DataError naming the file and what is wrong with it
 */
export async function openNpy(source: ByteRanges): Promise<MatrixRows> {
  const { name } = source;
  const { type, kind, little, shape, fortran, start } = await openHeader(source);
  if (!kind) return failing(name)('expected numbers, got text', 'Read it with readNpyText.');
  const length = shape[0] ?? 1;
  const width = elementsOf(shape.slice(1)) ?? failing(name)(`shape is (${shape.join(', ')})`);
  const floatsAt = async (element: number, n: number): Promise<Float32Array<ArrayBuffer>> => {
    const bytes = await source.read(start + element * kind.size, n * kind.size);
    return floats(bytes, n, kind, little);
  };
  return {
    type,
    shape,
    length,
    width,
    async rows(from, count) {
      checkRows(name, length, from, count);
      if (!fortran || width === 0 || count === 0) return floatsAt(from * width, count * width);
      const out = new Float32Array(count * width);
      // Column j of the rows asked for lies at column `columns[j]` of the file.
      const columns = fromFortran(
        Array.from({ length: width }, (_, j) => j),
        shape.slice(1),
      );
      for (let j = 0; j < width; j++) {
        const column = await floatsAt(columns[j]! * length + from, count);
        for (let i = 0; i < count; i++) out[i * width + j] = column[i]!;
      }
      return out;
    },
  };
}

/** Throws the UsageError of rows that a matrix does not have. */
export function checkRows(name: string, length: number, from: number, count: number): void {
  if (Number.isSafeInteger(from) && Number.isSafeInteger(count) && from >= 0 && count >= 0 && from + count <= length)
    return;
  throw new UsageError(
    `${name}: expected rows within 0 to ${length}, got ${count} from ${from} on\nAsk for rows that are there.`,
  );
}

/** Elements as float32, in memory of their own. */
function floats(bytes: Uint8Array, n: number, kind: NumberKind, little: boolean): Float32Array<ArrayBuffer> {
  const out = new Float32Array(n);
  if (kind === numberKinds.f4 && little) new Uint8Array(out.buffer).set(bytes);
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < n; i++) out[i] = kind.get(view, i * kind.size, little);
  }
  return out;
}

/** Column-major to row-major: walk the output in order, stepping through the input by column-major strides. */
export function fromFortran<T extends HostTensor['data'] | Float64Array | string[] | number[]>(
  data: T,
  shape: readonly number[],
): T {
  const out = data.slice() as T;
  const strides = shape.map((_, i) => shape.slice(0, i).reduce((a, b) => a * b, 1));
  const index = shape.map(() => 0);
  let from = 0;
  for (let i = 0; i < data.length; i++) {
    out[i] = data[from]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      from += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      from -= strides[d]! * shape[d]!;
      index[d] = 0;
    }
  }
  return out;
}

/**
 * The bytes of a .npy file, C order, little-endian, data aligned to 64 bytes as numpy writes it. Strings are written as U
 * of the longest one's length.
 * @throws UsageError when shape and data disagree, or a string ends in a zero character, which would be lost
 */
export function writeNpy(array: NpyArray): Uint8Array<ArrayBuffer> {
  const { shape, data } = array;
  if (elementsOf(shape) !== data.length) {
    throw new UsageError(
      `writeNpy: shape [${shape}] does not hold ${data.length} elements.\nPass data of the shape's element count.`,
    );
  }
  if (array.dtype !== 'text') {
    const { buffer, byteOffset, byteLength } = array.data;
    const { out, start } = started(descr[array.dtype], shape, byteLength);
    out.set(new Uint8Array(buffer, byteOffset, byteLength), start);
    return out;
  }
  let longest = 1;
  for (const s of array.data) {
    if (s.endsWith('\0'))
      throw new UsageError(
        `writeNpy: expected text that does not end in a zero character, got ${JSON.stringify(s.slice(0, 80))}\nCut it off.`,
      );
    longest = Math.max(longest, [...s].length);
  }
  const { out, start } = started(`<U${longest}`, shape, 4 * longest * data.length);
  const view = new DataView(out.buffer, start);
  array.data.forEach((s, i) => {
    let at = i * 4 * longest;
    for (const c of s) {
      view.setUint32(at, c.codePointAt(0)!, true);
      at += 4;
    }
  });
  return out;
}

/** A file with its header, and room for `size` bytes of data from `start` on. */
function started(
  type: string,
  shape: readonly number[],
  size: number,
): { out: Uint8Array<ArrayBuffer>; start: number } {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const start = Math.ceil((10 + dict.length + 1) / 64) * 64;
  if (start - 10 > 65535)
    throw new UsageError(`writeNpy: ${shape.length} dimensions do not fit the header.\nReshape first.`);
  const out = new Uint8Array(start + size).fill(0x20, 10, start);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, (start - 10) & 255, (start - 10) >> 8]);
  out.set(new TextEncoder().encode(dict), 10);
  out[start - 1] = 0x0a;
  return { out, start };
}
