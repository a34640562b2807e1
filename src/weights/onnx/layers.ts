/**
 * ONNX operators with weights or windows: convolution, normalisation, dense layers, pools, resizing.
 *
 * The one idea: windows are given as the graph has them, [top, bottom, left, right], with what automatic padding adds
 * already in them.
 * Source: the operator definitions of the ONNX standard.
 */
import { sizeOf } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import { type Ordered, permuted } from '../../models/graph/channelsFirst.ts';
import { pool as poolMap } from '../pooling.ts';
import { samePadding } from '../samePadding.ts';
import { latestOpset as latest, type OnnxNode, type OnnxOperator } from './node.ts';

type Pair = [down: number, right: number];
type Sides = [top: number, bottom: number, left: number, right: number];
interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly padding: Sides;
  /** The padding makes every pixel part of a window already. */
  readonly same: boolean;
}

/** Kernel, stride, dilation and padding of a node over images of a size. */
function windowOf(node: OnnxNode, size: readonly number[], kernel: readonly number[]): Window {
  if (size.length !== 2 || kernel.length !== 2) node.refuse(`${size.length}-D windows (only images)`);
  const two = (name: string, fallback: number): [number, number] => {
    const values = node.ints(name) ?? [fallback, fallback];
    if (values.length !== 2 || values.some((n) => !Number.isSafeInteger(n) || n < 1))
      node.fail(`two ${name} of at least 1, got [${values.join(', ')}]`);
    return values as unknown as [number, number];
  };
  const stride = two('strides', 1);
  const dilation = two('dilations', 1);
  const auto = node.text('auto_pad', 'NOTSET');
  const pads = node.ints('pads') ?? [0, 0, 0, 0];
  if (pads.length !== 4 || pads.some((n) => !Number.isSafeInteger(n))) node.fail(`four pads, got [${pads.join(', ')}]`);
  if (pads.some((n) => n < 0)) node.refuse('negative pads');
  let padding: Sides = [pads[0]!, pads[2]!, pads[1]!, pads[3]!];
  if (auto === 'VALID') padding = [0, 0, 0, 0];
  else if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER')
    padding = samePadding(size as Pair, kernel as Pair, stride, dilation, auto === 'SAME_UPPER' ? 'behind' : 'before');
  else if (auto !== 'NOTSET') node.fail(`auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, got ${auto}`);
  return { kernel: kernel as [number, number], stride, dilation, padding, same: auto.startsWith('SAME') };
}

function conv(node: OnnxNode) {
  const x = node.value(0);
  const weight = node.host(1, 'a weight');
  if (weight.shape.length !== 4 || x.shape.length !== 4)
    node.refuse(`${Math.max(weight.shape.length, 2) - 2}-D convolution (only images)`);
  const kernel = node.ints('kernel_shape') ?? weight.shape.slice(2);
  if (kernel.some((n, i) => n !== weight.shape[2 + i]))
    node.fail(`kernel_shape [${kernel.join(', ')}] as the weight's`);
  const { stride, dilation, padding } = windowOf(node, x.shape.slice(2), kernel);
  const groups = node.int('group', 1);
  const bias = node.has(2) ? node.host(2, 'a bias') : undefined;
  if (!Number.isSafeInteger(groups) || groups < 1 || weight.shape[0]! % groups)
    node.fail(`groups that divide ${weight.shape[0]} outputs, got ${groups}`);
  if (x.shape[1] !== weight.shape[1]! * groups)
    node.fail(`${weight.shape[1]! * groups} channels for weight [${weight.shape.join(', ')}], got ${x.shape[1]}`);
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== weight.shape[0]))
    node.fail(`a bias of ${weight.shape[0]} numbers, got shape [${bias.shape.join(', ')}]`);
  return node.graph.conv2d(x, { weight, bias, stride, dilation, padding, groups }, node.path);
}

function convTranspose(node: OnnxNode): Ordered {
  const x = node.value(0);
  const weight = node.host(1, 'a weight');
  if (weight.shape.length !== 4 || x.shape.length !== 4)
    node.refuse(`${Math.max(weight.shape.length, 2) - 2}-D convolution (only images)`);
  const [inputs, each, ...kernel] = weight.shape as [number, number, number, number];
  const groups = node.int('group', 1);
  if (!Number.isSafeInteger(groups) || groups < 1 || inputs % groups || x.shape[1] !== inputs)
    node.fail(`${inputs} channels in groups, got ${x.shape[1]} in ${groups}`);
  const bias = node.has(2) ? node.host(2, 'a bias') : undefined;
  if (bias && sizeOf(bias.shape) !== each * groups)
    node.fail(`a bias of ${each * groups} numbers, got shape [${bias.shape.join(', ')}]`);
  const two = (name: string, fallback: number, least: number): [number, number] => {
    const values = node.ints(name) ?? [fallback, fallback];
    if (values.length !== 2 || values.some((n) => !Number.isSafeInteger(n) || n < least || n > 1 << 10))
      node.fail(`two ${name} of at least ${least}, got [${values.join(', ')}]`);
    return values as unknown as [number, number];
  };
  const stride = two('strides', 1, 1);
  const dilation = two('dilations', 1, 1);
  const more = two('output_padding', 0, 0);
  const full = kernel.map((k, i) => stride[i]! * (x.shape[2 + i]! - 1) + (k - 1) * dilation[i]! + 1 + more[i]!);
  const auto = node.text('auto_pad', 'NOTSET');
  const same = auto === 'SAME_UPPER' || auto === 'SAME_LOWER';
  const wanted = node.hasAttribute('output_shape')
    ? two('output_shape', 1, 1)
    : same && stride.map((s, i) => s * x.shape[2 + i]!);
  const pads = node.ints('pads') ?? [0, 0, 0, 0];
  if (pads.length !== 4 || pads.some((n) => !Number.isSafeInteger(n) || n < 0))
    node.fail(`four pads of 0 or more, got [${pads.join(', ')}]`);
  const padding = [0, 1].flatMap((i) => {
    if (!wanted) return auto === 'VALID' ? [0, -more[i]!] : [pads[i]!, pads[2 + i]! - more[i]!];
    const all = full[i]! - wanted[i]!;
    const half = Math.floor(all / 2);
    const [before, after] = auto === 'SAME_UPPER' ? [half, all - half] : [all - half, half];
    return [before, after - more[i]!];
  }) as Sides;
  return node.graph.convTranspose2d(x, { weight, bias, stride, padding, dilation, groups }, node.path);
}

function batchNormalization(node: OnnxNode) {
  if (node.int('spatial', 1) !== 1) node.refuse('statistics per place (spatial 0)');
  if (node.opset >= 14 && node.int('training_mode', 0) !== 0) node.refuse('training_mode');
  const x = node.value(0);
  const channels = x.shape[1];
  if (channels === undefined) node.refuse('values without channels');
  const roles = ['scale', 'B', 'mean', 'var'];
  const [weight, bias, mean, variance] = roles.map((role, i) => {
    const t = node.host(i + 1, role);
    return sizeOf(t.shape) === channels ? t : node.fail(`${channels} numbers for ${role}, got ${sizeOf(t.shape)}`);
  });
  const eps = node.float('epsilon', 1e-5);
  const momentum = Math.min(1, Math.max(0, 1 - node.float('momentum', 0.9)));
  return node.graph.batchNorm(x, { weight, bias, mean: mean!, variance: variance!, eps, momentum }, node.path);
}

const scaled = (t: HostTensor, factor: number): HostTensor =>
  factor === 1
    ? t
    : host(
        (t.data as Float32Array).map((v) => v * factor),
        t.shape,
      );

function gemm(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const [alpha, beta] = [node.float('alpha', 1), node.float('beta', 1)];
  const plain = node.value(0);
  if (plain.shape.length !== 2) node.fail(`a matrix, got shape [${plain.shape.join(', ')}]`);
  const a = node.int('transA', 0) ? graph.transpose(plain, [1, 0]) : plain;
  const given = node.shape(1);
  if (given.length !== 2) node.fail(`a matrix as second input, got shape [${given.join(', ')}]`);
  const c = node.has(2) && beta !== 0 ? node.item(2) : undefined;
  if (!('type' in node.item(1))) {
    const b = node.int('transB', 0) ? graph.transpose(node.value(1), [1, 0]) : node.value(1);
    let y = graph.matmul(a, b, path);
    if (alpha !== 1) y = times(node, y, alpha);
    if (!c) return y;
    const term = node.value(2);
    return graph.binary('add', y, beta === 1 ? term : times(node, term, beta), path);
  }
  const b = node.host(1, 'a weight');
  const weight = scaled(node.int('transB', 0) ? permuted(b, [1, 0]) : b, alpha);
  if (a.shape[1] !== weight.shape[0]) node.fail(`${weight.shape[0]} columns, got ${a.shape[1]}`);
  const outputs = weight.shape[1]!;
  // A bias per output is the layer's own; any other term is added.
  const perOutput = c && 'type' in c && c.data.length === outputs && c.shape.at(-1) === outputs;
  const bias = perOutput ? scaled(host(node.host(2, 'C').data, [outputs]), beta) : undefined;
  const y = graph.linear(a, { weight, bias }, path);
  if (!c || perOutput) return y;
  const term = node.value(2);
  return graph.binary('add', y, beta === 1 ? term : times(node, term, beta), path);
}

/** A value times a number. */
export const times = (node: OnnxNode, x: Ordered, factor: number): Ordered =>
  node.graph.unary('mul', x, { value: factor }, node.path);

function matMul(node: OnnxNode): Ordered {
  const { graph, path } = node;
  const b = node.item(1);
  if ('type' in b && b.shape.length === 2 && !('type' in node.item(0)) && node.shape(0).length >= 2) {
    if (node.shape(0).at(-1) !== b.shape[0])
      node.fail(`${b.shape[0]} numbers in the last axis, got ${node.shape(0).at(-1)}`);
    return graph.linear(node.value(0), { weight: node.host(1, 'a weight') }, path);
  }
  const wide = (x: Ordered, vector: (n: number) => number[]) =>
    x.shape.length === 1 ? graph.reshape(x, vector(x.shape[0]!)) : x;
  let [p, q] = [wide(node.value(0), (n) => [1, n]), wide(node.value(1), (n) => [n, 1])];
  // Leading axes broadcast; on the first axis only numbers that are known, or images with images.
  const rank = Math.max(p.shape.length, q.shape.length);
  if (p.shape.length > 2 && q.shape.length > 2) {
    const leading = Array.from({ length: rank - 2 }, (_, i) =>
      Math.max(...[p, q].map((x) => x.shape[x.shape.length - rank + i] ?? 1)),
    );
    const spread = (x: Ordered) => {
      const shape = [...leading, ...x.shape.slice(-2)];
      return shape.length === x.shape.length && shape.every((d, i) => d === x.shape[i])
        ? x
        : graph.expand(x, shape, path);
    };
    [p, q] = [spread(p), spread(q)];
  }
  const y = graph.matmul(p, q, path);
  if (node.shape(0).length > 1 && node.shape(1).length > 1) return y;
  const shape = y.shape.slice(0, -2);
  return graph.reshape(y, [
    ...shape,
    ...(node.shape(0).length > 1 ? [y.shape.at(-2)!] : []),
    ...(node.shape(1).length > 1 ? [y.shape.at(-1)!] : []),
  ]);
}

function pool(node: OnnxNode): Ordered {
  const x = node.value(0);
  if (node.outputs > 1) node.refuse('the indices of the largest');
  const w = windowOf(node, x.shape.slice(2), node.ints('kernel_shape') ?? node.fail('a kernel_shape'));
  if (w.dilation.some((d) => d !== 1)) node.refuse(`dilations [${w.dilation.join(', ')}]`);
  const { kernel, stride, padding } = w;
  const counts = node.int('count_include_pad', 0) === 0 ? 'pixels' : 'padding';
  const ceil = node.int('ceil_mode', 0) === 0 || w.same ? 'never' : 'inside';
  const kind = node.type === 'MaxPool' ? 'max' : 'avg';
  return poolMap(node.graph, x, { kind, kernel, stride, padding, ceil, counts }, node.path);
}

/** Axes behind the channels. */
const places = (x: Ordered): number[] => x.shape.map((_, i) => i).slice(2);

function globalPool(node: OnnxNode): Ordered {
  const x = node.value(0);
  if (x.shape.length < 3) node.fail(`an image, got shape [${x.shape.join(', ')}]`);
  return node.graph.reduce(node.type === 'GlobalMaxPool' ? 'max' : 'mean', x, places(x), true, node.path);
}

/** (x − mean)/sqrt(variance + eps) over axes, times scale, plus bias; the mean; and 1/sqrt(variance + eps). */
function normalized(node: OnnxNode, axes: readonly number[], weights: readonly HostTensor[]): Ordered[] {
  const { graph, path } = node;
  const x = node.value(0);
  const mean = graph.reduce('mean', x, axes, true, path);
  const centred = graph.binary('sub', x, mean, path);
  const variance = graph.reduce('mean', graph.unary('square', centred, {}, path), axes, true, path);
  const eps = node.float('epsilon', 1e-5);
  const deviation = graph.unary('sqrt', graph.unary('add', variance, { value: eps }, path), {}, path);
  const [scale, bias] = weights;
  let y = graph.binary('div', centred, deviation, path);
  if (scale) y = graph.binary('mul', y, graph.given(scale, `${path}.scale`), path);
  if (bias) y = graph.binary('add', y, graph.given(bias, `${path}.bias`), path);
  return [y, mean, graph.unary('div', deviation, { value: 1, reversed: true }, path)];
}

function instanceNormalization(node: OnnxNode): Ordered {
  const x = node.value(0);
  if (x.shape.length < 3) node.fail(`an image, got shape [${x.shape.join(', ')}]`);
  const channels = (i: number, role: string) => {
    const t = node.host(i, role);
    return host(t.data, [t.data.length, ...places(x).map(() => 1)]);
  };
  return normalized(node, places(x), [channels(1, 'scale'), channels(2, 'B')])[0]!;
}

function layerNormalization(node: OnnxNode): Ordered[] {
  const x = node.value(0);
  const from = node.axis(node.int('axis', -1), x.shape.length);
  const axes = x.shape.map((_, i) => i).slice(from);
  return normalized(node, axes, [node.host(1, 'scale'), ...(node.has(2) ? [node.host(2, 'B')] : [])]);
}

function lpNormalization(node: OnnxNode): Ordered {
  const x = node.value(0);
  const axis = node.int('axis', -1);
  if (node.int('p', 2) === 2) return node.graph.along('l2Normalize', x, axis, {}, node.path);
  return node.graph.binary('div', x, node.graph.reduce('l1', x, [axis], true, node.path), node.path);
}

export const layerOperators: readonly OnnxOperator[] = [
  { name: 'Conv', opsets: [7, latest], limits: 'images only; weights must be constant', map: conv },
  { name: 'ConvTranspose', opsets: [7, latest], limits: 'images only; weights must be constant', map: convTranspose },
  {
    name: 'BatchNormalization',
    opsets: [7, latest],
    limits: 'no spatial 0, no training_mode',
    map: batchNormalization,
  },
  { name: 'InstanceNormalization', opsets: [7, latest], limits: '', map: instanceNormalization },
  { name: 'LayerNormalization', opsets: [17, latest], limits: '', map: layerNormalization },
  { name: 'LpNormalization', opsets: [7, latest], limits: '', map: lpNormalization },
  { name: 'Gemm', opsets: [7, latest], limits: '', map: gemm },
  { name: 'MatMul', opsets: [7, latest], limits: '', map: matMul },
  { name: 'MaxPool', opsets: [7, latest], limits: 'images only; no dilations, no indices', map: pool },
  { name: 'AveragePool', opsets: [7, latest], limits: 'images only; no dilations', map: pool },
  { name: 'GlobalMaxPool', opsets: [7, latest], limits: '', map: globalPool },
  { name: 'GlobalAveragePool', opsets: [7, latest], limits: '', map: globalPool },
];
