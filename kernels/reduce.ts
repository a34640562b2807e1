/**
 * Reductions over the middle axis of [outer, red, inner], of expressions that are computed on the way.
 *
 * The one idea: two levels. The reduced axis is cut into blocks so that many workgroups are busy; a second dispatch of the
 * same kernel reduces their partial results. Blocks depend on the shape alone; where the adapter has subgroups, the order
 * inside a row's workgroup depends on their size, which an adapter does not change from run to run.
 */
import type { Expr } from '../src/expr/nodes.ts';
import { asArgument, expressionCode, isTruth } from './expressions.ts';
import { ceilDiv, type GpuEmitter, type Param, powerUpTo, single, type Value } from './lower.ts';

export type ReduceOp = 'sum' | 'mean' | 'max' | 'min';

export interface ReduceSpec {
  /** [outer, red, inner]; red is reduced. */
  readonly space: readonly [number, number, number];
  /** What is reduced, and how. Operand i of the expressions is `inputs[i].value`. All share one pass. */
  readonly reductions: readonly { readonly op: ReduceOp; readonly expr: Expr }[];
  /** With element strides along outer, red and inner; 0 where the operand is broadcast. */
  readonly inputs: readonly { readonly value: Value; readonly strides: readonly [number, number, number] }[];
  /** One per reduction: f32, outer · inner elements. */
  readonly outputs: readonly Value[];
}

/** Invocations of a workgroup at most. */
const workgroup = 256;
/** Workgroups that keep a GPU busy, and those that a reduction is cut into where it is long. */
const busy = 256;
const many = 512;
/** Elements that an invocation walks at least before another block is opened. */
const leastWalk = 8;

/**
 * How a reduction is spread: results per workgroup, invocations per result, blocks of the reduced axis.
 * @param leastColumns adjacent results that are worth loading together: 64 bytes
 */
export function spreadOf([outer, red, inner]: readonly [number, number, number], leastColumns = 16) {
  // Adjacent invocations read adjacent memory: along the results where they lie so, else along the reduced axis.
  let parts = inner > 1 ? workgroup / powerUpTo(inner, 64) : powerUpTo(red, workgroup);
  let columns = workgroup / parts;
  const groups = () => ceilDiv(outer * inner, columns);
  const most = () => ceilDiv(red, parts * leastWalk);
  // Small ones take small workgroups rather than few.
  while (inner > 1 && groups() * most() < busy && columns > leastColumns) columns /= 2;
  while (inner > 1 && groups() * most() < busy && parts > 4) parts /= 2;
  const block = ceilDiv(red, Math.max(1, Math.min(most(), ceilDiv(many, groups()))));
  return { parts, columns, groups: groups(), block, blocks: Math.max(1, ceilDiv(red, block)) };
}

const starts = { sum: '0.0f', mean: '0.0f', max: '-0x1.fffffep+127f', min: '0x1.fffffep+127f' };
const plus = (a: string, b: string) => `${a} + ${b}`;
const merges = {
  sum: plus,
  mean: plus,
  max: (a: string, b: string) => `max(${a}, ${b})`,
  min: (a: string, b: string) => `min(${a}, ${b})`,
};

const acrosses = { sum: 'subgroupAdd', mean: 'subgroupAdd', max: 'subgroupMax', min: 'subgroupMin' };

/** One dispatch: `element` gives the operands of a place, `store` keeps the results of index `i`. */
function reduceOnce(
  e: GpuEmitter,
  ops: readonly ReduceOp[],
  space: ReduceSpec['space'],
  spread: ReturnType<typeof spreadOf>,
  rest: {
    readonly inputs: readonly Value[];
    readonly outputs: readonly Value[];
    readonly params: Readonly<Record<string, Param>>;
    readonly element: string;
    readonly store: string;
  },
): void {
  const [outer, red, inner] = space;
  const each = (text: (op: ReduceOp, i: number) => string) => ops.map(text).join(', ');
  const subgroups = e.limits.subgroups && spread.columns === 1 && inner === 1;
  e.dispatch({
    files: [subgroups ? 'reduceSubgroups' : 'reduce'],
    groups: spread.groups * spread.blocks,
    consts: { COLUMNS: spread.columns, PARTS: spread.parts },
    params: { columns: outer * inner, inner, red, block: spread.block, blocks: spread.blocks, ...rest.params },
    inputs: Object.fromEntries(rest.inputs.map((x, i) => [`x${i}`, single(x)])),
    outputs: Object.fromEntries(rest.outputs.map((y, i) => [`y${i}`, single(y)])),
    code: `struct Sums { ${each((_, i) => `s${i}: f32`)} }
fn start() -> Sums { return Sums(${each((op) => starts[op])}); }
${subgroups ? `fn across(s: Sums) -> Sums { return Sums(${each((op, i) => `${acrosses[op]}(s.s${i})`)}); }` : ''}
fn merge(a: Sums, b: Sums) -> Sums { return Sums(${each((op, i) => merges[op](`a.s${i}`, `b.s${i}`))}); }
${rest.element}
${rest.store}`,
  });
}

export function reduceWgsl(e: GpuEmitter, { space, reductions, inputs, outputs }: ReduceSpec): void {
  const [outer, red, inner] = space;
  const ops = reductions.map((r) => r.op);
  const results = outer * inner;
  const spread = spreadOf(space);
  const whole = spread.blocks === 1;
  const { code, params } = expressionCode(
    reductions.map((r) => r.expr),
    inputs.map((x) => x.value.dtype),
  );
  const strides: Record<string, Param> = {};
  const args = inputs.map(({ value, strides: s }, i) => {
    const terms = ['o', 'r', 'i'].flatMap((name, k) => {
      if (s[k] === 0) return [];
      if (s[k] === 1) return [name];
      strides[`s${i}${name}`] = s[k]!;
      return [`${name} * p.s${i}${name}`];
    });
    return asArgument(value.dtype, `loadX${i}(${terms.join(' + ') || '0u'})`);
  });
  const final = (ops_: readonly ReduceOp[]) =>
    `fn store(i: u32, sums: Sums) {\n${ops_
      .map((op, k) => `  storeY${k}(i, sums.s${k}${op === 'mean' ? ' / p.count' : ''});`)
      .join('\n')}\n}`;
  const count: Record<string, Param> = ops.includes('mean') ? { count: { f32: red } } : {};
  const partial = whole ? undefined : e.temp(spread.blocks * results * ops.length);
  reduceOnce(e, ops, space, spread, {
    inputs: inputs.map((x) => x.value),
    outputs: partial ? [partial] : outputs,
    params: { ...strides, ...params, ...(whole ? count : {}) },
    element: `${code}
fn element(o: u32, r: u32, i: u32) -> Sums {
  let y = compute(${args.join(', ')});
  return Sums(${reductions.map((r, i) => (isTruth(r.expr) ? `select(0.0f, 1.0f, y.r${i})` : `y.r${i}`)).join(', ')});
}`,
    store: partial
      ? `fn store(i: u32, sums: Sums) {\n${ops.map((_, k) => `  storeY0(i + ${k}u * p.blocks * p.columns, sums.s${k});`).join('\n')}\n}`
      : final(ops),
  });
  if (!partial) return;
  // Second level: [blocks, results] for each reduction.
  const second: ReduceSpec['space'] = [1, spread.blocks, results];
  const parts = powerUpTo(spread.blocks, 16);
  const columns = Math.max(1, workgroup / 4 / parts);
  reduceOnce(
    e,
    ops,
    second,
    { parts, columns, groups: ceilDiv(results, columns), block: spread.blocks, blocks: 1 },
    {
      inputs: [partial],
      outputs,
      params: count,
      element: `fn element(o: u32, r: u32, i: u32) -> Sums {
  let at = r * p.columns + i;
  return Sums(${ops.map((_, k) => `loadX0(at + ${k}u * p.red * p.columns)`).join(', ')});
}`,
      store: final(ops),
    },
  );
}
