/**
 * Speed of the matrix products, as a share of the multiply-add peak of the same process.
 *
 * The one idea: best of many runs on one thread, shape by shape, next to a probe of the peak; packing of B and, for
 * weight gradients, the merge of the partial sums are part of the time. Run it: `npx node bench/gemm.ts`.
 */
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type { Kernel } from '../native/kernel.ts';
import type { Buffer, Emitter, Value } from '../native/lower.ts';
import { type MatmulAttrs, matmulWasm } from '../native/matmul.ts';
import { fmaPeakFlops, fmaPeakKernel } from '../native/roofline.ts';
import { type Mode, modeName } from '../native/wasm.ts';
import { KernelRunner, narrowRelaxed, wideRelaxed } from '../test/helpers/kernelRunner.ts';

export interface GemmRow {
  readonly shape: string;
  readonly mode: string;
  readonly gflops: number;
  /** Share of the mode's multiply-add peak. */
  readonly peakShare: number;
}

export interface GemmCase {
  readonly pass: 'forward' | 'dx' | 'dw' | 'classes';
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** The pointwise convolutions of MobileFaceNet at a batch size: pixels, channels in, channels out. */
const pointwise = [
  [3136, 64, 128],
  [784, 128, 64],
  [784, 64, 256],
  [784, 64, 128],
  [196, 256, 128],
  [196, 128, 256],
  [196, 256, 128],
  [49, 128, 512],
  [49, 512, 128],
  [49, 128, 256],
  [49, 256, 128],
] as const;

/** Forward, input gradient and weight gradient of the pointwise convolutions, and products with a class matrix. */
export function gemmCases(batch: number): GemmCase[] {
  return [
    ...pointwise.map(([hw, i, o]): GemmCase => ({ pass: 'forward', m: batch * hw, k: i, n: o })),
    ...pointwise.map(([hw, i, o]): GemmCase => ({ pass: 'dx', m: batch * hw, k: o, n: i })),
    ...pointwise.map(([hw, i, o]): GemmCase => ({ pass: 'dw', m: i, k: batch * hw, n: o })),
    { pass: 'classes', m: 128, k: 128, n: 10575 },
  ];
}

const attrsOf: Record<GemmCase['pass'], MatmulAttrs> = {
  forward: { transA: false, transB: false },
  dx: { transA: false, transB: true },
  dw: { transA: true, transB: false },
  classes: { transA: false, transB: true },
};

/** Seconds of the fastest run, warming up until V8's optimised code has replaced the baseline. */
function best(run: () => void, seconds: number): number {
  let fastest = Number.POSITIVE_INFINITY;
  const until = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    run();
    fastest = Math.min(fastest, performance.now() - start);
  } while (performance.now() < until);
  return fastest / 1000;
}

/** GFLOP/s of the multiply-add probe. Width 256 means something only where V8's revectorizer is on. */
export function fmaPeak(runner: KernelRunner, width: 128 | 256): number {
  const rounds = 200_000;
  const run = runner.bind(fmaPeakKernel(width), { buffer: runner.alloc(2048), rounds }, 2);
  return (2 * rounds * fmaPeakFlops(width)) / best(run, 0.5) / 1e9;
}

/** Collects the calls of one lowering, to run them again and again. */
function bindProduct(runner: KernelRunner, shape: GemmCase, memory: { a: number; b: number; c: number; temp: number }) {
  const { transA, transB } = attrsOf[shape.pass];
  const { m, n, k } = shape;
  const value = (id: number, s: number[]): Value => ({ buffer: { id, offset: 0 }, shape: s, dtype: 'f32' });
  const runs: (() => void)[] = [];
  let temp = memory.temp;
  const emitter: Emitter = {
    mode: runner.mode,
    call(kernel, args, chunks) {
      const plain = Object.entries(args).map(([key, v]) => {
        const x = v as number | Buffer;
        return [key, typeof x === 'number' ? x : x.id + x.offset];
      });
      runs.push(runner.bind(kernel as Kernel, Object.fromEntries(plain), chunks));
    },
    temp(bytes) {
      const id = temp;
      temp += (bytes + 63) & ~63;
      return { id, offset: 0 };
    },
  };
  const a = value(memory.a, transA ? [k, m] : [m, k]);
  const b = value(memory.b, transB ? [n, k] : [k, n]);
  matmulWasm(emitter, [a, b], [value(memory.c, [m, n])], attrsOf[shape.pass]);
  return () => {
    for (const run of runs) run();
  };
}

/**
 * Runs the cases on one thread in a mode and returns a row per shape. For `wide` turn V8's revectorizer on first, and
 * run narrow modes before: the flag changes what they compile to.
 */
export function benchGemm(mode: Mode, cases: readonly GemmCase[], seconds = 0.3): GemmRow[] {
  const runner = new KernelRunner(mode, 600);
  const peak = fmaPeak(runner, mode.wide ? 256 : 128);
  const floats = (pick: (c: GemmCase) => number) => Math.max(...cases.map(pick));
  const noise = (n: number) => {
    const at = runner.alloc(4 * n);
    const x = runner.f32(at, n);
    for (let i = 0; i < n; i++) x[i] = ((i * 2654435761) >>> 16) / 65536 - 0.5;
    return at;
  };
  const memory = {
    a: noise(floats((c) => c.m * c.k)),
    b: noise(floats((c) => c.k * c.n)),
    c: runner.alloc(4 * floats((c) => c.m * c.n)),
    temp: runner.alloc(64 << 20),
  };
  const rows: GemmRow[] = [{ shape: 'peak', mode: modeName(mode), gflops: peak, peakShare: 1 }];
  for (const c of cases) {
    const run = bindProduct(runner, c, memory);
    best(run, 0.2);
    const gflops = (2 * c.m * c.n * c.k) / best(run, seconds) / 1e9;
    rows.push({
      shape: `${c.pass} ${c.m}x${c.k}x${c.n}`,
      mode: modeName(mode),
      gflops,
      peakShare: gflops / peak,
    });
  }
  return rows;
}

/** Geometric mean of the peak shares of rows whose shape starts with a word. */
export function meanShare(rows: readonly GemmRow[], start: string): number {
  const shares = rows.filter((r) => r.shape.startsWith(start)).map((r) => Math.log(r.peakShare));
  return Math.exp(shares.reduce((a, b) => a + b, 0) / shares.length);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const modes = argv.slice(2).filter((a) => a === 'narrow' || a === 'wide');
  const batches = argv
    .slice(2)
    .map(Number)
    .filter((x) => x > 0);
  for (const name of modes.length ? modes : ['narrow', 'wide']) {
    if (name === 'wide') setFlagsFromString('--experimental-wasm-revectorize');
    for (const batch of batches.length ? batches : [1, 32]) {
      const rows = benchGemm(name === 'wide' ? wideRelaxed : narrowRelaxed, gemmCases(batch));
      for (const r of rows) {
        console.log(
          `${r.mode}  batch ${batch}  ${r.shape.padEnd(28)} ${r.gflops.toFixed(1).padStart(6)} GFLOP/s  ` +
            `${(100 * r.peakShare).toFixed(1)} %`,
        );
      }
      for (const pass of ['forward', 'dx', 'dw'])
        console.log(`  mean ${pass} ${(100 * meanShare(rows, pass)).toFixed(1)} %`);
    }
  }
}
