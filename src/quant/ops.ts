/**
 * The convolution of 8-bit numbers as an op: what it gives is written down in native/int8.ts, and here as plain loops.
 *
 * The one idea: integers and single float32 operations leave nothing open, so the reference and the kernels agree to the bit.
 * The op is for inference on WASM (and the reference device): it is not among those that every device has.
 */

import { type Int8Attrs, paddedChannels, weightZero } from '../../native/int8.ts';
import { int8Depthwise, mostTaps } from '../../native/int8Depthwise.ts';
import { int8Product } from '../../native/int8Product.ts';
import { DeviceError } from '../core/errors.ts';
import { type Shape, sizeOf } from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import { nonDifferentiable, type Op, type OpRecord, opOf, shapeError } from '../ops/define.ts';

export { type Int8Attrs, mostTaps, paddedChannels, weightZero };

function outputShape(inputs: readonly TensorSpec[], a: Int8Attrs): Shape {
  const [x, w, scale, bias] = inputs as [TensorSpec, TensorSpec, TensorSpec, TensorSpec];
  const fail = (expected: string) =>
    shapeError('int8Conv', expected, { x, w, scale, bias }, 'Make the tensors by quantize.');
  const count = 4 + (a.slopes === 'none' ? 0 : 1) + (a.residual ? 1 : 0);
  if (inputs.length !== count) throw fail(`${count} operands`);
  if (x.dtype !== 'u8' || w.dtype !== 'u8' || bias.dtype !== 'i32') throw fail('uint8 x and w and an int32 bias');
  if (x.shape.length !== 4 || w.shape.length !== 4) throw fail('x [N, H, W, C] and w [kh, kw, C/groups, Cout]');
  const [n, height, width, c] = x.shape as [number, number, number, number];
  const [kh, kw, perGroup, out] = w.shape as [number, number, number, number];
  if (c !== perGroup * a.groups || out % a.groups) throw fail('channels in equal groups');
  const padded = paddedChannels(out);
  if ([scale, bias, ...(a.slopes === 'none' ? [] : [inputs[4]!])].some((t) => sizeOf(t.shape) !== padded))
    throw fail(`${padded} scales, biases and slopes for ${out} channels`);
  const [top, bottom, left, right] = a.padding;
  const size = (from: number, i: 0 | 1, taps: number, around: number) =>
    Math.floor((from + around - a.dilation[i] * (taps - 1) - 1) / a.stride[i]) + 1;
  const shape = [n, size(height, 0, kh, top + bottom), size(width, 1, kw, left + right), out];
  if (shape[1]! < 1 || shape[2]! < 1) throw fail('an image at least as large as the window');
  if (a.residual && inputs.at(-1)!.shape.join() !== shape.join()) throw fail(`another value of shape ${shape}`);
  return shape;
}

/** Nearest whole number, halves to even, of a number below 2^51. */
const nearest = (x: number) => x + 6755399441055744 - 6755399441055744;

const reference: OpRecord<Int8Attrs>['reference'] = (inputs, [y], a, specs) => {
  const [x, w, scale, bias] = inputs as [Float64Array, Float64Array, Float64Array, Float64Array];
  const slope = a.slopes === 'none' ? undefined : inputs[4]!;
  const residual = a.residual && inputs.at(-1)!;
  const [, height, width, c] = specs.inputs[0]!.shape as [number, number, number, number];
  const [kh, kw, perGroup, out] = specs.inputs[1]!.shape as [number, number, number, number];
  const [n, oh, ow] = specs.outputs[0]!.shape as [number, number, number];
  const f = Math.fround;
  let at = 0;
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let o = 0; o < out; o++, at++) {
          const group = Math.floor((o * a.groups) / out);
          let sum = bias[o]!;
          for (let r = 0; r < kh; r++) {
            const row = i * a.stride[0] + r * a.dilation[0] - a.padding[0];
            if (row < 0 || row >= height) continue;
            for (let s = 0; s < kw; s++) {
              const column = j * a.stride[1] + s * a.dilation[1] - a.padding[2];
              if (column < 0 || column >= width) continue;
              const from = ((b * height + row) * width + column) * c + group * perGroup;
              const weight = (r * kw + s) * perGroup * out + o;
              for (let q = 0; q < perGroup; q++) sum += (x[from + q]! - a.zero) * (w[weight + q * out]! - weightZero);
            }
          }
          let t = f(f(sum) * scale[o]!);
          if (residual) t = f(t + f((residual[at]! - a.residual!.zero) * f(a.residual!.scale)));
          if (slope && t < 0) t = f(t * slope[o]!);
          if (a.output) {
            const { zero, low, high } = a.output;
            y![at] = nearest(Math.min(Math.max(t, low - zero), high - zero)) + zero;
          } else y![at] = t;
        }
};

const isDepthwise = (w: Shape, groups: number) =>
  groups > 1 && w[2] === 1 && w[3] === groups && w[0]! * w[1]! <= mostTaps;

const op: Op<Int8Attrs> = opOf<Int8Attrs>('int8Conv', {
  roles: ['x', 'w', 'scale', 'bias'],
  variadic: true,
  infer: (inputs, a) => [{ shape: outputShape(inputs, a), dtype: a.output ? 'u8' : 'f32' }],
  reference,
  backward: nonDifferentiable('8-bit numbers have no gradient; train the float32 network'),
  kernels: {
    kind: 'kernel',
    wasm: (e, inputs, outputs, a) =>
      (isDepthwise(inputs[1]!.shape, a.groups) ? int8Depthwise : int8Product)(e, inputs, outputs, a),
    wgsl: () => {
      throw new DeviceError('webgpu: 8-bit networks have kernels for WASM alone\nUse --device wasm.');
    },
  },
  cost: ([x, w], [y]) => ({
    flops: 2 * sizeOf(y!.shape) * w!.shape[0]! * w!.shape[1]! * w!.shape[2]!,
    bytes: sizeOf(x!.shape) + sizeOf(w!.shape) + sizeOf(y!.shape),
  }),
  samples: [],
  errorSamples: [],
});

/** The operands of a convolution of 8-bit numbers; scale, bias and slope hold `paddedChannels(Cout)`. */
export interface Int8Operands {
  readonly x: Tensor;
  readonly w: Tensor;
  readonly scale: Tensor;
  readonly bias: Tensor;
  readonly slope?: Tensor | undefined;
  readonly residual?: Tensor | undefined;
}

/** @throws ShapeError where the operands do not fit */
export const int8Conv = ({ x, w, scale, bias, slope, residual }: Int8Operands, attrs: Int8Attrs): Tensor =>
  op.apply([x, w, scale, bias, ...(slope ? [slope] : []), ...(residual ? [residual] : [])], attrs)[0]!;

/** The op's own loops, for tests of its kernels. */
export const int8Reference = reference;
