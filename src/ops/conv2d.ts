/**
 * 2-D convolution (cross-correlation, as in every deep-learning library) with stride, padding, dilation and groups,
 * and its two gradients. NHWC images, weights [kh, kw, Cin/groups, Cout].
 * Specified in convolution.ts. Kernels are an implicit GEMM (native/conv2d.ts); a convolution with one channel per group
 * has its own (depthwise.ts).
 */
import { conv2dInputGradWgsl, conv2dWeightGradWgsl, conv2dWgsl } from '../../kernels/conv2d.ts';
import { conv2dInputGradWasm, conv2dWasm, conv2dWeightGradWasm } from '../../native/conv2d.ts';
import type { Tensor } from '../core/tensor.ts';
import { type ConvAttrs, type ConvCase, type ConvOptions, defineConvolution, fourSides, pair } from './convolution.ts';
import { depthwiseConv2d } from './depthwise.ts';

const attrs = (a: Partial<ConvAttrs>): ConvAttrs => ({
  stride: [1, 1],
  padding: [0, 0, 0, 0],
  dilation: [1, 1],
  groups: 1,
  ...a,
});
const cases: ConvCase[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 1], a: attrs({}) },
  { x: [2, 5, 7, 3], w: [3, 3, 3, 8], a: attrs({ stride: [2, 2], padding: [1, 1, 1, 1] }) },
  { x: [2, 6, 5, 4], w: [3, 2, 4, 9], a: attrs({ padding: [0, 1, 2, 0] }) },
  { x: [1, 9, 9, 2], w: [3, 3, 2, 5], a: attrs({ dilation: [2, 3], stride: [1, 2], padding: [2, 2, 3, 3] }) },
  { x: [2, 4, 4, 6], w: [3, 3, 2, 6], a: attrs({ groups: 3, padding: [1, 1, 1, 1] }) },
  { x: [2, 3, 3, 8], w: [1, 1, 8, 16], a: attrs({}) },
  { x: [1, 5, 5, 4], w: [1, 1, 4, 5], a: attrs({ stride: [2, 2] }) },
  { x: [2, 4, 4, 3], w: [3, 3, 1, 6], a: attrs({ groups: 3, padding: [1, 1, 1, 1] }) },
];

const conv2dOp = defineConvolution({
  names: ['conv2d', 'conv2dInputGrad', 'conv2dWeightGrad'],
  wasm: [conv2dWasm, conv2dInputGradWasm, conv2dWeightGradWasm],
  wgsl: [conv2dWgsl, conv2dInputGradWgsl, conv2dWeightGradWgsl],
  cases,
  errorSamples: [
    { inputs: [{ shape: [2, 5, 7, 3] }, { shape: [3, 3, 4, 8] }], attrs: attrs({}) },
    { inputs: [{ shape: [2, 2, 2, 3] }, { shape: [3, 3, 3, 8] }], attrs: attrs({}) },
    { inputs: [{ shape: [5, 7, 3] }, { shape: [3, 3, 3, 8] }], attrs: attrs({}) },
  ],
});

/** Convolves images [N, H, W, C] with weights [kh, kw, C/groups, Cout]. Defaults: stride 1, no padding, one group. */
export function conv2d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  const a: ConvAttrs = {
    stride: pair(options.stride, 1),
    padding: fourSides(options.padding),
    dilation: pair(options.dilation, 1),
    groups: options.groups ?? 1,
  };
  if (a.groups > 1 && w.rank === 4 && w.shape[2] === 1 && w.shape[3] === a.groups) return depthwiseConv2d(x, w, a);
  return conv2dOp.apply([x, w], a)[0]!;
}
