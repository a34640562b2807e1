/**
 * From fused steps to a schedule of WASM kernel calls over numbered buffers.
 *
 * The one idea: buffers get numbers here and addresses only when linked, so a plan survives the step arena moving.
 * Work that depends on unchanged variables alone (folded batch norm, packed weights) goes to a prologue that is rerun
 * when a variable changes.
 */
import type { Epilogue } from '../../native/epilogue.ts';
import type { Kernel } from '../../native/kernel.ts';
import type { Buffer, Emitter, Value } from '../../native/lower.ts';
import { stridedCopy } from '../../native/movement.ts';
import { pointwiseWasm } from '../../native/pointwise.ts';
import { reduceWasm } from '../../native/reduce.ts';
import type { Mode } from '../../native/wasm.ts';
import { bytesOf, type Data } from '../core/dtype.ts';
import { showShape } from '../core/shape.ts';
import { constantOp, placeholderOp, type Tensor, type Variable, variableOp } from '../core/tensor.ts';
import { keyOf } from '../expr/nodes.ts';
import { emitExpr } from '../expr/printWasm.ts';
import type { Op } from '../ops/define.ts';
import { place } from '../plan/arena.ts';
import type { EpilogueStep, Fused, Step } from '../plan/fuse.ts';

/** Where a buffer lives. `step` buffers share the device's arena, `kept` ones belong to the plan. */
export type Home =
  | { readonly kind: 'step'; readonly offset: number }
  | { readonly kind: 'kept' }
  | { readonly kind: 'variable'; readonly variable: Variable }
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'constant'; readonly data: Data };

export interface LoweredCall {
  readonly kernel: Kernel;
  /** Words of the argument block in order. */
  readonly args: readonly (number | Buffer)[];
  readonly chunks: number;
  readonly barrier: boolean;
  /** Index of its step. */
  readonly step: number;
}

export interface Lowered {
  readonly homes: readonly Home[];
  readonly bytes: readonly number[];
  readonly stepBytes: number;
  readonly prologue: readonly LoweredCall[];
  readonly calls: readonly LoweredCall[];
  readonly steps: readonly Step[];
  /** Where each output is to be read. */
  readonly outputs: ReadonlyMap<string, { readonly tensor: Tensor; readonly buffer: Buffer }>;
  /** Variables that the prologue read. */
  readonly watched: readonly Variable[];
  readonly assigned: readonly Variable[];
}

/** What one step touches, for liveness and barriers. */
interface Touch {
  readonly reads: number[];
  readonly writes: number[];
}

export function lower(fused: Fused, mode: Mode): Lowered {
  const homes: (Home | undefined)[] = [];
  const bytes: number[] = [];
  const byTensor = new Map<string, number>();
  const newBuffer = (size: number, home?: Home): number => {
    homes.push(home);
    bytes.push(size);
    return homes.length - 1;
  };
  const bytesOfTensor = (t: Tensor) => t.size * bytesOf(t.dtype);

  const rootOf = (t: Tensor): { root: Tensor; offset: number } => {
    const v = fused.views.get(t.id);
    if (!v) return { root: t, offset: 0 };
    const up = rootOf(v.of);
    return { root: up.root, offset: up.offset + v.offset * bytesOf(t.dtype) };
  };

  // Variables that this plan changes: their new values are written in place where every other read comes earlier.
  const assigns = new Map([...fused.assigns].filter(([v, t]) => t.id !== v.tensor.id));
  const { inPlace, copies } = placeAssigns({ ...fused, assigns }, rootOf);
  const inputName = new Map([...fused.inputs].map(([name, t]) => [t.node, name]));
  const assigned = new Set(assigns.keys());

  const variableBuffers = new Map<Variable, number>();
  const bufferOfVariable = (v: Variable) => {
    const known = variableBuffers.get(v);
    if (known !== undefined) return known;
    const id = newBuffer(v.bytes, { kind: 'variable', variable: v });
    variableBuffers.set(v, id);
    return id;
  };
  const idOf = (root: Tensor): number => {
    const known = byTensor.get(root.id);
    if (known !== undefined) return known;
    const { node } = root;
    let id: number;
    const target = inPlace.get(root.id);
    if (target) id = bufferOfVariable(target);
    else if (node.op === variableOp) id = bufferOfVariable((node.attrs as { variable: Variable }).variable);
    else if (node.op === placeholderOp)
      id = newBuffer(bytesOfTensor(root), { kind: 'input', name: inputName.get(node)! });
    else if (node.op === constantOp)
      id = newBuffer(bytesOfTensor(root), { kind: 'constant', data: (node.attrs as { data: Data }).data });
    else id = newBuffer(bytesOfTensor(root));
    byTensor.set(root.id, id);
    return id;
  };
  const valueFor = (t: Tensor): Value => {
    const { root, offset } = rootOf(t);
    return { buffer: { id: idOf(root), offset }, shape: t.shape, dtype: t.dtype };
  };

  /** Depends on constants and unchanged variables alone. */
  const fixed = new Set<string>();
  const watched = new Set<Variable>();
  const isFixed = (t: Tensor): boolean => {
    const { root } = rootOf(t);
    if (root.node.op === constantOp) return true;
    if (root.node.op === variableOp) return !assigned.has((root.node.attrs as { variable: Variable }).variable);
    return fixed.has(root.id);
  };
  const fixedBuffers = new Set<number>();
  const watch = (t: Tensor) => {
    const { root } = rootOf(t);
    if (root.node.op === variableOp) watched.add((root.node.attrs as { variable: Variable }).variable);
  };

  const prologue: LoweredCall[] = [];
  const calls: LoweredCall[] = [];
  const touches: Touch[] = [];
  const temps: { id: number; step: number }[] = [];

  fused.steps.forEach((s, step) => {
    const inputs = [...s.inputs, ...(s.kind === 'op' ? (s.epilogue?.inputs ?? []) : [])];
    const outs = s.outputs.map((t) => rootOf(t).root);
    const early = inputs.every(isFixed) && !outs.some((t) => inPlace.has(t.id)) && !isRandom(s);
    const into = early ? prologue : calls;
    const reads = inputs.map((t) => valueFor(t).buffer.id);
    const writes = outs.map(idOf);
    if (early) {
      for (const t of outs) fixed.add(t.id);
      for (const t of inputs) watch(t);
      for (const id of writes) {
        homes[id] = { kind: 'kept' };
        fixedBuffers.add(id);
      }
    }
    for (const t of inputs) if (isFixed(t)) fixedBuffers.add(valueFor(t).buffer.id);
    let target = into;
    const emitter: Emitter = {
      mode,
      call(kernel, args, chunks) {
        const words = Object.keys(kernel.args).map((k) => {
          const v = (args as Record<string, number | Buffer>)[k];
          if (v === undefined) throw new Error(`${kernel.key}: argument '${k}' is missing`);
          return v;
        });
        if (chunks > 0) target.push({ kernel: kernel as Kernel, args: words, chunks, barrier: true, step });
      },
      temp(size) {
        const id = newBuffer(size, target === prologue ? { kind: 'kept' } : undefined);
        if (target !== prologue) temps.push({ id, step });
        return { id, offset: 0 };
      },
      prepared(from, size, emit) {
        if (!fixedBuffers.has(from.buffer.id) || target === prologue) {
          const to = this.temp(size);
          emit(to);
          return to;
        }
        for (const t of inputs) if (valueFor(t).buffer.id === from.buffer.id) watch(t);
        const to: Buffer = { id: newBuffer(size, { kind: 'kept' }), offset: 0 };
        target = prologue;
        emit(to);
        target = into;
        return to;
      },
    };
    lowerStep(emitter, s, valueFor);
    touches.push(early ? { reads: [], writes: [] } : { reads, writes });
  });
  // Values that could not be computed in place are copied at the end. An old value that is wanted after that, by another
  // assignment or as an output, is saved first.
  const saved = new Map<number, Buffer>();
  const copyStep = (from: Value, to: Buffer, size: number) => {
    const step = touches.length;
    copyInto(from, to, size, mode, (kernel, args, chunks) => calls.push({ kernel, args, chunks, barrier: true, step }));
    touches.push({ reads: [from.buffer.id], writes: [to.id] });
  };
  const afterwards = (t: Tensor): Value => {
    const value = valueFor(t);
    const { root } = rootOf(t);
    const v = root.node.op === variableOp ? (root.node.attrs as { variable: Variable }).variable : undefined;
    if (!v || !copies.has(v)) return value;
    let to = saved.get(value.buffer.id);
    if (!to) {
      to = { id: newBuffer(v.bytes), offset: 0 };
      saved.set(value.buffer.id, to);
      copyStep(valueFor(root), to, v.bytes);
    }
    return { ...value, buffer: { id: to.id, offset: value.buffer.offset } };
  };
  const outputs = new Map(
    [...fused.outputs].map(([name, t]) => [name, { tensor: t, buffer: afterwards(t).buffer }] as const),
  );
  const sources = [...copies].map(([v, t]) => ({ v, from: afterwards(t) }));
  for (const { v, from } of sources) copyStep(from, { id: bufferOfVariable(v), offset: 0 }, v.bytes);

  const kept = new Set([...outputs.values()].map((o) => o.buffer.id));

  // Liveness of step buffers, then their places.
  const span = new Map<number, { start: number; end: number }>();
  const extend = (id: number, step: number) => {
    if (homes[id]) return;
    const s = span.get(id);
    span.set(id, { start: Math.min(s?.start ?? step, step), end: Math.max(s?.end ?? step, step) });
  };
  touches.forEach(({ reads, writes }, step) => {
    for (const id of [...reads, ...writes]) extend(id, step);
  });
  for (const { id, step } of temps) extend(id, step);
  for (const id of kept) extend(id, touches.length);
  const ids = [...span.keys()];
  const { offsets, bytes: stepBytes } = place(ids.map((id) => ({ bytes: bytes[id]!, ...span.get(id)! })));
  ids.forEach((id, i) => {
    homes[id] = { kind: 'step', offset: offsets[i]! };
  });
  for (let id = 0; id < homes.length; id++) homes[id] ??= { kind: 'kept' };

  return {
    homes: homes as Home[],
    bytes,
    stepBytes,
    prologue,
    calls: removeBarriers(calls, touches, temps, homes as Home[], bytes),
    steps: fused.steps,
    outputs,
    watched: [...watched],
    assigned: [...assigned],
  };
}

/** Random ops draw anew on every run even when their operands never change. */
const isRandom = (s: Step) => s.kind === 'op' && s.label.startsWith('random');

function placeAssigns(fused: Fused, rootOf: (t: Tensor) => { root: Tensor }) {
  const inPlace = new Map<string, Variable>();
  const copies = new Map<Variable, Tensor>();
  const readsOf = (s: Step) => [...s.inputs, ...(s.kind === 'op' ? (s.epilogue?.inputs ?? []) : [])];
  const outputRoots = new Set([...fused.outputs.values()].map((t) => rootOf(t).root.id));
  for (const [v, t] of fused.assigns) {
    const { root } = rootOf(t);
    const made = fused.steps.findIndex((s) => s.outputs.some((o) => o.id === t.id));
    const step = fused.steps[made];
    const old = v.tensor.id;
    const safe =
      root.id === t.id &&
      step?.kind === 'pointwise' &&
      !inPlace.has(t.id) &&
      !outputRoots.has(old) &&
      ![...fused.assigns].some(([, other]) => rootOf(other).root.id === old) &&
      fused.steps.every((s, i) => i < made || i === made || readsOf(s).every((x) => rootOf(x).root.id !== old)) &&
      step.inputs.every((x) => rootOf(x).root.id !== old || (x.id === old && x.size === t.size));
    if (safe) inPlace.set(t.id, v);
    else copies.set(v, t);
  }
  return { inPlace, copies };
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
    const record = (s.node.op as Op).wasm;
    if (record.kind !== 'kernel') throw new Error(`${s.label}: not a kernel op`);
    const epilogue = s.epilogue && epilogueOf(s.epilogue, valueFor);
    record.lower(e, inputs, outputs, epilogue ? { ...(s.node.attrs as object), epilogue } : s.node.attrs);
  }
}

function epilogueOf(step: EpilogueStep, valueFor: (t: Tensor) => Value): Epilogue {
  return {
    key: keyOf(step.expr),
    operands: step.inputs.map((t, i) => ({ buffer: valueFor(t).buffer, kind: step.kinds[i]! })),
    apply: (f, acc, operands) => emitExpr(f, step.expr, [acc, ...operands]),
  };
}

function copyInto(
  from: Value,
  to: Buffer,
  bytes: number,
  mode: Mode,
  push: (kernel: Kernel, args: (number | Buffer)[], chunks: number) => void,
) {
  const e: Emitter = {
    mode,
    call: (kernel, args, chunks) =>
      push(
        kernel as Kernel,
        Object.keys(kernel.args).map((k) => (args as Record<string, number | Buffer>)[k]!),
        chunks,
      ),
    temp: () => {
      throw new Error('a plain copy needs no temporary');
    },
    prepared: () => {
      throw new Error('a plain copy prepares nothing');
    },
  };
  stridedCopy(e, {
    dst: to,
    src: from.buffer,
    dims: [bytes / bytesOf(from.dtype)],
    srcStrides: [1],
    dstStrides: [1],
    elementBytes: bytesOf(from.dtype) as 1 | 4,
  });
}

/** Keeps only the barriers that order conflicting memory accesses since the barrier before. */
function removeBarriers(
  calls: readonly LoweredCall[],
  touches: readonly Touch[],
  temps: readonly { id: number; step: number }[],
  homes: readonly Home[],
  bytes: readonly number[],
): LoweredCall[] {
  const tempsOf = new Map<number, number[]>();
  for (const { id, step } of temps) tempsOf.set(step, [...(tempsOf.get(step) ?? []), id]);
  type Range = readonly [id: number, start: number, end: number];
  const range = (id: number): Range => {
    const h = homes[id]!;
    // All step buffers share one address space (id -1); other homes are apart from each other.
    return h.kind === 'step' ? [-1, h.offset, h.offset + bytes[id]!] : [id, 0, bytes[id]!];
  };
  const overlap = (a: Range, b: Range) => a[0] === b[0] && a[1] < b[2] && b[1] < a[2];
  let reads: Range[] = [];
  let writes: Range[] = [];
  let last = -1;
  return calls.map((c) => {
    const first = c.step !== last;
    last = c.step;
    const t = touches[c.step]!;
    const own = (tempsOf.get(c.step) ?? []).map(range);
    const r = t.reads.map(range);
    const w = [...t.writes.map(range), ...own];
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
export function explainLowered(l: Lowered): string {
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
