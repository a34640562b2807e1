/**
 * Layers of TensorFlow's graphs: convolutions, dense layers, batch norms and pools, with what grappler and TFJS fuse into them.
 *
 * The one idea: images are NHWC and weights HWIO in both, so a layer is a matter of naming its attributes; SAME padding, which
 * puts the odd pixel below and on the right, is worked out from the input's size.
 * Source: tensorflow/core/ops/nn_ops.cc; the fused operators of grappler's remapper and of tfjs-converter.
 */
import type { Value } from '../../models/graph/builder.ts';
import { samePadding } from '../samePadding.ts';
import { fold } from './folding.ts';
import { type Constant, constant, isConstant } from './wire.ts';
import {
  asHost,
  flagOf,
  type Handler,
  known,
  list,
  numberOf,
  type Result,
  spatial,
  unsupported,
  value,
  type Work,
} from './work.ts';

type Pair = readonly [down: number, right: number];

/** [down, right] of an attribute of four numbers in NHWC. */
function pairOf(work: Work, name: string): Pair {
  const all = list(work, name);
  if (!all?.length) return [1, 1];
  const [n, h, w, c] = all;
  if (all.length !== 4 || n !== 1 || c !== 1) return unsupported(`${name} [${all}]`);
  return [h!, w!];
}

/** [top, bottom, left, right] of a window. */
function paddingOf(work: Work, x: Value, kernel: Pair, stride: Pair, dilation: Pair = [1, 1]) {
  const kind = work.node.attrs.get('padding')?.s;
  if (kind === 'VALID') return [0, 0, 0, 0] as const;
  if (kind === 'EXPLICIT') {
    const all = list(work, 'explicit_paddings') ?? [];
    if (all.length !== 8 || [0, 1, 6, 7].some((i) => all[i] !== 0)) return unsupported(`explicit_paddings [${all}]`);
    return all.slice(2, 6) as unknown as readonly [number, number, number, number];
  }
  if (kind !== 'SAME') return unsupported(`padding ${kind ?? 'without a kind'}`);
  const [, height, width] = x.shape;
  if (height === undefined || width === undefined) return unsupported('takes no image');
  return samePadding([height, width], kernel, stride, dilation);
}

/** A slope for each channel of the last axis, or one for all. */
export function slopes(work: Work, x: Value, alpha: Constant): Value {
  const channels = x.shape.at(-1)!;
  if (alpha.data.length === 1 || (alpha.data.length === channels && alpha.shape.at(-1) === channels))
    return work.builder.prelu(x, asHost(alpha, [alpha.data.length]), `${work.node.name}/Prelu`);
  // A slope for each place of the map: relu(x) + a·min(x, 0).
  const { builder } = work;
  const low = builder.apply('min', [x], { value: 0 });
  const scaled = builder.apply('mul', [low, builder.parameter(asHost(alpha), `${work.node.name}/Prelu`)]);
  return builder.apply('add', [builder.apply('relu', [x]), scaled]);
}

/** What follows a layer within a fused operator: the batch norm, then the activation. */
function follow(work: Work, x: Value, ops: readonly string[], args: readonly Result[]): Value {
  let y = x;
  let at = 0;
  const next = (what: string): Constant => {
    const c = args[at++];
    return isConstant(c) ? c : unsupported(`${what} is not constant`);
  };
  for (const op of ops) {
    const path = `${work.node.name}/${op}`;
    if (op === 'FusedBatchNorm') {
      const [gamma, beta, mean, variance] = ['scale', 'offset', 'mean', 'variance'].map(next);
      y = normalised(work, y, [gamma!, beta!, mean!, variance!]);
    } else if (op === 'Relu') y = work.builder.apply('relu', [y], {}, path);
    else if (op === 'Relu6') y = work.builder.apply('relu6', [y], {}, path);
    else if (op === 'Elu') y = work.builder.apply('elu', [y], {}, path);
    else if (op === 'Sigmoid') y = work.builder.apply('sigmoid', [y], {}, path);
    else if (op === 'Tanh') y = work.builder.apply('tanh', [y], {}, path);
    else if (op === 'LeakyRelu')
      y = work.builder.apply('leakyRelu', [y], { slope: numberOf(work, 'leakyrelu_alpha', 0.2) }, path);
    else if (op === 'Prelu') y = slopes(work, y, next('slopes'));
    else unsupported(`fused ${op}`);
  }
  return y;
}

function normalised(work: Work, x: Value, [gamma, beta, mean, variance]: readonly Constant[]): Value {
  const channels = x.shape.at(-1)!;
  if ([gamma, beta, mean, variance].some((c) => c?.data.length !== channels))
    unsupported(`numbers that are not one for each of ${channels} channels`);
  const flat = (c: Constant | undefined) => asHost(c!, [channels]);
  return work.builder.batchNorm(
    x,
    {
      weight: flat(gamma),
      bias: flat(beta),
      mean: flat(mean),
      variance: flat(variance),
      eps: numberOf(work, 'epsilon', 1e-4),
    },
    work.node.name,
  );
}

export const convolution =
  (depthwise: boolean): Handler =>
  (work) => {
    spatial(work);
    const x = value(work);
    const filter = known(work, 1, 'filter');
    if (filter.shape.length !== 4 || x.shape.length !== 4) return unsupported('not of images');
    const [kh, kw, inputs, outputs] = filter.shape as [number, number, number, number];
    const channels = x.shape[3]!;
    const stride = pairOf(work, 'strides');
    const dilation = pairOf(work, 'dilations');
    const shape = depthwise ? [kh, kw, 1, inputs * outputs] : filter.shape;
    const groups = depthwise ? inputs : channels / inputs;
    if (!Number.isInteger(groups) || (depthwise && inputs !== channels))
      return unsupported(`filter [${filter.shape}] on ${channels} channels`);
    const fused = work.node.attrs.get('fused_ops')?.texts ?? [];
    const biased = fused[0] === 'BiasAdd';
    const y = work.builder.conv2d(
      x,
      {
        weight: asHost(filter, shape),
        ...(biased && { bias: asHost(known(work, 2, 'bias'), [depthwise ? inputs * outputs : outputs]) }),
        stride,
        dilation,
        groups,
        padding: paddingOf(work, x, [kh, kw], stride, dilation),
      },
      work.node.name,
    );
    return follow(work, y, fused.slice(+biased), work.inputs.slice(2 + +biased));
  };

export const matMul: Handler = (work) => {
  const x = value(work);
  const w = work.inputs[1];
  const fused = work.node.attrs.get('fused_ops')?.texts ?? [];
  const biased = fused[0] === 'BiasAdd';
  const rest = (y: Value) => follow(work, y, fused.slice(+biased), work.inputs.slice(2 + +biased));
  const transA = flagOf(work, 'transpose_a') || flagOf(work, 'adj_x');
  const transB = flagOf(work, 'transpose_b') || flagOf(work, 'adj_y');
  if (!isConstant(w) || w.shape.length !== 2 || transA) {
    const y = work.builder.apply('matmul', [x, value(work, 1)], { transA, transB }, work.node.name);
    if (!biased) return rest(y);
    return rest(work.builder.apply('add', [y, work.builder.parameter(asHost(known(work, 2, 'bias')))]));
  }
  const weight = transB ? fold('Transpose', [w, constant('int', [2], [1, 0])], new Map())! : w;
  return rest(
    work.builder.linear(
      x,
      { weight: asHost(weight), ...(biased && { bias: asHost(known(work, 2, 'bias'), [weight.shape[1]!]) }) },
      work.node.name,
    ),
  );
};

export const batchNorm: Handler = (work) => {
  spatial(work);
  const x = value(work);
  const four = ['scale', 'offset', 'mean', 'variance'].map((what, i) => known(work, 1 + i, what));
  // In training the statistics are the batch's, and the inputs for them may be empty.
  if ((work.node.attrs.get('is_training')?.b ?? true) && four[2]!.data.length !== x.shape.at(-1))
    return unsupported('is_training with no statistics kept: freeze the graph for inference');
  return [normalised(work, x, four), ...four, ...four];
};

export const pool =
  (op: 'maxPool' | 'avgPool'): Handler =>
  (work) => {
    spatial(work);
    const x = value(work);
    const kernel = pairOf(work, 'ksize');
    const stride = pairOf(work, 'strides');
    const padding = paddingOf(work, x, kernel, stride);
    return work.builder.apply(
      op,
      [x],
      { kernel, stride, padding: [...padding], ...(op === 'avgPool' && { countIncludePad: false }) },
      work.node.name,
    );
  };
