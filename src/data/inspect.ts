/**
 * What a data set is, as numbers (Node): who is in it, how it is stored, whether it looks fit to train on.
 *
 * The one idea: labels and pairs are counted whole, pictures are looked at in a sample spread over the set, unless all are
 * asked for; so millions of images take seconds. Per image there are a few bytes in typed arrays, never an object.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { DataError } from '../core/errors.ts';
import { fold, type Key, keyOf, uniformAt } from '../core/random.ts';
import { type AlignedSetCheck, looksAlignedSet } from '../image/alignedCheck.ts';
import { readNpy } from '../weights/npy.ts';
import type { Dataset, PairTable } from './dataset.ts';
import { fileError } from './files.ts';
import type { Look, LookItem } from './look.ts';
import { formatOf } from './open.ts';
import { labelsOf } from './people.ts';
import { createPool } from './pool.ts';
import { type Verified, Verifier } from './verifySet.ts';

export interface InspectOptions {
  /** Images to look at; Infinity: all. Default 1000. */
  readonly sample?: number;
  /** Of the choice of these. Default 1. */
  readonly seed?: number;
  /** Threads that read and decode. Default: the machine's cores, at most 8. */
  readonly workers?: number;
  /** Decode every image; find duplicates; compare checksums where the format has some. Default false. */
  readonly verify?: boolean;
  /** With `verify`: save again in place what can be read of damaged picture files. Default false. */
  readonly repair?: boolean;
  readonly onProgress?: (e: InspectProgress) => void;
}

export interface InspectProgress {
  readonly what: 'scanning' | 'looking' | 'verifying' | 'checksums';
  readonly done: number;
  readonly total: number;
  /** What is counted. */
  readonly unit: 'bytes' | 'images';
  /** Bytes read, where images are counted. */
  readonly bytes?: number;
}

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

export interface SetInspection {
  readonly kind: 'images';
  readonly path: string;
  readonly format: string;
  readonly means: string;
  readonly images: number;
  readonly identities: number;
  /** Images whose person is not known. */
  readonly unlabelled: number;
  readonly perIdentity?: PerIdentity;
  readonly pairs?: PairFacts;
  readonly landmarks: boolean;
  readonly sample: SampleFacts;
  readonly notes: readonly string[];
  readonly verified?: Verified;
}

/** An array of numbers, such as embeddings. */
export interface MatrixInspection {
  readonly kind: 'matrix';
  readonly path: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of the finite values; absent where there are none. */
  readonly min?: number;
  readonly max?: number;
  readonly notFinite: number;
}

/** Decoded of a sample, for its colours; and of these looked at for alignment. */
const mostDecoded = 256;
const mostAligned = 64;
/** Pictures of a request to a thread. */
const chunk = 16;

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
export const mostListed = 100;

/** Sums up what was seen. */
class Tally {
  private readonly bytes: Float64Array;
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
    this.bytes[this.images++] = look.bytes;
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
    const bytes = this.bytes.subarray(0, this.images).sort();
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
        mean: this.images ? bytes.reduce((a, b) => a + b, 0) / this.images : 0,
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

export const defaultWorkers = (): number => Math.min(8, availableParallelism());

/** What an open set is. See {@link inspect}. */
export async function inspectSet(
  set: Dataset,
  path: string,
  format: { readonly name: string; readonly means: string },
  options: InspectOptions = {},
): Promise<SetInspection> {
  const { sample = 1000, seed = 1, workers = defaultWorkers(), verify = false, repair = false, onProgress } = options;
  const labels = labelsOf(set);
  const notes = set.note === undefined ? [] : [set.note];
  let pairs: PairTable | undefined;
  try {
    pairs = set.pairs;
  } catch (error) {
    // Some sets read a file of pairs only now; the images are there all the same.
    if (!(error instanceof DataError)) throw error;
    notes.push(error.message.split('\n', 1)[0]!);
  }
  const unlabelled = labels.reduce((n, l) => n + (l < 0 ? 1 : 0), 0);
  const identities = perIdentity(labels, set.classes);
  const key = keyOf(seed);
  const whole = verify || sample >= set.length;
  const total = whole ? set.length : sample;
  const chosen = whole ? undefined : spread(sample, set.length, fold(key, 'sample'));
  const marks = new Uint8Array(total);
  if (!verify) for (const k of spread(mostDecoded, total, fold(key, 'decoded'))) marks[k] = 1;
  else marks.fill(1);
  const decodedPlaces = Float64Array.from(marks.keys()).filter((k) => marks[k] === 1);
  for (const k of spread(mostAligned, decodedPlaces.length, fold(key, 'aligned'))) marks[decodedPlaces[k]!] = 2;

  const tally = new Tally(total);
  const verifier = verify ? new Verifier(set, labels, path, format.name, repair) : undefined;
  const pool = createPool(Math.min(workers, Math.ceil(total / chunk)));
  let bytes = 0;
  let done = 0;
  const look = async (from: number) => {
    const images = Array.from({ length: Math.min(chunk, total - from) }, (_, k) => chosen?.[from + k] ?? from + k);
    const items = images.map(
      (i, k): LookItem => ({ source: set.source(i), decode: marks[from + k]! > 0, aligned: marks[from + k] === 2 }),
    );
    const looks = await pool.run('check', { items, hash: verify });
    done += looks.length;
    for (const l of looks) bytes += l.bytes;
    onProgress?.({ what: verify ? 'verifying' : 'looking', done, total, unit: 'images', bytes });
    return { images, looks };
  };
  try {
    const underWay: ReturnType<typeof look>[] = [];
    let next = 0;
    while (next < total || underWay.length > 0) {
      while (next < total && underWay.length < 2 * pool.size) {
        const made = look(next);
        made.catch(() => {}); // it is awaited in its turn
        underWay.push(made);
        next += chunk;
      }
      const { images, looks } = await underWay.shift()!;
      for (const [k, image] of images.entries()) {
        tally.add(image, looks[k]!, set);
        await verifier?.add(image, looks[k]!);
      }
    }
  } finally {
    await pool.close();
  }
  const verified = await verifier?.finish((at, of) =>
    onProgress?.({ what: 'checksums', done: at, total: of, unit: 'bytes' }),
  );
  return {
    kind: 'images',
    path,
    format: format.name,
    means: format.means,
    images: set.length,
    identities: set.classes,
    unlabelled,
    ...(identities ? { perIdentity: identities } : {}),
    ...(pairs ? { pairs: pairFacts(pairs, labels) } : {}),
    landmarks: set.landmarks !== undefined,
    sample: tally.facts(seed),
    notes,
    ...(verified ? { verified } : {}),
  };
}

/** What an array in a `.npy` file is. */
async function inspectMatrix(path: string): Promise<MatrixInspection> {
  const bytes = await readFile(path).catch((error) => {
    throw fileError(path, 'a readable file', error);
  });
  const { dtype, shape, data } = readNpy(bytes, path);
  let [min, max, notFinite] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const v of data) {
    if (!Number.isFinite(v)) notFinite++;
    else {
      if (v < min) min = v;
      if (v > max) max = v;
    }
  }
  return { kind: 'matrix', path, dtype, shape, ...(min <= max ? { min, max } : {}), notFinite };
}

/**
 * What lies at a path: a data set of any format, or an array of numbers (`.npy`).
 * @throws DataError where it is neither, or cannot be opened
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<SetInspection | MatrixInspection> {
  if (/\.npy$/i.test(path)) return inspectMatrix(path);
  const format = await formatOf(path);
  const set = await format.open(path, {
    onProgress: (done, total) => options.onProgress?.({ what: 'scanning', done, total, unit: 'bytes' }),
  });
  return inspectSet(set, path, format, options);
}
