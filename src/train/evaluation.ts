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
  readonly pairs: PairSet;
  /** Pixels of the pictures, in the order of the embeddings. */
  readonly pictures: readonly { readonly source: ImageSource; readonly pixels: Uint8Array }[];
}

/**
 * Whether pairs can be evaluated at all, so that nothing is trained or embedded in vain.
 * @throws DataError where all are of one kind, or in one fold
 */
export function checkPairs({ name, pairs }: PairSet): void {
  const same = pairs.filter((p) => p.same).length;
  needBoth(name, same, pairs.length - same);
  if (new Set(pairs.map((p) => p.fold)).size < 2)
    throw new DataError(
      `${name}: expected pairs in at least 2 folds, got one\nLet its first line say 'folds pairsPerFold', or leave that line out: then there are ten.`,
    );
}

/** A pair set by the rows of its different pictures, as `verify` takes it. */
export function pairRows({ pairs }: PairSet): {
  readonly sources: readonly ImageSource[];
  readonly left: readonly number[];
  readonly right: readonly number[];
  readonly same: readonly boolean[];
  readonly folds: readonly number[];
} {
  const rows = new Map<string, number>();
  const sources: ImageSource[] = [];
  const rowOf = (source: ImageSource): number => {
    const key = JSON.stringify(source.kind === 'bytes' ? source.name : source);
    const row = rows.get(key) ?? sources.push(source) - 1;
    rows.set(key, row);
    return row;
  };
  return {
    left: pairs.map((p) => rowOf(p.a)),
    right: pairs.map((p) => rowOf(p.b)),
    same: pairs.map((p) => p.same),
    folds: pairs.map((p) => p.fold),
    sources,
  };
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
  { protocol, flip }: { protocol: Protocol; flip: Flip },
): Promise<Evaluator> {
  checkPairs(pairs);
  const { sources, ...input } = pairRows(pairs);
  const pictures: { source: ImageSource; pixels: Uint8Array }[] = [];
  for (const source of sources) pictures.push({ source, pixels: await read(source) });

  const [height, width] = network.preprocessing.inputSize;
  const images = pictures.map(({ pixels }) => ({ width, height, data: pixels }));
  // Its plans live as long as the device; the network is the trainer's.
  const embedder = embedderOf(network, device);

  return {
    name: pairs.name,
    pairs,
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
