/**
 * Convolution weight gradient as implicit GEMM in WASM: dw = windows(x)ᵀ · dy, summed over every pixel of the batch.
 *
 * The one idea: the pixels are cut into a fixed number of splits; each gathers blocks of windows into scratch and adds
 * their product to a dw of its own, and a second call adds those in order. Large kernels are also cut by taps, which makes
 * more chunks without gathering anything twice.
 */

import { type ConvGeometry, forwardAxis, gatherSizes } from './convGeometry.ts';
import { mergePartialsKernel } from './depthwiseWeightGrad.ts';
import { EpilogueCursor } from './epilogue.ts';
import { edgeBytes, emitPackPanel, gemmBlock, gemmTile, type Tile } from './gemm.ts';
import { emitGather, type Gather, gatherArgs, gatherKey } from './im2col.ts';
import { defineKernel } from './kernel.ts';
import type { Buffer, Emitter } from './lower.ts';
import { f32x4, type I32, i32, type Local, loadV128, type V128 } from './wasm.ts';

interface Cut {
  /** Taps of one block, down and across. */
  readonly rows: number;
  readonly columns: number;
  readonly blocks: number;
  /** Rows of dw in a block. */
  readonly height: number;
  /** Pixels gathered at a time. */
  readonly depth: number;
}

/** Rows of dw up to which the kernel is one block. */
const wholeHeight = 640;

function cutOf(g: ConvGeometry): Cut {
  const [kh, kw, channels] = [g.rows.kernel, g.columns.kernel, g.cin / g.groups];
  const [rows, columns] =
    kh * kw * channels <= wholeHeight ? [kh, kw] : kw * channels <= 2 * wholeHeight ? [1, kw] : [1, 1];
  const height = rows * columns * channels;
  const depth = 8 * Math.max(4, Math.min(32, Math.floor(65536 / height / 8)));
  return { rows, columns, blocks: (kh / rows) * (kw / columns), height, depth };
}

/** Bytes between gathered rows: an odd number of cache lines, since the product walks down a column. */
const rowBytesOf = (height: number) => (Math.ceil(height / 16) | 1) * 64;

function splitKernel(tile: Tile, g: ConvGeometry, cut: Cut) {
  const cinGroup = g.cin / g.groups;
  const coutGroup = g.cout / g.groups;
  const gather: Gather = {
    rows: forwardAxis(g.rows).gather,
    columns: forwardAxis(g.columns).gather,
    channels: cinGroup,
    pixelChannels: g.cin,
  };
  const stride = rowBytesOf(cut.height);
  const windowBytes = cut.depth * stride;
  const panelBytes = cut.depth * tile.nr * 4;
  const width = Math.ceil(coutGroup / tile.nr) * tile.nr;
  const partialBytes = (cut.height + tile.mr) * width * 4;
  return defineKernel({
    key: `conv_weightGrad_${tile.mr}x${tile.nr}_${gatherKey(gather)}_${coutGroup}of${g.cout}`,
    args: { x: 'i32', dy: 'i32', partials: 'i32', pixels: 'i32', pixelsPerSplit: 'i32', ...gatherArgs },
    scratchBytes: windowBytes + panelBytes + edgeBytes(tile, cut.depth),
    chunk(f, a, chunk, scratch) {
      const block = f.let(chunk.remU(cut.blocks));
      const rest = f.let(chunk.divU(cut.blocks));
      const group = f.let(rest.remU(g.groups));
      const first = f.let(rest.divU(g.groups).mul(a.pixelsPerSplit));
      const end = f.let(f.let(first.add(a.pixelsPerSplit)).minS(a.pixels));
      const c = f.let(a.partials.add(chunk.mul(partialBytes)));
      f.fill(c, 0, partialBytes);
      const across = g.columns.kernel / cut.columns;
      const part = {
        row: f.let(block.divU(across).mul(cut.rows)),
        column: f.let(block.remU(across).mul(cut.columns)),
        rows: cut.rows,
        columns: cut.columns,
      };
      const x = f.let(a.x.add(group.mul(4 * cinGroup)));
      const panel = f.let(scratch.add(windowBytes));
      const dyStride = f.let(i32(4 * g.cout));
      f.for(first, end, cut.depth, (at) => {
        const depth = f.let(f.let(end.sub(at)).minS(cut.depth));
        emitGather(f, gather, { sizes: a, source: x, first: at, count: depth, to: scratch, stride, part });
        const dy = f.let(a.dy.add(at.mul(g.cout).add(group.mul(coutGroup)).shl(2)));
        gemmBlock(f, {
          tile,
          rows: i32(cut.height),
          columns: i32(coutGroup),
          k: depth,
          a: { columns: scratch, stride: i32(stride) },
          b(j, columns) {
            const to = f.let(panel.add(0));
            const source = f.let(dy.add(j.shl(2)));
            emitPackPanel(f, { width: tile.nr, columns, k: depth, source, stride: dyStride, to, transposed: false });
            return panel;
          },
          c,
          cStride: i32(4 * width),
          cursor: new EpilogueCursor(f, undefined, {}),
          row: i32(0),
          column: i32(0),
          width: i32(0),
          edge: scratch.add(windowBytes + panelBytes),
          accumulate: true,
        });
      });
    },
  });
}

/** Adds the splits of one row of dw per turn, in order. */
function mergeKernel(tile: Tile, g: ConvGeometry, cut: Cut) {
  const cinGroup = g.cin / g.groups;
  const coutGroup = g.cout / g.groups;
  const width = Math.ceil(coutGroup / tile.nr) * tile.nr;
  const lines = g.rows.kernel * g.columns.kernel * cinGroup;
  const blockBytes = (cut.height + tile.mr) * width * 4;
  const splitBytes = g.groups * cut.blocks * blockBytes;
  return defineKernel({
    key: `conv_weightGradMerge_${tile.mr}x${tile.nr}_${lines}_${cut.height}_${coutGroup}x${g.groups}`,
    args: { partials: 'i32', dw: 'i32', splits: 'i32', rowsPerChunk: 'i32' },
    chunk(f, a, chunk) {
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(lines * g.groups));
      f.while(row.ltS(end), () => {
        const group = f.let(row.divU(lines));
        const line = f.let(row.remU(lines));
        const block = f.let(line.divU(cut.height));
        const from = f.let(
          a.partials.add(group.mul(cut.blocks).add(block).mul(blockBytes)).add(line.remU(cut.height).mul(4 * width)),
        );
        const to = f.let(a.dw.add(line.mul(g.cout).add(group.mul(coutGroup)).shl(2)));
        /** The sum of one vector (or pair) over all splits; padding makes whole loads safe. */
        const sum = (offset: I32, vectors: number): Local<V128>[] => {
          const place = f.let(from.add(offset));
          const acc = Array.from({ length: vectors }, () => f.let(f32x4(0)));
          f.for(0, a.splits, 1, () => {
            acc.forEach((v, i) => {
              f.set(v, v.add(loadV128(place, 16 * i)));
            });
            f.inc(place, splitBytes);
          });
          return acc;
        };
        const whole = coutGroup & ~7;
        f.for(0, 4 * whole, 32, (offset) => {
          const [p, q] = sum(offset, 2) as [Local<V128>, Local<V128>];
          const at = f.let(to.add(offset));
          f.storeV128(at, p);
          f.storeV128(at, q, 16);
        });
        for (let j = whole; j < coutGroup; j += 4) {
          const [p] = sum(i32(4 * j), 1) as [Local<V128>];
          for (let i = 0; i < Math.min(4, coutGroup - j); i++) f.storeF32(to, p.lane(i as 0 | 1 | 2 | 3), 4 * (j + i));
        }
        f.inc(row, 1);
      });
    },
  });
}

/** Splits of the pixels, and the memory that their copies of dw may take together. */
const maxSplits = 32;
const partialsLimit = 32 << 20;

export function emitConvWeightGrad(e: Emitter, g: ConvGeometry, x: Buffer, dy: Buffer, dw: Buffer): void {
  const tile = gemmTile(e.mode);
  const cut = cutOf(g);
  const width = Math.ceil(g.cout / g.groups / tile.nr) * tile.nr;
  const splitBytes = g.groups * cut.blocks * (cut.height + tile.mr) * width * 4;
  const pixels = g.batch * g.rows.outSize * g.columns.outSize;
  // The sizes that matter here are those of narrow mode, so that the sums are the same in every mode.
  const copyBytes = 4 * g.rows.kernel * g.columns.kernel * g.cin * Math.ceil(g.cout / g.groups / 16) * 16;
  const most = Math.max(1, Math.min(maxSplits, Math.floor(partialsLimit / copyBytes)));
  const pixelsPerSplit = Math.ceil(pixels / Math.min(most, Math.ceil(pixels / cut.depth)) / 8) * 8;
  const splits = Math.ceil(pixels / pixelsPerSplit);
  const partials = e.temp(splits * splitBytes);
  e.call(
    splitKernel(tile, g, cut),
    { x, dy, partials, pixels, pixelsPerSplit, ...gatherSizes(forwardAxis(g.rows), forwardAxis(g.columns)) },
    splits * g.groups * cut.blocks,
  );
  const lines = g.groups * g.rows.kernel * g.columns.kernel * (g.cin / g.groups);
  const rowsPerChunk = Math.max(1, Math.ceil(lines / 32));
  if (g.groups === 1 && cut.blocks === 1 && width === g.cout) {
    // The copies hold dw without gaps: a plain sum.
    const block = rowsPerChunk * width;
    const args = { partials, out: dw, n: lines * width, count: splits, block, stride: splitBytes / 4 };
    e.call(mergePartialsKernel, args, Math.ceil(lines / rowsPerChunk));
    return;
  }
  e.call(mergeKernel(tile, g, cut), { partials, dw, splits, rowsPerChunk }, Math.ceil(lines / rowsPerChunk));
}
