/**
 * Dense 8-bit convolutions of any window, stride and number of groups; of 1×1 they are matrix products.
 *
 * The one idea: one instruction multiplies eight pairs of 16-bit numbers and adds neighbouring products
 * (i32x4.dot_i16x8_s), twice the work of a float32 multiply-add. So a chunk widens the windows of a block of output pixels
 * to 16 bits in scratch, where they stay in the first-level cache, and multiplies them by panels of weights that lie as
 * [k / 2][column][2]. The instruction on bytes (i32x4.relaxed_dot_i8x16_i7x16_add_s) was no faster here, since without a
 * special unit it is three, and would cost the activations or the weights a bit.
 */
import { convGeometry } from './convGeometry.ts';
import { type GatherSizes, outputPixels } from './im2col.ts';
import {
  type Int8Attrs,
  operandsOf,
  ResultStore,
  resultArgs,
  resultKey,
  resultScratchBytes,
  resultValues,
  weightZero,
  widened,
  zeroLanes,
} from './int8.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import {
  type Fn,
  type I32,
  i32,
  i32x4,
  type Local,
  loadSplat,
  loadU8,
  loadV128,
  type Mode,
  type V128,
} from './wasm.ts';

/** Rows and columns of the register tile: with pairs of vectors fused, twice as many columns. */
const mr = 4;
const columnsOf = (mode: Mode): 8 | 16 => (mode.wide ? 16 : 8);
/** k is padded to pairs of pairs, which a step of the loop takes. */
const paddedK = (k: number) => (k + 3) & ~3;

/** Emits a loop over the bytes from `src` on, widened to 16 bits at `to`; `n` is a number or known when it runs. */
function emitWiden(f: Fn, from: I32, n: I32 | number, to: I32, zero: Local<V128>, zeroPoint: I32): void {
  const [src, dst] = [f.let(from), f.let(to)];
  const step = (count: 8 | 16) => {
    f.storeV128(dst, widened(src, zero));
    if (count === 16) f.storeV128(dst, widened(src, zero, 8), 16);
    f.inc(src, count);
    f.inc(dst, 2 * count);
  };
  const one = () => {
    f.storeI16(dst, loadU8(src).sub(zeroPoint));
    f.inc(src, 1);
    f.inc(dst, 2);
  };
  if (typeof n === 'number') {
    if (n >= 32) {
      const end = f.let(src.add(n & ~15));
      f.while(src.ltU(end), () => step(16));
    } else if (n >= 16) step(16);
    if (n & 8) step(8);
    for (let i = 0; i < (n & 7); i++) one();
    return;
  }
  const end = f.let(src.add(n));
  const wholes = f.let(src.add(n.and(-16)));
  f.while(src.ltU(wholes), () => step(16));
  f.while(src.ltU(end), one);
}

interface Windows {
  readonly kh: number;
  readonly kw: number;
  /** Channels of one group and of a pixel. */
  readonly channels: number;
  readonly pixel: number;
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly top: number;
  readonly left: number;
  /** Windows are those of all pixels, in order. */
  readonly every: boolean;
}
const windowsKey = (w: Windows) =>
  `${w.kh}x${w.kw}_s${w.stride.join('x')}_d${w.dilation.join('x')}_p${w.top}x${w.left}_c${w.channels}of${w.pixel}${w.every ? '_every' : ''}`;

/** Packs one panel of weights a chunk: [k / 2][nr][2], zeros where there are none. */
const packKernel = (nr: number, k: number, toGroup: number, cout: number) =>
  defineKernel({
    key: `int8_pack_${nr}_${k}_${toGroup}of${cout}`,
    args: { w: 'i32', to: 'i32' },
    chunk(f, a, chunk) {
      const panels = Math.ceil(toGroup / nr);
      const kPad = paddedK(k);
      const group = f.let(chunk.divU(panels));
      const first = f.let(chunk.remU(panels).mul(nr));
      const columns = f.let(f.let(i32(toGroup).sub(first)).minS(nr));
      const to = f.let(a.to.add(chunk.mul(kPad * nr * 2)));
      f.fill(to, 0, kPad * nr * 2);
      const from = f.let(a.w.add(group.mul(toGroup)).add(first));
      f.for(0, k, 1, (row) => {
        const place = f.let(to.add(row.shrU(1).mul(4 * nr)).add(row.and(1).shl(1)));
        f.for(0, columns, 1, (j) => {
          f.storeI16(place.add(j.shl(2)), loadU8(from.add(j)).sub(weightZero));
        });
        f.inc(from, cout);
      });
    },
  });

/** Pixels of a chunk: their windows in most of a first-level cache, in whole tiles. */
const pixelsPerChunkOf = (kPad: number) => mr * Math.max(4, Math.min(24, Math.floor(24576 / (2 * kPad * mr))));

interface Product {
  readonly nr: 8 | 16;
  readonly windows: Windows;
  readonly toGroup: number;
  readonly cout: number;
  readonly pixelsPerChunk: number;
  readonly attrs: Int8Attrs;
}

function productKernel(p: Product) {
  const { nr, windows, toGroup, cout, pixelsPerChunk, attrs } = p;
  const { kh, kw, channels, pixel } = windows;
  const k = kh * kw * channels;
  const kPad = paddedK(k);
  const rowBytes = 2 * kPad;
  const tileBytes = 4 * mr * nr;
  const plain = kh * kw === 1 && windows.every && channels === pixel && kPad === k;
  return defineKernel({
    key: `int8_product_${nr}_${windowsKey(windows)}_${toGroup}of${cout}_${pixelsPerChunk}_${resultKey(attrs)}`,
    args: {
      x: 'i32',
      w: 'i32',
      zero: 'i32',
      pixels: 'i32',
      pixelBlocks: 'i32',
      columnsPerChunk: 'i32',
      columnBlocks: 'i32',
      inRows: 'i32',
      inColumns: 'i32',
      outRows: 'i32',
      outColumns: 'i32',
      ...resultArgs,
    },
    scratchBytes: pixelsPerChunk * rowBytes + tileBytes + resultScratchBytes,
    chunk(f, a, chunk, scratch) {
      const tileAt = f.let(scratch.add(pixelsPerChunk * rowBytes));
      const store = new ResultStore(f, attrs, a, tileAt.add(tileBytes));
      const first = f.let(chunk.remU(a.pixelBlocks).mul(pixelsPerChunk));
      const rest = f.let(chunk.divU(a.pixelBlocks));
      const start = f.let(rest.remU(a.columnBlocks).mul(a.columnsPerChunk));
      const group = f.let(rest.divU(a.columnBlocks));
      const count = f.let(f.let(a.pixels.sub(first)).minS(pixelsPerChunk));
      const end = f.let(f.let(start.add(a.columnsPerChunk)).minS(toGroup));
      const zero = zeroLanes(f, a.zero);
      const source = f.let(a.x.add(group.mul(channels)));
      if (plain) emitWiden(f, source.add(first.mul(pixel)), count.mul(pixel), scratch, zero, a.zero);
      else emitWindows(f, windows, { ...a, source, first, count, to: scratch, rowBytes, zero, zeroPoint: a.zero });

      const acc = Array.from({ length: mr }, () => Array.from({ length: nr / 4 }, () => f.local('v128')));
      const rows = acc.map(() => f.local('i32'));
      const b = f.local('i32');
      const panelBytes = 2 * nr * kPad;
      const panels = Math.ceil(toGroup / nr);
      f.for(start, end, nr, (j) => {
        const panel = f.let(a.w.add(group.mul(panels).add(j.divU(nr)).mul(panelBytes)));
        const columns = f.let(i32(toGroup).sub(j));
        const column = f.let(group.mul(toGroup).add(j));
        const halves = Array.from({ length: nr / 8 }, (_, h) => store.channels(column.add(8 * h).shl(2)));
        f.for(0, count, mr, (row) => {
          const from = f.let(scratch.add(row.mul(rowBytes)));
          rows.forEach((r, i) => {
            f.set(r, from.add(i * rowBytes) as Local<I32>);
          });
          f.set(b, panel as I32 as Local<I32>);
          for (const line of acc) for (const v of line) f.set(v, i32x4(0) as Local<V128>);
          const panelEnd = f.let(panel.add(panelBytes));
          f.while(b.ltU(panelEnd), () => {
            for (let step = 0; step < 2; step++) {
              const bs = Array.from({ length: nr / 4 }, (_, v) => f.let(loadV128(b, 16 * v + 4 * nr * step)));
              acc.forEach((line, i) => {
                const x = f.let(loadSplat(rows[i]!, 4 * step));
                line.forEach((v, q) => {
                  f.set(v, v.iadd(x.dotI16(bs[q]!)) as Local<V128>);
                });
              });
            }
            for (const r of rows) f.inc(r, 8);
            f.inc(b, 8 * nr);
          });
          const index = f.let(first.add(row).mul(cout).add(column));
          const valid = f.let(f.let(count.sub(row)).minS(mr));
          f.if(
            valid.geS(mr).and(columns.geS(nr)),
            () =>
              acc.forEach((line, i) => {
                halves.forEach((c, h) => {
                  const sums = c.bias.map((bias, v) => line[2 * h + v]!.iadd(bias).toFloat());
                  store.eight(sums, c, index.add(i * cout + 8 * h));
                });
              }),
            () => {
              acc.forEach((line, i) => {
                line.forEach((v, q) => {
                  f.storeV128(tileAt, v, 4 * (i * nr + 4 * q));
                });
              });
              const at = f.let(tileAt as I32) as Local<I32>;
              const place = f.let(index as I32) as Local<I32>;
              f.for(0, valid, 1, () => {
                halves.forEach((c, h) => {
                  const left = f.let(columns.sub(8 * h));
                  const sums = c.bias.map((bias, v) =>
                    loadV128(at, 32 * h + 16 * v)
                      .iadd(bias)
                      .toFloat(),
                  );
                  f.if(left.gtS(0), () => store.some(sums, c, place.add(8 * h), f.let(left.minS(8))));
                });
                f.inc(at, 4 * nr);
                f.inc(place, cout);
              });
            },
          );
        });
      });
    },
  });
}

interface WindowBlock extends GatherSizes {
  readonly source: Local<I32>;
  readonly first: I32;
  readonly count: I32;
  readonly to: I32;
  readonly rowBytes: number;
  readonly zero: Local<V128>;
  readonly zeroPoint: I32;
}

/** Writes the widened windows of `count` output pixels, [pixel][row tap][column tap][channel], zeros outside the image. */
function emitWindows(f: Fn, w: Windows, b: WindowBlock): void {
  const { kh, kw, channels, pixel } = w;
  const { inRows, inColumns } = b;
  const width = kw * channels;
  // Neighbouring taps are one run of bytes.
  const oneRun = kw > 1 && w.dilation[1] === 1 && channels === pixel;
  const rest = b.rowBytes - 2 * kh * width;
  const { ox, oy, source, lineBytes, next } = outputPixels(f, b, b, pixel);
  const inside = f.let(f.let(inColumns.sub(kw - 1)).maxS(0));
  const to = f.let(b.to) as Local<I32>;
  const widen = (from: I32, n: number, at: I32) => emitWiden(f, from, n, at, b.zero, b.zeroPoint);
  f.for(0, b.count, 1, () => {
    const iy = f.let(oy.mul(w.stride[0]).sub(w.top)) as Local<I32>;
    const ix = f.let(ox.mul(w.stride[1]).sub(w.left));
    const at = f.let(to as I32) as Local<I32>;
    f.for(0, kh, 1, () => {
      f.if(
        iy.ltU(inRows),
        () => {
          const from = f.let(source.add(iy.mul(lineBytes)).add(ix.mul(pixel))) as Local<I32>;
          const byTap = () => {
            const x = f.let(ix as I32) as Local<I32>;
            const place = f.let(at as I32) as Local<I32>;
            f.for(0, kw, 1, () => {
              f.if(
                x.ltU(inColumns),
                () => widen(from, channels, place),
                () => f.fill(place, 0, 2 * channels),
              );
              f.inc(x, w.dilation[1]);
              f.inc(from, w.dilation[1] * pixel);
              f.inc(place, 2 * channels);
            });
          };
          if (oneRun) f.if(ix.ltU(inside), () => widen(from, width, at), byTap);
          else byTap();
        },
        () => f.fill(at, 0, 2 * width),
      );
      f.inc(iy, w.dilation[0]);
      f.inc(at, 2 * width);
    });
    for (let i = 0; i < rest; i += 2) f.storeI16(at, 0, i);
    f.inc(to, b.rowBytes);
    next();
  });
}

/** Chunks below which columns are split as well. */
const enoughChunks = 16;

/**
 * The convolution of int8.ts with x uint8 [N, H, W, Cin], w uint8 [kh, kw, Cin/groups, Cout], scale, bias (int32) and slope
 * of `paddedChannels(Cout)`, residual and y [N, OH, OW, Cout].
 * @throws ShapeError where the shapes do not fit
 */
export const int8Product: Lowering<Int8Attrs> = (e, inputs, [y], attrs) => {
  const { x, w } = operandsOf(inputs, attrs);
  const { batch, rows, columns, groups, cin, cout } = convGeometry('int8Conv', x, w, y!, attrs);
  const nr = columnsOf(e.mode);
  const [fromGroup, toGroup] = [cin / groups, cout / groups];
  const k = rows.kernel * columns.kernel * fromGroup;
  const kPad = paddedK(k);
  const pixels = batch * rows.outSize * columns.outSize;
  if (pixels === 0) return;
  const panels = Math.ceil(toGroup / nr);
  const packed = e.prepared(w, groups * panels * nr * kPad * 2, (to) =>
    e.call(packKernel(nr, k, toGroup, cout), { w: w.buffer, to }, groups * panels),
  );
  const pixelsPerChunk = pixelsPerChunkOf(kPad);
  const pixelBlocks = Math.ceil(pixels / pixelsPerChunk);
  const split = Math.min(panels, Math.ceil(enoughChunks / (pixelBlocks * groups)));
  const columnsPerChunk = Math.ceil(panels / split) * nr;
  const columnBlocks = Math.ceil(toGroup / columnsPerChunk);
  const windows: Windows = {
    kh: rows.kernel,
    kw: columns.kernel,
    channels: fromGroup,
    pixel: cin,
    stride: attrs.stride,
    dilation: attrs.dilation,
    top: attrs.padding[0],
    left: attrs.padding[2],
    every: attrs.stride.every((s) => s === 1) && attrs.padding.every((p) => p === 0),
  };
  e.call(
    productKernel({ nr, windows, toGroup, cout, pixelsPerChunk, attrs }),
    {
      x: x.buffer,
      w: packed,
      y: y!.buffer,
      zero: attrs.zero,
      pixels,
      pixelBlocks,
      columnsPerChunk,
      columnBlocks,
      inRows: rows.size,
      inColumns: columns.size,
      outRows: rows.outSize,
      outColumns: columns.outSize,
      ...resultValues(inputs, attrs),
    },
    pixelBlocks * columnBlocks * groups,
  );
};
