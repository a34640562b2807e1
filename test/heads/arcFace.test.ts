/** ArcFace (src/heads/arcFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'arcface',
  gradients: [
    { options: { s: 8, m: 0.5 } },
    { options: { s: 8, m: 0.5, easyMargin: true } },
    { options: { s: 8, m: 0 } },
    { options: { s: 'auto' } },
  ],
  detached: [{ form: 'angle' }],
  refused: [
    [{ form: 'angle', easyMargin: true }, /easyMargin with form 'cosine'/],
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ m: 1.6 }, /m expected a number from 0 to 1.571, got 1.6\n.*margin in radians; the default is 0.5/],
  ],
});
