/**
 * TensorFlow's SAME padding, which other formats have too: as much that windows begin at every stride-th pixel.
 * Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
 */
type Pair = readonly [down: number, right: number];

/**
 * [top, bottom, left, right] around images of [height, width].
 * @param odd where the larger half of an odd number of pixels goes: behind, or (ONNX's SAME_LOWER) before
 */
export function samePadding(
  [height, width]: Pair,
  kernel: Pair,
  stride: Pair,
  dilation: Pair = [1, 1],
  odd: 'behind' | 'before' = 'behind',
): [top: number, bottom: number, left: number, right: number] {
  const along = (size: number, axis: 0 | 1): [number, number] => {
    const reach = (kernel[axis] - 1) * dilation[axis] + 1;
    const all = Math.max(0, (Math.ceil(size / stride[axis]) - 1) * stride[axis] + reach - size);
    const less = Math.floor(all / 2);
    return odd === 'behind' ? [less, all - less] : [all - less, less];
  };
  return [...along(height, 0), ...along(width, 1)];
}
