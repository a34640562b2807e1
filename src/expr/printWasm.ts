/**
 * Expressions as f32x4 code.
 *
 * The one idea: the straight-line form is emitted over packs of vectors, operation by operation, so that a pair of
 * vectors becomes one 256-bit operation in wide mode. A multiply and an add are never contracted: fused and unfused
 * plans, narrow and wide, relaxed and strict agree (only the polynomials in native/math.ts use fused multiply-add).
 * Truth values are lane masks.
 */
import { acos, cos, exp, hoisted, log, type Pack, pow, sigmoid, sin, tanh, Vec } from '../../native/math.ts';
import type { Fn, V128 } from '../../native/wasm.ts';
import { UsageError } from '../core/errors.ts';
import { type BinaryOp, type Expr, inputsOf, linearise } from './nodes.ts';

type Simple = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'lt' | 'le' | 'gt' | 'ge' | 'eq' | 'ne' | 'and' | 'or';

const functions = { exp, log, tanh, sigmoid, sin, cos, acos };

function emitUnary(v: Vec, op: Expr & { kind: 'unary' }, x: Pack): Pack {
  switch (op.op) {
    case 'exp':
    case 'log':
    case 'tanh':
    case 'sigmoid':
    case 'sin':
    case 'cos':
    case 'acos':
      return functions[op.op](v, x);
    case 'neg':
      return v.map((a) => a.neg(), x);
    case 'abs':
      return v.map((a) => a.abs(), x);
    case 'floor':
      return v.map((a) => a.floor(), x);
    case 'ceil':
      return v.map((a) => a.ceil(), x);
    case 'round':
      return v.map((a) => a.nearest(), x);
    case 'sqrt':
      return v.map((a) => a.sqrt(), x);
    case 'not':
      return v.map((a) => a.not(), x);
    case 'toNumber':
      return v.map((a) => a.and(v.c(1)), x);
    case 'sign': {
      // ±1 with the sign of x where x is not 0; 0 and NaN are their own sign.
      const one = v.map((a) => a.and(v.c(-0)).or(v.c(1)), x);
      return v.map((a, s) => s.select(a, a.abs().gt(v.c(0))), x, one);
    }
  }
}

/** x^n by squaring, for a small integer n > 0. */
function powerOf(v: Vec, x: Pack, n: number): Pack {
  let square = x;
  let y: Pack | undefined;
  for (let k = n; ; k >>= 1) {
    if (k & 1) {
      const s = square;
      y = y ? v.map((a, b) => a.mul(b), y, s) : s;
    }
    if (k <= 1) return y!;
    square = v.map((a) => a.mul(a), square);
  }
}

function emitPow(v: Vec, x: Pack, y: Pack, exponent: Expr): Pack {
  if (exponent.kind === 'const') {
    const n = exponent.value;
    if (Number.isInteger(n) && Math.abs(n) <= 8 && n !== 0) {
      const p = powerOf(v, x, Math.abs(n));
      return n > 0 ? p : v.map((a) => v.c(1).div(a), p);
    }
    if (n === 0.5) return v.map((a) => a.sqrt(), x);
    if (n === -0.5) return v.map((a) => v.c(1).div(a.sqrt()), x);
  }
  return pow(v, x, y);
}

function emitBinary(v: Vec, op: BinaryOp, x: Pack, y: Pack): Pack {
  return v.map((a, b) => a[op as Simple](b), x, y);
}

/** Emits expressions over one pack of vectors per operand; a common subexpression once. */
export function emitPacks(
  v: Vec,
  exprs: readonly Expr[],
  inputs: readonly (Pack | undefined)[],
  width = inputs.find((x) => x)?.length ?? 1,
): Pack[] {
  const { steps, roots } = linearise(exprs);
  const values: Pack[] = [];
  for (const { node, args } of steps) {
    const [a, b, c] = args.map((i) => values[i]!) as [Pack, Pack, Pack];
    switch (node.kind) {
      case 'const': {
        const k = v.c(node.value);
        values.push(Array.from({ length: width }, () => k));
        break;
      }
      case 'input': {
        const x = inputs[node.index];
        if (!x) {
          throw new UsageError(
            `emitExpr: expression reads operand ${node.index}, but ${inputs.length} are given\nGive one vector per operand.`,
          );
        }
        values.push(x);
        break;
      }
      case 'unary':
        values.push(emitUnary(v, node, a));
        break;
      case 'binary':
        values.push(node.op === 'pow' ? emitPow(v, a, b, node.b) : emitBinary(v, node.op, a, b));
        break;
      case 'where':
        values.push(v.map((m, p, q) => p.select(q, m), a, b, c));
    }
  }
  return roots.map((r) => values[r]!);
}

/**
 * Expressions made ready for a loop: call it before the loop (it puts the constants into locals of `f`), then call the
 * result inside, with one pack (1, 2, … vectors) per operand. Operands should be locals, for they may be read often.
 * `width` is the vectors per pack, needed where no expression reads an operand.
 */
export function prepareExprs(
  f: Fn,
  exprs: readonly Expr[],
): (inputs: readonly (Pack | undefined)[], width?: number) => Pack[] {
  const v = hoisted(f, (dry) => {
    const x = [dry.f.local('v128')];
    const count = Math.max(-1, ...inputsOf(exprs)) + 1;
    emitPacks(
      dry,
      exprs,
      Array.from({ length: count }, () => x),
    );
  });
  return (inputs, width) => emitPacks(v, exprs, inputs, width);
}

/** One expression over one vector per operand (locals); truth values are lane masks. Constants are written in place. */
export function emitExpr(f: Fn, expr: Expr, inputs: readonly V128[]): V128 {
  const packs = inputs.map((x) => [x]);
  return emitPacks(new Vec(f), [expr], packs)[0]![0]!;
}

/** One expression over a pair of adjacent vectors per operand, interleaved so that wide mode fuses the pairs. */
export function emitExprPair(f: Fn, expr: Expr, inputs: readonly (readonly [V128, V128])[]): [V128, V128] {
  const [lo, hi] = emitPacks(new Vec(f), [expr], inputs, 2)[0]!;
  return [lo!, hi!];
}
