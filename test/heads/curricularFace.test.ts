/** CurricularFace (src/heads/curricularFace.ts). */
import { CurricularFace } from '../../src/heads/curricularFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'CurricularFace',
  make: (o) => new CurricularFace(o),
  gradients: [
    { options: { s: 8, m: 0.5 }, state: { t: 0.3 } },
    { options: { s: 8, m: 0 }, state: { t: 0.9 } },
  ],
  refused: [
    [{ s: 0 }, /scale s above 0, got 0/],
    [{ m: 1.6 }, /margin m between 0 and π\/2 radians, got 1.6/],
    [{ momentum: 1.1 }, /momentum between 0 and 1, got 1.1/],
  ],
});
