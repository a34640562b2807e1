/**
 * Depthwise convolution: one filter per channel, weights [kh, kw, 1, C]. The same loops as `conv2d` with groups = C,
 * and kernels of its own (native/depthwise.ts). A kernel as large as the image is the global depthwise convolution of
 * MobileFaceNet (Chen et al. 2018, section 3.1).
 */
import { depthwiseInputGradWgsl, depthwiseWeightGradWgsl, depthwiseWgsl } from '../../kernels/depthwise.ts';
import { depthwiseInputGradWasm, depthwiseWasm } from '../../native/depthwise.ts';
import { depthwiseWeightGradWasm } from '../../native/depthwiseWeightGrad.ts';
import type { Tensor } from '../core/tensor.ts';
import { type ConvAttrs, type ConvCase, defineConvolution } from './convolution.ts';
import { shapeError } from './define.ts';

const attrs = (c: number, a: Partial<ConvAttrs> = {}): ConvAttrs => ({
  stride: [1, 1],
  padding: [1, 1, 1, 1],
  dilation: [1, 1],
  groups: c,
  ...a,
});
const cases: ConvCase[] = [
  { x: [1, 3, 3, 1], w: [3, 3, 1, 1], a: attrs(1) },
  { x: [2, 5, 6, 8], w: [3, 3, 1, 8], a: attrs(8) },
  { x: [2, 7, 5, 17], w: [3, 3, 1, 17], a: attrs(17, { stride: [2, 2] }) },
  { x: [1, 8, 8, 12], w: [3, 3, 1, 12], a: attrs(12, { stride: [2, 2] }) },
  { x: [1, 9, 8, 5], w: [3, 5, 1, 5], a: attrs(5, { dilation: [2, 1], padding: [2, 1, 0, 3] }) },
  { x: [3, 7, 6, 16], w: [7, 6, 1, 16], a: attrs(16, { padding: [0, 0, 0, 0] }) },
];

const depthwiseOp = defineConvolution({
  names: ['depthwiseConv2d', 'depthwiseInputGrad', 'depthwiseWeightGrad'],
  wasm: [depthwiseWasm, depthwiseInputGradWasm, depthwiseWeightGradWasm],
  wgsl: [depthwiseWgsl, depthwiseInputGradWgsl, depthwiseWeightGradWgsl],
  check(x, w, a) {
    if (w.shape.length === 4 && (w.shape[2] !== 1 || w.shape[3] !== a.groups))
      throw shapeError(
        'depthwiseConv2d',
        `weights [kh, kw, 1, ${a.groups}]`,
        { x, w },
        'Use conv2d for several channels per group.',
      );
  },
  cases,
  errorSamples: [{ inputs: [{ shape: [1, 5, 5, 8] }, { shape: [3, 3, 2, 8] }], attrs: attrs(8) }],
});

export const depthwiseConv2d = (x: Tensor, w: Tensor, a: ConvAttrs): Tensor => depthwiseOp.apply([x, w], a)[0]!;
