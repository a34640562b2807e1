/**
 * Depthwise convolution in WASM: forward and input gradient.
 *
 * The one idea: both are a sum over a window of one channel plane, so a register tile of neighbouring output columns
 * times eight channels walks the window's rows and loads each input vector once for every output that it feeds.
 * Channels are the inner loop. Rows outside the image shorten the row loop; edge columns are tiles with fewer feeds.
 * The input gradient is a gather: dx at column i reads the taps s with i + left − s·dw divisible by the stride, known
 * when the code is generated (the sub-pixel view of Shi et al., "Is the deconvolution layer the same as a
 * convolutional layer?", 2016), so no product with an inserted zero is computed.
 */
import type { ConvAttrs } from './convGeometry.ts';
import { depthwiseGeometry } from './depthwiseGeometry.ts';
import { globalForward, globalInputGrad, isGlobal } from './depthwiseGlobal.ts';
import { type Epilogue, EpilogueCursor, epilogueArgs, epilogueKey, epilogueValues } from './epilogue.ts';
import { type ArgType, defineKernel } from './kernel.ts';
import { channelBlocks, storeResult } from './lanes.ts';
import type { Lowering } from './lower.ts';
import { type Fn, f32x4, type I32, i32, type Local, type V128 } from './wasm.ts';
import {
  type Axis,
  axisKey,
  forRun,
  forwardPlan,
  forwardRowTaps,
  gradPlan,
  gradRowTaps,
  type Run,
  sweepNewRows,
} from './window.ts';

export { depthwiseWeightGradWasm } from './depthwiseWeightGrad.ts';

interface RowStep {
  readonly count: I32;
  /** Bytes from one tap's input row, or row of weights, to the next. */
  readonly input: I32;
  readonly weight: I32;
}

/** Sums and stores one tile for every channel, from the addresses of its first tap, input column and output. */
function emitTile(
  f: Fn,
  channels: number,
  run: Run,
  rows: RowStep,
  input: I32,
  weight: I32,
  output: I32,
  cursor: EpilogueCursor,
  pixelNumber: I32,
) {
  const pixel = 4 * channels;
  channelBlocks(f, channels, (cb, lanes) => {
    const acc = Array.from({ length: run.outputs }, () => lanes.vectors.map(() => f.let(f32x4(0))));
    const inAt = f.let(input.add(cb));
    const wAt = f.let(weight.add(cb));
    f.for(0, rows.count, 1, () => {
      const taps = new Map<number, Local<V128>[]>();
      let column = -1;
      let x: Local<V128>[] = [];
      for (const feed of run.feeds) {
        if (feed.column !== column) x = lanes.load(f, inAt, feed.column * pixel);
        column = feed.column;
        const w = taps.get(feed.tap) ?? lanes.load(f, wAt, feed.tap * pixel);
        taps.set(feed.tap, w);
        const sum = acc[feed.output] as Local<V128>[];
        sum.forEach((a, v) => {
          f.set(a, f.madd(x[v] as V128, w[v] as V128, a));
        });
      }
      f.inc(inAt, rows.input);
      f.inc(wAt, rows.weight);
    });
    const outAt = f.let(output.add(cb));
    cursor.seek(pixelNumber, cb.shrU(2), channels);
    acc.forEach((a, t) => {
      if (t) cursor.nextRow(pixel);
      storeResult(f, cursor, lanes, outAt, a, t * pixel);
    });
  });
}

interface WindowSpec {
  /** 'forward': input [N, size…], output [N, outSize…]. 'grad': the other way round. */
  readonly pass: 'forward' | 'grad';
  readonly rows: Axis;
  readonly columns: Axis;
  readonly channels: number;
  readonly epilogue?: Epilogue | undefined;
}

/**
 * Output columns at once. Three: as pairs of vectors their sums, a row of taps and one input fill 14 of 16 registers
 * (four and more spill in narrow mode and gain nothing in wide mode). A gradient tile is a whole number of strides.
 */
const tileColumns = (spec: WindowSpec) =>
  spec.pass === 'forward' || spec.columns.stride === 1 ? 3 : spec.columns.stride;

function windowKernel(spec: WindowSpec) {
  const { rows, columns, channels, epilogue } = spec;
  const forward = spec.pass === 'forward';
  const pixel = 4 * channels;
  const [inRows, outRows] = forward ? [rows.size, rows.outSize] : [rows.outSize, rows.size];
  const [inColumns, outColumns] = forward ? [columns.size, columns.outSize] : [columns.outSize, columns.size];
  const inRowBytes = inColumns * pixel;
  return defineKernel({
    key: `depthwise_${spec.pass}_${axisKey(rows)}_${axisKey(columns)}_c${channels}${epilogueKey(epilogue)}`,
    args: {
      input: 'i32',
      w: 'i32',
      output: 'i32',
      rows: 'i32',
      rowsPerChunk: 'i32',
      ...(epilogueArgs(epilogue) as Record<never, ArgType>),
    },
    scratchBytes: 16,
    chunk(f, a, chunk, scratch) {
      const cursor = new EpilogueCursor(f, epilogue, a);
      const tile = tileColumns(spec);
      const runs = forward ? forwardPlan(columns, tile) : gradPlan(columns, tile);
      const row = f.let(chunk.mul(a.rowsPerChunk));
      const end = f.let(row.add(a.rowsPerChunk));
      f.set(end, end.minS(a.rows));
      f.while(row.ltS(end), () => {
        const o = f.let(row.remU(outRows));
        const image = f.let(a.input.add(row.divU(outRows).mul(inRows * inRowBytes)));
        const taps = forward ? forwardRowTaps(f, rows, o) : gradRowTaps(f, rows, o);
        const step: RowStep = {
          count: taps.count,
          input: i32(taps.inStep * inRowBytes),
          weight: i32(taps.step * columns.kernel * pixel),
        };
        const input = f.let(image.add(taps.input.mul(inRowBytes)));
        const weight = f.let(a.w.add(taps.first.mul(columns.kernel * pixel)));
        const output = f.let(a.output.add(row.mul(outColumns * pixel)));
        sweepNewRows(f, spec.pass, rows, o, image, inRowBytes, scratch);
        for (const run of runs)
          forRun(f, run, pixel, (inAt, outAt) => {
            const number = cursor.active ? f.let(row.mul(outColumns).add(outAt.divU(pixel))) : i32(0);
            const [from, to] = [f.let(input.add(inAt)), f.let(output.add(outAt))];
            emitTile(f, channels, run, step, from, weight, to, cursor, number);
          });
        f.inc(row, 1);
      });
    },
  });
}

/** Rows per chunk: enough work to hide the claim, few enough chunks lost at the end. From shapes alone. */
const rowsPerChunkOf = (rowElements: number) => Math.max(1, Math.ceil(32768 / rowElements));

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
  const rows = g.batch * g.rows.outSize;
  const rowsPerChunk = rowsPerChunkOf(g.columns.outSize * g.channels);
  e.call(
    windowKernel({ pass: 'forward', rows: g.rows, columns: g.columns, channels: g.channels, epilogue }),
    { input: x!.buffer, w: w!.buffer, output: y!.buffer, rows, rowsPerChunk, ...epilogueValues(epilogue) },
    Math.ceil(rows / rowsPerChunk),
  );
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
  const rows = g.batch * g.rows.size;
  const rowsPerChunk = rowsPerChunkOf(g.columns.size * g.channels);
  e.call(
    windowKernel({ pass: 'grad', rows: g.rows, columns: g.columns, channels: g.channels }),
    { input: dy!.buffer, w: w!.buffer, output: dx!.buffer, rows, rowsPerChunk },
    Math.ceil(rows / rowsPerChunk),
  );
};
