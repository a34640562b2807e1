/**
 * What a device is: somewhere a graph can be compiled and run. Few methods; a plan runs wholly on one device.
 */
import type { Data } from '../core/dtype.ts';
import { UsageError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import type { HostTensor, VariableHome } from '../core/tensor.ts';
import { costOf } from '../plan/cost.ts';
import type { Step } from '../plan/fuse.ts';
import type { Graph } from '../plan/trace.ts';

export interface DeviceStats {
  /** Bytes of device memory in use, by lifetime. */
  readonly persistentBytes: number;
  readonly stepBytes: number;
  /** Compiled plans and distinct kernels alive. */
  readonly plans: number;
  readonly kernels: number;
  /** Buffers alive, on devices that have them. */
  readonly buffers?: number;
}

export interface DeviceInfo {
  readonly name: string;
  readonly available: boolean;
  readonly threads: number;
  /** Instruction set in use: 'f64 loops', 'narrow-relaxed', 'wide-relaxed', 'narrow-strict'. */
  readonly simd: string;
  /** Why this is so. */
  readonly reason: string;
}

export interface CompileOptions {
  /** False runs every op on its own: same numbers, for debugging. Default true. */
  readonly fuse?: boolean;
  /**
   * How large activations and weights are stored; arithmetic is float32 always. 'f16' halves the memory and its traffic
   * in inference, on devices that have it (WebGPU); embeddings keep a cosine above 0.999 to float32 ones. Default 'f32'.
   */
  readonly storage?: 'f32' | 'f16';
  /** Called as kernels get ready, on devices where that takes time. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Throws UsageError where a device without float16 storage is asked for it. */
export function refuseHalf(device: string, { storage }: CompileOptions): void {
  if (storage === 'f16')
    throw new UsageError(`${device}: storage 'f16' is for WebGPU\nLeave it out, or use --device webgpu.`);
}

/** Time of one kernel call. */
export interface CallProfile {
  readonly label: string;
  /** Number of its step in the plan. */
  readonly step: number;
  /** Module it belongs to; empty outside of modules. */
  readonly path: string;
  /** Milliseconds from the start of the run, where the device tells. */
  readonly startMs?: number;
  readonly kernel: string;
  readonly shape: string;
  readonly ms: number;
  /** Of the whole step. */
  readonly flops: number;
  /** What the call moves where the device knows, else what the step does. */
  readonly bytes: number;
}

/** What a profile says of a step; one without a step is a copy. */
export function profileOf(s: Step | undefined, step: number): Omit<CallProfile, 'kernel' | 'ms'> {
  return {
    label: s?.label ?? 'copy',
    step,
    path: s?.path ?? '',
    shape: s ? s.outputs.map((o) => showShape(o.shape)).join(' ') : '',
    ...costOf(s),
  };
}

/** A plan ready to run. */
export interface Executable {
  /** Device memory that one run needs besides variables, in bytes. */
  readonly stepBytes: number;
  readonly calls: number;
  readonly kernels: number;
  run(inputs: ReadonlyMap<string, Data>): Promise<Map<string, HostTensor>>;
  /** The plan as text: one line per step. */
  explain(): string;
  /** Runs once with a timer around each call. Undefined where the device has none. */
  profile?(inputs: ReadonlyMap<string, Data>): Promise<CallProfile[]>;
  dispose(): void;
}

export interface Device extends VariableHome {
  readonly name: 'reference' | 'wasm' | 'webgpu';
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>;
  stats(): DeviceStats;
  info(): DeviceInfo;
  /** Frees everything. Variables keep their host numbers; read them first if they changed. */
  dispose(): Promise<void>;
}
