/**
 * Residual Attention Network: Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang 2017, "Residual Attention Network for Image
 * Classification" (arXiv 1704.06904), with the stem, the channel counts and the output that face trainers give it.
 *
 * The one idea: next to a trunk T runs a mask M that goes down to smaller maps and up again, and the module's map is
 * (1 + M)·T (eq. 3), so a mask of zeros leaves the trunk as it is. Pooling is 3×3 with stride 2, going up is bilinear with
 * aligned corners.
 *
 * Shortcut convolutions are there only where a shortcut changes the map. Face_Pytorch allocates one in every unit, which
 * its forward pass never reads: 5.2 M parameters of its 26.4 M (56) and 32.8 M of its 134.6 M (92), which the counts here leave out.
 */
import { flag, numbers, type Options, oneOf, optional, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { BatchNorm, Conv2d, ConvBlock } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { add, mul, relu, sigmoid } from '../ops/pointwise.ts';
import { maxPool } from '../ops/pool.ts';
import { resize } from '../ops/resize.ts';
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

type Depth = 56 | 92;
/** Channels of the three stages and of the units after them, and attention modules of each stage. */
const tables: Readonly<Record<Depth, { readonly channels: readonly number[]; readonly modules: readonly number[] }>> = {
  56: { channels: [256, 512, 512, 512], modules: [1, 1, 1] },
  92: { channels: [256, 512, 1024, 2048], modules: [1, 2, 3] },
};

const options = {
  depth: oneOf([56, 92], 56, 'number that channels and attention modules go by'),
  channels: optional({
    ...numbers(
      { from: 8 },
      [256, 512, 512, 512],
      'channels of the three stages and of the units after them, in place of those that the depth goes by',
    ),
    expects: 'four whole numbers such as 256,512,1024,2048',
    accepts: (x) => Array.isArray(x) && x.length === 4 && x.every((n) => Number.isSafeInteger(n) && n >= 8),
  }),
  sumFirst: flag(
    false,
    'in the modules of the first stage (1 + mask) + trunk, as Face_Pytorch has it, in place of the product',
  ),
  ...outputOptions,
  ...frameOptions(512),
};
export type ResidualAttentionOptions = Options<typeof options>;

const down = (x: Tensor): Tensor => maxPool(x, { kernel: 3, stride: 2, padding: 1 });
const upTo = (x: Tensor, like: Tensor): Tensor =>
  resize(x, [like.shape[1]!, like.shape[2]!], { mode: 'bilinear', alignCorners: true });

/** Pre-activation bottleneck: shortcut + branch, the branch BN, ReLU, conv three times: 1×1, 3×3 with the stride, 1×1. */
class Unit extends Module {
  readonly bn1: BatchNorm;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn3: BatchNorm;
  readonly conv3: Conv2d;
  readonly shortcut: Conv2d | undefined;
  constructor(inputs: number, outputs = inputs, stride = 1) {
    super();
    const narrow = outputs / 4;
    this.bn1 = new BatchNorm(inputs);
    this.conv1 = new Conv2d(inputs, narrow, { kernel: 1 });
    this.bn2 = new BatchNorm(narrow);
    this.conv2 = new Conv2d(narrow, narrow, { kernel: 3, stride, padding: 1 });
    this.bn3 = new BatchNorm(narrow);
    this.conv3 = new Conv2d(narrow, outputs, { kernel: 1 });
    this.shortcut = inputs === outputs && stride === 1 ? undefined : new Conv2d(inputs, outputs, { kernel: 1, stride });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.conv1.call(relu(this.bn1.call(x, ctx)), ctx);
    y = this.conv2.call(relu(this.bn2.call(y, ctx)), ctx);
    y = this.conv3.call(relu(this.bn3.call(y, ctx)), ctx);
    return add(this.shortcut ? this.shortcut.call(x, ctx) : x, y);
  }
}

/** One level of a mask: `inner` works on the map of half the size; the innermost level has none. */
class Level extends Module {
  readonly before: Unit;
  readonly skip: Unit | undefined;
  readonly inner: Level | undefined;
  readonly after: Unit;
  constructor(channels: number, levels: number) {
    super();
    this.before = new Unit(channels);
    if (levels > 1) {
      this.skip = new Unit(channels);
      this.inner = new Level(channels, levels - 1);
    }
    this.after = new Unit(channels);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.before.call(down(x), ctx); // [N, h/2, w/2, C]
    if (this.inner) y = add(add(upTo(this.inner.call(y, ctx), y), y), this.skip!.call(y, ctx));
    return this.after.call(y, ctx);
  }
}

/** Attention module: p = 1 unit, then a trunk of t = 2 units beside a mask of one to three levels, then p = 1 unit. */
class AttentionModule extends Module {
  readonly first: Unit;
  readonly trunk: Unit[];
  readonly level: Level;
  readonly bn1: BatchNorm;
  readonly conv1: Conv2d;
  readonly bn2: BatchNorm;
  readonly conv2: Conv2d;
  readonly last: Unit;
  private readonly combine: typeof mul;
  constructor(channels: number, levels: number, combine: typeof mul) {
    super();
    this.first = new Unit(channels);
    this.trunk = [new Unit(channels), new Unit(channels)];
    this.level = new Level(channels, levels);
    this.bn1 = new BatchNorm(channels);
    this.conv1 = new Conv2d(channels, channels, { kernel: 1 });
    this.bn2 = new BatchNorm(channels);
    this.conv2 = new Conv2d(channels, channels, { kernel: 1 });
    this.last = new Unit(channels);
    this.combine = combine;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.first.call(x, ctx);
    const trunk = this.trunk.reduce((t, unit) => unit.call(t, ctx), y);
    let mask = add(upTo(this.level.call(y, ctx), y), trunk);
    mask = this.conv1.call(relu(this.bn1.call(mask, ctx)), ctx);
    mask = sigmoid(this.conv2.call(relu(this.bn2.call(mask, ctx)), ctx)); // (0, 1)
    return this.last.call(this.combine(add(mask, 1), trunk), ctx);
  }
}

export class ResidualAttentionNet extends Module implements FaceNetwork {
  readonly architecture = 'residual-attention';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly body: (Unit | AttentionModule)[] = [];
  readonly output: Output;

  constructor(given: ResidualAttentionOptions = {}) {
    super();
    this.options = resolveOptions('residual-attention', options, withDropout(given));
    const { depth, sumFirst, inputSize, width } = this.options;
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    const { modules } = tables[depth];
    let c = scaleChannels(64, width);
    this.stem = new ConvBlock(3, c, { kernel: 3, padding: 1, activation: 'relu' });
    (this.options.channels ?? tables[depth].channels).forEach((count, stage) => {
      const out = scaleChannels(count, width);
      this.body.push(new Unit(c, out, stage === 0 ? 1 : 2));
      c = out;
      // Three levels where the map is largest, then two, then one: the innermost map is 7×7 for faces of 112×112.
      const combine = sumFirst && stage === 0 ? add : mul;
      if (stage < 3)
        for (let i = 0; i < modules[stage]!; i++) this.body.push(new AttentionModule(c, 3 - stage, combine));
      else this.body.push(new Unit(c), new Unit(c));
    });
    const [h, w] = inputSize;
    this.output = new Output(this.options, [h / 16, w / 16], c);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = down(this.stem.call(x, ctx)); // [N, H/2, W/2, 64]
    for (const m of this.body) y = m.call(y, ctx); // [N, H/16, W/16, C]
    return this.output.call(y, ctx);
  }
}

const variant = (depth: Depth) =>
  [`residual-attention-${depth}`, { means: `Residual Attention-${depth}`, options: { depth } }] as const;

export const residualAttention = defineModel({
  name: 'residual-attention',
  means: 'residual network with attention modules, whose masks look at smaller maps',
  source: 'Wang et al. 2017, arXiv 1704.06904, sections 3 and 4; stem and output as in Face_Pytorch',
  options,
  create: (given) => new ResidualAttentionNet(given),
  variants: Object.fromEntries(([56, 92] as const).map(variant)),
});
