/**
 * Matrix products at MobileFaceNet's own shapes, on one thread or the GPU, as a share of the mode's multiply-add peak.
 *
 * Packing of B and, for weight gradients, the merge of partial sums are part of the time, though an inference plan
 * packs its weights once and for all.
 */
import type { MatmulAttrs } from '../native/matmul.ts';
import { openOp } from './kernels.ts';
import type { ModeName } from './machine.ts';
import { mobileFaceNet } from './peers/net.ts';
import { geometricMean, sampleAll } from './sample.ts';
import { type Ceilings, type Result, resultOf, type Summary } from './table.ts';

type Pass = 'forward' | 'dx' | 'dw';

interface GemmCase {
  readonly pass: Pass;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** [pixels, channels in, channels out] of every pointwise convolution over an image, each shape once. */
export function pointwiseShapes(): [number, number, number][] {
  const seen = new Map<string, [number, number, number]>();
  for (const l of mobileFaceNet())
    if (l.k === 1 && l.size > 1) seen.set(`${l.size} ${l.cin} ${l.cout}`, [l.size ** 2, l.cin, l.cout]);
  return [...seen.values()];
}

const attrsOf: Record<Pass, MatmulAttrs> = {
  forward: { transA: false, transB: false },
  dx: { transA: false, transB: true },
  dw: { transA: true, transB: false },
};

function casesOf(pass: Pass, batch: number): GemmCase[] {
  return pointwiseShapes().map(([hw, i, o]) =>
    pass === 'forward'
      ? { pass, m: batch * hw, k: i, n: o }
      : pass === 'dx'
        ? { pass, m: batch * hw, k: o, n: i }
        : { pass, m: i, k: batch * hw, n: o },
  );
}

export interface GemmOptions {
  readonly mode: ModeName;
  readonly batches: readonly number[];
  readonly seconds: number;
}

export async function benchGemm(
  { mode, batches, seconds }: GemmOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[] }> {
  const results: Result[] = [];
  const summaries: Summary[] = [];
  const threads = mode === 'webgpu' ? 0 : 1;
  const time = async (work: string, { pass, m, n, k }: GemmCase) => {
    const attrs = attrsOf[pass];
    const inputs = [attrs.transA ? [k, m] : [m, k], attrs.transB ? [n, k] : [k, n]];
    const op = await openOp('matmul', mode, threads, inputs, [m, n], attrs);
    const [ms] = await sampleAll([{ name: work, run: op.run }], { seconds });
    await op.close();
    const row = resultOf({ work, threads, mode, flops: 2 * m * n * k }, ms!, ceilings);
    results.push(row);
    return row;
  };
  for (const batch of batches)
    for (const pass of batch > 1 ? (['forward', 'dx', 'dw'] as const) : (['forward'] as const)) {
      const shares: number[] = [];
      for (const c of casesOf(pass, batch)) {
        const row = await time(`gemm ${pass} b${batch} ${c.m}x${c.k}x${c.n}`, c);
        shares.push(row.peakShare ?? Number.NaN);
      }
      summaries.push({
        what: `gemm ${pass} b${batch}, geometric mean of ${shares.length} shapes, share of peak`,
        mode,
        value: geometricMean(shares),
        unit: '%',
      });
    }
  // Not in the means: at batch 1 the embedding is a matrix times a vector, which memory bounds.
  for (const batch of batches)
    await time(`gemm embedding b${batch} ${batch}x512x128`, { pass: 'forward', m: batch, k: 512, n: 128 });
  await time('gemm classes b128 128x128x10575', { pass: 'dx', m: 128, k: 128, n: 10575 });
  return { results, summaries };
}
