/** What the transcendental functions of every device are tried on: dense sweeps with their bounds in ULP, and edges. */
import type { ulpBounds } from '../../native/math.ts';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';
import { printJs } from '../../src/expr/printJs.ts';

const x = E.input(0);
const samples = 1 << 16;

/** Evenly spaced numbers with an irrational phase, so that they fall between the nice ones. */
export const spread = (lo: number, hi: number) =>
  Float32Array.from({ length: samples }, (_, i) => lo + ((hi - lo) * (i + 0.618)) / samples);
/** Every exponent alike. */
const spreadLog = (lo: number, hi: number) =>
  Float32Array.from({ length: samples }, (_, i) => lo * (hi / lo) ** ((i + 0.618) / samples));

const ulp = (v: number) => 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(v)))) - 23);

export type MathCase = readonly [name: keyof typeof ulpBounds, e: Expr, numbers: Float32Array];
export const mathCases: readonly MathCase[] = [
  ['exp', E.exp(x), spread(-103, 88.7)],
  ['exp', E.exp(x), spread(-1, 1)],
  ['log', E.log(x), spreadLog(1e-44, 3e38)],
  ['log', E.log(x), spread(0.7, 1.4)],
  ['tanh', E.tanh(x), spread(-10, 10)],
  ['tanh', E.tanh(x), spread(-1, 1)],
  ['tanh', E.tanh(x), spreadLog(1e-40, 1)],
  ['sigmoid', E.sigmoid(x), spread(-103, 30)],
  ['sigmoid', E.sigmoid(x), spread(-4, 4)],
  ['sin', E.sin(x), spread(-8192, 8192)],
  ['sin', E.sin(x), spread(-4, 4)],
  ['cos', E.cos(x), spread(-8192, 8192)],
  ['cos', E.cos(x), spread(-4, 4)],
  ['acos', E.acos(x), spread(-1, 1)],
  ['acos', E.acos(x), spread(0.999, 1)],
  ['pow', E.pow(x, 2.5), spreadLog(1e-14, 1e15)],
  ['pow', E.pow(x, -17.25), spreadLog(0.01, 100)],
  ['pow', E.pow(x, 80.125), spread(0.4, 3)],
  ['pow', E.pow(x, 3000), spread(0.972, 1.029)],
  ['pow', E.pow(x, 9), spread(-10, 10)],
  ['pow', E.pow(1.375, x), spread(-320, 270)],
  ['pow', E.pow(x, -3), spread(-4, 4)],
];

/** Arguments and results at the edges of a function. */
export const mathEdges: readonly (readonly [
  name: string,
  e: Expr,
  numbers: readonly number[],
  want: readonly number[],
])[] = [
  [
    'exp',
    E.exp(x),
    [88.8, 1e30, Infinity, -104, -1e30, -Infinity, 0, NaN],
    [Infinity, Infinity, Infinity, 0, 0, 0, 1, NaN],
  ],
  ['log', E.log(x), [0, -0, -1, -Infinity, Infinity, 1, NaN], [-Infinity, -Infinity, NaN, NaN, Infinity, 0, NaN]],
  ['tanh', E.tanh(x), [20, 1e30, Infinity, -Infinity, 0, NaN], [1, 1, 1, -1, 0, NaN]],
  ['sigmoid', E.sigmoid(x), [100, Infinity, -200, -Infinity, 0, NaN], [1, 1, 0, 0, 0.5, NaN]],
  ['sin', E.sin(x), [0, Infinity, NaN], [0, NaN, NaN]],
  ['cos', E.cos(x), [0, -Infinity, NaN], [1, NaN, NaN]],
  ['acos', E.acos(x), [1, -1, 1.0001, -1.0001, Infinity, NaN], [0, Math.fround(Math.PI), NaN, NaN, NaN, NaN]],
  ['pow(x, 0)', E.pow(x, E.sub(x, x)), [0, -3, 5], [1, 1, 1]],
  ['pow(x, 2.5)', E.pow(x, 2.5), [0, -2, Infinity, 1e30, NaN, 1], [0, NaN, Infinity, Infinity, NaN, 1]],
  ['pow(x, -2.5)', E.pow(x, -2.5), [0, Infinity, -1], [Infinity, 0, NaN]],
  ['pow(x, 11)', E.pow(x, 11), [-2, 2, -1, -0, -1e10], [-2048, 2048, -1, -0, -Infinity]],
  ['pow(x, 12)', E.pow(x, 12), [-2, -1, -Infinity], [4096, 1, Infinity]],
  [
    'pow(2, x)',
    E.pow(2, x),
    [-149, -150.5, 127, 128, Infinity, -Infinity, NaN],
    [2 ** -149, 0, 2 ** 127, Infinity, Infinity, 0, NaN],
  ],
  ['pow(0.5, x)', E.pow(0.5, x), [Infinity, -Infinity, 1], [0, Infinity, 0.5]],
];

/**
 * The largest error in ULP and where. With `flushed`, subnormal numbers may have counted as zero: such arguments and results
 * are left out.
 */
export function worstError(
  [name, e, numbers]: readonly [name: string, e: Expr, numbers: Float32Array],
  got: ArrayLike<number>,
  flushed = false,
): { readonly worst: number; readonly at: number } {
  const truth = printJs(e);
  const least = flushed ? 2 ** -126 : 0;
  let worst = 0;
  let at = 0;
  numbers.forEach((v, i) => {
    const want = truth([v]);
    if (Math.fround(want) === got[i] || !Number.isFinite(Math.fround(want))) return;
    if (Math.abs(want) < least || Math.abs(v) < least) return;
    let error = Math.abs(got[i]! - want);
    if (name === 'sin' || name === 'cos') error = Math.max(0, error - (Math.abs(want) < 2 ** -10 ? 2 ** -33 : 0));
    const inUlp = error / ulp(want);
    if (!(inUlp <= worst)) {
      worst = inUlp;
      at = v;
    }
  });
  return { worst, at };
}
