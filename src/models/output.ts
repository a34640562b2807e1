/**
 * From the last map of a network to its embedding, as the field's trainers name the ways: E, GDC and GAP.
 *
 * The one idea: the same layers in every family, so that one option chooses among them and weights have the same names.
 * E is the output of ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.2.2), GDC has MobileFaceNet's global depthwise
 * convolution (Chen et al. 2018, arXiv 1804.07573, section 3.1).
 */
import { number, type OptionSpec, oneOf, optional } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { BatchNorm, type BatchNormOptions, ConvBlock, Dropout, Linear } from '../nn/layers.ts';
import { Module } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import { globalAvgPool } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';

export type OutputKind = 'E' | 'GDC' | 'GAP';

/** The options of a family that ends in `Output`. */
export const outputOptions: {
  readonly output: OptionSpec<OutputKind>;
  readonly dropout: OptionSpec<number | undefined>;
} = {
  output: oneOf(
    ['E', 'GDC', 'GAP'],
    'E',
    'way from the last map to the embedding: E is BN, dropout, dense, BN; GDC has a depthwise convolution as large as the map in place of the first BN; GAP takes the mean over the map',
  ),
  dropout: optional(
    number({ from: 0, below: 1 }, 0.4, 'share of numbers dropped before the dense layer: 0.4 for output E, else 0'),
  ),
};

/** The options given, with the dropout that goes with the output where none is named: `rate` for E, else 0. */
export const withDropout = <T extends { readonly output?: OutputKind; readonly dropout?: number | undefined }>(
  given: T,
  rate = 0.4,
): T & { readonly dropout: number } => ({
  ...given,
  dropout: given.dropout ?? ((given.output ?? outputOptions.output.fallback) === 'E' ? rate : 0),
});

/** What of a network's options its output takes. */
interface OutputSize {
  readonly output: OutputKind;
  readonly embeddingSize: number;
  readonly dropout?: number | undefined;
}

/** The last map [N, h, w, C] to embeddings [N, d]. The dense layer's rows are in the order h, w, C. */
export class Output extends Module {
  readonly bn: BatchNorm | undefined;
  readonly depthwise: ConvBlock | undefined;
  readonly dropout: Dropout;
  readonly fc: Linear;
  readonly embedding: BatchNorm;
  private readonly pooled: boolean;
  /**
   * @param options of the network
   * @param map sides of the last map
   * @param batchNorm of every batch norm here, and `embedding` of the last one where it differs
   */
  constructor(
    { output: kind, embeddingSize, dropout = 0 }: OutputSize,
    [h, w]: readonly [number, number],
    channels: number,
    batchNorm: BatchNormOptions & { readonly embedding?: BatchNormOptions } = {},
  ) {
    super();
    if (kind === 'GDC')
      this.depthwise = new ConvBlock(channels, channels, { kernel: [h, w], groups: channels, linear: true, batchNorm });
    else this.bn = new BatchNorm(channels, batchNorm);
    this.pooled = kind === 'GAP';
    this.dropout = new Dropout(dropout);
    this.fc = new Linear(kind === 'E' ? h * w * channels : channels, embeddingSize);
    this.embedding = new BatchNorm(embeddingSize, { ...batchNorm, ...batchNorm.embedding });
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    let y = (this.depthwise ?? this.bn)!.call(x, ctx);
    if (this.pooled) y = globalAvgPool(y);
    y = this.dropout.call(y, ctx);
    return this.embedding.call(this.fc.call(reshape(y, [x.shape[0]!, y.size / x.shape[0]!]), ctx), ctx);
  }
}
