/** The stated ULP bounds of the f32x4 functions, over dense samples against Math.* in f64, and their edge cases. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { defineKernel } from '../../native/kernel.ts';
import { ulpBounds } from '../../native/math.ts';
import type { Mode } from '../../native/wasm.ts';
import { loadV128 } from '../../native/wasm.ts';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';
import { emitExpr, emitExprPair, prepareExprs } from '../../src/expr/printWasm.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, wideRelaxed } from '../helpers/kernelRunner.ts';
import { mathCases, mathEdges, spread, worstError } from '../helpers/mathCases.ts';

setFlagsFromString('--no-liftoff');

const x = E.input(0);

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

describe.each([
  ['relaxed', narrowRelaxed],
  ['strict', narrowStrict],
] as const)('f32x4 functions, %s', (_, mode) => {
  it.each(mathCases)('%s stays within its bound', (...c) => {
    const [name, e, numbers] = c;
    const { worst, at } = worstError(c, evaluate(e, numbers, mode));
    expect(worst, `at ${at}`).toBeLessThanOrEqual(ulpBounds[name]);
  });

  it.each(mathEdges)('%s at the edges', (_, e, numbers, want) => {
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
    const narrow = mathCases.map(([, e, numbers]) => evaluate(e, numbers, narrowRelaxed));
    setFlagsFromString('--experimental-wasm-revectorize');
    mathCases.forEach(([, e, numbers], i) => {
      const wide = evaluate(e, numbers, wideRelaxed);
      expect(Buffer.compare(Buffer.from(wide.buffer), Buffer.from(narrow[i]!.buffer)), E.keyOf(e)).toBe(0);
    });
  });
});
