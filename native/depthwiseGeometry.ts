/** Sizes of a depthwise convolution, read from its operands and checked. */
import { ShapeError } from '../src/core/errors.ts';
import { type ConvAttrs, convGeometry } from './convGeometry.ts';
import type { Value } from './lower.ts';
import type { Axis } from './window.ts';

export interface DepthwiseGeometry {
  readonly batch: number;
  readonly channels: number;
  readonly rows: Axis;
  readonly columns: Axis;
  /** Zeros after the last input column. */
  readonly after: number;
}

/**
 * For x [N, H, W, C], w [kh, kw, 1, C], y [N, OH, OW, C] and groups = C.
 * @throws ShapeError where the shapes do not fit.
 */
export function depthwiseGeometry(op: string, x: Value, w: Value, y: Value, attrs: ConvAttrs): DepthwiseGeometry {
  const { batch, rows, columns, groups, cin, cout } = convGeometry(op, x, w, y, attrs);
  if (groups !== cin || cout !== cin)
    throw new ShapeError(
      `${op}: expected w [kh, kw, 1, C] and groups = C; got x [${x.shape}], w [${w.shape}], groups ${groups}.\n` +
        'Use conv2d for a channel multiplier.',
    );
  return { batch, channels: cin, rows, columns, after: attrs.padding[3] };
}
