/**
 * RetinaFace on a MobileNet body of a quarter of the width: boxes, scores and five points of faces for every anchor.
 *
 * The one idea: three maps of features at strides 8, 16 and 32 are brought to 64 channels, the coarser added to the finer,
 * each widened by three fields of view, and read by three 1x1 convolutions. Paths are the module names of the published
 * PyTorch code (biubug6/Pytorch_Retinaface), so its state fills the graph name by name. Deng et al. 2019, arXiv 1905.00641.
 */
import { host } from '../../core/tensor.ts';
import { GraphBuilder, type Value } from '../graph/builder.ts';
import type { Graph } from '../graph/spec.ts';

const slope = 0.1;
const eps = 1e-5;
/** Channels behind the pyramid. */
const width = 64;

const ones = (n: number) => host(new Float32Array(n).fill(1), [n]);
const zeros = (...shape: number[]) => host(new Float32Array(shape.reduce((a, b) => a * b)), shape);

interface ConvOptions {
  readonly kernel?: 1 | 3;
  readonly stride?: number;
  /** One kernel a channel. */
  readonly depthwise?: boolean;
  /** The leaky rectifier behind. Default true. */
  readonly active?: boolean;
}

/** Convolution, batch norm and rectifier: `conv` and `norm` are the paths of the first two. */
function unit(
  b: GraphBuilder,
  x: Value,
  outputs: number,
  conv: string,
  norm: string,
  options: ConvOptions = {},
): Value {
  const { kernel = 3, stride = 1, depthwise = false, active = true } = options;
  const inputs = x.shape[3]!;
  const weight = zeros(kernel, kernel, depthwise ? 1 : inputs, outputs);
  const y = b.conv2d(x, { weight, stride, padding: kernel >> 1, groups: depthwise ? inputs : 1 }, conv);
  const z = b.batchNorm(
    y,
    { weight: ones(outputs), bias: zeros(outputs), mean: zeros(outputs), variance: ones(outputs), eps },
    norm,
  );
  return active ? b.apply('leakyRelu', [z], { slope }, `${norm}.act`) : z;
}

/** A depthwise convolution and a 1x1 one, as PyTorch's sequence of six. */
function separable(b: GraphBuilder, x: Value, outputs: number, stride: number, path: string): Value {
  const y = unit(b, x, x.shape[3]!, `${path}.0`, `${path}.1`, { stride, depthwise: true });
  return unit(b, y, outputs, `${path}.3`, `${path}.4`, { kernel: 1 });
}

/** Channels and stride of the blocks of each stage, after the first convolution. */
const stages = [
  [
    [16, 1],
    [32, 2],
    [32, 1],
    [64, 2],
    [64, 1],
  ],
  [
    [128, 2],
    [128, 1],
    [128, 1],
    [128, 1],
    [128, 1],
    [128, 1],
  ],
  [
    [256, 2],
    [256, 1],
  ],
] as const;

/** Fields of 3, 5 and 7 pixels side by side, the larger ones as stacked 3x3 convolutions (Najibi et al. 2017, "SSH"). */
function context(b: GraphBuilder, x: Value, path: string): Value {
  const part = (from: Value, outputs: number, name: string, active: boolean) =>
    unit(b, from, outputs, `${path}.${name}.0`, `${path}.${name}.1`, { active });
  const three = part(x, width / 2, 'conv3X3', false);
  const shared = part(x, width / 4, 'conv5X5_1', true);
  const five = part(shared, width / 4, 'conv5X5_2', false);
  const seven = part(part(shared, width / 4, 'conv7X7_2', true), width / 4, 'conv7x7_3', false);
  const joined = b.apply('concat', [three, five, seven], { axis: 3 }, `${path}.joined`);
  return b.apply('relu', [joined], {}, `${path}.act`);
}

/** What each 1x1 convolution gives, with its name in the state; there are two anchors a place. */
const heads = [
  { name: 'loc', path: 'BboxHead', numbers: 4 },
  { name: 'conf', path: 'ClassHead', numbers: 2 },
  { name: 'lm', path: 'LandmarkHead', numbers: 10 },
] as const;

/**
 * The network for pictures of a size, all numbers 0: `graphNetwork({ spec, tensors })` fills it. It takes BGR minus (104, 117, 123)
 * and gives `loc` [n, 4], `conf` [n, 2] (softmax: background, face) and `lm` [n, 10] of the n anchors; those of the finest
 * map first, row by row, two a place.
 */
export function retinaFaceGraph([height, wide]: readonly [number, number]): Graph {
  const b = new GraphBuilder();
  let x = unit(b, b.input('image', [height, wide, 3]), 8, 'body.stage1.0.0', 'body.stage1.0.1', { stride: 2 });
  const maps = stages.map((blocks, s) => {
    // The first stage begins with the plain convolution.
    blocks.forEach(([outputs, stride], i) => {
      x = separable(b, x, outputs, stride, `body.stage${s + 1}.${i + (s === 0 ? 1 : 0)}`);
    });
    return x;
  });
  const level = maps.map((map, i) =>
    unit(b, map, width, `fpn.output${i + 1}.0`, `fpn.output${i + 1}.1`, { kernel: 1 }),
  );
  for (const i of [1, 0]) {
    const size = level[i]!.shape.slice(1, 3);
    const up = b.apply('resize', [level[i + 1]!], { size, mode: 'nearest' }, `fpn.up${i + 2}`);
    const sum = b.apply('add', [level[i]!, up], {}, `fpn.sum${i + 1}`);
    level[i] = unit(b, sum, width, `fpn.merge${i + 1}.0`, `fpn.merge${i + 1}.1`);
  }
  const features = level.map((map, i) => context(b, map, `ssh${i + 1}`));
  const outputs: Record<string, Value> = {};
  for (const { name, path, numbers } of heads) {
    const parts = features.map((map, i) => {
      const weights = { weight: zeros(1, 1, width, 2 * numbers), bias: zeros(2 * numbers) };
      const y = b.conv2d(map, weights, `${path}.${i}.conv1x1`);
      return b.reshape(y, [1, y.shape[1]! * y.shape[2]! * 2, numbers], `${path}.${i}.rows`);
    });
    const all = b.apply('concat', parts, { axis: 1 }, `${path}.joined`);
    outputs[name] = name === 'conf' ? b.apply('softmax', [all], { axis: 2 }, `${path}.softmax`) : all;
  }
  return b.finish(outputs);
}
