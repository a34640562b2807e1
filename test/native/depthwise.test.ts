import { describe, expect, it } from 'vitest';
import { depthwiseInputGradWasm, depthwiseWasm, depthwiseWeightGradWasm } from '../../native/depthwise.ts';
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
  readonly n?: number;
  readonly h: number;
  readonly w: number;
  readonly c: number;
  readonly k?: readonly [number, number];
  readonly stride?: readonly [number, number];
  readonly padding?: readonly [number, number, number, number];
  readonly dilation?: readonly [number, number];
}

const caseOf = (s: Shape): ConvCase => {
  const [kh, kw] = s.k ?? [3, 3];
  return {
    x: [s.n ?? 2, s.h, s.w, s.c],
    w: [kh, kw, 1, s.c],
    attrs: {
      stride: s.stride ?? [1, 1],
      padding: s.padding ?? [1, 1, 1, 1],
      dilation: s.dilation ?? [1, 1],
      groups: s.c,
    },
  };
};

const channels = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17];
const cases: Shape[] = [
  ...channels.map((c) => ({ h: 6, w: 9, c })),
  ...channels.map((c) => ({ h: 7, w: 10, c, stride: [2, 2] as const })),
  ...channels.map((c) => ({ h: 3, w: 4, c, k: [3, 4] as const, padding: [0, 0, 0, 0] as const, n: 5 })),
  { h: 1, w: 1, c: 8 },
  { h: 2, w: 2, c: 8, stride: [2, 2] },
  { h: 14, w: 14, c: 24, stride: [2, 2] },
  { h: 15, w: 23, c: 12, stride: [2, 2], padding: [0, 1, 0, 1] },
  { h: 9, w: 31, c: 8, padding: [2, 0, 0, 3] },
  { h: 11, w: 13, c: 8, k: [5, 5], padding: [2, 2, 2, 2] },
  { h: 11, w: 13, c: 8, k: [7, 3], padding: [3, 3, 1, 1], stride: [1, 2] },
  { h: 12, w: 17, c: 8, dilation: [2, 2], padding: [2, 2, 2, 2] },
  { h: 12, w: 17, c: 9, dilation: [2, 3], stride: [2, 2], padding: [1, 3, 4, 0] },
  { h: 12, w: 17, c: 8, dilation: [3, 2], stride: [3, 4], padding: [1, 1, 1, 1] },
  { h: 9, w: 9, c: 8, k: [1, 1], stride: [2, 2], padding: [0, 0, 0, 0] },
  { h: 9, w: 10, c: 8, k: [2, 2], stride: [3, 3], padding: [0, 0, 0, 0] },
  { h: 4, w: 4, c: 8, k: [3, 3], padding: [5, 5, 5, 5] },
  { h: 7, w: 7, c: 32, k: [7, 7], padding: [0, 0, 0, 0], n: 6 },
  { h: 1, w: 5, c: 8, k: [1, 5], padding: [0, 0, 0, 0], n: 3 },
  { n: 1, h: 40, w: 40, c: 64 },
  // More than a second-level cache: rows are read ahead.
  { n: 2, h: 40, w: 40, c: 64 },
  { n: 3, h: 40, w: 40, c: 64, stride: [2, 2] },
];
const name = (s: Shape) => JSON.stringify(s);

for (const mode of [narrowRelaxed, narrowStrict, wideRelaxed]) {
  describe(`depthwise, ${mode.wide ? 'wide' : 'narrow'} ${mode.relaxed ? 'relaxed' : 'strict'}`, () => {
    it.each(cases.map((s) => [name(s), s] as const))('%s', (_, s) => {
      const c = caseOf(s);
      const { x, w, dy } = convData(c, 7);
      const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });
      const runner = new KernelRunner(mode, 32);
      const ys = outShape(c);
      const [y] = runLowering(depthwiseWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs, runner);
      const [dx] = runLowering(depthwiseInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs, runner);
      const [dw] = runLowering(depthwiseWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs, runner);
      expectWithin(y!, convForward(c, x, w), convForward(c, x, w, Math.fround), 'y');
      expectWithin(dx!, convInputGrad(c, dy, w), convInputGrad(c, dy, w, Math.fround), 'dx');
      expectWithin(dw!, convWeightGrad(c, x, dy), convWeightGrad(c, x, dy, Math.fround), 'dw');
    });
  });
}

describe('depthwise', () => {
  const big = caseOf({ n: 3, h: 19, w: 21, c: 40, stride: [2, 2] });
  const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });

  it('is adjoint: <conv(x, w), dy> = <x, dx> = <w, dw>', () => {
    const { x, w, dy } = convData(big, 3);
    const ys = outShape(big);
    const [y] = runLowering(depthwiseWasm, [f(big.x, x), f(big.w, w)], [{ shape: ys }], big.attrs);
    const [dx] = runLowering(depthwiseInputGradWasm, [f(ys, dy), f(big.w, w)], [{ shape: big.x }], big.attrs);
    const [dw] = runLowering(depthwiseWeightGradWasm, [f(big.x, x), f(ys, dy)], [{ shape: big.w }], big.attrs);
    // Each side carries the rounding of its own f32 values: a few ulps of the sum of magnitudes.
    const scale = dot(y!.map(Math.abs), dy.map(Math.abs));
    const eps = 8 * 2 ** -24 * scale;
    expect(Math.abs(dot(y!, dy) - dot(x, dx!))).toBeLessThan(eps);
    expect(Math.abs(dot(y!, dy) - dot(w, dw!))).toBeLessThan(eps);
  });

  it.each([8, 21])('gives the same bits in narrow and wide mode and for any order of chunks (%d channels)', (ch) => {
    const passes = [depthwiseWasm, depthwiseInputGradWasm, depthwiseWeightGradWasm] as const;
    expectSameBits(caseOf({ n: 4, h: 30, w: 29, c: ch }), passes);
  });

  // Several pairs of vectors and every tail: an operand must move along with the channels.
  it.each([{ h: 6, w: 11, c: 29 }, { h: 7, w: 7, c: 29, k: [7, 7], padding: [0, 0, 0, 0] } as Shape])(
    'applies an epilogue before the store: %j',
    (s) => expectEpilogue(caseOf(s), depthwiseWasm),
  );

  it.each([
    { k: 3, stride: 1, before: 1, after: 1 },
    { k: 3, stride: 2, before: 1, after: 1 },
    { k: 3, stride: 2, before: 0, after: 1 },
    { k: 5, stride: 1, before: 2, after: 2 },
    { k: 5, stride: 2, before: 2, after: 2 },
    { k: 3, stride: 3, before: 2, after: 0 },
    { k: 4, stride: 1, before: 0, after: 3 },
  ])('takes every width: %j', ({ k, stride, before, after }) => {
    for (let width = Math.max(1, k - before - after); width <= 20; width++) {
      const c = caseOf({
        n: 1,
        h: 3,
        w: width,
        c: 11,
        k: [3, k],
        stride: [1, stride],
        padding: [1, 1, before, after],
      });
      const { x, w, dy } = convData(c, width);
      const ys = outShape(c);
      const runner = new KernelRunner(narrowRelaxed, 16);
      const [y] = runLowering(depthwiseWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs, runner);
      const [dx] = runLowering(depthwiseInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs, runner);
      const [dw] = runLowering(depthwiseWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs, runner);
      expectWithin(y!, convForward(c, x, w), convForward(c, x, w, Math.fround), `y of width ${width}`);
      expectWithin(dx!, convInputGrad(c, dy, w), convInputGrad(c, dy, w, Math.fround), `dx of width ${width}`);
      expectWithin(dw!, convWeightGrad(c, x, dy), convWeightGrad(c, x, dy, Math.fround), `dw of width ${width}`);
    }
  });

  it('needs the same few kernels whatever the sizes', () => {
    const keys = new Set<string>();
    const runner = new KernelRunner(narrowRelaxed, 64);
    const run = runner.run.bind(runner);
    runner.run = (kernel, args, chunks) => {
      keys.add(kernel.key);
      run(kernel, args, chunks);
    };
    // Large enough for several partial sums of the weight gradient, and small enough for none.
    for (const [size, channels] of [
      [7, 8],
      [14, 24],
      [28, 16],
      [9, 5],
    ] as const)
      for (const stride of [1, 2]) {
        const c = caseOf({ h: size, w: size, c: channels, stride: [stride, stride] });
        const { x, w, dy } = convData(c, 1);
        const ys = outShape(c);
        runLowering(depthwiseWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs, runner);
        runLowering(depthwiseInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs, runner);
        runLowering(depthwiseWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs, runner);
      }
    // Forward and gradient at stride 1 share one; forward and gradient at stride 2; two weight gradients and their merge.
    expect([...keys]).toHaveLength(6);
  });

  it('refuses shapes that do not fit', () => {
    const c = caseOf({ h: 6, w: 6, c: 8 });
    const { x, w } = convData(c, 1);
    expect(() => runLowering(depthwiseWasm, [f(c.x, x), f(c.w, w)], [{ shape: [2, 5, 6, 8] }], c.attrs)).toThrow(
      /depthwise: expected x .* y \[2, 6, 6, 8\]|depthwise: expected/,
    );
  });
});
