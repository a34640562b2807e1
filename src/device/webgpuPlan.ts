/**
 * A plan on the WebGPU device: its dispatches with pipelines, bind groups and parameters, and what the host reads and
 * writes.
 *
 * The one idea: bind groups hold buffers, so they are made when the plan is linked and again only when step memory or a
 * variable moved. A run is one encoder (a few where the work is long, so that no watchdog fires), and its results are
 * copied to a staging buffer that is mapped later.
 */
import { paddedBytes } from '../../kernels/compose.ts';
import type { Buffer } from '../core/buffer.ts';
import { bytesOf, type Data, hostArray } from '../core/dtype.ts';
import { DeviceError } from '../core/errors.ts';
import { sizeOf } from '../core/shape.ts';
import { type HostTensor, host, type TensorSpec, type Variable } from '../core/tensor.ts';
import { costOf } from '../plan/cost.ts';
import type { Placed } from '../plan/lower.ts';
import { type CallProfile, type Executable, profileOf } from './device.ts';
import { bytesOfCall, explainWgsl, type GpuCall, type LoweredWgsl } from './lowerWgsl.ts';
import { Watch } from './variables.ts';
import { type Pipeline, usage, type WebGpuDevice } from './webgpu.ts';

interface Linked {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly x: number;
  readonly y: number;
  /** Floating-point operations and four per byte: what a submit's length is reckoned by. */
  readonly work: number;
}

/** Most workgroups along one axis of a dispatch. */
const maxGroups = 65535;
/** Work of one submit, about: a tenth of a second on a small GPU. */
const submitWork = 2e10;
const paramStride = 256;
/** Half of the timestamps that one query set holds. */
const querySetCalls = 2048;

/** A grid of at least `n` workgroups within WebGPU's limit. */
export function foldGroups(n: number): { x: number; y: number } {
  if (n <= maxGroups) return { x: n, y: 1 };
  const y = Math.ceil(n / maxGroups);
  return { x: Math.ceil(n / y), y };
}

/** Encodes dispatches from number `at` on, up to the work of one submit; gives the number of the next. */
function encode(pass: GPUComputePassEncoder, list: readonly Linked[], at: number): number {
  let next = at;
  let before: GPUComputePipeline | undefined;
  for (let work = 0; next < list.length && (next === at || work + list[next]!.work <= submitWork); next++) {
    const { pipeline, group, x, y } = list[next]!;
    if (pipeline !== before) pass.setPipeline(pipeline);
    before = pipeline;
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y);
    work += list[next]!.work;
  }
  return next;
}

export class WebGpuPlan implements Executable {
  readonly stepBytes: number;
  readonly bankBytes: readonly number[];
  readonly calls: number;
  readonly kernels: number;
  private readonly device: WebGpuDevice;
  private readonly lowered: LoweredWgsl;
  private readonly pipelines: ReadonlyMap<string, Pipeline>;
  private readonly onDispose: () => void;
  /** Own buffers by number: inputs, constants, kept values. */
  private readonly own = new Map<number, GPUBuffer>();
  private readonly params: GPUBuffer;
  private linked: readonly [readonly Linked[], readonly Linked[]] | undefined;
  private linkedBanks = -1;
  private linkedVariables: { readonly variable: Variable; place: GPUBuffer }[] = [];
  private readonly watch: Watch;
  private readonly staging: GPUBuffer[] = [];
  private readonly stagingBytes: number;

  constructor(
    device: WebGpuDevice,
    lowered: LoweredWgsl,
    pipelines: ReadonlyMap<string, Pipeline>,
    onDispose: () => void,
  ) {
    this.device = device;
    this.lowered = lowered;
    this.watch = new Watch(device.variables, lowered.watched);
    this.pipelines = pipelines;
    this.onDispose = onDispose;
    this.bankBytes = lowered.bankBytes;
    this.stepBytes = lowered.stepBytes;
    this.calls = lowered.calls.length;
    this.kernels = new Set(lowered.calls.map((c) => c.call.code)).size;
    lowered.homes.forEach((h, id) => {
      if (h.kind !== 'input' && h.kind !== 'kept' && h.kind !== 'constant') return;
      const buffer = device.alloc(lowered.bytes[id]!, h.kind === 'input' ? `input ${h.name}` : h.kind);
      this.own.set(id, buffer);
      if (h.kind === 'constant') device.upload(buffer, h.data);
    });
    const list = [...lowered.prologue, ...lowered.calls];
    this.params = device.alloc(paramStride * list.length, 'parameters', usage.uniform | usage.copyDst);
    const bytes = new Uint8Array(paramStride * list.length);
    list.forEach(({ call }, i) => {
      bytes.set(new Uint8Array(call.params), paramStride * i);
    });
    device.upload(this.params, bytes);
    this.stagingBytes = [...lowered.outputs.values()].reduce((n, { tensor }) => n + this.bytesOut(tensor), 0);
  }

  /** Room for an output in the staging buffer; copies start and end at words, so bytes may need one more. */
  private bytesOut(t: TensorSpec): number {
    return paddedBytes(sizeOf(t.shape) * bytesOf(t.dtype) + 3);
  }

  /** Makes new bind groups at the next run. */
  unlink(): void {
    this.linked = undefined;
  }

  private bufferOf(id: number): GPUBuffer {
    const h = this.lowered.homes[id]!;
    if (h.kind === 'step') return this.device.bank(this.lowered.places.get(id)!.bank);
    if (h.kind === 'variable') return this.device.variables.at(h.variable).place;
    return this.own.get(id)!;
  }

  /** Bytes from the start of `bufferOf`. */
  private offsetOf({ id, offset }: Buffer): number {
    return offset + (this.lowered.places.get(id)?.offset ?? 0);
  }

  private link(): readonly [readonly Linked[], readonly Linked[]] {
    const { device, lowered } = this;
    let at = 0;
    const make = ({ call, step }: Placed<GpuCall>): Linked => {
      const { pipeline, layout } = this.pipelines.get(call.code)!;
      const offset = paramStride * at++;
      const group = device.gpu.createBindGroup({
        layout,
        entries: [
          { binding: 0, resource: { buffer: this.params, offset, size: call.params.byteLength } },
          ...call.bindings.map((b, i) => ({
            binding: i + 1,
            resource: { buffer: this.bufferOf(b.buffer.id), offset: this.offsetOf(b.buffer), size: b.bytes },
          })),
        ],
      });
      const { flops, bytes } = costOf(lowered.steps[step]);
      return { pipeline, group, ...foldGroups(call.groups), work: flops + 4 * bytes };
    };
    const linked = [lowered.prologue.map(make), lowered.calls.map(make)] as const;
    this.linkedVariables = lowered.homes.flatMap((h) =>
      h.kind === 'variable' ? [{ variable: h.variable, place: device.variables.at(h.variable).place }] : [],
    );
    this.linkedBanks = device.banksVersion;
    this.watch.reset();
    this.linked = linked;
    return linked;
  }

  /** Uploads what the host changed and gives the dispatches, linked to where everything is now. */
  private prepare(inputs: ReadonlyMap<string, Data>): readonly [readonly Linked[], readonly Linked[]] {
    const { device, lowered } = this;
    let current = this.linkedBanks === device.banksVersion ? this.linked : undefined;
    for (const l of this.linkedVariables) if (device.variables.at(l.variable).place !== l.place) current = undefined;
    const linked = current ?? this.link();
    lowered.homes.forEach((h, id) => {
      if (h.kind === 'input') device.upload(this.own.get(id)!, inputs.get(h.name)!);
    });
    return linked;
  }
  /** The dispatches of one run: the prologue's too where it is due. */
  private due([prologue, main]: readonly [readonly Linked[], readonly Linked[]]): readonly Linked[] {
    return prologue.length && this.watch.due() ? [...prologue, ...main] : main;
  }

  async run(inputs: ReadonlyMap<string, Data>): Promise<Map<string, HostTensor>> {
    const { results } = await this.device.exclusive(() => ({ results: this.submit(inputs) }));
    return results;
  }

  private submit(inputs: ReadonlyMap<string, Data>): Promise<Map<string, HostTensor>> {
    const { gpu } = this.device;
    gpu.pushErrorScope('out-of-memory');
    gpu.pushErrorScope('validation');
    let list: readonly Linked[];
    try {
      list = this.due(this.prepare(inputs));
    } catch (error) {
      void gpu.popErrorScope();
      void gpu.popErrorScope();
      throw error;
    }
    let encoder = gpu.createCommandEncoder();
    for (let at = 0; at < list.length; ) {
      if (at > 0) {
        gpu.queue.submit([encoder.finish()]);
        encoder = gpu.createCommandEncoder();
      }
      const pass = encoder.beginComputePass();
      at = encode(pass, list, at);
      pass.end();
    }
    return this.finish(encoder);
  }

  /** Submits the last commands with the copies of the outputs, and reads those when they are there. */
  private finish(encoder: GPUCommandEncoder): Promise<Map<string, HostTensor>> {
    const { device, lowered } = this;
    const { gpu } = device;
    const staging = this.staging.pop() ?? device.alloc(this.stagingBytes, 'results', usage.mapRead | usage.copyDst);
    let at = 0;
    for (const { tensor, buffer } of lowered.outputs.values()) {
      const skip = buffer.offset % 4;
      const size = Math.ceil((skip + tensor.size * bytesOf(tensor.dtype)) / 4) * 4;
      if (size) encoder.copyBufferToBuffer(this.bufferOf(buffer.id), this.offsetOf(buffer) - skip, staging, at, size);
      at += this.bytesOut(tensor);
    }
    gpu.queue.submit([encoder.finish()]);
    const scopes = [gpu.popErrorScope(), gpu.popErrorScope()];
    for (const v of lowered.assigned) device.variables.wrote(v);
    return this.results(staging, scopes);
  }

  private async results(
    staging: GPUBuffer,
    scopes: readonly Promise<GPUError | null>[],
  ): Promise<Map<string, HostTensor>> {
    const { device, lowered } = this;
    try {
      const [errors] = await Promise.all([Promise.all(scopes), staging.mapAsync(1)]);
      const error = errors.find((e) => e);
      if (error) throw new Error(error.message);
    } catch (error) {
      device.release(staging);
      throw device.explain(error, 'running a plan');
    }
    const bytes = staging.getMappedRange();
    let at = 0;
    const out = new Map<string, HostTensor>();
    for (const [name, { tensor, buffer }] of lowered.outputs) {
      const data = hostArray(tensor.dtype, tensor.size);
      new Uint8Array(data.buffer).set(new Uint8Array(bytes, at + (buffer.offset % 4), data.byteLength));
      out.set(name, host(data, tensor.shape, tensor.dtype));
      at += this.bytesOut(tensor);
    }
    staging.unmap();
    this.staging.push(staging);
    return out;
  }

  /** Runs once with timestamps around each dispatch. Throws DeviceError where the adapter has none. */
  profile(inputs: ReadonlyMap<string, Data>): Promise<CallProfile[]> {
    return this.device.exclusive(() => this.profileNow(inputs));
  }
  private async profileNow(inputs: ReadonlyMap<string, Data>): Promise<CallProfile[]> {
    const { device, lowered } = this;
    const { gpu } = device;
    if (!device.timestamps)
      throw new DeviceError(
        'webgpu: this adapter has no timestamp queries\nProfile on another adapter or on --device wasm.',
      );
    const linked = this.prepare(inputs);
    const main = linked[1];
    const list = this.due(linked);
    const first = list.length - main.length;
    const ticks = device.alloc(16 * Math.max(1, list.length), 'ticks', usage.queryResolve | usage.copySrc);
    const sets: GPUQuerySet[] = [];
    for (let from = 0; from < list.length; from += querySetCalls) {
      const part = list.slice(from, from + querySetCalls);
      const querySet = gpu.createQuerySet({ type: 'timestamp', count: 2 * part.length });
      sets.push(querySet);
      const encoder = gpu.createCommandEncoder();
      part.forEach((l, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encode(pass, [l], 0);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, 2 * part.length, ticks, 16 * from);
      gpu.queue.submit([encoder.finish()]);
    }
    for (const v of lowered.assigned) device.variables.wrote(v);
    const times = new BigUint64Array(await device.download(ticks, 16 * list.length));
    for (const s of sets) s.destroy();
    device.release(ticks);
    const ms = (i: number) => Number(times[i]! - times[2 * first]!) / 1e6;
    return lowered.calls.map(({ call, step }, i) => {
      const [begin, end] = [ms(2 * (first + i)), ms(2 * (first + i) + 1)];
      return {
        ...profileOf(lowered.steps[step], step),
        kernel: call.label.replace(/^.*?: /, ''),
        startMs: begin,
        ms: end - begin,
        bytes: bytesOfCall(call),
      };
    });
  }

  explain(): string {
    return explainWgsl(this.lowered);
  }

  /** Frees its buffers now; nothing of it may be under way. */
  free(): void {
    for (const b of [...this.own.values(), ...this.staging, this.params]) this.device.release(b);
    this.own.clear();
    this.onDispose();
  }
  dispose(): void {
    void this.device.exclusive(() => this.free()).catch(() => {});
  }
}
