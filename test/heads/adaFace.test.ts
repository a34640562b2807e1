/** AdaFace (src/heads/adaFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'adaface',
  // Lengths 3, 1 and 1.2: with the first statistics all are good images, then some and none.
  gradients: [
    { options: { s: 8 }, state: { normMean: 0.5, normStd: 0.1 } },
    { options: { s: 8 }, state: { normMean: 1.25, normStd: 0.5 } },
    { options: { s: 8 }, state: { normMean: 20, normStd: 0.25 } },
  ],
  detachedLength: true,
  refused: [
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ m: 1.6 }, /m expected a number from 0 to 1.571, got 1.6/],
    [{ h: 0 }, /h expected a number above 0, got 0/],
    [{ momentum: -0.1 }, /momentum expected a number from 0 to 1, got -0.1/],
  ],
});
