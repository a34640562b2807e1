/** AdaCos (src/heads/adaCos.ts). */
import { expect, it } from 'vitest';
import { AdaCos, adaCosScale } from '../../src/heads/adaCos.ts';
import { initialize } from '../../src/nn/module.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'AdaCos',
  make: (o) => new AdaCos(o),
  gradients: [
    { options: { dynamic: true }, state: { scale: 6 } },
    { options: { dynamic: false }, state: { scale: 6 } },
  ],
  refused: [[{ classes: 2 }, /at least 3 classes, got 2/]],
});

it('starts at the fixed scale', () => {
  expect(adaCosScale(2000)).toBeCloseTo(10.75, 2);
  const head = initialize(new AdaCos({ classes: 2000 }), 1);
  expect(head.scale.host[0]).toBe(Math.fround(adaCosScale(2000)));
});
