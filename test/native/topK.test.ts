/** Top-k against a sort of each row. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { topKWasm } from '../../native/topK.ts';
import { keyOf, uniform } from '../../src/core/random.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict } from '../helpers/kernelRunner.ts';

const runners = [new KernelRunner(narrowRelaxed, 512), new BackwardRunner(narrowStrict, 512)];

function check(x: Float32Array, rows: number, n: number, k: number): void {
  const order = (row: Float32Array) => {
    const rank = (v: number) => (Number.isNaN(v) ? 1 : 0);
    const greater = (a: number, b: number) => rank(b) - rank(a) || (rank(a) ? 0 : a > b ? -1 : a < b ? 1 : 0);
    return Array.from(row, (_, i) => i).sort((i, j) => greater(row[i]!, row[j]!) || i - j);
  };
  const expected = Array.from({ length: rows }, (_, r) =>
    order(x.subarray(r * n, (r + 1) * n))
      .slice(0, k)
      .map((i) => ({ i, v: x[r * n + i]! })),
  ).flat();
  for (const runner of runners) {
    const shape = [rows, k];
    const out = [{ shape }, { shape, dtype: 'i32' as const }];
    const [values, indices] = runGuarded(topKWasm, [{ data: x, shape: [rows, n] }], out, { k }, runner);
    expect(Array.from(indices!)).toEqual(expected.map((p) => p.i));
    expect(Array.from(values!)).toEqual(expected.map((p) => p.v));
  }
}

it('random rows, k from 1 to the row length', () => {
  for (const n of [1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 100])
    for (const k of new Set([1, 2, 3, n >> 1, n - 1, n].filter((k) => k >= 1 && k <= n)))
      check(uniform(keyOf(n * 101 + k), 5 * n), 5, n, k);
});

it('ties, signed zeros, infinities and NaN', () => {
  const value = fc.constantFrom(0, -0, 1, -1, 2, -2.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
  const rows = fc.integer({ min: 1, max: 40 }).chain((n) =>
    fc.record({
      x: fc.array(fc.array(value, { minLength: n, maxLength: n }), { minLength: 1, maxLength: 4 }),
      k: fc.integer({ min: 1, max: n }),
    }),
  );
  fc.assert(
    fc.property(rows, ({ x, k }) => check(Float32Array.from(x.flat()), x.length, x[0]!.length, k)),
    { numRuns: 200 },
  );
});

it('rising, falling and long rows over several chunks', () => {
  check(
    Float32Array.from({ length: 3000 }, (_, i) => i),
    1,
    3000,
    50,
  );
  check(
    Float32Array.from({ length: 3000 }, (_, i) => -i),
    1,
    3000,
    3000,
  );
  check(uniform(keyOf(5), 40 * 1000), 40, 1000, 5);
});

it('leaves out what is empty', () => {
  const out = [{ shape: [0, 2] }, { shape: [0, 2], dtype: 'i32' as const }];
  const [v] = runGuarded(topKWasm, [{ data: new Float32Array(0), shape: [0, 5] }], out, { k: 2 }, runners[0]!);
  expect(v!.length).toBe(0);
});
