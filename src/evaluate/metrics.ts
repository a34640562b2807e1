/**
 * Curves and single numbers of a verification test: how often two images of one person are accepted (VAL, true accept
 * rate) against how often two people are taken for one (FAR, false accept rate). One curve type serves exact curves over
 * scores and curves averaged over folds. Fawcett 2006, "An introduction to ROC analysis".
 */
import { DataError, ShapeError, UsageError } from '../core/errors.ts';

/** Points from "accept nobody" to "accept everybody": far and val grow, the threshold becomes laxer. */
export interface RocCurve {
  threshold: Float64Array;
  far: Float64Array;
  val: Float64Array;
}

/**
 * The exact curve of a list of scores: one point per distinct score (accepted: score >= threshold), after the point
 * (0, 0) at threshold infinity. O(n log n).
 * @param scores higher means more alike; a distance goes in with its sign turned
 * @param same whether a pair shows one person
 * @throws ShapeError when lengths differ; DataError when a score is no number or one of the two kinds is missing
 */
export function roc(scores: ArrayLike<number>, same: ArrayLike<boolean | number>): RocCurve {
  const n = scores.length;
  if (same.length !== n) {
    throw new ShapeError(`roc: ${n} scores but ${same.length} flags in same.\nPass one flag per score.`);
  }
  let positives = 0;
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(scores[i])) throw new DataError(`roc: score ${i} is NaN.\nLook for NaN in the embeddings.`);
    if (same[i]) positives++;
  }
  needBoth('roc', positives, n - positives);
  const order = Int32Array.from({ length: n }, (_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
  const threshold = [Number.POSITIVE_INFINITY];
  const far = [0];
  const val = [0];
  let tp = 0;
  for (let i = 0; i < n; i++) {
    const s = scores[order[i]!]!;
    if (same[order[i]!]) tp++;
    if (i + 1 < n && scores[order[i + 1]!] === s) continue; // equal scores are accepted together
    threshold.push(s);
    val.push(tp / positives);
    far.push((i + 1 - tp) / (n - positives));
  }
  return { threshold: Float64Array.from(threshold), far: Float64Array.from(far), val: Float64Array.from(val) };
}

/** A curve needs pairs of both kinds. */
export function needBoth(where: string, same: number, different: number): void {
  if (same > 0 && different > 0) return;
  throw new DataError(
    `${where}: expected pairs of one person and of two people, came ${same} and ${different}.\nAdd pairs of the missing kind.`,
  );
}

/** Area under the curve by trapezoids, over the points as they are (1 is perfect, 0.5 is chance). */
export function auc({ far, val }: RocCurve): number {
  let area = 0;
  for (let i = 1; i < far.length; i++) area += ((far[i]! - far[i - 1]!) * (val[i]! + val[i - 1]!)) / 2;
  return area;
}

/**
 * Equal error rate: the FAR at which FAR = 1 - VAL, where the curve drawn as straight lines, from (0, 0) to (1, 1),
 * meets the falling diagonal. On a vertical piece that is the piece's FAR.
 */
export function eer({ far, val }: RocCurve): number {
  let x0 = 0;
  let y0 = 0;
  for (let i = 0; i <= far.length; i++) {
    const x1 = i < far.length ? far[i]! : 1;
    const y1 = i < far.length ? val[i]! : 1;
    const before = x0 + y0 - 1;
    const after = x1 + y1 - 1;
    if (after >= 0) return x0 + ((x1 - x0) * -before) / (after - before); // before < 0 here
    x0 = x1;
    y0 = y1;
  }
  return x0;
}

/** The laxest point of a curve whose FAR is at most `far`: no interpolation, so it is reachable with these very scores. */
export function valAtFar(curve: RocCurve, far: number): { val: number; far: number; threshold: number } {
  needFar('valAtFar', far);
  let i = 0;
  while (i + 1 < curve.far.length && curve.far[i + 1]! <= far) i++;
  return { val: curve.val[i]!, far: curve.far[i]!, threshold: curve.threshold[i]! };
}

export function needFar(where: string, far: number): void {
  if (far > 0 && far <= 1) return;
  throw new UsageError(`${where}: expected a false accept rate over 0 and up to 1, came ${far}.\nTry 1e-3.`);
}

/** Mean and population standard deviation. */
export function meanStd(x: ArrayLike<number>): { mean: number; std: number } {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]!;
  const mean = sum / x.length;
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += (x[i]! - mean) ** 2;
  return { mean, std: Math.sqrt(squares / x.length) };
}
