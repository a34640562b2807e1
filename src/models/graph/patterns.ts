/**
 * Expressions recognised as operators of a graph.
 *
 * The one idea: no formula is written twice. An operator's pattern is the expression that it makes itself when it is applied
 * to a placeholder, with numbers in place of its attributes that occur nowhere else.
 */
import type { Node, Tensor } from '../../core/tensor.ts';
import * as E from '../../expr/nodes.ts';
import { normalize } from '../../ops/batchNorm.ts';
import { type PointwiseAttrs, pointwiseOp, prelu } from '../../ops/pointwise.ts';
import { placeholder } from '../../plan/trace.ts';
import { operators } from './operators.ts';

/** Numbers that stand for an operator's attributes in its expression. */
const marks: Readonly<Record<string, number>> = {
  slope: 0.912_345_67,
  alpha: 0.823_456_78,
  beta: 0.734_567_89,
  gamma: 0.645_678_91,
  min: -0.556_789_12,
  max: 0.467_891_23,
};
const markNames = new Map(Object.entries(marks).map(([name, value]) => [value, name]));

const exprOf = (t: Tensor): E.Expr => (t.node.attrs as PointwiseAttrs).expr;
const probe = (name: string, shape: readonly number[] = [1]) => placeholder(name, { shape, dtype: 'f32' });

interface Template {
  readonly op: string;
  readonly expr: E.Expr;
}
/** Operators of one value by their expressions, the most particular first. */
export const templates: readonly Template[] = [
  'relu6',
  'hardSwish',
  'hardSigmoid',
  'relu',
  'leakyRelu',
  'elu',
  'selu',
  'softplus',
  'swish',
  'clamp',
  'square',
].map((op) => {
  const { apply, attrs } = operators.get(op)!;
  const marked = Object.fromEntries(Object.keys(attrs).map((key) => [key, marks[key]]));
  return { op, expr: exprOf(apply!([probe('x')], marked) as Tensor) };
});
export const preluExpr = exprOf(prelu(probe('x'), probe('slope')));
const normalised = normalize(
  probe('x', [1, 1]),
  probe('mean'),
  probe('variance'),
  probe('weight'),
  probe('bias'),
  marks.slope!,
);
export const normalizeExpr = exprOf(normalised);
export const scaleExpr = exprOf(normalised.node.inputs[2]!);
export const plainScaleExpr = exprOf(
  normalize(probe('x', [1, 1]), probe('mean'), probe('variance'), undefined, probe('bias'), marks.slope!).node
    .inputs[2]!,
);

interface Match {
  /** For each operand of the template the part of the expression that it is. */
  readonly operands: E.Expr[];
  readonly attrs: Record<string, number>;
}
/** The expression as the template with its operands and marked numbers replaced; undefined where it is none. */
export function match(template: E.Expr, expr: E.Expr, found: Match = { operands: [], attrs: {} }): Match | undefined {
  if (template.kind === 'input') {
    const before = found.operands[template.index];
    if (before && E.keyOf(before) !== E.keyOf(expr)) return undefined;
    found.operands[template.index] = expr;
    return found;
  }
  if (template.kind !== expr.kind) return undefined;
  if (template.kind === 'const') {
    const { value } = expr as typeof template;
    const mark = markNames.get(template.value);
    if (mark === undefined) return Object.is(template.value, value) ? found : undefined;
    if (mark in found.attrs && !Object.is(found.attrs[mark], value)) return undefined;
    found.attrs[mark] = value;
    return found;
  }
  if ('op' in template && template.op !== (expr as typeof template).op) return undefined;
  const parts = E.childrenOf(expr);
  return E.childrenOf(template).every((t, i) => match(t, parts[i]!, found)) ? found : undefined;
}
/** The operands of an expression that is a template over plain operands, in the template's order. */
export function operandsIn(
  template: E.Expr,
  node: Node,
): { tensors: Tensor[]; attrs: Record<string, number> } | undefined {
  if (node.op !== pointwiseOp || (node.attrs as PointwiseAttrs).shape) return undefined;
  const found = match(template, (node.attrs as PointwiseAttrs).expr);
  if (!found?.operands.every((e) => e.kind === 'input')) return undefined;
  return { tensors: found.operands.map((e) => node.inputs[(e as { index: number }).index]!), attrs: found.attrs };
}
