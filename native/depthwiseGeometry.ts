/** Sizes of a depthwise convolution, read from its operands and checked. */
import { ShapeError } from '../src/core/errors.ts';
import type { ConvAttrs } from './conv2d.ts';
import type { Value } from './lower.ts';
import type { Axis } from './window.ts';

export interface DepthwiseGeometry {
  readonly batch: number;
  readonly channels: number;
  readonly rows: Axis;
  readonly columns: Axis;
}

/** Output size of a convolution along one axis. */
export const outputSize = (size: number, padding: number, kernel: number, stride: number, dilation: number) =>
  Math.floor((size + padding - (kernel - 1) * dilation - 1) / stride) + 1;

/** @throws ShapeError where the shapes do not fit. */
export function depthwiseGeometry(op: string, x: Value, w: Value, y: Value, attrs: ConvAttrs): DepthwiseGeometry {
  const [batch = 0, height = 0, width = 0, channels = 0] = x.shape;
  const [kh = 0, kw = 0] = w.shape;
  const { stride, dilation, groups } = attrs;
  const [top, bottom, left, right] = attrs.padding;
  const oh = outputSize(height, top + bottom, kh, stride[0], dilation[0]);
  const ow = outputSize(width, left + right, kw, stride[1], dilation[1]);
  const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);
  if (
    x.shape.length !== 4 ||
    groups !== channels ||
    !same(w.shape, [kh, kw, 1, channels]) ||
    !same(y.shape, [batch, oh, ow, channels])
  )
    throw new ShapeError(
      `${op}: expected x [N, H, W, C], w [kh, kw, 1, C], y [${batch}, ${oh}, ${ow}, ${channels}] and groups = C; ` +
        `got x [${x.shape}], w [${w.shape}], y [${y.shape}], groups ${groups}.\n` +
        'Use conv2d for a channel multiplier; check stride, padding and dilation.',
    );
  const axis = (size: number, outSize: number, kernel: number, i: 0 | 1, before: number): Axis => ({
    size,
    outSize,
    kernel,
    stride: stride[i],
    dilation: dilation[i],
    before,
  });
  return { batch, channels, rows: axis(height, oh, kh, 0, top), columns: axis(width, ow, kw, 1, left) };
}
