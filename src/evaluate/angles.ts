/**
 * Angles between embeddings and the centres of people: how close a person's pictures lie, and how far the next person is,
 * as the papers show of training runs (ArcFace, arXiv 1801.07698, figure 4; MobileFaceNet's and others' histograms).
 *
 * The one idea: a centre is the mean direction of a person's pictures, so any labelled set can be looked at, also people
 * that training never saw. A picture is left out of its own centre, else that would lie too close.
 */
import { UsageError } from '../core/errors.ts';
import { unitRows } from './verification.ts';

export interface CentreAngles {
  /** To the centre of the person's other pictures, in degrees; NaN where there is no other. */
  readonly own: Float64Array;
  /** To the nearest centre of another person, in degrees; NaN where there is none. */
  readonly other: Float64Array;
}

/**
 * Angles of embeddings [n, dim] with a label per row.
 * @throws UsageError where the sizes do not agree
 */
export function centreAngles(embeddings: Float32Array, dim: number, labels: ArrayLike<number>): CentreAngles {
  const n = labels.length;
  if (!(dim >= 1) || embeddings.length !== n * dim)
    throw new UsageError(
      `centreAngles: expected ${n} rows of ${dim} numbers, got ${embeddings.length} numbers\nPass one label per row.`,
    );
  const unit = unitRows(embeddings, dim);
  const place = new Map<number, number>();
  for (let i = 0; i < n; i++) if (!place.has(labels[i]!)) place.set(labels[i]!, place.size);
  const sums = new Float64Array(place.size * dim);
  for (let i = 0; i < n; i++)
    for (let k = 0, to = place.get(labels[i]!)! * dim; k < dim; k++) sums[to + k]! += unit[i * dim + k]!;
  const lengths = Array.from({ length: place.size }, (_, p) => Math.hypot(...sums.subarray(p * dim, (p + 1) * dim)));
  /** Degrees from products with a vector of a length; NaN where it has no direction. */
  const degrees = (dot: number, length: number) =>
    length > 1e-9 ? (Math.acos(Math.min(1, Math.max(-1, dot / length))) * 180) / Math.PI : Number.NaN;

  const own = new Float64Array(n);
  const other = new Float64Array(n).fill(Number.NaN);
  for (let i = 0; i < n; i++) {
    const row = unit.subarray(i * dim, (i + 1) * dim);
    const mine = place.get(labels[i]!)!;
    for (let p = 0; p < place.size; p++) {
      let dot = 0;
      for (let k = 0; k < dim; k++) dot += row[k]! * sums[p * dim + k]!;
      if (p === mine) {
        let square = 0;
        for (let k = 0; k < dim; k++) square += (sums[p * dim + k]! - row[k]!) ** 2;
        own[i] = degrees(dot - row.reduce((s, v) => s + v * v, 0), Math.sqrt(square));
      } else {
        const angle = degrees(dot, lengths[p]!);
        if (!(other[i]! <= angle)) other[i] = angle;
      }
    }
  }
  return { own, other };
}
