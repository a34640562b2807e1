/**
 * From fused steps to a schedule of WASM kernel calls.
 *
 * The one idea: all step buffers share one arena, placed by lifetime; threads meet at a barrier only where calls since the
 * last one touch the same bytes.
 */
import type { Epilogue } from '../../native/epilogue.ts';
import type { Kernel } from '../../native/kernel.ts';
import type { Buffer, Emitter, Value } from '../../native/lower.ts';
import { stridedCopy } from '../../native/movement.ts';
import { pointwiseWasm } from '../../native/pointwise.ts';
import { reduceWasm } from '../../native/reduce.ts';
import type { Mode } from '../../native/wasm.ts';
import { bytesOf } from '../core/dtype.ts';
import { showShape, sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { keyOf } from '../expr/nodes.ts';
import { emitExpr } from '../expr/printWasm.ts';
import type { Op } from '../ops/define.ts';
import { place } from '../plan/arena.ts';
import type { EpilogueStep, Fused, Step } from '../plan/fuse.ts';
import { type Home, type Lowered, lower, type Sink, type Touch } from '../plan/lower.ts';

export interface WasmCall {
  readonly kernel: Kernel;
  /** Words of the argument block in order. */
  readonly args: readonly (number | Buffer)[];
  readonly chunks: number;
}
/** A call as the threads see it. */
export interface LoweredCall extends WasmCall {
  /** The threads meet before it. */
  readonly barrier: boolean;
  /** Index of its step. */
  readonly step: number;
}
/** A lowered plan with its step buffers in the arena. */
export interface LoweredWasm extends Omit<Lowered<WasmCall>, 'prologue' | 'calls'> {
  /** Of step buffers, by id. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly stepBytes: number;
  readonly prologue: readonly LoweredCall[];
  readonly calls: readonly LoweredCall[];
}

export function lowerWasm(fused: Fused, mode: Mode): LoweredWasm {
  const emitter = ({ push, temp, prepared }: Sink<WasmCall>): Emitter => ({
    mode,
    temp,
    prepared,
    call(kernel, args, chunks) {
      const words = Object.keys(kernel.args).map((k) => {
        const v = (args as Record<string, number | Buffer>)[k];
        if (v === undefined) throw new Error(`${kernel.key}: argument '${k}' is missing`);
        return v;
      });
      if (chunks > 0) push({ kernel: kernel as Kernel, args: words, chunks });
    },
  });
  const lowered = lower<WasmCall>(fused, {
    step: (sink, s, valueFor) => lowerStep(emitter(sink), s, valueFor),
    copy: (sink, from, to) => copyInto(emitter(sink), from, to),
  });
  const steps = lowered.homes.flatMap((h, id) => (h.kind === 'step' ? [{ ...h, id, bytes: lowered.bytes[id]! }] : []));
  const { offsets: list, bytes: stepBytes } = place(steps);
  const offsets = new Map(steps.map(({ id }, i) => [id, list[i]!]));
  return {
    ...lowered,
    offsets,
    stepBytes,
    prologue: lowered.prologue.map(({ call, step }) => ({ ...call, step, barrier: true })),
    calls: addBarriers(
      lowered.calls.map(({ call, step }) => ({ ...call, step, barrier: true })),
      lowered.touches,
      lowered.homes,
      offsets,
      lowered.bytes,
    ),
  };
}

function lowerStep(e: Emitter, s: Step, valueFor: (t: Tensor) => Value): void {
  const inputs = s.inputs.map(valueFor);
  const outputs = s.outputs.map(valueFor);
  if (s.kind === 'pointwise') pointwiseWasm(e, { exprs: s.exprs, inputs, outputs });
  else if (s.kind === 'reduce')
    reduceWasm(e, {
      space: s.space,
      reductions: s.reductions,
      inputs: inputs.map((value, i) => ({ value, strides: s.strides[i]! })),
      outputs,
    });
  else {
    const record = (s.node.op as Op).kernels;
    if (record.kind !== 'kernel') throw new Error(`${s.label}: not a kernel op`);
    const epilogue = s.epilogue && epilogueOf(s.epilogue, valueFor);
    record.wasm(e, inputs, outputs, epilogue ? { ...(s.node.attrs as object), epilogue } : s.node.attrs);
  }
}

function epilogueOf(step: EpilogueStep, valueFor: (t: Tensor) => Value): Epilogue {
  return {
    key: keyOf(step.expr),
    operands: step.inputs.map((t, i) => ({ buffer: valueFor(t).buffer, kind: step.kinds[i]! })),
    apply: (f, acc, operands) => emitExpr(f, step.expr, [acc, ...operands]),
  };
}

const copyInto = (e: Emitter, from: Value, to: Value): void =>
  stridedCopy(e, {
    dst: to.buffer,
    src: from.buffer,
    dims: [sizeOf(from.shape)],
    srcStrides: [1],
    dstStrides: [1],
    elementBytes: bytesOf(from.dtype) as 1 | 4,
  });

/** Leaves only the barriers that order conflicting memory accesses since the barrier before. */
function addBarriers(
  calls: readonly LoweredCall[],
  touches: readonly Touch[],
  homes: readonly Home[],
  offsets: ReadonlyMap<number, number>,
  bytes: readonly number[],
): LoweredCall[] {
  type Range = readonly [id: number, start: number, end: number];
  const range = (id: number): Range => {
    const at = offsets.get(id);
    // All step buffers share one address space (id -1); other homes are apart from each other.
    return homes[id]!.kind === 'step' ? [-1, at!, at! + bytes[id]!] : [id, 0, bytes[id]!];
  };
  const overlap = (a: Range, b: Range) => a[0] === b[0] && a[1] < b[2] && b[1] < a[2];
  let reads: Range[] = [];
  let writes: Range[] = [];
  let last = -1;
  return calls.map((c) => {
    const first = c.step !== last;
    last = c.step;
    const t = touches[c.step]!;
    const r = t.reads.map(range);
    const w = t.writes.map(range);
    const conflict =
      !first ||
      w.some((x) => reads.some((y) => overlap(x, y)) || writes.some((y) => overlap(x, y))) ||
      r.some((x) => writes.some((y) => overlap(x, y)));
    if (conflict) {
      reads = [];
      writes = [];
    }
    reads.push(...r);
    writes.push(...w);
    return { ...c, barrier: conflict };
  });
}

/** One line per call, for `explain`. */
export function explainLowered(l: LoweredWasm): string {
  const line = (c: LoweredCall) => {
    const s = l.steps[c.step];
    const shape = s ? s.outputs.map((o) => `${o.dtype}${showShape(o.shape)}`).join(' ') : 'copy';
    return `${c.barrier ? '|' : ' '} ${(s?.label ?? 'copy').padEnd(40)} ${shape.padEnd(32)} ${String(c.chunks).padStart(5)} × ${c.kernel.key.slice(0, 60)}`;
  };
  return [
    `${l.calls.length} calls, ${l.prologue.length} in the prologue, ${new Set(l.calls.map((c) => c.kernel.key)).size} kernels, ${(l.stepBytes / 1e6).toFixed(1)} MB of step memory`,
    ...l.prologue.map((c) => `P${line(c)}`),
    ...l.calls.map((c) => ` ${line(c)}`),
  ].join('\n');
}
