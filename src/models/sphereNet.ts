/**
 * SphereNet: the plain residual network of SphereFace (Liu et al. 2017, "SphereFace: Deep Hypersphere Embedding for Face
 * Recognition", arXiv 1704.08063, table 2): four stages, each a 3×3 convolution of stride 2 and units of two more with
 * PReLU after every one and before the addition, then one dense layer.
 *
 * The original had no batch norm, which makes it slow to converge; Face_Pytorch has one after every convolution and after
 * the dense layer, and so has this by default. At 112×112 depth 20 then has 24.5 M parameters and 2.04 G multiply-adds.
 */
import { flag, type Options, oneOf, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { normalInit, xavierUniform } from '../nn/init.ts';
import { BatchNorm, Conv2d, Linear, PReLU } from '../nn/layers.ts';
import { type Init, Module, nameTree } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import { add } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import {
  defaultPreprocessing,
  defineModel,
  type FaceNetwork,
  frameOptions,
  type Preprocessing,
  scaleChannels,
} from './network.ts';

/** Units of the four stages by depth, which counts convolutions. */
const unitsOf = {
  20: [1, 2, 4, 1],
  36: [2, 4, 8, 2],
  62: [3, 7, 16, 3],
  64: [3, 8, 16, 3],
} as const;
type Depth = keyof typeof unitsOf;
const depths = Object.keys(unitsOf).map(Number) as Depth[];

const options = {
  depth: oneOf(depths, 20, 'number of convolutions; 62 is what Face_Pytorch calls SphereNet-64'),
  batchNorm: flag(true, 'batch norm after each convolution and after the dense layer; the original has none'),
  ...frameOptions(512),
};
export type SphereNetOptions = Options<typeof options>;

interface LayerOptions {
  readonly stride?: number;
  readonly bias: boolean;
  readonly init: Init;
  readonly batchNorm: boolean;
}

/** Convolution 3×3, [BN], PReLU. */
class Layer extends Module {
  readonly conv: Conv2d;
  readonly bn: BatchNorm | undefined;
  readonly prelu: PReLU;
  constructor(inputs: number, outputs: number, { batchNorm, ...conv }: LayerOptions) {
    super();
    this.conv = new Conv2d(inputs, outputs, { kernel: 3, padding: 1, ...conv });
    this.bn = batchNorm ? new BatchNorm(outputs) : undefined;
    this.prelu = new PReLU(outputs);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.conv.call(x, ctx);
    return this.prelu.call(this.bn ? this.bn.call(y, ctx) : y, ctx);
  }
}

/** x plus two layers of it. */
export class SphereUnit extends Module {
  readonly layer1: Layer;
  readonly layer2: Layer;
  constructor(channels: number, batchNorm: boolean) {
    super();
    // So small that without batch norm a unit begins close to the identity.
    const layer = { bias: false, init: normalInit(0.01), batchNorm };
    this.layer1 = new Layer(channels, channels, layer);
    this.layer2 = new Layer(channels, channels, layer);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return add(x, this.layer2.call(this.layer1.call(x, ctx), ctx));
  }
}

export class SphereNet extends Module implements FaceNetwork {
  readonly architecture = 'spherenet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  /** In each stage a layer of stride 2, which has a bias, and the units. */
  readonly layers: (Layer | SphereUnit)[] = [];
  readonly fc: Linear;
  readonly embedding: BatchNorm | undefined;

  constructor(given: SphereNetOptions = {}) {
    super();
    this.options = resolveOptions('spherenet', options, given);
    const { depth, batchNorm, embeddingSize, inputSize, width } = this.options;
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    let c = 3;
    unitsOf[depth].forEach((n, stage) => {
      const out = scaleChannels(64 * 2 ** stage, width);
      this.layers.push(new Layer(c, out, { stride: 2, bias: true, init: xavierUniform, batchNorm }));
      for (let i = 0; i < n; i++) this.layers.push(new SphereUnit(out, batchNorm));
      c = out;
    });
    const [h, w] = inputSize;
    this.fc = new Linear((h / 16) * (w / 16) * c, embeddingSize);
    this.embedding = batchNorm ? new BatchNorm(embeddingSize) : undefined;
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = x;
    for (const layer of this.layers) y = layer.call(y, ctx); // [N, H/16, W/16, 512]
    y = this.fc.call(reshape(y, [x.shape[0]!, y.size / x.shape[0]!]), ctx);
    return this.embedding ? this.embedding.call(y, ctx) : y;
  }
}

export const sphereNet = defineModel({
  name: 'spherenet',
  means: 'plain residual network of 3x3 convolutions with PReLU',
  source: 'Liu et al. 2017, arXiv 1704.08063, table 2',
  options,
  create: (given) => new SphereNet(given),
  variants: Object.fromEntries(
    depths.map(
      (depth) => [`spherenet-${depth}`, { means: `SphereNet of ${depth} convolutions`, options: { depth } }] as const,
    ),
  ),
});
