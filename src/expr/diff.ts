/**
 * Derivatives of expressions.
 *
 * The one idea: a derivative that is zero by structure is the constant 0, and products with it are never built; where a
 * gradient depends on a condition it selects (`where`), it is never multiplied by a mask, since 0 * Infinity is NaN.
 *
 * Conventions at the corners: abs has derivative 0 at 0; on ties min and max pass the gradient to the first operand (so
 * a clamp passes it at its bounds); floor, ceil, round, sign, comparisons and truth values have derivative 0.
 */
import {
  add,
  constant,
  cos,
  div,
  type Expr,
  eq,
  ge,
  gt,
  isConst,
  le,
  log,
  lt,
  mul,
  neg,
  pow,
  sin,
  sqrt,
  sub,
  typeOf,
  where,
} from './nodes.ts';
import { simplify } from './simplify.ts';

const zero = constant(0);
const isZero = (e: Expr) => isConst(e, 0);
/** scale * d, where a structural zero d wins over whatever scale is. */
const chain = (d: Expr, scale: () => Expr): Expr => (isZero(d) ? zero : isConst(d, 1) ? scale() : mul(d, scale()));
const plus = (a: Expr, b: Expr): Expr => (isZero(a) ? b : isZero(b) ? a : add(a, b));
const choose = (cond: Expr, a: Expr, b: Expr): Expr => (isZero(a) && isZero(b) ? zero : where(cond, a, b));
const minus = (a: Expr): Expr => (isZero(a) ? a : neg(a));

/** d expr / d operand `inputIndex`, simplified. It reads the same operands as the expression. */
export function derivative(expr: Expr, inputIndex: number): Expr {
  const done = new Map<Expr, Expr>();
  const d = (e: Expr): Expr => {
    let y = done.get(e);
    if (!y) {
      y = rule(e);
      done.set(e, y);
    }
    return y;
  };
  const rule = (e: Expr): Expr => {
    switch (e.kind) {
      case 'const':
        return zero;
      case 'input':
        return e.index === inputIndex && !e.bool ? constant(1) : zero;
      case 'where':
        return typeOf(e) === 'bool' ? zero : choose(e.cond, d(e.a), d(e.b));
      case 'unary':
        return unaryRule(e);
      case 'binary':
        return binaryRule(e);
    }
  };
  const unaryRule = (e: Expr & { kind: 'unary' }): Expr => {
    const { op, a } = e;
    switch (op) {
      case 'neg':
        return minus(d(a));
      case 'abs': {
        const da = d(a);
        return isZero(da) ? zero : where(gt(a, 0), da, where(lt(a, 0), neg(da), 0));
      }
      case 'sqrt':
        return chain(d(a), () => div(0.5, e));
      case 'exp':
        return chain(d(a), () => e);
      case 'log':
        return isZero(d(a)) ? zero : div(d(a), a);
      case 'tanh':
        return chain(d(a), () => sub(1, mul(e, e)));
      case 'sigmoid':
        return chain(d(a), () => mul(e, sub(1, e)));
      case 'sin':
        return chain(d(a), () => cos(a));
      case 'cos':
        return chain(d(a), () => neg(sin(a)));
      case 'acos':
        // (1 - a)(1 + a) keeps its digits near 1, where 1 - a·a loses them.
        return chain(d(a), () => div(-1, sqrt(mul(sub(1, a), add(1, a)))));
      default:
        return zero;
    }
  };
  const binaryRule = (e: Expr & { kind: 'binary' }): Expr => {
    const { op, a, b } = e;
    switch (op) {
      case 'add':
        return plus(d(a), d(b));
      case 'sub':
        return isZero(d(b)) ? d(a) : isZero(d(a)) ? neg(d(b)) : sub(d(a), d(b));
      case 'mul':
        return plus(
          chain(d(a), () => b),
          chain(d(b), () => a),
        );
      case 'div': {
        const da = d(a);
        const db = d(b);
        if (isZero(db)) return isZero(da) ? zero : div(da, b);
        const pull = chain(db, () => e);
        return div(isZero(da) ? neg(pull) : sub(da, pull), b);
      }
      case 'max':
        return choose(ge(a, b), d(a), d(b));
      case 'min':
        return choose(le(a, b), d(a), d(b));
      case 'pow': {
        const byBase = chain(d(a), () => {
          if (b.kind === 'const') return mul(b, pow(a, b.value - 1));
          return where(eq(b, 0), 0, mul(b, pow(a, sub(b, 1))));
        });
        // x^y·log x goes to 0 with x for y > 0, but 0 · -Infinity is not 0.
        const byExponent = chain(d(b), () => where(eq(a, 0), 0, mul(e, log(a))));
        return plus(byBase, byExponent);
      }
      default:
        return zero;
    }
  };
  return simplify(d(simplify(expr)));
}
