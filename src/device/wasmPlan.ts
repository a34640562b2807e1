/**
 * A plan on the WASM device: its schedules of kernel calls, linked to addresses, and what the host reads and writes.
 *
 * The one idea: argument blocks hold addresses, so they are written when the plan is linked and again only when the
 * arena or a variable has moved. A run writes the inputs, starts the schedule and copies the outputs; nothing else.
 */
import { blockHeaderWords } from '../../native/kernel.ts';
import { type Data, hostArray } from '../core/dtype.ts';
import { type HostTensor, host, type Tensor, type Variable } from '../core/tensor.ts';
import type { Graph } from '../plan/trace.ts';
import { type CallProfile, type Executable, profileOf } from './device.ts';
import { explainLowered, type LoweredCall, type LoweredWasm } from './lowerWasm.ts';
import { wordsPerCall } from './threads.ts';
import { Watch } from './variables.ts';
import type { WasmDevice } from './wasm.ts';

interface HostViews {
  readonly buffer: ArrayBufferLike;
  readonly inputs: readonly { readonly name: string; readonly data: Data }[];
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor; readonly data: Data }[];
  /** Of the prologue and of the main schedule. */
  readonly counters: readonly Data[];
}

/** A linked schedule over device memory. */
export class WasmPlan implements Executable {
  readonly stepBytes: number;
  readonly calls: number;
  readonly kernels: number;
  private readonly device: WasmDevice;
  private readonly lowered: LoweredWasm;
  private readonly graph: Graph;
  private readonly onDispose: () => void;
  /** Own blocks by buffer: inputs, constants, kept values. */
  private readonly own = new Map<number, number>();
  private readonly schedules: {
    readonly id: number;
    readonly calls: readonly LoweredCall[];
    readonly blocks: number;
    readonly counters: number;
  }[];
  /** Views of what the host touches every run, made anew only when memory grew or the plan was relinked. */
  private views: HostViews | undefined;
  private linkedArena = -1;
  private readonly watch: Watch;
  private linkedVariables: readonly { readonly variable: Variable; at: number }[];

  constructor(device: WasmDevice, lowered: LoweredWasm, graph: Graph, onDispose: () => void) {
    this.device = device;
    this.lowered = lowered;
    this.watch = new Watch(device.variables, lowered.watched);
    this.graph = graph;
    this.onDispose = onDispose;
    this.stepBytes = lowered.stepBytes;
    this.calls = lowered.calls.length;
    this.kernels = new Set(lowered.calls.map((c) => c.kernel.key)).size;
    lowered.homes.forEach((h, id) => {
      if (h.kind === 'input' || h.kind === 'kept' || h.kind === 'constant')
        this.own.set(id, device.alloc(lowered.bytes[id]!));
      if (h.kind === 'constant') {
        const n = h.data.length;
        device
          .view(
            this.own.get(id)!,
            h.data instanceof Float32Array ? 'f32' : h.data instanceof Int32Array ? 'i32' : 'u8',
            n,
          )
          .set(h.data);
      }
    });
    this.linkedVariables = lowered.homes.flatMap((h) =>
      h.kind === 'variable' ? [{ variable: h.variable, at: 0 }] : [],
    );
    this.schedules = [lowered.prologue, lowered.calls].map((calls) => {
      const words = calls.reduce((n, c) => n + blockHeaderWords + c.args.length, 0);
      const id = device.newSchedule();
      const schedule = { id, calls, blocks: device.alloc(4 * words), counters: device.alloc(4 * calls.length) };
      let at = schedule.blocks;
      const table = new Int32Array(wordsPerCall * calls.length);
      calls.forEach((c, i) => {
        table.set([device.kernelId(c.kernel.key), at, c.barrier && i > 0 ? 1 : 0], wordsPerCall * i);
        at += 4 * (blockHeaderWords + c.args.length);
      });
      device.runner.addSchedule(id, table);
      return schedule;
    });
  }

  /** Forces new addresses at the next run. */
  unlink(): void {
    this.linkedArena = -1;
  }

  private addressOf(id: number): number {
    const h = this.lowered.homes[id]!;
    if (h.kind === 'step') return this.device.arenaAt + this.lowered.offsets.get(id)!;
    if (h.kind === 'variable') return this.device.variables.at(h.variable).place;
    return this.own.get(id)!;
  }

  /** Writes addresses into the argument blocks. */
  private link(): void {
    for (const s of this.schedules) {
      let at = s.blocks;
      s.calls.forEach((c, i) => {
        const block = new DataView(this.device.buffer, at, 4 * (blockHeaderWords + c.args.length));
        block.setInt32(0, s.counters + 4 * i, true);
        block.setInt32(4, c.chunks, true);
        const types = Object.values(c.kernel.args);
        c.args.forEach((v, k) => {
          const to = 4 * (blockHeaderWords + k);
          if (typeof v !== 'number') block.setInt32(to, this.addressOf(v.id) + v.offset, true);
          else if (types[k] === 'i32') block.setInt32(to, v, true);
          else block.setFloat32(to, v, true);
        });
        at += block.byteLength;
      });
    }
    for (const l of this.linkedVariables) l.at = this.device.variables.at(l.variable).place;
    this.linkedArena = this.device.arenaAt;
    this.watch.reset();
    this.views = undefined;
  }

  private hostViews(): HostViews {
    const { device, lowered } = this;
    if (this.views?.buffer === device.buffer) return this.views;
    this.views = {
      buffer: device.buffer,
      inputs: lowered.homes.flatMap((h, id) => {
        if (h.kind !== 'input') return [];
        const t = this.graph.inputs.get(h.name)!;
        return [{ name: h.name, data: device.view(this.own.get(id)!, t.dtype, t.size) }];
      }),
      outputs: [...lowered.outputs].map(([name, { tensor, buffer }]) => ({
        name,
        tensor,
        data: device.view(this.addressOf(buffer.id) + buffer.offset, tensor.dtype, tensor.size),
      })),
      counters: this.schedules.map((s) => device.view(s.counters, 'i32', s.calls.length)),
    };
    return this.views;
  }

  run(inputs: ReadonlyMap<string, Data>): Promise<Map<string, HostTensor>> {
    return this.device.exclusive(async () => {
      await this.start(inputs);
      if (this.schedules[1]!.calls.length) await this.runSchedule(1, 0);
      return this.finish();
    });
  }

  /** Runs the prologue (0) or the main schedule (1). */
  private runSchedule(which: 0 | 1, timesAt: number): Promise<void> {
    this.hostViews().counters[which]!.fill(0);
    return this.device.runner.run(this.schedules[which]!.id, timesAt);
  }

  private async start(inputs: ReadonlyMap<string, Data>): Promise<void> {
    const { device, lowered } = this;
    // Uploads what the host changed; a variable whose block moved needs new addresses.
    let moved = this.linkedArena !== device.arenaAt;
    for (const l of this.linkedVariables) if (device.variables.at(l.variable).place !== l.at) moved = true;
    if (moved) this.link();
    for (const { name, data } of this.hostViews().inputs) data.set(inputs.get(name)!);
    if (lowered.prologue.length && this.watch.due()) await this.runSchedule(0, 0);
  }

  private finish(): Map<string, HostTensor> {
    for (const v of this.lowered.assigned) this.device.variables.wrote(v);
    return new Map(
      this.hostViews().outputs.map(({ name, tensor, data }) => {
        const copy = hostArray(tensor.dtype, tensor.size);
        copy.set(data);
        return [name, host(copy, tensor.shape, tensor.dtype)];
      }),
    );
  }

  explain(): string {
    return explainLowered(this.lowered);
  }

  profile(inputs: ReadonlyMap<string, Data>): Promise<CallProfile[]> {
    return this.device.exclusive(() => this.profileNow(inputs));
  }

  private async profileNow(inputs: ReadonlyMap<string, Data>): Promise<CallProfile[]> {
    await this.start(inputs);
    const main = this.schedules[1]!;
    const at = this.device.alloc(8 * main.calls.length);
    const times = new Float64Array(this.device.buffer, at, main.calls.length);
    times.fill(0);
    await this.runSchedule(1, at);
    const ms = new Float64Array(this.device.buffer, at, main.calls.length).slice();
    this.device.release(at);
    this.finish();
    return main.calls.map((c, i) => {
      const s = this.lowered.steps[c.step];
      return { ...profileOf(s, c.step), kernel: c.kernel.key, ms: ms[i]! };
    });
  }

  dispose(): void {
    void this.device.exclusive(() => {
      for (const at of this.own.values()) this.device.release(at);
      for (const s of this.schedules) {
        this.device.release(s.blocks);
        this.device.release(s.counters);
        this.device.runner.removeSchedule(s.id);
      }
      this.own.clear();
      this.onDispose();
    });
  }
}
