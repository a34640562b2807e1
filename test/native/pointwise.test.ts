/** Pointwise kernels: random expressions to the bit, broadcasting, dtypes, tails, modes. */
import { setFlagsFromString } from 'node:v8';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Lowering } from '../../native/lower.ts';
import { pointwiseWasm } from '../../native/pointwise.ts';
import { mergeAxes } from '../../src/core/axes.ts';
import { type Data, type DType, hostArray } from '../../src/core/dtype.ts';
import { normal, keyOf as seed, uniform } from '../../src/core/random.ts';
import type { Expr } from '../../src/expr/nodes.ts';
import * as E from '../../src/expr/nodes.ts';
import { compileJs } from '../../src/expr/printJs.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { exactExprs, sameNumber } from '../helpers/exprs.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering, wideRelaxed } from '../helpers/kernelRunner.ts';

interface Operand {
  readonly shape: readonly number[];
  readonly dtype?: DType;
}
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const lower: Lowering<readonly Expr[]> = (e, inputs, outputs, exprs) => pointwiseWasm(e, { exprs, inputs, outputs });

function draw({ shape, dtype = 'f32' }: Operand, salt: number): Data {
  const n = sizeOf(shape);
  if (dtype === 'f32') return normal(seed(salt), n);
  const u = uniform(seed(salt), n);
  const data = hostArray(dtype, n);
  for (let i = 0; i < n; i++) {
    data[i] =
      dtype === 'bool' ? Math.round(u[i]!) : dtype === 'u8' ? Math.floor(u[i]! * 256) : Math.floor(u[i]! * 2000 - 1000);
  }
  return data;
}

/** Plain loops over a broadcast space; every operation rounds to f32. */
function reference(
  exprs: readonly Expr[],
  inputs: readonly (Operand & { data: Data })[],
  shape: readonly number[],
  dtypes: readonly DType[] = exprs.map(() => 'f32'),
  round: (x: number) => number = Math.fround,
): Data[] {
  const f = compileJs(exprs, round);
  const n = sizeOf(shape);
  const outs = dtypes.map((d) => hostArray(d, n));
  const strides = inputs.map((x) => {
    let step = 1;
    return shape
      .map((_, d) => x.shape[x.shape.length - shape.length + d] ?? 1)
      .reduceRight<number[]>((s, size) => {
        s.unshift(size === 1 ? 0 : step);
        step *= size;
        return s;
      }, []);
  });
  const values = inputs.map(() => 0);
  const results = exprs.map(() => 0);
  for (let p = 0; p < n; p++) {
    inputs.forEach((x, k) => {
      let rest = p;
      let at = 0;
      for (let d = shape.length - 1; d >= 0; d--) {
        at += (rest % shape[d]!) * strides[k]![d]!;
        rest = Math.floor(rest / shape[d]!);
      }
      values[k] = x.data[at]!;
    });
    f(values, results);
    results.forEach((r, k) => {
      const [low, high] = dtypes[k] === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, 255];
      outs[k]![p] = dtypes[k] === 'i32' || dtypes[k] === 'u8' ? Math.max(low, Math.min(high, Math.trunc(r))) : r;
    });
  }
  return outs;
}

const runners = {
  forward: new KernelRunner(narrowRelaxed, 512),
  backward: new BackwardRunner(narrowStrict, 512),
};

function check(
  exprs: readonly Expr[],
  operands: readonly Operand[],
  shape: readonly number[],
  dtypes?: readonly DType[],
) {
  const inputs = operands.map((x, i) => ({ ...x, data: draw(x, i + 1) }));
  const outputs = exprs.map((_, i) => ({ shape, dtype: dtypes?.[i] ?? ('f32' as const) }));
  const want = reference(exprs, inputs, shape, dtypes);
  for (const [name, runner] of Object.entries(runners)) {
    const got = runGuarded(lower, inputs, outputs, exprs, runner);
    got.forEach((y, k) => {
      const bad = y.findIndex((v: number, i: number) => !sameNumber(v, want[k]![i]!));
      expect(bad < 0 ? undefined : { name, k, bad, got: y[bad], want: want[k]![bad] }).toBeUndefined();
    });
  }
}

const [x, y, z] = [E.input(0), E.input(1), E.input(2)];
const prelu = E.where(E.gt(x, 0), x, E.mul(y, x));

describe('pointwise', () => {
  it('merges axes that all operands walk alike', () => {
    expect(mergeAxes([2, 3, 4, 5], [[2, 3, 4, 5], [5]])).toEqual({
      dims: [24, 5],
      strides: [
        [5, 1],
        [0, 1],
      ],
    });
    expect(mergeAxes([2, 3, 4], [[2, 3, 4], [2, 1, 1], []])).toEqual({
      dims: [2, 12],
      strides: [
        [12, 1],
        [1, 0],
        [0, 0],
      ],
    });
    expect(mergeAxes([1, 1], [[1]])).toEqual({ dims: [1], strides: [[0]] });
  });

  it.each([1, 2, 3, 7, 8, 9, 17, 16383, 16384, 16385, 32769])('adds %i elements', (n) => {
    check([E.add(x, y)], [{ shape: [n] }, { shape: [n] }], [n]);
  });

  it.each([
    [[5, 64], [64]],
    [[200, 3], [3]],
    [[9, 5, 7], [7]],
    [[40, 127], [127]],
    [
      [40, 129],
      [1, 129],
    ],
    [[513, 64], [64]],
    [[3, 20000], [20000]],
    [
      [3, 20000],
      [3, 1],
    ],
    [
      [33, 5],
      [33, 1],
    ],
    [
      [2, 3, 4, 8],
      [3, 1, 1],
    ],
    [
      [4, 49, 24],
      [4, 1, 24],
    ],
    [
      [2, 3, 2, 3, 2],
      [3, 1, 3, 1],
    ],
    [[7, 9], []],
    [
      [6, 1, 5],
      [6, 1, 5],
    ],
    [[0, 4], [4]],
  ])('broadcasts %j with %j', (shape, other) => {
    check([prelu], [{ shape }, { shape: other }], shape);
  });

  it('stretches all operands to a larger output', () => {
    check([E.add(x, y)], [{ shape: [4, 1] }, { shape: [1, 9] }], [3, 4, 9]);
    check([E.constant(2.5)], [], [19]);
  });

  it('writes several outputs, in place where shapes agree', () => {
    check([E.add(x, y), E.mul(x, y), E.max(x, z)], [{ shape: [31, 6] }, { shape: [6] }, { shape: [31, 1] }], [31, 6]);
    const data = draw({ shape: [1003] }, 5);
    const [got] = runLowering<undefined>(
      (e, [a], [b]) => {
        pointwiseWasm(e, { exprs: [E.mul(x, 2)], inputs: [a!], outputs: [b!] });
        pointwiseWasm(e, { exprs: [E.add(x, 1)], inputs: [b!], outputs: [b!] });
      },
      [{ data, shape: [1003] }],
      [{ shape: [1003] }],
      undefined,
    );
    expect([...got!]).toEqual([...data].map((v) => Math.fround(Math.fround(v * 2) + 1)));
  });

  it('takes many operands', () => {
    const operands = Array.from({ length: 14 }, (_, i): Operand => ({ shape: i % 2 ? [70] : [50, 70] }));
    check([operands.map((_, i) => E.input(i)).reduce(E.add)], operands, [50, 70]);
  });

  it.each([1, 7, 8, 9, 100])('converts dtypes, %i elements', (n) => {
    const operands: Operand[] = [
      { shape: [n], dtype: 'u8' },
      { shape: [n], dtype: 'i32' },
      { shape: [n], dtype: 'bool' },
      { shape: [1], dtype: 'bool' },
    ];
    const c = E.input(2, true);
    check(
      [
        E.where(c, E.mul(x, 0.5), E.add(y, 0.5)),
        E.div(y, 7),
        E.add(E.mul(x, 1.5), E.mul(y, 0.25)),
        E.or(E.and(c, E.gt(y, 0)), E.not(E.input(3, true))),
      ],
      operands,
      [n],
      ['f32', 'i32', 'u8', 'bool'],
    );
  });

  it('converts dtypes of channels', () => {
    check(
      [E.div(E.sub(x, y), z)],
      [{ shape: [100, 3], dtype: 'u8' }, { shape: [3] }, { shape: [3], dtype: 'u8' }],
      [100, 3],
    );
  });

  it('agrees with f32 arithmetic to the bit on random expressions and shapes', () => {
    const shapes = fc
      .tuple(fc.constantFrom(1, 2, 9), fc.constantFrom(1, 3, 8, 13, 64))
      .chain(([r, c]) =>
        fc
          .array(fc.constantFrom([r, c], [c], [r, 1], []), { minLength: 2, maxLength: 2 })
          .map((two) => ({ r, c, operands: [...two, [r, c]] })),
      );
    const runner = new KernelRunner(narrowStrict, 512);
    fc.assert(
      fc.property(exactExprs(2, 1), shapes, (e, { r, c, operands }) => {
        const inputs = operands.map((shape, i) => {
          const dtype: DType = i === 2 ? 'bool' : 'f32';
          return { shape, dtype, data: draw({ shape, dtype }, i + 1) };
        });
        const [want] = reference([e], inputs, [r, c]);
        const [got] = runGuarded(lower, inputs, [{ shape: [r, c] }], [e], runner);
        return got!.every((v, i) => sameNumber(v, want![i]!));
      }),
      { numRuns: 120 },
    );
  });

  it('stays near a plain f32 loop where functions are approximated', () => {
    const gelu = E.mul(E.mul(0.5, x), E.add(1, E.tanh(E.mul(0.79788456, E.add(x, E.mul(0.044715, E.pow(x, 3)))))));
    const softplus = E.log(E.add(1, E.exp(x)));
    const margin = E.cos(E.add(E.acos(E.min(E.max(E.mul(x, 0.3), -1), 1)), 0.5));
    const shape = [4099];
    const inputs = [{ shape, data: draw({ shape }, 3) }];
    const exprs = [gelu, softplus, margin];
    const truth = reference(exprs, inputs, shape, undefined, (v) => v);
    const plain = reference(exprs, inputs, shape);
    for (const runner of Object.values(runners)) {
      const got = runGuarded(
        lower,
        inputs,
        exprs.map(() => ({ shape })),
        exprs,
        runner,
      );
      got.forEach((values, k) => {
        // `truth` is held in f32, too: its own rounding is the one ulp.
        let error = 0;
        let bound = 0;
        let scale = 0;
        values.forEach((v: number, i: number) => {
          error = Math.max(error, Math.abs(v - truth[k]![i]!));
          bound = Math.max(bound, Math.abs(plain[k]![i]! - truth[k]![i]!));
          scale = Math.max(scale, Math.abs(truth[k]![i]!));
        });
        expect(error).toBeLessThanOrEqual(4 * bound + scale * 2 ** -23);
      });
    }
  });

  it('wide and narrow agree to the bit', () => {
    setFlagsFromString('--no-liftoff');
    const exprs = [prelu, E.add(E.exp(x), E.mul(y, z)), E.tanh(E.add(x, y))];
    const shapes = [[1000, 64], [77, 37], [5, 3], [20011]];
    const run = (runner: KernelRunner) =>
      shapes.flatMap((shape) => {
        const operands = [{ shape }, { shape: shape.slice(-1) }, { shape: [] }];
        const inputs = operands.map((o, i) => ({ ...o, data: draw(o, i + 1) }));
        return runLowering(
          lower,
          inputs,
          exprs.map(() => ({ shape })),
          exprs,
          runner,
        ).map((a) => Buffer.from(a.buffer));
      });
    const narrow = run(new KernelRunner(narrowRelaxed, 64));
    setFlagsFromString('--experimental-wasm-revectorize');
    run(new KernelRunner(wideRelaxed, 64)).forEach((b, i) => {
      expect(Buffer.compare(b, narrow[i]!)).toBe(0);
    });
  });
});
