/**
 * Verification of the network at hand over a pair set: what tells during training whether it learns faces or the batch.
 */
import { DataError } from '../core/errors.ts';
import type { ImageSource, PairSet } from '../data/dataset.ts';
import type { Device } from '../device/device.ts';
import { embedderOf } from '../evaluate/embedder.ts';
import { needBoth } from '../evaluate/metrics.ts';
import { combineFlip, type Flip, type Protocol, type VerificationResult, verify } from '../evaluate/verification.ts';
import type { FaceNetwork } from '../models/network.ts';

export interface Evaluator {
  /** Verifies with the network's numbers of now. */
  run(): Promise<{ result: VerificationResult; embeddings: Float32Array; dim: number }>;
  /** Frees its plans; the network stays. */
  dispose(): Promise<void>;
  readonly name: string;
  /** [height, width] of the pictures. */
  readonly size: readonly [number, number];
  readonly pairs: Omit<PairRows, 'sources'>;
  /** Pixels of the pictures, in the order of the embeddings. */
  readonly pictures: readonly { readonly source: ImageSource; readonly pixels: Uint8Array }[];
}

/**
 * Whether pairs can be evaluated at all, so that nothing is trained or embedded in vain.
 * @throws DataError where all are of one kind, or in one fold
 */
export function checkPairs({ name, pairs: { same, fold } }: PairSet): void {
  const alike = same.reduce((n, s) => n + s, 0);
  needBoth(name, alike, same.length - alike);
  if (fold.every((f) => f === fold[0]))
    throw new DataError(
      `${name}: expected pairs in at least 2 folds, got one\nLet its first line say 'folds pairsPerFold', or leave that line out: then there are ten.`,
    );
}

/** Pairs by the rows of their pictures, as `verify` takes them. */
export interface PairRows {
  /** The different pictures of the pairs, a row each. */
  readonly sources: readonly ImageSource[];
  readonly left: Int32Array;
  readonly right: Int32Array;
  /** 1 where both show the same person. */
  readonly same: Uint8Array;
  readonly folds: Int32Array;
}

/** A pair set by the rows of its different pictures, in the order in which pairs first name them. */
export function pairRows({ images, pairs }: PairSet): PairRows {
  const rows = new Int32Array(images.length).fill(-1);
  const sources: ImageSource[] = [];
  const rowOf = (image: number): number => {
    if (rows[image]! < 0) rows[image] = sources.push(images.source(image)) - 1;
    return rows[image]!;
  };
  return { left: pairs.left.map(rowOf), right: pairs.right.map(rowOf), same: pairs.same, folds: pairs.fold, sources };
}

/**
 * Reads the pictures of a pair set once and keeps them.
 * @param read pixels [h, w, 3] of a source
 * @throws DataError for pairs that cannot be evaluated (`checkPairs`) and whatever `read` throws
 */
export async function evaluatorOf(
  pairs: PairSet,
  read: (s: ImageSource) => Promise<Uint8Array>,
  network: FaceNetwork,
  device: Device,
  { protocol, flip, batchStatistics }: { protocol: Protocol; flip: Flip; batchStatistics?: boolean },
): Promise<Evaluator> {
  checkPairs(pairs);
  const { sources, ...input } = pairRows(pairs);
  const pictures: { source: ImageSource; pixels: Uint8Array }[] = [];
  for (const source of sources) pictures.push({ source, pixels: await read(source) });

  const [height, width] = network.preprocessing.inputSize;
  const images = pictures.map(({ pixels }) => ({ width, height, data: pixels }));
  // Its plans live as long as the device; the network is the trainer's.
  const embedder = embedderOf(network, device, { batchStatistics });

  return {
    name: pairs.name,
    size: [height, width],
    pairs: input,
    pictures,
    async run() {
      const dim = embedder.embeddingSize;
      const upright = await embedder.embed(images);
      const other = flip === 'none' ? upright : await embedder.embed(images, { mirrored: true });
      const combined = combineFlip(upright, other, dim, flip);
      return { result: verify({ ...combined, ...input }, protocol), ...combined };
    },
    dispose: () => embedder.dispose(),
  };
}
