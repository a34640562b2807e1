/** Indexing on the GPU against plain loops, to the bit: sums in index order, indices outside, every dtype. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DType } from '../../src/core/dtype.ts';
import { keyOf, threefry } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { host } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { gather, gatherAlong, oneHot, scatterAdd, scatterAddAlong } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { bitComplaints, problem, randomHost } from '../helpers/gpuProblems.ts';
import type { Problem } from '../ops/harness.ts';

/** Mostly inside [0, size), some just outside and far outside. */
function randomIndices(shape: readonly number[], size: number, seed: number) {
  const data = Int32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const [a, b] = threefry(keyOf(seed), i, 7);
    return a % 11 === 0 ? [-1, size, -(2 ** 31), 2 ** 31 - 1][b % 4]! : b % size;
  });
  return host(data, shape);
}

interface Case {
  readonly before: readonly number[];
  readonly size: number;
  readonly after: readonly number[];
  readonly count: readonly number[];
  readonly seed: number;
}
const cases = (rank: { minLength: number; maxLength: number }): fc.Arbitrary<Case> =>
  fc.record({
    before: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 2 }),
    size: fc.integer({ min: 1, max: 20 }),
    after: fc.array(fc.constantFrom(1, 2, 3, 4, 5, 8, 17, 32), { maxLength: 2 }),
    count: fc.array(fc.integer({ min: 0, max: 12 }), rank),
    seed: fc.nat({ max: 1000 }),
  });
const anyRank = cases({ minLength: 0, maxLength: 2 });
const oneAxis = cases({ minLength: 1, maxLength: 1 });
const all: readonly DType[] = ['f32', 'i32', 'u8', 'bool'];
const numbers: readonly DType[] = ['f32', 'i32'];
const shown = (name: string, i: number, d: DType, c: Case) => `${name} ${i} ${d} ${JSON.stringify(c)}`;

type Make = (c: Case, d: DType, name: string) => Problem;
const gathers: Make = (c, d, name) =>
  problem(
    name,
    [randomHost(d, [...c.before, c.size, ...c.after], c.seed), randomIndices(c.count, c.size, c.seed + 1)],
    (x, indices) => [gather(x, indices, c.before.length)],
  );
const scatters: Make = (c, d, name) =>
  problem(
    name,
    [randomIndices(c.count, c.size, c.seed + 1), randomHost(d, [...c.before, ...c.count, ...c.after], c.seed, 20)],
    (indices, updates) => [scatterAdd(indices, updates, c.size, c.before.length)],
  );
const gathersAlong: Make = (c, d, name) =>
  problem(
    name,
    [
      randomHost(d, [...c.before, c.size, ...c.after], c.seed),
      randomIndices([...c.before, ...c.count, ...c.after], c.size, c.seed + 1),
    ],
    (x, indices) => [gatherAlong(x, indices, c.before.length)],
  );
const scattersAlong: Make = (c, d, name) => {
  const shape = [...c.before, ...c.count, ...c.after];
  return problem(
    name,
    [randomIndices(shape, c.size, c.seed + 1), randomHost(d, shape, c.seed, 20)],
    (indices, updates) => [scatterAddAlong(indices, updates, c.size, c.before.length)],
  );
};

describe.runIf(runGpu)('indexing on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  it.each([
    ['gather', gathers, anyRank, all],
    ['scatterAdd', scatters, anyRank, numbers],
    ['gatherAlong', gathersAlong, oneAxis, all],
    ['scatterAddAlong', scattersAlong, oneAxis, numbers],
  ] as const)('%s', async (name, make, from, dtypes) => {
    const problems = fc
      .sample(from, 40)
      .map((c, i) => ({ c, d: dtypes[i % dtypes.length]!, i }))
      .map(({ c, d, i }) => make(c, d, shown(name, i, d, c)));
    expect(await bitComplaints(device, problems)).toEqual([]);
  });

  it.each([
    { before: [], size: 300, after: [64], count: [64] },
    { before: [], size: 100, after: [129], count: [300] },
    { before: [], size: 5001, after: [], count: [2000] },
    { before: [], size: 3001, after: [3], count: [2000] },
    { before: [], size: 2, after: [16], count: [5000] },
    { before: [40], size: 1000, after: [], count: [30] },
    { before: [3, 5], size: 7, after: [33, 7], count: [20] },
  ])('crosses workgroups and tiles: %j', async (shape) => {
    const c = { ...shape, seed: 3 };
    const makes = [gathers, scatters, gathersAlong, scattersAlong];
    const problems = makes.map((make, i) => make(c, 'f32', String(i)));
    expect(await bitComplaints(device, problems)).toEqual([]);
  });

  it('oneHot', async () => {
    const problems = (
      [
        [1, 1],
        [3, 5],
        [17, 4],
        [300, 129],
        [2, 40000],
      ] as const
    ).map(([rows, depth]) =>
      problem(`${rows} rows of ${depth}`, [randomIndices([rows], depth, rows)], (x) => [oneHot(x, depth)]),
    );
    expect(await bitComplaints(device, problems)).toEqual([]);
  });
});
