/**
 * From fused steps to a device's calls over numbered buffers.
 *
 * The one idea: buffers get numbers here and places only when linked, so a plan survives device memory moving. Work that
 * depends on unchanged variables alone (folded batch norm, packed weights) goes to a prologue that is rerun when a
 * variable changes. What a call is, and where step buffers lie, is the device's own business.
 */
import { type Buffer, sameBuffer, type Value } from '../core/buffer.ts';
import { bytesOf, type Data } from '../core/dtype.ts';
import { constantOp, placeholderOp, type Tensor, type Variable, variableOp } from '../core/tensor.ts';
import type { Fused, Step } from './fuse.ts';

/** Where a buffer lives. `step` buffers are free for others outside their lifetime, `kept` ones belong to the plan. */
export type Home =
  | { readonly kind: 'step'; readonly start: number; readonly end: number }
  | { readonly kind: 'kept' }
  | { readonly kind: 'variable'; readonly variable: Variable }
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'constant'; readonly data: Data };

/** What a lowering of a step may ask for. */
export interface Sink<Call> {
  push(call: Call): void;
  /** A buffer that is free again after the step. Its content is undefined at first. */
  temp(bytes: number): Buffer;
  /**
   * A buffer computed from `from` alone by the calls in `emit`. Where `from` does not change between runs, it is kept, and
   * those calls run only when it does; otherwise it is a `temp`.
   */
  prepared(from: Value, bytes: number, emit: (to: Buffer) => void): Buffer;
  /** Whether a value depends on constants and unchanged variables alone. */
  isFixed(value: Value): boolean;
}

/** How a device does its part. */
export interface Backend<Call> {
  step(sink: Sink<Call>, step: Step, valueFor: (t: Tensor) => Value): void;
  /** Copies `bytes` bytes. */
  copy(sink: Sink<Call>, from: Value, to: Value): void;
}

export interface Placed<Call> {
  readonly call: Call;
  /** Index of its step. */
  readonly step: number;
}
/** What one step touches. */
export interface Touch {
  readonly reads: readonly number[];
  /** Temporaries included. */
  readonly writes: readonly number[];
}

export interface Lowered<Call> {
  readonly homes: readonly Home[];
  /** Size of each buffer. */
  readonly bytes: readonly number[];
  readonly prologue: readonly Placed<Call>[];
  readonly calls: readonly Placed<Call>[];
  readonly steps: readonly Step[];
  /** By step; copies at the end follow the fused steps. */
  readonly touches: readonly Touch[];
  /** Where each output is to be read. */
  readonly outputs: ReadonlyMap<string, { readonly tensor: Tensor; readonly buffer: Buffer }>;
  /** Variables that the prologue read. */
  readonly watched: readonly Variable[];
  readonly assigned: readonly Variable[];
}

const readsOf = (s: Step): readonly Tensor[] =>
  s.kind === 'op' && s.epilogue ? [...s.inputs, ...s.epilogue.inputs] : s.inputs;
const variableOf = (t: Tensor): Variable | undefined =>
  t.node.op === variableOp ? (t.node.attrs as { variable: Variable }).variable : undefined;
/** Random ops draw anew on every run even when their operands never change. */
const isRandom = (s: Step) => s.kind === 'op' && s.label.startsWith('random');

export function lower<Call>(fused: Fused, backend: Backend<Call>): Lowered<Call> {
  const homes: (Home | undefined)[] = [];
  const bytes: number[] = [];
  const newBuffer = (size: number, home?: Home): number => {
    homes.push(home);
    bytes.push(size);
    return homes.length - 1;
  };
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

  const variableBuffers = new Map<Variable, number>();
  const bufferOfVariable = (v: Variable) => {
    const known = variableBuffers.get(v);
    if (known !== undefined) return known;
    const id = newBuffer(v.bytes, { kind: 'variable', variable: v });
    variableBuffers.set(v, id);
    return id;
  };
  const byTensor = new Map<string, number>();
  const makeId = (root: Tensor): number => {
    const variable = inPlace.get(root.id) ?? variableOf(root);
    if (variable) return bufferOfVariable(variable);
    const size = root.size * bytesOf(root.dtype);
    const { op, attrs } = root.node;
    if (op === placeholderOp) return newBuffer(size, { kind: 'input', name: inputName.get(root.node)! });
    if (op === constantOp) return newBuffer(size, { kind: 'constant', data: (attrs as { data: Data }).data });
    return newBuffer(size);
  };
  const idOf = (root: Tensor): number => {
    const known = byTensor.get(root.id);
    if (known !== undefined) return known;
    const id = makeId(root);
    byTensor.set(root.id, id);
    return id;
  };
  const valueFor = (t: Tensor): Value => {
    const { root, offset } = rootOf(t);
    return { buffer: { id: idOf(root), offset }, shape: t.shape, dtype: t.dtype };
  };

  /** Depends on constants and unchanged variables alone. */
  const fixed = new Set<string>();
  const fixedBuffers = new Set<number>();
  const watched = new Set<Variable>();
  const isFixed = (t: Tensor): boolean => {
    const { root } = rootOf(t);
    const variable = variableOf(root);
    return root.node.op === constantOp || (variable ? !assigns.has(variable) : fixed.has(root.id));
  };
  const watch = (t: Tensor) => {
    const variable = variableOf(rootOf(t).root);
    if (variable) watched.add(variable);
  };

  const prologue: Placed<Call>[] = [];
  const calls: Placed<Call>[] = [];
  const touches: { reads: number[]; writes: number[] }[] = [];

  /** Runs `emit` with a sink whose calls belong to the next step. */
  const addStep = (early: boolean, reads: Tensor[], touch: Touch, emit: (sink: Sink<Call>) => void) => {
    const step = touches.length;
    const own = { reads: early ? [] : [...touch.reads], writes: early ? [] : [...touch.writes] };
    let target = early ? prologue : calls;
    const sink: Sink<Call> = {
      push: (call) => target.push({ call, step }),
      temp(size) {
        const kept = target === prologue;
        const id = newBuffer(size, kept ? { kind: 'kept' } : undefined);
        if (!kept) own.writes.push(id);
        return { id, offset: 0 };
      },
      isFixed: ({ buffer }) => fixedBuffers.has(buffer.id),
      prepared(from, size, emitInto) {
        if (!fixedBuffers.has(from.buffer.id) || target === prologue) {
          const to = sink.temp(size);
          emitInto(to);
          return to;
        }
        for (const t of reads) if (valueFor(t).buffer.id === from.buffer.id) watch(t);
        const to: Buffer = { id: newBuffer(size, { kind: 'kept' }), offset: 0 };
        target = prologue;
        emitInto(to);
        target = calls;
        return to;
      },
    };
    touches.push(own);
    emit(sink);
  };

  for (const s of fused.steps) {
    const inputs = readsOf(s);
    const made = s.outputs.map((t) => rootOf(t).root);
    const early = inputs.every(isFixed) && !made.some((t) => inPlace.has(t.id)) && !isRandom(s);
    const reads = inputs.map((t) => valueFor(t).buffer.id);
    const writes = made.map(idOf);
    if (early) {
      for (const t of made) fixed.add(t.id);
      for (const t of inputs) watch(t);
      for (const id of writes) {
        homes[id] = { kind: 'kept' };
        fixedBuffers.add(id);
      }
    }
    for (const t of inputs) if (isFixed(t)) fixedBuffers.add(valueFor(t).buffer.id);
    addStep(early, [...inputs], { reads, writes }, (sink) => backend.step(sink, s, valueFor));
  }

  // Values that could not be computed in place are copied at the end. An old value that is wanted after that, by another
  // assignment or as an output, is saved first.
  const copyStep = (from: Value, id: number) => {
    const to: Value = { ...from, buffer: { id, offset: 0 } };
    if (sameBuffer(from.buffer, to.buffer)) return;
    addStep(false, [], { reads: [from.buffer.id], writes: [id] }, (sink) => backend.copy(sink, from, to));
  };
  const saved = new Map<number, number>();
  const afterwards = (t: Tensor): Value => {
    const value = valueFor(t);
    const { root } = rootOf(t);
    const v = variableOf(root);
    if (!v || !copies.has(v)) return value;
    let id = saved.get(value.buffer.id);
    if (id === undefined) {
      id = newBuffer(v.bytes);
      saved.set(value.buffer.id, id);
      copyStep(valueFor(root), id);
    }
    return { ...value, buffer: { id, offset: value.buffer.offset } };
  };
  const outputs = new Map(
    [...fused.outputs].map(([name, t]) => [name, { tensor: t, buffer: afterwards(t).buffer }] as const),
  );
  const sources = [...copies].map(([v, t]) => ({ v, from: afterwards(t) }));
  for (const { v, from } of sources) copyStep(from, bufferOfVariable(v));

  const span = new Map<number, { start: number; end: number }>();
  const extend = (id: number, step: number) => {
    if (homes[id]) return;
    const s = span.get(id);
    span.set(id, { start: Math.min(s?.start ?? step, step), end: Math.max(s?.end ?? step, step) });
  };
  touches.forEach(({ reads, writes }, step) => {
    for (const id of [...reads, ...writes]) extend(id, step);
  });
  for (const { buffer } of outputs.values()) extend(buffer.id, touches.length);

  return {
    homes: homes.map((h, id) => h ?? (span.has(id) ? { kind: 'step', ...span.get(id)! } : { kind: 'kept' })),
    bytes,
    prologue,
    calls,
    steps: fused.steps,
    touches,
    outputs,
    watched: [...watched],
    assigned: [...assigns.keys()],
  };
}

function placeAssigns(fused: Fused, rootOf: (t: Tensor) => { root: Tensor }) {
  const inPlace = new Map<string, Variable>();
  const copies = new Map<Variable, Tensor>();
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
