/**
 * Pooling over windows of NHWC images: maximum, mean, and the mean of the whole image.
 *
 * The one idea: padding never takes part; windows are cut at the image's edge. Where a window holds its maximum more
 * than once, the first in row-major order gets the gradient, as in PyTorch.
 */
import { avgPoolGradWgsl, avgPoolWgsl, maxPoolGradWgsl, maxPoolWgsl } from '../../kernels/pool.ts';
import {
  type AvgPoolAttrs,
  avgPoolGradWasm,
  avgPoolWasm,
  maxPoolGradWasm,
  maxPoolWasm,
  type PoolAttrs,
} from '../../native/pool.ts';
import { type Shape, sizeOf } from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { type ConvOptions, fourSides, pair } from './convolution.ts';
import { defineOp, type Op, type Sample, shapeError } from './define.ts';
import { pad, sliceOp } from './movement.ts';
import { elementwise } from './pointwise.ts';

const bothOf = ([top, bottom, left, right]: PoolAttrs['padding']) => [top + bottom, left + right] as const;

/** Shape rule of both pools. */
function poolShape(op: string, x: TensorSpec, { kernel, stride, padding }: PoolAttrs): Shape {
  if (x.shape.length !== 4 || x.dtype !== 'f32')
    throw shapeError(op, 'float32 images [N, H, W, C]', { x }, 'Reshape images to NHWC and cast them to f32.');
  if ([...kernel, ...stride].some((n) => !Number.isInteger(n) || n < 1))
    throw shapeError(op, `kernel and stride of at least 1, got ${kernel} and ${stride}`, { x }, 'Check the options.');
  if (padding.some((p, i) => !Number.isInteger(p) || p < 0 || p >= kernel[i >> 1]!))
    throw shapeError(
      op,
      `padding from 0 to below the kernel [${kernel}], got [${padding}]`,
      { x },
      'A window must hold at least one pixel of the image.',
    );
  const both = bothOf(padding);
  const [oh, ow] = ([0, 1] as const).map((i) =>
    Math.floor((x.shape[1 + i]! + both[i] - kernel[i]) / stride[i] + 1),
  ) as [number, number];
  if (oh < 1 || ow < 1)
    throw shapeError(
      op,
      `an image at least as large as the ${kernel[0]}x${kernel[1]} window after padding`,
      { x },
      'Use a smaller window, or a larger input.',
    );
  return [x.shape[0]!, oh, ow, x.shape[3]!];
}

/** Visits every window element: flat index of the pixel in x and of the window in y, windows in order. */
function eachWindowElement(
  x: Shape,
  y: Shape,
  { kernel, stride, padding }: PoolAttrs,
  visit: (xi: number, yi: number, inside: number) => void,
) {
  const [n, h, w, c] = x as [number, number, number, number];
  const [, oh, ow] = y as [number, number, number];
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++) {
        const [top, left] = [i * stride[0] - padding[0], j * stride[1] - padding[2]];
        const [r0, r1] = [Math.max(0, top), Math.min(h, top + kernel[0])];
        const [s0, s1] = [Math.max(0, left), Math.min(w, left + kernel[1])];
        for (let k = 0; k < c; k++)
          for (let r = r0; r < r1; r++)
            for (let s = s0; s < s1; s++)
              visit(((b * h + r) * w + s) * c + k, ((b * oh + i) * ow + j) * c + k, (r1 - r0) * (s1 - s0));
      }
}

type Windows = { readonly x: Shape; readonly a: PoolAttrs }[];
const attrs = (kernel: number, stride: number, padding: PoolAttrs['padding'] = [0, 0, 0, 0]): PoolAttrs => ({
  kernel: [kernel, kernel],
  stride: [stride, stride],
  padding,
});
const cases: Windows = [
  { x: [1, 1, 1, 1], a: attrs(1, 1) },
  { x: [2, 6, 4, 3], a: attrs(2, 2) },
  { x: [2, 7, 8, 5], a: attrs(3, 2, [1, 1, 1, 1]) },
  { x: [1, 9, 5, 17], a: { kernel: [3, 2], stride: [1, 3], padding: [0, 2, 1, 0] } },
  { x: [1, 3, 3, 8], a: attrs(3, 1, [2, 2, 2, 2]) },
];
const errorCases: Windows = [
  { x: [6, 4, 3], a: attrs(2, 2) },
  { x: [1, 6, 4, 3], a: attrs(2, 2, [2, 0, 0, 0]) },
  { x: [1, 2, 4, 3], a: attrs(3, 1) },
  { x: [1, 2, 4, 3], a: attrs(2, 0) },
];
const yShape = (op: string, c: Windows[number]) => poolShape(op, { shape: c.x, dtype: 'f32' }, c.a);

export const maxPoolOp: Op<PoolAttrs> = defineOp<PoolAttrs>('maxPool', {
  roles: ['x'],
  infer: ([x], a) => [{ shape: poolShape('maxPool', x!, a), dtype: 'f32' }],
  reference([x], [y], a, specs) {
    y!.fill(-Infinity);
    eachWindowElement(specs.inputs[0]!.shape, specs.outputs[0]!.shape, a, (xi, yi) => {
      y![yi] = Math.max(y![yi]!, x![xi]!);
    });
  },
  backward: ({ inputs: [x], dys, attrs: a }) => [maxPoolGradOp.apply([x!, dys[0]!], a)[0]],
  kernels: { kind: 'kernel', wasm: maxPoolWasm, wgsl: maxPoolWgsl },
  cost: ([x], [y], { kernel }) => ({
    flops: sizeOf(y!.shape) * kernel[0] * kernel[1],
    bytes: 4 * (sizeOf(x!.shape) + sizeOf(y!.shape)),
  }),
  samples: cases.map((c): Sample<PoolAttrs> => ({ inputs: [{ shape: c.x, distinct: 0.01 }], attrs: c.a })),
  errorSamples: errorCases.map((c) => ({ inputs: [{ shape: c.x }], attrs: c.a })),
});

export const maxPoolGradOp: Op<PoolAttrs> = defineOp<PoolAttrs>('maxPoolGrad', {
  roles: ['x', 'dy'],
  infer: ([x]) => [{ shape: x!.shape, dtype: 'f32' }],
  reference([x, dy], [dx], a, specs, round) {
    dx!.fill(0);
    const winner = new Map<number, number>();
    eachWindowElement(specs.inputs[0]!.shape, specs.inputs[1]!.shape, a, (xi, yi) => {
      const at = winner.get(yi);
      if (at === undefined || x![xi]! > x![at]! || Number.isNaN(x![xi]!)) winner.set(yi, xi);
    });
    for (const [yi, xi] of [...winner].sort(([a], [b]) => a - b)) dx![xi] = round(dx![xi]! + dy![yi]!);
  },
  backward: ({ inputs: [x], dys, attrs: a }) => [undefined, pickMaxima(x!, dys[0]!, a)],
  kernels: { kind: 'kernel', wasm: maxPoolGradWasm, wgsl: maxPoolGradWgsl },
  cost: ([x, dy], _, { kernel }) => ({
    flops: sizeOf(dy!.shape) * kernel[0] * kernel[1],
    bytes: 4 * (2 * sizeOf(x!.shape) + sizeOf(dy!.shape)),
  }),
  samples: cases.map((c) => ({
    inputs: [{ shape: c.x, distinct: 0.01 }, { shape: yShape('maxPool', c) }],
    attrs: c.a,
  })),
  errorSamples: [],
});

/** g at the place of each window's maximum in x: the transpose of `maxPoolGrad`, tap by tap. */
function pickMaxima(x: Tensor, g: Tensor, a: PoolAttrs): Tensor {
  const y = poolShape('maxPool', x, a);
  const { kernel, stride, padding } = a;
  const border = [[0, 0], padding.slice(0, 2), padding.slice(2), [0, 0]] as [number, number][];
  const lowest = -3.4028235e38;
  const [px, pg] = [pad(x, border, lowest), pad(g, border)];
  const tap = (t: Tensor, r: number, s: number) => {
    const starts = [0, r, s, 0];
    const steps = [1, stride[0], stride[1], 1];
    return sliceOp.apply([t], { starts, ends: y.map((n, i) => starts[i]! + (n - 1) * steps[i]! + 1), steps })[0]!;
  };
  let best = tap(px, 0, 0);
  let picked = tap(pg, 0, 0);
  for (let k = 1; k < kernel[0] * kernel[1]; k++) {
    const [r, s] = [Math.floor(k / kernel[1]), k % kernel[1]];
    const here = tap(px, r, s);
    const better = E.gt(E.input(0), E.input(1));
    picked = elementwise('pickMaximum', E.where(better, E.input(2), E.input(3)), [here, best, tap(pg, r, s), picked]);
    best = elementwise('maximum', E.max(E.input(0), E.input(1)), [here, best]);
  }
  return picked;
}

export const avgPoolOp: Op<AvgPoolAttrs> = defineOp<AvgPoolAttrs>('avgPool', {
  roles: ['x'],
  infer: ([x], a) => [{ shape: poolShape('avgPool', x!, a), dtype: 'f32' }],
  reference([x], [y], a, specs, round) {
    y!.fill(0);
    const count = new Float64Array(y!.length);
    eachWindowElement(specs.inputs[0]!.shape, specs.outputs[0]!.shape, a, (xi, yi, inside) => {
      y![yi] = round(y![yi]! + x![xi]!);
      count[yi] = a.countIncludePad ? a.kernel[0] * a.kernel[1] : inside;
    });
    for (let i = 0; i < y!.length; i++) y![i] = round(y![i]! / count[i]!);
  },
  backward: ({ inputs: [x], dys, attrs: a }) => [avgPoolGradOp.apply([dys[0]!], { ...a, shape: x!.shape })[0]],
  kernels: { kind: 'kernel', wasm: avgPoolWasm, wgsl: avgPoolWgsl },
  cost: ([x], [y], { kernel }) => ({
    flops: sizeOf(y!.shape) * kernel[0] * kernel[1],
    bytes: 4 * (sizeOf(x!.shape) + sizeOf(y!.shape)),
  }),
  samples: cases.flatMap((c) =>
    [true, false].map((countIncludePad) => ({ inputs: [{ shape: c.x }], attrs: { ...c.a, countIncludePad } })),
  ),
  errorSamples: errorCases.map((c) => ({ inputs: [{ shape: c.x }], attrs: { ...c.a, countIncludePad: true } })),
});

interface AvgPoolGradAttrs extends AvgPoolAttrs {
  /** Of the images. */
  readonly shape: Shape;
}
export const avgPoolGradOp: Op<AvgPoolGradAttrs> = defineOp<AvgPoolGradAttrs>('avgPoolGrad', {
  roles: ['dy'],
  infer: (_, { shape }) => [{ shape, dtype: 'f32' }],
  reference([dy], [dx], a, specs, round) {
    dx!.fill(0);
    eachWindowElement(a.shape, specs.inputs[0]!.shape, a, (xi, yi, inside) => {
      const n = a.countIncludePad ? a.kernel[0] * a.kernel[1] : inside;
      dx![xi] = round(dx![xi]! + round(dy![yi]! / n));
    });
  },
  backward: ({ dys, attrs: { shape: _, ...a } }) => [avgPoolOp.apply([dys[0]!], a)[0]],
  kernels: { kind: 'kernel', wasm: avgPoolGradWasm, wgsl: avgPoolGradWgsl },
  cost: ([dy], [dx], { kernel }) => ({
    flops: 2 * sizeOf(dy!.shape) * kernel[0] * kernel[1],
    bytes: 4 * (sizeOf(dx!.shape) + sizeOf(dy!.shape)),
  }),
  samples: cases.flatMap((c) =>
    [true, false].map((countIncludePad) => ({
      inputs: [{ shape: yShape('avgPool', c) }],
      attrs: { ...c.a, countIncludePad, shape: c.x },
    })),
  ),
  errorSamples: [],
});

export interface PoolOptions extends Pick<ConvOptions, 'stride' | 'padding'> {
  /** Window, one number for both axes or [down, right]. */
  readonly kernel: number | readonly [number, number];
}
const poolAttrs = ({ kernel, stride, padding }: PoolOptions): PoolAttrs => ({
  kernel: pair(kernel, 1),
  stride: pair(stride ?? kernel, 1),
  padding: fourSides(padding),
});

/** Largest value of each window: [N, H, W, C] → [N, H', W', C]. Stride defaults to the kernel, padding to 0. */
export const maxPool = (x: Tensor, options: PoolOptions): Tensor => maxPoolOp.apply([x], poolAttrs(options))[0]!;

/**
 * Mean of each window. With `countIncludePad` (default, as in PyTorch) the sum is divided by the window's size, else by
 * the number of its pixels that lie in the image.
 */
export const avgPool = (x: Tensor, options: PoolOptions & { readonly countIncludePad?: boolean }): Tensor =>
  avgPoolOp.apply([x], { ...poolAttrs(options), countIncludePad: options.countIncludePad ?? true })[0]!;
