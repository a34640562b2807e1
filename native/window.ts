/**
 * Window sums along one axis, planned when the code is generated.
 *
 * The one idea: outputs are cut into tiles of neighbours, and for each tile the plan lists which input column feeds which
 * output through which tap. Tiles with the same list form a run: one loop for the inside, straight code for the edges,
 * where the list is merely shorter. No column test is left at run time.
 */
import { type Fn, type I32, i32, loadI32 } from './wasm.ts';

export interface Feed {
  /** Input column, counted from the tile's first. */
  readonly column: number;
  /** Output, counted from the tile's first. */
  readonly output: number;
  readonly tap: number;
}

/** `count` tiles of `outputs` outputs with equal feeds. */
export interface Run {
  readonly count: number;
  readonly outputs: number;
  readonly outStart: number;
  readonly inStart: number;
  /** Input columns from one tile to the next. */
  readonly inStep: number;
  /** In ascending order of columns. */
  readonly feeds: readonly Feed[];
}

/** One axis of a convolution: input and output sizes, and what lies between. */
export interface Axis {
  readonly size: number;
  readonly outSize: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Zeros before the first input. */
  readonly before: number;
}

export const axisKey = (a: Axis) => `${a.size}>${a.outSize}k${a.kernel}s${a.stride}d${a.dilation}p${a.before}`;

/** Outputs along one axis; `padding` is both sides together. */
export const outputSize = (size: number, padding: number, kernel: number, stride: number, dilation: number) =>
  Math.floor((size + padding - (kernel - 1) * dilation - 1) / stride) + 1;

function plan(
  total: number,
  tile: number,
  sources: (output: number) => readonly { input: number; tap: number }[],
): Run[] {
  const runs: Run[] = [];
  const signature = (r: Run) => JSON.stringify([r.outputs, r.feeds]);
  for (let start = 0; start < total; start += tile) {
    const outputs = Math.min(tile, total - start);
    const list = Array.from({ length: outputs }, (_, o) =>
      sources(start + o).map(({ input, tap }) => ({ column: input, output: o, tap })),
    ).flat();
    const inStart = list.length ? Math.min(...list.map((x) => x.column)) : 0;
    const feeds = list
      .map((x) => ({ ...x, column: x.column - inStart }))
      .sort((a, b) => a.column - b.column || a.output - b.output);
    const run: Run = { count: 1, outputs, outStart: start, inStart, inStep: 0, feeds };
    const last = runs[runs.length - 1];
    const step = last ? inStart - (last.inStart + (last.count - 1) * last.inStep) : 0;
    if (last && signature(last) === signature(run) && (last.count === 1 || step === last.inStep))
      runs[runs.length - 1] = { ...last, count: last.count + 1, inStep: step };
    else runs.push(run);
  }
  return runs;
}

/** Output o is fed by inputs o·stride + tap·dilation − before. */
export const forwardPlan = (a: Axis, tile: number): Run[] =>
  plan(a.outSize, tile, (o) =>
    Array.from({ length: a.kernel }, (_, tap) => ({ input: o * a.stride + tap * a.dilation - a.before, tap })).filter(
      ({ input }) => input >= 0 && input < a.size,
    ),
  );

/** Gradient of input i is fed by outputs (i + before − tap·dilation)/stride where that is a whole number. */
export const gradPlan = (a: Axis, tile: number): Run[] =>
  plan(a.size, tile, (i) =>
    Array.from({ length: a.kernel }, (_, tap) => ({ input: (i + a.before - tap * a.dilation) / a.stride, tap })).filter(
      ({ input }) => Number.isInteger(input) && input >= 0 && input < a.outSize,
    ),
  );

/** Emits `body` for every tile of the run: byte offsets of its first input column and first output. */
export function forRun(f: Fn, run: Run, pixel: number, body: (input: I32, output: I32) => void): void {
  const input = run.inStart * pixel;
  const output = run.outStart * pixel;
  if (run.count === 1) {
    body(i32(input), i32(output));
    return;
  }
  const inAt = f.let(i32(input));
  f.for(output, output + run.count * run.outputs * pixel, run.outputs * pixel, (outAt) => {
    body(inAt, outAt);
    f.inc(inAt, run.inStep * pixel);
  });
}

/** Taps of one row: first, first + step, … (count of them). */
export interface RowTaps {
  readonly first: I32;
  readonly count: I32;
  /** Input row of the first tap; each further tap is `inStep` rows on. */
  readonly input: I32;
  readonly inStep: number;
  readonly step: number;
}

/** Taps of output row `o` whose input row lies inside. */
export function forwardRowTaps(f: Fn, a: Axis, o: I32): RowTaps {
  const start = f.let(o.mul(a.stride).sub(a.before));
  const first = f.let(
    i32(a.dilation - 1)
      .sub(start)
      .divS(a.dilation),
  );
  f.set(first, first.maxS(0));
  const end = f.let(
    i32(a.size + a.dilation - 1)
      .sub(start)
      .divS(a.dilation),
  );
  f.set(end, end.minS(a.kernel));
  return {
    first,
    count: f.let(end.sub(first)),
    input: f.let(start.add(first.mul(a.dilation))),
    inStep: a.dilation,
    step: 1,
  };
}

const gcd = (a: number, b: number): number => (b ? gcd(b, a % b) : a);

/** Taps of the gradient of input row `i` whose output row is a whole number and inside. */
export function gradRowTaps(f: Fn, a: Axis, i: I32): RowTaps {
  const first = f.let(i32(0));
  const count = f.let(i32(0));
  const p = f.let(i.add(a.before));
  f.for(0, a.kernel, 1, (tap) => {
    const t = f.let(p.sub(tap.mul(a.dilation)));
    f.if(
      t
        .geS(0)
        .and(t.ltS(a.outSize * a.stride))
        .and(t.remS(a.stride).eqz()),
      () => {
        f.if(count.eqz(), () => {
          f.set(first, tap);
        });
        f.inc(count, 1);
      },
    );
  });
  const step = a.stride / gcd(a.stride, a.dilation);
  return {
    first,
    count,
    input: f.let(p.sub(first.mul(a.dilation)).divS(a.stride)),
    inStep: -(step * a.dilation) / a.stride,
    step,
  };
}

/**
 * Reads one word of every cache line of `bytes` at `from`. Tiles walk many pixels at once, which hardware prefetchers
 * follow badly; one sweep in order beforehand brings the rows into cache at full bandwidth. `scratch` keeps the reads.
 */
export function emitSweep(f: Fn, from: I32, bytes: I32, scratch: I32): void {
  const seen = f.let(i32(0));
  const at = f.let(from);
  f.for(0, bytes, 64, () => {
    f.set(seen, seen.or(loadI32(at)));
    f.inc(at, 64);
  });
  f.storeI32(scratch, seen);
}

/** Sweeps the input rows that output row `o` is the first to read. */
export function sweepNewRows(
  f: Fn,
  pass: 'forward' | 'grad',
  a: Axis,
  o: I32,
  image: I32,
  rowBytes: number,
  scratch: I32,
): void {
  if (pass === 'forward') {
    const reach = (a.kernel - 1) * a.dilation + 1;
    const end = f.let(o.mul(a.stride).add(reach - a.before));
    const from = f.let(end.sub(Math.min(a.stride, reach)));
    f.set(from, from.maxS(0));
    f.set(end, end.minS(a.size));
    emitSweep(f, image.add(from.mul(rowBytes)), f.let(end.sub(from).mul(rowBytes)), scratch);
    return;
  }
  const p = f.let(o.add(a.before));
  const y = f.let(p.divU(a.stride));
  f.if(p.remU(a.stride).eqz().and(y.ltS(a.outSize)), () => {
    emitSweep(f, image.add(y.mul(rowBytes)), i32(rowBytes), scratch);
  });
}
