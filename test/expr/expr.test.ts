/** Expressions: builders, keys, simplification, derivatives and the JavaScript and WGSL printers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { derivative } from '../../src/expr/diff.ts';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';
import { compileJs, printJs } from '../../src/expr/printJs.ts';
import { printWgsl, printWgslLets, wgslNumber } from '../../src/expr/printWgsl.ts';
import { simplify } from '../../src/expr/simplify.ts';
import { exactExprs, sameNumber, smoothExprs } from '../helpers/exprs.ts';

const x = E.input(0);
const y = E.input(1);
const value = (e: Expr, ...inputs: number[]) => printJs(e)(inputs);
const awkward = fc.oneof(
  fc.double({ min: -4, max: 4, noNaN: true }),
  fc.constantFrom(0, -0, 0.5, 1.5, -2.5, 1e30, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN),
);

describe('nodes', () => {
  it('knows what is a number and what a truth value', () => {
    expect(E.typeOf(E.add(x, 1))).toBe('number');
    expect(E.typeOf(E.where(E.lt(x, 0), E.gt(x, 1), E.not(E.eq(x, y))))).toBe('bool');
    expect(E.typeOf(E.input(3, true))).toBe('bool');
    expect(E.typeOf(E.toNumber(E.input(3, true)))).toBe('number');
    expect(() => E.add(E.lt(x, 0), 1)).toThrow(UsageError);
    expect(() => E.where(x, 1, 2)).toThrow('where: expected a truth value, got a number');
  });
  it('gives equal keys to equal trees only', () => {
    const make = () => E.mul(E.add(x, y), E.add(x, y));
    expect(E.keyOf(make())).toBe(E.keyOf(make()));
    const others = [
      E.mul(E.add(x, y), E.add(y, x)),
      E.mul(E.add(x, y), x),
      E.add(x, 0),
      E.add(x, -0),
      E.input(0, true),
    ];
    expect(new Set(others.map((e) => E.keyOf(e))).size).toBe(others.length);
    expect(E.keyOf([x, y])).not.toBe(E.keyOf([y, x]));
  });
  it('stays small where a tree is shared many times over', () => {
    let e: Expr = x;
    for (let i = 0; i < 60; i++) e = E.add(e, e);
    expect(E.keyOf(e).length).toBeLessThan(2000);
    expect(E.costOf(e)).toBe(60);
    expect(value(e, 1)).toBe(2 ** 60);
    expect(value(simplify(e), 1)).toBe(2 ** 60);
    expect(value(derivative(e, 0), 1)).toBe(2 ** 60);
  });
  it('lists operands and composes', () => {
    const e = E.add(E.input(4), E.mul(x, E.input(2)));
    expect([...E.inputsOf(e)]).toEqual([0, 2, 4]);
    const outer = E.sub(E.exp(x), y);
    const whole = E.substitute(outer, [E.mul(x, y), E.add(x, 1)]);
    expect(value(whole, 0.5, 3)).toBe(Math.exp(1.5) - 1.5);
    expect(() => E.substitute(outer, [x])).toThrow(UsageError);
  });
});

describe('printJs', () => {
  it('rounds halves to even and keeps the sign of zero', () => {
    const r = printJs(E.round(x));
    const cases = [-2.5, -1.5, -0.5, -0.4, -0, 0.5, 1.5, 2.5, 0.49999999999999994, 1e300, Number.NEGATIVE_INFINITY];
    expect(cases.map((v) => r([v]))).toEqual([-2, -2, -0, -0, -0, 0, 2, 2, 0, 1e300, Number.NEGATIVE_INFINITY]);
  });
  it('evaluates several expressions at once, in f32 steps on request', () => {
    const out = [0, 0];
    compileJs([E.add(x, 0.1), E.lt(x, y)])([1, 2], out);
    expect(out).toEqual([1.1, 1]);
    expect(printJs(E.mul(E.add(x, 0.1), x), Math.fround)([3])).toBe(Math.fround(Math.fround(3 + Math.fround(0.1)) * 3));
  });
});

describe('simplify', () => {
  it('removes what does nothing', () => {
    const cases: [Expr, Expr][] = [
      [E.add(x, 0), x],
      [E.mul(1, x), x],
      [E.neg(E.neg(x)), x],
      [E.where(E.gt(x, 0), y, y), y],
      [E.where(E.not(E.gt(x, 0)), y, x), E.where(E.gt(x, 0), x, y)],
      [E.mul(E.add(2, 3), x), E.mul(5, x)],
      [E.pow(x, 2), E.mul(x, x)],
      [E.add(x, E.neg(y)), E.sub(x, y)],
      [E.where(E.lt(1, 2), x, y), x],
    ];
    for (const [from, to] of cases) expect(E.keyOf(simplify(from))).toBe(E.keyOf(to));
  });
  it('keeps x · 0, for x may be infinite', () => {
    expect(value(simplify(E.mul(x, 0)), Number.POSITIVE_INFINITY)).toBeNaN();
  });
  it('keeps the value', () => {
    // Division could turn the sign of a zero, which simplification does not keep, into one of infinity.
    const withoutDivision = exactExprs(2).filter((e) => !E.keyOf(e).includes('div'));
    fc.assert(
      fc.property(withoutDivision, awkward, awkward, (e, a, b) => sameNumber(value(simplify(e), a, b), value(e, a, b))),
      { numRuns: 500 },
    );
  });
});

describe('derivative', () => {
  it('matches central differences', () => {
    const range = fc.double({ min: 0.05, max: 2, noNaN: true });
    fc.assert(
      fc.property(smoothExprs(2), range, range, fc.boolean(), fc.nat(1), (e, a, b, negative, k) => {
        const at = [negative ? -a : a, b];
        const f = printJs(e);
        const shifted = (h: number) => f(at.map((v, i) => (i === k ? v + h : v)));
        const slope = (h: number) => (shifted(h) - shifted(-h)) / (2 * h);
        // Richardson: the error is of order h⁴ plus rounding.
        const h = 1e-3;
        const numeric = (4 * slope(h / 2) - slope(h)) / 3;
        const scale = 1 + Math.abs(numeric) + Math.abs(f(at));
        expect(Math.abs(value(derivative(e, k), ...at) - numeric) / scale).toBeLessThan(1e-6);
      }),
      { numRuns: 300 },
    );
  });
  it('follows the stated conventions at corners', () => {
    const d = (e: Expr, ...at: number[]) => [value(derivative(e, 0), ...at), value(derivative(e, 1), ...at)];
    expect(d(E.abs(x), 0, 0)).toEqual([0, 0]);
    expect(d(E.max(x, y), 1, 1)).toEqual([1, 0]);
    expect(d(E.min(x, y), 1, 1)).toEqual([1, 0]);
    for (const f of [E.floor, E.ceil, E.round, E.sign]) expect(d(f(x), 0.3, 0)).toEqual([0, 0]);
    expect(d(E.toNumber(E.lt(x, y)), 1, 2)).toEqual([0, 0]);
    expect(d(E.pow(x, 3), -2, 0)[0]).toBe(12);
    expect(d(E.pow(x, 0), 0, 0)[0]).toBe(0);
    expect(d(E.pow(x, y), 0, 2)).toEqual([0, 0]);
  });
  it('selects instead of multiplying by a mask', () => {
    // The unused branch is infinite at 0; a mask would give 0 · Infinity.
    const safe = E.where(E.gt(x, 0), E.log(x), 0);
    expect(value(derivative(safe, 0), 0)).toBe(0);
    expect(value(derivative(E.where(E.gt(x, 0), x, E.mul(y, x)), 1), Number.POSITIVE_INFINITY, 1)).toBe(0);
  });
  it('drops what is zero by structure, so that an infinite factor does no harm', () => {
    expect(E.keyOf(derivative(E.mul(x, y), 1))).toBe(E.keyOf(x));
    expect(E.keyOf(derivative(E.exp(y), 0))).toBe(E.keyOf(E.constant(0)));
  });
});

describe('printWgsl', () => {
  it('prints an activation', () => {
    const prelu = E.where(E.gt(x, 0), x, E.mul(y, x));
    expect(printWgsl(prelu, ['x', 'a'])).toBe('return select((a * x), x, (x > 0.0f));');
  });
  it('shares what is read twice', () => {
    const s = E.sigmoid(E.mul(x, 1.702));
    const { lets, values } = printWgslLets([E.mul(x, s), E.mul(s, E.sub(1, s))], ['v']);
    expect(lets).toBe('let t0 = mathSigmoid((v * 1.702f));');
    expect(values).toEqual(['(v * t0)', '(t0 * (1.0f - t0))']);
  });
  it('spells small powers as products and truth values as numbers', () => {
    expect(printWgsl(E.pow(E.neg(x), -5), ['v'])).toBe(
      'let t0 = (-v);\nlet t1 = t0 * t0;\nlet t2 = t1 * t1;\nreturn (1.0f / (t0 * t2));',
    );
    expect(printWgsl(E.pow(x, 0.5), ['v'])).toBe('return sqrt(v);');
    expect(printWgsl(E.pow(x, E.exp(y)), ['v', 'w'])).toBe('return mathPow(v, mathExp(w));');
    expect(printWgsl(E.add(E.toNumber(E.and(E.gt(x, 0), E.input(1, true))), E.round(x)), ['v', 'm'])).toBe(
      'return (select(0.0f, 1.0f, ((v > 0.0f) && m)) + round(v));',
    );
  });
  it('writes numbers that WGSL takes', () => {
    const numbers = [0.1, 1, -0, 1e-45, 16777216, Number.POSITIVE_INFINITY, 1e300];
    expect(numbers.map(wgslNumber)).toEqual([
      '0.1f',
      '1.0f',
      '-0.0f',
      '1e-45f',
      '16777216.0f',
      '0x1.fffffep+127f',
      '0x1.fffffep+127f',
    ]);
    expect(() => wgslNumber(Number.NaN)).toThrow(UsageError);
    fc.assert(
      fc.property(
        fc.float({ noNaN: true, noDefaultInfinity: true, max: Math.fround(3.4e38), min: Math.fround(-3.4e38) }),
        (v) => Number.parseFloat(wgslNumber(v)) === v || Math.fround(Number.parseFloat(wgslNumber(v))) === v,
      ),
    );
  });
});
