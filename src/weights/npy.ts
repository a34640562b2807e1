/**
 * NumPy's .npy, versions 1 to 3: magic, version, header length, a Python dict literal with element type, order and shape,
 * then the raw array. Fortran order is transposed on reading. Pickled objects are never read: a pickle is a program.
 * Browser-safe. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import type { DType } from '../core/dtype.ts';
import { DataError, UsageError } from '../core/errors.ts';
import { elementsOf, type HostTensor, halfToFloat, hostData } from './safetensors.ts';

type Get = (v: DataView, at: number, little: boolean) => number;
const kinds: Record<string, { size: number; dtype: DType; get: Get; same?: true }> = {
  f2: { size: 2, dtype: 'f32', get: (v, at, little) => halfToFloat(v.getUint16(at, little)) },
  f4: { size: 4, dtype: 'f32', get: (v, at, little) => v.getFloat32(at, little), same: true },
  f8: { size: 8, dtype: 'f32', get: (v, at, little) => v.getFloat64(at, little) },
  i4: { size: 4, dtype: 'i32', get: (v, at, little) => v.getInt32(at, little), same: true },
  i8: { size: 8, dtype: 'i32', get: (v, at, little) => Number(v.getBigInt64(at, little)) },
  u1: { size: 1, dtype: 'u8', get: (v, at) => v.getUint8(at), same: true },
  b1: { size: 1, dtype: 'bool', get: (v, at) => v.getUint8(at), same: true },
};
const descr: Record<DType, string> = { f32: '<f4', i32: '<i4', u8: '|u1', bool: '|b1' };

/**
 * Reads one array. f2 and f8 become f32; i8 (64-bit) becomes i32 and is refused where a value does not fit.
 * @param bytes the whole file
 * @param name what errors call it
 * @throws DataError naming the file and what is wrong with it
 */
export function readNpy(bytes: Uint8Array, name = 'npy file'): HostTensor {
  const fail = (what: string, advice = 'Fetch the file again or save it again with numpy.save.'): never => {
    throw new DataError(`${name}: ${what}.\n${advice}`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(0, 6)) !== '\x93NUMPY') {
    fail('expected a .npy file, but it does not start with \\x93NUMPY');
  }
  const version = bytes[6]!;
  if (version < 1 || version > 3) fail(`.npy version ${version}.${bytes[7]}; versions 1 to 3 are read`);
  const lengthBytes = version === 1 ? 2 : 4;
  if (bytes.length < 8 + lengthBytes) fail(`the file ends after ${bytes.length} bytes, inside its header`);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = 8 + lengthBytes + length;
  if (start > bytes.length) fail(`header ends at byte ${start}, but the file has ${bytes.length} bytes`);
  const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.slice(8 + lengthBytes, start));

  const type = /['"]descr['"]\s*:\s*(['"])([^'"]*)\1/.exec(text)?.[2];
  const order = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text)?.[1];
  const dims = /['"]shape['"]\s*:\s*\(([\d\s,L]*)\)/.exec(text)?.[1];
  if (!/^\{.*\}\s*$/s.test(text) || order === undefined || dims === undefined)
    fail(`header is ${JSON.stringify(text.slice(0, 120))}`);
  const kind = type !== undefined && Object.hasOwn(kinds, type.slice(1)) ? kinds[type.slice(1)] : undefined;
  if (type === undefined || !kind || !'<>|='.includes(type[0]!)) {
    return fail(
      `element type ${type ?? 'of several fields'}; those read are ${Object.keys(kinds).join(' ')}`,
      type?.includes('O')
        ? 'It holds pickled Python objects, which are never read: save plain arrays with numpy.save.'
        : 'Convert the array first, for example with array.astype("float32").',
    );
  }
  const parts = dims!.split(',').map((s) => s.trim().replace(/L$/, '')); // Python 2 wrote 3L
  if (parts.at(-1) === '') parts.pop();
  const shape = parts.map((s) => (/^\d+$/.test(s) ? Number(s) : Number.NaN));
  const n = elementsOf(shape) ?? fail(`shape is (${dims})`);
  const room = bytes.length - start;
  if (room !== n * kind.size) fail(`shape (${dims}) of ${type} needs ${n * kind.size} bytes, the file holds ${room}`);

  const little = type[0] !== '>';
  const get = kind.same && little ? undefined : (v: DataView, at: number) => kind.get(v, at, little);
  let data = hostData(bytes.subarray(start), n, kind.size, kind.dtype, get, name);
  if (order === 'True' && shape.length > 1) data = fromFortran(data, shape);
  return { dtype: kind.dtype, shape, data, ...(kind.same ? {} : { storage: type }) };
}

/** Column-major to row-major: walk the output in order, stepping through the input by column-major strides. */
function fromFortran<T extends HostTensor['data']>(data: T, shape: readonly number[]): T {
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
 * The bytes of a .npy file, C order, little-endian, data aligned to 64 bytes as numpy writes it.
 * @throws UsageError when shape and data disagree
 */
export function writeNpy({ dtype, shape, data }: HostTensor): Uint8Array {
  if (elementsOf(shape) !== data.length) {
    throw new UsageError(
      `writeNpy: shape [${shape}] does not hold ${data.length} elements.\nPass data of the shape's element count.`,
    );
  }
  const dict = `{'descr': '${descr[dtype]}', 'fortran_order': False, 'shape': (${shape.map((d) => `${d},`).join(' ')}), }`;
  const tuple = shape.length > 1 ? dict.replace(/,\), }$/, '), }') : dict;
  const start = Math.ceil((10 + tuple.length + 1) / 64) * 64;
  if (start - 10 > 65535)
    throw new UsageError(`writeNpy: ${shape.length} dimensions do not fit the header.\nReshape first.`);
  const out = new Uint8Array(start + data.byteLength).fill(0x20, 10, start);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, (start - 10) & 255, (start - 10) >> 8]);
  out.set(new TextEncoder().encode(tuple), 10);
  out[start - 1] = 0x0a;
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
  return out;
}
