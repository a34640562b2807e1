/** MagFace (src/heads/magFace.ts). */
import { MagFace } from '../../src/heads/magFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'MagFace',
  make: (o) => new MagFace(o),
  // Lengths 16 to 48.
  length: 16,
  gradients: [
    { options: { s: 8 } },
    { options: { s: 8, easyMargin: false } },
    { options: { s: 8, lambdaG: 0, la: 40 } },
  ],
  refused: [
    [{ s: 0 }, /scale s above 0, got 0/],
    [{ la: 0 }, /length la above 0, got 0/],
    [{ ua: 10 }, /length ua above la = 10, got 10/],
    [{ lm: -0.1 }, /margin lm of at least 0, got -0.1/],
    [{ um: 0.3 }, /margin um between lm = 0.4 and π\/2 radians, got 0.3/],
    [{ lambdaG: -1 }, /weight lambdaG of at least 0, got -1/],
  ],
});
