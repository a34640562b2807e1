/**
 * Matrix products C = op(A)·op(B), op being nothing or a transpose; batched over leading axes. GEMM names: A [M, K],
 * B [K, N], C [M, N]. Blocked and packed kernels in native/matmul.ts after Goto and van de Geijn 2008.
 */
import { matmulWgsl } from '../../kernels/matmul.ts';
import { type MatmulAttrs, matmulWasm } from '../../native/matmul.ts';
import { type Shape, sameShape, sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { defineOp, shapeError } from './define.ts';
import { reshape } from './movement.ts';
import { add } from './pointwise.ts';
import { sum } from './reduce.ts';

const dimsOf = (a: Shape, b: Shape, { transA, transB }: MatmulAttrs) => {
  const [p, q] = a.slice(-2) as [number, number];
  const [r, s] = b.slice(-2) as [number, number];
  return { m: transA ? q : p, k: transA ? p : q, kb: transB ? s : r, n: transB ? r : s };
};

export const matmulOp = defineOp<MatmulAttrs>('matmul', {
  roles: ['a', 'b'],
  infer([a, b], attrs) {
    const hint = 'Transpose or reshape an operand so that the inner sizes agree.';
    if (a!.shape.length < 2 || b!.shape.length < 2)
      throw shapeError('matmul', 'operands of at least two axes', { a: a!, b: b! }, hint);
    const { m, k, kb, n } = dimsOf(a!.shape, b!.shape, attrs);
    if (k !== kb)
      throw shapeError(
        'matmul',
        `inner sizes that agree, got ${k} and ${kb} (transA ${attrs.transA}, transB ${attrs.transB})`,
        { a: a!, b: b! },
        hint,
      );
    const [ba, bb] = [a!.shape.slice(0, -2), b!.shape.slice(0, -2)];
    if (ba.length && bb.length && !sameShape(ba, bb))
      throw shapeError(
        'matmul',
        'equal leading (batch) axes, or none on one side',
        { a: a!, b: b! },
        'Broadcast one operand first.',
      );
    return [{ shape: [...(ba.length ? ba : bb), m, n], dtype: 'f32' }];
  },
  reference([a, b], [c], attrs, specs, round) {
    const [sa, sb] = specs.inputs.map((s) => s.shape) as [Shape, Shape];
    const { m, k, n } = dimsOf(sa, sb, attrs);
    const batch = sizeOf(specs.outputs[0]!.shape.slice(0, -2));
    for (let z = 0; z < batch; z++) {
      const oa = sa.length > 2 ? z * m * k : 0;
      const ob = sb.length > 2 ? z * k * n : 0;
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let acc = 0;
          for (let p = 0; p < k; p++)
            acc = round(
              acc +
                round(
                  a![oa + (attrs.transA ? p * m + i : i * k + p)]! * b![ob + (attrs.transB ? j * k + p : p * n + j)]!,
                ),
            );
          c![z * m * n + i * n + j] = acc;
        }
    }
  },
  backward({ inputs: [a, b], dys, attrs: { transA, transB } }) {
    const dy = dys[0]!;
    const unbatch = (g: Tensor, x: Tensor) =>
      g.rank > x.rank
        ? sum(
            g,
            Array.from({ length: g.rank - x.rank }, (_, i) => i),
          )
        : g;
    const da = transA ? matmul(b!, dy, { transA: transB, transB: true }) : matmul(dy, b!, { transB: !transB });
    const db = transB ? matmul(dy, a!, { transA: true, transB: transA }) : matmul(a!, dy, { transA: !transA });
    return [unbatch(da, a!), unbatch(db, b!)];
  },
  kernels: { kind: 'kernel', wasm: matmulWasm, wgsl: matmulWgsl, epilogue: true },
  cost([a, b], [c], attrs) {
    const { k } = dimsOf(a!.shape, b!.shape, attrs);
    const size = sizeOf(c!.shape);
    return { flops: 2 * size * k, bytes: 4 * (sizeOf(a!.shape) + sizeOf(b!.shape) + size) };
  },
  samples: [
    { inputs: [{ shape: [1, 1] }, { shape: [1, 1] }], attrs: { transA: false, transB: false } },
    { inputs: [{ shape: [7, 5] }, { shape: [5, 17] }], attrs: { transA: false, transB: false } },
    { inputs: [{ shape: [5, 13] }, { shape: [5, 9] }], attrs: { transA: true, transB: false } },
    { inputs: [{ shape: [13, 5] }, { shape: [33, 5] }], attrs: { transA: false, transB: true } },
    { inputs: [{ shape: [5, 6] }, { shape: [16, 5] }], attrs: { transA: true, transB: true } },
    { inputs: [{ shape: [3, 4, 5] }, { shape: [3, 5, 9] }], attrs: { transA: false, transB: false } },
    { inputs: [{ shape: [3, 4, 5] }, { shape: [9, 5] }], attrs: { transA: false, transB: true } },
    { inputs: [{ shape: [70, 3] }, { shape: [70, 12] }], attrs: { transA: true, transB: false } },
  ],
  errorSamples: [
    { inputs: [{ shape: [2, 3] }, { shape: [4, 5] }], attrs: { transA: false, transB: false } },
    { inputs: [{ shape: [3] }, { shape: [3, 5] }], attrs: { transA: false, transB: false } },
  ],
});

/** C = op(A)·op(B): [.., M, K] × [.., K, N] → [.., M, N]; `transA`/`transB` read an operand transposed (default false). */
export const matmul = (a: Tensor, b: Tensor, { transA = false, transB = false }: Partial<MatmulAttrs> = {}): Tensor =>
  matmulOp.apply([a, b], { transA, transB })[0]!;

/** y = x·w + bias over the last axis: x [.., in], w [in, out], bias [out] → [.., out]. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor): Tensor {
  const [inputs, outputs] = w.shape as [number, number];
  if (w.rank !== 2 || x.rank < 1 || x.shape[x.rank - 1] !== inputs || (bias && !sameShape(bias.shape, [outputs])))
    throw shapeError(
      'linear',
      'x [.., in], w [in, out] and bias [out]',
      { x, w, ...(bias ? { bias } : {}) },
      'Weights have the inputs on their first axis: transpose imported [out, in] matrices.',
    );
  const y = matmul(reshape(x, [x.size / inputs, inputs]), w);
  return reshape(bias ? add(y, bias) : y, [...x.shape.slice(0, -1), outputs]);
}
