/** CosFace (src/heads/cosFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'cosface',
  gradients: [{ options: { s: 8, m: 0.35 } }],
  refused: [
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ m: -0.1 }, /m expected a number from 0 to 2, got -0.1/],
    [{ m: Number.NaN }, /got null/],
  ],
});
