/** The largest entries of each row, with their places. A heap per row (native/topK.ts); the gradient is a scatter. */
import { topKWgsl } from '../../kernels/topK.ts';
import { topKWasm } from '../../native/topK.ts';
import { sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { defineOp, shapeError } from './define.ts';
import { scatterAddAlong } from './gather.ts';

/** Whether the entry (value a, index i) comes before (b, j): NaN first, then larger, then lower index. */
const before = (a: number, i: number, b: number, j: number): boolean => {
  if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a);
  return a === b || Number.isNaN(a) ? i < j : a > b;
};

export const topKOp = defineOp<{ k: number }>('topK', {
  roles: ['x'],
  infer([x], { k }) {
    const n = x!.shape[x!.shape.length - 1];
    if (n === undefined || x!.dtype !== 'f32' || !Number.isInteger(k) || k < 1 || k > n)
      throw shapeError(
        'topK',
        `float32 rows of at least k entries and k of at least 1, got k ${k}`,
        { x: x! },
        'Choose k between 1 and the size of the last axis.',
      );
    const shape = [...x!.shape.slice(0, -1), k];
    return [
      { shape, dtype: 'f32' },
      { shape, dtype: 'i32' },
    ];
  },
  reference([x], [values, indices], { k }, specs) {
    const shape = specs.inputs[0]!.shape;
    const n = shape[shape.length - 1]!;
    for (let row = 0; row < x!.length / n; row++) {
      const entries = Array.from({ length: n }, (_, i) => ({ v: x![row * n + i]!, i }));
      entries.sort((a, b) => (before(a.v, a.i, b.v, b.i) ? -1 : 1));
      for (let j = 0; j < k; j++) {
        values![row * k + j] = entries[j]!.v;
        indices![row * k + j] = entries[j]!.i;
      }
    }
  },
  backward: ({ inputs: [x], outputs: [, indices], dys: [dValues] }) => [
    dValues && scatterAddAlong(indices!, dValues, x!.shape[x!.rank - 1]!),
  ],
  kernels: { kind: 'kernel', wasm: topKWasm, wgsl: topKWgsl },
  cost: ([x], [y]) => ({ flops: sizeOf(x!.shape), bytes: 4 * (sizeOf(x!.shape) + 2 * sizeOf(y!.shape)) }),
  samples: [
    { inputs: [{ shape: [1], distinct: 0.01 }], attrs: { k: 1 } },
    { inputs: [{ shape: [3, 17], distinct: 0.01 }], attrs: { k: 5 } },
    { inputs: [{ shape: [2, 2, 9], distinct: 0.01 }], attrs: { k: 9 } },
    { inputs: [{ shape: [7], values: [1, 3, 3, -1, 3, 0, 1] }], attrs: { k: 4 }, noGradient: 'equal values' },
  ],
  errorSamples: [
    { inputs: [{ shape: [3, 4] }], attrs: { k: 5 } },
    { inputs: [{ shape: [] }], attrs: { k: 1 } },
  ],
});

/**
 * The k largest of each row in descending order, [..., n] → [..., k], and their int32 indices. Of equal values the lower
 * index comes first; NaN counts as largest. Values are differentiable, indices are not.
 */
export function topK(x: Tensor, k: number): { readonly values: Tensor; readonly indices: Tensor } {
  const [values, indices] = topKOp.apply([x], { k }) as [Tensor, Tensor];
  return { values, indices };
}
