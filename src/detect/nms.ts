/**
 * Non-maximum suppression: of boxes that overlap the best one stays.
 *
 * The one idea: boxes by falling score; each that stays removes those after it that share too much of their area with it.
 */
export interface NmsOptions {
  /** Boxes that overlap by more than this are removed. */
  readonly threshold: number;
  /** Overlap is the shared area over the area of both together (default), or over that of the smaller box. */
  readonly over?: 'union' | 'smaller';
  /** Added to widths and heights; 1 where boxes count pixels from first to last. Default 0. */
  readonly edge?: 0 | 1;
  /** Most boxes that stay. */
  readonly most?: number;
}

/** The indices of `scores` by falling score; equal ones stay in order. */
export const byScore = (scores: ArrayLike<number>): number[] =>
  Array.from(scores, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);

/**
 * Which boxes stay, by falling score. Overlaps are computed in float32, as the reference programs do: boxes at whole pixels
 * meet thresholds exactly.
 * @param boxes x0, y0, x1, y1 one after another
 */
export function nms(boxes: ArrayLike<number>, scores: ArrayLike<number>, options: NmsOptions): number[] {
  const { threshold, over = 'union', edge = 0, most = Number.POSITIVE_INFINITY } = options;
  const f = Math.fround;
  const side = (from: number, to: number) => Math.max(0, f(f(to - from) + edge));
  const area = (i: number) => f(f(f(boxes[i + 2]! - boxes[i]!) + edge) * f(f(boxes[i + 3]! - boxes[i + 1]!) + edge));
  const order = byScore(scores);
  const areas = Float32Array.from(order, (i) => area(4 * i));
  const gone = new Uint8Array(order.length);
  const kept: number[] = [];
  for (let a = 0; a < order.length && kept.length < most; a++) {
    if (gone[a]) continue;
    kept.push(order[a]!);
    const i = 4 * order[a]!;
    for (let b = a + 1; b < order.length; b++) {
      if (gone[b]) continue;
      const j = 4 * order[b]!;
      const w = side(Math.max(boxes[i]!, boxes[j]!), Math.min(boxes[i + 2]!, boxes[j + 2]!));
      const h = side(Math.max(boxes[i + 1]!, boxes[j + 1]!), Math.min(boxes[i + 3]!, boxes[j + 3]!));
      const shared = f(w * h);
      const whole = over === 'smaller' ? Math.min(areas[a]!, areas[b]!) : f(f(areas[a]! + areas[b]!) - shared);
      if (f(shared / whole) > threshold) gone[b] = 1;
    }
  }
  return kept;
}
