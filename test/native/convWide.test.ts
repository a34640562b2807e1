/** Convolutions as optimised wide code, on the sizes and tails that its tiles distinguish. */
import '../helpers/optimised.ts';
import { it } from 'vitest';
import { conv2dInputGradWasm, conv2dWasm, conv2dWeightGradWasm } from '../../native/conv2d.ts';
import {
  type ConvCase,
  convData,
  convForward,
  convInputGrad,
  convWeightGrad,
  expectWithin,
  outShape,
} from '../helpers/convReference.ts';
import { KernelRunner, narrowStrict, runLowering, wideRelaxed } from '../helpers/kernelRunner.ts';

const conv = (x: ConvCase['x'], k: number, out: number, stride: number, groups: number): ConvCase => {
  const p = k >> 1;
  const attrs = { stride: [stride, stride], padding: [p, p, p, p], dilation: [1, 1], groups } as const;
  return { x, w: [k, k, x[3] / groups, out], attrs };
};
const cases: ConvCase[] = [
  conv([2, 13, 14, 3], 3, 33, 2, 1),
  conv([1, 9, 8, 16], 3, 40, 1, 1),
  conv([2, 10, 9, 8], 3, 24, 2, 2),
  conv([2, 15, 13, 29], 3, 29, 1, 29),
  conv([2, 15, 14, 24], 3, 24, 2, 24),
  {
    x: [5, 7, 7, 24],
    w: [7, 7, 1, 24],
    attrs: { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 24 },
  },
];

it.each(cases)('$x * $w $attrs', (c) => {
  const { x, w, dy } = convData(c, 7);
  const ys = outShape(c);
  const f = (shape: readonly number[], data: Float32Array) => ({ shape, data });
  for (const mode of [wideRelaxed, narrowStrict]) {
    const runner = new KernelRunner(mode, 64);
    const [y] = runLowering(conv2dWasm, [f(c.x, x), f(c.w, w)], [{ shape: ys }], c.attrs, runner);
    const [dx] = runLowering(conv2dInputGradWasm, [f(ys, dy), f(c.w, w)], [{ shape: c.x }], c.attrs, runner);
    const [dw] = runLowering(conv2dWeightGradWasm, [f(c.x, x), f(ys, dy)], [{ shape: c.w }], c.attrs, runner);
    expectWithin(y!, convForward(c, x, w), convForward(c, x, w, Math.fround), 'y');
    expectWithin(dx!, convInputGrad(c, dy, w), convInputGrad(c, dy, w, Math.fround), 'dx');
    expectWithin(dw!, convWeightGrad(c, x, dy), convWeightGrad(c, x, dy, Math.fround), 'dw');
  }
});
