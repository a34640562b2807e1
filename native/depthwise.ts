/**
 * Depthwise convolution in WASM: forward and input gradient, for images of any size and number of channels.
 *
 * The one idea: both are a sum over a window of one channel plane, so a register tile of neighbouring output columns
 * times eight channels walks the window's rows and loads each input vector once for every output that it feeds.
 * Channels are the inner loop. Rows outside the image shorten the row loop; edge columns are tiles with fewer feeds.
 * With stride 1 the input gradient is the same kernel with the taps in reverse. Otherwise it is a gather: dx at column
 * i reads the taps s with i + left − s·dw divisible by the stride, known when the code is generated (the sub-pixel view
 * of Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016), so no product with an inserted
 * zero is computed.
 */
import type { ConvAttrs } from './convGeometry.ts';
import { type DepthwiseGeometry, depthwiseGeometry } from './depthwiseGeometry.ts';
import { globalForward, globalInputGrad, isGlobal } from './depthwiseGlobal.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { type ArgType, defineKernel } from './kernel.ts';
import { blocksBetween, type Lanes, pairLanes, Stepper, storeResult } from './lanes.ts';
import { at, type Emitter, type Lowering, type Value } from './lower.ts';
import { type Fn, f32x4, type I32, i32, type Local, type V128 } from './wasm.ts';
import {
  type AxisTaps,
  eachLeftover,
  emitSweep,
  forwardPattern,
  forwardTaps,
  gradPattern,
  gradTaps,
  newRows,
  type Pattern,
  reversed,
  type Tile,
  tapsKey,
  walkArgs,
  walkOf,
  worthSweeping,
} from './window.ts';

export { depthwiseWeightGradWasm } from './depthwiseWeightGrad.ts';

interface WindowSpec {
  readonly pass: 'forward' | 'grad';
  readonly rows: AxisTaps;
  readonly columns: AxisTaps;
  /** Zeros after the last input column. */
  readonly after: number;
  readonly epilogue?: Epilogue | undefined;
}

/**
 * Output columns at once. Three: as pairs of vectors their sums, a row of taps and one input fill 14 of 16 registers
 * (four and more spill in narrow mode and gain nothing in wide mode). A gradient tile is a whole number of strides.
 */
const patternFor = (s: WindowSpec): Pattern =>
  s.pass === 'forward' ? forwardPattern(s.columns, s.after, 3) : gradPattern(s.columns, s.after, 2 * s.columns.stride);

/** Numbers of tap rows that have code of their own, without a loop: those of every row but the first and last few. */
function unrolledRows({ pass, rows }: WindowSpec): readonly number[] {
  if (rows.kernel > 3) return [];
  if (pass === 'forward') return [rows.kernel];
  return [...new Set([Math.floor(rows.kernel / rows.stride), Math.ceil(rows.kernel / rows.stride)])];
}

/** One output row: its first tap row's input and weights, and what lies between taps and pixels in bytes. */
interface RowSum {
  readonly weight: I32;
  /** Bytes of weights from the first tap row to past the last. */
  readonly weightSpan: Local<I32>;
  readonly inputStep: Local<I32>;
  readonly weightStep: Local<I32>;
  readonly pixel: Local<I32>;
  readonly tap: Local<I32>;
  readonly cursor: EpilogueCursor;
}

/** A tile's base column in the first tap row, its first output, and that one's number among all pixels. */
interface TilePlace {
  readonly input: Local<I32>;
  readonly output: Local<I32>;
  readonly pixelNumber: Local<I32>;
}

const zeros = (f: Fn, lanes: Lanes) => lanes.vectors.map(() => f.let(f32x4(0)));

/** sum += u · v, vector by vector. */
function addProduct(f: Fn, sum: Local<V128>[], u: readonly V128[], v: readonly V128[]): void {
  sum.forEach((a, i) => {
    f.set(a, f.madd(u[i] as V128, v[i] as V128, a));
  });
}

/** Sums and stores one tile for every pair of vectors below `end`; of a number of tap rows known here, or any. */
function emitTile(f: Fn, r: RowSum, tile: Tile, tapRows: number | undefined, end: Local<I32>, place: TilePlace) {
  f.for(0, end, 32, (cb) => {
    const acc = Array.from({ length: tile.outputs }, () => zeros(f, pairLanes));
    const inAt = f.let(place.input.add(cb));
    const wAt = f.let(r.weight.add(cb));
    const sumRow = () => {
      const x = new Stepper(f, inAt, r.pixel);
      const w = new Stepper(f, wAt, r.tap);
      const taps = new Map<number, Local<V128>[]>();
      let column = -1;
      let u: Local<V128>[] = [];
      for (const feed of tile.feeds) {
        if (feed.column !== column) u = pairLanes.load(f, x.to(feed.column));
        column = feed.column;
        const v = taps.get(feed.tap) ?? pairLanes.load(f, w.to(feed.tap));
        taps.set(feed.tap, v);
        addProduct(f, acc[feed.output] as Local<V128>[], u, v);
      }
      f.inc(inAt, r.inputStep);
      f.inc(wAt, r.weightStep);
    };
    if (tapRows !== undefined) for (let i = 0; i < tapRows; i++) sumRow();
    else {
      const wEnd = f.let(wAt.add(r.weightSpan));
      f.while(wAt.ne(wEnd), sumRow);
    }
    const out = new Stepper(f, place.output.add(cb), r.pixel);
    r.cursor.seek(place.pixelNumber, cb.shrU(2), r.pixel.shrU(2));
    acc.forEach((a, t) => {
      if (t) r.cursor.nextRow(r.pixel);
      storeResult(f, r.cursor, pairLanes, out.to(t), a);
    });
  });
}

const rowArgs = {
  input: 'i32',
  w: 'i32',
  output: 'i32',
  rows: 'i32',
  rowsPerChunk: 'i32',
  /** Sizes of one input and one output image. */
  inRows: 'i32',
  inColumns: 'i32',
  outRows: 'i32',
  outColumns: 'i32',
  /** Bytes of a pixel; from one tap to the next, and from one row of taps to the next, either of which may be negative. */
  pixel: 'i32',
  tap: 'i32',
  tapRow: 'i32',
  sweep: 'i32',
  ...walkArgs,
} as const;

function windowKernel(spec: WindowSpec) {
  const { rows, columns, epilogue } = spec;
  const pattern = patternFor(spec);
  const tapsOf = spec.pass === 'forward' ? forwardTaps : gradTaps;
  return defineKernel({
    key: `depthwise_${spec.pass}_${tapsKey(rows)}_${tapsKey(columns)}+${spec.after}${epilogueKey(epilogue)}`,
    args: { ...rowArgs, ...(epilogueArgs(epilogue) as Record<never, ArgType>) },
    scratchBytes: 16,
    chunk(f, a, chunk, scratch) {
      const cursor = new EpilogueCursor(f, epilogue, a);
      const { outputs } = pattern.inside;
      const { pixel } = a;
      const pairs = f.let(pixel.and(-32));
      const inRow = f.let(a.inColumns.mul(pixel));
      const outRow = f.let(a.outColumns.mul(pixel));
      const inTile = f.let(pixel.mul(pattern.step));
      const outTile = f.let(pixel.mul(outputs));
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      const output = f.let(a.output.add(row.mul(outRow)));
      f.while(row.ltS(end), () => {
        const o = f.let(row.remU(a.outRows));
        const image = f.let(a.input.add(row.divU(a.outRows).mul(a.inRows).mul(inRow)));
        const fresh = newRows(f, spec.pass, rows, a.inRows, o);
        f.if(a.sweep, () => {
          emitSweep(f, image.add(fresh.from.mul(inRow)), fresh.end.sub(fresh.from).mul(inRow), scratch);
          if (spec.pass === 'grad') emitSweep(f, output, outRow, scratch);
        });
        const taps = tapsOf(f, rows, a.inRows, o);
        const input = f.let(image.add(taps.input.mul(inRow)));
        const sum: RowSum = {
          weight: f.let(a.w.add(taps.first.mul(a.tapRow))),
          weightSpan: f.let(taps.count.mul(taps.step).mul(a.tapRow)),
          inputStep: f.let(inRow.mul(taps.inStep)),
          weightStep: f.let(a.tapRow.mul(taps.step)),
          pixel,
          tap: a.tap,
          cursor,
        };
        const walkTiles = (tapRows?: number) => {
          const place: TilePlace = {
            input: f.let(input.add(pixel.mul(pattern.base))),
            output: f.let(output as I32),
            pixelNumber: f.let(cursor.active ? row.mul(a.outColumns) : i32(0)),
          };
          const tile = (t: Tile) => {
            emitTile(f, sum, t, tapRows, pairs, place);
            f.inc(place.input, inTile);
            f.inc(place.output, outTile);
            if (cursor.active) f.inc(place.pixelNumber, outputs);
          };
          if (pattern.heads.length) f.if(a.heads, () => pattern.heads.forEach(tile));
          f.for(0, a.tiles, 1, () => tile(pattern.inside));
          if (pattern.tails.length === 0) return;
          f.inc(place.input, a.middle.mul(pattern.step).mul(pixel).divS(outputs));
          f.inc(place.output, a.middle.mul(pixel));
          if (cursor.active) f.inc(place.pixelNumber, a.middle);
          pattern.tails.forEach((t, i) => {
            f.if(a.tail.eq(i), () => emitTile(f, sum, t, tapRows, pairs, place));
          });
        };
        const byCount = ([n, ...rest]: readonly number[]): void =>
          n === undefined
            ? walkTiles()
            : f.if(
                taps.count.eq(n),
                () => walkTiles(n),
                () => byCount(rest),
              );
        byCount(unrolledRows(spec));
        eachLeftover(f, a, pattern, pixel, pairs, (column, start) => {
          const across = tapsOf(f, columns, a.inColumns, column);
          blocksBetween(f, start, pixel, (cb, lanes) => {
            const acc = zeros(f, lanes);
            const inAt = f.let(input.add(across.input.mul(pixel)).add(cb));
            const wAt = f.let(sum.weight.add(across.first.mul(a.tap)).add(cb));
            const wEnd = f.let(wAt.add(sum.weightSpan));
            f.while(wAt.ne(wEnd), () => {
              const [x, w] = [f.let(inAt as I32), f.let(wAt as I32)];
              f.for(0, across.count, 1, () => {
                addProduct(f, acc, lanes.load(f, x), lanes.load(f, w));
                f.inc(x, pixel.mul(across.inStep));
                f.inc(w, a.tap.mul(across.step));
              });
              f.inc(inAt, sum.inputStep);
              f.inc(wAt, sum.weightStep);
            });
            cursor.seek(row.mul(a.outColumns).add(column), cb.shrU(2), pixel.shrU(2));
            storeResult(f, cursor, lanes, f.let(output.add(column.mul(pixel)).add(cb)), acc);
          });
        });
        f.inc(output, outRow);
        f.inc(row, 1);
      });
    },
  });
}

/** Rows per chunk: enough work to hide the claim, few enough chunks lost at the end. From shapes alone. */
const rowsPerChunkOf = (rowElements: number) => Math.max(1, Math.ceil(32768 / rowElements));

/** Calls the kernel of `spec` for a geometry; the gradient's input is dy. */
function emitWindow(e: Emitter, spec: WindowSpec, g: DepthwiseGeometry, isGrad: boolean, operands: readonly Value[]) {
  const [input, w, output] = operands.map((v) => v.buffer) as [Value['buffer'], Value['buffer'], Value['buffer']];
  const sizes = ({ size, outSize }: { size: number; outSize: number }) => (isGrad ? [outSize, size] : [size, outSize]);
  const [inRows, outRows] = sizes(g.rows) as [number, number];
  const [inColumns, outColumns] = sizes(g.columns) as [number, number];
  const rows = g.batch * outRows;
  const rowsPerChunk = rowsPerChunkOf(outColumns * g.channels);
  const pixel = 4 * g.channels;
  const backward = isGrad && spec.pass === 'forward';
  const sign = backward ? -1 : 1;
  const lastTap = (g.rows.kernel * g.columns.kernel - 1) * pixel;
  e.call(
    windowKernel(spec),
    {
      input,
      w: backward ? at(w, lastTap) : w,
      output,
      rows,
      rowsPerChunk,
      inRows,
      inColumns,
      outRows,
      outColumns,
      pixel,
      tap: sign * pixel,
      tapRow: sign * g.columns.kernel * pixel,
      sweep: worthSweeping(g.batch * pixel * (inRows * inColumns + outRows * outColumns)),
      ...walkOf(patternFor(spec), outColumns, inColumns),
      ...epilogueValues(spec.epilogue),
    },
    Math.ceil(rows / rowsPerChunk),
  );
}

/**
 * y[n, oh, ow, c] = Σ_{r,s} x[n, oh·sh + r·dh − top, ow·sw + s·dw − left, c] · w[r, s, 0, c].
 *
 * Inputs x [N, H, W, C], w [kh, kw, 1, C]; output y [N, OH, OW, C]. Sums run over r, then s, in f32. The epilogue, if
 * any, is applied before the store.
 * @throws ShapeError where the shapes do not fit.
 */
export const depthwiseWasm: Lowering<ConvAttrs & { readonly epilogue?: Epilogue }> = (e, [x, w], [y], attrs) => {
  const g = depthwiseGeometry('depthwise', x!, w!, y!, attrs);
  const { epilogue } = attrs;
  if (isGlobal(g)) return globalForward(e, g, x!, w!, y!, epilogue);
  const { rows, columns, after } = g;
  emitWindow(e, { pass: 'forward', rows, columns, after, epilogue }, g, false, [x!, w!, y!]);
};

/**
 * dx[n, ih, iw, c] = Σ dy[n, oh, ow, c] · w[r, s, 0, c] over oh·sh + r·dh − top = ih, ow·sw + s·dw − left = iw.
 *
 * Inputs dy [N, OH, OW, C], w [kh, kw, 1, C]; output dx [N, H, W, C].
 * @throws ShapeError where the shapes do not fit.
 */
export const depthwiseInputGradWasm: Lowering<ConvAttrs> = (e, [dy, w], [dx], attrs) => {
  const g = depthwiseGeometry('depthwiseInputGrad', dx!, w!, dy!, attrs);
  if (isGlobal(g)) return globalInputGrad(e, g, dy!, w!, dx!);
  const operands = [dy!, w!, dx!];
  if (g.rows.stride > 1 || g.columns.stride > 1)
    return emitWindow(e, { pass: 'grad', rows: g.rows, columns: g.columns, after: g.after }, g, true, operands);
  const [rows] = reversed(g.rows, 0);
  const [columns, after] = reversed(g.columns, g.after);
  emitWindow(e, { pass: 'forward', rows, columns, after }, g, true, operands);
};
