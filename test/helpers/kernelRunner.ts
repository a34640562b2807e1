/** Runs single WASM kernels on one thread, outside any plan: for kernel tests and kernel benches. */
import { type ArgType, blockHeaderWords, type Kernel } from '../../native/kernel.ts';
import type { Buffer, Emitter, Lowering, Value } from '../../native/lower.ts';
import { type Mode, modeName } from '../../native/wasm.ts';
import { bytesOf, type Data, type DType } from '../../src/core/dtype.ts';

export const narrowRelaxed: Mode = { relaxed: true, wide: false, shared: true };
export const narrowStrict: Mode = { relaxed: false, wide: false, shared: true };
/** Node 20 needs --experimental-wasm-relaxed-simd for relaxed modes; wide needs Node 24 and the revectorizer flag. */
export const wideRelaxed: Mode = { relaxed: true, wide: true, shared: true };

type Run = (block: number, scratch: number) => void;

export class KernelRunner {
  readonly memory: WebAssembly.Memory;
  private top = 64;
  private readonly instances = new Map<string, Run>();
  private readonly scratch: number;
  readonly mode: Mode;

  constructor(mode: Mode, megabytes = 256) {
    this.mode = mode;
    this.memory = new WebAssembly.Memory({
      initial: megabytes * 16,
      maximum: 65536,
      shared: mode.shared,
    } as WebAssembly.MemoryDescriptor);
    this.scratch = this.alloc(8 << 20);
  }
  /** Address of `bytes` zeroed bytes, 64-byte aligned. */
  alloc(bytes: number): number {
    const at = this.top;
    this.top = (at + bytes + 63) & ~63;
    if (this.top > this.memory.buffer.byteLength) throw new Error(`kernel runner: out of memory at ${this.top} bytes`);
    return at;
  }
  put(data: Float32Array | Int32Array | Uint8Array): number {
    const at = this.alloc(data.byteLength);
    new Uint8Array(this.memory.buffer, at, data.byteLength).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    return at;
  }
  f32(at: number, n: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, n);
  }
  i32(at: number, n: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, n);
  }
  u8(at: number, n: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, n);
  }
  /** A function that runs all chunks of one call on this thread; build it once, time it often. */
  bind<A extends Record<string, ArgType>>(
    kernel: Kernel<A>,
    args: { [K in keyof A]: number },
    chunks: number,
  ): () => void {
    const id = `${modeName(this.mode)} ${kernel.key}`;
    let run = this.instances.get(id);
    if (!run) {
      const instance = new WebAssembly.Instance(new WebAssembly.Module(kernel.encode(this.mode)), {
        env: { memory: this.memory },
      });
      run = instance.exports.run as Run;
      this.instances.set(id, run);
    }
    const counter = this.alloc(4);
    const block = this.alloc(4 * (blockHeaderWords + Object.keys(kernel.args).length));
    const words = new DataView(this.memory.buffer, block);
    words.setInt32(0, counter, true);
    words.setInt32(4, chunks, true);
    Object.entries(kernel.args).forEach(([name, type], i) => {
      const at = 4 * (blockHeaderWords + i);
      if (type === 'i32') words.setInt32(at, args[name] as number, true);
      else words.setFloat32(at, args[name] as number, true);
    });
    const count = new Int32Array(this.memory.buffer, counter, 1);
    const call = run;
    return () => {
      count[0] = 0;
      call(block, this.scratch);
    };
  }
  run<A extends Record<string, ArgType>>(kernel: Kernel<A>, args: { [K in keyof A]: number }, chunks: number): void {
    this.bind(kernel, args, chunks)();
  }
}

/** An emitter that runs each call at once: lowers and executes one op on host arrays. */
export function runLowering<Attrs>(
  lower: Lowering<Attrs>,
  inputs: readonly { data: Data; shape: readonly number[]; dtype?: DType }[],
  outputs: readonly { shape: readonly number[]; dtype?: DType }[],
  attrs: Attrs,
  runner = new KernelRunner(narrowRelaxed),
): Data[] {
  const value = (shape: readonly number[], dtype: DType, address: number): Value => ({
    shape,
    dtype,
    buffer: { id: address, offset: 0 },
  });
  const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const ins = inputs.map((x) => value(x.shape, x.dtype ?? 'f32', runner.put(x.data)));
  // Outputs start as garbage, so that an element that is never written shows.
  const outs = outputs.map((y) => {
    const dtype = y.dtype ?? 'f32';
    const bytes = sizeOf(y.shape) * bytesOf(dtype);
    const address = runner.alloc(bytes);
    runner.u8(address, bytes).fill(0xa5);
    return value(y.shape, dtype, address);
  });
  const resolve = (x: number | Buffer) => (typeof x === 'number' ? x : x.id + x.offset);
  const emitter: Emitter = {
    mode: runner.mode,
    call(kernel, args, chunks) {
      const numbers = Object.fromEntries(Object.entries(args).map(([k, v]) => [k, resolve(v as number | Buffer)]));
      runner.run(kernel as Kernel, numbers, chunks);
    },
    temp: (bytes) => ({ id: runner.alloc(bytes), offset: 0 }),
    prepared(_, bytes, emit) {
      const to = this.temp(bytes);
      emit(to);
      return to;
    },
  };
  lower(emitter, ins, outs, attrs);
  return outs.map((y) => {
    const n = sizeOf(y.shape);
    return y.dtype === 'f32'
      ? runner.f32(y.buffer.id, n).slice()
      : y.dtype === 'i32'
        ? runner.i32(y.buffer.id, n).slice()
        : runner.u8(y.buffer.id, n).slice();
  });
}
