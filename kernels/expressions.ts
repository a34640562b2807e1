/** Expressions as a WGSL function over one element of every operand: the heart of pointwise kernels and reductions. */
import type { DType } from '../src/core/dtype.ts';
import { liftConstants } from '../src/expr/liftConstants.ts';
import { type Expr, typeOf } from '../src/expr/nodes.ts';
import { printWgslLets } from '../src/expr/printWgsl.ts';
import type { Param } from './lower.ts';

export interface ExpressionCode {
  /**
   * `struct Results { r0: f32, … }` (truth values are bool) and `fn compute(x0: f32, …) -> Results`, whose parameter i is
   * operand i: f32, or bool where its dtype is.
   */
  readonly code: string;
  /** Numbers of the expressions, as parameters of the dispatch. */
  readonly params: Readonly<Record<string, Param>>;
}

export const isTruth = (e: Expr): boolean => typeOf(e) === 'bool';

export function expressionCode(exprs: readonly Expr[], dtypes: readonly DType[]): ExpressionCode {
  const lifted = liftConstants(exprs, dtypes.length);
  const operands = dtypes.map((_, i) => `x${i}`);
  const { lets, values } = printWgslLets(lifted.exprs, [...operands, ...lifted.values.map((_, i) => `p.k${i}`)]);
  const fields = exprs.map((e, i) => `r${i}: ${isTruth(e) ? 'bool' : 'f32'}`).join(', ');
  const args = operands.map((x, i) => `${x}: ${dtypes[i] === 'bool' ? 'bool' : 'f32'}`).join(', ');
  return {
    code: `struct Results { ${fields} }\nfn compute(${args}) -> Results {\n${lets}\nreturn Results(${values.join(', ')});\n}`,
    params: Object.fromEntries(lifted.values.map((v, i) => [`k${i}`, { f32: v }])),
  };
}

/** A loaded element as `compute` wants it. */
export const asArgument = (dtype: DType, text: string): string =>
  dtype === 'f32' ? text : dtype === 'bool' ? `(${text} != 0u)` : `f32(${text})`;
