/**
 * What the dense and the depthwise convolution share: attributes, shape rule, and the one loop nest that specifies the
 * forward pass and both gradients.
 *
 *   y[n, i, j, o] = Σ_{r, s, c} x[n, i·sh + r·dh − top, j·sw + s·dw − left, c] · w[r, s, c, o]
 */

import type { GpuLowering } from '../../kernels/lower.ts';
import type { ConvAttrs } from '../../native/conv2d.ts';
import type { Lowering } from '../../native/lower.ts';
import { type Shape, sizeOf } from '../core/shape.ts';
import type { TensorSpec } from '../core/tensor.ts';
import { defineOp, type Op, type Round, type Sample, shapeError } from './define.ts';

export type { ConvAttrs };

/** Shape rule of the forward pass. */
function convShape(op: string, x: TensorSpec, w: TensorSpec, a: ConvAttrs): Shape {
  const fail = (expected: string, hint: string) => shapeError(op, expected, { x, w }, hint);
  if (x.shape.length !== 4 || w.shape.length !== 4)
    throw fail(
      'x [N, H, W, C] and w [kh, kw, Cin/groups, Cout]',
      'Reshape images to NHWC and weights to [kh, kw, Cin/groups, Cout].',
    );
  const [n, h, wd, c] = x.shape as [number, number, number, number];
  const [kh, kw, cg, out] = w.shape as [number, number, number, number];
  if (c !== cg * a.groups || out % a.groups)
    throw fail(
      `${cg * a.groups} input channels (w's ${cg} times ${a.groups} groups) and output channels in ${a.groups} equal groups`,
      'Check the channel order (NHWC) and the groups.',
    );
  const [top, bottom, left, right] = a.padding;
  const oh = Math.floor((h + top + bottom - a.dilation[0] * (kh - 1) - 1) / a.stride[0]) + 1;
  const ow = Math.floor((wd + left + right - a.dilation[1] * (kw - 1) - 1) / a.stride[1]) + 1;
  if (oh < 1 || ow < 1)
    throw fail(
      `an image at least as large as the ${kh}x${kw} kernel after padding`,
      'Pad more, or use a larger input.',
    );
  return [n, oh, ow, out];
}

/**
 * Visits every (input, weight, output) triple of a convolution, outputs in order, taps in order. The channels of one
 * tap come as a run of `count`: input xi + q meets weight wi + q·step.
 */
function eachTap(
  x: Shape,
  w: Shape,
  y: Shape,
  a: ConvAttrs,
  visit: (xi: number, wi: number, yi: number, count: number, step: number) => void,
): void {
  const [n, h, wd, c] = x as [number, number, number, number];
  const [kh, kw, cg, out] = w as [number, number, number, number];
  const [, oh, ow] = y as [number, number, number];
  const perGroup = out / a.groups;
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let o = 0; o < out; o++) {
          const yi = ((b * oh + i) * ow + j) * out + o;
          const base = Math.floor(o / perGroup) * cg;
          for (let r = 0; r < kh; r++) {
            const yy = i * a.stride[0] + r * a.dilation[0] - a.padding[0];
            if (yy < 0 || yy >= h) continue;
            for (let s = 0; s < kw; s++) {
              const xx = j * a.stride[1] + s * a.dilation[1] - a.padding[2];
              if (xx < 0 || xx >= wd) continue;
              const xi = ((b * h + yy) * wd + xx) * c + base;
              const wi = (r * kw + s) * cg * out + o;
              visit(xi, wi, yi, cg, out);
            }
          }
        }
}

type ConvReference = (
  inputs: readonly Float64Array[],
  outputs: readonly Float64Array[],
  a: ConvAttrs,
  specs: { inputs: readonly TensorSpec[]; outputs: readonly TensorSpec[] },
  round: Round,
) => void;

const convReference: ConvReference = ([x, w], [y], a, specs, round) => {
  y!.fill(0);
  eachTap(specs.inputs[0]!.shape, specs.inputs[1]!.shape, specs.outputs[0]!.shape, a, (xi, wi, yi, count, step) => {
    let acc = y![yi]!;
    for (let q = 0; q < count; q++) acc = round(acc + round(x![xi + q]! * w![wi + q * step]!));
    y![yi] = acc;
  });
};
const convInputGradReference: ConvReference = ([dy, w], [dx], a, specs, round) => {
  dx!.fill(0);
  eachTap(specs.outputs[0]!.shape, specs.inputs[1]!.shape, specs.inputs[0]!.shape, a, (xi, wi, yi, count, step) => {
    const d = dy![yi]!;
    for (let q = 0; q < count; q++) dx![xi + q] = round(dx![xi + q]! + round(d * w![wi + q * step]!));
  });
};
const convWeightGradReference: ConvReference = ([x, dy], [dw], a, specs, round) => {
  dw!.fill(0);
  eachTap(specs.inputs[0]!.shape, specs.outputs[0]!.shape, specs.inputs[1]!.shape, a, (xi, wi, yi, count, step) => {
    const d = dy![yi]!;
    for (let q = 0; q < count; q++) dw![wi + q * step] = round(dw![wi + q * step]! + round(x![xi + q]! * d));
  });
};

/** Multiply-adds of any pass, as flops. */
const convFlops = (y: Shape, w: Shape): number => 2 * sizeOf(y) * w[0]! * w[1]! * w[2]!;
const convBytes = (...specs: readonly (TensorSpec | undefined)[]) =>
  4 * specs.reduce((n, s) => n + sizeOf(s!.shape), 0);

/** Attributes of the gradients: the convolution's, and the shape of what they give. */
interface ConvGradAttrs extends ConvAttrs {
  readonly shape: Shape;
}

/** A forward convolution for samples: image and weight shapes, attributes. */
export interface ConvCase {
  readonly x: Shape;
  readonly w: Shape;
  readonly a: ConvAttrs;
}

export interface ConvolutionFamily {
  /** Names of the forward op and of its two gradients. */
  readonly names: readonly [forward: string, inputGrad: string, weightGrad: string];
  /** Kernels in the same order. */
  readonly wasm: readonly [
    forward: Lowering<ConvAttrs>,
    inputGrad: Lowering<ConvGradAttrs>,
    weightGrad: Lowering<ConvGradAttrs>,
  ];
  readonly wgsl: readonly [
    forward: GpuLowering<ConvAttrs>,
    inputGrad: GpuLowering<ConvGradAttrs>,
    weightGrad: GpuLowering<ConvGradAttrs>,
  ];
  /** Throws ShapeError where the operands do not fit this family. */
  check?(x: TensorSpec, w: TensorSpec, a: ConvAttrs): void;
  readonly cases: readonly ConvCase[];
  readonly errorSamples: readonly Sample<ConvAttrs>[];
}

/**
 * Defines a convolution's three ops and gives the forward one. Each pass is linear in both operands, so the gradient of
 * any of the three is made of the other two.
 */
export function defineConvolution({ names, wasm, wgsl, check, cases, errorSamples }: ConvolutionFamily): Op<ConvAttrs> {
  const [name, inputGradName, weightGradName] = names;
  const yShape = ({ x, w, a }: ConvCase) => convShape(name, { shape: x, dtype: 'f32' }, { shape: w, dtype: 'f32' }, a);

  const forward: Op<ConvAttrs> = defineOp<ConvAttrs>(name, {
    roles: ['x', 'w'],
    infer([x, w], a) {
      check?.(x!, w!, a);
      return [{ shape: convShape(name, x!, w!, a), dtype: 'f32' }];
    },
    reference: convReference,
    backward: ({ inputs: [x, w], dys, attrs: a }) => [
      inputGrad.apply([dys[0]!, w!], { ...a, shape: x!.shape })[0],
      weightGrad.apply([x!, dys[0]!], { ...a, shape: w!.shape })[0],
    ],
    kernels: { kind: 'kernel', wasm: wasm[0], wgsl: wgsl[0], epilogue: true },
    cost: ([x, w], [y]) => ({ flops: convFlops(y!.shape, w!.shape), bytes: convBytes(x, w, y) }),
    samples: cases.map((c) => ({ inputs: [{ shape: c.x }, { shape: c.w }], attrs: c.a })),
    errorSamples,
  });
  const inputGrad: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>(inputGradName, {
    roles: ['dy', 'w'],
    infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
    reference: convInputGradReference,
    backward: ({ inputs: [dy, w], dys, attrs: a }) => [
      forward.apply([dys[0]!, w!], a)[0],
      weightGrad.apply([dys[0]!, dy!], { ...a, shape: w!.shape })[0],
    ],
    kernels: { kind: 'kernel', wasm: wasm[1], wgsl: wgsl[1] },
    cost: ([dy, w], [dx]) => ({ flops: convFlops(dy!.shape, w!.shape), bytes: convBytes(dy, w, dx) }),
    samples: cases.map((c) => ({ inputs: [{ shape: yShape(c) }, { shape: c.w }], attrs: { ...c.a, shape: c.x } })),
    errorSamples: [],
  });
  const weightGrad: Op<ConvGradAttrs> = defineOp<ConvGradAttrs>(weightGradName, {
    roles: ['x', 'dy'],
    infer: (_, a) => [{ shape: a.shape, dtype: 'f32' }],
    reference: convWeightGradReference,
    backward: ({ inputs: [x, dy], dys, attrs: a }) => [
      inputGrad.apply([dy!, dys[0]!], { ...a, shape: x!.shape })[0],
      forward.apply([x!, dys[0]!], a)[0],
    ],
    kernels: { kind: 'kernel', wasm: wasm[2], wgsl: wgsl[2] },
    cost: ([x, dy], [dw]) => ({ flops: convFlops(dy!.shape, dw!.shape), bytes: convBytes(x, dy, dw) }),
    samples: cases.map((c) => ({ inputs: [{ shape: c.x }, { shape: yShape(c) }], attrs: { ...c.a, shape: c.w } })),
    errorSamples: [],
  });
  return forward;
}

/** A number for both axes, or one per axis; padding also as [top, bottom, left, right]. */
export interface ConvOptions {
  readonly stride?: number | readonly [number, number];
  readonly padding?: number | readonly [number, number] | readonly [number, number, number, number];
  readonly dilation?: number | readonly [number, number];
  readonly groups?: number;
}
export const pair = (v: number | readonly [number, number] | undefined, fallback: number): readonly [number, number] =>
  v === undefined ? [fallback, fallback] : typeof v === 'number' ? [v, v] : v;
export const fourSides = (p: ConvOptions['padding'] = 0): readonly [number, number, number, number] =>
  typeof p === 'number' ? [p, p, p, p] : p.length === 2 ? [p[0], p[0], p[1], p[1]] : p;
