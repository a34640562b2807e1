/** SubCenterArcFace (src/heads/subCenterArcFace.ts). */
import { SubCenterArcFace } from '../../src/heads/subCenterArcFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'SubCenterArcFace',
  make: (o) => new SubCenterArcFace({ k: 3, ...o }),
  centres: 3,
  gradients: [{ options: { s: 8 } }, { options: { s: 8, easyMargin: true } }],
  refused: [
    [{ k: 0 }, /at least 1 centre per class, got 0/],
    [{ s: 0 }, /scale s above 0, got 0/],
    [{ m: 1.6 }, /margin m between 0 and π\/2 radians, got 1.6/],
  ],
});
