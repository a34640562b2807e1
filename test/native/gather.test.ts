/** Indexing kernels against plain loops, to the bit: scatter sums follow the order of the indices. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gatherAlongWasm, gatherWasm, oneHotWasm, scatterAddAlongWasm, scatterAddWasm } from '../../native/gather.ts';
import { type Data, type DType, hostArray } from '../../src/core/dtype.ts';
import { keyOf, threefry } from '../../src/core/random.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict } from '../helpers/kernelRunner.ts';

const runners = [new KernelRunner(narrowRelaxed, 1024), new BackwardRunner(narrowStrict, 1024)];
const product = (shape: readonly number[]) => shape.reduce((p, n) => p * n, 1);

function random(dtype: DType, n: number, seed: number): Data {
  const x = hostArray(dtype, n);
  for (let i = 0; i < n; i++) {
    const word = threefry(keyOf(seed), i, 0)[0];
    x[i] = dtype === 'f32' ? (word / 2 ** 32 - 0.5) * 10 ** (word % 5) : dtype === 'bool' ? word & 1 : word | 0;
  }
  return x;
}
/** Mostly inside [0, size), some just outside and far outside. */
function randomIndices(n: number, size: number, seed: number): Int32Array {
  return Int32Array.from({ length: n }, (_, i) => {
    const [a, b] = threefry(keyOf(seed), i, 7);
    if (a % 11 === 0) return [-1, size, -(2 ** 31), 2 ** 31 - 1][b % 4]!;
    return size > 0 ? b % size : 0;
  });
}
const missing = (dtype: DType) => (dtype === 'f32' ? Number.NaN : 0);
const add = (dtype: DType, a: number, b: number) => (dtype === 'f32' ? Math.fround(a + b) : (a + b) | 0);

function same(actual: Data, expected: Data): void {
  const i = expected.findIndex((v, j) => !Object.is(v, actual[j]));
  if (i >= 0 || actual.length !== expected.length)
    expect.fail(`element ${i} of ${expected.length}: ${actual[i]} instead of ${expected[i]}`);
}

interface Case {
  before: number[];
  size: number;
  after: number[];
  count: number[];
  dtype: DType;
  seed: number;
}

function checkGather({ before, size, after, count, dtype, seed }: Case): void {
  const [outer, inner, n] = [product(before), product(after), product(count)];
  const x = random(dtype, outer * size * inner, seed);
  const index = randomIndices(n, size, seed + 1);
  const expected = hostArray(dtype, outer * n * inner);
  for (let o = 0; o < outer; o++)
    for (let k = 0; k < n; k++)
      for (let j = 0; j < inner; j++) {
        const a = index[k]!;
        expected[(o * n + k) * inner + j] = a >= 0 && a < size ? x[(o * size + a) * inner + j]! : missing(dtype);
      }
  for (const runner of runners) {
    const [y] = runGuarded(
      gatherWasm,
      [
        { data: x, shape: [...before, size, ...after], dtype },
        { data: index, shape: count, dtype: 'i32' },
      ],
      [{ shape: [...before, ...count, ...after], dtype }],
      { axis: before.length },
      runner,
    );
    same(y!, expected);
  }
}

function checkScatter({ before, size, after, count, dtype, seed }: Case): void {
  const [outer, inner, n] = [product(before), product(after), product(count)];
  const u = random(dtype, outer * n * inner, seed);
  const index = randomIndices(n, size, seed + 1);
  const expected = hostArray(dtype, outer * size * inner);
  for (let o = 0; o < outer; o++)
    for (let k = 0; k < n; k++)
      for (let j = 0; j < inner; j++) {
        const a = index[k]!;
        if (a < 0 || a >= size) continue;
        const to = (o * size + a) * inner + j;
        expected[to] = add(dtype, expected[to]!, u[(o * n + k) * inner + j]!);
      }
  for (const runner of runners) {
    const [y] = runGuarded(
      scatterAddWasm,
      [
        { data: index, shape: count, dtype: 'i32' },
        { data: u, shape: [...before, ...count, ...after], dtype },
      ],
      [{ shape: [...before, size, ...after], dtype }],
      { axis: before.length, size },
      runner,
    );
    same(y!, expected);
  }
}

function checkAlong({ before, size, after, count: [n = 1], dtype, seed }: Case): void {
  const [outer, inner] = [product(before), product(after)];
  const axis = before.length;
  const small = [...before, n, ...after];
  const large = [...before, size, ...after];
  const x = random(dtype, outer * size * inner, seed);
  const u = random(dtype, outer * n * inner, seed + 2);
  const index = randomIndices(outer * n * inner, size, seed + 1);
  const gathered = hostArray(dtype, u.length);
  const scattered = hostArray(dtype, x.length);
  for (let o = 0; o < outer; o++)
    for (let k = 0; k < n; k++)
      for (let j = 0; j < inner; j++) {
        const i = (o * n + k) * inner + j;
        const a = index[i]!;
        const inside = a >= 0 && a < size;
        const at = (o * size + a) * inner + j;
        gathered[i] = inside ? x[at]! : missing(dtype);
        if (inside) scattered[at] = add(dtype, scattered[at]!, u[i]!);
      }
  for (const runner of runners) {
    const i = { data: index, shape: small, dtype: 'i32' as const };
    const [g] = runGuarded(
      gatherAlongWasm,
      [{ data: x, shape: large, dtype }, i],
      [{ shape: small, dtype }],
      { axis },
      runner,
    );
    same(g!, gathered);
    if (dtype !== 'f32' && dtype !== 'i32') continue;
    const [s] = runGuarded(
      scatterAddAlongWasm,
      [i, { data: u, shape: small, dtype }],
      [{ shape: large, dtype }],
      { axis, size },
      runner,
    );
    same(s!, scattered);
  }
}

const cases = (dtypes: DType[], ranks: { minLength: number; maxLength: number }) =>
  fc.record({
    before: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 2 }),
    size: fc.integer({ min: 1, max: 20 }),
    after: fc.array(fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 17, 33), { maxLength: 2 }),
    count: fc.array(fc.integer({ min: 0, max: 12 }), ranks),
    dtype: fc.constantFrom(...dtypes),
    seed: fc.nat({ max: 1000 }),
  });
const runs = { numRuns: 200 };
const anyRank = { minLength: 0, maxLength: 2 };

describe('gather', () => {
  it('gather', () => fc.assert(fc.property(cases(['f32', 'i32', 'u8', 'bool'], anyRank), checkGather), runs));
  it('scatterAdd', () => fc.assert(fc.property(cases(['f32', 'i32'], anyRank), checkScatter), runs));
  it('gatherAlong and scatterAddAlong', () =>
    fc.assert(fc.property(cases(['f32', 'i32', 'u8', 'bool'], { minLength: 1, maxLength: 1 }), checkAlong), runs));

  it.each([
    { before: [], size: 300, after: [512], count: [64] },
    { before: [], size: 300, after: [129], count: [700] },
    { before: [], size: 5001, after: [], count: [9000] },
    { before: [], size: 3001, after: [3], count: [9000] },
    { before: [], size: 2, after: [16], count: [20000] },
    { before: [40], size: 1000, after: [], count: [30] },
    { before: [3, 5], size: 7, after: [33, 70], count: [20] },
  ])('crosses chunk borders: %j', (c) => {
    const full = { ...c, dtype: 'f32' as const, seed: 3 };
    checkGather(full);
    checkScatter(full);
    checkAlong(full);
  });

  it('oneHot', () => {
    for (const [rows, depth] of [
      [1, 1],
      [3, 5],
      [17, 4],
      [300, 129],
      [2, 40000],
    ] as const) {
      const index = randomIndices(rows, depth, rows);
      const expected = new Float32Array(rows * depth);
      index.forEach((a, r) => {
        if (a >= 0 && a < depth) expected[r * depth + a] = 1;
      });
      for (const runner of runners) {
        const input = { data: index, shape: [rows], dtype: 'i32' as const };
        const [y] = runGuarded(oneHotWasm, [input], [{ shape: [rows, depth] }], { depth }, runner);
        same(y!, expected);
      }
    }
  });
});
