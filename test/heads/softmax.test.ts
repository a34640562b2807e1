/** Softmax and NormFace (src/heads/softmax.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'softmax',
  gradients: [{ options: { bias: true } }, { options: { bias: false } }],
  refused: [[{ bias: 1 }, /bias expected true or false, got 1/]],
});
checkHead({
  head: 'normface',
  gradients: [{ options: { s: 8 } }],
  refused: [
    [{ s: -1 }, /s expected a number above 0, or auto, got -1/],
    [{ s: 'wide' }, /got "wide"/],
  ],
});
