import { describe, expect, it } from 'vitest';
import { type ResizeAttrs, resizeGradWasm, resizeWasm } from '../../native/resize.ts';
import { keyOf, uniform } from '../../src/core/random.ts';
import { runReversed } from '../helpers/chunkOrder.ts';
import { expectWithin, type Round, sizeOf } from '../helpers/convReference.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering } from '../helpers/kernelRunner.ts';

type Shape4 = readonly [number, number, number, number];
const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });
const random = (shape: readonly number[], seed: number) => uniform(keyOf(seed), sizeOf(shape)).map((u) => 2 * u - 1);

/** [input, weight] pairs along an axis; the two of bilinear in this order. */
function sources(o: number, n: number, m: number, a: ResizeAttrs, r: Round): [number, number][] {
  if (a.mode === 'nearest') return [[Math.floor((o * n) / m), 1]];
  const place = a.alignCorners
    ? r(o * r(m > 1 ? (n - 1) / (m - 1) : 0))
    : Math.max(0, r(r((o + 0.5) * r(n / m)) - 0.5));
  const low = Math.min(n - 1, Math.floor(place));
  const weight = r(place - low);
  return [
    [low, r(1 - weight)],
    [Math.min(n - 1, low + 1), weight],
  ];
}

function each(x: Shape4, a: ResizeAttrs, r: Round, visit: (y: number, terms: [number, number][]) => void): void {
  const [n, h, w, c] = x;
  const [oh, ow] = a.size;
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let ch = 0; ch < c; ch++)
          visit(
            ((b * oh + i) * ow + j) * c + ch,
            sources(i, h, oh, a, r).flatMap(([y, p]) =>
              sources(j, w, ow, a, r).map(([v, q]): [number, number] => [((b * h + y) * w + v) * c + ch, r(p * q)]),
            ),
          );
}

const sizes: [readonly [number, number], readonly [number, number]][] = [
  [
    [5, 6],
    [10, 12],
  ],
  [
    [5, 6],
    [7, 4],
  ],
  [
    [4, 4],
    [4, 4],
  ],
  [
    [1, 3],
    [5, 1],
  ],
  [
    [9, 2],
    [3, 7],
  ],
];
const kinds: Omit<ResizeAttrs, 'size'>[] = [
  { mode: 'nearest', alignCorners: false },
  { mode: 'bilinear', alignCorners: false },
  { mode: 'bilinear', alignCorners: true },
];
const cases = [
  ...sizes.flatMap(([from, size]) =>
    kinds.map((k) => ({ x: [2, ...from, 5] as unknown as Shape4, a: { ...k, size } })),
  ),
  ...[1, 2, 3, 4, 7, 8, 9, 16, 17, 64].map((c) => ({
    x: [2, 3, 4, c] as const,
    a: { ...(kinds[1] as ResizeAttrs), size: [5, 5] as const },
  })),
];

describe.each([narrowRelaxed, narrowStrict])('resize (relaxed: $relaxed)', (mode) => {
  it.each(cases)('$x $a', ({ x: shape, a }) => {
    const ys = [shape[0], ...a.size, shape[3]];
    const [x, dy] = [random(shape, 1), random(ys, 2)];
    const reference = (r: Round) => {
      const [y, dx] = [new Float64Array(dy.length), new Float64Array(x.length)];
      each(shape, a, r, (yi, terms) => {
        for (const [xi, w] of terms) {
          y[yi] = r(y[yi]! + r(w * x[xi]!));
          dx[xi] = r(dx[xi]! + r(w * dy[yi]!));
        }
      });
      return { y, dx };
    };
    const [want, loop] = [reference((v) => v), reference(Math.fround)];
    const runner = new KernelRunner(mode, 16);
    const [y] = runLowering(resizeWasm, [f(shape, x)], [{ shape: ys }], a, runner);
    const [dx] = runLowering(resizeGradWasm, [f(ys, dy)], [{ shape }], a, runner);
    expectWithin(y!, want.y, loop.y, 'y');
    expectWithin(dx!, want.dx, loop.dx, 'dx');
  });
});

describe('resize', () => {
  it('does not depend on the order of chunks', () => {
    const shape = [2, 20, 17, 128];
    const a: ResizeAttrs = { size: [31, 33], mode: 'bilinear', alignCorners: false };
    const ys = [2, 31, 33, 128];
    const runner = new KernelRunner(narrowRelaxed, 64);
    const [x, dy] = [f(shape, random(shape, 3)), f(ys, random(ys, 4))];
    const [y] = runLowering(resizeWasm, [x], [{ shape: ys }], a, runner);
    const [dx] = runLowering(resizeGradWasm, [dy], [{ shape }], a, runner);
    expect(runReversed(resizeWasm, [x], [ys], a, runner)[0]).toEqual(y);
    expect(runReversed(resizeGradWasm, [dy], [shape], a, runner)[0]).toEqual(dx);
  });

  it('refuses an output of another size', () => {
    const a: ResizeAttrs = { size: [4, 4], mode: 'nearest', alignCorners: false };
    expect(() => runLowering(resizeWasm, [f([1, 2, 2, 1], new Float32Array(4))], [{ shape: [1, 4, 5, 1] }], a)).toThrow(
      /resize: expected .* y \[1, 4, 4, 1\]/,
    );
  });
});
