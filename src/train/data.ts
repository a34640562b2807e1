import { syntheticFace } from '../../datasets/synthetic.ts';
import { fold, type Key, permutation, threefry } from '../core/random.ts';
import type { Dataset, ImageSource, PairSet } from '../data/dataset.ts';
import type { Recipe } from './recipe.ts';

export async function trainingData(r: Recipe): Promise<Dataset> {
  return {
    name: 'synthetic',
    classes: r.identities,
    length: r.identities * r.imagesPerIdentity,
    label: (i) => Math.floor(i / r.imagesPerIdentity),
    identityName: (l) => `person${l}`,
    source: (i) => ({
      kind: 'synthetic',
      seed: r.seed,
      identity: Math.floor(i / r.imagesPerIdentity),
      image: i % r.imagesPerIdentity,
      size: r.inputSize[0],
    }),
  };
}
export async function evaluationPairs(r: Recipe): Promise<PairSet | undefined> {
  const n = r.evalIdentities;
  const pairs = [];
  const src = (identity: number, image: number): ImageSource => ({
    kind: 'synthetic',
    seed: r.seed,
    identity: 1_000_000 + identity,
    image,
    size: r.inputSize[0],
  });
  for (let k = 0; k < 600; k++) {
    const f = Math.floor(k / 60),
      i = k % n;
    pairs.push(
      k % 2
        ? { a: src(i, 0), b: src(i, 1 + (k % 3)), same: true, fold: f }
        : { a: src(i, 0), b: src((i + 1 + ((k * 7) % (n - 1))) % n, 1 + (k % 3)), same: false, fold: f },
    );
  }
  return { name: 'synthetic unseen', folds: 10, pairs };
}
export const decode = async (s: ImageSource, [h]: readonly [number, number]): Promise<Uint8Array> =>
  s.kind === 'synthetic' ? syntheticFace(s.seed, s.identity, s.image, h) : new Uint8Array();
const cache = new Map<string, Uint8Array>();
export function createLoader(o: {
  dataset: Dataset;
  batch: number;
  size: readonly [number, number];
  flip: boolean;
  key: Key;
  workers?: number;
  ahead?: number;
  skipBad: boolean;
  dropLast: boolean;
}) {
  let step = 0;
  const per = Math.floor(o.dataset.length / o.batch);
  const [h, w] = o.size;
  return {
    stepsPerEpoch: per,
    waitedMs: 0,
    seek(p: number) {
      step = p;
    },
    async next() {
      const epoch = Math.floor(step / per);
      const order = permutation(fold(o.key, epoch), o.dataset.length);
      const images = new Uint8Array(o.batch * h * w * 3),
        labels = new Int32Array(o.batch);
      for (let b = 0; b < o.batch; b++) {
        const i = order[(step % per) * o.batch + b]!;
        labels[b] = o.dataset.label(i);
        const s = o.dataset.source(i);
        const key = JSON.stringify(s);
        let img = cache.get(key);
        if (!img) cache.set(key, (img = await decode(s, o.size)));
        if (o.flip && threefry(fold(o.key, 'flip'), step, b)[0] & 1) {
          const f = new Uint8Array(img.length);
          for (let y = 0; y < h; y++)
            for (let x = 0; x < w; x++)
              for (let c = 0; c < 3; c++) f[(y * w + x) * 3 + c] = img[(y * w + w - 1 - x) * 3 + c]!;
          img = f;
        }
        images.set(img, b * h * w * 3);
      }
      return { images, labels, epoch, step: step++, bad: [] as string[] };
    },
    async close() {},
  };
}
