/** How well pixels alone verify pairs: the bar that synthetic faces must not let through. */
import { syntheticFace } from '../../datasets/synthetic.ts';
import type { PairSet } from '../../src/data/dataset.ts';

/** Best accuracy over all thresholds of the cosine between images, each pixel less `centre`. */
export function rawPixelAccuracy(set: PairSet, centre: number): number {
  const scores = set.pairs.map(({ a, b, same }) => {
    if (a.kind !== 'synthetic' || b.kind !== 'synthetic') throw new Error('synthetic pairs only');
    const x = syntheticFace(a.seed, a.identity, a.image, a.size);
    const y = syntheticFace(b.seed, b.identity, b.image, b.size);
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
}
