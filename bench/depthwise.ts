/**
 * Depthwise convolution on one core: the layers of MobileFaceNet at batch 32, all three passes, next to the same
 * process's copy bandwidth and multiply-add peak.
 */
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import v8 from 'node:v8';
import type { ConvAttrs } from '../native/conv2d.ts';
import { depthwiseInputGradWasm, depthwiseWasm, depthwiseWeightGradWasm } from '../native/depthwise.ts';
import type { Lowering } from '../native/lower.ts';
import { copyKernel, fmaPeakFlops, fmaPeakKernel } from '../native/roofline.ts';
import type { Mode } from '../native/wasm.ts';
import { KernelRunner, narrowRelaxed, wideRelaxed } from '../test/helpers/kernelRunner.ts';
import { bestSeconds, bindLowering } from './kernelBench.ts';

export interface DepthwiseRow {
  readonly work: string;
  readonly gflops: number;
  /** Bytes of every input and output once, per second. */
  readonly gbPerSecond: number;
  readonly milliseconds: number;
}

interface Layer {
  readonly size: number;
  readonly channels: number;
  readonly stride: number;
  readonly kernel?: number;
}

export const mobileFaceNetLayers: readonly Layer[] = [
  { size: 56, channels: 64, stride: 1 },
  { size: 56, channels: 128, stride: 2 },
  { size: 28, channels: 128, stride: 1 },
  { size: 28, channels: 256, stride: 2 },
  { size: 14, channels: 256, stride: 1 },
  { size: 14, channels: 512, stride: 2 },
  { size: 7, channels: 256, stride: 1 },
  { size: 7, channels: 512, stride: 1, kernel: 7 },
];

/** Rows per layer and pass, after the two ceilings. */
export function benchDepthwise(mode: Mode, batch = 32, layers = mobileFaceNetLayers): DepthwiseRow[] {
  const rows: DepthwiseRow[] = [];
  const peaks = new KernelRunner(mode, 128);
  const bytes = 32 << 20;
  const copy = peaks.bind(
    copyKernel,
    { from: peaks.alloc(bytes), to: peaks.alloc(bytes), bytes: 1 << 18 },
    bytes >> 18,
  );
  const width = mode.wide ? 256 : 128;
  const rounds = 100000;
  const fma = peaks.bind(fmaPeakKernel(width), { buffer: peaks.alloc(2048), rounds }, 16);
  const copySeconds = bestSeconds(copy);
  const fmaSeconds = bestSeconds(fma);
  rows.push({ work: 'copy', gflops: 0, gbPerSecond: (2 * bytes) / copySeconds / 1e9, milliseconds: copySeconds * 1e3 });
  const peak = (16 * rounds * fmaPeakFlops(width)) / fmaSeconds / 1e9;
  rows.push({ work: 'multiply-add peak', gflops: peak, gbPerSecond: 0, milliseconds: fmaSeconds * 1e3 });
  for (const { size, channels, stride, kernel = 3 } of layers) {
    const pad = kernel === 3 ? 1 : 0;
    const out = Math.floor((size + 2 * pad - kernel) / stride) + 1;
    const attrs: ConvAttrs = {
      stride: [stride, stride],
      padding: [pad, pad, pad, pad],
      dilation: [1, 1],
      groups: channels,
    };
    const x = [batch, size, size, channels];
    const w = [kernel, kernel, 1, channels];
    const y = [batch, out, out, channels];
    const flops = 2 * batch * out * out * channels * kernel * kernel;
    const moved = 4 * (batch * channels * (size * size + out * out) + kernel * kernel * channels);
    const passes: [string, Lowering<ConvAttrs>, number[][], number[]][] = [
      ['forward', depthwiseWasm, [x, w], y],
      ['input grad', depthwiseInputGradWasm, [y, w], x],
      ['weight grad', depthwiseWeightGradWasm, [x, y], w],
    ];
    for (const [pass, lower, inputs, output] of passes) {
      const seconds = bestSeconds(bindLowering(lower, inputs, [output], attrs, new KernelRunner(mode, 256)));
      rows.push({
        work: `${size}x${size}x${channels} k${kernel} s${stride} ${pass}`,
        gflops: flops / seconds / 1e9,
        gbPerSecond: moved / seconds / 1e9,
        milliseconds: seconds * 1e3,
      });
    }
  }
  return rows;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const wide = process.argv.includes('--wide');
  v8.setFlagsFromString('--no-liftoff');
  if (wide) v8.setFlagsFromString('--experimental-wasm-revectorize');
  console.log(`depthwise, batch 32, one of ${availableParallelism()} cores, ${wide ? 'wide' : 'narrow'}`);
  for (const r of benchDepthwise(wide ? wideRelaxed : narrowRelaxed))
    console.log(
      `${r.work.padEnd(36)} ${r.gflops.toFixed(1).padStart(6)} GFLOP/s ${r.gbPerSecond.toFixed(1).padStart(6)} GB/s ${r.milliseconds.toFixed(2).padStart(8)} ms`,
    );
}
