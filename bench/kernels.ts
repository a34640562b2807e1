/**
 * Kernels outside any plan: buffers, one list of calls, one or more threads.
 *
 * It is the device's own memory and thread pool with nothing in between, so a figure is that of the kernels: no inputs
 * are copied in and no outputs out.
 */
import { blockHeaderWords, type Kernel } from '../native/kernel.ts';
import type { Buffer, Emitter, Lowering, Value } from '../native/lower.ts';
import type { Mode } from '../native/wasm.ts';
import { bytesOf } from '../src/core/dtype.ts';
import { DeviceError } from '../src/core/errors.ts';
import { sizeOf } from '../src/core/shape.ts';
import type { TensorSpec } from '../src/core/tensor.ts';
import { DeviceMemory } from '../src/device/memory.ts';
import { InlineRunner, type Runner, ThreadPool, wordsPerCall } from '../src/device/threads.ts';
import { registry } from '../src/ops/define.ts';
import '../src/ops/index.ts';
import { GpuBench } from './gpu.ts';
import type { ModeName } from './machine.ts';

/** The WASM mode of this process, which must have been started with the flags that it needs. */
export const modeOf = (name: ModeName): Mode => ({ relaxed: true, wide: name === 'wide', shared: true });

interface Call {
  readonly kernel: Kernel;
  readonly args: Readonly<Record<string, number | Buffer>>;
  readonly chunks: number;
}

const scratchEach = 8 << 20;

export class KernelBench {
  readonly mode: Mode;
  private readonly memory: DeviceMemory;
  private readonly runner: Runner;
  private readonly kernels = new Map<string, number>();
  private schedules = 0;

  private constructor(mode: Mode, memory: DeviceMemory, runner: Runner) {
    this.mode = mode;
    this.memory = memory;
    this.runner = runner;
    runner.setScratch(Array.from({ length: runner.threads }, () => memory.alloc(scratchEach)));
  }

  /** One thread runs on the calling thread itself. */
  static async create(mode: Mode, threads = 1): Promise<KernelBench> {
    const memory = new DeviceMemory(true);
    const runner = threads === 1 ? new InlineRunner(memory.memory) : await ThreadPool.start(memory.memory, threads);
    return new KernelBench(mode, memory, runner);
  }

  /** A buffer of numbers between -0.5 and 0.5: zeros or denormal numbers would be timed as something else. */
  alloc(bytes: number): Buffer {
    const id = this.memory.alloc(bytes);
    const x = new Float32Array(this.memory.memory.buffer, id, bytes >> 2);
    for (let i = 0; i < x.length; i++) x[i] = ((i * 7919) % 1024) / 1024 - 0.5;
    return { id, offset: 0 };
  }

  /** A function that runs the calls in order, all chunks of each. */
  bind(calls: readonly Call[]): () => Promise<undefined> {
    const added = [];
    for (const { kernel } of calls) {
      if (this.kernels.has(kernel.key)) continue;
      if (kernel.scratchBytes > scratchEach)
        throw new RangeError(`${kernel.key}: needs more scratch than the bench has`);
      const id = this.kernels.size;
      this.kernels.set(kernel.key, id);
      added.push({ id, module: new WebAssembly.Module(kernel.encode(this.mode)) });
    }
    if (added.length) this.runner.addKernels(added);
    const counters = this.memory.alloc(4 * calls.length);
    const table = new Int32Array(wordsPerCall * calls.length);
    calls.forEach(({ kernel, args, chunks }, i) => {
      const types = Object.entries(kernel.args);
      const at = this.memory.alloc(4 * (blockHeaderWords + types.length));
      const block = new DataView(this.memory.memory.buffer, at);
      block.setInt32(0, counters + 4 * i, true);
      block.setInt32(4, chunks, true);
      types.forEach(([name, type], k) => {
        const v = args[name]!;
        const to = 4 * (blockHeaderWords + k);
        if (typeof v !== 'number') block.setInt32(to, v.id + v.offset, true);
        else if (type === 'i32') block.setInt32(to, v, true);
        else block.setFloat32(to, v, true);
      });
      table.set([this.kernels.get(kernel.key)!, at, i > 0 ? 1 : 0], wordsPerCall * i);
    });
    const id = this.schedules++;
    this.runner.addSchedule(id, table);
    return async () => {
      new Int32Array(this.memory.memory.buffer, counters, calls.length).fill(0);
      await this.runner.run(id);
      return undefined;
    };
  }

  /** A function that runs one f32 op on buffers of its own. What it prepares (packed weights) is done every time. */
  lowering<Attrs>(
    lower: Lowering<Attrs>,
    inputs: readonly (readonly number[])[],
    outputs: readonly (readonly number[])[],
    attrs: Attrs,
  ): () => Promise<undefined> {
    const calls: Call[] = [];
    const value = (shape: readonly number[]): Value => ({
      shape,
      dtype: 'f32',
      buffer: this.alloc(4 * shape.reduce((a, b) => a * b, 1)),
    });
    const temp = (bytes: number) => this.alloc(bytes);
    const emitter: Emitter = {
      mode: this.mode,
      temp,
      call: (kernel, args, chunks) => void calls.push({ kernel: kernel as Kernel, args, chunks }),
      prepared(_, bytes, emit) {
        const to = temp(bytes);
        emit(to);
        return to;
      },
    };
    lower(emitter, inputs.map(value), outputs.map(value), attrs);
    return this.bind(calls);
  }

  /** A function that runs one op as a plan does: what it prepares is prepared once, here. */
  plan<Attrs>(
    lower: Lowering<Attrs>,
    inputs: readonly TensorSpec[],
    outputs: readonly TensorSpec[],
    attrs: Attrs,
  ): () => Promise<undefined> {
    const [prologue, calls]: [Call[], Call[]] = [[], []];
    let to = calls;
    const temp = (bytes: number) => this.alloc(4 * Math.ceil(bytes / 4));
    const value = ({ shape, dtype }: TensorSpec): Value => ({
      shape,
      dtype,
      buffer: temp(sizeOf(shape) * bytesOf(dtype)),
    });
    const emitter: Emitter = {
      mode: this.mode,
      temp,
      call: (kernel, args, chunks) => void to.push({ kernel: kernel as Kernel, args, chunks }),
      prepared(_, bytes, emit) {
        const buffer = temp(bytes);
        to = prologue;
        emit(buffer);
        to = calls;
        return buffer;
      },
    };
    lower(emitter, inputs.map(value), outputs.map(value), attrs);
    if (prologue.length) void this.bind(prologue)();
    return this.bind(calls);
  }

  close(): Promise<void> {
    return this.runner.close();
  }
}

/** One f32 op with kernels of its own, alone in the mode of this process. Close it when it is measured. */
export async function openOp(
  name: string,
  mode: ModeName,
  threads: number,
  inputs: readonly (readonly number[])[],
  output: readonly number[],
  attrs: unknown,
): Promise<{ run: () => Promise<number | undefined>; close: () => Promise<void> }> {
  const kernels = registry.get(name)?.kernels;
  if (kernels?.kind !== 'kernel') throw new TypeError(`bench: '${name}' has no kernels of its own`);
  if (mode !== 'webgpu') {
    const bench = await KernelBench.create(modeOf(mode), threads);
    return { run: bench.lowering(kernels.wasm, inputs, [output], attrs), close: () => bench.close() };
  }
  if (!kernels.wgsl) throw new DeviceError(`webgpu: '${name}' has no WGSL kernel\nMeasure it on WASM.`);
  const bench = await GpuBench.create();
  const values = inputs.map((shape) => bench.value(shape));
  return { run: bench.lowering(kernels.wgsl, values, [bench.value(output)], attrs), close: () => bench.close() };
}
