/** Movement on the GPU against plain loops, to the bit: every dtype, odd sizes, and the shapes that take tiles and vectors. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DType } from '../../src/core/dtype.ts';
import { sizeOf } from '../../src/core/shape.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { concat, flip, iota, pad, transpose, zeros } from '../../src/ops/index.ts';
import { padOp, repeatOp, sliceOp } from '../../src/ops/movement.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { bitComplaints, problem, randomHost } from '../helpers/gpuProblems.ts';
import type { Problem } from '../ops/harness.ts';

const dtype = fc.constantFrom<DType>('f32', 'i32', 'u8', 'bool');
const extent = fc.constantFrom(1, 2, 3, 4, 5, 8, 12, 16, 17, 33);
const shape = fc.array(extent, { minLength: 1, maxLength: 5 }).filter((s) => sizeOf(s) <= 5000);
const seed = fc.nat({ max: 1000 });
const perAxis = <T>(s: readonly number[], arb: (n: number) => fc.Arbitrary<T>) => fc.tuple(...s.map(arb));

type Make = (name: string) => Problem;
const one = (s: readonly number[], d: DType, from: number, label: string, build: (x: Tensor) => Tensor): Make => {
  const x = randomHost(d, s, from);
  return (name) => problem(`${name} ${label} ${d}[${s}]`, [x], (t) => [build(t)]);
};

const transposes = fc.tuple(shape, dtype, seed).chain(([s, d, from]) =>
  fc
    .shuffledSubarray(
      s.map((_, k) => k),
      { minLength: s.length },
    )
    .map((axes) => one(s, d, from, `by ${axes}`, (x) => transpose(x, axes))),
);
const slices = fc.tuple(shape, dtype, seed).chain(([s, d, from]) =>
  perAxis(s, (n) => fc.tuple(fc.integer({ min: 0, max: n - 1 }), fc.nat({ max: n }), fc.constantFrom(1, 1, 2, 3))).map(
    (cuts) => {
      const starts = cuts.map(([a]) => a);
      const ends = cuts.map(([a, b]) => Math.max(a, b));
      const steps = cuts.map(([, , c]) => c);
      return one(
        s,
        d,
        from,
        `${starts} to ${ends} by ${steps}`,
        (x) => sliceOp.apply([x], { starts, ends, steps })[0]!,
      );
    },
  ),
);
const flips = fc
  .tuple(shape, dtype, seed)
  .chain(([s, d, from]) =>
    fc.subarray(s.map((_, k) => k)).map((axes) => one(s, d, from, `along ${axes}`, (x) => flip(x, axes))),
  );
const pads = fc.tuple(shape, dtype, seed, fc.constantFrom(0, -1, 1, 7, Number.NaN, 300)).chain(([s, d, from, wanted]) =>
  perAxis(s, () => fc.tuple(fc.constantFrom(0, 0, 1, 4), fc.constantFrom(0, 0, 2, 4))).map((by) => {
    const value = d === 'f32' ? wanted : wanted === 1 || d === 'i32' ? wanted || 0 : 0;
    return one(s, d, from, `${by.join(' ')} with ${value}`, (x) => padOp.apply([x], { pads: by, value })[0]!);
  }),
);
const concats = fc
  .tuple(shape, dtype, seed, fc.array(fc.constantFrom(0, 1, 2, 3, 4, 8, 13), { minLength: 2, maxLength: 4 }))
  .chain(([s, d, from, sizes]) =>
    fc.nat({ max: s.length - 1 }).map((axis): Make => {
      const shapes = sizes.map((n) => s.map((m, k) => (k === axis ? n : m)));
      const inputs = shapes.map((t, k) => randomHost(d, t, from + k));
      return (name) => problem(`${name} ${d}[${s}] along ${axis}: ${sizes}`, inputs, (...xs) => [concat(xs, axis)]);
    }),
  );
const repeats = fc.tuple(shape, dtype, seed).chain(([s, d, from]) =>
  perAxis(s, () => fc.boolean()).map((keep) => {
    const small = s.map((n, k) => (keep[k] ? n : 1));
    const inner = small.slice(small.findIndex((n) => n !== 1));
    return one(inner.length ? inner : [1], d, from, `to ${s}`, (x) => repeatOp.apply([x], { shape: s })[0]!);
  }),
);

describe.runIf(runGpu)('movement on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  it.each([
    ['transpose', transposes],
    ['slice', slices],
    ['flip', flips],
    ['pad', pads],
    ['concat', concats],
    ['repeat', repeats],
  ] as const)('%s', async (name, cases) => {
    const problems = fc.sample(cases, 40).map((make, i) => make(`${name} ${i}`));
    expect(await bitComplaints(device, problems)).toEqual([]);
  });

  it.each([
    [
      [300, 400],
      [1, 0],
    ],
    [
      [33, 31],
      [1, 0],
    ],
    [
      [2, 131, 257],
      [0, 2, 1],
    ],
    [
      [3, 64, 5, 96],
      [2, 3, 0, 1],
    ],
    [
      [40, 3, 40],
      [2, 1, 0],
    ],
    [
      [2, 7, 64, 50],
      [0, 2, 3, 1],
    ],
    [
      [300, 7, 8],
      [1, 0, 2],
    ],
  ])('transposes %j by axes %j', async (s, axes) => {
    const problems = (['f32', 'u8'] as const).map((d, i) => one(s, d, i, 'large', (x) => transpose(x, axes))(d));
    expect(await bitComplaints(device, problems)).toEqual([]);
  });

  it('fills, counts and pads empty tensors', async () => {
    const none = randomHost('f32', [0, 3], 1);
    const problems = [
      problem('zeros', [], () => [zeros([7, 3]), zeros([4]), zeros([0])]),
      problem('iota', [], () => [iota([3, 7], -4), iota([1]), iota([0])]),
      problem('pad', [none], (x) => [
        pad(
          x,
          [
            [2, 1],
            [0, 1],
          ],
          -3,
        ),
      ]),
    ];
    expect(await bitComplaints(device, problems)).toEqual([]);
  });
});
