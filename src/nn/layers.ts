/** Layers: the field's building blocks under PyTorch's names. Images are NHWC, weights [kh, kw, Cin/groups, Cout]. */
import { UsageError } from '../core/errors.ts';
import { fold, keyOf } from '../core/random.ts';
import { sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { batchNorm, normalize } from '../ops/batchNorm.ts';
import { conv2d } from '../ops/conv2d.ts';
import type { ConvOptions } from '../ops/convolution.ts';
import { linear } from '../ops/matmul.ts';
import { add, hardSwish, leakyRelu, mul, prelu, relu, relu6, sigmoid } from '../ops/pointwise.ts';
import { dropout } from '../ops/random.ts';
import type { TraceContext } from '../plan/trace.ts';
import { constantInit, convInit, xavierUniform } from './init.ts';
import { type Init, Module, Parameter, StateBuffer } from './module.ts';

export interface Conv2dOptions extends ConvOptions {
  /** Side or [height, width] of the kernel. */
  readonly kernel: number | readonly [number, number];
  /** A number added per output channel. Default false: a batch norm that follows would take it away again. */
  readonly bias?: boolean;
  /** Of the weight. Default `convInit`. */
  readonly init?: Init;
}

/** 2-D convolution: x [N, H, W, in] → [N, H', W', out]. Padding defaults to 0, stride to 1; no bias unless asked for. */
export class Conv2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  private readonly options: ConvOptions;
  constructor(inputs: number, outputs: number, { kernel, bias = false, init = convInit, ...options }: Conv2dOptions) {
    super();
    const [kh, kw] = typeof kernel === 'number' ? [kernel, kernel] : kernel;
    this.weight = new Parameter([kh, kw, inputs / (options.groups ?? 1), outputs], init);
    this.bias = bias ? new Parameter([outputs], constantInit(0)) : undefined;
    this.options = options;
  }
  protected forward(x: Tensor): Tensor {
    const y = conv2d(x, this.weight.tensor, this.options);
    return this.bias ? add(y, this.bias.tensor) : y;
  }
}

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** Share of the batch in the running statistics. Default 0.1; TensorFlow's decay is 1 minus this. */
  readonly momentum?: number;
  /** Whether there is a weight; without one it is 1. Default true. */
  readonly scale?: boolean;
  /** The weight at the beginning. Default 1; with 0 a residual unit begins as its shortcut. */
  readonly start?: number;
}

/**
 * Batch normalisation over all axes but the last (Ioffe and Szegedy 2015). Training uses the batch's moments and moves
 * the running ones: running ← (1 − momentum)·running + momentum·batch, with the unbiased variance, as PyTorch does.
 */
export class BatchNorm extends Module {
  readonly weight: Parameter | undefined;
  readonly bias: Parameter;
  readonly runningMean: StateBuffer;
  readonly runningVar: StateBuffer;
  readonly eps: number;
  readonly momentum: number;
  constructor(channels: number, { eps = 1e-5, momentum = 0.1, scale = true, start = 1 }: BatchNormOptions = {}) {
    super();
    this.weight = scale ? new Parameter([channels], constantInit(start)) : undefined;
    this.bias = new Parameter([channels], constantInit(0));
    this.runningMean = new StateBuffer([channels], 0);
    this.runningVar = new StateBuffer([channels], 1);
    this.eps = eps;
    this.momentum = momentum;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const { weight, bias, runningMean, runningVar, eps, momentum } = this;
    if (!ctx.training) return normalize(x, runningMean.tensor, runningVar.tensor, weight?.tensor, bias.tensor, eps);
    const { y, mean, variance } = batchNorm(x, weight?.tensor, bias.tensor, eps);
    const n = sizeOf(x.shape) / x.shape[x.rank - 1]!;
    const move = (old: Tensor, batch: Tensor, unbias: number) =>
      add(mul(old, 1 - momentum), mul(batch, momentum * unbias));
    ctx.assign(runningMean, move(runningMean.tensor, mean, 1));
    ctx.assign(runningVar, move(runningVar.tensor, variance, n / Math.max(1, n - 1)));
    return y;
  }
}

/** y = x > 0 ? x : a·x with one learned slope per channel, 0.25 at first.  He et al. 2015, eq. 1. */
export class PReLU extends Module {
  readonly weight: Parameter;
  constructor(channels: number, start = 0.25) {
    super();
    this.weight = new Parameter([channels], constantInit(start));
  }
  protected forward(x: Tensor): Tensor {
    return prelu(x, this.weight.tensor);
  }
}

/** Activations without parameters. */
const functions = {
  relu: (x: Tensor): Tensor => relu(x),
  relu6: (x: Tensor): Tensor => relu6(x),
  leakyRelu,
  hardSwish: (x: Tensor): Tensor => hardSwish(x),
  swish: (x: Tensor): Tensor => mul(x, sigmoid(x)),
};
export type ActivationName = 'prelu' | keyof typeof functions | 'none';

/** An activation without parameters. `slope` is that of leakyRelu below 0, 0.01 unless given. */
export class Activation extends Module {
  readonly kind: keyof typeof functions;
  private readonly slope: number | undefined;
  constructor(kind: keyof typeof functions, slope?: number) {
    super();
    this.kind = kind;
    this.slope = slope;
  }
  protected forward(x: Tensor): Tensor {
    return functions[this.kind](x, this.slope);
  }
}

/** y = x·weight + bias over the last axis: [.., in] → [.., out]. The weight is [in, out]; the bias can be left out. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  constructor(inputs: number, outputs: number, { bias = true } = {}) {
    super();
    this.weight = new Parameter([inputs, outputs], xavierUniform);
    this.bias = bias ? new Parameter([outputs], constantInit(0)) : undefined;
  }
  protected forward(x: Tensor): Tensor {
    return linear(x, this.weight.tensor, this.bias?.tensor);
  }
}

/**
 * In training sets each element to 0 with probability `rate` and divides the others by 1 − rate; else the identity. Draws
 * come from the call's key (`ctx.key`) and the module's own path, so two dropouts of a network differ.
 */
export class Dropout extends Module {
  readonly rate: number;
  constructor(rate: number) {
    super();
    if (!(rate >= 0 && rate < 1))
      throw new UsageError(`Dropout: expected a rate in [0, 1), got ${rate}\nPass the share of elements to drop.`);
    this.rate = rate;
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return dropout(x, this.rate, ctx, fold(keyOf(0), this.path)[0]);
  }
}

export interface ConvBlockOptions extends Conv2dOptions {
  /** No activation, whatever `activation` says. */
  readonly linear?: boolean;
  /** Default prelu. */
  readonly activation?: ActivationName;
  /** Of leakyRelu. Default 0.01. */
  readonly slope?: number;
  readonly batchNorm?: BatchNormOptions;
}

/** Convolution, batch norm and, unless linear, an activation (PReLU unless another is named): MobileFaceNet's unit. */
export class ConvBlock extends Module {
  readonly conv: Conv2d;
  readonly bn: BatchNorm;
  /** Of the activations the one with parameters, whose name they carry. */
  readonly prelu: PReLU | undefined;
  readonly activation: Activation | undefined;
  constructor(inputs: number, outputs: number, options: ConvBlockOptions) {
    super();
    const { linear = false, activation = 'prelu', slope, batchNorm, ...conv } = options;
    this.conv = new Conv2d(inputs, outputs, conv);
    this.bn = new BatchNorm(outputs, batchNorm);
    const kind = linear ? 'none' : activation;
    if (kind === 'prelu') this.prelu = new PReLU(outputs);
    else if (kind !== 'none') this.activation = new Activation(kind, slope);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.bn.call(this.conv.call(x, ctx), ctx);
    return (this.prelu ?? this.activation)?.call(y, ctx) ?? y;
  }
}
