/**
 * Depthwise convolution in WGSL: forward, input gradient, weight gradient.
 *
 * The one idea: an invocation makes a tile of adjacent pixels of four channels, so each input it loads meets several taps
 * and each tap several inputs. Kernel, stride and dilation fix which input of a tile meets which output through which
 * tap, so the products are written out and everything stays in registers; the input gradient is the same kernel with
 * other feeds. Kernels too large for that go tap by tap. The weight gradient sums blocks of tiles and then the blocks.
 */
import type { ConvAttrs } from '../native/convGeometry.ts';
import { type DepthwiseGeometry, depthwiseGeometry } from '../native/depthwiseGeometry.ts';
import { type Axis, type Feed, forwardPattern, gradPattern, type Pattern } from '../native/window.ts';
import {
  ceilDiv,
  type GpuEmitter,
  type GpuLowering,
  type Param,
  powerUpTo,
  single,
  type Value,
  widest,
} from './lower.ts';

export type Pass = 'forward' | 'gradient';

/** Products of a tile that are written out at most, and outputs that it has at most: registers are few. */
const mostProducts = 128;
const mostOutputs = 16;
/** Invocations that keep a large GPU busy. */
const busyInvocations = 64 * 256;
/** Tiles [down, across], best first: fewer loads per product, down to more invocations. */
const tileSizes = [
  [2, 4],
  [1, 4],
  [1, 2],
  [1, 1],
] as const;

/** What a pass makes along an axis. */
const madeOf = (pass: Pass, a: Axis) => (pass === 'forward' ? a.outSize : a.size);

export type TileSize = readonly [down: number, across: number];

/** Tiles that a pass can have, best first; none where it goes tap by tap. */
export function tilesFor(pass: Pass, { rows, columns }: DepthwiseGeometry): TileSize[] {
  const isGradient = pass === 'gradient';
  // Where dy is smaller than the kernel, most of the taps that a tile of the gradient visits are outside.
  if (isGradient && [rows, columns].some((a) => a.outSize < a.kernel)) return [];
  return tileSizes
    .map(([down, across]): TileSize => {
      const along = (a: Axis, n: number) => {
        const unit = isGradient ? a.stride : 1;
        return unit * ceilDiv(Math.min(n, madeOf(pass, a)), unit);
      };
      return [along(rows, down), along(columns, across)];
    })
    .filter(([h, w]) => {
      const products = (h * w * rows.kernel * columns.kernel) / (isGradient ? rows.stride * columns.stride : 1);
      return h * w <= mostOutputs && products <= mostProducts;
    });
}

/** The largest tile that keeps the GPU busy, or the smallest; from shapes alone. */
function tileFor(pass: Pass, g: DepthwiseGeometry, vectors: number): TileSize | undefined {
  const tiles = tilesFor(pass, g);
  const count = ([h, w]: TileSize) =>
    g.batch * vectors * ceilDiv(madeOf(pass, g.rows), h) * ceilDiv(madeOf(pass, g.columns), w);
  return tiles.find((t) => count(t) >= busyInvocations) ?? tiles.at(-1);
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);
const placesOf = (feeds: readonly Feed[]) => [...new Set(feeds.map((f) => f.column))];

/** Every row of input that a tile reads, from (y, x) on: what goes before it, its loads, their products. */
function inputRows(
  rows: readonly Feed[],
  columns: readonly Feed[],
  before: (row: number) => readonly string[],
  product: (x: string, row: Feed, column: Feed) => string,
): string {
  return placesOf(rows)
    .flatMap((row) => [
      ...before(row),
      `if (isRow(y + ${row})) {`,
      `  let line = lineOf(image, y + ${row});`,
      ...placesOf(columns).map((column) => `  let x${column} = pixel(line, x + ${column}, c);`),
      ...columns.flatMap((s) => rows.filter((r) => r.column === row).map((r) => `  ${product(`x${s.column}`, r, s)}`)),
      '}',
    ])
    .join('\n  ');
}

/** `makeTile` with every product written out. */
function tileCode(rows: Pattern, columns: Pattern, kw: number): string {
  const [h, w] = [rows.inside.outputs, columns.inside.outputs];
  const outputs = upTo(h).flatMap((i) => upTo(w).map((j) => ({ i, j, name: `sum${i}_${j}` })));
  const tapColumns = [...new Set(columns.inside.feeds.map((f) => f.tap))];
  const loaded = new Set<number>();
  /** Taps are loaded before the first row of input that needs them. */
  const loadTaps = (row: number) =>
    rows.inside.feeds.flatMap(({ column, tap }) => {
      if (column !== row || loaded.has(tap)) return [];
      loaded.add(tap);
      return tapColumns.map((s) => `let w${tap}_${s} = loadW(${tap * kw + s}u * p.channels + c);`);
    });
  const body = inputRows(rows.inside.feeds, columns.inside.feeds, loadTaps, (x, r, s) => {
    const sum = `sum${r.output}_${s.output}`;
    return `${sum} += ${x} * w${r.tap}_${s.tap};`;
  });
  return `fn makeTile(image: u32, tileRow: u32, tileColumn: u32, c: u32) {
  let y = i32(${rows.step}u * tileRow) + p.baseRow;
  let x = i32(${columns.step}u * tileColumn) + p.baseColumn;
  ${outputs.map(({ name }) => `var ${name} = TypeX();`).join(' ')}
  ${body}
  ${outputs
    .map(({ i, j, name }) => `put(image, ${h}u * tileRow + ${i}u, ${w}u * tileColumn + ${j}u, c, ${name});`)
    .join('\n  ')}
}`;
}

/** Parameters of an axis, for what goes tap by tap. */
const axisParams = (name: 'Rows' | 'Columns', a: Axis): Record<string, Param> => ({
  [`kernel${name}`]: a.kernel,
  [`stride${name}`]: a.stride,
  [`dilation${name}`]: a.dilation,
  [`before${name}`]: { i32: a.before },
});

/** The forward pass of x, or the gradient of dy = x; tap by tap where there is no tile. */
export function windowPass(
  e: GpuEmitter,
  pass: Pass,
  g: DepthwiseGeometry,
  [x, w, y]: readonly [Value, Value, Value],
  tile: TileSize | undefined | 'best' = 'best',
): void {
  const { rows, columns, channels } = g;
  const operand = (v: Value) => widest(v, channels);
  const vectors = channels / operand(x).width;
  const size = tile === 'best' ? tileFor(pass, g, vectors) : tile;
  const [h, across] = size ?? [1, 1];
  const read = (a: Axis) => (pass === 'forward' ? a.size : a.outSize);
  const tilesDown = ceilDiv(madeOf(pass, rows), h);
  const tilesAcross = ceilDiv(madeOf(pass, columns), across);
  const count = g.batch * tilesDown * tilesAcross * vectors;
  const patternOf = (a: Axis, n: number) => (pass === 'forward' ? forwardPattern(a, 0, n) : gradPattern(a, 0, n));
  const patterns = size && ([patternOf(rows, h), patternOf(columns, across)] as const);
  e.dispatch({
    files: ['depthwisePixels', 'depthwise', ...(patterns ? [] : ['depthwiseTaps'])],
    label: patterns ? `depthwise ${h}x${across}` : 'depthwise by taps',
    groups: ceilDiv(count, 64),
    consts: patterns ? {} : { GRADIENT: pass === 'gradient' },
    params: {
      count,
      channels: vectors,
      inRows: read(rows),
      inColumns: read(columns),
      outRows: madeOf(pass, rows),
      outColumns: madeOf(pass, columns),
      tilesDown,
      tilesAcross,
      ...(patterns
        ? { baseRow: { i32: patterns[0].base }, baseColumn: { i32: patterns[1].base } }
        : { ...axisParams('Rows', rows), ...axisParams('Columns', columns) }),
    },
    inputs: { x: operand(x), w: operand(w) },
    outputs: { y: operand(y) },
    ...(patterns && { code: tileCode(...patterns, columns.kernel) }),
  });
}

/** Invocations of a workgroup of the weight gradient, and vectors of channels side by side: 256 bytes of a pixel. */
const workgroup = 64;
const vectorsAcross = 16;
/** Workgroups that keep a large GPU busy. */
const busyWorkgroups = 256;
/** Taps whose sums an invocation keeps in registers. */
const mostTaps = 9;
const outputsAcross = 4;

/**
 * How the first level of the weight gradient is spread: all taps of a small kernel, a row of taps or one tap per
 * workgroup; blocks of dy so that a batch of a training step keeps the GPU busy.
 */
export function weightGradSpread({ batch, rows, columns }: DepthwiseGeometry, vectors: number) {
  const [kh, kw] = [rows.kernel, columns.kernel];
  const across = Math.min(outputsAcross, columns.outSize);
  const [tapsDown, tapsAcross] =
    kh * kw <= mostTaps ? [kh, kw] : kw <= mostTaps && across === outputsAcross ? [1, kw] : [1, 1];
  const tapGroups = (kh / tapsDown) * (kw / tapsAcross);
  const columnsOf = powerUpTo(vectors, vectorsAcross);
  const parts = workgroup / columnsOf;
  const channelGroups = ceilDiv(vectors, columnsOf);
  const tilesAcross = ceilDiv(columns.outSize, across);
  const tiles = batch * rows.outSize * tilesAcross;
  // Blocks of tiles, one an invocation.
  const most = Math.min(tiles, parts * ceilDiv(busyWorkgroups, channelGroups * tapGroups));
  const block = Math.max(1, Math.floor(tiles / Math.max(1, most)));
  const blocks = Math.max(1, ceilDiv(tiles, block));
  return {
    across,
    tapsDown,
    tapsAcross,
    tapGroups,
    columns: columnsOf,
    parts,
    channelGroups,
    tilesAcross,
    tiles,
    block,
    blocks,
    groups: channelGroups * tapGroups * ceilDiv(blocks, parts),
  };
}

/** `Sums`, `keep` and `accumulate` for a group of taps. */
function weightGradCode(rows: Pattern, columns: Pattern, tapsDown: number, tapsAcross: number, stride: number): string {
  const taps = upTo(tapsDown * tapsAcross).map((t) => `tap${t}`);
  const across = columns.inside.outputs;
  const body = inputRows(
    rows.inside.feeds,
    columns.inside.feeds,
    () => [],
    (x, r, s) => {
      const sum = `(*sums).tap${r.tap * tapsAcross + s.tap}`;
      return `${sum} += ${x} * dy${s.output};`;
    },
  );
  return `struct Sums { ${taps.map((t) => `${t}: TypeX`).join(', ')} }
fn keep(block: u32, tapGroup: u32, c: u32, sums: Sums) {
  let at = (block * p.tapGroups + tapGroup) * ${taps.length}u * p.channels + c;
  ${taps.map((t, i) => `storeDw(at + ${i}u * p.channels, sums.${t});`).join('\n  ')}
}
fn gradient(line: u32, column: u32, c: u32) -> TypeX {
  let v = loadDy((line + min(column, p.outColumns - 1u)) * p.channels + c);
  return select(TypeX(), v, column < p.outColumns);
}
fn accumulate(sums: ptr<function, Sums>, image: u32, row: u32, tileColumn: u32, tapGroup: u32, c: u32) {
  let y = i32(${stride}u * row + tapGroup / p.tapColumns * p.dilationRows) + p.baseRow;
  let x = i32(${columns.step}u * tileColumn + tapGroup % p.tapColumns * p.dilationColumns) + p.baseColumn;
  let own = (image * p.outRows + row) * p.outColumns;
  ${upTo(across)
    .map((j) => `let dy${j} = gradient(own, ${across}u * tileColumn + ${j}u, c);`)
    .join('\n  ')}
  ${body}
}`;
}

/** Sums [blocks, n] over the blocks, in a fixed order. */
function sumBlocks(e: GpuEmitter, partial: Value, blocks: number, n: number, y: Value): void {
  // 32 bytes of adjacent results, and a short walk.
  const columns = 8;
  const parts = powerUpTo(blocks, 16);
  e.dispatch({
    files: ['reduce'],
    label: 'sum of blocks',
    groups: ceilDiv(n, columns),
    consts: { COLUMNS: columns, PARTS: parts },
    params: { columns: n, inner: n, red: blocks, block: blocks, blocks: 1 },
    inputs: { x: single(partial) },
    outputs: { y: single(y) },
    code: `alias Sums = f32;
fn start() -> Sums { return 0.0f; }
fn merge(a: Sums, b: Sums) -> Sums { return a + b; }
fn element(outer: u32, r: u32, i: u32) -> Sums { return loadX(r * p.columns + i); }
fn store(i: u32, sum: Sums) { storeY(i, sum); }`,
  });
}

/** y = x * w, channel by channel. Inputs x [N, H, W, C], w [kh, kw, 1, C]; output y [N, OH, OW, C]. */
export const depthwiseWgsl: GpuLowering<ConvAttrs> = (e, [x, w], [y], attrs) => {
  windowPass(e, 'forward', depthwiseGeometry('depthwise', x!, w!, y!, attrs), [x!, w!, y!]);
};

/** Gathers dy. Inputs dy [N, OH, OW, C], w [kh, kw, 1, C]; output dx [N, H, W, C]. */
export const depthwiseInputGradWgsl: GpuLowering<ConvAttrs> = (e, [dy, w], [dx], attrs) => {
  windowPass(e, 'gradient', depthwiseGeometry('depthwiseInputGrad', dx!, w!, dy!, attrs), [dy!, w!, dx!]);
};

/** Sums over N, OH and OW. Inputs x [N, H, W, C], dy [N, OH, OW, C]; output dw [kh, kw, 1, C]. */
export const depthwiseWeightGradWgsl: GpuLowering<ConvAttrs> = (e, [x, dy], [dw], attrs) => {
  const g = depthwiseGeometry('depthwiseWeightGrad', x!, dw!, dy!, attrs);
  const { rows, columns, channels } = g;
  const operand = (v: Value) => widest(v, channels);
  const vectors = channels / operand(x!).width;
  const s = weightGradSpread(g, vectors);
  const n = rows.kernel * columns.kernel * channels;
  const partial = s.blocks > 1 ? e.temp(s.blocks * n) : undefined;
  const down = forwardPattern({ ...rows, kernel: s.tapsDown }, 0, 1);
  const across = forwardPattern({ ...columns, kernel: s.tapsAcross }, 0, s.across);
  e.dispatch({
    files: ['depthwisePixels', 'depthwiseWeightGrad'],
    label: `depthwiseWeightGrad ${s.tapsDown}x${s.tapsAcross}`,
    groups: s.groups,
    consts: { COLUMNS: s.columns, PARTS: s.parts },
    params: {
      channels: vectors,
      channelGroups: s.channelGroups,
      tapGroups: s.tapGroups,
      tapColumns: columns.kernel / s.tapsAcross,
      tiles: s.tiles,
      tilesAcross: s.tilesAcross,
      block: s.block,
      inRows: rows.size,
      inColumns: columns.size,
      outRows: rows.outSize,
      outColumns: columns.outSize,
      dilationRows: rows.dilation,
      dilationColumns: columns.dilation,
      baseRow: { i32: down.base },
      baseColumn: { i32: across.base },
    },
    inputs: { x: operand(x!), dy: operand(dy!) },
    outputs: { dw: operand(partial ?? dw!) },
    code: weightGradCode(down, across, s.tapsDown, s.tapsAcross, rows.stride),
  });
  if (partial) sumBlocks(e, partial, s.blocks, n, dw!);
};
