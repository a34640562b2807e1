/**
 * TensorFlow's SAME padding: as much that windows begin at every stride-th pixel; where it is odd, the larger half follows.
 * Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
 */
import type { Shape } from '../../core/shape.ts';

/** [top, bottom, left, right] around images [N, H, W, C]. */
export function samePadding(
  shape: Shape,
  kernel: readonly [number, number],
  stride: readonly [number, number],
  dilation: readonly [number, number] = [1, 1],
): [number, number, number, number] {
  const along = (axis: 0 | 1): [number, number] => {
    const size = shape[1 + axis]!;
    const reach = (kernel[axis] - 1) * dilation[axis] + 1;
    const all = Math.max((Math.ceil(size / stride[axis]) - 1) * stride[axis] + reach - size, 0);
    return [Math.floor(all / 2), Math.ceil(all / 2)];
  };
  return [...along(0), ...along(1)];
}
