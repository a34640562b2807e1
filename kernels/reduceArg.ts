/**
 * argmax and argmin over the middle axis of [outer, red, inner].
 *
 * The one idea: a reduction (reduce.wgsl) whose sums are pairs of a key and an index. The key is an unsigned number in the
 * order of the values, made of their bits, so the larger key wins and of equal ones the lower index.
 */
import type { DType } from '../src/core/dtype.ts';
import { type GpuEmitter, single, type Value } from './lower.ts';
import { bitsOf } from './movement.ts';
import { spreadOf } from './reduce.ts';

export interface ArgReduceSpec {
  readonly op: 'max' | 'min';
  /** [outer, red, inner], the contiguous shape of the input; red ≥ 1. */
  readonly space: readonly [number, number, number];
  readonly input: Value;
  /** i32, outer · inner elements. */
  readonly output: Value;
}

/** Body of `fn keyOf(v: u32, r: u32) -> u32`: p.flip turns the order around. */
function keyCode(dtype: DType): string {
  if (dtype !== 'f32') return `return ${dtype === 'i32' ? '(v ^ 0x80000000u)' : 'v'} ^ p.flip;`;
  // A NaN is never better, and one in front is never beaten. -0 equals 0.
  return `if ((v & 0x7fffffffu) > 0x7f800000u) { return select(0u, 0xffffffffu, r == 0u); }
  return select(v | 0x80000000u, ~v, v > 0x80000000u) ^ p.flip;`;
}

export function argReduceWgsl(e: GpuEmitter, { op, space, input, output }: ArgReduceSpec): void {
  const [outer, red, inner] = space;
  const columns = outer * inner;
  const spread = spreadOf(space);
  const frame = `alias Sums = vec2<u32>;
fn start() -> Sums { return Sums(0u, 0xffffffffu); }
fn merge(a: Sums, b: Sums) -> Sums { return select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y)); }
`;
  const final = 'fn store(i: u32, best: Sums) { storeY(i, best.y); }';
  const planes = 'fn store(i: u32, best: Sums) { storeY(i, best.x); storeY(i + p.blocks * p.columns, best.y); }';
  const partial = spread.blocks > 1 ? e.temp(2 * spread.blocks * columns) : undefined;
  e.dispatch({
    files: ['reduce'],
    label: 'argReduce',
    groups: spread.groups * spread.blocks,
    consts: { COLUMNS: spread.columns, PARTS: spread.parts },
    params: {
      columns,
      inner,
      red,
      block: spread.block,
      blocks: spread.blocks,
      flip: op === 'max' ? 0 : 0xffffffff,
    },
    inputs: { x: input.dtype === 'f32' || input.dtype === 'i32' ? bitsOf(input, 1) : single(input) },
    outputs: { y: bitsOf(partial ?? output, 1) },
    code: `${frame}fn keyOf(v: u32, r: u32) -> u32 {
  ${keyCode(input.dtype)}
}
fn element(o: u32, r: u32, i: u32) -> Sums { return Sums(keyOf(loadX((o * p.red + r) * p.inner + i), r), r); }
${partial ? planes : final}`,
  });
  if (!partial) return;
  const second = spreadOf([1, spread.blocks, columns]);
  e.dispatch({
    files: ['reduce'],
    label: 'argReduce',
    groups: second.groups,
    consts: { COLUMNS: second.columns, PARTS: second.parts },
    params: { columns, inner: columns, red: spread.blocks, block: spread.blocks, blocks: 1 },
    inputs: { x: bitsOf(partial, 1) },
    outputs: { y: bitsOf(output, 1) },
    code: `${frame}fn element(o: u32, r: u32, i: u32) -> Sums {
  let at = r * p.columns + i;
  return Sums(loadX(at), loadX(at + p.red * p.columns));
}
${final}`,
  });
}
