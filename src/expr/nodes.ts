/**
 * Scalar arithmetic as data: what a pointwise op computes per element.
 *
 * The one idea: an `Expr` is a plain immutable tree. It prints to JavaScript (f64, the reference), WebAssembly (f32x4)
 * and WGSL, and differentiates itself, so a pointwise op is one line everywhere. Values are numbers or truth values;
 * comparisons give truth values, `where` takes one.
 */

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
