/** Arrays that test/reference/npz.py has the library write and NumPy read. */
import type { NpyArray } from '../../src/weights/npy.ts';

export const npzArrays: readonly (readonly [string, NpyArray])[] = [
  ['embeddings', { dtype: 'f32', shape: [4, 3], data: Float32Array.from({ length: 12 }, (_, i) => i / 8 - 1) }],
  ['labels', { dtype: 'i32', shape: [4], data: Int32Array.of(0, 1, -1, 2 ** 31 - 1) }],
  ['names', { dtype: 'text', shape: [4], data: ['a/b.jpg', 'Änne_0002', '', '\u{1f600}x'] }],
  ['same', { dtype: 'bool', shape: [2, 1], data: Uint8Array.of(1, 0) }],
  ['pixels', { dtype: 'u8', shape: [2, 2, 3], data: Uint8Array.from({ length: 12 }, (_, i) => i) }],
  ['scalar', { dtype: 'f32', shape: [], data: Float32Array.of(2.5) }],
  ['none', { dtype: 'f32', shape: [0, 128], data: new Float32Array(0) }],
  ['../up', { dtype: 'i32', shape: [1], data: Int32Array.of(1) }],
];
