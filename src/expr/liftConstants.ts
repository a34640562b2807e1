/**
 * Numbers of an expression as arguments of its kernel, so that kernels which differ by a constant alone (the 1/n of a
 * mean, a weight decay) are one kernel.
 */
import { childrenOf, type Expr, input, withChildren } from './nodes.ts';

/** Small numbers are part of the formula: they stay in the code. */
const stays = (v: number) => Number.isInteger(v) && Math.abs(v) <= 2;

/** The expressions with their constants as further operands, numbered from `operands` on; `values` are their numbers. */
export function liftConstants(exprs: readonly Expr[], operands: number): { exprs: Expr[]; values: number[] } {
  const values: number[] = [];
  const done = new Map<Expr, Expr>();
  const go = (e: Expr): Expr => {
    const known = done.get(e);
    if (known) return known;
    let y: Expr;
    if (e.kind === 'const' && !stays(e.value)) {
      let at = values.findIndex((v) => Object.is(v, e.value));
      if (at < 0) at = values.push(e.value) - 1;
      y = input(operands + at);
    } else if (e.kind === 'binary' && e.op === 'pow') {
      // A constant exponent chooses the code.
      y = withChildren(e, [go(e.a), e.b.kind === 'const' ? e.b : go(e.b)]);
    } else y = withChildren(e, childrenOf(e).map(go));
    done.set(e, y);
    return y;
  };
  return { exprs: exprs.map(go), values };
}
