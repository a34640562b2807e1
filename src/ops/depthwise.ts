/**
 * Depthwise convolution: one filter per channel, weights [kh, kw, 1, C]. The same loops as `conv2d` with groups = C,
 * and kernels of its own (native/depthwise.ts). A kernel as large as the image is the global depthwise convolution of
 * MobileFaceNet (Chen et al. 2018, section 3.1).
 */
import { depthwiseInputGradWasm, depthwiseWasm } from '../../native/depthwise.ts';
import { depthwiseWeightGradWasm } from '../../native/depthwiseWeightGrad.ts';
import type { Shape } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import {
  type ConvAttrs,
  type ConvGradAttrs,
  convBytes,
  convFlops,
  convInputGradReference,
  convReference,
  convShape,
  convWeightGradReference,
} from './convolution.ts';
import { defineOp, type Op, shapeError } from './define.ts';

const attrs = (c: number, a: Partial<ConvAttrs> = {}): ConvAttrs => ({
  stride: [1, 1],
  padding: [1, 1, 1, 1],
  dilation: [1, 1],
  groups: c,
  ...a,
});
const cases: { x: Shape; w: Shape; a: ConvAttrs }[] = [
  { x: [1, 3, 3, 1], w: [3, 3, 1, 1], a: attrs(1) },
  { x: [2, 5, 6, 8], w: [3, 3, 1, 8], a: attrs(8) },
  { x: [2, 7, 5, 17], w: [3, 3, 1, 17], a: attrs(17, { stride: [2, 2] }) },
  { x: [1, 8, 8, 12], w: [3, 3, 1, 12], a: attrs(12, { stride: [2, 2] }) },
  { x: [1, 9, 8, 5], w: [3, 5, 1, 5], a: attrs(5, { dilation: [2, 1], padding: [2, 1, 0, 3] }) },
  { x: [3, 7, 6, 16], w: [7, 6, 1, 16], a: attrs(16, { padding: [0, 0, 0, 0] }) },
];
const yShape = (c: { x: Shape; w: Shape; a: ConvAttrs }) =>
  convShape('depthwiseConv2d', { shape: c.x, dtype: 'f32' }, { shape: c.w, dtype: 'f32' }, c.a);

export const depthwiseOp: Op<ConvAttrs> = defineOp<ConvAttrs>('depthwiseConv2d', {
  roles: ['x', 'w'],
  infer([x, w], a) {
    if (w!.shape.length === 4 && (w!.shape[2] !== 1 || w!.shape[3] !== a.groups))
      throw shapeError(
        'depthwiseConv2d',
        `weights [kh, kw, 1, ${a.groups}]`,
        { x: x!, w: w! },
        'Use conv2d for several channels per group.',
      );
    return [{ shape: convShape('depthwiseConv2d', x!, w!, a), dtype: 'f32' }];
  },
  reference: convReference,
  backward: ({ inputs: [x, w], dys, attrs: a }) => [
    depthwiseInputGradOp.apply([dys[0]!, w!], { ...a, shape: x!.shape })[0],
    depthwiseWeightGradOp.apply([x!, dys[0]!], { ...a, shape: w!.shape })[0],
  ],
  wasm: { kind: 'kernel', lower: depthwiseWasm, epilogue: true },
  cost: ([x, w], [y]) => ({ flops: convFlops(y!.shape, w!.shape), bytes: convBytes(x, w, y) }),
  samples: cases.map((c) => ({ inputs: [{ shape: c.x }, { shape: c.w }], attrs: c.a })),
  errorSamples: [{ inputs: [{ shape: [1, 5, 5, 8] }, { shape: [3, 3, 2, 8] }], attrs: attrs(8) }],
});

export const depthwiseInputGradOp: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>('depthwiseInputGrad', {
  roles: ['dy', 'w'],
  infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
  reference: convInputGradReference,
  backward: ({ inputs: [dy, w], dys, attrs: a }) => [
    depthwiseOp.apply([dys[0]!, w!], a)[0],
    depthwiseWeightGradOp.apply([dys[0]!, dy!], { ...a, shape: w!.shape })[0],
  ],
  wasm: { kind: 'kernel', lower: depthwiseInputGradWasm },
  cost: ([dy, w], [dx]) => ({ flops: convFlops(dy!.shape, w!.shape), bytes: convBytes(dy, w, dx) }),
  samples: cases.map((c) => ({ inputs: [{ shape: yShape(c) }, { shape: c.w }], attrs: { ...c.a, shape: c.x } })),
  errorSamples: [],
});

export const depthwiseWeightGradOp: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>('depthwiseWeightGrad', {
  roles: ['x', 'dy'],
  infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
  reference: convWeightGradReference,
  backward: ({ inputs: [x, dy], dys, attrs: a }) => [
    depthwiseInputGradOp.apply([dy!, dys[0]!], { ...a, shape: x!.shape })[0],
    depthwiseOp.apply([x!, dys[0]!], a)[0],
  ],
  wasm: { kind: 'kernel', lower: depthwiseWeightGradWasm },
  cost: ([x, dy], [dw]) => ({ flops: convFlops(dy!.shape, dw!.shape), bytes: convBytes(x, dy, dw) }),
  samples: cases.map((c) => ({ inputs: [{ shape: c.x }, { shape: yShape(c) }], attrs: { ...c.a, shape: c.w } })),
  errorSamples: [],
});

export const depthwiseConv2d = (x: Tensor, w: Tensor, a: ConvAttrs): Tensor => depthwiseOp.apply([x, w], a)[0]!;
