/**
 * Resizing NHWC images, nearest or bilinear, with the conventions of PyTorch's `interpolate` (no antialiasing).
 *
 * The one idea: an output pixel is a weighted sum of at most four input pixels; the gradient is the transpose.
 */
import { resizeGradWgsl, resizeWgsl } from '../../kernels/resize.ts';
import { type ResizeAttrs, resizeGradWasm, resizeWasm } from '../../native/resize.ts';
import { type Shape, sizeOf } from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import { defineOp, type Op, type Round, shapeError } from './define.ts';

function resizeShape(x: TensorSpec, { size }: ResizeAttrs): Shape {
  if (x.shape.length !== 4 || x.dtype !== 'f32' || sizeOf(x.shape) === 0)
    throw shapeError('resize', 'float32 images [N, H, W, C]', { x }, 'Reshape images to NHWC and cast them to f32.');
  if (size.length !== 2 || size.some((n) => !Number.isInteger(n) || n < 1))
    throw shapeError('resize', `a size [height, width] of at least 1, got [${size}]`, { x }, 'Pass whole numbers.');
  return [x.shape[0]!, size[0], size[1], x.shape[3]!];
}

interface Source {
  readonly low: number;
  readonly high: number;
  /** Of `high`; `low` has the rest. */
  readonly weight: number;
}
/** The inputs along one axis of size n that make output o of m. */
function sourceOf(n: number, m: number, o: number, { mode, alignCorners }: ResizeAttrs, round: Round): Source {
  if (mode === 'nearest') {
    const low = Math.floor((o * n) / m);
    return { low, high: low, weight: 0 };
  }
  const place = alignCorners
    ? round(o * round(m > 1 ? (n - 1) / (m - 1) : 0))
    : Math.max(0, round(round((o + 0.5) * round(n / m)) - 0.5));
  const low = Math.min(Math.floor(place), n - 1);
  return { low, high: Math.min(low + 1, n - 1), weight: round(place - low) };
}

/** Visits (pixel of x, pixel of y, weight) for every pixel of the larger-numbered image y, channels left out. */
function eachSource(
  x: Shape,
  y: Shape,
  a: ResizeAttrs,
  round: Round,
  visit: (x: number, y: number, w: number) => void,
) {
  const [n, h, w] = x as [number, number, number];
  const [, oh, ow] = y as [number, number, number];
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++) {
        const r = sourceOf(h, oh, i, a, round);
        const s = sourceOf(w, ow, j, a, round);
        const to = (b * oh + i) * ow + j;
        for (const [row, wr] of [
          [r.low, round(1 - r.weight)],
          [r.high, r.weight],
        ] as const)
          for (const [column, ws] of [
            [s.low, round(1 - s.weight)],
            [s.high, s.weight],
          ] as const)
            visit((b * h + row) * w + column, to, round(wr * ws));
      }
}

const cases: { x: Shape; a: ResizeAttrs }[] = [
  { x: [1, 1, 1, 1], a: { size: [3, 2], mode: 'bilinear', alignCorners: false } },
  { x: [2, 4, 5, 3], a: { size: [8, 10], mode: 'bilinear', alignCorners: false } },
  { x: [2, 4, 5, 3], a: { size: [8, 10], mode: 'bilinear', alignCorners: true } },
  { x: [1, 7, 6, 17], a: { size: [5, 11], mode: 'bilinear', alignCorners: false } },
  { x: [1, 7, 6, 2], a: { size: [1, 3], mode: 'bilinear', alignCorners: true } },
  { x: [2, 5, 4, 8], a: { size: [7, 3], mode: 'nearest', alignCorners: false } },
];

export const resizeOp: Op<ResizeAttrs> = defineOp<ResizeAttrs>('resize', {
  roles: ['x'],
  infer: ([x], a) => [{ shape: resizeShape(x!, a), dtype: 'f32' }],
  reference([x], [y], a, specs, round) {
    y!.fill(0);
    const c = specs.inputs[0]!.shape[3]!;
    eachSource(specs.inputs[0]!.shape, specs.outputs[0]!.shape, a, round, (from, to, weight) => {
      for (let k = 0; k < c; k++) y![to * c + k] = round(y![to * c + k]! + round(weight * x![from * c + k]!));
    });
  },
  backward: ({ inputs: [x], dys, attrs: a }) => [resizeGradOp.apply([dys[0]!], { ...a, shape: x!.shape })[0]],
  kernels: { kind: 'kernel', wasm: resizeWasm, wgsl: resizeWgsl },
  cost: ([x], [y]) => ({ flops: 8 * sizeOf(y!.shape), bytes: 4 * (sizeOf(x!.shape) + sizeOf(y!.shape)) }),
  samples: cases.map((c) => ({ inputs: [{ shape: c.x }], attrs: c.a })),
  errorSamples: [
    { inputs: [{ shape: [4, 5, 3] }], attrs: cases[1]!.a },
    { inputs: [{ shape: [1, 4, 5, 3] }], attrs: { ...cases[1]!.a, size: [0, 4] } },
  ],
});

interface ResizeGradAttrs extends ResizeAttrs {
  /** Of the images. */
  readonly shape: Shape;
}
export const resizeGradOp: Op<ResizeGradAttrs> = defineOp<ResizeGradAttrs>('resizeGrad', {
  roles: ['dy'],
  infer: (_, { shape }) => [{ shape, dtype: 'f32' }],
  reference([dy], [dx], a, specs, round) {
    dx!.fill(0);
    const c = a.shape[3]!;
    eachSource(a.shape, specs.inputs[0]!.shape, a, round, (to, from, weight) => {
      for (let k = 0; k < c; k++) dx![to * c + k] = round(dx![to * c + k]! + round(weight * dy![from * c + k]!));
    });
  },
  backward: ({ dys, attrs: { shape: _, ...a } }) => [resizeOp.apply([dys[0]!], a)[0]],
  kernels: { kind: 'kernel', wasm: resizeGradWasm, wgsl: resizeGradWgsl },
  cost: ([dy], [dx]) => ({ flops: 8 * sizeOf(dy!.shape), bytes: 4 * (sizeOf(dx!.shape) + sizeOf(dy!.shape)) }),
  samples: cases.map((c) => ({
    inputs: [{ shape: [c.x[0]!, ...c.a.size, c.x[3]!] }],
    attrs: { ...c.a, shape: c.x },
  })),
  errorSamples: [],
});

/**
 * Images [N, H, W, C] → [N, height, width, C]. Bilinear (default) places pixel i of m at (i + ½)·n/m − ½ of n, cut at 0,
 * or at i·(n − 1)/(m − 1) with `alignCorners` (default false); nearest takes ⌊i·n/m⌋.
 */
export const resize = (
  x: Tensor,
  size: readonly [number, number],
  { mode = 'bilinear', alignCorners = false }: Partial<Pick<ResizeAttrs, 'mode' | 'alignCorners'>> = {},
): Tensor => resizeOp.apply([x], { size, mode, alignCorners })[0]!;
