/**
 * Attention: layers that scale a map [N, H, W, C] by numbers in (0, 1) which they compute from it.
 *
 * Per channel: squeeze and excitation (Hu, Shen, Sun 2018, section 3), and CAM, which also looks at the maxima; per
 * position: SAM; CBAM is CAM, then SAM (Woo, Park, Lee, Kweon 2018, section 3). As face networks have them: without biases,
 * and SAM's convolution is 3×3.
 */
import type { Tensor } from '../core/tensor.ts';
import { concat, reshape } from '../ops/movement.ts';
import { add, mul, relu, sigmoid } from '../ops/pointwise.ts';
import { max, mean } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';
import { Conv2d, Linear } from './layers.ts';
import { Module } from './module.ts';

export interface ChannelGateOptions {
  /** Channels for each one of the hidden layer. Default 16. */
  readonly reduction?: number;
  /** Numbers of the hidden layer, in place of what the reduction gives. */
  readonly hidden?: number;
  /** Biases of both dense layers. Default false. */
  readonly bias?: boolean;
  /** What brings the logits into (0, 1). Default sigmoid. */
  readonly gate?: (logits: Tensor) => Tensor;
}

/** One number in (0, 1) for each channel, from two dense layers on [N, C] descriptions of the channels. */
abstract class ChannelGate extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  private readonly gate: (logits: Tensor) => Tensor;
  constructor(channels: number, { reduction = 16, hidden, bias = false, gate = sigmoid }: ChannelGateOptions = {}) {
    super();
    const between = hidden ?? Math.max(1, Math.floor(channels / reduction));
    this.fc1 = new Linear(channels, between, { bias });
    this.fc2 = new Linear(between, channels, { bias });
    this.gate = gate;
  }
  protected excite(descriptions: Tensor, ctx: TraceContext): Tensor {
    return this.fc2.call(relu(this.fc1.call(descriptions, ctx)), ctx);
  }
  protected scale(x: Tensor, logits: Tensor): Tensor {
    return mul(x, this.gate(reshape(logits, [x.shape[0]!, 1, 1, x.shape[3]!])));
  }
}

/** SE: channels scaled by sigmoid(fc2(relu(fc1(mean)))), the mean over the whole map. */
export class SqueezeExcite extends ChannelGate {
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.scale(x, this.excite(mean(x, [1, 2]), ctx));
  }
}

/** CAM: as SE, with the same dense layers applied to the channels' means and to their maxima, and the two added. */
export class ChannelAttention extends ChannelGate {
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.scale(x, add(this.excite(mean(x, [1, 2]), ctx), this.excite(max(x, [1, 2]), ctx)));
  }
}

/** SAM: positions scaled by the sigmoid of a 3×3 convolution over the mean and the maximum of their channels. */
export class SpatialAttention extends Module {
  readonly conv = new Conv2d(2, 1, { kernel: 3, padding: 1 });
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const found = concat([mean(x, [3], true), max(x, [3], true)], 3); // [N, H, W, 2]
    return mul(x, sigmoid(this.conv.call(found, ctx)));
  }
}

/** CBAM: channel attention, then spatial attention. */
export class Cbam extends Module {
  readonly channel: ChannelAttention;
  readonly spatial = new SpatialAttention();
  constructor(channels: number, options: ChannelGateOptions = {}) {
    super();
    this.channel = new ChannelAttention(channels, options);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.spatial.call(this.channel.call(x, ctx), ctx);
  }
}
