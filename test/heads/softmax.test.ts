/** Softmax and NormFace (src/heads/softmax.ts). */
import { NormFace, Softmax } from '../../src/heads/softmax.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'Softmax',
  make: (o) => new Softmax(o),
  gradients: [{ options: { bias: true } }, { options: { bias: false } }],
  refused: [],
});
checkHead({
  head: 'NormFace',
  make: (o) => new NormFace(o),
  gradients: [{ options: { s: 8 } }],
  refused: [
    [{ s: -1 }, /scale s above 0, got -1/],
    [{ s: Infinity }, /got Infinity/],
  ],
});
