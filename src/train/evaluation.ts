/**
 * Verification of the network at hand over a pair set: what tells during training whether it learns faces or the batch.
 */
import { compile } from '../compile.ts';
import type { ImageSource, PairSet } from '../data/dataset.ts';
import type { Device } from '../device/device.ts';
import { combineFlip, type Flip, type Protocol, type VerificationResult, verify } from '../evaluate/verification.ts';
import { type FaceNetwork, preprocess } from '../models/network.ts';

export interface Evaluator {
  /** Verifies with the network's numbers of now. */
  run(network: FaceNetwork): Promise<{ result: VerificationResult; embeddings: Float32Array; dim: number }>;
  readonly name: string;
  readonly pairs: PairSet;
  /** Pixels of the pictures, in the order of the embeddings. */
  readonly pictures: readonly { readonly source: ImageSource; readonly pixels: Uint8Array }[];
}

const mirrored = (image: Uint8Array, w: number): Uint8Array => {
  const out = new Uint8Array(image.length);
  const row = 3 * w;
  for (let at = 0; at < image.length; at += row)
    for (let x = 0; x < w; x++) for (let c = 0; c < 3; c++) out[at + 3 * x + c] = image[at + 3 * (w - 1 - x) + c]!;
  return out;
};

/**
 * Reads the pictures of a pair set once and keeps them.
 * @param read pixels [h, w, 3] of a source
 */
export async function evaluatorOf(
  pairs: PairSet,
  read: (s: ImageSource) => Promise<Uint8Array>,
  device: Device,
  { protocol, flip, batch = 32 }: { protocol: Protocol; flip: Flip; batch?: number },
): Promise<Evaluator> {
  const rows = new Map<string, number>();
  const pictures: { source: ImageSource; pixels: Uint8Array }[] = [];
  const rowOf = async (source: ImageSource): Promise<number> => {
    const key = JSON.stringify(source.kind === 'bytes' ? source.name : source);
    const known = rows.get(key);
    if (known !== undefined) return known;
    pictures.push({ source, pixels: await read(source) });
    rows.set(key, pictures.length - 1);
    return pictures.length - 1;
  };
  const left: number[] = [];
  const right: number[] = [];
  for (const p of pairs.pairs) {
    left.push(await rowOf(p.a));
    right.push(await rowOf(p.b));
  }
  const input = {
    left,
    right,
    same: pairs.pairs.map((p) => p.same),
    folds: pairs.pairs.map((p) => p.fold),
  };

  return {
    name: pairs.name,
    pairs,
    pictures,
    async run(network) {
      const [h, w] = network.preprocessing.inputSize;
      const dim = network.options.embeddingSize;
      const forward = compile(
        ({ images }, ctx) => ({ y: network.call(preprocess(images!, network.preprocessing), ctx) }),
        { device },
      );
      const embed = async (flipped: boolean): Promise<Float32Array> => {
        const out = new Float32Array(pictures.length * dim);
        for (let from = 0; from < pictures.length; from += batch) {
          // The last batch is filled up with its own first picture, so that one plan serves all.
          const data = new Uint8Array(batch * h * w * 3);
          for (let i = 0; i < batch; i++) {
            const { pixels } = pictures[from + i] ?? pictures[from]!;
            data.set(flipped ? mirrored(pixels, w) : pixels, i * h * w * 3);
          }
          const { y } = await forward({ images: { data, shape: [batch, h, w, 3], dtype: 'u8' } });
          out.set((y!.data as Float32Array).subarray(0, Math.min(batch, pictures.length - from) * dim), from * dim);
        }
        return out;
      };
      try {
        const upright = await embed(false);
        const combined = combineFlip(upright, flip === 'none' ? upright : await embed(true), dim, flip);
        return { result: verify({ ...combined, ...input }, protocol), ...combined };
      } finally {
        forward.dispose();
      }
    },
  };
}
