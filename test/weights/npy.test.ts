import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { type ByteRanges, rangesOf } from '../../src/core/ranges.ts';
import {
  describeNpy,
  openNpy,
  readNpy,
  readNpyArray,
  readNpyText,
  readNpyWide,
  writeNpy,
} from '../../src/weights/npy.ts';
import { fuzz } from '../helpers/fuzz.ts';
import golden from '../reference/npz.json' with { type: 'json' };

function file(dict: string, data: Uint8Array, version = 1): Uint8Array {
  const lengthBytes = version === 1 ? 2 : 4;
  const text = new TextEncoder().encode(`${dict}\n`);
  const out = new Uint8Array(8 + lengthBytes + text.length + data.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, text.length & 255, text.length >> 8]);
  out.set(text, 8 + lengthBytes);
  out.set(data, 8 + lengthBytes + text.length);
  return out;
}
const bytesOf = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
const dict = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`;

test('the bytes written are those numpy writes', () => {
  const start = `\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`;
  const bytes = writeNpy({ dtype: 'f32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) });
  expect(bytes.length).toBe(128 + 24);
  expect(String.fromCharCode(...bytes.subarray(0, 128))).toBe(`${start.padEnd(127)}\n`);
  const shapes = [[], [3], [1, 2]].map((shape) =>
    writeNpy({ dtype: 'u8', shape, data: new Uint8Array(shape.reduce((a, b) => a * b, 1)) }),
  );
  expect(shapes.map((b) => /\(.*\)/.exec(String.fromCharCode(...b))![0])).toEqual(['()', '(3,)', '(1, 2)']);
});

test('what is written is read back', () => {
  for (const t of [
    { dtype: 'f32', shape: [2, 2], data: Float32Array.of(Number.NaN, -0, 1e-45, 3) },
    { dtype: 'i32', shape: [], data: Int32Array.of(-7) },
    { dtype: 'u8', shape: [0, 3], data: new Uint8Array(0) },
    { dtype: 'bool', shape: [2, 1], data: Uint8Array.of(0, 1) },
  ] as const) {
    expect(readNpy(writeNpy(t))).toEqual(t);
  }
});

test('versions 1 to 3, other types, big-endian and Fortran order', () => {
  const data = bytesOf(Float32Array.of(1, 2, 3, 4, 5, 6));
  for (const v of [1, 2, 3]) expect([...readNpy(file(dict('<f4', '(6,)'), data, v)).data]).toEqual([1, 2, 3, 4, 5, 6]);
  // Column-major 2x3 and 1x2x3: [[1, 3, 5], [2, 4, 6]].
  expect([...readNpy(file(dict('<f4', '(2, 3)', 'True'), data)).data]).toEqual([1, 3, 5, 2, 4, 6]);
  expect([...readNpy(file(dict('<f4', '(1, 2, 3)', 'True'), data)).data]).toEqual([1, 3, 5, 2, 4, 6]);
  expect(readNpy(file(dict('<f8', '(1,)'), bytesOf(Float64Array.of(1 / 3))))).toMatchObject({
    dtype: 'f32',
    data: Float32Array.of(1 / 3),
    storage: '<f8',
  });
  expect([...readNpy(file(dict('<i8', '(2L,)'), bytesOf(BigInt64Array.of(-1n, 5n)))).data]).toEqual([-1, 5]);
  expect([...readNpy(file(dict('>i4', '(1,)'), Uint8Array.of(0, 0, 1, 2))).data]).toEqual([258]);
  expect([...readNpy(file(dict('>f4', '()'), Uint8Array.of(0x3f, 0x80, 0, 0))).data]).toEqual([1]);
});

test('what is wrong with a file is said', () => {
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(20), /does not start with/],
    [new Uint8Array(3), /does not start with/],
    [file(dict('<f4', '(1,)'), new Uint8Array(4), 9), /version 9.0/],
    [file(dict('<f4', '(2,)'), new Uint8Array(4)), /needs 8 bytes, the file holds 4/],
    [file(dict('<f4', '(1,)'), new Uint8Array(5)), /needs 4 bytes, the file holds 5/],
    [file(dict('|O', '()'), new Uint8Array(9)), /pickled Python objects/],
    [file(dict('<c8', '(1,)'), new Uint8Array(8)), /element type <c8/],
    [file(dict('<constructor', '(1,)'), new Uint8Array(8)), /element type <constructor/],
    [
      file(`{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }`, new Uint8Array(4)),
      /of several fields/,
    ],
    [file(dict('<f4', '(1, , 2)'), new Uint8Array(8)), /shape is/],
    [file(dict('<f4', '(-1,)'), new Uint8Array(8)), /header is/],
    [file(dict('<f4', '(99999999999, 99999999999)'), new Uint8Array(8)), /shape is/],
    [
      file(dict('<i8', '(1,)'), bytesOf(BigInt64Array.of(2n ** 40n))),
      /element 0 is 1099511627776, which does not fit i32/,
    ],
    [file(dict('|b1', '(1,)'), Uint8Array.of(3)), /expected a boolean/],
  ];
  for (const [bytes, message] of cases) {
    expect(() => readNpy(bytes, 'a.npy')).toThrow(DataError);
    expect(() => readNpy(bytes, 'a.npy')).toThrow(message);
  }
  expect(() => writeNpy({ dtype: 'f32', shape: [2], data: Float32Array.of(1) })).toThrow(UsageError);
});

test('a changed or cut file never gives anything but a result or a DataError', () => {
  const whole = writeNpy({ dtype: 'f32', shape: [2], data: Float32Array.of(1, 2) });
  for (let n = 0; n < whole.length; n++) expect(() => readNpy(whole.subarray(0, n))).toThrow(DataError);
  fc.assert(
    fc.property(fc.nat(70), fc.nat(255), (i, b) => {
      const bytes = whole.slice();
      bytes[i] = b;
      try {
        readNpy(bytes);
      } catch (e) {
        expect(e).toBeInstanceOf(DataError);
      }
    }),
    { numRuns: 1000, seed: 1 },
  );
});

/** A file that NumPy wrote. */
const numpy = (name: keyof typeof golden.numpy) => new Uint8Array(Buffer.from(golden.numpy[name], 'base64'));
const count = (n: number) => Array.from({ length: n }, (_, i) => i);

test('text of NumPy, both widths, byte orders and array orders', () => {
  expect(readNpyText(numpy('bytes.npy'))).toEqual({ dtype: 'text', shape: [2, 2], data: ['ab', 'c', '', 'xyz'] });
  expect(readNpyText(numpy('bigendian_text.npy')).data).toEqual(['Änne', '\u{1f600}']);
  expect(readNpyText(numpy('text_fortran.npy'))).toMatchObject({ shape: [2, 3], data: ['a', 'b', 'c', 'd', 'e', 'f'] });
  expect(() => readNpy(numpy('bytes.npy'), 'b.npy')).toThrow(/b\.npy: expected numbers, got text/);
  expect(() => readNpyText(numpy('int16.npy'), 'i.npy')).toThrow(/i\.npy: expected text, got i32/);
  expect(() => readNpyArray(numpy('objects.npy'), 'o.npy')).toThrow(/pickled Python objects, which are never read/);
});

test('integers of other widths', () => {
  expect(readNpy(numpy('int16.npy'))).toEqual({
    dtype: 'i32',
    shape: [2],
    data: Int32Array.of(-3, 300),
    storage: '<i2',
  });
  expect([...readNpy(numpy('uint16.npy')).data]).toEqual([65535]);
  expect(() => readNpy(numpy('int64.npy'))).toThrow(/does not fit i32/);
  expect(readNpyWide(numpy('int64.npy'))).toEqual({ shape: [2], data: Float64Array.of(-(2 ** 53) + 1, 5) });
  expect([...readNpyWide(numpy('cube_fortran.npy')).data]).toEqual(count(24));
  const large = file(dict('<i8', '(1,)'), bytesOf(BigInt64Array.of(2n ** 60n)));
  expect(() => readNpyWide(large, 'l.npy')).toThrow(/l\.npy: element 0 is 1152921504606847000, beyond 2\^53/);
});

test('any text that does not end in zero comes back', () => {
  const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((s) => !s.endsWith('\0'));
  fc.assert(
    fc.property(fc.array(text, { maxLength: 8 }), (data) => {
      expect(readNpyText(writeNpy({ dtype: 'text', shape: [data.length], data })).data).toEqual(data);
    }),
    { seed: 1 },
  );
  expect(() => writeNpy({ dtype: 'text', shape: [1], data: ['a\0'] })).toThrow(UsageError);
  const bad = writeNpy({ dtype: 'text', shape: [1], data: ['a'] });
  bad.set([0, 0, 0x11], bad.length - 4);
  expect(() => readNpyText(bad, 't.npy')).toThrow(/t\.npy: expected a character at offset 128, got 1114112/);
});

describe('rows', () => {
  /** The largest read that was asked for. */
  function watched(bytes: Uint8Array): ByteRanges & { most: number } {
    const whole = rangesOf(bytes, 'm.npy');
    return {
      ...whole,
      most: 0,
      read(at, length) {
        this.most = Math.max(this.most, length);
        return whole.read(at, length);
      },
    };
  }
  test('of every layout are those of the whole array', async () => {
    for (const name of ['cube.npy', 'cube_fortran.npy', 'cube_f8.npy', 'cube_f2.npy'] as const) {
      const matrix = await openNpy(rangesOf(numpy(name), name));
      expect([matrix.shape, matrix.length, matrix.width], name).toEqual([[2, 3, 4], 2, 12]);
      expect([...(await matrix.rows(0, 2))], name).toEqual(count(24));
      expect([...(await matrix.rows(1, 1))], name).toEqual(count(24).slice(12));
      expect(await matrix.rows(2, 0)).toHaveLength(0);
      for (const [from, n] of [
        [1, 2],
        [-1, 1],
        [0.5, 1],
        [0, -1],
        [3, 0],
      ] as const)
        await expect(matrix.rows(from, n)).rejects.toThrow(UsageError);
    }
  });
  test('read no more than they are', async () => {
    const data = Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i));
    const source = watched(writeNpy({ dtype: 'f32', shape: [10_000, 4], data }));
    const matrix = await openNpy(source);
    const parts: number[] = [];
    for (let at = 0; at < matrix.length; at += 700) parts.push(...(await matrix.rows(at, Math.min(700, 10_000 - at))));
    expect(Float32Array.from(parts)).toEqual(data);
    expect(source.most).toBe(700 * 16);
  });
  test('of a number, of nothing, and of integers', async () => {
    const scalar = await openNpy(rangesOf(writeNpy({ dtype: 'f32', shape: [], data: Float32Array.of(7) }), ''));
    expect([scalar.length, scalar.width, ...(await scalar.rows(0, 1))]).toEqual([1, 1, 7]);
    const empty = await openNpy(rangesOf(writeNpy({ dtype: 'f32', shape: [5, 0], data: new Float32Array(0) }), ''));
    expect(await empty.rows(1, 3)).toHaveLength(0);
    expect([...(await (await openNpy(rangesOf(numpy('int16.npy'), ''))).rows(0, 2))]).toEqual([-3, 300]);
    await expect(openNpy(rangesOf(numpy('bytes.npy'), 'b.npy'))).rejects.toThrow(/b\.npy: expected numbers, got text/);
    expect(await describeNpy(rangesOf(numpy('bytes.npy'), ''))).toEqual({ type: '|S3', shape: [2, 2] });
  });
});

test('hostile headers are refused before memory is taken', () => {
  const many = `(${'1,'.repeat(20_000)})`;
  const cases: [Uint8Array, RegExp][] = [
    [file(dict('<U0', '(1000000000000,)'), new Uint8Array(0)), /element type <U0/],
    [file(dict('<U999999999', '(1,)'), new Uint8Array(4)), /needs 3999999996 bytes, the file holds 4/],
    [file(dict('<U9999999999', '(1,)'), new Uint8Array(4)), /element type/],
    [file(dict('<f4', '(4000000000,)'), new Uint8Array(4)), /needs 16000000000 bytes/],
    [file(dict('<f4', many), new Uint8Array(4)), /shape is/],
  ];
  for (const [bytes, message] of cases) expect(() => readNpyArray(bytes, 'a.npy')).toThrow(message);
  const long = new Uint8Array(3_000_000);
  long.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 2, 0, 0xc0, 0xc6, 0x2d, 0]);
  expect(() => readNpyArray(long, 'a.npy')).toThrow(/header has 3000000 bytes|header ends/);
});

test('an array of no rows and any number of columns takes no memory', async () => {
  const dict = "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 4000000000), }".padEnd(117);
  const file = Uint8Array.from(`\x93NUMPY\x01\x00\x76\x00${dict}\n`, (c) => c.charCodeAt(0));
  const matrix = await openNpy(rangesOf(file, 'a.npy'));
  expect([matrix.length, matrix.width, await matrix.rows(0, 0)]).toEqual([0, 4e9, new Float32Array(0)]);
});

test('damaged files give what they hold or a DataError', async () => {
  for (const name of ['cube_fortran.npy', 'bytes.npy', 'bigendian_text.npy', 'cube_f2.npy'] as const)
    await fuzz(
      async (bytes) => {
        readNpyArray(bytes, 'a.npy');
        const matrix = await openNpy(rangesOf(bytes, 'a.npy'));
        await matrix.rows(0, matrix.length);
      },
      numpy(name),
      'a.npy',
    );
});

const shared = new URL('../../../shared/data/formats/numpy/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no NumPy files under ${shared.pathname}`);
describe.skipIf(!present)('files of NumPy 1.24', () => {
  const files = present
    ? (JSON.parse(readFileSync(new URL('expected.json', shared), 'utf8')).files as Record<string, Expected>)
    : {};
  interface Expected {
    dtype: string;
    shape: number[];
    values: unknown;
  }
  test.each(Object.keys(files).filter((f) => f.endsWith('.npy')))('%s', async (name) => {
    const { dtype, shape, values } = files[name]!;
    const bytes = new Uint8Array(readFileSync(new URL(name, shared)));
    const flat = [values].flat(10);
    expect(await describeNpy(rangesOf(bytes, name))).toEqual({ type: dtype, shape });
    if (dtype.includes('U')) {
      expect(readNpyText(bytes)).toEqual({ dtype: 'text', shape, data: flat });
      return;
    }
    const numbers = flat.map(Number);
    expect([...readNpyWide(bytes).data]).toEqual(numbers);
    const f32 = [...Float32Array.from(numbers)];
    const matrix = await openNpy(rangesOf(bytes, name));
    expect([...(await matrix.rows(0, matrix.length))]).toEqual(f32);
    if (name === 'i8_scalar.npy') expect(() => readNpy(bytes, name)).toThrow(/does not fit i32/);
    else expect(readNpy(bytes)).toMatchObject({ shape, data: { length: f32.length } });
    if (name !== 'i8_scalar.npy') expect([...readNpy(bytes).data]).toEqual(f32);
  });
});
