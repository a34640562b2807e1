/**
 * The WebGPU device: WGSL kernels on the adapter that the page or Dawn gives.
 *
 * The one idea: everything is prepared at compile time (pipelines, bind groups, parameters), so a run writes its inputs,
 * encodes the dispatches and submits; results are mapped when the GPU is done, and nothing waits before.
 */
import { paddedBytes } from '../../kernels/compose.ts';
import type { GpuLimits } from '../../kernels/lower.ts';
import { type Data, hostArray } from '../core/dtype.ts';
import { DeviceError, UsageError } from '../core/errors.ts';
import type { Variable } from '../core/tensor.ts';
import { fuse } from '../plan/fuse.ts';
import type { Graph } from '../plan/trace.ts';
import type { CompileOptions, Device, DeviceInfo, DeviceStats, Executable } from './device.ts';
import { type GpuChoice, type GpuOptions, openGpu } from './gpu.ts';
import { fuseFor, type GpuCall, type LoweredWgsl, lowerWgsl, megabytes } from './lowerWgsl.ts';
import { VariableCopies } from './variables.ts';
import { WebGpuPlan } from './webgpuPlan.ts';

/** Flags of WebGPU's specification; the globals of that name are not there before Dawn is loaded. */
export const usage = {
  mapRead: 0x0001,
  copySrc: 0x0004,
  copyDst: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
  queryResolve: 0x0200,
} as const;

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class WebGpuDevice implements Device {
  readonly name = 'webgpu';
  readonly gpu: GPUDevice;
  readonly limits: GpuLimits;
  readonly timestamps: boolean;
  readonly variables = new VariableCopies<GPUBuffer>(this, {
    create: (v) => this.alloc(v.bytes, `variable ${v.name}`),
    upload: (v, to) => this.upload(to, v.host),
    free: (buffer) => this.release(buffer),
  });
  /** Grows when the banks of step memory moved: plans link anew. */
  banksVersion = 0;
  private readonly choice: GpuChoice;
  private readonly pipelines = new Map<string, Promise<Pipeline>>();
  private readonly layouts = new Map<string, { bind: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  private readonly plans = new Set<WebGpuPlan>();
  private banks: GPUBuffer[] = [];
  private readonly live = new Map<GPUBuffer, number>();
  private last: Promise<unknown> = Promise.resolve();
  /** Why the device can no longer be used. */
  private failure: DeviceError | undefined;
  private closed = false;

  private constructor(choice: GpuChoice) {
    this.choice = choice;
    this.gpu = choice.device;
    this.limits = choice.limits;
    this.timestamps = choice.timestamps;
    void this.gpu.lost.then(({ reason, message }) => {
      if (this.closed) return;
      this.failure = new DeviceError(
        `webgpu: the device was lost (${reason}${message ? `: ${message}` : ''})\nOpen a new device; training runs go on from their last snapshot.`,
      );
    });
    this.gpu.addEventListener('uncapturederror', (event) => {
      this.failure ??= new DeviceError(
        `webgpu: ${event.error.message}\nPlease report this: facegrad made an invalid call.`,
      );
    });
  }

  static async create(options: GpuOptions = {}): Promise<WebGpuDevice> {
    return new WebGpuDevice(await openGpu(options));
  }

  /** True once the device can no longer be used. */
  get isLost(): boolean {
    return this.failure !== undefined;
  }
  /** Whether the adapter is a program: slower than WASM on the same cores. */
  get onCpu(): boolean {
    return this.choice.onCpu;
  }
  /** Throws DeviceError where the device is gone. */
  check(): void {
    if (this.failure) throw this.failure;
    if (this.closed) throw new DeviceError('webgpu: the device was disposed\nOpen a new one.');
  }
  /** What a rejected promise of WebGPU means. */
  explain(error: unknown, doing: string): DeviceError {
    if (this.failure) return this.failure;
    if (error instanceof DeviceError) return error;
    return new DeviceError(`webgpu: ${doing}: ${error instanceof Error ? error.message : error}\nOpen a new device.`);
  }

  /** Compiling and submitting go one after the other, in the order asked for. */
  exclusive<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.last.then(() => {
      this.check();
      return work();
    });
    this.last = result.catch(() => {});
    return result;
  }

  /** A buffer for kernels, zeroed. */
  alloc(bytes: number, label: string, flags: number = usage.storage | usage.copySrc | usage.copyDst): GPUBuffer {
    const size = paddedBytes(bytes);
    const buffer = this.gpu.createBuffer({ size, usage: flags, label });
    this.live.set(buffer, size);
    return buffer;
  }
  release(buffer: GPUBuffer): void {
    if (this.live.delete(buffer)) buffer.destroy();
  }
  upload(to: GPUBuffer, data: Data): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const whole = bytes.length & ~3;
    this.gpu.queue.writeBuffer(to, 0, bytes as Uint8Array<ArrayBuffer>, 0, whole);
    if (whole === bytes.length) return;
    const rest = new Uint8Array(4);
    rest.set(bytes.subarray(whole));
    this.gpu.queue.writeBuffer(to, whole, rest);
  }

  /** A bank of step memory, as large as the largest plan needs; all plans share them, because they run in turns. */
  bank(i: number): GPUBuffer {
    return this.banks[i]!;
  }
  private resizeBanks(plans: readonly { readonly bankBytes: readonly number[] }[]): void {
    const sizes: number[] = [];
    for (const { bankBytes } of plans)
      bankBytes.forEach((n, i) => {
        sizes[i] = Math.max(sizes[i] ?? 0, n);
      });
    const old = this.banks;
    if (sizes.length === old.length && sizes.every((n, i) => n === old[i]!.size)) return;
    this.banksVersion++;
    this.banks = [];
    old.forEach((b, i) => {
      if (b.size !== sizes[i]) this.release(b);
    });
    sizes.forEach((n, i) => {
      this.banks.push(old[i]?.size === n ? old[i] : this.alloc(n, `step memory ${i}`));
    });
  }

  /** Makes a plan; where the GPU's memory does not suffice, frees it again and says so. */
  private async withinMemory(bytes: number, make: () => WebGpuPlan): Promise<WebGpuPlan> {
    this.gpu.pushErrorScope('out-of-memory');
    this.gpu.pushErrorScope('validation');
    let made: WebGpuPlan;
    let failed: (GPUError | null)[];
    try {
      made = make();
    } finally {
      failed = await Promise.all([this.gpu.popErrorScope(), this.gpu.popErrorScope()]);
    }
    const error = failed.find((e) => e);
    if (error) {
      made.free();
      throw new DeviceError(
        `webgpu: a plan of ${megabytes(bytes)} does not fit the GPU's memory (${error.message})\nUse a smaller batch, accumulate or recompute.`,
      );
    }
    return made;
  }

  private layoutFor(writes: readonly boolean[]) {
    const key = writes.map((w) => (w ? 'w' : 'r')).join('');
    let layout = this.layouts.get(key);
    if (!layout) {
      const visibility = 4; // GPUShaderStage.COMPUTE
      const bind = this.gpu.createBindGroupLayout({
        entries: [
          { binding: 0, visibility, buffer: { type: 'uniform' } },
          ...writes.map((w, i) => ({
            binding: i + 1,
            visibility,
            buffer: { type: w ? ('storage' as const) : ('read-only-storage' as const) },
          })),
        ],
      });
      layout = { bind, pipeline: this.gpu.createPipelineLayout({ bindGroupLayouts: [bind] }) };
      this.layouts.set(key, layout);
    }
    return layout;
  }
  /** The pipeline of a call, compiling it if it is new. */
  pipeline(call: GpuCall): Promise<Pipeline> {
    let pipeline = this.pipelines.get(call.code);
    if (!pipeline) {
      pipeline = this.compilePipeline(call);
      this.pipelines.set(call.code, pipeline);
      pipeline.catch(() => this.pipelines.delete(call.code));
    }
    return pipeline;
  }
  private async compilePipeline(call: GpuCall): Promise<Pipeline> {
    const layout = this.layoutFor(call.bindings.map((b) => b.writes));
    this.gpu.pushErrorScope('validation');
    const module = this.gpu.createShaderModule({ code: call.code, label: call.label });
    const pending = this.gpu.createComputePipelineAsync({
      label: call.label,
      layout: layout.pipeline,
      compute: { module, entryPoint: 'main' },
    });
    // What the scope catches is told by the pipeline's own error, with the lines of the code.
    void this.gpu.popErrorScope();
    try {
      return { pipeline: await pending, layout: layout.bind };
    } catch (error) {
      if (this.failure) throw this.failure;
      const { messages } = await module.getCompilationInfo();
      const lines = messages.map((m) => `  line ${m.lineNum}: ${m.message}`).join('\n');
      throw new DeviceError(
        `webgpu: the kernel of '${call.label}' does not compile: ${(error as Error).message}\n${lines}\nPlease report this with the adapter's name (${this.choice.name}).`,
      );
    }
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Executable> {
    const { fuse: enabled = true, storage, onProgress } = options;
    const lowered: LoweredWgsl = lowerWgsl(fuse(graph, { enabled, ...fuseFor(this.limits) }), this.limits, {
      half: storage === 'f16',
    });
    if (storage === 'f16' && lowered.assigned.length)
      throw new UsageError(
        `compile: storage 'f16' is for inference, this function changes '${lowered.assigned[0]!.name}'\nLeave it out while training.`,
      );
    return this.exclusive(async () => {
      const calls = new Map([...lowered.prologue, ...lowered.calls].map(({ call }) => [call.code, call]));
      let done = 0;
      const made = await Promise.all(
        [...calls.values()].map(async (call) => {
          const pipeline = await this.pipeline(call);
          onProgress?.(++done, calls.size);
          return [call.code, pipeline] as const;
        }),
      );
      return this.withinMemory(lowered.stepBytes, () => {
        const plan = new WebGpuPlan(this, lowered, new Map(made), () => {
          this.plans.delete(plan);
          if (!this.isLost) this.resizeBanks([...this.plans]);
        });
        this.resizeBanks([...this.plans, plan]);
        this.plans.add(plan);
        return plan;
      });
    });
  }

  async readVariable(v: Variable): Promise<Data> {
    const pending = await this.exclusive(() => {
      const copy = this.variables.newer(v);
      return copy && { copy, writes: copy.writes, bytes: this.download(copy.place, v.bytes) };
    });
    if (!pending) return v.host;
    const { copy, writes } = pending;
    const numbers = hostArray(v.dtype, v.size);
    new Uint8Array(numbers.buffer).set(new Uint8Array(await pending.bytes));
    // A run that was asked for meanwhile may have written it again: then the copy stays the newest.
    return this.variables.newer(v) === copy && copy.writes === writes ? this.variables.toHost(v, numbers) : numbers;
  }
  /** Reads a buffer when the GPU has done what was submitted before. */
  async download(from: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const size = paddedBytes(bytes);
    const staging = this.gpu.createBuffer({ size, usage: usage.mapRead | usage.copyDst });
    try {
      const encoder = this.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(from, 0, staging, 0, size);
      this.gpu.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      return staging.getMappedRange().slice(0, bytes);
    } catch (error) {
      throw this.explain(error, 'reading a variable');
    } finally {
      staging.destroy();
    }
  }
  forget(v: Variable): void {
    this.last = this.last.then(() => {
      if (this.variables.forget(v)) for (const p of this.plans) p.unlink();
    });
  }

  stats(): DeviceStats {
    const step = this.banks.reduce((n, b) => n + b.size, 0);
    const all = [...this.live.values()].reduce((a, b) => a + b, 0);
    return {
      persistentBytes: all - step,
      stepBytes: step,
      plans: this.plans.size,
      kernels: this.pipelines.size,
      buffers: this.live.size,
    };
  }
  info(): DeviceInfo {
    const { limits, timestamps } = this;
    const features = [limits.subgroups ? 'subgroups' : '', timestamps ? 'timestamps' : ''].filter(Boolean);
    return {
      name: 'webgpu',
      available: !this.isLost,
      threads: 0,
      simd: 'WGSL',
      reason: `${this.choice.name}${features.length ? ` with ${features.join(' and ')}` : ''}, ${limits.storageBuffers} buffers a kernel, tensors up to ${megabytes(this.limits.operandBytes)}`,
    };
  }
  async dispose(): Promise<void> {
    await this.last;
    this.closed = true;
    this.variables.clear();
    this.gpu.destroy();
  }
}
