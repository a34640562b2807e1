/**
 * Scalar arithmetic as data: what a pointwise op computes per element.
 *
 * The one idea: an `Expr` is a plain immutable tree. It prints to JavaScript (f64, the reference), WebAssembly (f32x4)
 * and WGSL, and differentiates itself, so a pointwise op is one line everywhere. Values are numbers or truth values;
 * comparisons give truth values, `where` takes one.
 */
import { UsageError } from '../core/errors.ts';

export type UnaryOp =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'round'
  | 'sqrt'
  | 'exp'
  | 'log'
  | 'tanh'
  | 'sigmoid'
  | 'sin'
  | 'cos'
  | 'acos'
  | 'not'
  /** Truth value as 0 or 1. */
  | 'toNumber';
export type BinaryOp =
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'min'
  | 'max'
  | 'pow'
  | 'lt'
  | 'le'
  | 'gt'
  | 'ge'
  | 'eq'
  | 'ne'
  | 'and'
  | 'or';

export type Expr =
  | { readonly kind: 'const'; readonly value: number }
  /** Operand number `index` of the op. `bool` says that the operand is stored as a truth value. */
  | { readonly kind: 'input'; readonly index: number; readonly bool?: boolean }
  | { readonly kind: 'unary'; readonly op: UnaryOp; readonly a: Expr }
  | { readonly kind: 'binary'; readonly op: BinaryOp; readonly a: Expr; readonly b: Expr }
  | { readonly kind: 'where'; readonly cond: Expr; readonly a: Expr; readonly b: Expr };

export type ExprType = 'number' | 'bool';
/** Builders take a number where a constant is meant. */
export type ExprLike = Expr | number;

const isBoolUnary = (op: UnaryOp) => op === 'not';
const comparisons: ReadonlySet<BinaryOp> = new Set(['lt', 'le', 'gt', 'ge', 'eq', 'ne']);
export const isComparison = (op: BinaryOp): boolean => comparisons.has(op);
const isLogic = (op: BinaryOp) => op === 'and' || op === 'or';

/** What an expression's value is. `where` has the type of its branches. */
export function typeOf(e: Expr): ExprType {
  switch (e.kind) {
    case 'const':
      return 'number';
    case 'input':
      return e.bool ? 'bool' : 'number';
    case 'unary':
      return isBoolUnary(e.op) ? 'bool' : 'number';
    case 'binary':
      return isComparison(e.op) || isLogic(e.op) ? 'bool' : 'number';
    case 'where': {
      let x: Expr = e;
      while (x.kind === 'where') x = x.a;
      return typeOf(x);
    }
  }
}

const lift = (x: ExprLike): Expr => (typeof x === 'number' ? constant(x) : x);

function need(type: ExprType, op: string, x: Expr): Expr {
  if (typeOf(x) === type) return x;
  throw new UsageError(
    type === 'bool'
      ? `${op}: expected a truth value, got a number\nCompare first, for example ne(x, 0).`
      : `${op}: expected a number, got a truth value\nWrap it in toNumber(…), which gives 0 or 1.`,
  );
}

/** Operand number `index`. With `bool` the operand is a truth value (storage 0 or 1). */
export const input = (index: number, bool = false): Expr =>
  bool ? { kind: 'input', index, bool: true } : { kind: 'input', index };
/** A number baked into the code. What changes from step to step belongs in an input instead. */
export const constant = (value: number): Expr => ({ kind: 'const', value });

const unary =
  (op: UnaryOp) =>
  (x: ExprLike): Expr => ({ kind: 'unary', op, a: need('number', op, lift(x)) });
const binary =
  (op: BinaryOp) =>
  (x: ExprLike, y: ExprLike): Expr => ({
    kind: 'binary',
    op,
    a: need('number', op, lift(x)),
    b: need('number', op, lift(y)),
  });
const logic =
  (op: BinaryOp) =>
  (x: Expr, y: Expr): Expr => ({ kind: 'binary', op, a: need('bool', op, x), b: need('bool', op, y) });

export const neg = unary('neg');
export const abs = unary('abs');
/** -1, 0 or 1; NaN stays NaN. */
export const sign = unary('sign');
export const floor = unary('floor');
export const ceil = unary('ceil');
/** To the nearest integer, halves to the even one. */
export const round = unary('round');
export const sqrt = unary('sqrt');
export const exp = unary('exp');
export const log = unary('log');
export const tanh = unary('tanh');
/** 1 / (1 + e^-x) */
export const sigmoid = unary('sigmoid');
export const sin = unary('sin');
export const cos = unary('cos');
export const acos = unary('acos');
export const add = binary('add');
export const sub = binary('sub');
export const mul = binary('mul');
export const div = binary('div');
/** The smaller; NaN if either is. */
export const min = binary('min');
/** The larger; NaN if either is. */
export const max = binary('max');
/** x^y as `Math.pow`: pow(x, 0) = 1; a negative x wants an integer y. */
export const pow = binary('pow');
export const lt = binary('lt');
export const le = binary('le');
export const gt = binary('gt');
export const ge = binary('ge');
export const eq = binary('eq');
export const ne = binary('ne');
export const and = logic('and');
export const or = logic('or');
export const not = (x: Expr): Expr => ({ kind: 'unary', op: 'not', a: need('bool', 'not', x) });
/** A truth value as 0 or 1. */
export const toNumber = (x: Expr): Expr => ({ kind: 'unary', op: 'toNumber', a: need('bool', 'toNumber', x) });
/** cond ? a : b, where only the chosen branch counts: a NaN in the other does no harm. */
export function where(cond: Expr, a: ExprLike, b: ExprLike): Expr {
  const x = lift(a);
  const y = lift(b);
  return { kind: 'where', cond: need('bool', 'where', cond), a: x, b: need(typeOf(x), 'where', y) };
}

/** The operands of a node, in order. */
export const childrenOf = (e: Expr): readonly Expr[] =>
  e.kind === 'unary' ? [e.a] : e.kind === 'binary' ? [e.a, e.b] : e.kind === 'where' ? [e.cond, e.a, e.b] : [];

/** The same node over other operands. */
export function withChildren(e: Expr, c: readonly Expr[]): Expr {
  switch (e.kind) {
    case 'unary':
      return c[0] === e.a ? e : { ...e, a: c[0]! };
    case 'binary':
      return c[0] === e.a && c[1] === e.b ? e : { ...e, a: c[0]!, b: c[1]! };
    case 'where':
      return c[0] === e.cond && c[1] === e.a && c[2] === e.b ? e : { ...e, cond: c[0]!, a: c[1]!, b: c[2]! };
    default:
      return e;
  }
}

/** Rebuilds expressions from the leaves up; a node that several parents share is visited once. */
export function mapExpr(visit: (rebuilt: Expr) => Expr): (e: Expr) => Expr {
  const done = new Map<Expr, Expr>();
  const go = (e: Expr): Expr => {
    let y = done.get(e);
    if (!y) {
      y = visit(withChildren(e, childrenOf(e).map(go)));
      done.set(e, y);
    }
    return y;
  };
  return go;
}

/** One value of the straight-line form: a node whose operands are earlier values, by number. */
export interface Step {
  readonly node: Expr;
  readonly args: readonly number[];
  /** How often later steps and roots read it. */
  readonly uses: number;
}

/**
 * Expressions as straight-line code: every distinct subexpression once, operands first. All printers start from it, so
 * common subexpressions are shared whether or not the trees share nodes.
 */
export function linearise(exprs: readonly Expr[]): {
  readonly steps: readonly Step[];
  readonly roots: readonly number[];
} {
  const steps: { node: Expr; args: number[]; uses: number }[] = [];
  const byNode = new Map<Expr, number>();
  const byKey = new Map<string, number>();
  const go = (node: Expr): number => {
    const seen = byNode.get(node);
    if (seen !== undefined) return seen;
    const args = childrenOf(node).map(go);
    const key = `${headOf(node)} ${args.join(' ')}`;
    let at = byKey.get(key);
    if (at === undefined) {
      at = steps.push({ node, args, uses: 0 }) - 1;
      byKey.set(key, at);
      for (const i of args) steps[i]!.uses++;
    }
    byNode.set(node, at);
    return at;
  };
  const roots = exprs.map(go);
  for (const r of roots) steps[r]!.uses++;
  return { steps, roots };
}

function headOf(e: Expr): string {
  switch (e.kind) {
    case 'const':
      return Object.is(e.value, -0) ? '#-0' : `#${e.value}`;
    case 'input':
      return e.bool ? `b${e.index}` : `x${e.index}`;
    case 'where':
      return 'where';
    default:
      return e.op;
  }
}

/** Equal keys mean equal expressions (as trees). Its length grows with the distinct subexpressions only. */
export function keyOf(exprs: Expr | readonly Expr[]): string {
  const { steps, roots } = linearise('kind' in exprs ? [exprs] : exprs);
  const body = steps.map(({ node, args }) => [headOf(node), ...args.map((i) => `$${i}`)].join(' ')).join(';');
  return `${body}->${roots.join(',')}`;
}

export const isConst = (e: Expr, value?: number): boolean =>
  e.kind === 'const' && (value === undefined || Object.is(e.value, value));

/** The operand numbers an expression reads, in ascending order. */
export function inputsOf(exprs: Expr | readonly Expr[]): ReadonlySet<number> {
  const found: number[] = [];
  for (const { node } of linearise('kind' in exprs ? [exprs] : exprs).steps) {
    if (node.kind === 'input') found.push(node.index);
  }
  return new Set(found.sort((a, b) => a - b));
}

const transcendental: ReadonlySet<string> = new Set(['exp', 'log', 'tanh', 'sigmoid', 'sin', 'cos', 'acos', 'pow']);

/** Rough operation count: a shared subexpression once, transcendental functions 10, division and root 4, the rest 1. */
export function costOf(exprs: Expr | readonly Expr[]): number {
  let cost = 0;
  for (const { node } of linearise('kind' in exprs ? [exprs] : exprs).steps) {
    if (node.kind === 'where') cost += 1;
    else if (node.kind === 'unary' || node.kind === 'binary') {
      cost += transcendental.has(node.op) ? 10 : node.op === 'div' || node.op === 'sqrt' ? 4 : 1;
    }
  }
  return cost;
}

/** The expression with operand i replaced by `inputs[i]`: composes a producer into its consumer. */
export function substitute(e: Expr, inputs: readonly Expr[]): Expr {
  return mapExpr((x) => {
    if (x.kind !== 'input') return x;
    const by = inputs[x.index];
    if (!by) {
      throw new UsageError(
        `substitute: expression reads operand ${x.index}, but ${inputs.length} are given\nGive one expression per operand.`,
      );
    }
    return need(x.bool ? 'bool' : 'number', 'substitute', by);
  })(e);
}
