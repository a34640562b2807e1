/** Movement kernels against index arithmetic in plain JS, to the bit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { at, type Lowering } from '../../native/lower.ts';
import {
  broadcastToWasm,
  castWasm,
  concatWasm,
  fillWasm,
  flipWasm,
  iotaWasm,
  padWasm,
  type StridedCopy,
  sliceWasm,
  stridedCopy,
  transposeWasm,
} from '../../native/movement.ts';
import { type Data, type DType, hostArray } from '../../src/core/dtype.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict } from '../helpers/kernelRunner.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((p, n) => p * n, 1);
/** Strict and last chunk first here, relaxed and first chunk first in the fuzz of strides. */
const runner = new BackwardRunner(narrowStrict, 1024);

function numbered(dtype: DType, n: number, salt = 0): Data {
  const x = hostArray(dtype, n);
  for (let i = 0; i < n; i++) x[i] = dtype === 'bool' ? (i * 7 + salt) & 1 : i * 3 + salt + 1;
  return x;
}
/** All index tuples of a shape in row-major order. */
function* places(shape: readonly number[]): Generator<number[]> {
  const at = shape.map(() => 0);
  for (let n = sizeOf(shape); n > 0; n--) {
    yield at;
    for (let k = shape.length - 1; k >= 0; k--) {
      if (++at[k]! < shape[k]!) break;
      at[k] = 0;
    }
  }
}
const flat = (at: readonly number[], shape: readonly number[]) => at.reduce((sum, i, k) => sum * shape[k]! + i, 0);
/** y[place] = from(place) for every place. */
function build(dtype: DType, shape: readonly number[], from: (at: number[]) => number): Data {
  const y = hostArray(dtype, sizeOf(shape));
  let i = 0;
  for (const at of places(shape)) y[i++] = from(at);
  return y;
}
function same(actual: Data, expected: Data): void {
  const i = expected.findIndex((v, j) => !Object.is(v, actual[j]));
  if (i >= 0 || actual.length !== expected.length)
    expect.fail(`element ${i} of ${expected.length}: ${actual[i]} instead of ${expected[i]}`);
}

const dtypes = fc.constantFrom<DType>('f32', 'i32', 'u8', 'bool');
/** Mostly small dimensions, with the tails of the vector and tile sizes among them. */
const extent = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33);
const shapes = (maxRank: number) =>
  fc.array(extent, { minLength: 0, maxLength: maxRank }).filter((s) => sizeOf(s) <= 40000);
const runs = { numRuns: 150 };

describe('strided copy', () => {
  it('moves any shape and strides, and nothing else', () => {
    fc.assert(
      fc.property(
        shapes(8).chain((dims) =>
          fc.record({
            dims: fc.constant(dims),
            order: fc.shuffledSubarray(
              dims.map((_, k) => k),
              { minLength: dims.length },
            ),
            srcStrides: fc.tuple(...dims.map(() => fc.integer({ min: -40, max: 40 }))),
            backward: fc.tuple(...dims.map(() => fc.boolean())),
            gap: fc.integer({ min: 1, max: 3 }),
            bytes: fc.constantFrom<1 | 4>(1, 4),
          }),
        ),
        ({ dims, order, srcStrides, backward, gap, bytes }) => {
          // Distinct destination places: row-major in a random order of the dimensions, with two gaps at most.
          const dstStrides = dims.map(() => 0);
          let n = 1;
          order.forEach((k, i) => {
            n *= i === 1 || i === 3 ? gap : 1;
            dstStrides[k] = backward[k] ? -n : n;
            n *= dims[k]!;
          });
          const reach = (strides: readonly number[]) => {
            const ends = strides.map((s, k) => s * (dims[k]! - 1));
            const low = -ends.reduce((a, b) => a + Math.min(b, 0), 0);
            return { low, size: low + ends.reduce((a, b) => a + Math.max(b, 0), 0) + 1 };
          };
          const [from, to] = [reach(srcStrides), reach(dstStrides)];
          const dtype = bytes === 4 ? 'f32' : 'u8';
          const x = numbered(dtype, from.size);
          const expected = hostArray(dtype, to.size);
          new Uint8Array(expected.buffer).fill(0xa5);
          for (const at of places(dims)) {
            const place = (strides: readonly number[]) => at.reduce((sum, i, k) => sum + i * strides[k]!, 0);
            expected[to.low + place(dstStrides)] = x[from.low + place(srcStrides)]!;
          }
          const lower: Lowering<Omit<StridedCopy, 'dst' | 'src'>> = (e, [a], [b], attrs) =>
            stridedCopy(e, {
              ...attrs,
              src: { id: a!.buffer.id, offset: from.low * bytes },
              dst: at(b!.buffer, to.low * bytes),
            });
          const [y] = runGuarded(
            lower,
            [{ data: x, shape: [from.size], dtype }],
            [{ shape: [to.size], dtype }],
            { dims, srcStrides, dstStrides, elementBytes: bytes },
            new KernelRunner(narrowRelaxed, 16),
          );
          same(y!, expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([
    [
      [300, 400],
      [1, 0],
    ],
    [
      [128 * 2 + 1, 127],
      [1, 0],
    ],
    [
      [2, 131, 257],
      [0, 2, 1],
    ],
    [[70000], [0]],
    [
      [16, 16384],
      [1, 0],
    ],
    [
      [17, 16384],
      [1, 0],
    ],
    [
      [1100, 257],
      [1, 0],
    ],
    [
      [1100, 256],
      [1, 0],
    ],
    [
      [256, 1101],
      [1, 0],
    ],
    [
      [2, 525, 512],
      [0, 2, 1],
    ],
    [
      [3, 33000, 2],
      [1, 0, 2],
    ],
    [
      [33000, 5, 3],
      [1, 2, 0],
    ],
    [
      [2, 7, 64, 50],
      [0, 2, 3, 1],
    ],
  ])('crosses chunk borders: %j by axes %j', (shape, axes) => {
    for (const dtype of ['f32', 'u8'] as const) {
      const x = numbered(dtype, sizeOf(shape));
      const to = axes.map((a) => shape[a]!);
      const [y] = runGuarded(transposeWasm, [{ data: x, shape, dtype }], [{ shape: to, dtype }], { axes }, runner);
      same(
        y!,
        build(dtype, to, (at) => {
          const from: number[] = [];
          axes.forEach((a, k) => {
            from[a] = at[k]!;
          });
          return x[flat(from, shape)]!;
        }),
      );
    }
  });
});

describe('movement ops', () => {
  it('transpose', () => {
    fc.assert(
      fc.property(
        shapes(5).chain((shape) =>
          fc.record({
            shape: fc.constant(shape),
            axes: fc.shuffledSubarray(
              shape.map((_, k) => k),
              { minLength: shape.length },
            ),
            dtype: dtypes,
          }),
        ),
        ({ shape, axes, dtype }) => {
          const x = numbered(dtype, sizeOf(shape));
          const to = axes.map((a) => shape[a]!);
          const [y] = runGuarded(transposeWasm, [{ data: x, shape, dtype }], [{ shape: to, dtype }], { axes }, runner);
          same(
            y!,
            build(dtype, to, (at) => {
              const from: number[] = [];
              axes.forEach((a, k) => {
                from[a] = at[k]!;
              });
              return x[flat(from, shape)]!;
            }),
          );
        },
      ),
      runs,
    );
  });

  it('slice with steps of either sign', () => {
    fc.assert(
      fc.property(
        shapes(4).chain((shape) =>
          fc.record({
            shape: fc.constant(shape),
            dtype: dtypes,
            cuts: fc.tuple(
              ...shape.map((n) =>
                fc.record({
                  start: fc.integer({ min: 0, max: n - 1 }),
                  stop: fc.integer({ min: -1, max: n }),
                  step: fc.constantFrom(1, 1, 2, 3, -1, -2),
                }),
              ),
            ),
          }),
        ),
        ({ shape, cuts, dtype }) => {
          const x = numbered(dtype, sizeOf(shape));
          const starts = cuts.map((c) => c.start);
          const ends = cuts.map((c) => (c.step > 0 ? Math.max(c.stop, 0) : Math.min(c.stop, c.start)));
          const steps = cuts.map((c) => c.step);
          const to = starts.map((s, k) => Math.max(0, Math.ceil((ends[k]! - s) / steps[k]!)));
          const [y] = runGuarded(
            sliceWasm,
            [{ data: x, shape, dtype }],
            [{ shape: to, dtype }],
            { starts, ends, steps },
            runner,
          );
          const pick = (at: number[]) =>
            x[
              flat(
                at.map((i, k) => starts[k]! + i * steps[k]!),
                shape,
              )
            ]!;
          same(y!, build(dtype, to, pick));
        },
      ),
      runs,
    );
  });

  it('flip', () => {
    fc.assert(
      fc.property(
        shapes(4).chain((shape) =>
          fc.record({ shape: fc.constant(shape), axes: fc.subarray(shape.map((_, k) => k)), dtype: dtypes }),
        ),
        ({ shape, axes, dtype }) => {
          const x = numbered(dtype, sizeOf(shape));
          const [y] = runGuarded(flipWasm, [{ data: x, shape, dtype }], [{ shape, dtype }], { axes }, runner);
          const pick = (at: number[]) =>
            x[
              flat(
                at.map((i, k) => (axes.includes(k) ? shape[k]! - 1 - i : i)),
                shape,
              )
            ]!;
          same(y!, build(dtype, shape, pick));
        },
      ),
      runs,
    );
  });

  it('concat, empty parts among them', () => {
    fc.assert(
      fc.property(
        shapes(4)
          .filter((s) => s.length > 0)
          .chain((shape) =>
            fc.record({
              shape: fc.constant(shape),
              axis: fc.nat({ max: shape.length - 1 }),
              parts: fc.array(fc.nat({ max: 9 }), { minLength: 1, maxLength: 4 }),
              dtype: dtypes,
            }),
          ),
        ({ shape, axis, parts, dtype }) => {
          const of = (n: number) => shape.map((m, k) => (k === axis ? n : m));
          const inputs = parts.map((n, i) => ({ data: numbered(dtype, sizeOf(of(n)), 1000 * i), shape: of(n), dtype }));
          const to = of(parts.reduce((a, b) => a + b, 0));
          const [y] = runGuarded(concatWasm, inputs, [{ shape: to, dtype }], { axis }, runner);
          const pick = (at: number[]) => {
            let i = at[axis]!;
            let p = 0;
            while (i >= parts[p]!) i -= parts[p++]!;
            return inputs[p]!.data[
              flat(
                at.map((a, k) => (k === axis ? i : a)),
                inputs[p]!.shape,
              )
            ]!;
          };
          same(y!, build(dtype, to, pick));
        },
      ),
      runs,
    );
  });

  it('pad, and crop where pads are negative', () => {
    fc.assert(
      fc.property(
        shapes(4).chain((shape) =>
          fc.record({
            shape: fc.constant(shape),
            dtype: dtypes,
            value: fc.constantFrom(0, 1, 7),
            pads: fc.tuple(
              ...shape.map((n) =>
                fc
                  .tuple(fc.integer({ min: -3, max: 5 }), fc.integer({ min: -3, max: 5 }))
                  .filter(([a, b]) => n + a + b >= 0),
              ),
            ),
          }),
        ),
        ({ shape, pads, value, dtype }) => {
          const x = numbered(dtype, sizeOf(shape));
          const to = shape.map((n, k) => n + pads[k]![0] + pads[k]![1]);
          const [y] = runGuarded(padWasm, [{ data: x, shape, dtype }], [{ shape: to, dtype }], { pads, value }, runner);
          const pick = (at: number[]) => {
            const from = at.map((i, k) => i - pads[k]![0]);
            const inside = from.every((i, k) => i >= 0 && i < shape[k]!);
            return inside ? x[flat(from, shape)]! : dtype === 'bool' ? Number(value !== 0) : value;
          };
          same(y!, build(dtype, to, pick));
        },
      ),
      runs,
    );
  });
  it('broadcastTo', () => {
    fc.assert(
      fc.property(
        shapes(5).chain((shape) =>
          fc.record({
            shape: fc.constant(shape),
            ones: fc.tuple(...shape.map(() => fc.boolean())),
            lead: fc.nat({ max: shape.length }),
            dtype: dtypes,
          }),
        ),
        ({ shape, ones, lead, dtype }) => {
          const from = shape.map((n, k) => (ones[k] ? 1 : n)).slice(lead);
          const x = numbered(dtype, sizeOf(from));
          const [y] = runGuarded(broadcastToWasm, [{ data: x, shape: from, dtype }], [{ shape, dtype }], {}, runner);
          const pick = (at: number[]) =>
            x[
              flat(
                at.slice(lead).map((i, k) => (from[k] === 1 ? 0 : i)),
                from,
              )
            ]!;
          same(y!, build(dtype, shape, pick));
        },
      ),
      runs,
    );
  });

  it('fill and iota', () => {
    for (const n of [0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 16383, 16385, 70001]) {
      for (const [dtype, value] of [
        ['f32', -1.5],
        ['f32', Number.NaN],
        ['i32', -7],
        ['u8', 200],
        ['bool', 1],
      ] as const) {
        const [y] = runGuarded(fillWasm, [], [{ shape: [n], dtype }], { value }, runner);
        same(y!, hostArray(dtype, n).fill(value));
      }
      const [y] = runGuarded(iotaWasm, [], [{ shape: [n], dtype: 'i32' }], { start: -3 }, runner);
      same(
        y!,
        Int32Array.from({ length: n }, (_, i) => i - 3),
      );
    }
  });

  it('cast', () => {
    const odd = [0, -0, 0.5, -0.5, 0.999, 1, -1, 1.5, -1.5, 254.9, 255, 255.5, 256, 1e10, -1e10, 2147483520, 16777217];
    const nonFinite = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-40];
    const values: Record<DType, Data> = {
      f32: Float32Array.from([...odd, ...nonFinite]),
      i32: Int32Array.from([0, 1, -1, 255, 256, 127, -128, 2147483647, -2147483648, 16777217, -16777219]),
      u8: Uint8Array.from([0, 1, 2, 127, 128, 254, 255]),
      bool: Uint8Array.from([0, 1, 1]),
    };
    const clamp = (x: number, lo: number, hi: number) =>
      Number.isNaN(x) ? 0 : Math.min(hi, Math.max(lo, Math.trunc(x)));
    const convert: Record<DType, (x: number) => number> = {
      f32: Math.fround,
      i32: (x) => clamp(x, -(2 ** 31), 2 ** 31 - 1) + 0,
      u8: (x) => clamp(x, 0, 255),
      bool: (x) => Number(x !== 0),
    };
    for (const mode of [narrowRelaxed, narrowStrict]) {
      const r = new KernelRunner(mode, 64);
      for (const from of ['f32', 'i32', 'u8', 'bool'] as const)
        for (const to of ['f32', 'i32', 'u8', 'bool'] as const)
          for (const n of [1, 2, 15, 16, 17, 33, 100, ...(from === 'f32' ? [16384 + 17] : [])]) {
            const x = hostArray(from, n).map((_, i) => values[from][i % values[from].length]!) as Data;
            const [y] = runGuarded(
              castWasm,
              [{ data: x, shape: [n], dtype: from }],
              [{ shape: [n], dtype: to }],
              { to },
              r,
            );
            const expected = hostArray(to, n);
            for (let i = 0; i < n; i++) expected[i] = convert[to](x[i]!);
            same(y!, expected);
          }
    }
  });
});
