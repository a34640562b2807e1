import { describe, expect, it } from 'vitest';
import { conv2dInputGradWasm, conv2dWasm, conv2dWeightGradWasm } from '../../native/conv2d.ts';
import { expectEpilogue, expectSameBits } from '../helpers/convChecks.ts';
import {
  type ConvCase,
  convData,
  convForward,
  convInputGrad,
  convWeightGrad,
  dot,
  expectWithin,
  outShape,
} from '../helpers/convReference.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering, wideRelaxed } from '../helpers/kernelRunner.ts';

interface Shape {
  readonly x: readonly [number, number, number, number];
  readonly k?: readonly [number, number];
  readonly out: number;
  readonly stride?: readonly [number, number];
  readonly padding?: readonly [number, number, number, number];
  readonly dilation?: readonly [number, number];
  readonly groups?: number;
}

const caseOf = (s: Shape): ConvCase => {
  const [kh, kw] = s.k ?? [3, 3];
  const groups = s.groups ?? 1;
  return {
    x: s.x,
    w: [kh, kw, s.x[3] / groups, s.out],
    attrs: { stride: s.stride ?? [1, 1], padding: s.padding ?? [1, 1, 1, 1], dilation: s.dilation ?? [1, 1], groups },
  };
};

const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17];
const none = [0, 0, 0, 0] as const;
const cases: Shape[] = [
  ...sizes.map((c): Shape => ({ x: [2, 5, 6, c], out: 5 })),
  ...sizes.map((c): Shape => ({ x: [1, 7, 6, 3], out: c, stride: [2, 2] })),
  ...sizes.map((c): Shape => ({ x: [1, 4, 3, c], out: 9, k: [1, 1], padding: none })),
  { x: [2, 9, 9, 3], out: 64, stride: [2, 2] },
  { x: [1, 12, 14, 16], out: 32 },
  { x: [2, 6, 6, 8], out: 16, k: [1, 1], stride: [2, 2], padding: none },
  { x: [2, 7, 6, 8], out: 16, k: [1, 1], stride: [3, 2], padding: [0, 1, 1, 0] },
  { x: [1, 11, 13, 6], out: 7, k: [5, 4], padding: [2, 1, 0, 3] },
  { x: [1, 11, 13, 6], out: 7, stride: [2, 1], padding: [0, 1, 0, 1] },
  { x: [1, 12, 15, 4], out: 5, dilation: [2, 3], padding: [2, 2, 3, 3] },
  { x: [1, 12, 15, 4], out: 5, dilation: [2, 3], stride: [2, 2], padding: [1, 3, 4, 0] },
  { x: [1, 12, 15, 4], out: 5, dilation: [2, 3], stride: [4, 3], padding: [1, 3, 4, 0] },
  { x: [1, 9, 10, 4], out: 6, k: [2, 2], stride: [3, 3], padding: none },
  { x: [1, 4, 4, 4], out: 4, padding: [5, 5, 5, 5] },
  { x: [2, 5, 6, 6], out: 9, groups: 3 },
  { x: [2, 5, 6, 16], out: 24, groups: 2, stride: [2, 2] },
  { x: [2, 5, 6, 5], out: 15, groups: 5 },
  { x: [2, 5, 6, 8], out: 8, groups: 8 },
  { x: [1, 5, 6, 8], out: 4, groups: 4, k: [1, 1], padding: none },
  { x: [1, 7, 7, 4], out: 10, k: [7, 7], padding: none },
  { x: [3, 1, 1, 20], out: 8, k: [1, 1], padding: none },
  // More rows of dw than one block holds: cut by kernel rows, then by taps.
  { x: [1, 5, 4, 72], out: 10 },
  { x: [1, 3, 3, 432], out: 3 },
];

const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });

for (const mode of [narrowRelaxed, narrowStrict, wideRelaxed]) {
  describe(`conv2d, ${mode.wide ? 'wide' : 'narrow'} ${mode.relaxed ? 'relaxed' : 'strict'}`, () => {
    it.each(cases.map((s) => [JSON.stringify(s), s] as const))('%s', (_, s) => {
      const c = caseOf(s);
      const { x, w, dy } = convData(c, 7);
      const runner = new KernelRunner(mode, 64);
      const ys = outShape(c);
      const [y] = runLowering(conv2dWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs, runner);
      const [dx] = runLowering(conv2dInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs, runner);
      const [dw] = runLowering(conv2dWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs, runner);
      expectWithin(y!, convForward(c, x, w), convForward(c, x, w, Math.fround), 'y');
      expectWithin(dx!, convInputGrad(c, dy, w), convInputGrad(c, dy, w, Math.fround), 'dx');
      expectWithin(dw!, convWeightGrad(c, x, dy), convWeightGrad(c, x, dy, Math.fround), 'dw');
    });
  });
}

describe('conv2d', () => {
  it('is adjoint: <conv(x, w), dy> = <x, dx> = <w, dw>', () => {
    const c = caseOf({ x: [2, 17, 15, 12], out: 20, stride: [2, 2], groups: 2 });
    const { x, w, dy } = convData(c, 3);
    const ys = outShape(c);
    const [y] = runLowering(conv2dWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs);
    const [dx] = runLowering(conv2dInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs);
    const [dw] = runLowering(conv2dWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs);
    // Each side carries the rounding of its own f32 values: a few ulps of the sum of magnitudes.
    const eps = 8 * 2 ** -24 * dot(y!.map(Math.abs), dy.map(Math.abs));
    expect(Math.abs(dot(y!, dy) - dot(x, dx!))).toBeLessThan(eps);
    expect(Math.abs(dot(y!, dy) - dot(w, dw!))).toBeLessThan(eps);
  });

  it('gives the same bits in narrow and wide mode and for any order of chunks', () => {
    const passes = [conv2dWasm, conv2dInputGradWasm, conv2dWeightGradWasm] as const;
    expectSameBits(caseOf({ x: [2, 23, 21, 11], out: 18, stride: [2, 1] }), passes);
  });

  it.each<Shape>([
    { x: [2, 6, 5, 7], out: 13 },
    { x: [2, 6, 5, 7], out: 13, k: [1, 1], padding: none },
    { x: [2, 6, 5, 6], out: 9, groups: 3 },
    { x: [2, 6, 5, 6], out: 6, groups: 6 },
  ])('applies an epilogue before the store: %j', (s) => expectEpilogue(caseOf(s), conv2dWasm));

  it('refuses shapes that do not fit', () => {
    const c = caseOf({ x: [1, 6, 6, 8], out: 4 });
    const { x, w } = convData(c, 1);
    expect(() => runLowering(conv2dWasm, [f(c.x, x), f(c.w, w)], [{ shape: [1, 5, 6, 4] }], c.attrs)).toThrow(
      /conv2d: expected .* y \[1, 6, 6, 4\]/,
    );
  });
});
