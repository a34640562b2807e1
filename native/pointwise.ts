/**
 * Arithmetic per element over broadcast operands: one kernel evaluates any number of expressions in one pass.
 *
 * The one idea: axes that all operands walk alike are merged, so a broadcast pattern becomes rows of an inner axis along
 * which an operand is either contiguous or one value, plus strides for the outer axes. Everything that depends on sizes is
 * an argument; the code depends on the expressions, dtypes and access kinds. A few channels per row (an RGB image
 * minus its means) would leave the vectors empty: such channel operands are repeated into a long row first.
 */
import { mergeAxes } from '../src/core/axes.ts';
import type { DType } from '../src/core/dtype.ts';
import { liftConstants } from '../src/expr/liftConstants.ts';
import { type Expr, keyOf } from '../src/expr/nodes.ts';
import { prepareExprs } from '../src/expr/printWasm.ts';
import { constantArgs, constantPacks, constantValues } from './constants.ts';
import { byteShift, loadElements, storeElements } from './elements.ts';
import { type ArgType, defineKernel, type Kernel } from './kernel.ts';
import type { Buffer, Emitter, Value } from './lower.ts';
import type { Pack } from './math.ts';
import { type Fn, type I32, i32, type Local } from './wasm.ts';

export interface PointwiseSpec {
  /** One expression per output; operand i is `inputs[i]`. */
  readonly exprs: readonly Expr[];
  readonly inputs: readonly Value[];
  /** All of the same shape, to which every input broadcasts by NumPy's rule. May share memory with inputs of that shape. */
  readonly outputs: readonly Value[];
}

/** Elements of a chunk, about. */
const blockElements = 16384;
/** Rows shorter than this are grouped where that is possible. */
const shortRow = 64;

/** How an operand is read along the inner axis: in order, one value per row, or from a row repeated in scratch. */
type Access = 'along' | 'same' | 'tiled';

interface Layout {
  readonly exprs: readonly Expr[];
  readonly inputs: readonly { readonly dtype: DType; readonly access: Access }[];
  readonly outputs: readonly DType[];
  /** Number of outer axes. */
  readonly outer: number;
  /** Number of lifted constants: operands after the inputs. */
  readonly constants: number;
}

/** Longest repeated row in elements: fewer than shortRow channels, times 8. */
const tileElements = 8 * shortRow;

function pointwiseKernel({ exprs, inputs, outputs, outer, constants }: Layout): Kernel {
  const kinds = inputs.map((x) => `${x.dtype}${x.access[0]}`).join(',');
  const tiles = inputs.filter((x) => x.access === 'tiled').length;
  const names: Record<string, ArgType> = {};
  for (const i of inputs.keys()) names[`x${i}`] = 'i32';
  for (const i of outputs.keys()) names[`y${i}`] = 'i32';
  // A chunk is `rows` rows, or a block of `block` elements of one row where a row has several `blocks`.
  for (const n of ['inner', 'total', 'rows', 'allRows', 'blocks', 'block', 'period']) names[n] = 'i32';
  for (let d = 1; d < outer; d++) names[`dim${d}`] = 'i32';
  for (const i of inputs.keys()) for (let d = 0; d < outer; d++) names[`s${i}_${d}`] = 'i32';
  Object.assign(names, constantArgs(constants));
  return defineKernel({
    key: `pointwise_${outer}_${kinds}_${outputs.join(',')}_${keyOf(exprs)}`,
    args: names,
    scratchBytes: tiles * tileElements * 4,
    chunk(f, args, chunk, scratch) {
      const arg = (name: string) => args[name] as unknown as Local<I32>;
      const run = prepareExprs(f, exprs);
      const numbers = constantPacks(f, args, constants);
      const row0 = f.let(chunk.divU(arg('blocks')).mul(arg('rows')));
      const col0 = f.let(chunk.remU(arg('blocks')).mul(arg('block')));
      const end = f.let(row0.add(arg('rows')).minS(arg('allRows')));
      const base = inputs.map((_, i) => arg(`x${i}`));
      let slot = 0;
      inputs.forEach(({ dtype, access }, i) => {
        if (access !== 'tiled') return;
        const at = f.let(scratch.add(4 * tileElements * slot++));
        repeatRow(f, at, base[i]!, arg('period').shl(byteShift(dtype)), arg('inner').shl(byteShift(dtype)));
        base[i] = at;
      });
      f.for(row0, end, 1, (row) => {
        const start = f.let(row.mul(arg('inner')).add(col0));
        const count = f.let(arg('inner').sub(col0));
        f.set(count, count.minS(arg('block')));
        const left = f.let(arg('total').sub(start));
        f.set(count, count.minS(left));
        const offsets = outerOffsets(f, row, inputs.length, outer, arg);
        const from = inputs.map(({ dtype, access }, i) => {
          const along = access === 'same' ? offsets[i]! : offsets[i]!.add(col0);
          return f.let(base[i]!.add(along.shl(byteShift(dtype))));
        });
        const to = outputs.map((dtype, i) => f.let(arg(`y${i}`).add(start.shl(byteShift(dtype)))));
        const fixed = inputs.map(({ dtype, access }, i) =>
          access === 'same' ? loadElements(f, dtype, from[i]!, 1) : undefined,
        );
        const emit = (i: Local<I32>, width: 8 | 1) => {
          const place = (p: I32, dtype: DType) => f.let(p.add(i.shl(byteShift(dtype))));
          const packs = inputs.map(({ dtype }, k): Pack => {
            const one = fixed[k]?.[0];
            if (one) return width === 8 ? [one, one] : [one];
            return loadElements(f, dtype, place(from[k]!, dtype), width);
          });
          run([...packs, ...numbers(width === 8 ? 2 : 1)], width === 8 ? 2 : 1).forEach((pack, k) => {
            storeElements(f, outputs[k]!, place(to[k]!, outputs[k]!), pack, width);
          });
        };
        const body = f.let(count.and(-8));
        f.for(0, body, 8, (i) => emit(i, 8));
        f.for(body, count, 1, (i) => emit(i, 1));
      });
    },
  });
}

/** Fills `bytes` at `to` with copies of the `period` bytes at `from`, doubling what is there. */
function repeatRow(f: Fn, to: I32, from: I32, period: I32, bytes: I32) {
  const have = f.let(period);
  f.copy(to, from, have);
  f.while(have.ltS(bytes), () => {
    const rest = f.let(bytes.sub(have));
    const n = f.let(have.minS(rest));
    f.copy(to.add(have), to, n);
    f.set(have, have.add(n));
  });
}

/** Element offset of every operand at a row: its index along each outer axis times the stride there. */
function outerOffsets(
  f: Fn,
  row: Local<I32>,
  operands: number,
  outer: number,
  arg: (name: string) => Local<I32>,
): I32[] {
  if (outer === 0) return Array.from({ length: operands }, () => i32(0));
  const index: I32[] = [];
  let rest: Local<I32> = row;
  for (let d = outer - 1; d > 0; d--) {
    index[d] = f.let(rest.remU(arg(`dim${d}`)));
    rest = f.let(rest.divU(arg(`dim${d}`)));
  }
  index[0] = rest;
  return Array.from({ length: operands }, (_, i) =>
    index.map((at, d) => at.mul(arg(`s${i}_${d}`))).reduce((a, b) => a.add(b)),
  );
}

/**
 * Evaluates one expression per output over broadcast inputs: `outputs[k] = exprs[k](inputs…)`.
 *
 * i32 inputs become f32 (exact to 2^24); u8 too; bool inputs must be read as truth values (`input(i, true)`). Stores: f32;
 * i32 and u8 toward zero, saturating, NaN as 0; bool from a truth value.
 */
export function pointwiseWasm(e: Emitter, { exprs, inputs, outputs }: PointwiseSpec): void {
  const shape = outputs[0]!.shape;
  const total = shape.reduce((a, b) => a * b, 1);
  if (total === 0) return;
  const { dims, strides } = mergeAxes(
    shape,
    [...inputs, ...outputs].map((v) => v.shape),
  );
  const outer = dims.length - 1;
  let inner = dims[outer]!;
  let access = inputs.map((_, i): Access => (strides[i]![outer] ? 'along' : 'same'));
  let allRows = total / inner;
  let outerStrides = strides.slice(0, inputs.length).map((s) => s.slice(0, outer));
  const period = inner;
  const channel = inputs.map((_, i) => access[i] === 'along' && strides[i]![0] === 0);
  const rowWise = inputs.some((_, i) => access[i] === 'same' && strides[i]![0] !== 0);
  if (outer === 1 && inner < shortRow && !rowWise) {
    // Group rows: a multiple of 8 elements, and long enough that the loop pays.
    const multiple = inner % 8 === 0 ? 1 : inner % 4 === 0 ? 2 : inner % 2 === 0 ? 4 : 8;
    const group = Math.ceil(256 / inner / multiple) * multiple;
    inner *= group;
    allRows = Math.ceil(total / inner);
    access = access.map((a, i) => (channel[i] ? 'tiled' : a));
    outerStrides = access.map((a) => [a === 'along' ? inner : 0]);
  }
  const blocks = Math.ceil(inner / blockElements);
  const rows = blocks > 1 ? 1 : Math.max(1, Math.floor(blockElements / inner));
  const lifted = liftConstants(exprs, inputs.length);
  const kernel = pointwiseKernel({
    exprs: lifted.exprs,
    constants: lifted.values.length,
    inputs: inputs.map((x, i) => ({ dtype: x.dtype, access: access[i]! })),
    outputs: outputs.map((y) => y.dtype),
    outer,
  });
  const args: Record<string, number | Buffer> = {};
  inputs.forEach((x, i) => {
    args[`x${i}`] = x.buffer;
  });
  outputs.forEach((y, i) => {
    args[`y${i}`] = y.buffer;
  });
  Object.assign(args, constantValues(lifted.values), {
    inner,
    total,
    rows,
    allRows,
    blocks,
    block: blocks > 1 ? blockElements : inner,
    period,
  });
  for (let d = 1; d < outer; d++) args[`dim${d}`] = dims[d]!;
  outerStrides.forEach((s, i) => {
    s.forEach((n, d) => {
      args[`s${i}_${d}`] = n;
    });
  });
  e.call(kernel, args as Record<string, number>, Math.ceil(allRows / rows) * blocks);
}
