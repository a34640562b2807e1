/**
 * Resizing NHWC images, nearest or bilinear, with gradients; the conventions are PyTorch's `interpolate`.
 *
 * The one idea: an output's place is a fraction of small integers, so which inputs it takes is exact; an input's gradient
 * visits the outputs whose fraction can reach it.
 */
import { elementsOf, type GpuEmitter, type GpuLowering, type Param, type Value, widest } from './lower.ts';
import { each } from './movement.ts';

interface ResizeAttrs {
  readonly mode: 'nearest' | 'bilinear';
  readonly alignCorners: boolean;
}

/** Output o of m lies at max(0, o·scale + shift) / unit of an axis of size n. */
function axisParams(name: 'h' | 'w', n: number, m: number, { mode, alignCorners }: ResizeAttrs): Record<string, Param> {
  const [scale, shift, unit] =
    mode === 'nearest' ? [n, 0, m] : alignCorners ? [n - 1, 0, Math.max(1, m - 1)] : [2 * n, n - m, 2 * m];
  return {
    [`${name}In`]: n,
    [`${name}Out`]: m,
    [`${name}Scale`]: scale,
    [`${name}Shift`]: { i32: shift },
    [`${name}Unit`]: unit,
  };
}

function lower(e: GpuEmitter, x: Value, y: Value, attrs: ResizeAttrs, gradient: boolean): void {
  const [image, result] = gradient ? [y, x] : [x, y];
  const [, hIn = 0, wIn = 0, channels = 0] = image.shape;
  const [, hOut = 0, wOut = 0] = result.shape;
  const from = widest(x, channels);
  each(e, elementsOf(y) / from.width, {
    files: ['resize'],
    consts: { NEAREST: attrs.mode === 'nearest', GRADIENT: gradient },
    params: {
      ...axisParams('h', hIn, hOut, attrs),
      ...axisParams('w', wIn, wOut, attrs),
      channels: channels / from.width,
    },
    inputs: { x: from },
    outputs: { y: widest(y, channels) },
  });
}

/** x [N, H, W, C] → y [N, h, w, C]. */
export const resizeWgsl: GpuLowering<ResizeAttrs> = (e, [x], [y], attrs) => lower(e, x!, y!, attrs, false);
/** dy [N, h, w, C] → dx [N, H, W, C]: the transpose. */
export const resizeGradWgsl: GpuLowering<ResizeAttrs> = (e, [dy], [dx], attrs) => lower(e, dy!, dx!, attrs, true);
