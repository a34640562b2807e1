import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { biasEpilogue, type Epilogue } from '../../native/epilogue.ts';
import { gemmTile } from '../../native/gemm.ts';
import type { Kernel } from '../../native/kernel.ts';
import type { Buffer, Lowering } from '../../native/lower.ts';
import { type MatmulAttrs, matmulWasm, packB, packBBytes } from '../../native/matmul.ts';
import type { Mode } from '../../native/wasm.ts';
import { ShapeError } from '../../src/core/errors.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering, wideRelaxed } from '../helpers/kernelRunner.ts';

const { fround } = Math;

function noise(n: number, seed: number): Float32Array {
  let s = seed * 2654435761 + 12345;
  return Float32Array.from({ length: n }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >> 8) / 8388608;
  });
}

interface Problem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly batch?: number;
  readonly sharedA?: boolean;
  readonly sharedB?: boolean;
}

interface Case {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly aShape: number[];
  readonly bShape: number[];
  readonly cShape: number[];
}

function build(p: Problem): Case {
  const lead = p.batch ? [p.batch] : [];
  const aShape = [...(p.sharedA ? [] : lead), ...(p.transA ? [p.k, p.m] : [p.m, p.k])];
  const bShape = [...(p.sharedB ? [] : lead), ...(p.transB ? [p.n, p.k] : [p.k, p.n])];
  const size = (s: number[]) => s.reduce((x, y) => x * y, 1);
  return { a: noise(size(aShape), 1), b: noise(size(bShape), 2), aShape, bShape, cShape: [...lead, p.m, p.n] };
}

/** Σ_k a·b for every element, each step rounded by `round`. */
function reference(p: Problem, { a, b }: Case, round: (x: number) => number): Float64Array {
  const { m, n, k } = p;
  const batch = p.batch ?? 1;
  const c = new Float64Array(batch * m * n);
  for (let q = 0; q < batch; q++) {
    const [a0, b0] = [p.sharedA ? 0 : q * m * k, p.sharedB ? 0 : q * k * n];
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) {
          const x = a[a0 + (p.transA ? l * m + i : i * k + l)] as number;
          const y = b[b0 + (p.transB ? j * k + l : l * n + j)] as number;
          sum = round(sum + round(x * y));
        }
        c[(q * m + i) * n + j] = sum;
      }
  }
  return c;
}

const worst = (x: ArrayLike<number>, y: ArrayLike<number>) => {
  let w = 0;
  for (let i = 0; i < y.length; i++) {
    const d = Math.abs((x[i] as number) - (y[i] as number));
    if (!(d <= w)) w = d;
  }
  return w;
};
const largest = (x: Float64Array) => x.reduce((w, v) => Math.max(w, Math.abs(v)), 0);

/** At most four times the error of a plain f32 loop, plus one unit in the last place of the largest element. */
function expectClose(c: ArrayLike<number>, p: Problem, data: Case, then = (x: number, _i: number) => x) {
  const exact = reference(p, data, (x) => x).map(then);
  const plain = reference(p, data, fround).map(then).map(fround);
  const ulp = 2 ** (Math.floor(Math.log2(largest(exact) || 1)) - 23);
  expect(c.length).toBe(exact.length);
  expect(worst(c, exact)).toBeLessThanOrEqual(4 * worst(plain, exact) + ulp);
}

/** A small memory: every address past the operands' end must stay unread or at least unwritten. */
const runner = (mode: Mode, megabytes = 64) => new KernelRunner(mode, megabytes);

function multiply(p: Problem, data: Case, r = runner(narrowRelaxed), more: Partial<MatmulAttrs> = {}) {
  const attrs = { transA: !!p.transA, transB: !!p.transB, ...more };
  const inputs = [
    { data: data.a, shape: data.aShape },
    { data: data.b, shape: data.bShape },
  ];
  return runLowering(matmulWasm, inputs, [{ shape: data.cShape }], attrs, r)[0] as Float32Array;
}

const transposes = [
  { transA: false, transB: false },
  { transA: false, transB: true },
  { transA: true, transB: false },
  { transA: true, transB: true },
];
const { mr, nr } = gemmTile(narrowRelaxed);
const tails = (t: number) => [...new Set([1, 2, 3, t - 1, t, t + 1, 2 * t + 1])];

describe.each(transposes)('matmul transA $transA transB $transB', (t) => {
  it('is right at every tail of the tile', () => {
    const r = runner(narrowRelaxed, 128);
    for (const m of [...tails(mr), 19, 20, 23])
      for (const n of [...tails(nr), 20, 33])
        for (const k of [1, 3, 4, 5, 17]) {
          const p = { m, n, k, ...t };
          const data = build(p);
          expectClose(multiply(p, data, r), p, data);
        }
  });
  it('is right where work is cut into blocks of rows and columns', () => {
    for (const [m, n, k] of [
      [300, 70, 40],
      [130, 300, 30],
      [49, 200, 100],
    ] as const) {
      const p = { m, n, k, ...t };
      const data = build(p);
      expectClose(multiply(p, data), p, data);
    }
  });
  it('is right where k is split', () => {
    for (const [m, n, k] of [
      [1, 1, 1025],
      [7, 9, 3000],
      [20, 33, 9001],
    ] as const) {
      const p = { m, n, k, ...t };
      const data = build(p);
      expectClose(multiply(p, data), p, data);
    }
    const tall = { m: 520, n: 5, k: 1100, ...t };
    const data = build(tall);
    expectClose(multiply(tall, data), tall, data);
  });
  it('takes batches on either side', () => {
    for (const k of [5, 1030])
      for (const side of [{}, { sharedA: true }, { sharedB: true }]) {
        const p = { m: 7, n: 10, k, batch: 3, ...t, ...side };
        const data = build(p);
        expectClose(multiply(p, data), p, data);
      }
  });
  it('is right in strict mode, and equal to the plain loop to the bit', () => {
    for (const [m, n, k] of [
      [13, 19, 33],
      [6, 8, 600],
    ] as const) {
      const p = { m, n, k, ...t };
      const data = build(p);
      const c = multiply(p, data, runner(narrowStrict));
      expect([...c]).toEqual([...reference(p, data, fround)]);
    }
  });
  it('reads B that was packed before', () => {
    for (const [m, n, k] of [
      [13, 19, 33],
      [300, 20, 33],
      [5, 9, 1030],
    ] as const) {
      const p = { m, n, k, ...t };
      const data = build(p);
      const r = runner(narrowRelaxed);
      const bytes = packBBytes(r.mode, k, n);
      const both: Lowering<MatmulAttrs> = (e, [a, b], outputs, attrs) => {
        const packed = { buffer: e.temp(bytes), shape: [bytes / 4], dtype: 'f32' as const };
        packB(e, [b as never], [packed], attrs);
        matmulWasm(e, [a as never, { ...(b as object), buffer: packed.buffer } as never], outputs, {
          ...attrs,
          packed: true,
        });
      };
      const inputs = [
        { data: data.a, shape: data.aShape },
        { data: data.b, shape: data.bShape },
      ];
      const c = runLowering(both, inputs, [{ shape: data.cShape }], t, r)[0] as Float32Array;
      expect([...c]).toEqual([...multiply(p, data)]);
    }
  });
});

describe('matmul of matrices beyond the caches', () => {
  it.each([
    { m: 16400, n: 3, k: 65 },
    { m: 100, n: 10500, k: 3 },
    { m: 100, n: 10501, k: 3, transB: true },
    { m: 8, n: 9, k: 130000, transA: true },
  ])('is right: $m x $k x $n', (p: Problem) => {
    const data = build(p);
    expectClose(multiply(p, data), p, data);
  });
});

describe('epilogues of matmul', () => {
  const affine = (kinds: Buffer[]): Epilogue => ({
    key: 'test_affine',
    operands: kinds.map((buffer, i) => ({ buffer, kind: (['column', 'row', 'full', 'scalar'] as const)[i] as 'row' })),
    apply: (_, acc, [column, row, full, scalar]) =>
      acc
        .mul(column as never)
        .add(row as never)
        .add(full as never)
        .mul(scalar as never),
  });
  it.each([
    { m: 13, n: 19, k: 5 },
    { m: 1, n: 1, k: 3 },
    { m: 300, n: 40, k: 20 },
    { m: 13, n: 19, k: 1500 },
    { m: 13, n: 16, k: 5, transA: true },
    { m: 7, n: 11, k: 6, batch: 3 },
    { m: 7, n: 11, k: 1030, batch: 2 },
  ])('apply operands of every kind: $m x $k x $n', (p: Problem) => {
    const data = build(p);
    const rows = (p.batch ?? 1) * p.m;
    const extra = [noise(p.n, 3), noise(rows, 4), noise(rows * p.n, 5), noise(1, 6)] as const;
    const r = runner(narrowRelaxed);
    const buffers = extra.map((x) => ({ id: r.put(x), offset: 0 }));
    const c = multiply(p, data, r, { epilogue: affine(buffers) });
    const [column, row, full, scalar] = extra;
    expectClose(c, p, data, (x, i) => {
      const [at, j] = [Math.floor(i / p.n), i % p.n];
      return (x * (column[j] as number) + (row[at] as number) + (full[i] as number)) * (scalar[0] as number);
    });
  });
  it('adds a bias', () => {
    const p = { m: 20, n: 24, k: 7 };
    const data = build(p);
    const r = runner(narrowRelaxed);
    const bias = noise(p.n, 9);
    const c = multiply(p, data, r, { epilogue: biasEpilogue({ id: r.put(bias), offset: 0 }) });
    expectClose(c, p, data, (x, i) => x + (bias[i % p.n] as number));
  });
});

describe('memory of matmul', () => {
  it.each([
    { m: 7, n: 9, k: 5 },
    { m: 7, n: 9, k: 1100 },
    { m: 150, n: 33, k: 64 },
    { m: 7, n: 9, k: 5, transA: true },
    { m: 7, n: 9, k: 1100, transA: true },
  ])('leaves its neighbours alone: $m x $k x $n transA $transA', (p: Problem) => {
    const data = build(p);
    const r = runner(narrowRelaxed);
    let end = 0;
    const guarded: Lowering<MatmulAttrs> = (e, inputs, outputs, attrs) => {
      end = (outputs[0]?.buffer.id ?? 0) + 4 * p.m * p.n;
      r.alloc(4096);
      r.u8(end, 2048).fill(0x77);
      matmulWasm(e, inputs, outputs, attrs);
    };
    const inputs = [
      { data: data.a, shape: data.aShape },
      { data: data.b, shape: data.bShape },
    ];
    runLowering(guarded, inputs, [{ shape: data.cShape }], { transA: !!p.transA, transB: false }, r);
    expect(r.u8(end, 2048).every((x) => x === 0x77)).toBe(true);
  });
});

describe('chunks of matmul', () => {
  it.each([
    { m: 300, n: 70, k: 60 },
    { m: 49, n: 300, k: 200 },
    { m: 20, n: 33, k: 9001, transA: true },
  ])('give the same bits alone and in reverse order: $m x $k x $n', (p: Problem) => {
    const data = build(p);
    const r = runner(narrowRelaxed, 128);
    const straight = multiply(p, data, r);
    let most = 0;
    const reversed: Lowering<MatmulAttrs> = (e, inputs, outputs, attrs) => {
      const address = (x: number | Buffer) => (typeof x === 'number' ? x : x.id + x.offset);
      const call: typeof e.call = (kernel, args, chunks) => {
        most = Math.max(most, chunks);
        const names = Object.keys(kernel.args);
        const values = Object.fromEntries(names.map((x) => [x, address(args[x] as number | Buffer)]));
        // A counter that starts at chunk c of c + 1 runs that chunk alone.
        for (let c = chunks - 1; c >= 0; c--) runFrom(r, kernel as Kernel, values, c);
      };
      matmulWasm(
        { mode: e.mode, temp: (b) => e.temp(b), prepared: (...x) => e.prepared(...x), call },
        inputs,
        outputs,
        attrs,
      );
    };
    const inputs = [
      { data: data.a, shape: data.aShape },
      { data: data.b, shape: data.bShape },
    ];
    const attrs = { transA: !!p.transA, transB: !!p.transB };
    const back = runLowering(reversed, inputs, [{ shape: data.cShape }], attrs, r)[0] as Float32Array;
    expect(most).toBeGreaterThan(2);
    expect([...back]).toEqual([...straight]);
  });
});

/** Runs chunk `c` alone. */
function runFrom(r: KernelRunner, kernel: Kernel, args: Record<string, number>, c: number): void {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(kernel.encode(r.mode)), {
    env: { memory: r.memory },
  });
  const counter = r.alloc(4);
  r.i32(counter, 1)[0] = c;
  const block = r.put(Int32Array.from([counter, c + 1, ...Object.keys(kernel.args).map((x) => args[x] as number)]));
  (instance.exports.run as (block: number, scratch: number) => void)(block, scratchOf(r));
}
const scratches = new WeakMap<KernelRunner, number>();
function scratchOf(r: KernelRunner): number {
  const at = scratches.get(r) ?? r.alloc(2 << 20);
  scratches.set(r, at);
  return at;
}

describe('shapes of matmul', () => {
  it.each([
    { aShape: [2, 3], bShape: [4, 5] },
    { aShape: [2, 2, 3], bShape: [3, 3, 5] },
    { aShape: [3], bShape: [3, 5] },
  ])('refuses $aShape times $bShape', ({ aShape, bShape }) => {
    const inputs = [aShape, bShape].map((shape) => ({ data: new Float32Array(64), shape }));
    const attrs = { transA: false, transB: false };
    expect(() => runLowering(matmulWasm, inputs, [{ shape: [2, 5] }], attrs)).toThrow(ShapeError);
  });
});

describe('modes of matmul', () => {
  it('wide and narrow agree to the bit', () => {
    const problems: Problem[] = [];
    for (const t of transposes)
      for (const [m, n, k] of [
        [1, 1, 1],
        [13, 19, 33],
        [300, 70, 60],
        [49, 128, 100],
        [20, 33, 3000],
      ] as const)
        problems.push({ m, n, k, ...t });
    const narrow = problems.map((p) => multiply(p, build(p)));
    setFlagsFromString('--experimental-wasm-revectorize');
    setFlagsFromString('--no-liftoff');
    const r = runner(wideRelaxed, 128);
    problems.forEach((p, i) => {
      expect([...multiply(p, build(p), r)], JSON.stringify(p)).toEqual([...(narrow[i] as Float32Array)]);
    });
  });
});
