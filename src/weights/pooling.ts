/** Windows that end past the edge, on this engine's pools: ONNX's ceil_mode, and what Caffe, MXNet and ncnn call full pooling. */
import { DataError } from '../core/errors.ts';
import type { ChannelsFirst, Ordered } from '../models/graph/channelsFirst.ts';

type Pair = readonly [number, number];

export interface Pooling {
  readonly kind: 'max' | 'avg';
  readonly kernel: Pair;
  readonly stride: Pair;
  /** [top, bottom, left, right]. */
  readonly padding: readonly [number, number, number, number];
  /**
   * The last window may end past the padding: so that every pixel is in one, or ('inside') only if it does not begin in the
   * padding behind the image, as PyTorch and ONNX have it.
   */
  readonly ceil: 'never' | 'always' | 'inside';
  /**
   * What a mean is divided by: the pixels in the window; those and the padding; or the whole window, also where it ends past
   * the padding. Means nothing for 'max'.
   */
  readonly counts: 'pixels' | 'padding' | 'window';
}

/** How far the windows over `size` pixels end past the padding. */
function past(size: number, [before, after]: Pair, kernel: number, stride: number, ceil: Pooling['ceil']): number {
  if (ceil === 'never') return 0;
  const room = size + before + after - kernel;
  let steps = Math.ceil(room / stride);
  if (ceil === 'inside' && steps * stride >= size + before) steps--;
  return Math.max(0, steps * stride - room);
}

/** Pools a map [N, C, H, W]. */
export function pool(
  graph: ChannelsFirst,
  x: Ordered,
  { kind, kernel, stride, padding, ceil, counts }: Pooling,
  path?: string,
) {
  if (x.shape.length !== 4)
    throw new DataError(`expected a map [N, C, H, W] to pool, got [${x.shape}]\nOther shapes are not supported.`);
  if ([...kernel, ...stride].some((n) => n < 1) || padding.some((n) => n < 0))
    throw new DataError(
      `expected windows and steps of at least 1 and padding of at least 0, got ${kernel}, ${stride}, ${padding}\nThe file is damaged.`,
    );
  const [, , height, width] = x.shape as [number, number, number, number];
  const [top, bottom, left, right] = padding;
  const down = past(height, [top, bottom], kernel[0], stride[0], ceil);
  const across = past(width, [left, right], kernel[1], stride[1], ceil);
  const all = [top, bottom + down, left, right + across];
  if (kind === 'max') return graph.image('maxPool', x, { kernel, stride, padding: all }, path);
  const padded = counts === 'padding' && (down > 0 || across > 0) && padding.some((n) => n > 0);
  if (!padded) {
    const countIncludePad = counts === 'window' || (counts === 'padding' && down + across === 0);
    return graph.image('avgPool', x, { kernel, stride, padding: all, countIncludePad }, path);
  }
  const wide = graph.pad(x, [
    [0, 0],
    [0, 0],
    [top, bottom],
    [left, right],
  ]);
  return graph.image('avgPool', wide, { kernel, stride, padding: [0, down, 0, across], countIncludePad: false }, path);
}
