/**
 * The ceilings of this machine as this engine can reach them: multiply-adds a second in registers, bytes a second
 * copied, with one thread and with all, or on the GPU. Every other figure is a share of these (Williams, Waterman,
 * Patterson 2009).
 */
import type { Kernel } from '../native/kernel.ts';
import { copyKernel, fmaPeakFlops, fmaPeakKernel } from '../native/roofline.ts';
import { NumericsError } from '../src/core/errors.ts';
import { GpuBench } from './gpu.ts';
import { KernelBench, modeOf } from './kernels.ts';
import type { ModeName } from './machine.ts';
import { bestOf, sampleAll, type Work } from './sample.ts';
import { type Amount, type Ceiling, type Ceilings, type Result, resultOf } from './table.ts';

/** A call takes milliseconds, so that waking the threads is a small part of it. */
const rounds = 200_000;
const chunksEach = 4;
/** Far beyond the caches. */
const copyBytes = 64 << 20;

export interface Roofline {
  readonly ceilings: Ceilings;
  readonly results: readonly Result[];
}
interface RooflineWork extends Amount {
  run(): Promise<number | undefined>;
}

/** Of the works the last is the copy and the one before it the mode's peak. */
async function measure(works: readonly RooflineWork[], seconds: number) {
  const times = await sampleAll(
    works.map((w): Work => ({ name: w.work, run: w.run })),
    { seconds: seconds / 2 },
  );
  const rate = (i: number) => (works[i]!.flops ?? works[i]!.bytes!) / bestOf(times[i]!) / 1e6;
  const last = works.length - 1;
  const ceiling: Ceiling = { threads: works[0]!.threads, peak: rate(last - 1), copy: rate(last) };
  // Multiply-adds of another width than the mode's are a share of themselves too.
  const results = works.map((w, i) => ({ ...resultOf(w, times[i]!, [ceiling]), peakShare: w.flops ? 1 : null }));
  return { ceiling, results };
}

async function wasmRoofline(mode: ModeName, threads: number, seconds: number) {
  const bench = await KernelBench.create(modeOf(mode), threads);
  const chunks = chunksEach * threads;
  const amount = (work: string) => ({ work, threads, mode });
  // A chunk writes the sums into the same buffer as the next: nobody reads them.
  const fma = (width: 128 | 256) => ({
    ...amount(`multiply-add ${width} bit`),
    flops: chunks * rounds * fmaPeakFlops(width),
    run: bench.bind([{ kernel: fmaPeakKernel(width) as Kernel, args: { buffer: bench.alloc(2048), rounds }, chunks }]),
  });
  const [from, to] = [bench.alloc(copyBytes), bench.alloc(copyBytes)];
  const copy = {
    ...amount('copy'),
    bytes: 2 * copyBytes,
    run: bench.bind([{ kernel: copyKernel as Kernel, args: { from, to, bytes: 1 << 18 }, chunks: copyBytes >> 18 }]),
  };
  const measured = await measure([fma(128), ...(mode === 'wide' ? [fma(256)] : []), copy], seconds);
  await bench.close();
  return measured;
}

/** Vectors of four that an invocation keeps in registers: enough to hide the latency of a multiply-add. */
const chains = 8;
const lanes = 256;
const main = (body: string) => `@compute @workgroup_size(${lanes}) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * ${lanes}u + lane;
${body}
}`;

async function gpuRoofline(seconds: number) {
  const bench = await GpuBench.create();
  const each = Array.from({ length: chains }, (_, k) => k);
  // A program that plays GPU takes a second for what a GPU does in a tenth of a millisecond.
  const [rounds, groups, bytes] = bench.device.onCpu ? [64, 64, copyBytes / 8] : [256, 4096, copyBytes];
  const amount = (work: string) => ({ work, threads: 0, mode: 'webgpu' as const });
  const fma = {
    ...amount('multiply-add'),
    flops: groups * lanes * rounds * chains * 4 * 2,
    run: bench.bind([
      {
        files: [],
        label: 'multiply-add',
        groups,
        params: { rounds, factor: { f32: 0.999 }, term: { f32: 1e-3 } },
        outputs: { y: { value: bench.value([4 * groups * lanes]), width: 4 } },
        code: main(`  let term = vec4<f32>(p.term);
  let factor = vec4<f32>(p.factor);
${each.map((k) => `  var s${k} = vec4<f32>(f32(i + ${k}u));`).join('\n')}
  for (var r = 0u; r < p.rounds; r++) {
${each.map((k) => `    s${k} = s${k} * factor + term;`).join('\n')}
  }
  storeY(i, ${each.map((k) => `s${k}`).join(' + ')});`),
      },
    ]),
  };
  const copy = {
    ...amount('copy'),
    bytes: 2 * bytes,
    run: bench.bind([
      {
        files: [],
        label: 'copy',
        groups: bytes / 16 / lanes,
        inputs: { x: { value: bench.value([bytes / 4]), width: 4 } },
        outputs: { y: { value: bench.value([bytes / 4]), width: 4 } },
        code: main('  storeY(i, loadX(i));'),
      },
    ]),
  };
  const measured = await measure([fma, copy], seconds);
  await bench.close();
  return measured;
}

export async function measureRoofline(mode: ModeName, threadCounts: readonly number[], seconds = 1): Promise<Roofline> {
  const ceilings: Ceiling[] = [];
  const results: Result[] = [];
  for (const threads of threadCounts) {
    const measured = await (mode === 'webgpu' ? gpuRoofline(seconds) : wasmRoofline(mode, threads, seconds));
    ceilings.push(measured.ceiling);
    results.push(...measured.results);
  }
  // A wide process that is no faster than a narrow one measures something other than it says.
  const [narrow, wide] = results.map((r) => r.gflops) as [number, number];
  if (mode === 'wide' && wide < 1.2 * narrow)
    throw new NumericsError(
      `bench: expected 256-bit multiply-adds to be at least 1.2x as fast as 128-bit ones, got ${wide.toFixed(1)} against ${narrow.toFixed(1)} GFLOP/s\nThis V8 does not pair vectors, or the machine is busy: run with --mode narrow, or again.`,
    );
  return { ceilings, results };
}

/** The higher of two measurements of the same ceilings: load on the machine only ever lowers them. */
export const higher = (a: Ceilings, b: Ceilings): Ceilings =>
  a.map((x) => {
    const y = b.find((c) => c.threads === x.threads) ?? x;
    return { threads: x.threads, peak: Math.max(x.peak, y.peak), copy: Math.max(x.copy, y.copy) };
  });
