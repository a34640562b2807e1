/**
 * Speed of the matrix products, as a share of the multiply-add peak of the same process.
 *
 * The one idea: the best of many runs on one thread, chunk by chunk, next to a probe of the peak; packing of B and, for
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

/** Runs chunk `i` of `chunks`. */
interface Call {
  readonly chunks: number;
  run(i: number): void;
}

/**
 * Seconds of one pass over all chunks of all calls, in order, as the sum of each chunk's fastest run: on a machine that
 * others use too, a millisecond passes undisturbed far more often than a second.
 */
function best(calls: readonly Call[], seconds: number): number {
  const fastest = calls.map((c) => new Float64Array(c.chunks).fill(Number.POSITIVE_INFINITY));
  const until = performance.now() + 1000 * seconds;
  do {
    calls.forEach((call, c) => {
      const times = fastest[c] as Float64Array;
      for (let i = 0; i < call.chunks; i++) {
        const start = performance.now();
        call.run(i);
        times[i] = Math.min(times[i] as number, performance.now() - start);
      }
    });
  } while (performance.now() < until);
  return fastest.reduce((sum, times) => sum + times.reduce((a, b) => a + b, 0), 0) / 1000;
}

type Bind = (kernel: Kernel, args: Readonly<Record<string, number | Buffer>>, chunks: number) => Call;

/** Instantiates kernels in the runner's memory so that single chunks can be run. */
function binder(runner: KernelRunner): Bind {
  const runs = new Map<string, (block: number, scratch: number) => void>();
  const scratch = runner.alloc(4 << 20);
  return (kernel, args, chunks) => {
    let run = runs.get(kernel.key);
    if (!run) {
      const module = new WebAssembly.Module(kernel.encode(runner.mode));
      const instance = new WebAssembly.Instance(module, { env: { memory: runner.memory } });
      run = instance.exports.run as (block: number, scratch: number) => void;
      runs.set(kernel.key, run);
    }
    const words = Object.keys(kernel.args).map((name) => {
      const x = args[name] as number | Buffer;
      return typeof x === 'number' ? x : x.id + x.offset;
    });
    const counter = runner.alloc(4);
    const block = runner.put(Int32Array.from([counter, chunks, ...words]));
    const [next, head] = [runner.i32(counter, 1), runner.i32(block, 2)];
    const code = run;
    return {
      chunks,
      run(i) {
        next[0] = i;
        head[1] = i + 1;
        code(block, scratch);
      },
    };
  };
}

/** GFLOP/s of the multiply-add probe. Width 256 means something only where V8's revectorizer is on. */
export function fmaPeak(runner: KernelRunner, width: 128 | 256): number {
  const rounds = 50_000;
  const call = binder(runner)(fmaPeakKernel(width) as Kernel, { buffer: runner.alloc(2048), rounds }, 2);
  return (2 * rounds * fmaPeakFlops(width)) / best([call], 0.5) / 1e9;
}

/** The calls of one product. */
function callsOf(
  mode: Mode,
  bind: Bind,
  shape: GemmCase,
  memory: { readonly a: number; readonly b: number; readonly c: number; readonly temp: number },
): Call[] {
  const attrs = attrsOf[shape.pass];
  const { m, n, k } = shape;
  const value = (id: number, s: number[]): Value => ({ buffer: { id, offset: 0 }, shape: s, dtype: 'f32' });
  const calls: Call[] = [];
  let top = memory.temp;
  const temp = (bytes: number) => {
    const id = top;
    top += (bytes + 63) & ~63;
    return { id, offset: 0 };
  };
  const emitter: Emitter = {
    mode,
    temp,
    call: (kernel, args, chunks) => void calls.push(bind(kernel as Kernel, args, chunks)),
    prepared(_, bytes, emit) {
      const to = temp(bytes);
      emit(to);
      return to;
    },
  };
  const a = value(memory.a, attrs.transA ? [k, m] : [m, k]);
  const b = value(memory.b, attrs.transB ? [n, k] : [k, n]);
  matmulWasm(emitter, [a, b], [value(memory.c, [m, n])], attrs);
  return calls;
}

/**
 * Runs the cases on one thread in a mode and returns a row per shape. For `wide` turn V8's revectorizer on first, and
 * run narrow modes before: the flag changes what they compile to.
 */
export function benchGemm(mode: Mode, cases: readonly GemmCase[], seconds = 0.3): GemmRow[] {
  const runner = new KernelRunner(mode, 600);
  const peak = fmaPeak(runner, mode.wide ? 256 : 128);
  const bind = binder(runner);
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
    const calls = callsOf(mode, bind, c, memory);
    best(calls, 0.1);
    const gflops = (2 * c.m * c.n * c.k) / best(calls, seconds) / 1e9;
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
