/**
 * IR and SE-IR ResNets: residual networks (He et al. 2015, arXiv 1512.03385, in the pre-activation order of 1603.05027)
 * with the face field's changes of ArcFace (Deng et al. 2019, arXiv 1801.07698): a 3×3 stem of stride 1, the unit BN, conv,
 * BN, PReLU, conv, BN, and the output BN, dropout, dense, BN. Optional attention at the end of each unit's branch.
 *
 * Implementations differ in small things, each an option here. With the defaults, depth 50 has 43,590,848 parameters and
 * 6.309 G multiply-adds at 112×112; without the units' middle batch norm and with pooled shortcuts 43,574,976 and 6.296 G.
 */
import { UsageError } from '../core/errors.ts';
import {
  flag,
  numbers,
  type Options,
  oneOf,
  optional,
  type ResolvedOptions,
  resolveOptions,
  whole,
} from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { Cbam, ChannelAttention, SpatialAttention, SqueezeExcite } from '../nn/attention.ts';
import { BatchNorm, Conv2d, ConvBlock, PReLU } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { add } from '../ops/pointwise.ts';
import { maxPool } from '../ops/pool.ts';
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

/** Units of the four stages by depth. From 101 on these are the counts of ResNet's bottlenecks, with units of two 3×3. */
export const unitsOf = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 14, 3],
  74: [3, 6, 24, 3],
  90: [3, 8, 30, 3],
  100: [3, 13, 30, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
  200: [3, 24, 36, 3],
} as const;

const attentions = {
  none: () => undefined,
  se: (channels: number, reduction: number) => new SqueezeExcite(channels, { reduction }),
  cam: (channels: number, reduction: number) => new ChannelAttention(channels, { reduction }),
  sam: () => new SpatialAttention(),
  cbam: (channels: number, reduction: number) => new Cbam(channels, { reduction }),
};

const depths = Object.keys(unitsOf).map(Number) as (keyof typeof unitsOf)[];

const options = {
  depth: oneOf(depths, 50, 'number that the units of the four stages go by'),
  units: optional({
    ...numbers({ from: 1 }, [3, 4, 14, 3], 'units of the four stages, in place of those that the depth goes by'),
    expects: 'four whole numbers such as 6,26,60,6',
    accepts: (x) =>
      Array.isArray(x) && x.length === 4 && x.every((n) => Number.isSafeInteger(n) && n >= 1 && n <= 1000),
  }),
  attention: oneOf(
    Object.keys(attentions) as (keyof typeof attentions)[],
    'none',
    "attention at the end of each unit's branch; se makes the SE-IR networks",
  ),
  reduction: whole({ from: 1 }, 16, 'channels for each one between the dense layers of the attention'),
  channels: numbers({ from: 8 }, [64, 128, 256, 512], 'channels of the four stages'),
  midBatchNorm: flag(true, 'batch norm after the first convolution of each unit'),
  shortcut: oneOf(
    ['conv', 'pool'],
    'conv',
    'shortcut of units with stride 2: a 1x1 convolution and BN, or every other pixel where the channels stay the same',
  ),
  ...outputOptions,
  ...frameOptions(512),
};
export type IrNetOptions = Options<typeof options>;

type UnitOptions = Pick<ResolvedOptions<typeof options>, 'attention' | 'reduction' | 'midBatchNorm' | 'shortcut'>;

/** Improved residual unit: x + branch, the branch BN, conv 3×3, [BN], PReLU, conv 3×3 with the stride, BN, [attention]. */
export class IrUnit extends Module {
  readonly bn1: BatchNorm;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm | undefined;
  readonly prelu: PReLU;
  readonly conv2: Conv2d;
  readonly bn3: BatchNorm;
  readonly attention: Module | undefined;
  readonly shortcut: ConvBlock | undefined;
  private readonly stride: number;
  constructor(inputs: number, outputs: number, stride: number, options: UnitOptions) {
    super();
    this.bn1 = new BatchNorm(inputs);
    this.conv1 = new Conv2d(inputs, outputs, { kernel: 3, padding: 1 });
    this.bn2 = options.midBatchNorm ? new BatchNorm(outputs) : undefined;
    this.prelu = new PReLU(outputs);
    this.conv2 = new Conv2d(outputs, outputs, { kernel: 3, stride, padding: 1 });
    this.bn3 = new BatchNorm(outputs);
    this.attention = attentions[options.attention](outputs, options.reduction);
    const convolved = inputs !== outputs || (stride > 1 && options.shortcut === 'conv');
    this.shortcut = convolved ? new ConvBlock(inputs, outputs, { kernel: 1, stride, linear: true }) : undefined;
    this.stride = stride;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.conv1.call(this.bn1.call(x, ctx), ctx);
    if (this.bn2) y = this.bn2.call(y, ctx);
    y = this.bn3.call(this.conv2.call(this.prelu.call(y, ctx), ctx), ctx);
    if (this.attention) y = this.attention.call(y, ctx);
    const { stride, shortcut } = this;
    return add(shortcut ? shortcut.call(x, ctx) : stride > 1 ? maxPool(x, { kernel: 1, stride }) : x, y);
  }
}

export class IrNet extends Module implements FaceNetwork {
  readonly architecture = 'ir';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly units: IrUnit[] = [];
  readonly output: Output;

  constructor(given: IrNetOptions = {}) {
    super();
    this.options = resolveOptions('ir', options, withDropout(given));
    const { depth, units, channels, inputSize, width } = this.options;
    if (channels.length !== 4)
      throw new UsageError(
        `ir: channels expected 4 numbers, one a stage, got ${channels.length}\nThe paper's are 64,128,256,512.`,
      );
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    let c = scaleChannels(64, width);
    this.stem = new ConvBlock(3, c, { kernel: 3, padding: 1 });
    (units ?? unitsOf[depth]).forEach((n, stage) => {
      const out = scaleChannels(channels[stage]!, width);
      for (let i = 0; i < n; i++) {
        this.units.push(new IrUnit(c, out, i === 0 ? 2 : 1, this.options));
        c = out;
      }
    });
    const [h, w] = inputSize;
    this.output = new Output(this.options, [h / 16, w / 16], c);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stem.call(x, ctx); // [N, H, W, 64]
    for (const u of this.units) y = u.call(y, ctx); // [N, H/16, W/16, 512]
    return this.output.call(y, ctx);
  }
}

const variant = (depth: keyof typeof unitsOf, attention: 'none' | 'se') =>
  [
    attention === 'se' ? `ir-se-${depth}` : `ir-${depth}`,
    { means: `${attention === 'se' ? 'SE-IR' : 'IR'} ResNet of depth ${depth}`, options: { depth, attention } },
  ] as const;

export const irNet = defineModel({
  name: 'ir',
  means: 'residual network with improved units, optional attention',
  source: 'Deng et al. 2019, arXiv 1801.07698, section 3.1, after He et al. 2016, arXiv 1603.05027',
  options,
  create: (given) => new IrNet(given),
  variants: {
    ...Object.fromEntries(depths.flatMap((d) => [variant(d, 'none'), variant(d, 'se')])),
    'ir-se-18-small': {
      means:
        'narrow SE-IR ResNet of depth 18 with the mean over its last map, 1.7 M parameters, as MultiFace_Pytorch sketched it',
      options: {
        depth: 18,
        attention: 'se',
        reduction: 4,
        channels: [64, 96, 128, 128],
        midBatchNorm: false,
        shortcut: 'pool',
        output: 'GAP',
      },
    },
  },
});
