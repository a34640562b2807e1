/** SubCenterArcFace (src/heads/subCenterArcFace.ts). */
import { checkHead } from './checks.ts';

checkHead({
  head: 'subcenter-arcface',
  centres: 3,
  gradients: [{ options: { s: 8 } }, { options: { s: 8, easyMargin: true } }],
  refused: [
    [{ k: 0 }, /k expected a whole number of at least 1, got 0/],
    [{ s: 0 }, /s expected a number above 0, or auto, got 0/],
    [{ m: 1.6 }, /m expected a number from 0 to 1.571, got 1.6/],
  ],
});
