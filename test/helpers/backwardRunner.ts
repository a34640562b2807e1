/** A kernel runner that runs the chunks of each call last to first: what a kernel writes must not depend on the order. */
import { type ArgType, blockHeaderWords, type Kernel } from '../../native/kernel.ts';
import type { Mode } from '../../native/wasm.ts';
import { KernelRunner } from './kernelRunner.ts';

type Run = (block: number, scratch: number) => void;

export class BackwardRunner extends KernelRunner {
  private readonly runs = new Map<string, Run>();
  private readonly ownScratch: number;
  constructor(mode: Mode, megabytes?: number) {
    super(mode, megabytes);
    this.ownScratch = this.alloc(1 << 20);
  }
  override run<A extends Record<string, ArgType>>(
    kernel: Kernel<A>,
    args: { [K in keyof A]: number },
    chunks: number,
  ): void {
    let run = this.runs.get(kernel.key);
    if (!run) {
      const module = new WebAssembly.Module(kernel.encode(this.mode));
      run = new WebAssembly.Instance(module, { env: { memory: this.memory } }).exports.run as Run;
      this.runs.set(kernel.key, run);
    }
    const counter = this.alloc(4);
    const block = this.alloc(4 * (blockHeaderWords + Object.keys(kernel.args).length));
    const words = new DataView(this.memory.buffer, block);
    words.setInt32(0, counter, true);
    Object.entries(kernel.args).forEach(([name, type], i) => {
      const at = 4 * (blockHeaderWords + i);
      if (type === 'i32') words.setInt32(at, args[name] as number, true);
      else words.setFloat32(at, args[name] as number, true);
    });
    // A counter that starts at c and a count of c + 1 leave one chunk to claim: chunk c.
    for (let c = chunks - 1; c >= 0; c--) {
      this.i32(counter, 1)[0] = c;
      words.setInt32(4, c + 1, true);
      run(block, this.ownScratch);
    }
  }
}
