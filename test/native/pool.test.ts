import { describe, expect, it } from 'vitest';
import type { Lowering } from '../../native/lower.ts';
import {
  type AvgPoolAttrs,
  avgPoolGradWasm,
  avgPoolWasm,
  maxPoolGradWasm,
  maxPoolWasm,
  type PoolAttrs,
} from '../../native/pool.ts';
import { keyOf, uniform } from '../../src/core/random.ts';
import { runReversed } from '../helpers/chunkOrder.ts';
import { expectWithin, type Round, sizeOf } from '../helpers/convReference.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering } from '../helpers/kernelRunner.ts';

type Shape4 = readonly [number, number, number, number];
const outOf = ([n, h, w, c]: Shape4, a: PoolAttrs): Shape4 => [
  n,
  Math.floor((h + a.padding[0] + a.padding[1] - a.kernel[0]) / a.stride[0]) + 1,
  Math.floor((w + a.padding[2] + a.padding[3] - a.kernel[1]) / a.stride[1]) + 1,
  c,
];

/** Calls `window` with the output index and the input indices of its window, in row-major order. */
function eachWindow(x: Shape4, a: PoolAttrs, window: (y: number, xs: number[]) => void): void {
  const [n, h, w, c] = x;
  const [, oh, ow] = outOf(x, a);
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let ch = 0; ch < c; ch++) {
          const xs: number[] = [];
          for (let r = 0; r < a.kernel[0]; r++)
            for (let s = 0; s < a.kernel[1]; s++) {
              const [y, v] = [i * a.stride[0] + r - a.padding[0], j * a.stride[1] + s - a.padding[2]];
              if (y >= 0 && y < h && v >= 0 && v < w) xs.push(((b * h + y) * w + v) * c + ch);
            }
          window(((b * oh + i) * ow + j) * c + ch, xs);
        }
}

const random = (shape: readonly number[], seed: number) => uniform(keyOf(seed), sizeOf(shape)).map((u) => 2 * u - 1);
const attrs: PoolAttrs[] = [
  { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] },
  { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] },
  { kernel: [3, 2], stride: [1, 3], padding: [0, 2, 1, 0] },
  { kernel: [1, 1], stride: [2, 2], padding: [0, 0, 0, 0] },
];
const cases = [
  ...[1, 2, 3, 4, 5, 7, 8, 9, 16, 17].map((c) => ({ x: [2, 6, 7, c] as const, a: attrs[1] as PoolAttrs })),
  ...attrs.map((a) => ({ x: [2, 9, 8, 12] as const, a })),
  { x: [2, 7, 7, 128] as const, a: attrs[1] as PoolAttrs },
  { x: [3, 7, 6, 8] as const, a: { kernel: [7, 6], stride: [1, 1], padding: [0, 0, 0, 0] } as PoolAttrs },
];
const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });

describe.each([narrowRelaxed, narrowStrict])('pool (relaxed: $relaxed)', (mode) => {
  const runner = () => new KernelRunner(mode, 16);

  it.each(cases)('max and its gradient, ties included: $x $a', ({ x: shape, a }) => {
    // Few levels, so that windows hold ties.
    const x = random(shape, 1).map((v) => Math.round(3 * v));
    const ys = outOf(shape, a);
    const dy = random(ys, 2);
    const y = new Float32Array(sizeOf(ys));
    const [dx, loop] = [new Float64Array(x.length), new Float64Array(x.length)];
    eachWindow(shape, a, (yi, xs) => {
      const winner = xs.reduce((p, q) => (x[q]! > x[p]! ? q : p));
      y[yi] = x[winner]!;
      dx[winner]! += dy[yi]!;
      loop[winner] = Math.fround(loop[winner]! + dy[yi]!);
    });
    expect(runLowering(maxPoolWasm, [f(shape, x)], [{ shape: ys }], a, runner())[0]).toEqual(y);
    const [got] = runLowering(maxPoolGradWasm, [f(shape, x), f(ys, dy)], [{ shape }], a, runner());
    expectWithin(got!, dx, loop, 'dx');
  });

  it.each(cases.flatMap((c) => [true, false].map((countIncludePad) => ({ x: c.x, a: { ...c.a, countIncludePad } }))))(
    'mean and its gradient: $x $a',
    ({ x: shape, a }) => {
      const x = random(shape, 3);
      const ys = outOf(shape, a);
      const dy = random(ys, 4);
      const reference = (r: Round) => {
        const [y, dx] = [new Float64Array(sizeOf(ys)), new Float64Array(x.length)];
        eachWindow(shape, a, (yi, xs) => {
          const n = a.countIncludePad ? a.kernel[0] * a.kernel[1] : xs.length;
          y[yi] = r(xs.reduce((s, i) => r(s + x[i]!), 0) / n);
          for (const i of xs) dx[i] = r(dx[i]! + r(dy[yi]! / n));
        });
        return { y, dx };
      };
      const [want, loop] = [reference((v) => v), reference(Math.fround)];
      const [y] = runLowering(avgPoolWasm, [f(shape, x)], [{ shape: ys }], a, runner());
      const [dx] = runLowering(avgPoolGradWasm, [f(ys, dy)], [{ shape }], a, runner());
      expectWithin(y!, want.y, loop.y, 'y');
      expectWithin(dx!, want.dx, loop.dx, 'dx');
    },
  );
});

describe('pool', () => {
  it('carries NaN through the maximum, and its gradient to it', () => {
    const a = attrs[0] as PoolAttrs;
    const x = Float32Array.of(1, Number.NaN, 3, 2);
    const shape = [1, 2, 2, 1];
    const ys = [1, 1, 1, 1];
    expect(runLowering(maxPoolWasm, [f(shape, x)], [{ shape: ys }], a)[0]).toEqual(Float32Array.of(Number.NaN));
    const [dx] = runLowering(maxPoolGradWasm, [f(shape, x), f(ys, Float32Array.of(5))], [{ shape }], a);
    expect(dx).toEqual(Float32Array.of(0, 5, 0, 0));
  });

  it('does not depend on the order of chunks', () => {
    const shape = [3, 33, 30, 128] as const;
    const a: AvgPoolAttrs = { ...(attrs[1] as PoolAttrs), countIncludePad: false };
    const ys = outOf(shape, a);
    const [x, dy] = [f(shape, random(shape, 5)), f(ys, random(ys, 6))];
    const check = <A>(lower: Lowering<A>, inputs: (typeof x)[], out: readonly number[], at: A) => {
      const runner = new KernelRunner(narrowRelaxed, 64);
      const [want] = runLowering(lower, inputs, [{ shape: out }], at, runner);
      expect(runReversed(lower, inputs, [out], at, runner)[0]).toEqual(want);
    };
    check(maxPoolWasm, [x], ys, a);
    check(maxPoolGradWasm, [x, dy], shape, a);
    check(avgPoolWasm, [x], ys, a);
    check(avgPoolGradWasm, [dy], shape, a);
  });

  it('refuses padding as large as the kernel', () => {
    const a: PoolAttrs = { kernel: [2, 2], stride: [2, 2], padding: [2, 0, 0, 0] };
    expect(() =>
      runLowering(maxPoolWasm, [f([1, 4, 4, 1], new Float32Array(16))], [{ shape: [1, 3, 2, 1] }], a),
    ).toThrow(/maxPool: expected .* padding below the kernel/);
  });
});
