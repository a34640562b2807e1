/**
 * Pictures of a run to look at: the batch as the network gets it, and the pairs of an evaluation that tell most: those
 * nearest to the threshold, and those that are wrong by most. Data in, one picture out; where it goes is the caller's.
 *
 * The one idea: a pair is judged as its fold judges it, by the threshold chosen on the other folds (verification.ts), so that
 * what is called wrong here is what the accuracy counts as wrong.
 */
import { ShapeError } from '../core/errors.ts';
import type { VerificationResult } from '../evaluate/verification.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { contactSheet, type SheetOptions } from '../image/sheet.ts';

export interface BatchSheetOptions extends Pick<SheetOptions, 'columns' | 'tile'> {
  /** What stands under a picture. Default: the number of its class. */
  readonly name?: (label: number) => string;
  /** Pictures shown, the batch's first. Default 64. */
  readonly most?: number;
}

/**
 * A batch as a contact sheet, with the person under each picture.
 * @param batch images [B, h, w, 3] as the loader gives them: resized, mirrored, augmented, not yet normalised; labels [B]
 * @param size [h, w]
 * @throws ShapeError where images and labels do not fit
 */
export function batchSheet(
  { images, labels }: { readonly images: Uint8Array; readonly labels: ArrayLike<number> },
  [height, width]: readonly [number, number],
  { name = String, most = 64, ...sheet }: BatchSheetOptions = {},
): RgbImage {
  const bytes = 3 * height * width;
  if (images.length !== labels.length * bytes)
    throw new ShapeError(
      `batchSheet: expected ${labels.length * bytes} bytes for ${labels.length} pictures of ${height}x${width}, got ${images.length}\nPass pixels [B, h, w, 3], their labels [B] and [h, w].`,
    );
  const shown = Array.from({ length: Math.min(most, labels.length) }, (_, i) => i);
  return contactSheet(
    shown.map((i) => ({ width, height, data: images.subarray(i * bytes, (i + 1) * bytes) })),
    { ...sheet, captions: shown.map((i) => plain(name(labels[i]!))) },
  );
}
const plain = (name: string): string => name.replaceAll('_', ' ').trim() || '?';

/** A pair of an evaluation and how it was judged. */
export interface JudgedPair {
  /** Its number. */
  readonly pair: number;
  readonly same: boolean;
  readonly score: number;
  /** Of its fold, chosen on the others. */
  readonly threshold: number;
  readonly correct: boolean;
}

/**
 * Every pair as the evaluation judged it.
 * @param folds the fold of each pair, as `verify` was given them
 */
export function judgedPairs(result: VerificationResult, folds: ArrayLike<number>): JudgedPair[] {
  const thresholds = new Map(result.folds.map((f) => [f.fold, f.threshold]));
  const cosine = result.metric === 'cosine';
  return Array.from(result.scores, (score, pair) => {
    const threshold = thresholds.get(folds[pair]!)!;
    const same = result.same[pair] === 1;
    const accepted = cosine ? score > threshold : score < threshold;
    // A cosine equal to the threshold counts as wrong either way.
    const correct = same ? accepted : !accepted && !(cosine && score === threshold);
    return { pair, same, score, threshold, correct };
  });
}

const apart = ({ score, threshold }: JudgedPair): number => Math.abs(score - threshold);

/** The pairs nearest to their thresholds, the nearest first, right or wrong. */
export const nearestPairs = (pairs: readonly JudgedPair[], count = 24): JudgedPair[] =>
  pairs.toSorted((a, b) => apart(a) - apart(b)).slice(0, count);

/** Wrong pairs, the furthest from their thresholds first. */
export const worstPairs = (pairs: readonly JudgedPair[], count = 24): JudgedPair[] =>
  pairs
    .filter((p) => !p.correct)
    .sort((a, b) => apart(b) - apart(a))
    .slice(0, count);

const right = [26, 150, 90] as const;
const wrong = [200, 40, 30] as const;
/** Of the frame, and between the pictures of a pair; a part of their height. */
const frameShare = 1 / 40;

/** Two pictures side by side in a frame of a colour. */
function beside(pictures: readonly RgbImage[], colour: readonly [number, number, number]): RgbImage {
  const inner = Math.max(...pictures.map((p) => p.height));
  const frame = Math.max(1, Math.round(inner * frameShare));
  const width = frame + pictures.reduce((sum, p) => sum + p.width + frame, 0);
  const height = inner + 2 * frame;
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i += 3) data.set(colour, i);
  let left = frame;
  for (const p of pictures) {
    for (let y = 0; y < p.height; y++)
      data.set(p.data.subarray(3 * y * p.width, 3 * (y + 1) * p.width), 3 * ((frame + y) * width + left));
    left += p.width + frame;
  }
  return { width, height, data };
}

export interface PairSheetOptions {
  /** Pairs in a row. Default: as many as make the sheet about square. */
  readonly columns?: number;
  /** Height of a picture as it is shown. Default 112. */
  readonly height?: number;
}

/**
 * Pairs side by side, framed green where they were judged rightly and red where not; under each what they are, the score and
 * the threshold.
 * @param pictures the two pictures of a pair, by its number
 * @throws UsageError for no pairs
 */
export function pairSheet(
  pairs: readonly JudgedPair[],
  pictures: (pair: number) => readonly [RgbImage, RgbImage],
  { columns = Math.ceil(Math.sqrt(pairs.length / 2)), height = 112 }: PairSheetOptions = {},
): RgbImage {
  const tiles = pairs.map((p) => beside(pictures(p.pair), p.correct ? right : wrong));
  const captions = pairs.map(
    (p) =>
      `${p.same ? 'same' : 'different'} ${p.score.toFixed(3)} (${p.threshold.toFixed(3)})${p.correct ? '' : ' wrong'}`,
  );
  const tall = Math.round(height * (1 + 2 * frameShare));
  const widest = Math.max(1, ...tiles.map((t) => t.width / t.height));
  return contactSheet(tiles, { columns, tile: [tall, Math.round(tall * widest)], captions });
}
