/** Matrix products on WebGPU: both sides are matrices in memory, in either direction, batched on one side or both. */
import type { MatmulAttrs } from '../native/matmul.ts';
import { gemmWgsl, plainSide } from './gemm.ts';
import { elementsOf, type GpuLowering } from './lower.ts';

export const matmulWgsl: GpuLowering<MatmulAttrs> = (e, [a, b], [c], { transA, transB }) => {
  const [rows, columns] = a!.shape.slice(-2) as [number, number];
  let [m, k] = transA ? [columns, rows] : [rows, columns];
  const n = c!.shape.at(-1)!;
  let batch = m * n && elementsOf(c!) / (m * n);
  const [batchedA, batchedB] = [a!.shape.length > 2, b!.shape.length > 2];
  // Rows of every batch element against one B are one tall matrix.
  if (batchedA && !batchedB && !transA) [m, batch] = [m * batch, 1];
  gemmWgsl(e, {
    m,
    n,
    k,
    batch,
    a: plainSide('A', a!, !transA, columns, batchedA && batch > 1 ? m * k : 0),
    b: plainSide('B', b!, transB, transB ? k : n, batchedB ? k * n : 0),
    c: c!,
    cLine: n,
    cBatch: m * n,
  });
};
