/** Dense convolution on one core: typical layers of face networks at batch 8, all three passes, as a share of the peak. */
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import v8 from 'node:v8';
import { conv2dInputGradWasm, conv2dWasm, conv2dWeightGradWasm } from '../native/conv2d.ts';
import type { ConvAttrs } from '../native/convGeometry.ts';
import type { Lowering } from '../native/lower.ts';
import { fmaPeakFlops, fmaPeakKernel } from '../native/roofline.ts';
import type { Mode } from '../native/wasm.ts';
import { KernelRunner, narrowRelaxed, wideRelaxed } from '../test/helpers/kernelRunner.ts';
import { bestSeconds, bindLowering } from './kernelBench.ts';

export interface ConvRow {
  readonly work: string;
  readonly gflops: number;
  readonly milliseconds: number;
  /** Share of the multiply-add peak of the same process. */
  readonly ofPeak: number;
}

interface Layer {
  readonly size: number;
  readonly from: number;
  readonly to: number;
  readonly kernel: number;
  readonly stride: number;
}

export const denseLayers: readonly Layer[] = [
  { size: 112, from: 3, to: 64, kernel: 3, stride: 2 },
  { size: 56, from: 64, to: 64, kernel: 3, stride: 1 },
  { size: 28, from: 128, to: 128, kernel: 3, stride: 1 },
  { size: 14, from: 256, to: 256, kernel: 3, stride: 1 },
  { size: 7, from: 512, to: 512, kernel: 3, stride: 1 },
  { size: 56, from: 64, to: 128, kernel: 3, stride: 2 },
  { size: 56, from: 64, to: 128, kernel: 1, stride: 2 },
];

export function benchConv2d(mode: Mode, batch = 8, layers = denseLayers): ConvRow[] {
  const peaks = new KernelRunner(mode, 16);
  const width = mode.wide ? 256 : 128;
  const rounds = 100000;
  const fma = peaks.bind(fmaPeakKernel(width), { buffer: peaks.alloc(2048), rounds }, 16);
  const peak = (16 * rounds * fmaPeakFlops(width)) / bestSeconds(fma) / 1e9;
  const rows: ConvRow[] = [{ work: 'multiply-add peak', gflops: peak, milliseconds: 0, ofPeak: 1 }];
  for (const { size, from, to, kernel, stride } of layers) {
    const pad = (kernel - 1) / 2;
    const out = Math.floor((size + 2 * pad - kernel) / stride) + 1;
    const attrs: ConvAttrs = {
      stride: [stride, stride],
      padding: [pad, pad, pad, pad],
      dilation: [1, 1],
      groups: 1,
    };
    const x = [batch, size, size, from];
    const w = [kernel, kernel, from, to];
    const y = [batch, out, out, to];
    const flops = 2 * batch * out * out * to * kernel * kernel * from;
    const passes: [string, Lowering<ConvAttrs>, number[][], number[]][] = [
      ['forward', conv2dWasm, [x, w], y],
      ['input grad', conv2dInputGradWasm, [y, w], x],
      ['weight grad', conv2dWeightGradWasm, [x, y], w],
    ];
    for (const [pass, lower, inputs, output] of passes) {
      const seconds = bestSeconds(bindLowering(lower, inputs, [output], attrs, new KernelRunner(mode, 256)));
      const gflops = flops / seconds / 1e9;
      rows.push({
        work: `${size}x${size} ${from}->${to} k${kernel} s${stride} ${pass}`,
        gflops,
        milliseconds: seconds * 1e3,
        ofPeak: gflops / peak,
      });
    }
  }
  return rows;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const wide = process.argv.includes('--wide');
  v8.setFlagsFromString('--no-liftoff');
  if (wide) v8.setFlagsFromString('--experimental-wasm-revectorize');
  console.log(`conv2d, batch 8, one of ${availableParallelism()} cores, ${wide ? 'wide' : 'narrow'}`);
  for (const r of benchConv2d(wide ? wideRelaxed : narrowRelaxed))
    console.log(
      `${r.work.padEnd(40)} ${r.gflops.toFixed(1).padStart(6)} GFLOP/s ${(100 * r.ofPeak).toFixed(0).padStart(4)} % ${r.milliseconds.toFixed(2).padStart(8)} ms`,
    );
}
