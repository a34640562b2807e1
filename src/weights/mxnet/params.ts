/**
 * MXNet's `.params`: a list of arrays and their names, as NDArray::Save writes it (src/ndarray/ndarray.cc of MXNet 0.5 to
 * 1.9): 0x112, the arrays, the names `arg:…` and `aux:…` (Gluon writes them bare).
 *
 * An array's header has four ages: none before 0.11 (32-bit sizes), then one with 64-bit sizes, one with the kind of storage,
 * and one with NumPy's shapes, where no axis is a number and not nothing.
 */
import type { DType } from '../../core/dtype.ts';
import { DataError } from '../../core/errors.ts';
import type { HostTensor } from '../../core/tensor.ts';
import { Cursor } from '../cursor.ts';
import { isMxnetParams } from '../magic.ts';
import { bfloatToFloat, halfToFloat, hostData } from '../safetensors.ts';

const version1 = 0xf993fac8;
const version2 = 0xf993fac9;
const version3 = 0xf993faca;
/** MXNet's own limit is 32 in all its operators. */
const mostAxes = 32;

type Get = (v: DataView, at: number) => number;
/** By the number that stands for an element type. */
const kinds: readonly (readonly [size: number, dtype: DType, get?: Get])[] = [
  [4, 'f32'],
  [8, 'f32', (v, at) => v.getFloat64(at, true)],
  [2, 'f32', (v, at) => halfToFloat(v.getUint16(at, true))],
  [1, 'u8'],
  [4, 'i32'],
  [1, 'i32', (v, at) => v.getInt8(at)],
  [8, 'i32', (v, at) => Number(v.getBigInt64(at, true))],
  [1, 'bool'],
  [2, 'i32', (v, at) => v.getInt16(at, true)],
  [2, 'i32', (v, at) => v.getUint16(at, true)],
  [4, 'i32', (v, at) => v.getUint32(at, true)],
  [8, 'i32', (v, at) => Number(v.getBigUint64(at, true))],
  [2, 'f32', (v, at) => bfloatToFloat(v.getUint16(at, true))],
];
const storages = ['dense', 'row sparse', 'CSR sparse'];

function readArray(file: Cursor, index: number): HostTensor {
  const what = `array ${index}`;
  const fail = (message: string, advice = 'It may be damaged: fetch it again.'): never => {
    throw new DataError(`${file.name}: ${what} ${message}\n${advice}`);
  };
  const magic = file.u32(`the header of ${what}`);
  let axes = magic;
  if (magic === version2 || magic === version3) {
    const storage = file.i32(`the storage of ${what}`);
    if (storage !== 0)
      fail(
        `is ${storages[storage] ?? `of storage ${storage}`}, expected dense`,
        "Save it densely: array.tostype('default').",
      );
  }
  if (magic === version1 || magic === version2 || magic === version3) axes = file.i32(`the axes of ${what}`);
  if (axes === -1 || (axes === 0 && magic !== version3)) return { dtype: 'f32', shape: [0], data: new Float32Array(0) };
  if (axes < 0 || axes > mostAxes) fail(`has ${axes} axes, expected at most ${mostAxes}`);
  const legacy = magic === axes;
  const shape: number[] = [];
  for (let i = 0; i < axes; i++)
    shape.push(legacy ? file.u32(`the shape of ${what}`) : file.i64(`the shape of ${what}`));
  // Where it was: kind and number of the device.
  file.take(8, `the device of ${what}`);
  const type = file.i32(`the type of ${what}`);
  const kind = kinds[type];
  if (!kind) return fail(`has elements of type ${type}, expected 0 to ${kinds.length - 1}`);
  const [size, dtype, get] = kind;
  const n = shape.reduce((a, b) => a * b, 1);
  if (shape.some((d) => d < 0) || !(n * size <= file.left))
    fail(`has the shape ${shape.join('x')}, but the file holds ${file.left} more bytes`);
  return { dtype, shape, data: hostData(file.take(n * size, what), n, size, dtype, get, `${file.name}: ${what}`) };
}

/**
 * The arrays of a `.params` file by name, `arg:` and `aux:` taken off. Halves and doubles become f32.
 * @param name what errors call the file
 * @throws DataError for what is no such file, sparse arrays, names that are missing or stand twice
 */
export function readParams(bytes: Uint8Array, name: string): Map<string, HostTensor> {
  const file = new Cursor(bytes, name);
  const fail = (message: string): never => {
    throw new DataError(`${name}: ${message}\nIt may be cut off or damaged: fetch it again.`);
  };
  if (!isMxnetParams(bytes)) fail("expected a list of MXNet's arrays, but it does not begin with 0x112");
  file.at = 16;
  const count = file.u64('the number of arrays');
  if (!(count * 4 <= file.left)) fail(`expected ${count} arrays, but it has ${file.left} more bytes`);
  const arrays = Array.from({ length: count }, (_, i) => readArray(file, i));
  const names = file.u64('the number of names');
  if (names !== count)
    fail(`expected a name for each of ${count} arrays, got ${names}${names === 0 ? ' (a bare list of arrays)' : ''}`);
  const tensors = new Map<string, HostTensor>();
  const text = new TextDecoder('utf-8', { fatal: false });
  for (const array of arrays) {
    const key = text.decode(file.take(file.u64('the length of a name'), 'a name')).replace(/^(arg|aux):/, '');
    if (tensors.has(key)) fail(`two arrays are named '${key}'`);
    tensors.set(key, array);
  }
  return tensors;
}
