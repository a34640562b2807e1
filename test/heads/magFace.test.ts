/** MagFace (src/heads/magFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'magface',
  // Lengths 16 to 48.
  length: 16,
  gradients: [
    { options: { s: 8 } },
    { options: { s: 8, easyMargin: false } },
    { options: { s: 8, lambdaG: 0, la: 40 } },
  ],
  refused: [
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ la: 0 }, /la expected a number above 0, got 0/],
    [{ ua: 10 }, /expected ua above la = 10, got 10/],
    [{ lm: -0.1 }, /lm expected a number from 0 to 1.571, got -0.1/],
    [{ um: 0.3 }, /expected um of at least lm = 0.4, got 0.3/],
    [{ lambdaG: -1 }, /lambdaG expected a number of at least 0, got -1/],
  ],
});
