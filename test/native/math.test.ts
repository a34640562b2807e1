/** The stated ULP bounds of the f32x4 functions, over dense samples against Math.* in f64, and their edge cases. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { defineKernel } from '../../native/kernel.ts';
import { ulpBounds } from '../../native/math.ts';
import type { Mode } from '../../native/wasm.ts';
import { loadV128 } from '../../native/wasm.ts';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';
import { printJs } from '../../src/expr/printJs.ts';
import { emitExpr, emitExprPair, prepareExprs } from '../../src/expr/printWasm.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, wideRelaxed } from '../helpers/kernelRunner.ts';

setFlagsFromString('--no-liftoff');

const x = E.input(0);
const samples = 1 << 16;

/** Evaluates an expression of one operand over numbers, eight at a time. */
function evaluate(e: Expr, numbers: Float32Array, mode: Mode): Float32Array {
  const runner = new KernelRunner(mode, 32);
  const n = (numbers.length + 7) & ~7;
  const padded = new Float32Array(n);
  padded.set(numbers);
  const kernel = defineKernel({
    key: E.keyOf(e),
    args: { x: 'i32', y: 'i32', n: 'i32' },
    chunk(f, args) {
      const run = prepareExprs(f, [e]);
      f.for(0, args.n, 8, (i) => {
        const from = f.let(args.x.add(i.shl(2)));
        const to = f.let(args.y.add(i.shl(2)));
        const [y] = run([[f.let(loadV128(from)), f.let(loadV128(from, 16))]]);
        f.storeV128(to, y![0]!);
        f.storeV128(to, y![1]!, 16);
      });
    },
  });
  const from = runner.put(padded);
  const to = runner.alloc(4 * n);
  runner.run(kernel, { x: from, y: to, n }, 1);
  return runner.f32(to, numbers.length).slice();
}

/** Evenly spaced numbers with an irrational phase, so that they fall between the nice ones. */
const spread = (lo: number, hi: number) =>
  Float32Array.from({ length: samples }, (_, i) => lo + ((hi - lo) * (i + 0.618)) / samples);
/** Every exponent alike. */
const spreadLog = (lo: number, hi: number) =>
  Float32Array.from({ length: samples }, (_, i) => lo * (hi / lo) ** ((i + 0.618) / samples));

const ulp = (v: number) => 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(v)))) - 23);

type Case = readonly [name: keyof typeof ulpBounds, e: Expr, numbers: Float32Array];
const cases: readonly Case[] = [
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

describe.each([
  ['relaxed', narrowRelaxed],
  ['strict', narrowStrict],
] as const)('f32x4 functions, %s', (_, mode) => {
  it.each(cases)('%s stays within its bound', (name, e, numbers) => {
    const truth = printJs(e);
    const got = evaluate(e, numbers, mode);
    let worst = 0;
    let at = 0;
    numbers.forEach((v, i) => {
      const want = truth([v]);
      if (Math.fround(want) === got[i] || !Number.isFinite(Math.fround(want))) return;
      let error = Math.abs(got[i]! - want);
      if (name === 'sin' || name === 'cos') error = Math.max(0, error - (Math.abs(want) < 2 ** -10 ? 2 ** -33 : 0));
      const inUlp = error / ulp(want);
      if (!(inUlp <= worst)) {
        worst = inUlp;
        at = v;
      }
    });
    expect(worst, `at ${at}`).toBeLessThanOrEqual(ulpBounds[name]);
  });

  it.each([
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
  ])('%s at the edges', (_, e, numbers, want) => {
    expect([...evaluate(e, Float32Array.from(numbers), mode)]).toEqual(want);
  });
});

describe('printWasm', () => {
  it('gives the same code value alone, in pairs and prepared', () => {
    const e = E.add(E.tanh(E.mul(x, 3)), E.pow(E.abs(x), 1.5));
    const numbers = spread(-2, 2).subarray(0, 64);
    const runner = new KernelRunner(narrowRelaxed, 32);
    const kernel = defineKernel({
      key: 'ways',
      args: { x: 'i32', single: 'i32', pair: 'i32' },
      chunk(f, a) {
        f.for(0, 256, 32, (i) => {
          const v = [0, 16].map((o) => f.let(loadV128(f.let(a.x.add(i)), o)));
          f.storeV128(a.single.add(i), emitExpr(f, e, [v[0]!]));
          f.storeV128(a.single.add(i), emitExpr(f, e, [v[1]!]), 16);
          const [lo, hi] = emitExprPair(f, e, [[v[0]!, v[1]!]]);
          f.storeV128(a.pair.add(i), lo);
          f.storeV128(a.pair.add(i), hi, 16);
        });
      },
    });
    const [from, single, pair] = [runner.put(numbers), runner.alloc(256), runner.alloc(256)];
    runner.run(kernel, { x: from, single, pair }, 1);
    const want = evaluate(e, numbers, narrowRelaxed);
    expect([...runner.f32(single, 64)]).toEqual([...want]);
    expect([...runner.f32(pair, 64)]).toEqual([...want]);
  });
  it('wide and narrow agree to the bit', () => {
    const narrow = cases.map(([, e, numbers]) => evaluate(e, numbers, narrowRelaxed));
    setFlagsFromString('--experimental-wasm-revectorize');
    cases.forEach(([, e, numbers], i) => {
      const wide = evaluate(e, numbers, wideRelaxed);
      expect(Buffer.compare(Buffer.from(wide.buffer), Buffer.from(narrow[i]!.buffer)), E.keyOf(e)).toBe(0);
    });
  });
});
