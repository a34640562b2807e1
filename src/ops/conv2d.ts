/**
 * 2-D convolution (cross-correlation, as in every deep-learning library) with stride, padding, dilation and groups,
 * and its two gradients. NHWC images, weights [kh, kw, Cin/groups, Cout].
 * Specified in convolution.ts. Kernels are an implicit GEMM (native/conv2d.ts); a convolution with one channel per group has its own (depthwise.ts).
 */
import { conv2dInputGradWasm, conv2dWasm, conv2dWeightGradWasm } from '../../native/conv2d.ts';
import type { Shape } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import {
  type ConvAttrs,
  type ConvGradAttrs,
  type ConvOptions,
  convBytes,
  convFlops,
  convInputGradReference,
  convReference,
  convShape,
  convWeightGradReference,
  fourSides,
  pair,
} from './convolution.ts';
import { defineOp, type Op, type Sample } from './define.ts';
import { depthwiseConv2d } from './depthwise.ts';

const attrs = (a: Partial<ConvAttrs>): ConvAttrs => ({
  stride: [1, 1],
  padding: [0, 0, 0, 0],
  dilation: [1, 1],
  groups: 1,
  ...a,
});
const cases: { x: Shape; w: Shape; a: ConvAttrs }[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 1], a: attrs({}) },
  { x: [2, 5, 7, 3], w: [3, 3, 3, 8], a: attrs({ stride: [2, 2], padding: [1, 1, 1, 1] }) },
  { x: [2, 6, 5, 4], w: [3, 2, 4, 9], a: attrs({ padding: [0, 1, 2, 0] }) },
  { x: [1, 9, 9, 2], w: [3, 3, 2, 5], a: attrs({ dilation: [2, 3], stride: [1, 2], padding: [2, 2, 3, 3] }) },
  { x: [2, 4, 4, 6], w: [3, 3, 2, 6], a: attrs({ groups: 3, padding: [1, 1, 1, 1] }) },
  { x: [2, 3, 3, 8], w: [1, 1, 8, 16], a: attrs({}) },
  { x: [1, 5, 5, 4], w: [1, 1, 4, 5], a: attrs({ stride: [2, 2] }) },
  { x: [2, 4, 4, 3], w: [3, 3, 1, 6], a: attrs({ groups: 3, padding: [1, 1, 1, 1] }) },
];
const yShape = (c: { x: Shape; w: Shape; a: ConvAttrs }) =>
  convShape('conv2d', { shape: c.x, dtype: 'f32' }, { shape: c.w, dtype: 'f32' }, c.a);

export const conv2dOp: Op<ConvAttrs> = defineOp<ConvAttrs>('conv2d', {
  roles: ['x', 'w'],
  infer: ([x, w], a) => [{ shape: convShape('conv2d', x!, w!, a), dtype: 'f32' }],
  reference: convReference,
  backward: ({ inputs: [x, w], dys, attrs: a }) => [
    conv2dInputGradOp.apply([dys[0]!, w!], { ...a, shape: x!.shape })[0],
    conv2dWeightGradOp.apply([x!, dys[0]!], { ...a, shape: w!.shape })[0],
  ],
  wasm: { kind: 'kernel', lower: conv2dWasm, epilogue: true },
  cost: ([x, w], [y]) => ({ flops: convFlops(y!.shape, w!.shape), bytes: convBytes(x, w, y) }),
  samples: cases.map((c): Sample<ConvAttrs> => ({ inputs: [{ shape: c.x }, { shape: c.w }], attrs: c.a })),
  errorSamples: [
    { inputs: [{ shape: [2, 5, 7, 3] }, { shape: [3, 3, 4, 8] }], attrs: attrs({}) },
    { inputs: [{ shape: [2, 2, 2, 3] }, { shape: [3, 3, 3, 8] }], attrs: attrs({}) },
    { inputs: [{ shape: [5, 7, 3] }, { shape: [3, 3, 3, 8] }], attrs: attrs({}) },
  ],
});

export const conv2dInputGradOp: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>('conv2dInputGrad', {
  roles: ['dy', 'w'],
  infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
  reference: convInputGradReference,
  backward: ({ inputs: [dy, w], dys, attrs: a }) => [
    conv2dOp.apply([dys[0]!, w!], a)[0],
    conv2dWeightGradOp.apply([dys[0]!, dy!], { ...a, shape: w!.shape })[0],
  ],
  wasm: { kind: 'kernel', lower: conv2dInputGradWasm },
  cost: ([dy, w], [dx]) => ({ flops: convFlops(dy!.shape, w!.shape), bytes: convBytes(dy, w, dx) }),
  samples: cases.map((c) => ({ inputs: [{ shape: yShape(c) }, { shape: c.w }], attrs: { ...c.a, shape: c.x } })),
  errorSamples: [],
});

export const conv2dWeightGradOp: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>('conv2dWeightGrad', {
  roles: ['x', 'dy'],
  infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
  reference: convWeightGradReference,
  backward: ({ inputs: [x, dy], dys, attrs: a }) => [
    conv2dInputGradOp.apply([dy!, dys[0]!], { ...a, shape: x!.shape })[0],
    conv2dOp.apply([x!, dys[0]!], a)[0],
  ],
  wasm: { kind: 'kernel', lower: conv2dWeightGradWasm },
  cost: ([x, dy], [dw]) => ({ flops: convFlops(dy!.shape, dw!.shape), bytes: convBytes(x, dy, dw) }),
  samples: cases.map((c) => ({ inputs: [{ shape: c.x }, { shape: yShape(c) }], attrs: { ...c.a, shape: c.w } })),
  errorSamples: [],
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
