/**
 * Face verification over folds: is this pair one person? The threshold is chosen on the other folds, the accuracy counted
 * on the held-out one, by one of two protocols whose numbers must not be compared with each other:
 *
 * 'insightface' (facenet, InsightFace): squared L2 between unit vectors, thresholds 0, 0.01, ... 3.99, the first best.
 * 'cosine' (SphereFace, CosFace): the training folds' mean feature is subtracted, then cosine, thresholds -1 ... 1 in
 * steps of 1e-4, the mean of all best ones.
 *
 * The one idea: a pair is accepted from some grid index on, so one histogram of those indices gives the counts at every
 * threshold by a running sum: O(pairs + thresholds) a fold. All arithmetic is f64.
 */
import { NumericsError, ShapeError, UsageError } from '../core/errors.ts';
import { auc, eer, meanStd, needBoth, needFar, type RocCurve } from './metrics.ts';

export type Protocol = 'insightface' | 'cosine';
/** Uses of the mirror image: not at all, the sum of both embeddings, of both at unit length, or both in a row. */
export const flips = ['none', 'sum', 'unitSum', 'concat'] as const;
export type Flip = (typeof flips)[number];

export interface VerificationInput {
  /** [n, dim], as the network gives them: neither protocol needs unit vectors. */
  embeddings: Float32Array;
  dim: number;
  /** Per pair: the rows of its two images. */
  left: ArrayLike<number>;
  right: ArrayLike<number>;
  same: ArrayLike<boolean | number>;
  /** A number of contiguous blocks (default 10), or every pair's fold. */
  folds?: number | ArrayLike<number>;
}

export interface VerificationResult {
  protocol: Protocol;
  /** What scores and thresholds are: squared L2 between unit vectors (0 ... 4, accepted below) or cosine (accepted above). */
  metric: 'squaredL2' | 'cosine';
  pairs: number;
  /** Mean over folds, and population standard deviation. */
  accuracy: number;
  std: number;
  /** Mean of the folds' thresholds. */
  threshold: number;
  folds: { fold: number; pairs: number; accuracy: number; threshold: number }[];
  auc: number;
  eer: number;
  /** On held-out folds, at thresholds chosen on the others for `target`: mean FAR, mean VAL, its deviation over folds. */
  valAtFar: { target: number; far: number; val: number; std: number; threshold: number };
  /** Mean of the folds' curves; points that change nothing are left out. */
  roc: RocCurve;
  /** Every pair's score when its fold was held out, and whether it shows one person. */
  scores: Float64Array;
  same: Uint8Array;
}

/** Thresholds from strict to lax. `at` must give the very doubles of the published code, or ties fall differently. */
interface Grid {
  size: number;
  at(i: number): number;
}
interface Rules {
  metric: VerificationResult['metric'];
  grid: Grid;
  valGrid: Grid;
  accept(score: number, threshold: number): boolean;
  /** Whether a score equal to the threshold counts as wrong for both kinds (protocol B), or as "different" (A). */
  tieIsWrong: boolean;
  pick: 'first' | 'mean';
}
const cosineGrid: Grid = { size: 20001, at: (i) => (20000 - i) / 10000 - 1 };
const rules: Record<Protocol, Rules> = {
  insightface: {
    metric: 'squaredL2',
    grid: { size: 400, at: (i) => i * 0.01 },
    valGrid: { size: 4000, at: (i) => i * 0.001 },
    accept: (d, t) => d < t,
    tieIsWrong: false,
    pick: 'first',
  },
  cosine: {
    metric: 'cosine',
    grid: cosineGrid,
    valGrid: cosineGrid,
    accept: (s, t) => s > t,
    tieIsWrong: true,
    pick: 'mean',
  },
};

/**
 * Accuracy, ROC, AUC, EER and VAL@FAR of embeddings over pairs.
 *
 * VAL@FAR: per fold, the threshold is interpolated linearly between the training folds' last grid threshold with FAR <
 * `targetFar` and the first with FAR >= it (what scipy's interp1d gives where FARs repeat); where the whole grid stays
 * below the target it is the strictest one. AUC and EER are those of the averaged curve.
 * @param targetFar the false accept rate asked for; 1e-3
 * @throws ShapeError for lengths, rows or folds that do not fit; NumericsError for embeddings that are not finite;
 * DataError where pairs of one kind are missing
 */
export function verify(input: VerificationInput, protocol: Protocol, targetFar = 1e-3): VerificationResult {
  if (!Object.hasOwn(rules, protocol)) {
    throw new UsageError(`verify: protocol ${protocol}; there are insightface and cosine.\nName one of them.`);
  }
  needFar('verify', targetFar);
  const rule = rules[protocol];
  const { same, n } = checked(input);
  const foldOf = typeof (input.folds ?? 10) === 'number' ? kFold(n, (input.folds as number) ?? 10) : input.folds;
  const ids = [...new Set(Array.from(foldOf as ArrayLike<number>))].sort((a, b) => a - b);
  if ((foldOf as ArrayLike<number>).length !== n || ids.length < 2) {
    throw new ShapeError(
      `verify: expected a fold for each of ${n} pairs and at least 2 folds, came ${(foldOf as ArrayLike<number>).length} ` +
        `and ${ids.length}.\nPass folds as a count (10) or one number per pair.`,
    );
  }

  const unit = protocol === 'insightface' ? squaredDistances(input) : undefined;
  const { grid, valGrid } = rule;
  const curve = { far: new Float64Array(grid.size), val: new Float64Array(grid.size) };
  let farFolds = 0;
  let valFolds = 0;
  const scores = new Float64Array(n);
  const folds: VerificationResult['folds'] = [];
  const atFar: { threshold: number; far: number; val: number }[] = [];
  for (const id of ids) {
    const held = Uint8Array.from({ length: n }, (_, i) => ((foldOf as ArrayLike<number>)[i] === id ? 1 : 0));
    const s = unit ?? centredCosines(input, held);
    for (let i = 0; i < n; i++) if (held[i]) scores[i] = s[i]!;

    const train = count(rule, grid, s, same, held, 0);
    const test = count(rule, grid, s, same, held, 1);
    const threshold = best(rule, grid, train);
    folds.push({
      fold: id,
      pairs: test.same + test.different,
      accuracy: accuracyAt(rule, s, same, held, threshold),
      threshold,
    });
    // A fold without pairs of one kind says nothing about that rate.
    if (test.same) valFolds++;
    if (test.different) farFolds++;
    for (let i = 0; i < grid.size; i++) {
      if (test.same) curve.val[i]! += test.trueAccepts[i]! / test.same;
      if (test.different) curve.far[i]! += test.falseAccepts[i]! / test.different;
    }

    const fine = valGrid === grid ? train : count(rule, valGrid, s, same, held, 0);
    const t = thresholdAtFar(valGrid, fine, targetFar);
    let accepted = 0;
    let wrong = 0;
    for (let i = 0; i < n; i++) {
      if (held[i] && rule.accept(s[i]!, t)) same[i] ? accepted++ : wrong++;
    }
    atFar.push({ threshold: t, far: wrong / test.different, val: accepted / test.same });
  }

  const averaged = compact(
    grid,
    curve.far.map((x) => x / farFolds),
    curve.val.map((x) => x / valFolds),
  );
  const { mean: accuracy, std } = meanStd(folds.map((f) => f.accuracy));
  const val = meanStd(atFar.map((f) => f.val).filter((x) => !Number.isNaN(x)));
  return {
    protocol,
    metric: rule.metric,
    pairs: n,
    accuracy,
    std,
    threshold: meanStd(folds.map((f) => f.threshold)).mean,
    folds,
    auc: auc(averaged),
    eer: eer(averaged),
    valAtFar: {
      target: targetFar,
      far: meanStd(atFar.map((f) => f.far).filter((x) => !Number.isNaN(x))).mean,
      val: val.mean,
      std: val.std,
      threshold: meanStd(atFar.map((f) => f.threshold)).mean,
    },
    roc: averaged,
    scores,
    same,
  };
}

/** Fold of each of n items in k contiguous blocks; the first n % k are one longer (scikit-learn's KFold, unshuffled). */
export function kFold(n: number, k: number): Int32Array {
  if (!Number.isInteger(k) || k < 2 || k > n) {
    throw new UsageError(`kFold: expected 2 to ${n} folds for ${n} pairs, came ${k}.\nUse fewer folds or more pairs.`);
  }
  const out = new Int32Array(n);
  for (let f = 0, at = 0; f < k; f++) {
    const size = Math.floor(n / k) + (f < n % k ? 1 : 0);
    out.fill(f, at, at + size);
    at += size;
  }
  return out;
}

function checked({ embeddings, dim, left, right, same }: VerificationInput): { same: Uint8Array; n: number } {
  const n = same.length;
  if (!Number.isInteger(dim) || dim < 1 || embeddings.length % dim || left.length !== n || right.length !== n) {
    throw new ShapeError(
      `verify: expected embeddings [n, dim] and equally long left, right and same, came ${embeddings.length} elements of dim ` +
        `${dim}, ${left.length} left, ${right.length} right, ${n} same.\nPass one row per image and two row numbers per pair.`,
    );
  }
  const rows = embeddings.length / dim;
  for (const side of [left, right]) {
    for (let i = 0; i < n; i++) {
      const row = side[i]!;
      if (!(Number.isInteger(row) && row >= 0 && row < rows)) {
        throw new ShapeError(
          `verify: pair ${i} names row ${row}, but there are ${rows} embeddings.\nRows count from 0.`,
        );
      }
    }
  }
  for (let i = 0; i < embeddings.length; i++) {
    if (!Number.isFinite(embeddings[i])) {
      throw new NumericsError(
        `verify: embedding ${Math.floor(i / dim)} has ${embeddings[i]} at position ${i % dim}.\n` +
          'Look at that image, or at the network: its weights or batch-norm statistics may not be finite.',
      );
    }
  }
  const flags = Uint8Array.from({ length: n }, (_, i) => (same[i] ? 1 : 0));
  const positives = flags.reduce((a, b) => a + b, 0);
  needBoth('verify', positives, n - positives);
  return { same: flags, n };
}

/** 1 / length of every row less `centre`; 0 for a row of length 0, whose unit vector is then 0, as in scikit-learn. */
function inverseNorms(x: Float32Array, dim: number, centre?: Float64Array): Float64Array {
  const out = new Float64Array(x.length / dim);
  for (let r = 0; r < out.length; r++) {
    let sum = 0;
    for (let k = 0; k < dim; k++) sum += (x[r * dim + k]! - (centre ? centre[k]! : 0)) ** 2;
    out[r] = sum > 0 ? 1 / Math.sqrt(sum) : 0;
  }
  return out;
}

function squaredDistances({ embeddings: x, dim, left, right }: VerificationInput): Float64Array {
  const inverse = inverseNorms(x, dim);
  return Float64Array.from({ length: left.length }, (_, i) => {
    const [a, b] = [left[i]!, right[i]!];
    let sum = 0;
    for (let k = 0; k < dim; k++) sum += (x[a * dim + k]! * inverse[a]! - x[b * dim + k]! * inverse[b]!) ** 2;
    return sum;
  });
}

/** Cosines about the mean of both sides of all pairs that are not held out: an image counts as often as it occurs. */
function centredCosines({ embeddings: x, dim, left, right }: VerificationInput, held: Uint8Array): Float64Array {
  const mean = new Float64Array(dim);
  let rows = 0;
  for (let i = 0; i < left.length; i++) {
    if (held[i]) continue;
    rows += 2;
    for (let k = 0; k < dim; k++) mean[k]! += x[left[i]! * dim + k]! + x[right[i]! * dim + k]!;
  }
  for (let k = 0; k < dim; k++) mean[k]! /= rows;
  const inverse = inverseNorms(x, dim, mean);
  return Float64Array.from({ length: left.length }, (_, i) => {
    const [a, b] = [left[i]!, right[i]!];
    let dot = 0;
    for (let k = 0; k < dim; k++) dot += (x[a * dim + k]! - mean[k]!) * (x[b * dim + k]! - mean[k]!);
    return dot * inverse[a]! * inverse[b]!;
  });
}

interface Counts {
  same: number;
  different: number;
  trueAccepts: Int32Array;
  falseAccepts: Int32Array;
  /** Different pairs whose score is the threshold itself. */
  ties: Int32Array;
}

/** Accepted pairs at every grid threshold, over the pairs whose held flag is `which`. */
function count(rule: Rules, grid: Grid, s: Float64Array, same: Uint8Array, held: Uint8Array, which: 0 | 1): Counts {
  const size = grid.size;
  const trueAccepts = new Int32Array(size);
  const falseAccepts = new Int32Array(size);
  const ties = new Int32Array(size);
  const first = grid.at(0);
  const perStep = 1 / (grid.at(1) - first);
  let positives = 0;
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    if (held[i] !== which) continue;
    n++;
    positives += same[i]!;
    // The index by division may be off by rounding: the comparison itself decides.
    let k = Math.min(size, Math.max(0, Math.floor((s[i]! - first) * perStep) + 1));
    while (k > 0 && rule.accept(s[i]!, grid.at(k - 1))) k--;
    while (k < size && !rule.accept(s[i]!, grid.at(k))) k++;
    if (k < size) (same[i] ? trueAccepts : falseAccepts)[k]!++;
    if (!same[i] && k > 0 && s[i] === grid.at(k - 1)) ties[k - 1]!++;
  }
  for (let k = 1; k < size; k++) {
    trueAccepts[k]! += trueAccepts[k - 1]!;
    falseAccepts[k]! += falseAccepts[k - 1]!;
  }
  return { same: positives, different: n - positives, trueAccepts, falseAccepts, ties };
}

function best(rule: Rules, grid: Grid, c: Counts): number {
  let most = -1;
  let sum = 0;
  let hits = 0;
  for (let i = 0; i < grid.size; i++) {
    const right = c.trueAccepts[i]! + c.different - c.falseAccepts[i]! - (rule.tieIsWrong ? c.ties[i]! : 0);
    if (right > most) {
      most = right;
      sum = grid.at(i);
      hits = 1;
    } else if (right === most && rule.pick === 'mean') {
      sum += grid.at(i);
      hits++;
    }
  }
  return sum / hits;
}

function accuracyAt(rule: Rules, s: Float64Array, same: Uint8Array, held: Uint8Array, t: number): number {
  let right = 0;
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    if (!held[i]) continue;
    n++;
    const accepted = rule.accept(s[i]!, t);
    if (same[i] ? accepted : !accepted && !(rule.tieIsWrong && s[i] === t)) right++;
  }
  return right / n;
}

function thresholdAtFar(grid: Grid, c: Counts, target: number): number {
  const far = (i: number) => c.falseAccepts[i]! / c.different;
  let i = 0;
  while (i < grid.size && !(far(i) >= target)) i++;
  if (i === 0 || i === grid.size) return grid.at(0);
  return grid.at(i - 1) + ((target - far(i - 1)) / (far(i) - far(i - 1))) * (grid.at(i) - grid.at(i - 1));
}

/** The curve's corners: points equal to both neighbours lie inside a standstill and change neither area nor crossing. */
function compact(grid: Grid, far: Float64Array, val: Float64Array): RocCurve {
  const equal = (i: number, j: number) => far[i] === far[j] && val[i] === val[j];
  const keep: number[] = [];
  for (let i = 0; i < grid.size; i++) {
    if (i > 0 && i < grid.size - 1 && equal(i, i - 1) && equal(i, i + 1)) continue;
    keep.push(i);
  }
  return {
    threshold: Float64Array.from(keep, (i) => grid.at(i)),
    far: Float64Array.from(keep, (i) => far[i]!),
    val: Float64Array.from(keep, (i) => val[i]!),
  };
}

/**
 * One embedding per image out of those of the upright and the mirrored crop, both [n, dim].
 * 'none': the upright one. 'sum': their sum, then unit length (InsightFace). 'unitSum': the sum of their unit vectors,
 * then unit length (TreB1eN, luckycallor). 'concat': side by side, [n, 2 dim] (SphereFace, CosFace).
 */
export function combineFlip(
  upright: Float32Array,
  mirrored: Float32Array,
  dim: number,
  flip: Flip,
): { embeddings: Float32Array; dim: number } {
  if (flip === 'none') return { embeddings: upright, dim };
  if (upright.length !== mirrored.length || upright.length % dim) {
    throw new ShapeError(
      `combineFlip: expected two [n, ${dim}], came ${upright.length} and ${mirrored.length} elements.\n` +
        'Embed the same images upright and mirrored.',
    );
  }
  if (flip === 'concat') {
    const out = new Float32Array(2 * upright.length);
    for (let at = 0; at < upright.length; at += dim) {
      out.set(upright.subarray(at, at + dim), 2 * at);
      out.set(mirrored.subarray(at, at + dim), 2 * at + dim);
    }
    return { embeddings: out, dim: 2 * dim };
  }
  const [a, b] = flip === 'unitSum' ? [unitRows(upright, dim), unitRows(mirrored, dim)] : [upright, mirrored];
  return {
    embeddings: unitRows(
      a.map((x, i) => x + b[i]!),
      dim,
    ),
    dim,
  };
}

/** Rows scaled to length 1; a row of zeros stays. */
export function unitRows(x: Float32Array, dim: number): Float32Array {
  const inverse = inverseNorms(x, dim);
  return x.map((v, i) => v * inverse[Math.floor(i / dim)]!);
}

/** Mean length of the raw embeddings ("XNorm"): it shows a network that blows up or dies before the accuracy does. */
export const meanNorm = (x: Float32Array, dim: number): number =>
  meanStd(inverseNorms(x, dim).map((v) => v && 1 / v)).mean;

/** One threshold in the three units in use, for unit vectors: d^2 = 2 - 2 cos. */
export const thresholdUnits = (cosine: number): { cosine: number; squaredL2: number; l2: number } => ({
  cosine,
  squaredL2: 2 - 2 * cosine,
  l2: Math.sqrt(Math.max(0, 2 - 2 * cosine)),
});

/** Mean and deviation, in degrees, of the angles between the two embeddings of a pair, for pairs of each kind. */
export function pairAngles(result: VerificationResult): Record<'same' | 'different', { mean: number; std: number }> {
  const angles = Array.from(result.scores, (s) => {
    const cosine = result.metric === 'cosine' ? s : 1 - s / 2;
    return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
  });
  return {
    same: meanStd(angles.filter((_, i) => result.same[i])),
    different: meanStd(angles.filter((_, i) => !result.same[i])),
  };
}
