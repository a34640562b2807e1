/** How well pixels alone verify pairs: the bar that synthetic faces must not let through. */
import { syntheticFace } from '../../datasets/synthetic.ts';
import type { ImageSource, PairSet } from '../../src/data/dataset.ts';

function pixelsOf(s: ImageSource): Uint8Array {
  if (s.kind !== 'synthetic') throw new Error('synthetic pairs only');
  return syntheticFace(s.seed, s.identity, s.image, s.size);
}

/** For each centre: best accuracy over all thresholds of the cosine between images, each pixel less that centre. */
export function rawPixelAccuracy(set: PairSet, centres: readonly number[]): number[] {
  const pixels = (i: number) => pixelsOf(set.images.source(i));
  const images = Array.from(set.pairs.left, (left, k) => ({
    same: set.pairs.same[k] === 1,
    x: pixels(left),
    y: pixels(set.pairs.right[k]!),
  }));
  return centres.map((centre) => {
    const scores = images.map(({ same, x, y }) => {
      let xy = 0;
      let xx = 0;
      let yy = 0;
      for (let i = 0; i < x.length; i++) {
        const p = x[i]! - centre;
        const q = y[i]! - centre;
        xy += p * q;
        xx += p * p;
        yy += q * q;
      }
      return { same, cosine: xy / Math.sqrt(xx * yy) };
    });
    scores.sort((p, q) => q.cosine - p.cosine);
    // accept the first k, reject the rest
    let right = scores.filter((s) => !s.same).length;
    let best = right;
    for (const s of scores) {
      right += s.same ? 1 : -1;
      best = Math.max(best, right);
    }
    return best / scores.length;
  });
}
