/**
 * What a data set is, as numbers (Node): who is in it, how it is stored, whether it looks fit to train on.
 *
 * The one idea: labels and pairs are counted whole, pictures are looked at in a sample spread over the set, unless all are
 * asked for; so millions of images take seconds. Per image there are a few bytes in typed arrays, never an object.
 */
import { availableParallelism } from 'node:os';
import { DataError } from '../../core/errors.ts';
import { fold, keyOf } from '../../core/random.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import { fileSource } from '../files.ts';
import { type ArrayDescription, describeMatrix, type MatrixDescription } from '../formats/features.ts';
import { formatOf } from '../open.ts';
import { labelsOf } from '../people.ts';
import { createPool } from '../pool.ts';
import type { LookItem } from './look.ts';
import {
  type PairFacts,
  type PerIdentity,
  pairFacts,
  perIdentity,
  type SampleFacts,
  spread,
  Tally,
} from './setFacts.ts';
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

/** Arrays of numbers, such as embeddings. */
export interface MatrixInspection {
  readonly kind: 'matrix';
  readonly path: string;
  readonly format: MatrixDescription['kind'];
  /** Types as NumPy names them; with the range of those that are not too long. */
  readonly arrays: readonly ArrayDescription[];
}

/** Decoded of a sample, for its colours; and of these looked at for alignment. */
const mostDecoded = 256;
const mostAligned = 64;
/** Pictures of a request to a thread. */
const chunk = 16;

const defaultWorkers = (): number => Math.min(8, availableParallelism());

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
  /** By place in the sample: 1 to decode, 2 to check the alignment too. */
  const marks = new Uint8Array(total).fill(verify ? 1 : 0);
  const decoded = verify ? undefined : spread(mostDecoded, total, fold(key, 'decoded'));
  for (const k of decoded ?? []) marks[k] = 1;
  for (const k of spread(mostAligned, decoded?.length ?? total, fold(key, 'aligned'))) marks[decoded?.[k] ?? k] = 2;

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

async function inspectMatrix(path: string): Promise<MatrixInspection> {
  const file = await fileSource(path);
  try {
    const { kind, arrays } = await describeMatrix(file);
    return { kind: 'matrix', path, format: kind, arrays };
  } finally {
    await file.close();
  }
}

/**
 * What lies at a path: a data set of any format, or arrays of numbers (`.npy`, `.npz`, `.feat`).
 * @throws DataError where it is neither, or cannot be opened
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<SetInspection | MatrixInspection> {
  if (/\.(npy|npz|feat)$/i.test(path)) return inspectMatrix(path);
  const format = await formatOf(path);
  const set = await format.open(path, {
    onProgress: (done, total) => options.onProgress?.({ what: 'scanning', done, total, unit: 'bytes' }),
  });
  return inspectSet(set, path, format, options);
}
