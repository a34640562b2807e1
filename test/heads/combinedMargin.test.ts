/** CombinedMargin (src/heads/combinedMargin.ts). */
import { CombinedMargin, multiMargin } from '../../src/heads/combinedMargin.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'CombinedMargin',
  make: (o) => new CombinedMargin(o),
  gradients: [
    { options: { s: 8 } },
    { options: { ...multiMargin, s: 8 } },
    { options: { ...multiMargin, s: 8, easyMargin: true } },
    { options: { s: 8, m1: 1.35, m2: 0.2, m3: 0.1 } },
    { options: { s: 4, m1: 4, m2: 0, m3: 0 } },
  ],
  refused: [
    [{ s: Number.NaN }, /scale s above 0, got NaN/],
    [{ m1: 0 }, /factor m1 above 0 and up to 4, got 0/],
    [{ m2: 2 }, /angle m2 between 0 and π\/2 radians, got 2/],
    [{ m3: 3 }, /margin m3 between 0 and 2, got 3/],
    [{ m1: 2, easyMargin: true }, /m1 to be 1 with easyMargin, got 2/],
  ],
});
