import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import {
  floatToHalf,
  type HostTensor,
  halfToFloat,
  readSafetensors,
  writeSafetensors,
} from '../../src/weights/safetensors.ts';

/** A file from raw header text and data. */
function file(header: string, data: number | Uint8Array = 0): Uint8Array {
  const text = new TextEncoder().encode(header);
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const out = new Uint8Array(8 + text.length + body.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(body, 8 + text.length);
  return out;
}
const f32 = (shape: number[], data: number[]): HostTensor => ({ dtype: 'f32', shape, data: Float32Array.from(data) });

test('writes and reads every dtype, scalars, empty tensors and odd names', () => {
  const tensors = new Map<string, HostTensor>([
    ['z.weight', f32([2, 3], [1, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-45, 3.4028235e38])],
    ['a.count', { dtype: 'i32', shape: [2], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) }],
    ['mask', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
    ['pixels', { dtype: 'u8', shape: [5], data: Uint8Array.of(0, 1, 127, 128, 255) }],
    ['scalar', f32([], [7])],
    ['empty', f32([0, 4], [])],
    ['10', f32([1], [10])],
    ['__proto__', f32([1], [11])],
    ['名 "quoted" \\', f32([1], [12])],
  ]);
  const metadata = { recipe: '{"lr": 0.1, "a": {"a": 1}}', ключ: 'значение', __proto__x: '' };
  const bytes = writeSafetensors(tensors, metadata);
  const back = readSafetensors(bytes);
  expect(back.metadata).toEqual(metadata);
  expect([...back.tensors.keys()].sort()).toEqual([...tensors.keys()].sort());
  for (const [key, t] of tensors) expect(back.tensors.get(key)).toEqual(t);
  // The same content in another order gives the same bytes, also when read from the middle of a buffer.
  expect(writeSafetensors([...tensors].reverse(), metadata)).toEqual(bytes);
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  expect(readSafetensors(shifted.subarray(3))).toEqual(back);
  expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
});

test('halves, bfloats, doubles and 64-bit integers are converted and say what they were', () => {
  const data = new DataView(new ArrayBuffer(2 * 8 + 2 * 8 + 4 * 2 + 2 * 2 + 2));
  data.setFloat64(0, 1 / 3, true);
  data.setFloat64(8, -1e300, true);
  data.setBigInt64(16, -5n, true);
  data.setBigInt64(24, 2147483647n, true);
  [0x3c00, 0xc000, 0x0001, 0x7bff].forEach((h, i) => {
    data.setUint16(32 + 2 * i, h, true);
  });
  data.setUint16(40, 0x3f80, true);
  data.setUint16(42, 0xc049, true);
  data.setInt8(44, -128);
  data.setInt8(45, 127);
  const header = JSON.stringify({
    d: { dtype: 'F64', shape: [2], data_offsets: [0, 16] },
    l: { dtype: 'I64', shape: [2], data_offsets: [16, 32] },
    h: { dtype: 'F16', shape: [4], data_offsets: [32, 40] },
    b: { dtype: 'BF16', shape: [2], data_offsets: [40, 44] },
    c: { dtype: 'I8', shape: [2], data_offsets: [44, 46] },
  });
  const { tensors } = readSafetensors(file(`${header}   `, new Uint8Array(data.buffer)));
  const values = Object.fromEntries([...tensors].map(([k, t]) => [k, [t.storage, t.dtype, ...t.data]]));
  expect(values).toEqual({
    d: ['F64', 'f32', Math.fround(1 / 3), Number.NEGATIVE_INFINITY],
    l: ['I64', 'i32', -5, 2147483647],
    h: ['F16', 'f32', 1, -2, 2 ** -24, 65504],
    b: ['BF16', 'f32', 1, -3.140625],
    c: ['I8', 'i32', -128, 127],
  });
  expect(halfToFloat(0x7c00)).toBe(Number.POSITIVE_INFINITY);
  expect(halfToFloat(0xfc00)).toBe(Number.NEGATIVE_INFINITY);
  expect(halfToFloat(0x7e00)).toBeNaN();
  expect(Object.is(halfToFloat(0x8000), -0)).toBe(true);
});

const one = (over: object, data = 4) =>
  file(JSON.stringify({ w: { dtype: 'F32', shape: [1], data_offsets: [0, 4], ...over } }), data);
const long = file('{}');
new DataView(long.buffer).setBigUint64(0, 2n ** 63n, true);
const beyond = file('{}');
new DataView(beyond.buffer).setBigUint64(0, 3n, true);
const w = (begin: number, end: number) =>
  `{"dtype":"F32","shape":[${(end - begin) / 4}],"data_offsets":[${begin},${end}]}`;

describe('a hostile file is refused with what is wrong', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(0), /came 0 bytes/],
    ['seven bytes', new Uint8Array(7), /came 7 bytes/],
    ['header over 100 MB', long, /9223372036854775808, more than the 100000000 bytes/],
    ['header beyond the file', beyond, /ends at byte 11, but the file has 10/],
    ['no header', file(''), /starts with "", expected "\{"/],
    ['header with leading space', file(' {}'), /starts with " \{\}"/],
    ['a byte order mark', file('\ufeff{}'), /starts with/],
    ['a list', file('[]'), /expected "\{"/],
    ['bad JSON', file('{"w":'), /not JSON/],
    ['text after the JSON', file('{} x'), /not JSON/],
    ['not UTF-8', file('{}').map((b, i) => (i === 9 ? 0xff : b)), /not UTF-8/],
    ['tensor is a number', file('{"w":1}'), /"w" is 1, expected an object/],
    ['tensor is null', file('{"w":null}'), /"w" is null/],
    ['no dtype', one({ dtype: undefined }), /dtype undefined; those read are F64 F32/],
    ['inherited dtype', one({ dtype: 'constructor' }), /dtype "constructor"/],
    ['unknown dtype', one({ dtype: 'F8_E4M3' }), /tensor "w" has dtype "F8_E4M3"/],
    ['negative shape', one({ shape: [-1] }), /shape \[-1\]/],
    ['fractional shape', one({ shape: [1.5] }), /shape \[1.5\]/],
    ['shape overflows', one({ shape: [2 ** 30, 2 ** 30, 2 ** 30] }), /shape \[1073741824/],
    ['shape no list', one({ shape: 1 }), /shape 1/],
    ['no offsets', one({ data_offsets: undefined }), /data_offsets undefined/],
    ['one offset', one({ data_offsets: [0] }), /data_offsets \[0\]/],
    ['text offsets', one({ data_offsets: ['0', '4'] }), /data_offsets \["0","4"\]/],
    ['offset negative', one({ data_offsets: [-4, 0] }), /bytes -4 to 0/],
    ['offset reversed', one({ data_offsets: [4, 0] }), /bytes 4 to 0/],
    ['offset out of range', one({ data_offsets: [0, 8], shape: [2] }), /has 4 bytes; the file may be cut off/],
    ['offset huge', one({ data_offsets: [0, 1e300] }), /data_offsets/],
    ['wrong size', one({ shape: [2] }), /needs 8 bytes, its data_offsets give 4/],
    [
      'overlap',
      file(`{"a":${w(0, 8)},"b":${w(4, 8)}}`, 8),
      /"b" starts at byte 4 of the data, expected 8: it overlaps/,
    ],
    ['same place twice', file(`{"a":${w(0, 4)},"b":${w(0, 4)}}`, 4), /overlaps/],
    ['hole', file(`{"a":${w(0, 4)},"b":${w(8, 12)}}`, 12), /leaves a hole/],
    ['bytes after the end', one({}, 5), /but the file has/],
    ['a tensor twice', file(`{"a":${w(0, 4)},"a":${w(4, 8)}}`, 8), /key "a" twice/],
    ['a tensor twice, escaped', file(`{"a":${w(0, 4)},"\\u0061":${w(0, 4)}}`, 4), /key "a" twice/],
    ['metadata twice', file('{"__metadata__":{"x":"1","x":"2"}}'), /key "x" twice/],
    ['metadata number', file('{"__metadata__":{"x":1}}'), /__metadata__ "x" is 1, expected a string/],
    ['metadata text', file('{"__metadata__":"x"}'), /"__metadata__" is "x"/],
    ['boolean 2', file('{"m":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}', Uint8Array.of(2)), /element 0 is 2/],
    [
      'integer over 32 bits',
      file('{"m":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0)),
      /element 0 is 4294967296, which does not fit i32/,
    ],
  ])('%s', (_, bytes, message) => {
    const read = () => readSafetensors(bytes, 'dir/x.safetensors');
    expect(read).toThrow(DataError);
    expect(read).toThrow(message);
    expect(read).toThrow(/^dir\/x\.safetensors: .*\n.+/s);
  });
});

test('strings that only look like keys, and equal keys in different objects, are fine', () => {
  const text =
    '{"__metadata__":{"a":"\\"a\\": {","b":"\\\\","c":"a:"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
  expect(readSafetensors(file(text, 1)).metadata).toEqual({ a: '"a": {', b: '\\', c: 'a:' });
});

test('a changed or cut file never gives anything but a result or a DataError', () => {
  const whole = writeSafetensors(
    [
      ['a', f32([2], [1, 2])],
      ['b', { dtype: 'bool', shape: [2], data: Uint8Array.of(0, 1) }],
    ],
    { k: 'v' },
  );
  for (let n = 0; n < whole.length; n++) expect(() => readSafetensors(whole.subarray(0, n))).toThrow(DataError);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (edits) => {
      const bytes = whole.slice();
      for (const [i, b] of edits) bytes[i] = b;
      try {
        readSafetensors(bytes);
      } catch (e) {
        expect(e).toBeInstanceOf(DataError);
      }
    }),
    { numRuns: 3000, seed: 1 },
  );
});

test('writing refuses data that does not fit its shape, and names that are taken or no text', () => {
  expect(() => writeSafetensors([['w', f32([3], [1, 2])]])).toThrow(UsageError);
  expect(() => writeSafetensors([['w', { dtype: 'i32', shape: [1], data: Float32Array.of(1) }]])).toThrow(/i32 data/);
  expect(() => writeSafetensors([['__metadata__', f32([0], [])]])).toThrow(/taken/);
  expect(() =>
    writeSafetensors([
      ['w', f32([0], [])],
      ['w', f32([0], [])],
    ]),
  ).toThrow(/taken/);
  expect(() => writeSafetensors([['\ud800', f32([0], [])]])).toThrow(/well-formed/);
});

describe('halves', () => {
  test('are the nearest of a float32, ties to even, as they are read again', () => {
    const wrong: number[] = [];
    const is = (x: number, h: number) => {
      if (floatToHalf(x) !== h) wrong.push(x);
    };
    for (let h = 0; h < 0x10000; h++) {
      const x = halfToFloat(h);
      if (!Number.isNaN(x)) is(x, h);
    }
    // Between two neighbours: the middle goes to the even one, what is beside it to the nearer.
    for (let h = 0; h < 0x7bff; h++) {
      const middle = (halfToFloat(h) + halfToFloat(h + 1)) / 2;
      is(middle, h % 2 ? h + 1 : h);
      is(Math.fround(middle * (1 - 2 ** -20)), h);
      is(-Math.fround(middle * (1 + 2 ** -20)), 0x8000 | (h + 1));
    }
    expect(wrong).toEqual([]);
    expect(halfToFloat(floatToHalf(Number.NaN))).toBeNaN();
    expect(floatToHalf(65519)).toBe(0x7bff);
    expect(() => floatToHalf(65520)).toThrow(/up to 65504, got 65520/);
    expect(floatToHalf(-Infinity)).toBe(0xfc00);
  });

  test('are written where asked for, and read as float32', () => {
    const t = (data: Float32Array, ...shape: number[]): HostTensor => ({ dtype: 'f32', shape, data });
    const bytes = writeSafetensors(
      [
        ['matrix', t(Float32Array.of(1, 1 / 3, -2.5, 60000), 2, 2)],
        ['vector', t(Float32Array.of(1 / 3), 1)],
      ],
      {},
      { half: (_, { shape }) => shape.length > 1 },
    );
    const { tensors } = readSafetensors(bytes);
    expect(tensors.get('matrix')).toMatchObject({ dtype: 'f32', storage: 'F16' });
    expect([...tensors.get('matrix')!.data]).toEqual([1, 0.333251953125, -2.5, 60000]);
    expect(tensors.get('vector')!.storage).toBeUndefined();
    expect([...tensors.get('vector')!.data]).toEqual([Math.fround(1 / 3)]);
  });
});
