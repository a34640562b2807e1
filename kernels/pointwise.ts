/**
 * Arithmetic per element over broadcast operands: one dispatch evaluates any number of expressions in one pass.
 *
 * The one idea: an invocation makes four adjacent elements. An operand of the output's shape is loaded as one vector; of
 * the others the index follows from the element's coordinates over axes that all operands walk alike. All code is
 * generated; sizes and strides are parameters.
 */
import { mergeAxes } from '../src/core/axes.ts';
import type { DType } from '../src/core/dtype.ts';
import type { Expr } from '../src/expr/nodes.ts';
import { asArgument, expressionCode, isTruth } from './expressions.ts';
import { ceilDiv, elementsOf, type GpuEmitter, type Operand, type Param, single, type Value, wide } from './lower.ts';
import { coordinates } from './movement.ts';

export interface PointwiseSpec {
  /** One expression per output; operand i is `inputs[i]`. */
  readonly exprs: readonly Expr[];
  readonly inputs: readonly Value[];
  /** All of the same shape, to which every input broadcasts. May share memory with inputs of that shape. */
  readonly outputs: readonly Value[];
}

const workgroup = 64;
const lanes = ['x', 'y', 'z', 'w'] as const;

/** A result as it is stored: integers cut fractions off and saturate, NaN gives 0. */
function stored(text: string, truth: boolean, dtype: DType): string {
  if (truth) return dtype === 'f32' ? `select(0.0f, 1.0f, ${text})` : `select(0u, 1u, ${text})`;
  return dtype === 'f32' ? text : dtype === 'i32' ? `toInt(${text})` : `toByte(${text})`;
}
const toInt = `
fn isNan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
fn toInt(v: f32) -> i32 {
  let whole = select(i32(clamp(v, -2147483648.0f, 2147483520.0f)), 2147483647, v >= 2147483648.0f);
  return select(whole, 0, isNan(v));
}
fn toByte(v: f32) -> u32 { return select(u32(clamp(v, 0.0f, 255.0f)), 0u, isNan(v)); }`;
const vectorOf = (dtype: DType) => (dtype === 'f32' ? 'vec4<f32>' : dtype === 'i32' ? 'vec4<i32>' : 'vec4<u32>');

export function pointwiseWgsl(e: GpuEmitter, { exprs, inputs, outputs }: PointwiseSpec): void {
  const [first] = outputs as [Value];
  const n = elementsOf(first);
  const { dims, strides } = mergeAxes(
    first.shape,
    inputs.map((x) => x.shape),
  );
  const inner = dims.at(-1)!;
  const kinds = inputs.map((x, i) =>
    elementsOf(x) === n ? 'full' : strides[i]!.every((s) => s === 0) ? 'scalar' : 'partial',
  );
  const partial = kinds.includes('partial');
  /** All four elements have the same coordinates but for the last. */
  const aligned = inner % 4 === 0;
  const alongRow = (i: number) => strides[i]!.at(-1) === 1;
  const isVector = (i: number) => kinds[i] === 'full' || (kinds[i] === 'partial' && aligned && alongRow(i));

  const params: Record<string, Param> = { vectors: ceilDiv(n, 4) };
  const inputOperands: Record<string, Operand> = {};
  inputs.forEach((x, i) => {
    inputOperands[`x${i}`] = isVector(i) ? wide(x) : single(x);
  });
  const indexOf = (i: number) =>
    dims.flatMap((_, k) => (strides[i]![k] === 0 ? [] : [`c${k} * p.s${i}_${k}`])).join(' + ');
  if (partial)
    dims.forEach((d, k) => {
      params[`d${k}`] = d;
      strides.forEach((s, i) => {
        if (kinds[i] === 'partial' && s[k] !== 0) params[`s${i}_${k}`] = s[k]!;
      });
    });

  const load = (i: number, index: string) => `loadX${i}(${index})`;
  const before: string[] = [];
  inputs.forEach((_, i) => {
    if (kinds[i] === 'full') before.push(`let v${i} = ${load(i, 'i')};`);
    else if (kinds[i] === 'scalar') before.push(`let v${i} = ${load(i, '0u')};`);
    else if (aligned) before.push(`let v${i} = ${load(i, alongRow(i) ? `(${indexOf(i)}) >> 2u` : indexOf(i))};`);
  });
  const scattered = partial && !aligned;
  const byLane = lanes.map((lane, k) => {
    const args = inputs.map((x, i) => {
      const text = kinds[i] === 'partial' && !aligned ? load(i, `at.i${i}`) : isVector(i) ? `v${i}.${lane}` : `v${i}`;
      return asArgument(x.dtype, text);
    });
    const at = scattered ? `let at = places(min(4u * i + ${k}u, p.last));\n` : '';
    return `${at}r${lane} = compute(${args.join(', ')});`;
  });
  const { code, params: numbers } = expressionCode(
    exprs,
    inputs.map((x) => x.dtype),
  );
  const scatter = inputs.flatMap((_, i) => (kinds[i] === 'partial' ? [i] : []));
  if (scattered) params.last = n - 1;
  const places = scattered
    ? `struct Places { ${scatter.map((i) => `i${i}: u32`).join(', ')} }
fn places(element: u32) -> Places {
  ${coordinates(dims.length, 'element')}
  return Places(${scatter.map(indexOf).join(', ')});
}`
    : '';
  const stores = outputs.map((y, o) => {
    const values = lanes.map((lane) => stored(`r${lane}.r${o}`, isTruth(exprs[o]!), y.dtype));
    return `storeY${o}(i, ${vectorOf(y.dtype)}(${values.join(', ')}));`;
  });
  const main = `
@compute @workgroup_size(${workgroup}) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * ${workgroup}u + lane;
  if (i >= p.vectors) { return; }
  ${partial && aligned ? coordinates(dims.length, '4u * i') : ''}
  ${before.join('\n  ')}
  ${lanes.map((lane) => `var r${lane}: Results;`).join(' ')}
  ${byLane.map((text) => `{ ${text} }`).join('\n  ')}
  ${stores.join('\n  ')}
}`;
  e.dispatch({
    files: [],
    label: 'pointwise',
    groups: ceilDiv(params.vectors as number, workgroup),
    params: { ...params, ...numbers },
    inputs: inputOperands,
    outputs: Object.fromEntries(outputs.map((y, o) => [`y${o}`, wide(y)])),
    code: [code, outputs.some((y) => y.dtype === 'i32' || y.dtype === 'u8') ? toInt : '', places, main].join('\n'),
  });
}
