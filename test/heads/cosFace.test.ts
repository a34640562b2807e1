/** CosFace (src/heads/cosFace.ts). */
import { CosFace } from '../../src/heads/cosFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'CosFace',
  make: (o) => new CosFace(o),
  gradients: [{ options: { s: 8, m: 0.35 } }],
  refused: [
    [{ s: 0 }, /scale s above 0, got 0/],
    [{ m: -0.1 }, /margin m between 0 and 2, got -0.1/],
    [{ m: Number.NaN }, /got NaN/],
  ],
});
