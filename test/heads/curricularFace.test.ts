/** CurricularFace (src/heads/curricularFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'curricularface',
  gradients: [
    { options: { s: 8, m: 0.5 }, state: { t: 0.3 } },
    { options: { s: 8, m: 0 }, state: { t: 0.9 } },
  ],
  refused: [
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ m: 1.6 }, /m expected a number from 0 to 1.571, got 1.6/],
    [{ momentum: 1.1 }, /momentum expected a number from 0 to 1, got 1.1/],
  ],
});
