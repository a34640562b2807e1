/**
 * Batch-norm statistics in WGSL: mean and biased variance of every channel of x [rows, C].
 *
 * The one idea: a reduction (reduce.wgsl) whose running value is (n, sum, mean, M2). Groups of eight rows give theirs
 * from registers, everything above merges (Chan, Golub and LeVeque 1979), so x is read once and no square cancels.
 * Blocks depend on the shape alone.
 */
import { ceilDiv, type Dispatch, elementsOf, type GpuLowering, type Value, widest } from './lower.ts';
import { spreadOf } from './reduce.ts';

/** Rows that an invocation takes at a time. */
const groupRows = 8;

/** Adjacent vectors that are worth loading together: 64 bytes. */
const leastVectors = 4;

/** How the first level is spread: as any reduction over the rows, in groups of them. */
export function momentsSpread(rows: number, vectors: number) {
  const { parts, columns, groups, block } = spreadOf([1, rows, vectors], leastVectors);
  const rowGroups = ceilDiv(rows, groupRows);
  const blockGroups = ceilDiv(block, groupRows);
  const blocks = ceilDiv(rowGroups, blockGroups);
  return { parts, columns, rowGroups, blockGroups, blocks, groups: groups * blocks };
}

/** The end of the reduction. */
const storeMoments = `fn store(c: u32, sums: Sums) {
  storeMean(c, sums.sum / TypeX(f32(p.rows)));
  storeVariance(c, sums.m2 / TypeX(f32(p.rows)));
}`;
/** A block's part: a row each of sums, of means and of M2. */
const storePart = `fn store(i: u32, sums: Sums) {
  let at = i + 2u * (i / p.columns) * p.columns;
  storePart(at, sums.sum);
  storePart(at + p.columns, sums.mean);
  storePart(at + 2u * p.columns, sums.m2);
}`;
const blockElement = `fn element(outer: u32, block: u32, c: u32) -> Sums {
  let at = 3u * block * p.columns + c;
  let n = min(p.blockRows, p.rows - block * p.blockRows);
  return Sums(f32(n), loadPart(at), loadPart(at + p.columns), loadPart(at + 2u * p.columns));
}`;

/** Input x [..., C]; outputs mean [C], variance [C]. */
export const momentsWgsl: GpuLowering<Record<string, never>> = (e, [x], [mean, variance]) => {
  const channels = x!.shape.at(-1)!;
  const operand = (v: Value) => widest(v, channels);
  const vectors = channels / operand(x!).width;
  const rows = elementsOf(x!) / channels;
  const s = momentsSpread(rows, vectors);
  const inputs = { x: operand(x!) };
  const final = { outputs: { mean: operand(mean!), variance: operand(variance!) }, store: storeMoments };
  const reduce = (
    spread: { readonly columns: number; readonly parts: number; readonly groups: number },
    params: Readonly<Record<'red' | 'block' | 'blocks', number>>,
    { outputs, store }: { readonly outputs: Dispatch['outputs']; readonly store: string },
    rest: Pick<Dispatch, 'files' | 'inputs' | 'code'>,
  ) =>
    e.dispatch({
      files: ['reduce', 'batchNorm', ...rest.files],
      groups: spread.groups,
      consts: { COLUMNS: spread.columns, PARTS: spread.parts },
      params: { columns: vectors, inner: vectors, rows, blockRows: groupRows * s.blockGroups, ...params },
      inputs: { ...inputs, ...rest.inputs },
      outputs,
      code: `${rest.code ?? ''}\n${store}`,
    });
  const first = { red: s.rowGroups, block: s.blockGroups, blocks: s.blocks };
  const rowsOfX = { files: ['batchNormRows'] };
  if (s.blocks === 1) return reduce(s, first, final, rowsOfX);
  const part = operand(e.temp(3 * s.blocks * channels));
  reduce(s, first, { outputs: { part }, store: storePart }, rowsOfX);
  // 64 bytes of adjacent results, and a short walk.
  const [columns, parts] = [4, 16];
  reduce({ columns, parts, groups: ceilDiv(vectors, columns) }, { red: s.blocks, block: s.blocks, blocks: 1 }, final, {
    files: [],
    inputs: { part },
    code: blockElement,
  });
};
