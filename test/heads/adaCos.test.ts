/** AdaCos (src/heads/adaCos.ts) and its fixed scale in other heads. */
import { expect, it } from 'vitest';
import { AdaCos } from '../../src/heads/adaCos.ts';
import { adaCosScale, scaleOf } from '../../src/heads/head.ts';
import { initialize } from '../../src/nn/module.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'adacos',
  gradients: [
    { options: { dynamic: true }, state: { scale: 6 } },
    { options: { dynamic: false }, state: { scale: 6 } },
  ],
  refused: [[{ classes: 2 }, /at least 3 classes, got 2/]],
});

it('starts at the fixed scale, which other heads have too', () => {
  expect(adaCosScale(2000)).toBeCloseTo(10.75, 2);
  const head = initialize(new AdaCos({ classes: 2000 }), 1);
  expect(head.scale.host[0]).toBe(Math.fround(adaCosScale(2000)));
  expect([scaleOf('auto', 2000), scaleOf(30, 2000)]).toEqual([adaCosScale(2000), 30]);
  expect(() => scaleOf('auto', 2)).toThrow(/at least 3 classes for the automatic scale, got 2/);
});
