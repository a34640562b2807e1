/**
 * From fused steps to WGSL dispatches.
 *
 * The one idea: WebGPU forbids to bind one buffer for reading and for writing in a dispatch, even at places apart. So step
 * buffers are whole objects, shared by tensors whose lifetimes are apart, and views are bound at their offset; where
 * that is not aligned as WebGPU wants, they are copied first.
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
import { pointwiseWgsl } from '../../kernels/pointwise.ts';
import { reduceWgsl } from '../../kernels/reduce.ts';
import type { Buffer, Value } from '../core/buffer.ts';
import { bytesOf } from '../core/dtype.ts';
import { DeviceError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Op } from '../ops/define.ts';
import { placeObjects } from '../plan/arena.ts';
import type { Fused, Step } from '../plan/fuse.ts';
import { type Lowered, lower, type Placed, type Sink } from '../plan/lower.ts';

export type GpuCall = Composed;

export interface LoweredWgsl extends Lowered<GpuCall> {
  /** Number of the shared object of each step buffer. */
  readonly objects: ReadonlyMap<number, number>;
  /** Bytes of the objects, largest first. */
  readonly objectBytes: readonly number[];
}

/** Bind offsets are multiples of this on every adapter. */
const alignment = 256;

/** Copies elements from any place of a buffer to the start of another. */
function copy(e: Pick<GpuEmitter, 'dispatch'>, from: Value, to: Value): void {
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
  e.dispatch({
    files: [],
    label: 'copy',
    groups: ceilDiv(count, 64),
    params: { count, skip },
    inputs: { x: { value: whole, width: 1, bits: true } },
    outputs: { y: { value: to, width: bytes ? 4 : 1, bits: true } },
    code: `@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * 64u + lane;
  if (i < p.count) { ${body} }
}`,
  });
}

class Emitter implements GpuEmitter {
  readonly limits: GpuLimits;
  private readonly sink: Sink<GpuCall>;
  private readonly tail: { readonly epilogue: GpuEpilogue; readonly of: Buffer } | undefined;
  private readonly label: string;
  constructor(
    limits: GpuLimits,
    sink: Sink<GpuCall>,
    label: string,
    tail?: { readonly epilogue: GpuEpilogue; readonly of: Buffer },
  ) {
    this.limits = limits;
    this.sink = sink;
    this.label = label;
    this.tail = tail;
  }
  temp(n: number): Value {
    return { buffer: this.sink.temp(paddedBytes(4 * n)), shape: [n], dtype: 'f32' };
  }
  /** The operand at a place where it can be bound. */
  private bindable(o: Operand): Operand {
    if (o.value.buffer.offset % alignment === 0) return o;
    const n = elementsOf(o.value);
    const bytes = n * bytesOf(o.value.dtype);
    const value = { ...o.value, buffer: this.sink.temp(paddedBytes(bytes)) };
    copy(new Emitter(this.limits, this.sink, 'copy'), o.value, value);
    return { ...o, value };
  }
  dispatch(d: Dispatch): void {
    if (d.groups === 0) return;
    const inputs = Object.fromEntries(Object.entries(d.inputs ?? {}).map(([name, o]) => [name, this.bindable(o)]));
    const tail = this.tail && {
      ...this.tail,
      epilogue: {
        ...this.tail.epilogue,
        operands: this.tail.epilogue.operands.map((o) => ({
          ...o,
          value: this.bindable({ value: o.value, width: 1 }).value,
        })),
      },
    };
    const composed = compose({ ...d, inputs }, tail);
    if (composed.bindings.length > this.limits.storageBuffers)
      throw new DeviceError(
        `webgpu: ${this.label}: expected at most ${this.limits.storageBuffers} buffers in one kernel (the adapter's limit), got ${composed.bindings.length}\nCombine its operands first, or use --device wasm.`,
      );
    this.sink.push({ ...composed, label: `${this.label}: ${composed.label}` });
  }
}

export function lowerWgsl(fused: Fused, limits: GpuLimits): LoweredWgsl {
  const lowered = lower<GpuCall>(fused, {
    step: (sink, s, valueFor) => lowerStep(limits, sink, s, valueFor),
    copy: (sink, from, to) => copy(new Emitter(limits, sink, 'copy'), from, to),
  });
  const steps = lowered.homes.flatMap((h, id) =>
    h.kind === 'step' ? [{ ...h, id, bytes: paddedBytes(lowered.bytes[id]!) }] : [],
  );
  const { objects, sizes } = placeObjects(steps);
  return { ...lowered, objects: new Map(steps.map(({ id }, i) => [id, objects[i]!])), objectBytes: sizes };
}

/** A step by name: its ops, and the module they are in. */
export const nameOf = (s: Step): string => (s.path ? `${s.label} in ${s.path}` : s.label);

function lowerStep(limits: GpuLimits, sink: Sink<GpuCall>, s: Step, valueFor: (t: Tensor) => Value): void {
  const inputs = s.inputs.map(valueFor);
  const outputs = s.outputs.map(valueFor);
  if (s.kind === 'pointwise') {
    pointwiseWgsl(new Emitter(limits, sink, nameOf(s)), { exprs: s.exprs, inputs, outputs });
    return;
  }
  if (s.kind === 'reduce') {
    reduceWgsl(new Emitter(limits, sink, nameOf(s)), {
      space: s.space,
      reductions: s.reductions,
      inputs: inputs.map((value, i) => ({ value, strides: s.strides[i]! })),
      outputs,
    });
    return;
  }
  const record = (s.node.op as Op).kernels;
  if (record.kind !== 'kernel') throw new Error(`${s.label}: not a kernel op`);
  if (!record.wgsl) throw new DeviceError(`webgpu: '${nameOf(s)}' has no WGSL kernel\nUse --device wasm.`);
  const tail = s.epilogue && {
    of: outputs[0]!.buffer,
    epilogue: {
      expr: s.epilogue.expr,
      operands: s.epilogue.inputs.map((t, i) => ({ value: valueFor(t), kind: s.epilogue!.kinds[i]! })),
      columns: s.outputs[0]!.shape.at(-1)!,
    },
  };
  record.wgsl(new Emitter(limits, sink, nameOf(s), tail), inputs, outputs, s.node.attrs);
}

/** Bytes that the dispatches of a plan read and write, by their bindings. */
export const bytesMoved = (l: LoweredWgsl): number =>
  l.calls.reduce((n, { call }) => n + call.bindings.reduce((m, b) => m + b.bytes, 0), 0);

/** One line per dispatch, for `explain`. */
export function explainWgsl(l: LoweredWgsl): string {
  const line = ({ call, step }: Placed<GpuCall>) => {
    const s = l.steps[step];
    const shape = s ? s.outputs.map((o) => `${o.dtype}${showShape(o.shape)}`).join(' ') : 'copy';
    return ` ${call.label.slice(0, 80).padEnd(60)} ${shape.padEnd(32)} ${String(call.groups).padStart(7)} workgroups`;
  };
  const total = l.objectBytes.reduce((a, b) => a + b, 0);
  return [
    `${l.calls.length} dispatches, ${l.prologue.length} in the prologue, ${new Set(l.calls.map((c) => c.call.code)).size} kernels, ${(total / 1e6).toFixed(1)} MB of step memory in ${l.objectBytes.length} buffers, ${(bytesMoved(l) / 1e6).toFixed(1)} MB moved`,
    ...l.prologue.map((c) => `P${line(c)}`),
    ...l.calls.map((c) => ` ${line(c)}`),
  ].join('\n');
}
