/**
 * Rewrites that make an expression smaller and leave its value alone.
 *
 * The one idea: only rewrites that hold for every operand, infinities and NaN included, up to the sign of a zero. So
 * x * 0 stays (x may be infinite): a factor that is zero by structure is dropped where it arises, in `derivative`.
 * Nothing is reassociated: a fused and an unfused plan round alike.
 */
import { evaluateBinary, evaluateUnary } from './evaluate.ts';
import { constant, type Expr, isConst, keyOf, mapExpr, mul, neg, sub, typeOf } from './nodes.ts';

const same = (a: Expr, b: Expr): boolean => a === b || (a.kind === b.kind && keyOf(a) === keyOf(b));
const numberOf = (e: Expr): number | undefined => (e.kind === 'const' ? e.value : undefined);

function rewrite(e: Expr): Expr {
  if (e.kind === 'unary') {
    const a = e.a;
    if (a.kind === 'const' && typeOf(e) === 'number') return constant(evaluateUnary(e.op, a.value));
    if (a.kind === 'unary' && a.op === e.op) {
      // -(-x) and !!x; abs, floor and their like applied twice.
      if (e.op === 'neg' || e.op === 'not') return a.a;
      if (e.op === 'abs' || e.op === 'floor' || e.op === 'ceil' || e.op === 'round' || e.op === 'sign') return a;
    }
    if (e.op === 'neg' && a.kind === 'binary' && a.op === 'sub') return sub(a.b, a.a);
    if (e.op === 'abs' && a.kind === 'unary' && a.op === 'neg') return { ...e, a: a.a };
    return e;
  }
  if (e.kind === 'binary') {
    const { op, a, b } = e;
    const x = numberOf(a);
    const y = numberOf(b);
    if (x !== undefined && y !== undefined && typeOf(e) === 'number') return constant(evaluateBinary(op, x, y));
    switch (op) {
      case 'add':
        if (x === 0) return b;
        if (y === 0) return a;
        if (b.kind === 'unary' && b.op === 'neg') return rewrite(sub(a, b.a));
        if (a.kind === 'unary' && a.op === 'neg') return rewrite(sub(b, a.a));
        return e;
      case 'sub':
        if (y === 0) return a;
        if (x === 0) return rewrite(neg(b));
        if (b.kind === 'unary' && b.op === 'neg') return { ...e, op: 'add', b: b.a };
        return e;
      case 'mul':
        if (x === 1) return b;
        if (y === 1) return a;
        if (x === -1) return rewrite(neg(b));
        if (y === -1) return rewrite(neg(a));
        if (a.kind === 'unary' && a.op === 'neg' && b.kind === 'unary' && b.op === 'neg') return mul(a.a, b.a);
        return e;
      case 'div':
        if (y === 1) return a;
        if (y === -1) return rewrite(neg(a));
        return e;
      case 'pow':
        if (y === 0) return constant(1);
        if (y === 1) return a;
        if (y === 2) return mul(a, a);
        if (y === -1) return { ...e, op: 'div', a: constant(1), b: a };
        return e;
      case 'min':
      case 'max':
      case 'and':
      case 'or':
        return same(a, b) ? a : e;
      default:
        return e;
    }
  }
  if (e.kind === 'where') {
    if (same(e.a, e.b)) return e.a;
    const c = e.cond;
    if (c.kind === 'unary' && c.op === 'not') return rewrite({ ...e, cond: c.a, a: e.b, b: e.a });
    if (c.kind === 'binary' && isConst(c.a) && isConst(c.b)) {
      return evaluateBinary(c.op, numberOf(c.a)!, numberOf(c.b)!) ? e.a : e.b;
    }
    // where(c, where(c, a, b), d) and its mirror: the inner choice is made.
    if (e.a.kind === 'where' && same(e.a.cond, c)) return rewrite({ ...e, a: e.a.a });
    if (e.b.kind === 'where' && same(e.b.cond, c)) return rewrite({ ...e, b: e.b.b });
  }
  return e;
}

/**
 * An equal, smaller expression: constants folded (in f64), neutral elements dropped, double negations and choices that
 * are already made removed. Sharing of common subexpressions is the printers' part (`linearise`).
 */
export const simplify = (e: Expr): Expr => mapExpr(rewrite)(e);
