/** Runs single WASM kernels on one thread, outside any plan: for kernel tests and kernel benches. */
import { type ArgType, blockHeaderWords, type Kernel } from '../../native/kernel.ts';
import { type Mode, modeName } from '../../native/wasm.ts';

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
