/**
 * The k largest of each row, in descending order; of equal values the lower index comes first, NaN counts as largest.
 *
 * The one idea: an entry's place is the number of entries before it, which every entry counts for itself. To count within
 * a few hundred entries only, a row is cut into blocks, whose first k are the entries of the next round.
 */
import { ceilDiv, elementsOf, type GpuEmitter, type GpuLowering, type Operand, type Value } from './lower.ts';
import { bitsOf } from './movement.ts';

/** Entries of a block, for a moderate k. A round leaves k of each. */
const blockSize = 256;

interface Round {
  readonly x: Value;
  /** Of a row. */
  readonly count: number;
  /** Their indices in the row; absent: all of it. */
  readonly entries?: Value | undefined;
  readonly block: number;
  readonly k: number;
  /** Entries of a row that stay. */
  readonly left: number;
  readonly outputs: Readonly<Record<string, Operand>>;
  /** Stores the entry of a place. */
  readonly keep: string;
}
function round(e: GpuEmitter, { x, count, entries, block, k, left, outputs, keep }: Round): void {
  const n = x.shape.at(-1)!;
  const lanes = Math.min(256, Math.max(32, 2 ** Math.ceil(Math.log2(block))));
  const blocks = ceilDiv(count, block);
  const tiles = ceilDiv(block, lanes);
  e.dispatch({
    files: ['topK'],
    groups: (elementsOf(x) / n) * blocks * tiles,
    consts: { LANES: lanes, ALL: !entries },
    params: { n, entries: count, block, blocks, tiles, k, left },
    inputs: { x: bitsOf(x, 1), ...(entries && { entries: bitsOf(entries, 1) }) },
    outputs,
    code: `${entries ? '' : 'fn loadEntries(at: u32) -> u32 { return at; }\n'}fn keep(row: u32, at: u32, index: u32) { ${keep} }`,
  });
}

/** f32 [..., n] → the k ≤ n largest of each row, f32 [..., k], and their indices, i32 [..., k]. */
export const topKWgsl: GpuLowering<{ readonly k: number }> = (e, [x], [values, indices], { k }) => {
  const n = x!.shape.at(-1)!;
  const rows = elementsOf(x!) / n;
  let count = n;
  let entries: Value | undefined;
  // A round is worth while where it leaves a quarter or less.
  for (const block = Math.max(blockSize, 4 * k); count > block; ) {
    const last = count % block || block;
    const left = (ceilDiv(count, block) - 1) * k + Math.min(k, last);
    const kept = e.temp(rows * left);
    round(e, {
      x: x!,
      count,
      entries,
      block,
      k,
      outputs: { kept: bitsOf(kept, 1) },
      left,
      keep: 'storeKept(row * p.left + at, index);',
    });
    [count, entries] = [left, kept];
  }
  round(e, {
    x: x!,
    count,
    entries,
    block: count,
    k,
    left: k,
    outputs: { values: bitsOf(values!, 1), indices: bitsOf(indices!, 1) },
    keep: 'storeValues(row * p.left + at, loadX(row * p.n + index)); storeIndices(row * p.left + at, index);',
  });
};
