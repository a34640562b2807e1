/** Convolutions on one thread or the GPU, all three passes: the depthwise layers of MobileFaceNet, and dense ones of ResNets. */
import type { ConvAttrs } from '../src/ops/convolution.ts';
import { openOp } from './kernels.ts';
import type { ModeName } from './machine.ts';
import { mobileFaceNet } from './peers/net.ts';
import { geometricMean, sampleAll } from './sample.ts';
import { type Ceilings, type Result, resultOf, type Summary } from './table.ts';

export interface ConvLayer {
  /** Height and width of the input. */
  readonly size: number;
  readonly cin: number;
  readonly cout: number;
  readonly kernel: number;
  readonly stride: number;
  readonly depthwise: boolean;
}

/** Every depthwise shape of MobileFaceNet once. */
export function depthwiseLayers(): ConvLayer[] {
  const seen = new Map<string, ConvLayer>();
  for (const { depthwise, size, stride, k, pad, cout } of mobileFaceNet())
    if (depthwise) {
      const input = (size - 1) * stride + k - 2 * pad;
      // Halving rounds up: 56 to 28 with a stride of 2 comes from 55 or 56 columns, and the network has 56.
      const layer = { size: input + (stride - 1), cin: cout, cout, kernel: k, stride, depthwise };
      seen.set(JSON.stringify(layer), layer);
    }
  return [...seen.values()];
}

const dense = (size: number, cin: number, cout: number, kernel: number, stride: number): ConvLayer => ({
  size,
  cin,
  cout,
  kernel,
  stride,
  depthwise: false,
});

/** The stem, and the layers of the residual networks of the field. */
export const denseLayers: readonly ConvLayer[] = [
  dense(112, 3, 64, 3, 2),
  dense(56, 64, 64, 3, 1),
  dense(28, 128, 128, 3, 1),
  dense(14, 256, 256, 3, 1),
  dense(7, 512, 512, 3, 1),
  dense(56, 64, 128, 3, 2),
  dense(56, 64, 128, 1, 2),
];

export interface ConvolutionOptions {
  readonly mode: ModeName;
  readonly batch: number;
  readonly seconds: number;
}

export async function benchConvolutions(
  name: string,
  layers: readonly ConvLayer[],
  { mode, batch, seconds }: ConvolutionOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[] }> {
  const results: Result[] = [];
  const threads = mode === 'webgpu' ? 0 : 1;
  for (const { size, cin, cout, kernel, stride, depthwise } of layers) {
    const pad = kernel === size ? 0 : (kernel - 1) >> 1;
    const out = Math.floor((size + 2 * pad - kernel) / stride) + 1;
    const groups = depthwise ? cin : 1;
    const attrs: ConvAttrs = { stride: [stride, stride], padding: [pad, pad, pad, pad], dilation: [1, 1], groups };
    const x = [batch, size, size, cin];
    const w = [kernel, kernel, cin / groups, cout];
    const y = [batch, out, out, cout];
    const flops = (2 * batch * out * out * cout * kernel * kernel * cin) / groups;
    const bytes = 4 * [x, w, y].reduce((n, s) => n + s.reduce((a, b) => a * b, 1), 0);
    const family = depthwise ? 'depthwise' : 'conv2d';
    const passes: [string, string, number[][], number[]][] = [
      ['forward', depthwise ? 'depthwiseConv2d' : 'conv2d', [x, w], y],
      ['dx', `${family}InputGrad`, [y, w], x],
      ['dw', `${family}WeightGrad`, [x, y], w],
    ];
    for (const [pass, opName, inputs, output] of passes) {
      const op = await openOp(opName, mode, threads, inputs, output, { ...attrs, shape: output });
      const channels = depthwise ? `${cin}` : `${cin}-${cout}`;
      const work = `${name} ${pass} b${batch} ${size}x${size} ${channels} k${kernel} s${stride}`;
      const [ms] = await sampleAll([{ name: work, run: op.run }], { seconds });
      await op.close();
      results.push(resultOf({ work, threads, mode, flops, bytes }, ms!, ceilings));
    }
  }
  const summaries = (['forward', 'dx', 'dw'] as const).map((pass): Summary => {
    const of = results.filter((r) => r.work.startsWith(`${name} ${pass} `));
    return {
      what: `${name} ${pass} b${batch}, geometric mean of ${of.length} shapes, share of peak`,
      mode,
      value: geometricMean(of.map((r) => r.peakShare ?? Number.NaN)),
      unit: '%',
    };
  });
  return { results, summaries };
}
