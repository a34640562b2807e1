/** Random expressions for property tests. */
import fc from 'fast-check';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';

const constants = fc.constantFrom(-3, -1, -0.5, 0, 0.25, 1, 2, 7);

/**
 * Expressions of operations that f32 arithmetic defines to the bit, over `numbers` number operands followed by `bools`
 * truth values.
 */
export function exactExprs(numbers: number, bools = 0): fc.Arbitrary<Expr> {
  const { number } = fc.letrec<{ number: Expr; bool: Expr }>((tie) => ({
    number: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.nat(numbers - 1).map((i) => E.input(i)),
      constants.map(E.constant),
      fc
        .tuple(fc.constantFrom(E.neg, E.abs, E.sign, E.floor, E.ceil, E.round, E.sqrt), tie('number'))
        .map(([f, a]) => f(a)),
      fc
        .tuple(fc.constantFrom(E.add, E.sub, E.mul, E.div, E.min, E.max), tie('number'), tie('number'))
        .map(([f, a, b]) => f(a, b)),
      fc.tuple(tie('bool'), tie('number'), tie('number')).map(([c, a, b]) => E.where(c, a, b)),
      tie('bool').map(E.toNumber),
    ),
    bool: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      ...(bools ? [fc.nat(bools - 1).map((i) => E.input(numbers + i, true))] : []),
      fc
        .tuple(fc.constantFrom(E.lt, E.le, E.gt, E.ge, E.eq, E.ne), tie('number'), tie('number'))
        .map(([f, a, b]) => f(a, b)),
      fc.tuple(fc.constantFrom(E.and, E.or), tie('bool'), tie('bool')).map(([f, a, b]) => f(a, b)),
      tie('bool').map(E.not),
    ),
  }));
  return number;
}

/** Smooth expressions whose values stay moderate: any of them can be differentiated numerically. */
export function smoothExprs(numbers: number): fc.Arbitrary<Expr> {
  const { e } = fc.letrec<{ e: Expr }>((tie) => ({
    e: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.nat(numbers - 1).map((i) => E.input(i)),
      fc.constantFrom(-1.5, 0.5, 2).map(E.constant),
      fc
        .tuple(
          fc.constantFrom(
            E.neg,
            E.sin,
            E.cos,
            E.tanh,
            E.sigmoid,
            (a: Expr) => E.exp(E.tanh(a)),
            (a: Expr) => E.log(E.add(2, E.sin(a))),
            (a: Expr) => E.sqrt(E.add(1.5, E.cos(a))),
            (a: Expr) => E.acos(E.mul(0.7, E.sin(a))),
            (a: Expr) => E.pow(E.add(2, E.cos(a)), -1.5),
            (a: Expr) => E.pow(E.tanh(a), 3),
          ),
          tie('e'),
        )
        .map(([f, a]) => f(a)),
      fc
        .tuple(
          fc.constantFrom(
            E.add,
            E.sub,
            (a: Expr, b: Expr) => E.mul(E.tanh(a), b),
            (a: Expr, b: Expr) => E.div(a, E.add(2, E.sin(b))),
            (a: Expr, b: Expr) => E.pow(E.add(2, E.sin(a)), E.tanh(b)),
          ),
          tie('e'),
          tie('e'),
        )
        .map(([f, a, b]) => f(a, b)),
      fc.tuple(tie('e'), tie('e')).map(([a, b]) => E.where(E.gt(E.input(0), 0), a, b)),
    ),
  }));
  return e;
}

/** The same number, or both NaN. Zeros of either sign are the same. */
export const sameNumber = (a: number, b: number): boolean => a === b || (Number.isNaN(a) && Number.isNaN(b));
