/** CombinedMargin and MultiMargin (src/heads/combinedMargin.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'combined',
  gradients: [
    { options: { s: 8 } },
    { options: { s: 8, m1: 1.35, m2: 0.2, m3: 0.1 } },
    { options: { s: 4, m1: 4, m2: 0, m3: 0 } },
    { options: { s: 8, filter: 0.4 } },
  ],
  refused: [
    [{ s: Infinity }, /s expected a number above 0, or auto/],
    [{ m1: 0 }, /m1 expected a number above 0 to 4, got 0/],
    [{ m2: 2 }, /m2 expected a number from 0 to 1.571, got 2/],
    [{ m3: 3 }, /m3 expected a number from 0 to 2, got 3/],
    [{ m1: 2, easyMargin: true }, /m1 = 1 with easyMargin, got 2/],
  ],
});
checkHead({
  head: 'multimargin',
  gradients: [{ options: { s: 8 } }, { options: { s: 8, easyMargin: true } }],
  refused: [[{ m1: 2 }, /expected options among .*s, m2, m3, easyMargin, filter, init, sampleRate, got 'm1'/]],
});
