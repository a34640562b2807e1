/**
 * The recognition network of face-api.js and @vladmandic/face-api: dlib's residual network of 29 convolutions, 128 numbers,
 * whose Euclidean distance below 0.6 means one person. The registry has none like it, so it is a graph.
 *
 * The one idea: every convolution is followed by a factor and an offset per channel (a batch norm that training has left
 * behind), which are part of its weights and bias here. A shortcut that is narrower is filled up with zeros, as dlib does,
 * and so is a branch that is smaller by a row and a column.
 * Source: King, dlib's dnn_face_recognition_ex.cpp; face-api's faceRecognitionNet.
 */
import { DataError } from '../../core/errors.ts';
import { showShape } from '../../core/shape.ts';
import { host } from '../../core/tensor.ts';
import { GraphBuilder, type Value } from '../../models/graph/builder.ts';
import type { Preprocessing } from '../../models/network.ts';
import type { HostTensor } from '../safetensors.ts';
import type { Layout, Tensors } from './layout.ts';

const preprocessing: Preprocessing = {
  colourOrder: 'RGB',
  mean: [122.782, 117.001, 104.298],
  scale: 1 / 255,
  inputSize: [150, 150],
};

/** The units in order; those with `down` halve the map. */
const units: readonly (readonly [name: string, down: boolean])[] = [
  ['conv32_1', false],
  ['conv32_2', false],
  ['conv32_3', false],
  ['conv64_down', true],
  ['conv64_1', false],
  ['conv64_2', false],
  ['conv64_3', false],
  ['conv128_down', true],
  ['conv128_1', false],
  ['conv128_2', false],
  ['conv256_down', true],
  ['conv256_1', false],
  ['conv256_2', false],
  ['conv256_down_out', true],
];

function program(tensors: Tensors, source: string) {
  const used = new Set<string>();
  const fail = (what: string): never => {
    throw new DataError(
      `${source}: expected the recognition network of face-api, but ${what}\nFetch face_recognition_model again, with its manifest.`,
    );
  };
  const take = (name: string, axes: number): HostTensor => {
    const found = tensors.get(name);
    used.add(name);
    if (found?.shape.length !== axes || found.dtype !== 'f32')
      return fail(`${name} ${found ? `is ${found.dtype} ${showShape(found.shape)}` : 'is missing'}`);
    return found;
  };
  const b = new GraphBuilder();
  /** conv, + bias, · weights, + biases */
  const conv = (x: Value, name: string, stride: number): Value => {
    const [filters, bias] = [take(`${name}/conv/filters`, 4), take(`${name}/conv/bias`, 1)];
    const [factor, offset] = [take(`${name}/scale/weights`, 1), take(`${name}/scale/biases`, 1)];
    const channels = filters.shape[3]!;
    if ([bias, factor, offset].some((t) => t.data.length !== channels))
      return fail(`${name} has not one number for each of ${channels} channels`);
    if (filters.shape[2] !== x.shape[3]) return fail(`${name} takes ${filters.shape[2]} channels, not ${x.shape[3]}`);
    const weight = (filters.data as Float32Array).map((w, i) => w * factor.data[i % channels]!);
    const added = (bias.data as Float32Array).map((v, i) => v * factor.data[i]! + offset.data[i]!);
    const options = {
      weight: host(weight, filters.shape),
      bias: host(added, [channels]),
      stride,
      padding: stride === 1 ? ([1, 1, 1, 1] as const) : 0,
    };
    return b.conv2d(x, options, name);
  };
  const relu = (x: Value) => b.apply('relu', [x]);
  /** Zeros after rows, columns and channels, up to those of `like`. */
  const filled = (x: Value, like: Value, axes: readonly number[]): Value => {
    const pads = x.shape.map((d, i) => [0, axes.includes(i) ? Math.max(0, like.shape[i]! - d) : 0]);
    return pads.every(([, after]) => after === 0) ? x : b.apply('pad', [x], { pads });
  };
  const unit = (x: Value, name: string, down: boolean): Value => {
    const branch = conv(relu(conv(x, `${name}/conv1`, down ? 2 : 1)), `${name}/conv2`, 1);
    if (!down) return relu(b.apply('add', [branch, x]));
    const half = b.apply('avgPool', [x], { kernel: [2, 2], stride: [2, 2] });
    return relu(b.apply('add', [filled(half, branch, [3]), filled(branch, half, [1, 2])]));
  };

  let x = relu(conv(b.input('image', [...preprocessing.inputSize, 3]), 'conv32_down', 2));
  x = b.apply('maxPool', [x], { kernel: [3, 3], stride: [2, 2] });
  for (const [name, down] of units) x = unit(x, name, down);
  x = b.apply('reduce', [x], { kind: 'mean', axes: [1, 2] });
  const weight = take('fc', 2);
  if (weight.shape[0] !== x.shape[1]) return fail(`fc is ${showShape(weight.shape)}`);
  return { graph: b.finish({ embedding: b.linear(x, { weight }, 'fc') }), used };
}

export const faceApi: Layout = {
  name: 'face-api',
  project: 'face-api.js and @vladmandic/face-api',
  means: "dlib's residual network of 29 convolutions as face-api has it",
  convention: 'tensorflow',
  has: ['conv32_down/conv/filters', 'conv256_down_out/conv2/scale/biases', 'fc'],
  names: /^conv(32|64|128|256)_(down|\d|down_out)\/(conv[12]\/)?(conv|scale)\/(filters|bias|weights|biases)$|^fc$/,
  fit: (tensors, source) => ({ ...program(tensors, source), preprocessing }),
};
