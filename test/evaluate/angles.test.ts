/** Angles to centres of people (src/evaluate/angles.ts). */
import { expect, it } from 'vitest';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { centreAngles } from '../../src/evaluate/angles.ts';

it('are those of the drawing', () => {
  const at = (...degrees: number[]) =>
    Float32Array.from(degrees.flatMap((d) => [3 * Math.cos((d * Math.PI) / 180), 3 * Math.sin((d * Math.PI) / 180)]));
  // Person 5 at 0, 10, 20 and 30 degrees, person 2 at 100 and 120, person 9 once, at -45.
  const { own, other } = centreAngles(at(0, 10, 20, 30, 100, 120, -45), 2, [5, 5, 5, 5, 2, 2, 9]);
  const near = (x: Float64Array, want: number[]) => {
    expect(x.length).toBe(want.length);
    want.forEach((v, i) => {
      expect(x[i], String(i)).toBeCloseTo(v, 3);
    });
  };
  near(own.subarray(0, 6), [20, own[1]!, own[2]!, 20, 20, 20]);
  // Without 10 the others' mean direction lies between that of 0, 20, 30.
  expect(own[1]).toBeCloseTo(
    (Math.atan2(
      at(0, 20, 30)
        .filter((_, i) => i % 2)
        .reduce((a, b) => a + b),
      at(0, 20, 30)
        .filter((_, i) => i % 2 === 0)
        .reduce((a, b) => a + b),
    ) *
      180) /
      Math.PI -
      10,
    3,
  );
  expect(own[6]).toBeNaN();
  near(other, [45, 55, 65, 75, 85, 105, 60]);
});

it('separate people that are apart, and not those that are one', () => {
  const [people, each, dim] = [8, 6, 16];
  const labels = Int32Array.from({ length: people * each }, (_, i) => i % people);
  const centre = normal(fold(keyOf(1), 'centres'), people * dim);
  const noise = normal(fold(keyOf(1), 'noise'), people * each * dim);
  const share = (spread: number) => {
    const x = noise.map((v, i) => spread * v + centre[labels[Math.floor(i / dim)]! * dim + (i % dim)]!);
    const { own, other } = centreAngles(x, dim, labels);
    return own.reduce((n, v, i) => n + (v < other[i]! ? 1 : 0), 0) / own.length;
  };
  expect(share(0.1)).toBe(1);
  expect(share(100)).toBeLessThan(0.5);
});

it('of nothing are nothing, and sizes must agree', () => {
  expect(centreAngles(new Float32Array(0), 3, []).own.length).toBe(0);
  const zeros = centreAngles(new Float32Array(6), 3, [0, 1]);
  expect([...zeros.own, ...zeros.other].every(Number.isNaN)).toBe(true);
  expect(() => centreAngles(new Float32Array(7), 3, [0, 1])).toThrow(/expected 2 rows of 3 numbers, got 7 numbers/);
});
