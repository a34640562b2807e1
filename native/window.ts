/**
 * Window sums along one axis: what is known when the code is generated, and what is left to run time.
 *
 * The one idea: outputs are cut into tiles of neighbours. Kernel, stride, dilation and padding fix which input column feeds
 * which output of a tile through which tap, inside and at both edges, whatever the size. So the code holds one tile for
 * the inside and a few for the edges, where the list of feeds is merely shorter, and `walkOf` says from the sizes how
 * many tiles there are and which edges occur. What no tile covers, such as maps smaller than one, goes column by column.
 */
import { type Fn, type I32, i32, type Local, loadI32 } from './wasm.ts';

/** One axis of a convolution: input and output sizes, and what lies between. */
export interface Axis extends AxisTaps {
  readonly size: number;
  readonly outSize: number;
}

/** An axis but for its sizes. */
export interface AxisTaps {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Zeros before the first input. */
  readonly before: number;
}

export const tapsKey = (a: AxisTaps) => `k${a.kernel}s${a.stride}d${a.dilation}p${a.before}`;
export const axisKey = (a: Axis) => `${a.size}>${a.outSize}${tapsKey(a)}`;

/** Outputs along one axis; `padding` is both sides together. */
export const outputSize = (size: number, padding: number, kernel: number, stride: number, dilation: number) =>
  Math.floor((size + padding - (kernel - 1) * dilation - 1) / stride) + 1;

export interface Feed {
  /** Input column, counted from the tile's base. */
  readonly column: number;
  /** Output, counted from the tile's first. */
  readonly output: number;
  readonly tap: number;
}

/** Neighbouring outputs and what feeds them, in ascending order of columns. */
export interface Tile {
  readonly outputs: number;
  readonly feeds: readonly Feed[];
}

/** The tiles of an axis of any size. Tile t starts at output t·outputs and counts columns from base + t·step. */
export interface Pattern {
  readonly inside: Tile;
  /** Tiles that begin left of the input, in order from output 0. */
  readonly heads: readonly Tile[];
  /** What the last tile may be: fewer outputs, or columns right of the input. */
  readonly tails: readonly Tile[];
  readonly base: number;
  readonly step: number;
  /** Tiles start at multiples of this. */
  readonly align: number;
}

const same = (a: Tile, b: Tile) => JSON.stringify(a) === JSON.stringify(b);

/** The tile's first outputs, fed by the columns from `low` to below `high`. */
const cut = (t: Tile, outputs: number, low: number, high: number): Tile => ({
  outputs,
  feeds: t.feeds.filter((x) => x.output < outputs && x.column >= low && x.column < high),
});

/** Head tiles beyond this number (huge padding) are not worth their code. */
const mostHeads = 2;

function patternOf(
  outputs: number,
  step: number,
  align: number,
  sources: readonly Feed[],
  columnsAfter: (outputs: number) => readonly number[],
): Pattern {
  const base = Math.min(...sources.map((x) => x.column));
  const feeds = sources
    .map((x) => ({ ...x, column: x.column - base }))
    .sort((a, b) => a.column - b.column || a.output - b.output);
  const inside: Tile = { outputs, feeds };
  const heads: Tile[] = [];
  for (let at = base; at < 0; at += step) heads.push(cut(inside, outputs, -at, Number.POSITIVE_INFINITY));
  const tails: Tile[] = [];
  for (let n = 1; n <= outputs; n++)
    for (const left of columnsAfter(n)) {
      const tile = cut(inside, n, 0, left - base);
      if (![inside, ...tails].some((t) => same(t, tile))) tails.push(tile);
    }
  return { inside, heads: heads.length > mostHeads ? [] : heads, tails, base, step, align };
}

const span = (a: AxisTaps) => (a.kernel - 1) * a.dilation + 1;

/** Output o is fed by inputs o·stride + tap·dilation − before. `after` counts the zeros after the last input. */
export function forwardPattern(a: AxisTaps, after: number, outputs: number): Pattern {
  const sources = Array.from({ length: outputs * a.kernel }, (_, i) => {
    const [output, tap] = [Math.floor(i / a.kernel), i % a.kernel];
    return { column: output * a.stride + tap * a.dilation - a.before, output, tap };
  });
  // Of the zeros after the input the last window leaves out up to stride − 1.
  return patternOf(outputs, outputs * a.stride, 1, sources, (n) =>
    Array.from({ length: a.stride }, (_, unused) => (n - 1) * a.stride + span(a) - a.before - after + unused),
  );
}

/**
 * Gradient of input i is fed by outputs (i + before − tap·dilation)/stride where that is a whole number. `outputs` is a
 * multiple of the stride, so that every tile has the same feeds.
 */
export function gradPattern(a: AxisTaps, after: number, outputs: number): Pattern {
  const sources: Feed[] = [];
  for (let output = 0; output < outputs; output++)
    for (let tap = 0; tap < a.kernel; tap++) {
      const column = (output + a.before - tap * a.dilation) / a.stride;
      if (Number.isInteger(column)) sources.push({ column, output, tap });
    }
  return patternOf(outputs, outputs / a.stride, a.stride, sources, (n) => [
    Math.floor((n + a.before + after - span(a)) / a.stride) + 1,
  ]);
}

/** The feeds of the gradient of a convolution of stride 1 are those of a convolution by the taps in reverse. */
export const reversed = (a: AxisTaps, after: number): readonly [AxisTaps, number] => [
  { ...a, before: span(a) - 1 - a.before },
  span(a) - 1 - after,
];

/** How a row of given sizes is walked: heads or none, `tiles` inside, `middle` single columns, a tail or none (−1). */
export interface Walk {
  readonly heads: number;
  readonly tiles: number;
  readonly middle: number;
  readonly tail: number;
}

/** `size` outputs from `inputs` inputs. */
export function walkOf(p: Pattern, size: number, inputs: number): Walk {
  const { outputs, feeds } = p.inside;
  const reach = Math.max(...feeds.map((x) => x.column)) + 1;
  const whole = Math.min(Math.floor(size / outputs), Math.floor((inputs - p.base - reach) / p.step) + 1);
  const heads = p.heads.length;
  if (whole < heads || (p.base < 0 && heads === 0)) return { heads: 0, tiles: 0, middle: size, tail: -1 };
  const tiles = Math.max(0, whole) - heads;
  const rest = size - Math.max(0, whole) * outputs;
  const over = rest > outputs ? Math.ceil((rest - outputs) / p.align) * p.align : 0;
  const n = rest - over;
  const base = p.base + ((size - n) * p.step) / outputs;
  const tail = base < 0 ? -1 : p.tails.findIndex((t) => same(t, cut(p.inside, n, 0, inputs - base)));
  return { heads: heads ? 1 : 0, tiles, middle: tail < 0 ? rest : over, tail };
}

/** Arguments of a kernel that walks rows, and their values. */
export const walkArgs = { heads: 'i32', tiles: 'i32', middle: 'i32', tail: 'i32' } as const;
export type WalkArgs = { readonly [K in keyof typeof walkArgs]: Local<I32> };

/**
 * Visits what the tiles leave: columns that no tile covers, for all channels; and every column for the channels that fill
 * no pair. `body` gets the column and the first byte of the pixel (of `pixel`, `pairs` of them in pairs) that is left.
 */
export function eachLeftover(
  f: Fn,
  a: WalkArgs & { readonly outColumns: Local<I32> },
  pattern: Pattern,
  pixel: Local<I32>,
  pairs: Local<I32>,
  body: (column: Local<I32>, start: Local<I32>) => void,
): void {
  const { outputs } = pattern.inside;
  const first = f.let(a.tiles.add(a.heads.mul(pattern.heads.length)).mul(outputs));
  const last = f.let(first.add(a.middle));
  f.if(a.middle.or(pixel.sub(pairs)), () => {
    const some = f.let(pixel.eq(pairs));
    const column = f.let(first.mul(some));
    const stop = f.let(a.outColumns.sub(a.outColumns.sub(last).mul(some)));
    f.while(column.ltS(stop), () => {
      body(column, f.let(pairs.mul(column.ltS(first).or(column.geS(last)))));
      f.inc(column, 1);
    });
  });
}

/** Taps of one place: first, first + step, … (count of them). */
export interface Taps {
  readonly first: I32;
  readonly count: I32;
  /** Input of the first tap; each further tap is `inStep` inputs on. */
  readonly input: I32;
  readonly inStep: number;
  readonly step: number;
}

/** Taps of output `o` whose input lies inside. */
export function forwardTaps(f: Fn, a: AxisTaps, inputs: I32, o: I32): Taps {
  const start = f.let(o.mul(a.stride).sub(a.before));
  const first = f.let(
    i32(a.dilation - 1)
      .sub(start)
      .divS(a.dilation),
  );
  f.set(first, first.maxS(0));
  const end = f.let(
    inputs
      .add(a.dilation - 1)
      .sub(start)
      .divS(a.dilation),
  );
  f.set(end, end.minS(a.kernel));
  f.set(end, end.maxS(first));
  return {
    first,
    count: f.let(end.sub(first)),
    input: f.let(start.add(first.mul(a.dilation))),
    inStep: a.dilation,
    step: 1,
  };
}

const gcd = (a: number, b: number): number => (b ? gcd(b, a % b) : a);

/** Taps of the gradient of input `i` whose output, one of `outputs`, is a whole number and inside. */
export function gradTaps(f: Fn, a: AxisTaps, outputs: I32, i: I32): Taps {
  const first = f.let(i32(0));
  const count = f.let(i32(0));
  const p = f.let(i.add(a.before));
  const limit = f.let(outputs.mul(a.stride));
  f.for(0, a.kernel, 1, (tap) => {
    const t = f.let(p.sub(tap.mul(a.dilation)));
    f.if(t.geS(0).and(t.ltS(limit)).and(t.remS(a.stride).eqz()), () => {
      f.if(count.eqz(), () => {
        f.set(first, tap);
      });
      f.inc(count, 1);
    });
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
 * follow badly; one sweep in order beforehand brings the rows into cache at full bandwidth. That pays for rows about
 * to be written, too, where much is written for little read. `scratch` keeps the reads: loads whose values are dropped
 * were measured a third slower.
 */
export function emitSweep(f: Fn, from: I32, bytes: I32, scratch: I32): void {
  const seen = f.let(i32(0));
  const at = f.let(from);
  const end = f.let(at.add(bytes));
  const most = f.let(end.sub(448));
  f.while(at.ltS(most), () => {
    for (let i = 0; i < 8; i++) f.set(seen, seen.or(loadI32(at, 64 * i)));
    f.inc(at, 512);
  });
  f.while(at.ltS(end), () => {
    f.set(seen, seen.or(loadI32(at)));
    f.inc(at, 64);
  });
  f.storeI32(scratch, seen);
}

/** Whether data of this size comes from memory, so that a sweep pays: it is more than a second-level cache. */
export const worthSweeping = (bytes: number): 0 | 1 => (bytes > 1 << 20 ? 1 : 0);

/** Input rows [from, end) that output row `o` is the first to read. */
export function newRows(f: Fn, pass: 'forward' | 'grad', a: AxisTaps, inputs: I32, o: I32): { from: I32; end: I32 } {
  if (pass === 'forward') {
    const end = f.let(o.mul(a.stride).add(span(a) - a.before));
    const from = f.let(end.sub(Math.min(a.stride, span(a))));
    f.set(from, from.maxS(0));
    f.set(end, end.minS(inputs));
    return { from, end };
  }
  const p = f.let(o.add(a.before));
  const from = f.let(p.divU(a.stride));
  return { from, end: f.let(from.add(p.remU(a.stride).eqz().and(from.ltS(inputs)))) };
}
