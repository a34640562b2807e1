/**
 * Kernels on the GPU outside any plan, for the benchmark.
 *
 * The one idea: the GPU times itself, so a figure holds no host work, no upload and no waiting. What is short runs many
 * times between two timestamps.
 */
import { type Composed, compose } from '../kernels/compose.ts';
import type { Dispatch, GpuEmitter, GpuLowering, Value } from '../kernels/lower.ts';
import { DeviceError } from '../src/core/errors.ts';
import { sizeOf } from '../src/core/shape.ts';
import { usage, WebGpuDevice } from '../src/device/webgpu.ts';
import { foldGroups } from '../src/device/webgpuPlan.ts';

interface Linked {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly x: number;
  readonly y: number;
}

/** A run is repeated until it takes about as long, up to `mostRuns` times. */
const leastMs = 1;
const mostRuns = 100;

export class GpuBench {
  readonly device: WebGpuDevice;
  private readonly buffers: GPUBuffer[] = [];
  private readonly ticks: GPUBuffer;
  private readonly queries: GPUQuerySet;

  private constructor(device: WebGpuDevice) {
    this.device = device;
    this.ticks = device.alloc(16, 'ticks', usage.queryResolve | usage.copySrc);
    this.queries = device.gpu.createQuerySet({ type: 'timestamp', count: 2 });
  }

  /** @throws DeviceError where there is no GPU, or none that times itself */
  static async create(): Promise<GpuBench> {
    const device = await WebGpuDevice.create();
    if (device.timestamps) return new GpuBench(device);
    await device.dispose();
    throw new DeviceError('webgpu: this adapter has no timestamp queries\nMeasure kernels on another adapter.');
  }

  /** A float32 tensor, of numbers between -0.5 and 0.5 unless told otherwise. */
  value(shape: readonly number[], number = (i: number) => ((i * 7919) % 1024) / 1024 - 0.5): Value {
    const made = this.empty(shape);
    const data = new Float32Array(sizeOf(shape));
    for (let i = 0; i < data.length; i++) data[i] = number(i);
    this.device.upload(this.bufferOf(made), data);
    return made;
  }
  /** A float32 tensor of zeros. */
  empty(shape: readonly number[]): Value {
    const buffer = this.device.alloc(4 * sizeOf(shape), 'bench');
    return { shape, dtype: 'f32', buffer: { id: this.buffers.push(buffer) - 1, offset: 0 } };
  }
  bufferOf({ buffer }: Value): GPUBuffer {
    return this.buffers[buffer.id]!;
  }
  /** Frees all tensors and what runs on them. */
  clear(): void {
    for (const b of this.buffers.splice(0)) this.device.release(b);
  }
  /** What a tensor holds now. */
  async read(x: Value): Promise<Float32Array> {
    return new Float32Array(await this.device.download(this.bufferOf(x), 4 * sizeOf(x.shape)));
  }

  private async link(call: Composed): Promise<Linked> {
    const { pipeline, layout } = await this.device.pipeline(call);
    const params = this.device.alloc(call.params.byteLength, 'parameters', usage.uniform | usage.copyDst);
    this.buffers.push(params);
    this.device.upload(params, new Uint8Array(call.params));
    const bound = call.bindings.map((b, i) => ({
      binding: i + 1,
      resource: { buffer: this.buffers[b.buffer.id]!, offset: b.buffer.offset, size: b.bytes },
    }));
    const entries = [{ binding: 0, resource: { buffer: params } }, ...bound];
    const group = this.device.gpu.createBindGroup({ layout, entries });
    return { pipeline, group, ...foldGroups(call.groups) };
  }

  /** Milliseconds of `runs` runs of the dispatches. */
  private async time(list: readonly Linked[], runs: number): Promise<number> {
    const { device, queries: querySet } = this;
    const encoder = device.gpu.createCommandEncoder();
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    });
    for (let r = 0; r < runs; r++)
      for (const { pipeline, group, x, y } of list) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(x, y);
      }
    pass.end();
    encoder.resolveQuerySet(querySet, 0, 2, this.ticks, 0);
    device.gpu.queue.submit([encoder.finish()]);
    const [begin, end] = new BigUint64Array(await device.download(this.ticks, 16));
    device.check();
    return Number(end! - begin!) / 1e6;
  }

  /** A function that runs the dispatches in order and gives their milliseconds; its calls are not to overlap. */
  bind(dispatches: readonly Dispatch[]): () => Promise<number> {
    const linked = Promise.all(dispatches.map((d) => this.link(compose(d))));
    // Told by the first call.
    linked.catch(() => {});
    let runs = 1;
    return async () => {
      const ms = (await this.time(await linked, runs)) / runs;
      runs = Math.min(mostRuns, Math.max(1, Math.ceil(leastMs / ms)));
      return ms;
    };
  }

  /** A function that runs one op. What it prepares is done every time. */
  lowering<Attrs>(
    lower: GpuLowering<Attrs>,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attrs: Attrs,
  ): () => Promise<number> {
    const dispatches: Dispatch[] = [];
    const emitter: GpuEmitter = {
      limits: this.device.limits,
      dispatch: (d) => void dispatches.push(d),
      temp: (n) => this.empty([n]),
    };
    lower(emitter, inputs, outputs, attrs);
    return this.bind(dispatches);
  }

  async close(): Promise<void> {
    this.queries.destroy();
    await this.device.dispose();
  }
}
