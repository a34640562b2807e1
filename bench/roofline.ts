/**
 * The ceilings of this machine as this engine can reach them: multiply-adds a second in registers, bytes a second
 * copied, with one thread and with all. Every other figure is a share of these (Williams, Waterman, Patterson 2009).
 */
import type { Kernel } from '../native/kernel.ts';
import { copyKernel, fmaPeakFlops, fmaPeakKernel } from '../native/roofline.ts';
import { NumericsError } from '../src/core/errors.ts';
import { KernelBench, modeOf } from './kernels.ts';
import type { ModeName } from './machine.ts';
import { bestOf, sampleAll, type Work } from './sample.ts';
import { type Ceiling, type Ceilings, type Result, resultOf } from './table.ts';

/** A call takes milliseconds, so that waking the threads is a small part of it. */
const rounds = 200_000;
const chunksEach = 4;
/** Far beyond the caches. */
const copyBytes = 64 << 20;

export async function measureRoofline(
  mode: ModeName,
  threadCounts: readonly number[],
  seconds = 1,
): Promise<{ ceilings: Ceilings; results: Result[] }> {
  const ceilings: Ceiling[] = [];
  const results: Result[] = [];
  for (const threads of threadCounts) {
    const bench = await KernelBench.create(modeOf(mode), threads);
    const chunks = chunksEach * threads;
    const amount = (work: string) => ({ work, threads, mode });
    // A chunk writes the sums into the same buffer as the next: nobody reads them.
    const fma = (width: 128 | 256) => ({
      ...amount(`multiply-add ${width} bit`),
      flops: chunks * rounds * fmaPeakFlops(width),
      run: bench.bind([
        { kernel: fmaPeakKernel(width) as Kernel, args: { buffer: bench.alloc(2048), rounds }, chunks },
      ]),
    });
    const [from, to] = [bench.alloc(copyBytes), bench.alloc(copyBytes)];
    const copy = {
      ...amount('copy'),
      bytes: 2 * copyBytes,
      run: bench.bind([{ kernel: copyKernel as Kernel, args: { from, to, bytes: 1 << 18 }, chunks: copyBytes >> 18 }]),
    };
    const works = [fma(128), ...(mode === 'wide' ? [fma(256)] : []), copy];
    const times = await sampleAll(
      works.map((w): Work => ({ name: w.work, run: w.run })),
      { seconds: seconds / 2 },
    );
    await bench.close();
    const gflops = (i: number) => (works[i] as { flops: number }).flops / bestOf(times[i]!) / 1e6;
    const ceiling = {
      threads,
      fma128: gflops(0),
      fma256: mode === 'wide' ? gflops(1) : null,
      copy: copy.bytes / bestOf(times[times.length - 1]!) / 1e6,
    };
    ceilings.push(ceiling);
    works.forEach((w, i) => {
      const row = resultOf(w, times[i]!, [ceiling]);
      const own = w === copy ? null : row.gflops / (i === 0 ? ceiling.fma128 : ceiling.fma256!);
      results.push({ ...row, peakShare: own && Number(own.toPrecision(5)) });
    });
  }
  const one = ceilings[0]!;
  // A wide process that is no faster than a narrow one measures something other than it says.
  if (one.fma256 !== null && one.fma256 < 1.2 * one.fma128)
    throw new NumericsError(
      `bench: expected 256-bit multiply-adds to be at least 1.2x as fast as 128-bit ones, got ${one.fma256.toFixed(1)} against ${one.fma128.toFixed(1)} GFLOP/s\nThis V8 does not pair vectors, or the machine is busy: run with --mode narrow, or again.`,
    );
  return { ceilings, results };
}

/** The higher of two measurements of the same ceilings: load on the machine only ever lowers them. */
export const higher = (a: Ceilings, b: Ceilings): Ceilings =>
  a.map((x) => {
    const y = b.find((c) => c.threads === x.threads) ?? x;
    return {
      threads: x.threads,
      fma128: Math.max(x.fma128, y.fma128),
      fma256: x.fma256 === null || y.fma256 === null ? x.fma256 : Math.max(x.fma256, y.fma256),
      copy: Math.max(x.copy, y.copy),
    };
  });
