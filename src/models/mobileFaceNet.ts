/**
 * MobileFaceNet: Chen, Liu, Gao, Han 2018, "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on
 * Mobile Devices" (arXiv 1804.07573), table 1. 1,003,136 parameters and 221.0 M multiply-adds at 112×112.
 */
import { type Options, type ResolvedOptions, resolveOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { ConvBlock } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
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

/** Inverted residual: 1×1 to t·in, depthwise 3×3, linear 1×1 to out; identity added where stride is 1 and in = out. */
export class Bottleneck extends Module {
  readonly expand: ConvBlock;
  readonly depthwise: ConvBlock;
  readonly project: ConvBlock;
  private readonly residual: boolean;
  constructor(inputs: number, outputs: number, expansion: number, stride: number) {
    super();
    const wide = inputs * expansion;
    this.expand = new ConvBlock(inputs, wide, { kernel: 1 });
    this.depthwise = new ConvBlock(wide, wide, { kernel: 3, stride, padding: 1, groups: wide });
    this.project = new ConvBlock(wide, outputs, { kernel: 1, linear: true });
    this.residual = stride === 1 && inputs === outputs;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.project.call(this.depthwise.call(this.expand.call(x, ctx), ctx), ctx);
    return this.residual ? add(x, y) : y;
  }
}

/** Rows 3 to 7 of the paper's table: expansion t, channels c, repeats n, stride s of the first. */
const table = [
  { t: 2, c: 64, n: 5, s: 2 },
  { t: 4, c: 128, n: 1, s: 2 },
  { t: 2, c: 128, n: 6, s: 1 },
  { t: 4, c: 128, n: 1, s: 2 },
  { t: 2, c: 128, n: 2, s: 1 },
];

const options = frameOptions(128);
export type MobileFaceNetOptions = Options<typeof options>;

export class MobileFaceNet extends Module implements FaceNetwork {
  readonly architecture = 'mobilefacenet';
  readonly options: ResolvedOptions<typeof options>;
  preprocessing: Preprocessing;
  readonly stem: ConvBlock;
  readonly stemDepthwise: ConvBlock;
  readonly blocks: Bottleneck[] = [];
  readonly head: ConvBlock;
  readonly globalDepthwise: ConvBlock;
  readonly embedding: ConvBlock;

  constructor(given: MobileFaceNetOptions = {}) {
    super();
    this.options = resolveOptions('mobilefacenet', options, given);
    const { embeddingSize, inputSize, width } = this.options;
    const [h, w] = inputSize;
    this.preprocessing = { ...defaultPreprocessing, inputSize };
    const scaled = (c: number) => scaleChannels(c, width);
    const first = scaled(64);
    this.stem = new ConvBlock(3, first, { kernel: 3, stride: 2, padding: 1 });
    this.stemDepthwise = new ConvBlock(first, first, { kernel: 3, padding: 1, groups: first });
    let c = first;
    for (const row of table)
      for (let i = 0; i < row.n; i++) {
        const out = scaled(row.c);
        this.blocks.push(new Bottleneck(c, out, row.t, i === 0 ? row.s : 1));
        c = out;
      }
    const wide = scaled(512);
    this.head = new ConvBlock(c, wide, { kernel: 1 });
    this.globalDepthwise = new ConvBlock(wide, wide, { kernel: [h / 16, w / 16], groups: wide, linear: true });
    this.embedding = new ConvBlock(wide, embeddingSize, { kernel: 1, linear: true });
    nameTree(this);
  }

  /** Normalised images [N, H, W, 3] to embeddings [N, d], not normalised. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = this.stemDepthwise.call(this.stem.call(x, ctx), ctx); // [N, H/2, W/2, 64]
    for (const b of this.blocks) y = b.call(y, ctx); // [N, H/16, W/16, 128]
    y = this.globalDepthwise.call(this.head.call(y, ctx), ctx); // [N, 1, 1, 512]
    return reshape(this.embedding.call(y, ctx), [x.shape[0]!, this.options.embeddingSize]);
  }
}

export const mobileFaceNet = defineModel({
  name: 'mobilefacenet',
  means: 'inverted residuals and a global depthwise convolution, 1.0 M parameters, 221 M multiply-adds',
  source: 'Chen et al. 2018, arXiv 1804.07573, table 1',
  options,
  create: (given) => new MobileFaceNet(given),
  variants: {},
});
