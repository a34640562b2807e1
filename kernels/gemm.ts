/**
 * The product C = A·B that matrix products and convolutions are made of: tiles, slices of K, register blocks.
 *
 * The one idea: the caller gives loaders of 4×4 blocks of A and B and the place of a row of C, so an implicit GEMM differs
 * from a plain one in its loaders alone. An invocation's blocks have names, since arrays of them would be memory.
 */
import {
  ceilDiv,
  elementsOf,
  type GpuEmitter,
  type Operand,
  type Param,
  single,
  type Value,
  wide,
  widest,
} from './lower.ts';
import { type Product, type Tiling, tilingOf } from './tiles.ts';

/** An operand with its loaders: RowsA, rowsA, StepA, stepA, blockA, or those of B (gemm.wgsl). */
export interface Side {
  readonly operand: Operand;
  /** Whether memory runs along K. */
  readonly alongK: boolean;
  readonly params: Readonly<Record<string, Param>>;
  readonly code: string;
}

export interface Gemm extends Product {
  readonly a: Side;
  readonly b: Side;
  readonly c: Value;
  /** Elements of C from row to row, and from batch to batch. */
  readonly cLine: number;
  readonly cBatch: number;
  /** Where rows of C lie, if not `cLine` apart: `fn placeC`; the product is then only a part of C. */
  readonly place?: { readonly params: Readonly<Record<string, Param>>; readonly code: string };
  /** More files and constants for the loaders. */
  readonly files?: readonly string[];
  readonly consts?: Readonly<Record<string, number | boolean>>;
  readonly params?: Readonly<Record<string, Param>>;
}

const times = (n: number, text: (i: number) => string, between = ' ') =>
  Array.from({ length: n }, (_, i) => text(i)).join(between);

/** `fourX(i)`: four elements from i on. `eachX(i)`: four elements, which lie so where the operand is wide. */
const fetches = (name: 'A' | 'B', { width }: Operand) =>
  width === 4
    ? `fn four${name}(i: u32) -> vec4<f32> { return load${name}(i >> 2u); }
fn each${name}(i: vec4<u32>) -> vec4<f32> { return load${name}(i.x >> 2u); }`
    : `fn four${name}(i: u32) -> vec4<f32> { return each${name}(i + vec4<u32>(0u, 1u, 2u, 3u)); }
fn each${name}(i: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(load${name}(i.x), load${name}(i.y), load${name}(i.z), load${name}(i.w));
}`;

/** A side that is a matrix in memory: `line` elements from line to line, `batch` from matrix to matrix. */
export function plainSide(name: 'A' | 'B', value: Value, alongK: boolean, line: number, batch: number): Side {
  const x = name.toLowerCase();
  const [type, at] = name === 'A' ? ['RowsA', 'rowsA'] : ['ColumnsB', 'columnsB'];
  const lines = `mat4x4<f32>(${times(4, (i) => `four${name}(at + ${i}u * p.${x}Line)`, ', ')})`;
  return {
    operand: line % 4 === 0 && batch % 4 === 0 ? wide(value) : single(value),
    alongK,
    params: { [`${x}Line`]: line, [`${x}Batch`]: batch },
    code: `alias ${type} = u32;
alias Step${name} = u32;
fn ${at}(batch: u32, i: u32) -> u32 { return batch * p.${x}Batch + ${alongK ? `i * p.${x}Line` : 'i'}; }
fn step${name}(batch: u32, k: u32) -> u32 { return ${alongK ? 'k' : `k * p.${x}Line`}; }
fn block${name}(start: u32, step: u32) -> mat4x4<f32> {
  let at = start + step;
  return ${alongK === (name === 'A') ? lines : `transpose(${lines})`};
}`,
  };
}

/** The code of an invocation's blocks: what is loaded for a step of K and multiplied, and the store. */
function blockCode({ tile, staged }: Tiling): string {
  const [down, across] = [tile.rows / 4, tile.columns / 4];
  const a = (i: number) =>
    staged ? `stagedA(k, place.down + ${i}u * DOWN)` : `keptA(blockA(sources.a${i}, stepOfA), k)`;
  const b = (j: number) =>
    staged ? `stagedB(k, place.across + ${j}u * ACROSS)` : `keptB(blockB(sources.b${j}, stepOfB), k)`;
  const product = (i: number, j: number, x: string, y: string) =>
    `(*sums).c${i}_${j} = plusProduct((*sums).c${i}_${j}, ${x}, ${y});`;
  // The fewer blocks stay in registers, the others come one by one.
  const steps =
    down <= across
      ? [
          times(down, (i) => `let a${i} = ${a(i)};`),
          times(across, (j) => `{ let b = ${b(j)}; ${times(down, (i) => product(i, j, `a${i}`, 'b'))} }`, '\n  '),
        ]
      : [
          times(across, (j) => `let b${j} = ${b(j)};`),
          times(down, (i) => `{ let a = ${a(i)}; ${times(across, (j) => product(i, j, 'a', `b${j}`))} }`, '\n  '),
        ];
  const sources = `struct Sources { batch: u32, ${times(down, (i) => `a${i}: RowsA,`)} ${times(across, (j) => `b${j}: ColumnsB,`)} }
fn sourcesAt(batch: u32, row: u32, column: u32) -> Sources {
  return Sources(batch,
    ${times(down, (i) => `rowsA(batch, row + ${i}u * 4u * DOWN),`)}
    ${times(across, (j) => `columnsB(batch, column + ${j}u * 4u * ACROSS),`)});
}`;
  return `struct Sums { ${times(down, (i) => times(across, (j) => `c${i}_${j}: mat4x4<f32>,`))} }
${staged ? '' : sources}
fn addBlocks(sums: ptr<function, Sums>, ${staged ? 'place: Staged' : 'sources: Sources'}, k: u32) {
  ${staged ? '' : 'let stepOfA = stepA(sources.batch, k);\n  let stepOfB = stepB(sources.batch, k);\n  '}${steps.join('\n  ')}
}
fn storeSums(sums: ptr<function, Sums>, tile: Tile, row: u32, column: u32) {
  ${times(
    down,
    (i) =>
      times(
        across,
        (j) => `storeBlock(tile, row + ${i}u * 4u * DOWN, column + ${j}u * 4u * ACROSS, (*sums).c${i}_${j});`,
        '\n  ',
      ),
    '\n  ',
  )}
}`;
}

const putLine = {
  1: `fn putC(at: u32, column: u32, v: vec4<f32>) {
  storeC(at, v.x);
  if (column + 1u < p.n) { storeC(at + 1u, v.y); }
  if (column + 2u < p.n) { storeC(at + 2u, v.z); }
  if (column + 3u < p.n) { storeC(at + 3u, v.w); }
}`,
  4: 'fn putC(at: u32, column: u32, v: vec4<f32>) { storeC(at >> 2u, v); }',
};
const rowsApart = 'fn placeC(batch: u32, row: u32) -> u32 { return batch * p.cBatch + row * p.cLine; }';

export function gemmWgsl(e: GpuEmitter, g: Gemm): void {
  const { m, n, k, batch, a, b, c, place } = g;
  const size = elementsOf(c);
  const tiling = tilingOf(g, e.limits, place !== undefined);
  const { tile, staged, tilesM, tilesN, slices, depth } = tiling;
  const vectors = n % 4 === 0 && g.cLine % 4 === 0 && g.cBatch % 4 === 0;
  const to = slices > 1 ? e.temp(slices * size) : c;
  e.dispatch({
    files: [...(g.files ?? []), 'gemm', staged ? 'gemmStaged' : 'gemmDirect'],
    label: `gemm ${tile.tileM}x${tile.tileN}${slices > 1 ? ` /${slices}` : ''}`,
    groups: batch * tilesM * tilesN * slices,
    consts: {
      TILE_M: tile.tileM,
      TILE_N: tile.tileN,
      TILE_K: tile.tileK,
      ROWS: tile.rows,
      COLUMNS: tile.columns,
      K_TAIL: k % (staged ? tile.tileK : 4) !== 0,
      ...(staged ? { A_ALONG_K: a.alongK, B_ALONG_K: b.alongK } : {}),
      ...g.consts,
    },
    params: {
      m,
      n,
      k,
      tilesM,
      tilesN,
      slices,
      depth,
      cSlice: size,
      ...a.params,
      ...b.params,
      ...(place ? place.params : { cLine: g.cLine, cBatch: g.cBatch }),
      ...g.params,
    },
    inputs: { a: a.operand, b: b.operand },
    outputs: { c: vectors ? wide(to) : single(to) },
    code: [
      fetches('A', a.operand),
      fetches('B', b.operand),
      a.code,
      b.code,
      putLine[vectors ? 4 : 1],
      place?.code ?? rowsApart,
      blockCode(tiling),
    ].join('\n'),
  });
  if (slices === 1) return;
  const y = widest(c, c.shape.at(-1)!);
  const count = size / y.width;
  e.dispatch({
    files: ['gemmSlices'],
    groups: ceilDiv(count, 64),
    params: { count, slices },
    inputs: { x: { value: to, width: y.width } },
    outputs: { c: y },
  });
}
