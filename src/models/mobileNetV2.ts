/**
 * MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"
 * (arXiv 1801.04381), table 2, as a backbone of faces: an output to embeddings in place of the classifier.
 *
 * The one idea: maps are kept narrow, and widened only inside a unit, where a depthwise convolution works on them; the way
 * back has no activation, which would lose what a narrow map holds. The stem's stride is 1 unless asked otherwise, as
 * the paper of MobileFaceNet (arXiv 1804.07573, section 4) finds necessary at 112×112.
 */
import { type Options, oneOf, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import type { SqueezeExcite } from '../nn/attention.ts';
import { type ActivationName, type BatchNormOptions, ConvBlock } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { add } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import { defaultPreprocessing, defineModel, type FaceNetwork, frameOptions, type Preprocessing } from './network.ts';
import { Output, outputOptions, withDropout } from './output.ts';

/** A channel count as the MobileNets round it: to a multiple of 8, one more where that takes away over a tenth. */
export function makeDivisible(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

/** Options of the MobileNets: those of outputs and frames, with a global depthwise convolution as the usual output. */
export const mobileNetOptions = {
  stemStride: oneOf([1, 2], 1, 'stride of the first convolution: 2 has a quarter of the cost, as for large images'),
  ...outputOptions,
  output: { ...outputOptions.output, fallback: 'GDC' as const },
  ...frameOptions(128),
};

/** Options as `withDropout` takes them, with the output that is usual here. */
export const filledOptions = <T extends Options<typeof mobileNetOptions>>(given: T) =>
  withDropout({ ...given, output: given.output ?? mobileNetOptions.output.fallback });

/** Size of the last map: every stride of 2 gives half, rounded up. */
export const lastMap = (inputSize: readonly [number, number], stemStride: number): [number, number] => [
  Math.ceil(inputSize[0] / (16 * stemStride)),
  Math.ceil(inputSize[1] / (16 * stemStride)),
];

export interface InvertedResidualOptions {
  /** Channels inside; where they are the inputs', there is no expansion. */
  readonly wide: number;
  readonly outputs: number;
  readonly stride: number;
  /** Of the depthwise convolution. Default 3. */
  readonly kernel?: number;
  readonly activation: ActivationName;
  /** Made for so many channels, after the depthwise convolution. */
  readonly attention?: ((channels: number) => SqueezeExcite) | undefined;
  readonly batchNorm?: BatchNormOptions;
}

/** Inverted residual: 1×1 to `wide`, depthwise, [attention], linear 1×1; identity added where the map stays the same. */
export class InvertedResidual extends Module {
  readonly expand: ConvBlock | undefined;
  readonly depthwise: ConvBlock;
  readonly attention: SqueezeExcite | undefined;
  readonly project: ConvBlock;
  private readonly residual: boolean;
  constructor(
    inputs: number,
    { wide, outputs, stride, kernel = 3, activation, attention, batchNorm = {} }: InvertedResidualOptions,
  ) {
    super();
    const style = { activation, batchNorm };
    this.expand = wide === inputs ? undefined : new ConvBlock(inputs, wide, { kernel: 1, ...style });
    this.depthwise = new ConvBlock(wide, wide, { kernel, stride, padding: (kernel - 1) / 2, groups: wide, ...style });
    this.attention = attention?.(wide);
    this.project = new ConvBlock(wide, outputs, { kernel: 1, linear: true, batchNorm });
    this.residual = stride === 1 && inputs === outputs;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.depthwise.call(this.expand ? this.expand.call(x, ctx) : x, ctx);
    if (this.attention) y = this.attention.call(y, ctx);
    y = this.project.call(y, ctx);
    return this.residual ? add(x, y) : y;
  }
}

/** Table 2: expansion t, channels c, repeats n, stride s of the first. */
const table = [
  { t: 1, c: 16, n: 1, s: 1 },
  { t: 6, c: 24, n: 2, s: 2 },
  { t: 6, c: 32, n: 3, s: 2 },
  { t: 6, c: 64, n: 4, s: 2 },
  { t: 6, c: 96, n: 3, s: 1 },
  { t: 6, c: 160, n: 3, s: 2 },
  { t: 6, c: 320, n: 1, s: 1 },
];

export type MobileNetV2Options = Options<typeof mobileNetOptions>;

export class MobileNetV2 extends Module implements FaceNetwork {
  readonly architecture = 'mobilenet-v2';
  readonly options: ResolvedOptions<typeof mobileNetOptions>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly units: InvertedResidual[] = [];
  readonly head: ConvBlock;
  readonly output: Output;

  constructor(given: MobileNetV2Options = {}) {
    super();
    this.options = resolveOptions('mobilenet-v2', mobileNetOptions, filledOptions(given));
    const { stemStride, inputSize, width } = this.options;
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    const activation = 'relu6';
    let c = makeDivisible(32 * width);
    this.stem = new ConvBlock(3, c, { kernel: 3, stride: stemStride, padding: 1, activation });
    for (const row of table) {
      const outputs = makeDivisible(row.c * width);
      for (let i = 0; i < row.n; i++) {
        this.units.push(new InvertedResidual(c, { wide: c * row.t, outputs, stride: i === 0 ? row.s : 1, activation }));
        c = outputs;
      }
    }
    // The paper widens the last map for widths above 1 only.
    const last = makeDivisible(1280 * Math.max(1, width));
    this.head = new ConvBlock(c, last, { kernel: 1, activation });
    this.output = new Output(this.options, lastMap(inputSize, stemStride), last);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stem.call(x, ctx); // [N, H/s, W/s, 32], s the stem's stride
    for (const u of this.units) y = u.call(y, ctx); // [N, H/16s, W/16s, 320]
    return this.output.call(this.head.call(y, ctx), ctx);
  }
}

export const mobileNetV2 = defineModel({
  name: 'mobilenet-v2',
  means: 'inverted residuals with ReLU6, made for phones',
  source: 'Sandler et al. 2018, arXiv 1801.04381, table 2',
  options: mobileNetOptions,
  create: (given) => new MobileNetV2(given),
  variants: {},
});
