/**
 * MobileNetV3, large and small: Howard, Sandler, Chu and others 2019, "Searching for MobileNetV3" (arXiv 1905.02244),
 * tables 1 and 2, as a backbone of faces: an output to embeddings in place of pool, hidden layer and classifier.
 *
 * The one idea: MobileNetV2's units, each with the kernel, width, activation and attention that a search found. Squeeze and
 * excitation has a quarter of the unit's width inside, biases, and a hard sigmoid; the deeper half has hard swish. Batch
 * norm keeps 0.99 of its running statistics (section 6.1.1) and has TensorFlow's eps 1e-3. Table 2 marks squeeze and
 * excitation at the last convolution of small too; the networks that were published do without, and so does this one.
 */
import { type Options, oneOf, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { SqueezeExcite } from '../nn/attention.ts';
import { ConvBlock } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { hardSigmoid } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import { filledOptions, InvertedResidual, lastMap, makeDivisible, mobileNetOptions } from './mobileNetV2.ts';
import { defaultPreprocessing, defineModel, type FaceNetwork, type Preprocessing } from './network.ts';
import { Output } from './output.ts';

type Row = readonly [kernel: number, wide: number, channels: number, 'SE' | '', 'RE' | 'HS', stride: number];

const tables: Readonly<Record<'large' | 'small', readonly Row[]>> = {
  large: [
    [3, 16, 16, '', 'RE', 1],
    [3, 64, 24, '', 'RE', 2],
    [3, 72, 24, '', 'RE', 1],
    [5, 72, 40, 'SE', 'RE', 2],
    [5, 120, 40, 'SE', 'RE', 1],
    [5, 120, 40, 'SE', 'RE', 1],
    [3, 240, 80, '', 'HS', 2],
    [3, 200, 80, '', 'HS', 1],
    [3, 184, 80, '', 'HS', 1],
    [3, 184, 80, '', 'HS', 1],
    [3, 480, 112, 'SE', 'HS', 1],
    [3, 672, 112, 'SE', 'HS', 1],
    [5, 672, 160, 'SE', 'HS', 2],
    [5, 960, 160, 'SE', 'HS', 1],
    [5, 960, 160, 'SE', 'HS', 1],
  ],
  small: [
    [3, 16, 16, 'SE', 'RE', 2],
    [3, 72, 24, '', 'RE', 2],
    [3, 88, 24, '', 'RE', 1],
    [5, 96, 40, 'SE', 'HS', 2],
    [5, 240, 40, 'SE', 'HS', 1],
    [5, 240, 40, 'SE', 'HS', 1],
    [5, 120, 48, 'SE', 'HS', 1],
    [5, 144, 48, 'SE', 'HS', 1],
    [5, 288, 96, 'SE', 'HS', 2],
    [5, 576, 96, 'SE', 'HS', 1],
    [5, 576, 96, 'SE', 'HS', 1],
  ],
};

const options = {
  size: oneOf(['large', 'small'], 'large', "which of the paper's two networks"),
  ...mobileNetOptions,
};
export type MobileNetV3Options = Options<typeof options>;

const batchNorm = { eps: 1e-3, momentum: 0.01 };
const squeezeExcite = (channels: number): SqueezeExcite =>
  new SqueezeExcite(channels, { hidden: makeDivisible(channels / 4), bias: true, gate: hardSigmoid });

export class MobileNetV3 extends Module implements FaceNetwork {
  readonly architecture = 'mobilenet-v3';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly units: InvertedResidual[] = [];
  readonly head: ConvBlock;
  readonly output: Output;

  constructor(given: MobileNetV3Options = {}) {
    super();
    this.options = resolveOptions('mobilenet-v3', options, filledOptions(given));
    const { size, stemStride, inputSize, width } = this.options;
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    const scaled = (channels: number) => makeDivisible(channels * width);
    let c = scaled(16);
    const stem = { kernel: 3, stride: stemStride, padding: 1, activation: 'hardSwish', batchNorm } as const;
    this.stem = new ConvBlock(3, c, stem);
    for (const [kernel, wide, channels, attention, activation, stride] of tables[size]) {
      this.units.push(
        new InvertedResidual(c, {
          wide: scaled(wide),
          outputs: scaled(channels),
          stride,
          kernel,
          activation: activation === 'HS' ? 'hardSwish' : 'relu',
          attention: attention ? squeezeExcite : undefined,
          batchNorm,
        }),
      );
      c = scaled(channels);
    }
    const last = 6 * c; // 960, and 576 in small
    this.head = new ConvBlock(c, last, { kernel: 1, activation: 'hardSwish', batchNorm });
    const map = lastMap(inputSize, stemStride);
    this.output = new Output(this.options, map, last, batchNorm);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stem.call(x, ctx); // [N, H/s, W/s, 16], s the stem's stride
    for (const u of this.units) y = u.call(y, ctx); // [N, H/16s, W/16s, 160]
    return this.output.call(this.head.call(y, ctx), ctx);
  }
}

const variant = (size: 'large' | 'small') =>
  [`mobilenet-v3-${size}`, { means: `MobileNetV3-${size}`, options: { size } }] as const;

export const mobileNetV3 = defineModel({
  name: 'mobilenet-v3',
  means: 'inverted residuals with hard swish, squeeze and excitation, found by a search for phones',
  source: 'Howard et al. 2019, arXiv 1905.02244, tables 1 and 2',
  options,
  create: (given) => new MobileNetV3(given),
  variants: Object.fromEntries((['large', 'small'] as const).map(variant)),
});
