/** Random kernels against the generator in plain JS, to the bit. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomBitsWasm, randomUniformWasm } from '../../native/random.ts';
import { fold, type Key, keyOf, threefry, uniform } from '../../src/core/random.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict } from '../helpers/kernelRunner.ts';

const runners = [new KernelRunner(narrowRelaxed), new BackwardRunner(narrowStrict)];
const draw = (
  lower: typeof randomBitsWasm,
  key: Key,
  n: number,
  dtype: 'f32' | 'i32',
  runner: KernelRunner,
  stream?: number,
) =>
  runGuarded(
    lower,
    [{ data: Int32Array.from(key, (w) => w | 0), shape: [2], dtype: 'i32' }],
    [{ shape: [n], dtype }],
    stream === undefined ? {} : { stream },
    runner,
  )[0]!;

it.each([0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 8191, 8192, 8193, 20001])('%i uniforms and words', (n) => {
  for (const runner of runners)
    for (const key of [
      keyOf(0),
      keyOf(2 ** 40 + 17),
      fold(keyOf(1), 'head.dropout'),
      [0xffffffff, 0x80000000] as Key,
    ]) {
      expect(draw(randomUniformWasm, key, n, 'f32', runner)).toEqual(uniform(key, n));
      expect(draw(randomBitsWasm, key, n, 'i32', runner)).toEqual(
        Int32Array.from({ length: n }, (_, i) => threefry(key, i, 0)[0] | 0),
      );
    }
});

it('any key', () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(word, word, fc.nat({ max: 40 }), (a, b, n) => {
      expect(draw(randomUniformWasm, [a, b], n, 'f32', runners[0]!)).toEqual(uniform([a, b], n));
    }),
  );
});

it('streams are the second word of the counter', () => {
  const key = fold(keyOf(3), 'dropout');
  for (const stream of [1, 2 ** 31, 0xffffffff])
    expect(draw(randomBitsWasm, key, 17, 'i32', runners[0]!, stream)).toEqual(
      Int32Array.from({ length: 17 }, (_, i) => threefry(key, i, stream)[0] | 0),
    );
});
