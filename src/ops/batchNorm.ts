/**
 * Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) over all axes but the last.
 *
 *   y = (x − mean) / sqrt(variance + eps) · weight + bias
 *
 * The one idea: only the moments are a kernel. The rest is one pointwise expression, so its gradient is derived, and
 * the plan recomputes it inside whatever reads it. Moments keep (mean, M2) per row block and merge them (Chan, Golub
 * and LeVeque 1979): sums of squares in f32 would cancel.
 */
import { momentsWgsl } from '../../kernels/batchNorm.ts';
import { momentsWasm } from '../../native/batchNorm.ts';
import { sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { defineOp, shapeError } from './define.ts';
import { elementwise } from './pointwise.ts';

export const momentsOp = defineOp<Record<string, never>>('moments', {
  roles: ['x'],
  infer([x]) {
    const c = x!.shape[x!.shape.length - 1];
    if (c === undefined || sizeOf(x!.shape) === 0)
      throw shapeError(
        'moments',
        'at least one row of channels',
        { x: x! },
        'Pass a tensor [..., C] that is not empty.',
      );
    return [
      { shape: [c], dtype: 'f32' },
      { shape: [c], dtype: 'f32' },
    ];
  },
  reference([x], [mean, variance], _, specs, round) {
    const shape = specs.inputs[0]!.shape;
    const c = shape[shape.length - 1]!;
    const rows = x!.length / c;
    for (let j = 0; j < c; j++) {
      let s = 0;
      for (let r = 0; r < rows; r++) s = round(s + x![r * c + j]!);
      const m = round(s / rows);
      let q = 0;
      for (let r = 0; r < rows; r++) {
        const d = round(x![r * c + j]! - m);
        q = round(q + round(d * d));
      }
      mean![j] = m;
      variance![j] = round(q / rows);
    }
  },
  backward({ inputs: [x], outputs: [mean], dys: [dMean, dVariance] }) {
    const n = x!.size / x!.shape[x!.rank - 1]!;
    const spread = dMean && E.mul(E.input(2), 1 / n);
    const shift = dVariance && E.mul(E.mul(E.input(3), 2 / n), E.sub(E.input(0), E.input(1)));
    const total = spread && shift ? E.add(spread, shift) : (spread ?? shift);
    if (!total) return [undefined];
    return [elementwise('dMoments', total, [x!, mean!, dMean ?? mean!, dVariance ?? mean!], x!.shape)];
  },
  kernels: { kind: 'kernel', wasm: momentsWasm, wgsl: momentsWgsl },
  cost: ([x]) => ({ flops: 4 * sizeOf(x!.shape), bytes: 4 * sizeOf(x!.shape) }),
  samples: [
    { inputs: [{ shape: [2, 1] }], attrs: {} },
    { inputs: [{ shape: [2, 5, 4, 9] }], attrs: {} },
    { inputs: [{ shape: [700, 16], range: [99, 101] }], attrs: {} },
  ],
  errorSamples: [{ inputs: [{ shape: [0, 4] }], attrs: {} }],
});

/** Mean and biased variance over all axes but the last: two tensors [C]. */
export const moments = (x: Tensor): [Tensor, Tensor] => momentsOp.apply([x], {}) as [Tensor, Tensor];

/** (x − mean)·rsqrt(variance + eps)·weight + bias for given moments: batch normalisation in inference. No weight is 1. */
export const normalize = (
  x: Tensor,
  mean: Tensor,
  variance: Tensor,
  weight: Tensor | undefined,
  bias: Tensor,
  eps: number,
): Tensor => {
  const deviation = E.sqrt(E.add(E.input(0), eps));
  const scale = weight
    ? elementwise('normScale', E.div(E.input(1), deviation), [variance, weight])
    : elementwise('normScale', E.div(1, deviation), [variance]);
  return elementwise('normalize', E.add(E.mul(E.sub(E.input(0), E.input(1)), E.input(2)), E.input(3)), [
    x,
    mean,
    scale,
    bias,
  ]);
};

/** Batch normalisation with the batch's own moments. Gives y and the moments [C] (variance biased, as y uses it). */
export function batchNorm(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor,
  eps = 1e-5,
): { y: Tensor; mean: Tensor; variance: Tensor } {
  const [mean, variance] = moments(x);
  return { y: normalize(x, mean, variance, weight, bias, eps), mean, variance };
}
