/**
 * One op, one record. The record is the op's only definition: shape rule, f64 reference, gradient, kernels, cost,
 * samples. Tests, benches and the support matrix are generated from the records.
 */
import type { GpuLowering } from '../../kernels/lower.ts';
import type { Lowering } from '../../native/lower.ts';
import type { DType } from '../core/dtype.ts';
import { ShapeError } from '../core/errors.ts';
import { type Shape, showShape } from '../core/shape.ts';
import { Node, type OpName, Tensor, type TensorSpec } from '../core/tensor.ts';

/** Rounds each intermediate result: identity for the f64 truth, Math.fround for the plain f32 loop that sets bounds. */
export type Round = (x: number) => number;

export interface BackwardArgs<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** Gradient of each output; undefined where nothing depends on it. */
  readonly dys: readonly (Tensor | undefined)[];
  readonly attrs: A;
}
/** Gradient of each input; undefined where there is none (an index, a label). */
export type Backward<A> = (args: BackwardArgs<A>) => readonly (Tensor | undefined)[];

export interface NonDifferentiable {
  readonly reason: string;
}
/** In place of `backward`: why asking for this op's gradient is an error. */
export const nonDifferentiable = (reason: string): NonDifferentiable => ({ reason });

/** Inputs for a generated test: shapes with the range their numbers are drawn from. */
export interface SampleInput {
  readonly shape: Shape;
  readonly dtype?: DType;
  /** Uniform in [low, high); integers for i32, u8 and bool. Default [-1, 1). */
  readonly range?: readonly [number, number];
  /** Given numbers instead of drawn ones. */
  readonly values?: readonly number[];
  /** Distinct values at least this far apart, for ops with kinks (max, pool). */
  readonly distinct?: number;
}
export interface Sample<A> {
  readonly inputs: readonly SampleInput[];
  readonly attrs: A;
  /** No gradient check at this point (a kink, a boundary): says why. */
  readonly noGradient?: string;
}

/** Work of one application, for scheduling and benches. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

export interface OpRecord<A> {
  /** Roles of the operands, for messages. `variadic` ops take any number of the first role. */
  readonly roles: readonly string[];
  readonly variadic?: boolean;
  /** Shape rule. Runs at call time on the user's line; throws ShapeError. */
  infer(inputs: readonly TensorSpec[], attrs: A): TensorSpec[];
  /** The specification: plain loops in f64. Booleans are 0 and 1. */
  reference(
    inputs: readonly Float64Array[],
    outputs: readonly Float64Array[],
    attrs: A,
    specs: { readonly inputs: readonly TensorSpec[]; readonly outputs: readonly TensorSpec[] },
    round: Round,
  ): void;
  readonly backward: Backward<A> | NonDifferentiable;
  readonly kernels: Kernels<A>;
  cost(inputs: readonly TensorSpec[], outputs: readonly TensorSpec[], attrs: A): Cost;
  readonly samples: readonly Sample<A>[];
  readonly errorSamples: readonly Sample<A>[];
}

/** How plans treat the op. */
export type Kernels<A> =
  /** Calls kernels of its own. With `epilogue`, a pointwise tail of output 0 may be fused into its store. */
  | {
      readonly kind: 'kernel';
      readonly wasm: Lowering<A>;
      readonly wgsl: GpuLowering<A>;
      readonly epilogue?: boolean;
    }
  /** Arithmetic per element: fused with its neighbours. Attributes hold the `Expr`. */
  | { readonly kind: 'pointwise' }
  /** A reduction whose operand may be a fused expression. */
  | { readonly kind: 'reduce' }
  /** Output i is part of the operand's memory, from element `offset(i)` on; no kernel runs. */
  | { readonly kind: 'view'; offset(inputs: readonly TensorSpec[], attrs: A, index: number): number };

// biome-ignore lint/suspicious/noExplicitAny: records of every attribute type live in one registry
export type AnyAttrs = any;

export interface Op<A = AnyAttrs> extends OpName, OpRecord<A> {
  /** Applies the op: checks shapes and returns its outputs as lazy tensors. */
  apply(inputs: readonly Tensor[], attrs: A): Tensor[];
}

/** Every op by name, in order of definition. */
export const registry = new Map<string, Op>();

export function defineOp<A>(name: string, record: OpRecord<A>): Op<A> {
  if (registry.has(name)) throw new Error(`op '${name}' is defined twice`);
  const op = opOf(name, record);
  registry.set(name, op);
  return op;
}

/** An op that is in no registry: one that part of the engine needs for itself and that has no kernels on some device. */
export function opOf<A>(name: string, record: OpRecord<A>): Op<A> {
  const op: Op<A> = {
    name,
    ...record,
    apply(inputs, attrs) {
      const expected = record.roles.length;
      if (record.variadic ? inputs.length < 1 : inputs.length !== expected)
        throw new ShapeError(
          `${name}: expected ${record.variadic ? 'at least 1 operand' : `${expected} operands (${record.roles.join(', ')})`}, got ${inputs.length}`,
        );
      for (const x of inputs)
        if (!(x instanceof Tensor))
          throw new ShapeError(`${name}: expected tensors, got ${typeof x}\nWrap host data with tensor(data, shape).`);
      const node = new Node(op, inputs, attrs, record.infer(inputs, attrs));
      return node.outputs.map((_, i) => node.tensor(i));
    },
  };
  return op;
}

/** A ShapeError in house style: what was expected, the operands by role, what to do. */
export function shapeError(
  op: string,
  expected: string,
  operands: Readonly<Record<string, TensorSpec>>,
  hint: string,
): ShapeError {
  const got = Object.entries(operands)
    .map(([role, t]) => `  ${role}: ${t.dtype}${showShape(t.shape)}`)
    .join('\n');
  return new ShapeError(`${op}: expected ${expected}\n${got}\n${hint}`);
}
