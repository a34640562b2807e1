/**
 * DenseNet: every layer of a block sees the maps of all before it (Huang, Liu, van der Maaten, Weinberger 2017, "Densely
 * Connected Convolutional Networks", arXiv 1608.06993, DenseNet-BC, table 1), with the face field's stem and outputs.
 *
 * The one idea: a layer adds `growthRate` channels to the map and changes none, so layers stay narrow; between the blocks
 * a 1×1 convolution takes the share `compression` of the channels and a pool halves the sides.
 */
import { UsageError } from '../core/errors.ts';
import { number, type Options, oneOf, type ResolvedOptions, resolveOptions, whole } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { convFanInInit } from '../nn/init.ts';
import { BatchNorm, Conv2d, ConvBlock } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { concat } from '../ops/movement.ts';
import { relu } from '../ops/pointwise.ts';
import { avgPool, maxPool } from '../ops/pool.ts';
import type { TraceContext } from '../plan/trace.ts';
import {
  defaultPreprocessing,
  defineModel,
  type FaceNetwork,
  frameOptions,
  type Preprocessing,
  scaleChannels,
} from './network.ts';
import { Output, outputOptions, withDropout } from './output.ts';

/** Layers of the four blocks by depth. */
const layersOf = {
  121: [6, 12, 24, 16],
  169: [6, 12, 32, 32],
  201: [6, 12, 48, 32],
} as const;
type Depth = keyof typeof layersOf;
const depths = Object.keys(layersOf).map(Number) as Depth[];

const options = {
  depth: oneOf(depths, 121, 'number that the layers of the four blocks go by'),
  stem: oneOf(
    ['face', 'imagenet'],
    'face',
    'first convolution, before a 3x3 max pool of stride 2: face is 3x3 with stride 1, imagenet 7x7 with stride 2, for larger pictures',
  ),
  growthRate: whole({ from: 1 }, 32, 'channels that each layer adds'),
  compression: number({ above: 0, to: 1 }, 0.5, 'share of the channels that go on from a block to the next'),
  ...outputOptions,
  ...frameOptions(512),
};
export type DenseNetOptions = Options<typeof options>;

/** With fan-out, layers of many inputs and few outputs would make maps grow by powers where batch norm does not measure. */
const init = convFanInInit;

/** A layer's 1×1 convolution has this many times the growth rate of channels. */
const bottleneck = 4;

/** x beside what it learns of x: BN, ReLU, conv 1×1 to 4k, BN, ReLU, conv 3×3 to k. [N, H, W, C] → [N, H, W, C + k]. */
export class DenseLayer extends Module {
  readonly bn1: BatchNorm;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm;
  readonly conv2: Conv2d;
  constructor(inputs: number, growth: number) {
    super();
    const middle = bottleneck * growth;
    this.bn1 = new BatchNorm(inputs);
    this.conv1 = new Conv2d(inputs, middle, { kernel: 1, init });
    this.bn2 = new BatchNorm(middle);
    this.conv2 = new Conv2d(middle, growth, { kernel: 3, padding: 1, init });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.conv1.call(relu(this.bn1.call(x, ctx)), ctx);
    return concat([x, this.conv2.call(relu(this.bn2.call(y, ctx)), ctx)], 3);
  }
}

/** Between blocks: BN, ReLU, conv 1×1, mean of 2×2. [N, H, W, C] → [N, H/2, W/2, outputs]. */
class Transition extends Module {
  readonly bn: BatchNorm;
  readonly conv: Conv2d;
  constructor(inputs: number, outputs: number) {
    super();
    this.bn = new BatchNorm(inputs);
    this.conv = new Conv2d(inputs, outputs, { kernel: 1, init });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return avgPool(this.conv.call(relu(this.bn.call(x, ctx)), ctx), { kernel: 2 });
  }
}

export class DenseNet extends Module implements FaceNetwork {
  readonly architecture = 'densenet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  /** Dense layers, and a transition after each block but the last. */
  readonly layers: (DenseLayer | Transition)[] = [];
  readonly bn: BatchNorm;
  readonly output: Output;

  constructor(given: DenseNetOptions = {}) {
    super();
    this.options = resolveOptions('densenet', options, withDropout(given));
    const { depth, stem, growthRate, compression, inputSize, width } = this.options;
    const face = stem === 'face';
    // Odd sides lose their last row or column in a pool.
    const [h, w] = inputSize.map((n) => Math.floor(n / (face ? 16 : 32))) as [number, number];
    if (h === 0 || w === 0)
      throw new UsageError(
        `densenet: expected an input of at least 32x32 with the stem imagenet, got ${inputSize.join('x')}\nTake larger pictures, or the stem face.`,
      );
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    const growth = scaleChannels(growthRate, width);
    let c = 2 * growth;
    const first = face ? { kernel: 3, padding: 1 } : { kernel: 7, stride: 2, padding: 3 };
    this.stem = new ConvBlock(3, c, { ...first, init, activation: 'relu' });
    layersOf[depth].forEach((n, block) => {
      if (block > 0) {
        const kept = Math.max(1, Math.floor(c * compression));
        this.layers.push(new Transition(c, kept));
        c = kept;
      }
      for (let i = 0; i < n; i++, c += growth) this.layers.push(new DenseLayer(c, growth));
    });
    this.bn = new BatchNorm(c);
    this.output = new Output(this.options, [h, w], c);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = maxPool(this.stem.call(x, ctx), { kernel: 3, stride: 2, padding: 1 }); // [N, H/2, W/2, 2k]
    for (const layer of this.layers) y = layer.call(y, ctx); // [N, H/16, W/16, 1024 at depth 121]
    return this.output.call(relu(this.bn.call(y, ctx)), ctx);
  }
}

export const denseNet = defineModel({
  name: 'densenet',
  means: 'each layer sees the maps of all before it and adds a few channels',
  source: 'Huang et al. 2017, arXiv 1608.06993, table 1',
  options,
  create: (given) => new DenseNet(given),
  variants: Object.fromEntries(
    depths.map(
      (depth) => [`densenet-${depth}`, { means: `DenseNet-BC of depth ${depth}`, options: { depth } }] as const,
    ),
  ),
});
