import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { readNpy, writeNpy } from '../../src/weights/npy.ts';

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
