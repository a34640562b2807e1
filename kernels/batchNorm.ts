/**
 * Batch-norm statistics in WGSL: mean and biased variance of every channel of x [rows, C].
 *
 * The one idea: a reduction (reduce.wgsl) whose running value is (n, mean, M2). Groups of eight rows give theirs from
 * registers, everything above merges (Chan, Golub and LeVeque 1979), so x is read once and no square cancels. Blocks
 * depend on the shape alone.
 */
import { ceilDiv, type Dispatch, elementsOf, type GpuLowering, type Param, type Value, widest } from './lower.ts';
import { spreadOf } from './reduce.ts';

/** Rows that an invocation takes at a time. */
const groupRows = 8;

/** How the first level is spread: as any reduction over the rows, in groups of them. */
export function momentsSpread(rows: number, vectors: number) {
  const { parts, columns, groups, block } = spreadOf([1, rows, vectors]);
  const rowGroups = ceilDiv(rows, groupRows);
  const blockGroups = ceilDiv(block, groupRows);
  const blocks = ceilDiv(rowGroups, blockGroups);
  return { parts, columns, rowGroups, blockGroups, blocks, groups: groups * blocks };
}

/** The end of the reduction. */
const storeMoments = `fn store(c: u32, sums: Sums) {
  storeMean(c, sums.mean);
  storeVariance(c, sums.m2 / TypeX(f32(p.rows)));
}`;
/** A block's part, as rows of means and of M2 in turn. */
const storePart = `fn store(i: u32, sums: Sums) {
  let at = i + i / p.columns * p.columns;
  storePart(at, sums.mean);
  storePart(at + p.columns, sums.m2);
}`;
const blockElement = `fn element(outer: u32, block: u32, c: u32) -> Sums {
  let at = 2u * block * p.columns + c;
  return Sums(f32(min(p.blockRows, p.rows - block * p.blockRows)), loadX(at), loadX(at + p.columns));
}`;

/** Input x [..., C]; outputs mean [C], variance [C]. */
export const momentsWgsl: GpuLowering<Record<string, never>> = (e, [x], [mean, variance]) => {
  const channels = x!.shape.at(-1)!;
  const operand = (v: Value) => widest(v, channels);
  const vectors = channels / operand(x!).width;
  const rows = elementsOf(x!) / channels;
  const s = momentsSpread(rows, vectors);
  const final = { outputs: { mean: operand(mean!), variance: operand(variance!) }, store: storeMoments };
  const reduce = (
    spread: { readonly columns: number; readonly parts: number; readonly groups: number },
    [red, block, blocks]: readonly [number, number, number],
    from: Value,
    files: readonly string[],
    { outputs, store }: { readonly outputs: Dispatch['outputs']; readonly store: string },
    element = '',
    params: Readonly<Record<string, Param>> = {},
  ) =>
    e.dispatch({
      files: ['reduce', 'batchNorm', ...files],
      groups: spread.groups,
      consts: { COLUMNS: spread.columns, PARTS: spread.parts },
      params: { columns: vectors, inner: vectors, red, block, blocks, rows, ...params },
      inputs: { x: operand(from) },
      outputs,
      code: `${element}\n${store}`,
    });
  const whole = [s.rowGroups, s.blockGroups, s.blocks] as const;
  if (s.blocks === 1) return reduce(s, whole, x!, ['batchNormRows'], final);
  const part = e.temp(2 * s.blocks * channels);
  reduce(s, whole, x!, ['batchNormRows'], { outputs: { part: operand(part) }, store: storePart });
  // 64 bytes of adjacent results, and a short walk.
  const [columns, parts] = [4, 64];
  const second = { columns, parts, groups: ceilDiv(vectors, columns) };
  reduce(second, [s.blocks, s.blocks, 1], part, [], final, blockElement, { blockRows: groupRows * s.blockGroups });
};
