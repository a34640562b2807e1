/**
 * Convolution forward and input gradient as implicit GEMM in WASM.
 *
 * The one idea: a chunk gathers the windows of a block of output pixels into scratch, where they fit the second-level
 * cache, and multiplies them by the packed weights of one group with the matrix product's own block loop. One accumulator
 * runs over taps and channels, so the bits depend on neither the block nor the mode's vector width.
 */
import { type ConvGeometry, gatherSizes, type TapAxis } from './convGeometry.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { edgeBytes, emitPackPanel, gemmBlock, gemmTile, packedBytes, type Tile } from './gemm.ts';
import { emitGather, type Gather, gatherArgs, gatherKey, gatherWidth } from './im2col.ts';
import { type ArgType, defineKernel } from './kernel.ts';
import type { Buffer, Emitter, Value } from './lower.ts';
import { type I32, i32 } from './wasm.ts';

/** One gathered product: which windows of the input, times which weights, to which places of the output. */
interface ConvProduct {
  readonly pass: 'forward' | 'grad';
  readonly geometry: ConvGeometry;
  readonly rows: TapAxis;
  readonly columns: TapAxis;
  readonly epilogue?: Epilogue | undefined;
}

/** Channels of a pixel and of one group, of what is read and what is written. */
const channelsOf = ({ pass, geometry: { cin, cout, groups } }: ConvProduct) => {
  const [from, to] = pass === 'forward' ? [cin, cout] : [cout, cin];
  return { from, to, fromGroup: from / groups, toGroup: to / groups };
};

const gatherOf = (p: ConvProduct): Gather => ({
  rows: p.rows.gather,
  columns: p.columns.gather,
  channels: channelsOf(p).fromGroup,
  pixelChannels: channelsOf(p).from,
});

/** Weights of the product's taps as panels [group][panel][tap][channel read][nr], one panel per chunk. */
function packWeightsKernel(tile: Tile, p: ConvProduct) {
  const { geometry, rows, columns } = p;
  const { cout } = geometry;
  const { fromGroup, toGroup } = channelsOf(p);
  const panels = Math.ceil(toGroup / tile.nr);
  const [kh, kw] = [rows.gather.taps, columns.gather.taps];
  const grad = p.pass === 'grad';
  // A tap of w is [Cin/groups][Cout]: forward reads its rows, the input gradient its columns.
  const tapBytes = 4 * (geometry.cin / geometry.groups) * cout;
  const taps = [rows, columns].map((a) => `${a.firstTap}+${a.tapStep}x${a.gather.taps}`).join('_');
  return defineKernel({
    key: `conv_pack_${p.pass}_${tile.nr}_${taps}_k${geometry.columns.kernel}_${fromGroup}>${toGroup}of${cout}`,
    args: { w: 'i32', to: 'i32' },
    chunk(f, a, chunk) {
      const group = f.let(chunk.divU(panels));
      const j = f.let(chunk.remU(panels).mul(tile.nr));
      const to = f.let(a.to.add(chunk.mul(kh * kw * fromGroup * tile.nr * 4)));
      const first = grad ? j.mul(4 * cout).add(group.mul(4 * fromGroup)) : group.mul(toGroup).add(j).shl(2);
      const source = f.let(a.w.add(first));
      const stride = f.let(i32(4 * cout));
      const k = f.let(i32(fromGroup));
      const left = f.let(i32(toGroup).sub(j));
      f.for(0, kh, 1, (r) => {
        f.for(0, kw, 1, (s) => {
          const tap = r
            .mul(rows.tapStep)
            .add(rows.firstTap)
            .mul(geometry.columns.kernel)
            .add(s.mul(columns.tapStep).add(columns.firstTap));
          emitPackPanel(f, {
            width: tile.nr,
            columns: left,
            k,
            source: f.let(source.add(tap.mul(tapBytes))),
            stride,
            to,
            transposed: grad,
          });
        });
      });
    },
  });
}

/** Pixels of a chunk: their windows in half of a second-level cache of 512 KB, and not so many that few chunks are left. */
const pixelsPerChunkOf = (tile: Tile, k: number) => {
  const fit = Math.floor(65536 / Math.max(1, k));
  return tile.mr * Math.max(4, Math.min(24, Math.floor(fit / tile.mr)));
};

function convKernel(tile: Tile, p: ConvProduct, pixelsPerChunk: number) {
  const { rows, columns, epilogue } = p;
  const { to, fromGroup, toGroup } = channelsOf(p);
  const gather = gatherOf(p);
  const k = gatherWidth(gather);
  // Places of the output that are not adjacent get their results through scratch.
  const scattered = rows.every > 1 || columns.every > 1;
  const windowBytes = pixelsPerChunk * k * 4;
  const resultBytes = scattered ? pixelsPerChunk * toGroup * 4 : 0;
  const key = [
    `conv_${p.pass}_${tile.mr}x${tile.nr}_${pixelsPerChunk}_${gatherKey(gather)}_${toGroup}of${to}`,
    scattered ? `_to${rows.place}+${rows.every}_${columns.place}+${columns.every}` : '',
    epilogueKey(epilogue),
  ].join('');
  return defineKernel({
    key,
    args: {
      x: 'i32',
      w: 'i32',
      y: 'i32',
      pixels: 'i32',
      columnsPerChunk: 'i32',
      pixelBlocks: 'i32',
      columnBlocks: 'i32',
      ...gatherArgs,
      /** Rows and columns of the output. */
      height: 'i32',
      width: 'i32',
      ...(epilogueArgs(epilogue) as Record<never, ArgType>),
    },
    scratchBytes: windowBytes + resultBytes + edgeBytes(tile, k),
    chunk(f, a, chunk, scratch) {
      const first = f.let(chunk.remU(a.pixelBlocks).mul(pixelsPerChunk));
      const rest = f.let(chunk.divU(a.pixelBlocks));
      const j = f.let(rest.remU(a.columnBlocks).mul(a.columnsPerChunk));
      const group = f.let(rest.divU(a.columnBlocks));
      const count = f.let(f.let(a.pixels.sub(first)).minS(pixelsPerChunk));
      const across = f.let(f.let(i32(toGroup).sub(j)).minS(a.columnsPerChunk));
      emitGather(f, gather, {
        sizes: a,
        source: a.x.add(group.mul(4 * fromGroup)),
        first,
        count,
        to: scratch,
        stride: 4 * k,
      });
      const results = f.let(scratch.add(windowBytes));
      const column = f.let(group.mul(toGroup).add(j));
      const direct = a.y.add(first.mul(to).add(column).shl(2));
      gemmBlock(f, {
        tile,
        rows: count,
        columns: across,
        k: i32(k),
        a: { rows: scratch, stride: i32(4 * k) },
        b: a.w.add(group.mul(packedBytes(tile, k, toGroup))).add(j.mul(4 * k)),
        c: scattered ? results : direct,
        cStride: scattered ? across.shl(2) : i32(4 * to),
        cursor: new EpilogueCursor(f, epilogue, a),
        row: first,
        column,
        width: i32(to),
        edge: scratch.add(windowBytes + resultBytes),
      });
      if (!scattered) return;
      const bytes = f.let(across.shl(2));
      f.for(0, count, 1, (i) => {
        const pixel = f.let(first.add(i));
        const line = f.let(pixel.divU(a.outColumns));
        const x: I32 = pixel.sub(line.mul(a.outColumns)).mul(columns.every).add(columns.place);
        const y = line.remU(a.outRows).mul(rows.every).add(rows.place);
        const place = line.divU(a.outRows).mul(a.height).add(y).mul(a.width).add(x);
        f.copy(a.y.add(place.mul(to).add(column).shl(2)), results.add(i.mul(bytes)), bytes);
      });
    },
  });
}

/** Chunks below which columns are split as well. */
const enoughChunks = 16;

/** Packs the weights and multiplies. */
export function emitConvProduct(e: Emitter, p: ConvProduct, input: Buffer, w: Value, output: Buffer): void {
  const tile = gemmTile(e.mode);
  const { groups, batch } = p.geometry;
  const { toGroup } = channelsOf(p);
  const k = gatherWidth(gatherOf(p));
  const pixels = batch * p.rows.outSize * p.columns.outSize;
  if (pixels === 0) return;
  const panels = Math.ceil(toGroup / tile.nr);
  const pack = packWeightsKernel(tile, p);
  // A stride phase without taps multiplies nothing: its places become zero.
  const packed =
    k === 0
      ? w.buffer
      : e.prepared(w, groups * packedBytes(tile, k, toGroup), (to) => {
          e.call(pack, { w: w.buffer, to }, groups * panels);
        });
  const pixelsPerChunk = pixelsPerChunkOf(tile, k);
  const pixelBlocks = Math.ceil(pixels / pixelsPerChunk);
  const split = Math.min(panels, Math.ceil(enoughChunks / (pixelBlocks * groups)));
  const columnsPerChunk = Math.ceil(panels / split) * tile.nr;
  const columnBlocks = Math.ceil(toGroup / columnsPerChunk);
  e.call(
    convKernel(tile, p, pixelsPerChunk),
    {
      x: input,
      w: packed,
      y: output,
      pixels,
      columnsPerChunk,
      pixelBlocks,
      columnBlocks,
      ...gatherSizes(p.rows, p.columns),
      height: p.pass === 'forward' ? p.geometry.rows.outSize : p.geometry.rows.size,
      width: p.pass === 'forward' ? p.geometry.columns.outSize : p.geometry.columns.size,
      ...epilogueValues(p.epilogue),
    },
    pixelBlocks * columnBlocks * groups,
  );
}
