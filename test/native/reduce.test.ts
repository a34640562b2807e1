/** Reductions against f64, bounded by a plain f32 loop's error; argmax and argmin; order of chunks and modes. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import type { Lowering } from '../../native/lower.ts';
import { argReduceWasm, type ReduceSpec, reduceWasm } from '../../native/reduce.ts';
import type { Data, DType } from '../../src/core/dtype.ts';
import { keyOf as seed, uniform } from '../../src/core/random.ts';
import * as E from '../../src/expr/nodes.ts';
import { compileJs } from '../../src/expr/printJs.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, wideRelaxed } from '../helpers/kernelRunner.ts';

type Space = readonly [number, number, number];
interface Problem {
  readonly space: Space;
  readonly reductions: ReduceSpec['reductions'];
  readonly inputs: readonly { readonly shape: readonly number[]; readonly strides: Space; readonly dtype?: DType }[];
}
const [x, y, z] = [E.input(0), E.input(1), E.input(2)];
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const drawn = (p: Problem) =>
  p.inputs.map(({ shape, dtype }, k) => {
    const u = uniform(seed(k + 1), sizeOf(shape));
    const data: Data = dtype === 'u8' ? Uint8Array.from(u, (v) => v * 256) : u.map((v) => v * 2 - 0.7);
    return { shape, data, ...(dtype ? { dtype } : {}) };
  });

const lower: Lowering<Problem> = (e, inputs, outputs, p) =>
  reduceWasm(e, {
    space: p.space,
    reductions: p.reductions,
    inputs: inputs.map((value, k) => ({ value, strides: p.inputs[k]!.strides })),
    outputs,
  });

/** Plain loops in order. With `round` an f32 loop. Gives the results and the sums of absolute terms. */
function loops(p: Problem, round: (v: number) => number) {
  const [outer, red, inner] = p.space;
  const inputs = drawn(p);
  const f = compileJs(
    p.reductions.map((r) => r.expr),
    round,
  );
  const results = p.reductions.map(() => new Float64Array(outer * inner));
  const scales = p.reductions.map(() => new Float64Array(outer * inner));
  const values = inputs.map(() => 0);
  const terms = p.reductions.map(() => 0);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const at = o * inner + i;
      p.reductions.forEach(({ op }, k) => {
        results[k]![at] = op === 'max' ? -Infinity : op === 'min' ? Infinity : 0;
      });
      for (let r = 0; r < red; r++) {
        p.inputs.forEach(({ strides: [so, sr, si] }, k) => {
          values[k] = inputs[k]!.data[o * so + r * sr + i * si]!;
        });
        f(values, terms);
        p.reductions.forEach(({ op }, k) => {
          const acc = results[k]![at]!;
          const t = terms[k]!;
          results[k]![at] = op === 'max' ? Math.max(acc, t) : op === 'min' ? Math.min(acc, t) : round(acc + t);
          scales[k]![at]! += Math.abs(t);
        });
      }
      p.reductions.forEach(({ op }, k) => {
        if (op !== 'mean') return;
        results[k]![at] = round(results[k]![at]! / red);
        scales[k]![at]! /= red;
      });
    }
  }
  return { results, scales };
}

const runners = { forward: new KernelRunner(narrowRelaxed, 512), backward: new BackwardRunner(narrowStrict, 512) };

function check(p: Problem) {
  const [outer, , inner] = p.space;
  const truth = loops(p, (v) => v);
  const plain = loops(p, Math.fround);
  const outs = p.reductions.map(() => ({ shape: [outer, inner] }));
  for (const [name, runner] of Object.entries(runners)) {
    runGuarded(lower, drawn(p), outs, p, runner).forEach((got, k) => {
      const want = truth.results[k]!;
      let worst = 0;
      want.forEach((v, i) => {
        worst = Math.max(worst, Math.abs(plain.results[k]![i]! - v));
      });
      got.forEach((v, i) => {
        // One ulp at the size of the terms, since a lucky plain loop may have no error at all.
        const bound = 4 * worst + truth.scales[k]![i]! * 2 ** -23;
        const fits = Object.is(v, want[i]) || Math.abs(v - want[i]!) <= bound;
        if (!fits) expect({ name, k, i, got: v }).toEqual({ name, k, i, got: want[i] });
      });
    });
  }
}

const full = ([, red, inner]: Space): Space => [red * inner, inner, 1];
const simple = (space: Space, ops: readonly ('sum' | 'mean' | 'max' | 'min')[] = ['sum']): Problem => ({
  space,
  reductions: ops.map((op) => ({ op, expr: x })),
  inputs: [{ shape: space, strides: full(space) }],
});

const columns: Space[] = [1, 2, 3, 7, 8, 9, 16, 17, 31, 33, 65, 513].map((inner) => [1, 70, inner]);
const spaces: Space[] = [
  ...columns,
  ...[1, 2, 7, 8, 9, 15, 16, 17, 33, 10575].map((red): Space => [3, red, 1]),
  [1, 40000, 1],
  [1, 5000, 128],
  [4, 49, 64],
  [600, 5, 2],
  [2, 700, 600],
  [5, 1, 40],
];

describe('reduceWasm', () => {
  it.each(spaces)('sums, averages and finds extremes over [%i, %i, %i]', (...space) => {
    check(simple(space, ['sum']));
    check(simple(space, ['sum', 'mean']));
    check(simple(space, ['max', 'min', 'mean', 'sum']));
  });

  it.each([
    [1, 900, 40],
    [1, 900, 5],
    [3, 70, 24],
  ] as Space[])('computes gradient sums over [%i, %i, %i] from channel operands', (...space) => {
    const inner = space[2];
    check({
      space,
      reductions: [
        { op: 'sum', expr: x },
        { op: 'sum', expr: E.mul(x, E.mul(E.sub(y, z), E.input(3))) },
      ],
      inputs: [
        { shape: space, strides: full(space) },
        { shape: space, strides: full(space) },
        { shape: [inner], strides: [0, 0, 1] },
        { shape: [], strides: [0, 0, 0] },
      ],
    });
  });

  it('sums exponentials of shifted rows', () => {
    const space: Space = [5, 1003, 1];
    check({
      space,
      reductions: [{ op: 'sum', expr: E.exp(E.sub(x, y)) }],
      inputs: [
        { shape: [5, 1003], strides: [1003, 1, 0] },
        { shape: [5], strides: [1, 0, 0] },
      ],
    });
  });

  it('takes any strides and dtypes', () => {
    // x transposed, u8 pixels, and an operand that changes along the reduced axis only.
    check({
      space: [2, 50, 9],
      reductions: [{ op: 'sum', expr: E.mul(E.add(x, y), z) }],
      inputs: [
        { shape: [2, 9, 50], strides: [450, 1, 50] },
        { shape: [2, 50, 9], strides: [450, 9, 1], dtype: 'u8' },
        { shape: [50], strides: [0, 1, 0] },
      ],
    });
    check({
      space: [3, 50, 1],
      reductions: [{ op: 'max', expr: E.add(x, y) }],
      inputs: [
        { shape: [50, 3], strides: [1, 3, 0] },
        { shape: [3, 50], strides: [50, 1, 0], dtype: 'u8' },
      ],
    });
  });

  it('defines empty reductions and lets NaN through', () => {
    const empty = simple([1, 0, 3], ['sum', 'mean', 'max', 'min']);
    const outs = empty.reductions.map(() => ({ shape: [3] }));
    const got = runGuarded(lower, drawn(empty), outs, empty, runners.forward).map((v) => v[1]);
    expect(got).toEqual([0, Number.NaN, -Infinity, Infinity]);
    for (const space of [
      [1, 40, 1],
      [1, 40, 9],
    ] as Space[]) {
      const p = simple(space, ['sum', 'max', 'min']);
      const data = new Float32Array(sizeOf(space)).fill(1);
      data[20 * space[2]] = Number.NaN;
      const nan = runGuarded(
        lower,
        [{ data, shape: space }],
        p.reductions.map(() => ({ shape: [space[2]] })),
        p,
        runners.forward,
      );
      expect(nan.map((v) => v[0])).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    }
  });

  it('errs less than a plain loop over a long axis', () => {
    for (const space of [
      [1, 300000, 1],
      [1, 50000, 8],
    ] as Space[]) {
      const p = simple(space);
      const truth = loops(p, (v) => v).results[0]!;
      const plain = loops(p, Math.fround).results[0]!;
      const [got] = runGuarded(lower, drawn(p), [{ shape: [space[2]] }], p, runners.forward);
      const error = (a: ArrayLike<number>) => Math.max(...Array.from(truth, (v, i) => Math.abs(a[i]! - v)));
      expect(error(got!)).toBeLessThan(error(plain) / 4);
    }
  });
});

describe('argReduceWasm', () => {
  const shapes: Space[] = [
    ...[1, 2, 7, 8, 9, 17, 1003].map((red): Space => [3, red, 1]),
    ...[2, 7, 8, 9, 17].map((inner): Space => [2, 30, inner]),
  ];
  it.each(shapes)('finds the first extreme of [%i, %i, %i]', (...space) => {
    const [outer, red, inner] = space;
    for (const op of ['max', 'min'] as const) {
      for (const dtype of ['f32', 'i32', 'u8'] as const) {
        // Few distinct values, so that there are ties.
        const u = uniform(seed(9), sizeOf(space)).map((v) => Math.floor(v * 6));
        const data = dtype === 'f32' ? u : dtype === 'i32' ? Int32Array.from(u) : Uint8Array.from(u);
        const want: number[] = [];
        for (let o = 0; o < outer; o++) {
          for (let i = 0; i < inner; i++) {
            const v = (r: number) => data[(o * red + r) * inner + i]!;
            let best = 0;
            for (let r = 1; r < red; r++) if (op === 'max' ? v(r) > v(best) : v(r) < v(best)) best = r;
            want.push(best);
          }
        }
        for (const runner of Object.values(runners)) {
          const [got] = runGuarded<undefined>(
            (e, [input], [output]) => argReduceWasm(e, { op, space, input: input!, output: output! }),
            [{ data, shape: space, dtype }],
            [{ shape: [outer, inner], dtype: 'i32' }],
            undefined,
            runner,
          );
          expect([...got!]).toEqual(want);
        }
      }
    }
  });
  it('handles infinities and NaN', () => {
    const rows = [
      [-Infinity, -Infinity, -Infinity],
      [Number.NaN, 1, 2],
      [1, Number.NaN, 2],
    ];
    for (const [space, pick] of [
      [[3, 3, 1], (r: number, c: number) => [r, c]],
      [[1, 3, 3], (r: number, c: number) => [c, r]],
    ] as const) {
      const data = Float32Array.from({ length: 9 }, (_, p) => {
        const [r, c] = pick(Math.floor(p / 3), p % 3);
        return rows[r!]![c!]!;
      });
      const [got] = runGuarded<undefined>(
        (e, [input], [output]) => argReduceWasm(e, { op: 'max', space, input: input!, output: output! }),
        [{ data, shape: space }],
        [{ shape: [3], dtype: 'i32' }],
        undefined,
        runners.forward,
      );
      expect([...got!]).toEqual([0, 0, 2]);
    }
  });
});

describe('modes of reductions', () => {
  it('wide and narrow, any order of chunks: the same bits', () => {
    setFlagsFromString('--no-liftoff');
    const problems: Problem[] = [...spaces, [2, 20000, 40] as Space].flatMap((space) => [
      simple(space, ['sum', 'max']),
      { ...simple(space), reductions: [{ op: 'sum' as const, expr: E.exp(x) }] },
    ]);
    const run = (runner: KernelRunner) =>
      problems.map((p) =>
        runGuarded(
          lower,
          drawn(p),
          p.reductions.map(() => ({ shape: [p.space[0], p.space[2]] })),
          p,
          runner,
        ).map((a) => Buffer.from(a.buffer)),
      );
    const narrow = run(new KernelRunner(narrowRelaxed, 256));
    const backward = run(new BackwardRunner(narrowRelaxed, 256));
    setFlagsFromString('--experimental-wasm-revectorize');
    const wide = run(new KernelRunner(wideRelaxed, 256));
    narrow.forEach((outs, i) => {
      outs.forEach((b, k) => {
        expect(Buffer.compare(b, backward[i]![k]!), `backward ${problems[i]!.space}`).toBe(0);
        expect(Buffer.compare(b, wide[i]![k]!), `wide ${problems[i]!.space}`).toBe(0);
      });
    });
  });
});
