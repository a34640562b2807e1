/**
 * Safetensors: 8 bytes of little-endian header length, a JSON header, then the tensors' bytes back to back.
 * Everything that comes in is checked before one byte of data is touched, as the format's specification asks: offsets
 * inside the file, no overlap, no hole, sizes that fit shapes, no key twice, a header of at most 100 MB.
 * Browser-safe. Format: https://github.com/huggingface/safetensors#format
 */
import { bytesOf, type Data, type DType, hostArray } from '../core/dtype.ts';
import { DataError, UsageError } from '../core/errors.ts';

/** A tensor in host memory, row-major. `storage` is the element type it had in the file, where that was another one. */
export interface HostTensor {
  dtype: DType;
  shape: readonly number[];
  data: Data;
  storage?: string;
}

export interface Safetensors {
  tensors: Map<string, HostTensor>;
  metadata: Record<string, string>;
}

const maxHeader = 100_000_000;
const advice =
  'Fetch or write the file again; if it is whole, it was made by something that breaks the safetensors format.';

/** Element types read: bytes each, the type they become, and how one element is taken from a view. */
const readers: Record<string, { size: number; dtype: DType; get?: (v: DataView, at: number) => number }> = {
  F64: { size: 8, dtype: 'f32', get: (v, at) => v.getFloat64(at, true) },
  F32: { size: 4, dtype: 'f32' },
  F16: { size: 2, dtype: 'f32', get: (v, at) => halfToFloat(v.getUint16(at, true)) },
  BF16: { size: 2, dtype: 'f32', get: (v, at) => bfloatToFloat(v.getUint16(at, true)) },
  I64: { size: 8, dtype: 'i32', get: (v, at) => Number(v.getBigInt64(at, true)) },
  I32: { size: 4, dtype: 'i32' },
  I8: { size: 1, dtype: 'i32', get: (v, at) => v.getInt8(at) },
  U8: { size: 1, dtype: 'u8' },
  BOOL: { size: 1, dtype: 'bool' },
};
const written: Record<DType, string> = { f32: 'F32', i32: 'I32', u8: 'U8', bool: 'BOOL' };

/** The value of an IEEE 754 half (sign 1, exponent 5, fraction 10 bits), exact in f32. */
export function halfToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const word = new DataView(new ArrayBuffer(4));

/** The nearest half, ties to even. Throws where a finite number is too large for one. */
export function floatToHalf(x: number): number {
  word.setFloat32(0, x);
  const bits = word.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size >= 0x7f800000) return sign | 0x7c00 | (size > 0x7f800000 ? 0x200 : 0);
  // 65520 and more would round to infinity.
  if (size >= 0x477ff000)
    throw new UsageError(`half precision: expected numbers up to 65504, got ${x}\nKeep this tensor in float32.`);
  // Below 2^-14 halves are multiples of 2^-24; adding 1/2 in float32 rounds to those.
  if (size < 0x38800000) {
    word.setUint32(0, size);
    word.setFloat32(0, word.getFloat32(0) + 0.5);
    return sign | (word.getUint32(0) - 0x3f000000);
  }
  return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
}

/** A bfloat16 is the upper half of an f32. */
export function bfloatToFloat(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}

/**
 * Little-endian elements of a file as a host array of the engine. `get` converts element by element; without it the
 * bytes are taken as they are (every platform JavaScript runs on today is little-endian). Integers that do not fit i32,
 * and booleans other than 0 and 1, throw.
 */
export function hostData(
  bytes: Uint8Array,
  n: number,
  size: number,
  dtype: DType,
  get: ((v: DataView, at: number) => number) | undefined,
  what: string,
): Data {
  const out = hostArray(dtype, n);
  if (!get) new Uint8Array(out.buffer).set(bytes.subarray(0, n * size));
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < n; i++) {
      const x = get(view, i * size);
      out[i] = x;
      if (dtype !== 'f32' && out[i] !== x) {
        throw new DataError(
          `${what}: element ${i} is ${x}, which does not fit ${dtype}.\n` +
            'Integers are held in 32 bits here: store this tensor as I32 or F32.',
        );
      }
    }
  }
  if (dtype === 'bool') {
    const bad = out.findIndex((x) => x > 1);
    if (bad >= 0) {
      throw new DataError(
        `${what}: element ${bad} is ${out[bad]}, expected a boolean, 0 or 1.\nStore it as U8 instead.`,
      );
    }
  }
  return out;
}

/** Elements of a shape, or undefined where it is no list of whole numbers >= 0 or too large to be one. */
export function elementsOf(shape: unknown): number | undefined {
  if (!Array.isArray(shape)) return undefined;
  let n = 1;
  for (const d of shape) {
    if (!Number.isSafeInteger(d) || d < 0) return undefined;
    n *= d;
    if (n > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return n;
}

/** The first key that one object of a (valid) JSON text holds twice. JSON.parse keeps the last one silently. */
function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // one entry per open bracket; undefined for arrays
  let last = ''; // the latest string, quotes included: a key when a colon follows
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === '"') {
      const from = i++;
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
      last = json.slice(from, i + 1);
    } else if (c === '{') open.push(new Set());
    else if (c === '[') open.push(undefined);
    else if (c === '}' || c === ']') open.pop();
    else if (c === ':') {
      const key = JSON.parse(last) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

const isObject = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x);
const show = (x: unknown): string => {
  const s = JSON.stringify(x) ?? String(x);
  return s.length > 80 ? `${s.slice(0, 77)}...` : s;
};

/**
 * Reads a safetensors file. F16, BF16 and F64 become f32; I64 and I8 become i32 (refused where a value does not fit).
 * The tensors own their memory.
 * @param bytes the whole file
 * @param name what errors call it: the path or address it came from
 * @throws DataError naming the file and what is wrong with it
 */
export function readSafetensors(bytes: Uint8Array, name = 'safetensors file'): Safetensors {
  const fail = (what: string): never => {
    throw new DataError(`${name}: ${what}.\n${advice}`);
  };
  if (bytes.length < 8)
    fail(`expected a safetensors file, came ${bytes.length} bytes (at least 8 hold the header's length)`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeader))
    fail(`header length is ${length}, more than the ${maxHeader} bytes the format allows`);
  const start = 8 + Number(length);
  if (start > bytes.length)
    fail(`header ends at byte ${start}, but the file has ${bytes.length} bytes; it may be cut off`);

  let text = '';
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.slice(8, start));
  } catch {
    fail('header is not UTF-8 text');
  }
  if (text[0] !== '{') fail(`header starts with ${show(text.slice(0, 8))}, expected "{"`);
  try {
    header = JSON.parse(text);
  } catch (e) {
    fail(`header is not JSON: ${(e as Error).message}`);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) fail(`header holds the key ${show(twice)} twice`);

  const metadata: [string, string][] = [];
  const entries: { key: string; type: string; shape: number[]; n: number; begin: number; end: number }[] = [];
  for (const [key, value] of Object.entries(header as Record<string, unknown>)) {
    if (!isObject(value)) fail(`${show(key)} is ${show(value)}, expected an object`);
    const v = value as Record<string, unknown>;
    if (key === '__metadata__') {
      for (const [k, s] of Object.entries(v)) {
        if (typeof s !== 'string') fail(`__metadata__ ${show(k)} is ${show(s)}, expected a string`);
        metadata.push([k, s as string]);
      }
      continue;
    }
    const what = `tensor ${show(key)}`;
    const type = v.dtype as string;
    if (typeof type !== 'string' || !Object.hasOwn(readers, type)) {
      fail(`${what} has dtype ${show(type)}; those read are ${Object.keys(readers).join(' ')}`);
    }
    const n = elementsOf(v.shape) ?? fail(`${what} has shape ${show(v.shape)}, expected a list of whole numbers >= 0`);
    const offsets = v.data_offsets as number[];
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(Number.isSafeInteger)) {
      fail(`${what} has data_offsets ${show(offsets)}, expected [begin, end]`);
    }
    const [begin, end] = offsets as [number, number];
    const room = bytes.length - start;
    if (begin < 0 || end < begin || end > room) {
      fail(`${what} lies at bytes ${begin} to ${end} of the data, which has ${room} bytes; the file may be cut off`);
    }
    const size = readers[type]!.size;
    if (end - begin !== n * size) {
      fail(`${what}, ${type} ${show(v.shape)}, needs ${n * size} bytes, its data_offsets give ${end - begin}`);
    }
    entries.push({ key, type, shape: v.shape as number[], n, begin, end });
  }

  let at = 0;
  for (const e of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    const gap = e.begin < at ? 'overlaps the tensor before it' : 'leaves a hole before it';
    if (e.begin !== at) fail(`tensor ${show(e.key)} starts at byte ${e.begin} of the data, expected ${at}: it ${gap}`);
    at = e.end;
  }
  if (start + at !== bytes.length)
    fail(`the tensors end at byte ${start + at}, but the file has ${bytes.length} bytes`);

  const tensors = new Map<string, HostTensor>();
  for (const e of entries) {
    const { size, dtype, get } = readers[e.type]!;
    const data = hostData(
      bytes.subarray(start + e.begin, start + e.end),
      e.n,
      size,
      dtype,
      get,
      `${name}: tensor ${show(e.key)}`,
    );
    tensors.set(e.key, { dtype, shape: e.shape, data, ...(get && { storage: e.type }) });
  }
  return { tensors, metadata: Object.fromEntries(metadata) };
}

export interface SafetensorsOptions {
  /** Tensors of float32 to be kept as F16, each number the nearest half. Default none. */
  readonly half?: (name: string, tensor: HostTensor) => boolean;
}

const isBytes = (t: HostTensor): boolean => t.dtype === 'i32' && t.storage === 'I8';

/**
 * The bytes of a safetensors file. The same content gives the same bytes: four-byte tensors first, then by name (so every
 * tensor is aligned to its element), keys sorted, the header padded with spaces to a multiple of 8.
 * @param tensors by name; f32, i32, u8 and bool are written as F32, I32, U8 and BOOL, i32 whose `storage` is I8 as that
 * @param metadata strings kept in `__metadata__`
 * @throws UsageError when a shape and its data disagree, or a name is not well-formed text
 */
export function writeSafetensors(
  tensors: Iterable<readonly [string, HostTensor]>,
  metadata: Readonly<Record<string, string>> = {},
  { half = () => false }: SafetensorsOptions = {},
): Uint8Array {
  const isHalf = new Map<string, boolean>();
  const sizeOf = (key: string, t: HostTensor) => (isHalf.get(key) ? 2 : isBytes(t) ? 1 : bytesOf(t.dtype));
  const all = [...tensors];
  for (const [key, t] of all) isHalf.set(key, t.dtype === 'f32' && half(key, t));
  const byCode = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const sorted = all.sort(([a, s], [b, t]) => sizeOf(b, t) - sizeOf(a, s) || byCode(a, b));
  const header: [string, unknown][] = [];
  const notes = Object.entries(metadata).sort(([a], [b]) => byCode(a, b));
  for (const s of [...notes.flat(), ...sorted.map(([key]) => key)]) {
    if (typeof s !== 'string' || !s.isWellFormed()) {
      throw new UsageError(
        `writeSafetensors: ${show(s)} is not well-formed text.\nNames and metadata must be Unicode strings.`,
      );
    }
  }
  if (notes.length) header.push(['__metadata__', Object.fromEntries(notes)]);
  const names = new Set(['__metadata__']);
  let at = 0;
  for (const [key, t] of sorted) {
    if (names.has(key)) {
      throw new UsageError(`writeSafetensors: the name ${show(key)} is taken.\nGive every tensor a name of its own.`);
    }
    names.add(key);
    if (elementsOf(t.shape) !== t.data.length || hostArray(t.dtype, 0).constructor !== t.data.constructor) {
      throw new UsageError(
        `writeSafetensors: tensor ${show(key)}: expected ${t.dtype} data for shape [${t.shape}], ` +
          `came ${t.data.constructor.name} of ${t.data.length}.\nPass data of the shape's element count and type.`,
      );
    }
    const large = isBytes(t) ? t.data.find((x) => x < -128 || x > 127) : undefined;
    if (large !== undefined) {
      throw new UsageError(
        `writeSafetensors: tensor ${show(key)}: expected numbers from -128 to 127 to store as I8, came ${large}.\nLeave its storage out.`,
      );
    }
    const end = at + sizeOf(key, t) * t.data.length;
    const type = isHalf.get(key) ? 'F16' : isBytes(t) ? 'I8' : written[t.dtype];
    header.push([key, { dtype: type, shape: t.shape, data_offsets: [at, end] }]);
    at = end;
  }
  // Pairs, not an object: an object would move names that look like integers to the front.
  const json = `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > maxHeader) {
    throw new UsageError(
      `writeSafetensors: the header has ${length} bytes, at most ${maxHeader} fit.\nPut less in the metadata.`,
    );
  }
  const out = new Uint8Array(8 + length + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(text, 8);
  out.fill(0x20, 8 + text.length, 8 + length);
  at = 8 + length;
  const view = new DataView(out.buffer);
  for (const [key, t] of sorted) {
    const data = isBytes(t) ? Int8Array.from(t.data) : t.data;
    if (isHalf.get(key))
      for (const x of data) {
        view.setUint16(at, floatToHalf(x), true);
        at += 2;
      }
    else {
      out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
      at += data.byteLength;
    }
  }
  return out;
}
