/**
 * ResNet and ResNeXt: units that add what they learn to what came in (He et al. 2015, "Deep Residual Learning for Image
 * Recognition", arXiv 1512.03385, section 3.3; Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural
 * Networks", arXiv 1611.05431, figure 3c), with the face field's 3×3 stem of stride 1 and output E as Face_Pytorch has them.
 *
 * The one idea of ResNeXt: a bottleneck whose 3×3 convolution is in groups sums many narrow transformations of one
 * shape, so ResNet is its case of one group. At 112×112: depth 50 has 74.9 M parameters and 4.04 G multiply-adds.
 */

import { UsageError } from '../core/errors.ts';
import { flag, type Options, oneOf, optional, type ResolvedOptions, resolveOptions, whole } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { ConvBlock, type ConvBlockOptions } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { add, relu } from '../ops/pointwise.ts';
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

/** Units of the four stages by depth (table 1); those of depth 50 and more are bottlenecks. */
const unitsOf = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
} as const;
type Depth = keyof typeof unitsOf;
const depths = Object.keys(unitsOf).map(Number) as Depth[];

const options = {
  depth: oneOf(depths, 50, 'number that the units of the four stages go by; bottlenecks from 50 on'),
  cardinality: whole({ from: 1 }, 1, 'groups of the 3x3 convolutions of bottlenecks: 32 in ResNeXt'),
  baseWidth: optional(
    whole({ from: 1 }, 64, 'channels of a group in the first stage: 64 where there is one group, else 4'),
  ),
  zeroInit: flag(false, "units that begin as their shortcut: their last batch norm's weight begins at 0"),
  ...outputOptions,
  ...frameOptions(512),
};
export type ResNetOptions = Options<typeof options>;

/** Times as many channels come out of a bottleneck as a basic unit of its stage would give. */
const expansion = 4;

interface UnitShape {
  readonly inputs: number;
  /** Between the convolutions. */
  readonly middle: number;
  readonly outputs: number;
  readonly stride: number;
  readonly groups: number;
}

/**
 * relu(shortcut(x) + branch(x)): the branch two 3×3 convolutions, the first with the stride, or 1×1, 3×3 in groups with
 * the stride, 1×1. Each has its BN; ReLU between them. The shortcut is a 1×1 convolution and BN where shapes differ.
 */
export class ResNetUnit extends Module {
  readonly branch: ConvBlock[];
  readonly shortcut: ConvBlock | undefined;
  constructor({ inputs, middle, outputs, stride, groups }: UnitShape, bottleneck: boolean, zeroInit: boolean) {
    super();
    const inner = { activation: 'relu' } as const;
    const last: Partial<ConvBlockOptions> = { linear: true, ...(zeroInit && { batchNorm: { start: 0 } }) };
    this.branch = bottleneck
      ? [
          new ConvBlock(inputs, middle, { kernel: 1, ...inner }),
          new ConvBlock(middle, middle, { kernel: 3, stride, padding: 1, groups, ...inner }),
          new ConvBlock(middle, outputs, { kernel: 1, ...last }),
        ]
      : [
          new ConvBlock(inputs, middle, { kernel: 3, stride, padding: 1, ...inner }),
          new ConvBlock(middle, outputs, { kernel: 3, padding: 1, ...last }),
        ];
    if (stride > 1 || inputs !== outputs)
      this.shortcut = new ConvBlock(inputs, outputs, { kernel: 1, stride, linear: true });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = x;
    for (const block of this.branch) y = block.call(y, ctx);
    return relu(add(this.shortcut ? this.shortcut.call(x, ctx) : x, y));
  }
}

export class ResNet extends Module implements FaceNetwork {
  readonly architecture = 'resnet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly units: ResNetUnit[] = [];
  readonly output: Output;

  constructor(given: ResNetOptions = {}) {
    super();
    const baseWidth = given.baseWidth ?? ((given.cardinality ?? 1) > 1 ? 4 : 64);
    this.options = resolveOptions('resnet', options, withDropout({ ...given, baseWidth }));
    const { depth, cardinality, zeroInit, inputSize, width } = this.options;
    const bottleneck = depth >= 50;
    if (!bottleneck && (cardinality !== 1 || baseWidth !== 64))
      throw new UsageError(
        `resnet: expected cardinality 1 and baseWidth 64 at depth ${depth}, got ${cardinality} and ${baseWidth}\nGroups are those of bottlenecks: take depth 50 or more.`,
      );
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    let c = scaleChannels(64, width);
    this.stem = new ConvBlock(3, c, { kernel: 3, padding: 1, activation: 'relu' });
    unitsOf[depth].forEach((n, stage) => {
      const middle = groupedChannels(cardinality, baseWidth * 2 ** stage, width);
      const outputs = bottleneck ? expansion * scaleChannels(64 * 2 ** stage, width) : middle;
      for (let i = 0; i < n; i++) {
        const stride = i === 0 && stage > 0 ? 2 : 1;
        this.units.push(
          new ResNetUnit({ inputs: c, middle, outputs, stride, groups: cardinality }, bottleneck, zeroInit),
        );
        c = outputs;
      }
    });
    const [h, w] = inputSize;
    this.output = new Output(this.options, [h / 16, w / 16], c);
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = maxPool(this.stem.call(x, ctx), { kernel: 3, stride: 2, padding: 1 }); // [N, H/2, W/2, 64]
    for (const u of this.units) y = u.call(y, ctx); // [N, H/16, W/16, 512 or 2048]
    return this.output.call(y, ctx);
  }
}

/** Channels in `groups` groups of `perGroup`, times the width. Several groups keep their number, and are at least 1 wide. */
const groupedChannels = (groups: number, perGroup: number, width: number): number =>
  groups === 1 ? scaleChannels(perGroup, width) : groups * Math.max(1, Math.round(perGroup * width));

const plain = (depth: Depth) => [`resnet-${depth}`, { means: `ResNet of depth ${depth}`, options: { depth } }] as const;
const grouped = (name: string, depth: Depth, baseWidth: number) =>
  [
    name,
    { means: `ResNeXt of depth ${depth}, 32x${baseWidth}d`, options: { depth, cardinality: 32, baseWidth } },
  ] as const;

export const resNet = defineModel({
  name: 'resnet',
  means: 'plain residual network; in groups it is ResNeXt',
  source: 'He et al. 2015, arXiv 1512.03385, table 1; Xie et al. 2017, arXiv 1611.05431, table 1',
  options,
  create: (given) => new ResNet(given),
  variants: Object.fromEntries([
    ...depths.map(plain),
    grouped('resnext-50', 50, 4),
    grouped('resnext-101', 101, 4),
    grouped('resnext-101-32x8d', 101, 8),
  ]),
});
