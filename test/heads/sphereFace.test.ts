/** SphereFace (src/heads/sphereFace.ts). */
import { expect, it } from 'vitest';
import * as E from '../../src/expr/nodes.ts';
import { compileJs } from '../../src/expr/printJs.ts';
import { sphereFacePsi } from '../../src/heads/sphereFace.ts';
import { checkHead } from './checks.ts';

checkHead({
  head: 'sphereface',
  gradients: [1, 2, 3, 4].map((m) => ({ options: { m, lambdaMin: 0 }, state: { iteration: 1e6 } })),
  refused: [
    [{ m: 5 }, /m expected 1, 2, 3 or 4, got 5/],
    [{ m: 1.5 }, /got 1.5/],
    [{ lambdaMin: -1 }, /lambdaMin expected a number of at least 0, got -1/],
    [{ lambdaBase: Infinity }, /lambdaBase expected a number of at least 0/],
  ],
});

it.each([1, 2, 3, 4])('psi for m = %i is (-1)^k cos(m theta) - 2k and falls from 1 to 1 - 2m', (m) => {
  const f = compileJs([sphereFacePsi(E.input(0), m)]);
  const psi = (theta: number) => {
    const out = [0];
    f([Math.cos(theta)], out);
    return out[0]!;
  };
  expect(psi(0)).toBe(1);
  expect(psi(Math.PI)).toBeCloseTo(1 - 2 * m, 12);
  let before = 1;
  for (let i = 1; i < 400; i++) {
    const theta = (Math.PI * i) / 400;
    const k = Math.min(m - 1, Math.floor((m * theta) / Math.PI));
    expect(psi(theta)).toBeCloseTo((k % 2 ? -1 : 1) * Math.cos(m * theta) - 2 * k, 12);
    expect(psi(theta)).toBeLessThan(before);
    before = psi(theta);
  }
});
