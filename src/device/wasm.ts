/**
 * The WASM device: generated SIMD kernels over one memory, on 1 to N threads.
 *
 * Memory has two parts: blocks that live until released (variables, inputs, constants, packed weights, argument
 * blocks), and one step arena as large as the largest plan, which all plans share because they run one at a time.
 */
import type { Kernel } from '../../native/kernel.ts';
import { type Mode, modeName } from '../../native/wasm.ts';
import type { Data, DType } from '../core/dtype.ts';
import { DeviceError, UsageError } from '../core/errors.ts';
import type { Variable } from '../core/tensor.ts';
import { fuse } from '../plan/fuse.ts';
import type { Graph } from '../plan/trace.ts';
import {
  type CompileOptions,
  type Device,
  type DeviceInfo,
  type DeviceStats,
  type Executable,
  refuseHalf,
} from './device.ts';
import { lowerWasm } from './lowerWasm.ts';
import { DeviceMemory } from './memory.ts';
import { chooseMode, type ModeChoice, type ModeRequest, type WideVerdict } from './mode.ts';
import { InlineRunner, maxThreads, type Runner, ThreadPool } from './threads.ts';
import { VariableCopies } from './variables.ts';
import { WasmPlan } from './wasmPlan.ts';
import { checkWide } from './wideCheck.ts';

export interface WasmOptions extends ModeRequest {
  /** Default: the machine's cores. Without shared memory always 1. */
  readonly threads?: number;
  /** Said in `info().reason`: why this device was chosen. */
  readonly note?: string;
}

export class WasmDevice implements Device {
  readonly name = 'wasm';
  readonly mode: Mode;
  readonly runner: Runner;
  private readonly choice: ModeChoice;
  private readonly note: string | undefined;
  private readonly memory: DeviceMemory;
  private readonly kernelIds = new Map<string, number>();
  readonly variables = new VariableCopies<number>(this, {
    create: (v) => this.memory.alloc(v.bytes),
    upload: (v, at) => this.view(at, v.dtype, v.size).set(v.host),
    free: (at) => this.memory.release(at),
  });
  private readonly plans = new Set<WasmPlan>();
  private arena = { at: 0, bytes: 0 };
  private scratchBytes = 0;
  private scratchAt = 0;
  private nextSchedule = 1;
  private last: Promise<unknown> = Promise.resolve();

  private constructor(choice: ModeChoice, memory: DeviceMemory, runner: Runner, note?: string) {
    this.choice = choice;
    this.note = note;
    this.mode = choice.mode;
    this.memory = memory;
    this.runner = runner;
  }

  /** A device on the calling thread with plain memory, whatever the mode is good for. */
  private static inPlace(choice: ModeChoice): WasmDevice {
    const memory = new DeviceMemory(false);
    return new WasmDevice(choice, memory, new InlineRunner(memory.memory));
  }
  private static wideVerdict: Promise<WideVerdict> | undefined;
  /** The self-test of wide mode, once per process. */
  private static testWide(): Promise<WideVerdict> {
    const at = (wide: boolean): ModeChoice => ({ mode: { relaxed: true, wide, shared: false }, reason: '' });
    WasmDevice.wideVerdict ??= checkWide(WasmDevice.inPlace(at(true)), WasmDevice.inPlace(at(false)));
    return WasmDevice.wideVerdict;
  }

  static async create(options: WasmOptions = {}): Promise<WasmDevice> {
    let choice = chooseMode(options);
    if (choice?.mode.wide) {
      const verdict = await WasmDevice.testWide();
      choice = chooseMode(options, verdict);
    }
    if (!choice)
      throw new DeviceError('wasm: this engine has no WebAssembly SIMD\nUse a current browser or Node 20.19 or newer.');
    const cores =
      (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator?.hardwareConcurrency ??
      (typeof process === 'undefined' ? 1 : (process.getBuiltinModule?.('node:os').availableParallelism() ?? 1));
    const threads = options.threads ?? Math.min(cores, maxThreads);
    if (!Number.isInteger(threads) || threads < 1 || threads > maxThreads)
      throw new UsageError(
        `wasm: expected 1 to ${maxThreads} threads, got ${options.threads}\nPass --threads with a whole number.`,
      );
    const memory = new DeviceMemory(choice.mode.shared);
    const runner = choice.mode.shared
      ? await ThreadPool.start(memory.memory, threads)
      : new InlineRunner(memory.memory);
    return new WasmDevice(choice, memory, runner, options.note);
  }

  /**
   * Work on device memory goes one after the other, in the order it is asked for: plans share the step arena, and
   * compiling may move it.
   */
  exclusive<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.last.then(work);
    this.last = result.catch(() => {});
    return result;
  }
  /** Resolves when all work asked for so far is done, what `dispose` frees included. */
  async idle(): Promise<void> {
    let seen: Promise<unknown> | undefined;
    while (seen !== this.last) {
      seen = this.last;
      await seen;
    }
  }

  /** Views of device memory, made anew after it grew. */
  view(at: number, dtype: DType, n: number): Data {
    const { buffer } = this.memory.memory;
    return dtype === 'f32'
      ? new Float32Array(buffer, at, n)
      : dtype === 'i32'
        ? new Int32Array(buffer, at, n)
        : new Uint8Array(buffer, at, n);
  }
  get buffer(): ArrayBufferLike {
    return this.memory.memory.buffer;
  }
  alloc(bytes: number): number {
    return this.memory.alloc(bytes);
  }
  release(at: number): void {
    this.memory.release(at);
  }
  get arenaAt(): number {
    return this.arena.at;
  }

  /** Makes the arena hold a plan. Plans relink themselves when it moved. */
  reserve(bytes: number): void {
    if (bytes <= this.arena.bytes) return;
    const old = this.arena.bytes;
    if (this.arena.at) this.memory.release(this.arena.at);
    this.arena = { at: 0, bytes: 0 };
    try {
      this.arena = { at: this.memory.alloc(bytes), bytes };
    } catch (error) {
      // The plans there are still need theirs, which fits where it was.
      if (old) this.arena = { at: this.memory.alloc(old), bytes: old };
      throw error;
    }
  }
  private shrink(): void {
    const bytes = Math.max(0, ...[...this.plans].map((p) => p.stepBytes));
    if (bytes === this.arena.bytes) return;
    if (this.arena.at) this.memory.release(this.arena.at);
    this.arena = { at: bytes ? this.memory.alloc(bytes) : 0, bytes };
  }
  private reserveScratch(bytes: number): void {
    if (bytes <= this.scratchBytes) return;
    const each = Math.ceil(bytes / 64) * 64 + 64;
    if (this.scratchAt) this.memory.release(this.scratchAt);
    this.scratchAt = this.memory.alloc(each * this.runner.threads);
    this.scratchBytes = bytes;
    this.runner.setScratch(Array.from({ length: this.runner.threads }, (_, i) => this.scratchAt + i * each));
  }

  /** Numbers of the kernels, compiling those that are new, all at once. */
  async kernels(list: readonly Kernel[]): Promise<void> {
    const fresh = new Map(list.filter((k) => !this.kernelIds.has(k.key)).map((k) => [k.key, k]));
    const modules = await Promise.all([...fresh.values()].map((k) => WebAssembly.compile(k.encode(this.mode))));
    const added = [...fresh.keys()].map((key, i) => {
      const id = this.kernelIds.size;
      this.kernelIds.set(key, id);
      return { id, module: modules[i]! };
    });
    if (added.length) this.runner.addKernels(added);
    this.reserveScratch(Math.max(0, ...list.map((k) => k.scratchBytes)));
  }
  kernelId(key: string): number {
    return this.kernelIds.get(key)!;
  }
  newSchedule(): number {
    return this.nextSchedule++;
  }

  readVariable(v: Variable): Promise<Data> {
    return this.exclusive(() => {
      const copy = this.variables.newer(v);
      return copy ? this.variables.toHost(v, this.view(copy.place, v.dtype, v.size)) : v.host;
    });
  }
  forget(v: Variable): void {
    void this.exclusive(() => {
      if (this.variables.forget(v)) for (const p of this.plans) p.unlink();
    });
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Executable> {
    refuseHalf('wasm', options);
    const lowered = lowerWasm(fuse(graph, { enabled: options.fuse !== false }), this.mode);
    return this.exclusive(async () => {
      await this.kernels([...lowered.prologue, ...lowered.calls].map((c) => c.kernel));
      this.reserve(lowered.stepBytes);
      const plan = new WasmPlan(this, lowered, graph, () => {
        this.plans.delete(plan);
        this.shrink();
      });
      this.plans.add(plan);
      return plan;
    });
  }

  stats(): DeviceStats {
    return {
      persistentBytes: this.memory.used - this.arena.bytes,
      stepBytes: this.arena.bytes,
      plans: this.plans.size,
      kernels: this.kernelIds.size,
    };
  }
  info(): DeviceInfo {
    return {
      name: 'wasm',
      available: true,
      threads: this.runner.threads,
      simd: modeName(this.mode),
      reason: [this.choice.reason, this.note].filter(Boolean).join('; '),
    };
  }
  async dispose(): Promise<void> {
    await this.idle();
    await this.runner.close();
    this.variables.clear();
  }
}
