/**
 * The network of MobileFaceNet-Keras-K210: MobileNet's separable convolutions (Howard et al. 2017, arXiv 1704.04861, section 3)
 * with MobileFaceNet's global depthwise convolution, in the few layers that the K210 chip's accelerator runs: 1×1 and 3×3
 * convolutions with zeros all around where the stride is 2, one activation per layer (LeakyReLU in place of PReLU), no
 * additions of maps.
 *
 * 208,384 parameters and 59.9 M multiply-adds at 112×112 as -S, 225,152 as -M, 361,344 as Full. As in Keras, batch norm has
 * eps 1e-3 and keeps 0.99 of its running statistics. The published program has one more block in its inference graph than
 * in its training graph; this is the training graph, which evaluation here uses without the dropout.
 */
import { flag, number, type Options, oneOf, type ResolvedOptions, resolveOptions, whole } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { xavierUniform } from '../nn/init.ts';
import { BatchNorm, ConvBlock, type ConvBlockOptions, Dropout, Linear } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import type { TraceContext } from '../plan/trace.ts';
import {
  defaultPreprocessing,
  defineModel,
  type FaceNetwork,
  frameOptions,
  type Preprocessing,
  scaleChannels,
} from './network.ts';

const options = {
  ...frameOptions(128),
  form: oneOf(
    ['s', 'm', 'full'],
    's',
    '1x1 convolutions around the global layer: s has none, m one to 128 channels after it, full also one to 512 before it',
  ),
  depthMultiplier: whole({ from: 1 }, 1, 'filters for each channel of the depthwise convolutions'),
  slope: number({ from: 0, below: 1 }, 0.3, 'slope of LeakyReLU below 0'),
  dropout: number({ from: 0, below: 1 }, 0.1, 'share of numbers dropped before the dense layer'),
  bias: flag(true, 'biases of the layers from the global one on, though batch norm takes them away again'),
  bnEps: number({ above: 0 }, 1e-3, "batch norms' number added to the variance"),
  bnMomentum: number(
    { above: 0, to: 1 },
    0.01,
    "the batch's share in the running statistics (1 minus Keras' momentum)",
  ),
};
export type K210NetOptions = Options<typeof options>;

/** Stride of each block and whether its map has 128 channels, before the width, or 64. */
const table = [1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1].map((stride, i) => ({
  stride,
  channels: i < 6 ? 64 : 128,
}));

type Style = Omit<ConvBlockOptions, 'kernel'>;

/** Depthwise 3×3 and 1×1, each with batch norm and activation. */
export class Separable extends Module {
  readonly depthwise: ConvBlock;
  readonly pointwise: ConvBlock;
  constructor(inputs: number, outputs: number, stride: number, multiplier: number, style: Style) {
    super();
    const wide = inputs * multiplier;
    this.depthwise = new ConvBlock(inputs, wide, { ...style, kernel: 3, stride, padding: 1, groups: inputs });
    this.pointwise = new ConvBlock(wide, outputs, { ...style, kernel: 1 });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.pointwise.call(this.depthwise.call(x, ctx), ctx);
  }
}

export class K210Net extends Module implements FaceNetwork {
  readonly architecture = 'k210';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly blocks: Separable[] = [];
  readonly head: ConvBlock | undefined;
  readonly globalDepthwise: ConvBlock;
  readonly squeeze: ConvBlock | undefined;
  readonly dropout: Dropout;
  readonly fc: Linear;
  readonly embedding: BatchNorm;

  constructor(given: K210NetOptions = {}) {
    super();
    const o = resolveOptions('k210', options, given);
    this.options = o;
    const [h, w] = o.inputSize;
    const { bias } = o;
    this.preprocessing = { ...defaultPreprocessing, inputSize: o.inputSize };
    const batchNorm = { eps: o.bnEps, momentum: o.bnMomentum };
    const style: Style = { activation: 'leakyRelu', slope: o.slope, batchNorm, init: xavierUniform };
    let c = scaleChannels(64, o.width);
    this.stem = new ConvBlock(3, c, { ...style, kernel: 3, stride: 2, padding: 1 });
    for (const { stride, channels } of table) {
      const out = scaleChannels(channels, o.width);
      this.blocks.push(new Separable(c, out, stride, o.depthMultiplier, style));
      c = out;
    }
    if (o.form === 'full') {
      this.head = new ConvBlock(c, 512, { ...style, kernel: 1, bias });
      c = 512;
    }
    this.globalDepthwise = new ConvBlock(c, c, { ...style, kernel: [h / 16, w / 16], groups: c, bias, linear: true });
    if (o.form !== 's') {
      this.squeeze = new ConvBlock(c, 128, { ...style, kernel: 1, bias });
      c = 128;
    }
    this.dropout = new Dropout(o.dropout);
    this.fc = new Linear(c, o.embeddingSize, { bias });
    this.embedding = new BatchNorm(o.embeddingSize, batchNorm);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stem.call(x, ctx); // [N, H/2, W/2, 64]
    for (const b of this.blocks) y = b.call(y, ctx); // [N, H/16, W/16, 128]
    if (this.head) y = this.head.call(y, ctx); // [N, H/16, W/16, 512]
    y = this.globalDepthwise.call(y, ctx); // [N, 1, 1, C]
    if (this.squeeze) y = this.squeeze.call(y, ctx); // [N, 1, 1, 128]
    y = reshape(this.dropout.call(y, ctx), [x.shape[0]!, -1]);
    return this.embedding.call(this.fc.call(y, ctx), ctx);
  }
}

const variant = (form: 's' | 'm' | 'full', means: string) => ({ means, options: { form } });

export const k210Net = defineModel({
  name: 'k210',
  means: 'separable convolutions for small accelerators, 0.21 M parameters, 60 M multiply-adds',
  source: 'MobileFaceNet-Keras-K210, after Howard et al. 2017, arXiv 1704.04861',
  options,
  create: (given) => new K210Net(given),
  variants: {
    'k210-s': variant('s', 'the K210 network without convolutions around its global layer, 0.21 M parameters'),
    'k210-m': variant(
      'm',
      'the K210 network with a convolution to 128 channels after its global layer, 0.23 M parameters',
    ),
    'k210-full': variant(
      'full',
      'the K210 network with convolutions before and after its global layer, 0.36 M parameters',
    ),
  },
});
