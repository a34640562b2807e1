/**
 * ResNets as TensorFlow's slim builds them, with the changes of InsightFace-tensorflow: v1 (He et al. 2015, arXiv
 * 1512.03385), v2 (He et al. 2016, arXiv 1603.05027) and v2-m, a v2 for faces of 112×112 that goes from a map as large as
 * the image to 7×7.
 *
 * The one idea: a table says where strides are. v1 and v2 have a 7×7 stem of stride 2, a pool, and the stride in the last
 * unit of each of the first three blocks; v2-m has a 3×3 stem of stride 1, no pool, and the stride in the first unit of each
 * block. v2-m-50 has units of two 3×3 convolutions, all the others bottlenecks. Leaky ReLU of slope 0.2, batch norm with
 * eps 2e-5 and momentum 0.1, Xavier's normal start. v2-m-50 has 43,573,440 parameters and 5.43 G multiply-adds.
 */
import { number, type Options, oneOf, optional, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { xavierNormal } from '../nn/init.ts';
import { BatchNorm, type BatchNormOptions, Conv2d, ConvBlock, type ConvBlockOptions } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { add, leakyRelu, relu } from '../ops/pointwise.ts';
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

type Version = 'v1' | 'v2' | 'v2-m';
type Depth = 50 | 101 | 152 | 200;
const versions: readonly Version[] = ['v1', 'v2', 'v2-m'];
const depths: readonly Depth[] = [50, 101, 152, 200];

/** Units of the four blocks. */
const unitsOf: Readonly<Record<Depth, readonly number[]>> = {
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
  200: [3, 24, 36, 3],
};
/** Of v2-m with depth 50, whose units have two 3×3 convolutions. */
const basicUnits = [3, 4, 14, 3];

const options = {
  version: oneOf(
    versions,
    'v2-m',
    'order within units and place of strides: v1 is conv, BN, activation, v2 BN, activation, conv; v2-m has no pool',
  ),
  depth: oneOf(depths, 50, 'number that the units of the four blocks go by'),
  ...outputOptions,
  dropout: optional(
    number({ from: 0, below: 1 }, 0.6, 'share of numbers dropped before the dense layer: 0.6 for output E, else 0'),
  ),
  ...frameOptions(512),
};
export type SlimResNetOptions = Options<typeof options>;

const batchNorm: BatchNormOptions = { eps: 2e-5, momentum: 0.1 };
const slope = 0.2;
const init = xavierNormal;
const block = (inputs: number, outputs: number, conv: ConvBlockOptions): ConvBlock =>
  new ConvBlock(inputs, outputs, { activation: 'leakyRelu', slope, batchNorm, init, ...conv });

/** Identity, or every other pixel: a 1×1 pool. */
const subsample = (x: Tensor, stride: number): Tensor => (stride > 1 ? maxPool(x, { kernel: 1, stride }) : x);

interface UnitOptions {
  readonly inputs: number;
  readonly outputs: number;
  /** Channels of a bottleneck's 3×3 convolution; undefined: two 3×3 convolutions. */
  readonly narrow: number | undefined;
  readonly stride: number;
}

/** v1: relu(shortcut + branch), the branch conv 1×1, 3×3 with the stride, 1×1, each with BN, leaky ReLU after the first two. */
class PostActivationUnit extends Module {
  readonly shortcut: ConvBlock | undefined;
  readonly conv1: ConvBlock;
  readonly conv2: ConvBlock;
  readonly conv3: ConvBlock;
  private readonly stride: number;
  constructor({ inputs, outputs, narrow = outputs, stride }: UnitOptions) {
    super();
    this.shortcut = inputs === outputs ? undefined : block(inputs, outputs, { kernel: 1, stride, linear: true });
    this.conv1 = block(inputs, narrow, { kernel: 1 });
    this.conv2 = block(narrow, narrow, { kernel: 3, stride, padding: 1 });
    this.conv3 = block(narrow, outputs, { kernel: 1, linear: true });
    this.stride = stride;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.conv3.call(this.conv2.call(this.conv1.call(x, ctx), ctx), ctx);
    return relu(add(this.shortcut ? this.shortcut.call(x, ctx) : subsample(x, this.stride), y));
  }
}

/**
 * v2: shortcut + branch, no activation after. The branch begins with BN and an activation, which a projected shortcut also
 * starts from; its last convolution and the projection have a bias and no batch norm.
 */
class PreActivationUnit extends Module {
  readonly preact: BatchNorm;
  readonly shortcut: Conv2d | undefined;
  readonly conv1: ConvBlock;
  readonly conv2: ConvBlock | undefined;
  readonly last: Conv2d;
  private readonly stride: number;
  private readonly activate: (x: Tensor) => Tensor;
  constructor({ inputs, outputs, narrow, stride }: UnitOptions, activate: (x: Tensor) => Tensor) {
    super();
    this.preact = new BatchNorm(inputs, batchNorm);
    this.shortcut =
      inputs === outputs ? undefined : new Conv2d(inputs, outputs, { kernel: 1, stride, bias: true, init });
    if (narrow === undefined) {
      this.conv1 = block(inputs, outputs, { kernel: 3, stride, padding: 1 });
      this.last = new Conv2d(outputs, outputs, { kernel: 3, padding: 1, bias: true, init });
    } else {
      this.conv1 = block(inputs, narrow, { kernel: 1 });
      this.conv2 = block(narrow, narrow, { kernel: 3, stride, padding: 1 });
      this.last = new Conv2d(narrow, outputs, { kernel: 1, bias: true, init });
    }
    this.stride = stride;
    this.activate = activate;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const start = this.activate(this.preact.call(x, ctx));
    let y = this.conv1.call(start, ctx);
    if (this.conv2) y = this.conv2.call(y, ctx);
    return add(this.shortcut ? this.shortcut.call(start, ctx) : subsample(x, this.stride), this.last.call(y, ctx));
  }
}

export class SlimResNet extends Module implements FaceNetwork {
  readonly architecture = 'slim-resnet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: Conv2d | ConvBlock;
  readonly units: (PostActivationUnit | PreActivationUnit)[] = [];
  readonly output: Output;

  constructor(given: SlimResNetOptions = {}) {
    super();
    this.options = resolveOptions('slim-resnet', options, withDropout(given, 0.6));
    const { version, depth, inputSize, width } = this.options;
    // The source takes pixel / 127.5 − 1.
    this.preprocessing = { ...defaultPreprocessing, scale: 1 / 127.5, inputSize };
    const modified = version === 'v2-m';
    const basic = modified && depth === 50;
    let c = scaleChannels(64, width);
    const stem = modified ? { kernel: 3, padding: 1 } : { kernel: 7, stride: 2, padding: 3 };
    this.stem = version === 'v1' ? block(3, c, stem) : new Conv2d(3, c, { ...stem, bias: true, init });
    let [h, w] = modified ? inputSize : inputSize.map((n) => Math.ceil(n / 4));
    (basic ? basicUnits : unitsOf[depth]).forEach((count, i) => {
      const narrow = basic ? undefined : scaleChannels(64 * 2 ** i, width);
      const outputs = narrow === undefined ? scaleChannels(64 * 2 ** i, width) : 4 * narrow;
      const blockStride = modified || i < 3 ? 2 : 1;
      for (let k = 0; k < count; k++) {
        const stride = k === (modified ? 0 : count - 1) ? blockStride : 1;
        const unit = { inputs: c, outputs, narrow, stride };
        this.units.push(
          version === 'v1'
            ? new PostActivationUnit(unit)
            : new PreActivationUnit(unit, modified ? (x) => leakyRelu(x, slope) : relu),
        );
        c = outputs;
      }
      [h, w] = [Math.ceil(h! / blockStride), Math.ceil(w! / blockStride)];
    });
    this.output = new Output(this.options, [h!, w!], c, {
      ...batchNorm,
      embedding: { scale: false },
    });
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. Training with dropout takes a key. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stem.call(x, ctx); // v2-m [N, H, W, 64], else [N, H/2, W/2, 64]
    // TensorFlow's SAME padding of an even size: one pixel, after the others.
    if (this.options.version !== 'v2-m') y = maxPool(y, { kernel: 3, stride: 2, padding: [0, 1, 0, 1] }); // [N, H/4, W/4, 64]
    for (const u of this.units) y = u.call(y, ctx); // v2-m [N, H/16, W/16, C], else [N, H/32, W/32, C]
    return this.output.call(y, ctx);
  }
}

const variant = (version: Version, depth: Depth) =>
  [
    `slim-resnet-${version}-${depth}`,
    { means: `ResNet ${version} of depth ${depth} as InsightFace-tensorflow has it`, options: { version, depth } },
  ] as const;

export const slimResNet = defineModel({
  name: 'slim-resnet',
  means: 'residual networks v1, v2 and v2-m as slim and InsightFace-tensorflow build them',
  source: 'He et al. 2015 and 2016, arXiv 1512.03385 and 1603.05027; v2-m as in InsightFace-tensorflow',
  options,
  create: (given) => new SlimResNet(given),
  variants: Object.fromEntries(versions.flatMap((v) => depths.map((d) => variant(v, d)))),
});
