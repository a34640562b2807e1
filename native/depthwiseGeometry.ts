/** Sizes of a depthwise convolution: what the code is specialised on, and what comes as arguments. */
import { ShapeError } from '../src/core/errors.ts';
import type { ConvAttrs } from './conv2d.ts';
import type { Value } from './lower.ts';

/** Constants of a depthwise kernel: part of its key, so that every offset within a pixel row is an immediate. */
export interface DepthwiseSpec {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly channels: number;
}

export const specKey = (s: DepthwiseSpec) =>
  `${s.kernel.join('x')}_s${s.stride.join('x')}_d${s.dilation.join('x')}_c${s.channels}`;

export interface DepthwiseGeometry {
  readonly spec: DepthwiseSpec;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly padding: readonly [number, number, number, number];
}

/** Reads and checks the sizes of a depthwise convolution. */
export function depthwiseGeometry(op: string, x: Value, w: Value, y: Value, attrs: ConvAttrs): DepthwiseGeometry {
  const [batch = 0, height = 0, width = 0, channels = 0] = x.shape;
  const [n = 0, outHeight = 0, outWidth = 0, outChannels = 0] = y.shape;
  const [kh = 0, kw = 0, one = 0, wChannels = 0] = w.shape;
  const [top, bottom, left, right] = attrs.padding;
  const size = (i: number, pad: number, k: number, d: number, s: number) =>
    Math.floor((i + pad - (k - 1) * d - 1) / s) + 1;
  const oh = size(height, top + bottom, kh, attrs.dilation[0], attrs.stride[0]);
  const ow = size(width, left + right, kw, attrs.dilation[1], attrs.stride[1]);
  if (
    one !== 1 ||
    wChannels !== channels ||
    outChannels !== channels ||
    n !== batch ||
    oh !== outHeight ||
    ow !== outWidth ||
    attrs.groups !== channels
  )
    throw new ShapeError(
      `${op}: expected x [N, H, W, C], w [kh, kw, 1, C], y [N, ${oh}, ${ow}, C] and groups = C; got x [${x.shape}], w [${w.shape}], y [${y.shape}], groups ${attrs.groups}.\nUse conv2d for a channel multiplier; check stride, padding and dilation.`,
    );
  return {
    spec: { kernel: [kh, kw], stride: attrs.stride, dilation: attrs.dilation, channels },
    batch,
    height,
    width,
    outHeight,
    outWidth,
    padding: attrs.padding,
  };
}
