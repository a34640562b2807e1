/**
 * MobileFaceNet: Chen, Liu, Gao, Han 2018, "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on
 * Mobile Devices" (arXiv 1804.07573), table 1. 1,003,136 parameters and 221.0 M multiply-adds at 112×112.
 *
 * The one idea: all forms in use are this one table with small changes, each an option here: the paper's own -M, -S and -R
 * (section 4), the dense output of Face_Pytorch's relatives, the two extra linear layers and the asymmetric padding of the
 * TensorFlow ports, and InsightFace's block counts and wider maps. Defaults are the paper's.
 */
import {
  flag,
  number,
  numbers,
  type OptionSpec,
  type Options,
  oneOf,
  type ResolvedOptions,
  resolveOptions,
  whole,
} from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { convInit, fanInUniform, xavierNormal } from '../nn/init.ts';
import { BatchNorm, ConvBlock, type ConvBlockOptions, Linear } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import { add } from '../ops/pointwise.ts';
import { globalAvgPool } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';
import {
  defaultPreprocessing,
  defineModel,
  type FaceNetwork,
  frameOptions,
  type Preprocessing,
  scaleChannels,
} from './network.ts';

const inits = { fanOut: convInit, fanIn: fanInUniform, xavier: xavierNormal };

const blockCounts: OptionSpec<readonly number[]> = {
  ...numbers(
    {},
    [1, 4, 6, 2],
    'units of equal shape in each stage; with 1 the first stage is one depthwise convolution',
  ),
  expects: 'four whole numbers such as 1,4,6,2, the first of at least 1',
  accepts: (x) => Array.isArray(x) && x.length === 4 && x.every((n, i) => Number.isSafeInteger(n) && n >= +(i === 0)),
};

const options = {
  ...frameOptions(128),
  blocks: blockCounts,
  scale: whole({ from: 1 }, 1, "factor on the units' inputs and outputs alone, not on the width inside them"),
  expansion: number({ above: 0 }, 1, "factor on the width inside the units, which is the paper's at 1"),
  firstExpansion: number({ above: 0 }, 2, 'expansion of the units of the first stage, where it has units'),
  activation: oneOf(['prelu', 'relu', 'leakyRelu', 'hardSwish'], 'prelu', "activation; relu makes the paper's -R"),
  widen: flag(true, "1x1 convolution to 512 channels before the global layer (the table's row 8)"),
  pool: oneOf(
    ['depthwise', 'average'],
    'depthwise',
    'global layer: a depthwise convolution as large as the map, or its mean',
  ),
  output: oneOf(
    ['conv', 'linear', 'none'],
    'conv',
    'last layer: a linear 1x1 convolution and BN, a dense layer without bias and BN, or none; then the last convolution of the map makes as many channels as the embedding is long',
  ),
  linears: flag(
    false,
    'two more linear 1x1 convolutions: after the first depthwise convolution and after the global layer',
  ),
  padding: oneOf(
    ['symmetric', 'same'],
    'symmetric',
    "padding of strided convolutions: 1 all around, or TensorFlow's SAME, which pads below and on the right only",
  ),
  bnEps: number({ above: 0 }, 1e-5, "batch norms' number added to the variance"),
  bnMomentum: number(
    { above: 0, to: 1 },
    0.1,
    "the batch's share in the running statistics (1 minus TensorFlow's decay)",
  ),
  init: oneOf(
    ['fanOut', 'fanIn', 'xavier'],
    'fanOut',
    "initial weights of the convolutions: He's normal by fan-out, PyTorch's default (uniform by fan-in), or Xavier's normal",
  ),
};
export type MobileFaceNetOptions = Options<typeof options>;

type Style = Pick<ConvBlockOptions, 'activation' | 'batchNorm' | 'init'> & {
  /** Padding of a 3×3 convolution with stride 2. */
  readonly strided?: ConvBlockOptions['padding'];
};

/** Inverted residual: 1×1 to `wide`, depthwise 3×3, linear 1×1 to `outputs`; identity added at stride 1 and in = out. */
export class Bottleneck extends Module {
  readonly expand: ConvBlock;
  readonly depthwise: ConvBlock;
  readonly project: ConvBlock;
  private readonly residual: boolean;
  constructor(inputs: number, wide: number, outputs: number, stride: number, { strided = 1, ...style }: Style = {}) {
    super();
    const padding = stride > 1 ? strided : 1;
    this.expand = new ConvBlock(inputs, wide, { ...style, kernel: 1 });
    this.depthwise = new ConvBlock(wide, wide, { ...style, kernel: 3, stride, padding, groups: wide });
    this.project = new ConvBlock(wide, outputs, { ...style, kernel: 1, linear: true });
    this.residual = stride === 1 && inputs === outputs;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.project.call(this.depthwise.call(this.expand.call(x, ctx), ctx), ctx);
    return this.residual ? add(x, y) : y;
  }
}

/** Dense layer without bias on a flattened map, and batch norm: [N, 1, 1, C] → [N, d]. */
class DenseOutput extends Module {
  readonly fc: Linear;
  readonly bn: BatchNorm;
  constructor(inputs: number, outputs: number, batchNorm: ConvBlockOptions['batchNorm']) {
    super();
    this.fc = new Linear(inputs, outputs, { bias: false });
    this.bn = new BatchNorm(outputs, batchNorm);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.bn.call(this.fc.call(reshape(x, [x.shape[0]!, -1]), ctx), ctx);
  }
}

export class MobileFaceNet extends Module implements FaceNetwork {
  readonly architecture = 'mobilefacenet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly stemDepthwise: ConvBlock | undefined;
  readonly stemLinear: ConvBlock | undefined;
  readonly blocks: Bottleneck[] = [];
  readonly head: ConvBlock | undefined;
  readonly globalDepthwise: ConvBlock | undefined;
  readonly globalLinear: ConvBlock | undefined;
  readonly embedding: ConvBlock | DenseOutput | undefined;

  constructor(given: MobileFaceNetOptions = {}) {
    super();
    const o = resolveOptions('mobilefacenet', options, given);
    this.options = o;
    const [h, w] = o.inputSize;
    this.preprocessing = { ...defaultPreprocessing, inputSize: o.inputSize };
    const style: Style = {
      activation: o.activation,
      batchNorm: { eps: o.bnEps, momentum: o.bnMomentum },
      init: inits[o.init],
      strided: o.padding === 'same' ? [0, 1, 0, 1] : 1,
    };
    const { strided, ...plain } = style;
    const linear = (inputs: number, outputs: number) =>
      new ConvBlock(inputs, outputs, { ...plain, kernel: 1, linear: true });
    const scaled = (c: number) => scaleChannels(c, o.width);

    const narrow = scaled(64); // Channels without `scale`: what the widths inside units go by.
    const wider = scaled(128);
    const first = narrow * o.scale;
    const later = o.output === 'none' && !o.widen ? o.embeddingSize : wider * o.scale;
    const [units0, units1, units2, units3] = o.blocks as readonly [number, number, number, number];
    this.stem = new ConvBlock(3, first, { ...plain, kernel: 3, stride: 2, padding: strided! });
    if (units0 === 1)
      this.stemDepthwise = new ConvBlock(first, first, { ...plain, kernel: 3, padding: 1, groups: narrow });
    if (o.linears) this.stemLinear = linear(first, first);
    let c = first;
    const stage = (n: number, wide: number, outputs: number, stride = 1) => {
      for (let i = 0; i < n; i++) {
        this.blocks.push(new Bottleneck(c, scaleChannels(wide, o.expansion), outputs, stride, style));
        c = outputs;
      }
    };
    if (units0 > 1) stage(units0, narrow * o.firstExpansion, first);
    stage(1, narrow * 2, first, 2);
    stage(units1, narrow * 2, first);
    stage(1, narrow * 4, wider * o.scale, 2);
    stage(units2, wider * 2, wider * o.scale);
    stage(1, wider * 4, later, 2);
    stage(units3, wider * 2, later);

    if (o.widen) {
      const wide = o.output === 'none' ? o.embeddingSize : scaled(512);
      this.head = new ConvBlock(c, wide, { ...plain, kernel: 1 });
      c = wide;
    }
    if (o.pool === 'depthwise')
      this.globalDepthwise = new ConvBlock(c, c, { ...plain, kernel: [h / 16, w / 16], groups: c, linear: true });
    if (o.linears) this.globalLinear = linear(c, c);
    if (o.output === 'conv') this.embedding = linear(c, o.embeddingSize);
    else if (o.output === 'linear') this.embedding = new DenseOutput(c, o.embeddingSize, style.batchNorm);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const through = (modules: readonly (Module | undefined)[], from: Tensor) =>
      modules.reduce((y, m) => m?.call(y, ctx) ?? y, from);
    const map = through([this.stem, this.stemDepthwise, this.stemLinear, ...this.blocks, this.head], x); // [N, H/16, W/16, 512]
    const whole = this.globalDepthwise?.call(map, ctx) ?? reshape(globalAvgPool(map), [x.shape[0]!, 1, 1, -1]);
    return reshape(through([this.globalLinear, this.embedding], whole), [x.shape[0]!, this.options.embeddingSize]);
  }
}

export const mobileFaceNet = defineModel({
  name: 'mobilefacenet',
  means: 'inverted residuals and a global depthwise convolution, 1.0 M parameters, 221 M multiply-adds',
  source: 'Chen et al. 2018, arXiv 1804.07573, table 1',
  options,
  create: (given) => new MobileFaceNet(given),
  variants: {
    'mobilefacenet-512': {
      means:
        'MobileFaceNet with 512 numbers from a dense layer, as Face_Pytorch and its relatives have it, 1.2 M parameters',
      options: { embeddingSize: 512, output: 'linear', init: 'fanIn' },
    },
    'mobilefacenet-tf': {
      means: 'MobileFaceNet of the TensorFlow ports: two more linear layers, SAME padding, 1.27 M parameters',
      options: { linears: true, padding: 'same', bnEps: 2e-5, bnMomentum: 0.005, init: 'xavier' },
    },
    'mobilefacenet-m': {
      means: "the paper's MobileFaceNet-M: without the last layer, 512 numbers",
      options: { output: 'none', embeddingSize: 512 },
    },
    'mobilefacenet-s': {
      means: "the paper's MobileFaceNet-S: without the last layer and the 1x1 convolution before the global one",
      options: { output: 'none', widen: false },
    },
    'mobilefacenet-r': { means: "the paper's MobileFaceNet-R: ReLU for PReLU", options: { activation: 'relu' } },
    'mobilefacenet-y1': {
      means: "InsightFace's y1: the paper's network with a dense output, 128 numbers",
      // MXNet's default eps; only the two batch norms behind the map have 2e-5 there.
      options: { output: 'linear', bnEps: 1e-3 },
    },
    'mobilefacenet-y2': {
      means: "InsightFace's y2: deeper, 2.0 M parameters, 256 numbers",
      options: { blocks: [2, 8, 16, 4], firstExpansion: 1, output: 'linear', embeddingSize: 256, bnEps: 1e-3 },
    },
    mbf: {
      means: "arcface_torch's mbf: maps twice as wide, 2.06 M parameters, 512 numbers",
      options: { scale: 2, output: 'linear', embeddingSize: 512 },
    },
    'mbf-large': {
      means: "arcface_torch's mbf_large: maps four times as wide and deeper, 6.3 M parameters, 512 numbers",
      options: { scale: 4, blocks: [2, 8, 12, 4], output: 'linear', embeddingSize: 512 },
    },
  },
});
