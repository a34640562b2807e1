/** ArcFace (src/heads/arcFace.ts). */
import { ArcFace } from '../../src/heads/arcFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'ArcFace',
  make: (o) => new ArcFace(o),
  gradients: [
    { options: { s: 8, m: 0.5 } },
    { options: { s: 8, m: 0.5, easyMargin: true } },
    { options: { s: 8, m: 0 } },
  ],
  refused: [
    [{ s: 0 }, /scale s above 0, got 0/],
    [{ m: 1.6 }, /margin m between 0 and π\/2 radians, got 1.6/],
  ],
});
