/**
 * Numbers that sum up a data set: images per person, pairs by fold, and what pictures looked at have in common.
 *
 * The one idea: everything is counted as it passes; what is kept grows with the number of people, sizes or pictures looked
 * at, by a few bytes each.
 */
import { type Key, uniformAt } from '../../core/random.ts';
import { type AlignedSetCheck, looksAlignedSet } from '../../image/alignedCheck.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import type { Look } from './look.ts';

export interface PerIdentity {
  /** Of identities that have images. */
  readonly min: number;
  readonly median: number;
  readonly mean: number;
  readonly max: number;
  /** Identities that the set names and has no images of. */
  readonly without: number;
  /** Identities with 1 to 1, 9 and 29 images. */
  readonly below2: number;
  readonly below10: number;
  readonly below30: number;
  /** Identities by number of images, both ends included; the last bin has no end. */
  readonly histogram: readonly { readonly from: number; readonly to: number | null; readonly identities: number }[];
}

export interface PairFacts {
  readonly same: number;
  readonly different: number;
  readonly folds: readonly { readonly same: number; readonly different: number }[];
  /** Pairs whose flag is not what the labels of their images say. */
  readonly contradictions: number;
}

export interface BadImage {
  readonly image: number;
  readonly name: string;
  readonly reason: string;
}

/** What the pictures looked at are. */
export interface SampleFacts {
  /** How many were looked at, and how many of these decoded. */
  readonly images: number;
  readonly decoded: number;
  readonly seed: number;
  /** Bytes of an image as stored. */
  readonly bytes: { readonly min: number; readonly median: number; readonly mean: number; readonly max: number };
  /** Images by format. */
  readonly formats: Readonly<Record<string, number>>;
  /** Most frequent first; at most 1000 different ones are told apart. */
  readonly sizes: readonly { readonly width: number; readonly height: number; readonly images: number }[];
  /** Images of still other sizes. */
  readonly otherSizes: number;
  readonly grey: number;
  /** Images whose EXIF data ask to turn or mirror them, which decoding does not. */
  readonly turned: number;
  /** JPEG images in colour by chroma subsampling. */
  readonly subsampling: Readonly<Record<string, number>>;
  /** Mean R, G and B of the decoded ones, 0 to 255. */
  readonly mean?: readonly [number, number, number];
  /** What the means suggest is wrong. */
  readonly colourHint?: string;
  /** Whether they look like aligned face crops; `mostly` is what is wrong most often. */
  readonly aligned?: AlignedSetCheck & { readonly images: number; readonly mostly?: string };
  readonly bad: number;
  /** The first hundred. */
  readonly badImages: readonly BadImage[];
}

/**
 * n different numbers below `of`, rising, one drawn from each of n equal stretches: a sample in which every person of a set
 * in order has a part, and which is read from front to back.
 */
export function spread(n: number, of: number, key: Key): Float64Array {
  const count = Math.min(n, of);
  return Float64Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * of) / count);
    const to = Math.floor(((i + 1) * of) / count);
    return from + Math.floor(uniformAt(key, i) * (to - from));
  });
}

/** The numbers below n that a test keeps, rising. */
export function numbersWhere(n: number, keep: (i: number) => boolean): Uint32Array {
  let count = 0;
  for (let i = 0; i < n; i++) if (keep(i)) count++;
  const kept = new Uint32Array(count);
  for (let i = 0, k = 0; k < count; i++) if (keep(i)) kept[k++] = i;
  return kept;
}

/** The middle value of sorted numbers, the mean of two. */
const medianOf = (sorted: ArrayLike<number>): number =>
  sorted.length === 0 ? 0 : (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;

const bins = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000];

export function perIdentity(labels: Int32Array, classes: number): PerIdentity | undefined {
  const counts = new Int32Array(classes);
  for (const l of labels) if (l >= 0) counts[l]!++;
  const present = counts.filter((n) => n > 0).sort();
  if (present.length === 0) return undefined;
  const below = (limit: number) => present.reduce((n, c) => n + (c < limit ? 1 : 0), 0);
  const max = present[present.length - 1]!;
  const filled = bins.map((from, k) => {
    const next = bins[k + 1] ?? Number.POSITIVE_INFINITY;
    return { from, to: next < Number.POSITIVE_INFINITY ? next - 1 : null, identities: below(next) - below(from) };
  });
  const first = filled.findIndex((b) => b.identities > 0);
  const last = filled.findLastIndex((b) => b.identities > 0);
  return {
    min: present[0]!,
    median: medianOf(present),
    mean: present.reduce((a, b) => a + b, 0) / present.length,
    max,
    without: classes - present.length,
    below2: below(2),
    below10: below(10),
    below30: below(30),
    histogram: filled.slice(first, last + 1),
  };
}

export function pairFacts(pairs: PairTable, labels: Int32Array): PairFacts {
  const folds = Array.from({ length: pairs.folds }, () => ({ same: 0, different: 0 }));
  const all = { same: 0, different: 0 };
  let contradictions = 0;
  for (let k = 0; k < pairs.same.length; k++) {
    const flag = pairs.same[k] === 1;
    const [a, b] = [labels[pairs.left[k]!]!, labels[pairs.right[k]!]!];
    if (a >= 0 && b >= 0 && (a === b) !== flag) contradictions++;
    for (const t of [all, folds[pairs.fold[k]!]!]) t[flag ? 'same' : 'different']++;
  }
  return { ...all, folds, contradictions };
}

const mostSizes = 1000;
/** Bad pictures that are listed. */
const mostListed = 100;

/** Sums up what was seen of pictures. */
export class Tally {
  private readonly bytes: Float64Array;
  /** Pictures whose bytes are known. */
  private measured = 0;
  private images = 0;
  private decoded = 0;
  private readonly formats: Record<string, number> = {};
  private readonly subsampling: Record<string, number> = {};
  private readonly sizes = new Map<string, { width: number; height: number; images: number }>();
  private otherSizes = 0;
  private grey = 0;
  private turned = 0;
  private readonly sum = [0, 0, 0];
  private coloured = 0;
  private swapped = 0;
  private readonly scores: number[] = [];
  private readonly whys = new Map<string, number>();
  private bad = 0;
  private readonly badImages: BadImage[] = [];

  constructor(most: number) {
    this.bytes = new Float64Array(most);
  }

  add(image: number, look: Look, set: Dataset): void {
    this.images++;
    if (look.bytes > 0) this.bytes[this.measured++] = look.bytes;
    this.formats[look.format] = (this.formats[look.format] ?? 0) + 1;
    if (look.subsampling) this.subsampling[look.subsampling] = (this.subsampling[look.subsampling] ?? 0) + 1;
    if (look.width > 0) {
      const key = `${look.width}x${look.height}`;
      const size = this.sizes.get(key);
      if (size) size.images++;
      else if (this.sizes.size < mostSizes) this.sizes.set(key, { width: look.width, height: look.height, images: 1 });
      else this.otherSizes++;
    }
    if (look.grey) this.grey++;
    if (look.turned) this.turned++;
    if (look.mean) {
      this.decoded++;
      for (let c = 0; c < 3; c++) this.sum[c]! += look.mean[c]!;
      if (!look.grey) {
        this.coloured++;
        if (look.mean[0] < look.mean[2]) this.swapped++;
      }
    }
    if (look.aligned) {
      const { score, why } = look.aligned;
      this.scores.push(score);
      if (why !== undefined) this.whys.set(why, (this.whys.get(why) ?? 0) + 1);
    }
    if (look.bad !== undefined) {
      this.bad++;
      if (this.badImages.length < mostListed)
        this.badImages.push({ image, name: set.imageName(image), reason: look.bad });
    }
  }

  facts(seed: number): SampleFacts {
    const bytes = this.bytes.subarray(0, this.measured).sort();
    const mean = this.sum.map((s) => s / this.decoded) as [number, number, number];
    const [mostly] = [...this.whys].sort((a, b) => b[1] - a[1])[0] ?? [];
    // Skin is redder than blue in every light but the oddest.
    const swapped = this.coloured > 0 && mean[0] < mean[2] && this.swapped > 0.7 * this.coloured;
    return {
      images: this.images,
      decoded: this.decoded,
      seed,
      bytes: {
        min: bytes[0] ?? 0,
        median: medianOf(bytes),
        mean: bytes.reduce((a, b) => a + b, 0) / Math.max(1, bytes.length),
        max: bytes[bytes.length - 1] ?? 0,
      },
      formats: this.formats,
      sizes: [...this.sizes.values()].sort((a, b) => b.images - a.images),
      otherSizes: this.otherSizes,
      grey: this.grey,
      turned: this.turned,
      subsampling: this.subsampling,
      ...(this.decoded > 0 ? { mean } : {}),
      ...(swapped
        ? { colourHint: 'red is below blue on average: the colours may be swapped (BGR stored as RGB)' }
        : {}),
      ...(this.scores.length > 0
        ? {
            aligned: {
              ...looksAlignedSet(this.scores),
              images: this.scores.length,
              ...(mostly === undefined ? {} : { mostly }),
            },
          }
        : {}),
      bad: this.bad,
      badImages: this.badImages,
    };
  }
}
