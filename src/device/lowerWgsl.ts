/**
 * From fused steps to WGSL dispatches.
 *
 * The one idea: WebGPU forbids to bind one buffer for reading and for writing in a dispatch, even at places apart. So step
 * memory is a few banks, and what a dispatch reads lies in others than what it writes. Views are bound at their offset;
 * where that is not aligned as WebGPU wants, they are copied first.
 */
import { type Composed, compose, paddedBytes } from '../../kernels/compose.ts';
import {
  ceilDiv,
  type Dispatch,
  elementsOf,
  type GpuEmitter,
  type GpuEpilogue,
  type GpuLimits,
  type Operand,
} from '../../kernels/lower.ts';
import { bitsOf, each, joinWgsl } from '../../kernels/movement.ts';
import { pointwiseWgsl } from '../../kernels/pointwise.ts';
import { reduceWgsl } from '../../kernels/reduce.ts';
import type { Buffer, Value } from '../core/buffer.ts';
import { bytesOf } from '../core/dtype.ts';
import { DeviceError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Op } from '../ops/define.ts';
import { type Place, placeInBanks } from '../plan/arena.ts';
import type { Fused, FuseOptions, Step } from '../plan/fuse.ts';
import { type Lowered, lower, type Placed, type Sink } from '../plan/lower.ts';

export type GpuCall = Composed;

export interface LoweredWgsl extends Lowered<GpuCall> {
  /** Where each step buffer lies. */
  readonly places: ReadonlyMap<number, Place>;
  readonly bankBytes: readonly number[];
  /** Of all banks. */
  readonly stepBytes: number;
}

export const megabytes = (n: number) => `${(n / 1e6).toFixed(0)} MB`;

/** Bind offsets are multiples of this on every adapter. */
const alignment = 256;

/** Copies elements from any place of a buffer to the start of another. */
function copy(e: GpuEmitter, from: Value, to: Value): void {
  const n = elementsOf(from);
  const size = bytesOf(from.dtype);
  const start = Math.floor(from.buffer.offset / alignment) * alignment;
  const skip = (from.buffer.offset - start) / size;
  const whole: Value = { ...from, buffer: { id: from.buffer.id, offset: start }, shape: [n + skip] };
  const bytes = size === 1;
  const body = bytes
    ? 'storeY(i, vec4<u32>(loadX(4u * i + p.skip), loadX(4u * i + 1u + p.skip), loadX(4u * i + 2u + p.skip), loadX(4u * i + 3u + p.skip)));'
    : 'storeY(i, loadX(i + p.skip));';
  const count = bytes ? ceilDiv(n, 4) : n;
  each(e, count, {
    files: [],
    label: 'copy',
    params: { skip },
    inputs: { x: bitsOf(whole, 1) },
    outputs: { y: bitsOf(to, bytes ? 4 : 1) },
    code: `fn make(i: u32) { ${body} }`,
  });
}

/**
 * Which buffers of an inference plan are stored as float16. Kernels compute in float32 all the same; what is halved is the
 * memory that large activations and weights take and the time it takes to move them. A first lowering finds the buffers
 * that can be: large results of steps that are written four at a time and never moved as bits or from the middle. The
 * second, which numbers buffers alike, stores them so. Weights are packed in the prologue.
 */
class HalfStorage {
  private readonly candidates = new Set<number>();
  private readonly refused = new Set<number>();
  private chosen: ReadonlySet<number> = new Set();
  /** Packed copies of weights, by buffer. */
  readonly packed = new Map<number, Buffer>();

  offer(v: Value): void {
    if (v.dtype === 'f32' && elementsOf(v) >= leastHalf) this.candidates.add(v.buffer.id);
  }
  see(o: Operand, writes: boolean): void {
    if (o.bits || o.value.buffer.offset !== 0 || (writes && o.width === 1)) this.refused.add(o.value.buffer.id);
  }
  refuse(id: number): void {
    this.refused.add(id);
  }
  choose(): void {
    this.chosen = new Set([...this.candidates].filter((id) => !this.refused.has(id)));
  }
  has(v: Value): boolean {
    return this.chosen.has(v.buffer.id);
  }
  /** Bytes of a buffer as it is stored. */
  bytesOf(id: number, bytes: number): number {
    return this.chosen.has(id) ? bytes / 2 : bytes;
  }
}
/** Elements of the largest tensor that is copied rather than bound, where a kernel has too many. */
const smallTensor = 8192;
/** Elements of the smallest tensor that is worth halving. */
const leastHalf = 4096;

/** What kernels of an adapter can take: small operands are copied together where they are too many to bind. */
export const fuseFor = ({ storageBuffers }: GpuLimits): FuseOptions => ({
  operands: 20,
  buffers: storageBuffers,
  small: smallTensor,
});

interface Tail {
  readonly epilogue: GpuEpilogue;
  readonly of: Buffer;
}

/** What all steps of a plan share. */
interface Plan {
  readonly limits: GpuLimits;
  readonly half: HalfStorage | undefined;
}

class Emitter implements GpuEmitter {
  readonly limits: GpuLimits;
  private readonly plan: Plan;
  private readonly sink: Sink<GpuCall>;
  private readonly tail: Tail | undefined;
  private readonly label: string;
  constructor(plan: Plan, sink: Sink<GpuCall>, label: string, tail?: Tail) {
    this.plan = plan;
    this.limits = plan.limits;
    this.sink = sink;
    this.label = label;
    this.tail = tail;
  }
  temp(n: number): Value {
    return { buffer: this.sink.temp(paddedBytes(4 * n)), shape: [n], dtype: 'f32' };
  }
  /** The operand at a place where it can be bound, as it is stored. */
  private bindable(o: Operand): Operand {
    const { half } = this.plan;
    half?.see(o, false);
    if (half?.has(o.value)) return { ...o, half: true };
    if (half && this.packs(o)) return { ...o, half: true, value: { ...o.value, buffer: this.packed(o.value, half) } };
    if (o.value.buffer.offset % alignment === 0) return o;
    const bytes = elementsOf(o.value) * bytesOf(o.value.dtype);
    const value = { ...o.value, buffer: this.sink.temp(paddedBytes(bytes)) };
    copy(new Emitter(this.plan, this.sink, 'copy'), o.value, value);
    return { ...o, value };
  }
  /** Whether an operand is a large weight that does not change between runs. */
  private packs({ value, width, bits }: Operand): boolean {
    const whole = width === 4 && !bits && value.buffer.offset === 0;
    return whole && value.dtype === 'f32' && elementsOf(value) >= leastHalf && this.sink.isFixed(value);
  }
  private packed(v: Value, half: HalfStorage): Buffer {
    const known = half.packed.get(v.buffer.id);
    if (known) return known;
    const n = elementsOf(v);
    const to = this.sink.prepared(v, paddedBytes(2 * n), (buffer) => {
      // Past `dispatch`, which would look for a packed copy of the operand.
      const dispatch = (d: Dispatch) => {
        const composed = compose(d);
        this.sink.push({ ...composed, label: `${this.label}: ${composed.label}` });
      };
      each({ limits: this.limits, temp: (size) => this.temp(size), dispatch }, ceilDiv(n, 4), {
        files: [],
        label: 'pack',
        inputs: { x: { value: v, width: 4 } },
        outputs: { y: { value: { ...v, buffer }, width: 4, half: true } },
        code: 'fn make(i: u32) { storeY(i, loadX(i)); }',
      });
    });
    half.packed.set(v.buffer.id, to);
    return to;
  }
  dispatch(d: Dispatch): void {
    if (d.groups === 0) return;
    const { half } = this.plan;
    const inputs = Object.fromEntries(Object.entries(d.inputs ?? {}).map(([name, o]) => [name, this.bindable(o)]));
    const outputs = Object.fromEntries(
      Object.entries(d.outputs).map(([name, o]) => {
        half?.see(o, true);
        return [name, half?.has(o.value) ? { ...o, half: true } : o];
      }),
    );
    const tail = this.tail && {
      ...this.tail,
      epilogue: {
        ...this.tail.epilogue,
        operands: this.tail.epilogue.operands.map((o) => ({ ...this.bindable({ ...o, width: 1 }), kind: o.kind })),
      },
    };
    let composed = compose({ ...d, inputs, outputs }, tail);
    if (composed.bindings.length > this.limits.storageBuffers) {
      const pooled = this.pooled({ ...d, inputs, outputs }, tail);
      composed = compose(pooled.d, pooled.tail);
    }
    if (composed.bindings.length > this.limits.storageBuffers)
      throw new DeviceError(
        `webgpu: ${this.label}: expected at most ${this.limits.storageBuffers} buffers in one kernel (the adapter's limit), got ${composed.bindings.length}\nCombine its operands first, or use --device wasm.`,
      );
    const largest = Math.max(...composed.bindings.map((b) => b.bytes));
    if (largest > this.limits.operandBytes)
      throw new DeviceError(
        `webgpu: ${this.label}: expected tensors of at most ${megabytes(this.limits.operandBytes)} (the adapter's limit), got one of ${megabytes(largest)}\nUse a smaller batch, accumulate, or --device wasm.`,
      );
    this.sink.push({ ...composed, label: `${this.label}: ${composed.label}` });
  }
  /** The dispatch with its small operands copied into one buffer. */
  private pooled(d: Dispatch, tail: Tail | undefined): { d: Dispatch; tail: Tail | undefined } {
    const written = new Set(Object.values(d.outputs).map((o) => o.value.buffer.id));
    const small = (o: Omit<Operand, 'width'>) =>
      elementsOf(o.value) <= smallTensor &&
      o.value.dtype === 'f32' &&
      !o.half &&
      !o.bits &&
      !written.has(o.value.buffer.id);
    const list = [...Object.values(d.inputs ?? {}), ...(tail?.epilogue.operands ?? [])].filter(small);
    const places = new Map<string, number>();
    const values: Value[] = [];
    let size = 0;
    const keyOfPlace = ({ buffer }: Value) => `${buffer.id}+${buffer.offset}`;
    for (const { value } of list) {
      if (places.has(keyOfPlace(value))) continue;
      places.set(keyOfPlace(value), size);
      values.push(value);
      size += 4 * ceilDiv(elementsOf(value), 4);
    }
    const pool = this.temp(size);
    joinWgsl(
      new Emitter(this.plan, this.sink, this.label),
      values.map((x) => ({ x, at: places.get(keyOfPlace(x))! })),
      pool,
    );
    const read = <O extends Omit<Operand, 'width'>>(o: O): O =>
      small(o) ? { ...o, pool: { value: pool, at: places.get(keyOfPlace(o.value))! } } : o;
    return {
      d: { ...d, inputs: Object.fromEntries(Object.entries(d.inputs ?? {}).map(([name, o]) => [name, read(o)])) },
      tail: tail && { ...tail, epilogue: { ...tail.epilogue, operands: tail.epilogue.operands.map(read) } },
    };
  }
}

/** Lowers a plan; with `half`, large activations and weights are stored as float16. */
export function lowerWgsl(fused: Fused, limits: GpuLimits, { half = false } = {}): LoweredWgsl {
  const plan: Plan = { limits, half: half ? new HalfStorage() : undefined };
  const once = () =>
    lower<GpuCall>(fused, {
      step: (sink, s, valueFor) => lowerStep(plan, sink, s, valueFor),
      copy: (sink, from, to) => copy(new Emitter(plan, sink, 'copy'), from, to),
    });
  let lowered = once();
  if (plan.half) {
    for (const { buffer } of lowered.outputs.values()) plan.half.refuse(buffer.id);
    lowered.homes.forEach((h, id) => {
      if (h.kind !== 'step' && h.kind !== 'kept') plan.half!.refuse(id);
    });
    plan.half.choose();
    plan.half.packed.clear();
    const { half: storage } = plan;
    lowered = once();
    lowered = { ...lowered, bytes: lowered.bytes.map((n, id) => storage.bytesOf(id, n)) };
  }
  const steps = lowered.homes.flatMap((h, id) =>
    h.kind === 'step' ? [{ ...h, id, bytes: paddedBytes(lowered.bytes[id]!) }] : [],
  );
  const number = new Map(steps.map(({ id }, i) => [id, i]));
  const apart = lowered.calls.flatMap(({ call: { bindings } }) => {
    const side = (writes: boolean) =>
      bindings.flatMap((b) => (b.writes === writes && number.has(b.buffer.id) ? [number.get(b.buffer.id)!] : []));
    return side(true).flatMap((w) => side(false).map((r) => [w, r] as const));
  });
  const { places, bankBytes } = placeInBanks(steps, apart, limits.bufferBytes, alignment);
  return {
    ...lowered,
    places: new Map(steps.map(({ id }, i) => [id, places[i]!])),
    bankBytes,
    stepBytes: bankBytes.reduce((a, b) => a + b, 0),
  };
}

/** A step by name: its ops, and the module they are in. */
const nameOf = (s: Step): string => (s.path ? `${s.label} in ${s.path}` : s.label);

function lowerStep(plan: Plan, sink: Sink<GpuCall>, s: Step, valueFor: (t: Tensor) => Value): void {
  const inputs = s.inputs.map(valueFor);
  const outputs = s.outputs.map(valueFor);
  for (const y of outputs) plan.half?.offer(y);
  if (s.kind === 'pointwise') {
    pointwiseWgsl(new Emitter(plan, sink, nameOf(s)), { exprs: s.exprs, inputs, outputs });
    return;
  }
  if (s.kind === 'reduce') {
    reduceWgsl(new Emitter(plan, sink, nameOf(s)), {
      space: s.space,
      reductions: s.reductions,
      inputs: inputs.map((value, i) => ({ value, strides: s.strides[i]! })),
      outputs,
    });
    return;
  }
  const record = (s.node.op as Op).kernels;
  if (record.kind !== 'kernel') throw new Error(`${s.label}: not a kernel op`);
  const tail = s.epilogue && {
    of: outputs[0]!.buffer,
    epilogue: {
      expr: s.epilogue.expr,
      operands: s.epilogue.inputs.map((t, i) => ({ value: valueFor(t), kind: s.epilogue!.kinds[i]! })),
      columns: s.outputs[0]!.shape.at(-1)!,
    },
  };
  record.wgsl(new Emitter(plan, sink, nameOf(s), tail), inputs, outputs, s.node.attrs);
}

/** Bytes that a dispatch reads and writes, by its bindings. */
export const bytesOfCall = ({ bindings }: GpuCall): number => bindings.reduce((n, b) => n + b.bytes, 0);
export const bytesMoved = (l: LoweredWgsl): number => l.calls.reduce((n, { call }) => n + bytesOfCall(call), 0);

/** One line per dispatch, for `explain`. */
export function explainWgsl(l: LoweredWgsl): string {
  const line = ({ call, step }: Placed<GpuCall>) => {
    const s = l.steps[step];
    const shape = s ? s.outputs.map((o) => `${o.dtype}${showShape(o.shape)}`).join(' ') : 'copy';
    return ` ${call.label.slice(0, 80).padEnd(60)} ${shape.padEnd(32)} ${String(call.groups).padStart(7)} workgroups`;
  };
  return [
    `${l.calls.length} dispatches, ${l.prologue.length} in the prologue, ${new Set(l.calls.map((c) => c.call.code)).size} kernels, ${(l.stepBytes / 1e6).toFixed(1)} MB of step memory in ${l.bankBytes.length} banks, ${(bytesMoved(l) / 1e6).toFixed(1)} MB moved`,
    ...l.prologue.map((c) => `P${line(c)}`),
    ...l.calls.map((c) => ` ${line(c)}`),
  ].join('\n');
}
