/**
 * How an op becomes WGSL dispatches: the contract between the op records and the WebGPU plan.
 *
 * The one idea: a `.wgsl` file holds the algorithm alone. What differs between calls is prepended to it (compose.ts):
 * constants, the struct of parameters, and for every operand the functions that load and store it, which know
 * its dtype, its width and the fused epilogue. So one file serves vectors of four and single elements alike.
 */
import type { Buffer, Value } from '../src/core/buffer.ts';
import type { Expr } from '../src/expr/nodes.ts';

export type { Buffer, Value };

/** What kernels may count on. The least that WebGPU guarantees: 8 buffers, 16 KiB and 256 invocations a workgroup. */
export interface GpuLimits {
  readonly subgroups: boolean;
  /** The adapter is a program: barriers and loads are dear there. Default false. */
  readonly software?: boolean;
  /** Storage buffers of one dispatch. */
  readonly storageBuffers: number;
  /** Bytes of one buffer, and of one operand. */
  readonly bufferBytes: number;
  readonly operandBytes: number;
}

/**
 * An operand of a dispatch. `width` 4 loads and stores vectors of four elements, and indices count vectors; the last one may
 * reach past the end (buffers are padded). Bytes (u8, bool) can be stored only with width 4. `bits` moves elements
 * without looking at them: 4-byte dtypes are u32.
 */
export interface Operand {
  readonly value: Value;
  readonly width: 1 | 4;
  readonly bits?: boolean;
  /** Stored as float16, two to a word; kernels see f32. Set by the plan alone. */
  readonly half?: boolean;
  /** Read from element `at` of a buffer that holds several small operands. Set by the plan alone. */
  readonly pool?: { readonly value: Value; readonly at: number };
}
/** One element per index. */
export const single = (value: Value): Operand => ({ value, width: 1 });
/** Four elements per index. */
export const wide = (value: Value): Operand => ({ value, width: 4 });
/** Width 4 where `n`, the size of the axis that is walked, allows it. */
export const widest = (value: Value, n: number): Operand => (n % 4 === 0 ? wide(value) : single(value));

/** A field of the parameters: an unsigned integer unless it says otherwise. */
export type Param = number | { readonly i32: number } | { readonly f32: number };

export interface Dispatch {
  /** Names of `.wgsl` files of this folder, joined in order. */
  readonly files: readonly string[];
  /** For listings; default: the files. */
  readonly label?: string;
  /**
   * Entry point: `main`, of WG invocations. It gets `@builtin(workgroup_id) wid`, `@builtin(num_workgroups) nwg`, and
   * leaves at once where `groupOf(wid, nwg) >= p.groups`: the grid is folded to respect WebGPU's 65,535.
   */
  readonly groups: number;
  /** `const NAME: u32` (or bool), part of the code: tile sizes, not tensor sizes. */
  readonly consts?: Readonly<Record<string, number | boolean>>;
  /** Fields of `p`, part of the data: tensor sizes. */
  readonly params?: Readonly<Record<string, Param>>;
  /**
   * Operand `x` is read by `loadX(i)`. f32 loads as f32 or vec4<f32> (also named `TypeX`), i32 as i32, bytes as u32.
   */
  readonly inputs?: Readonly<Record<string, Operand>>;
  /** Operand `y` is written by `storeY(i, value)`. Also `loadY`, of what this dispatch stored or what was there. */
  readonly outputs: Readonly<Record<string, Operand>>;
  /** More code: functions that the files call. */
  readonly code?: string;
}

export interface GpuEmitter {
  readonly limits: GpuLimits;
  /**
   * Appends a dispatch; dispatches run one after the other. The step's pointwise tail is applied in the store of
   * output 0 of the op, so each of its elements is to be stored once.
   */
  dispatch(d: Dispatch): void;
  /** A buffer of n float32 that is free again after the op that asked for it. Its content is undefined at first. */
  temp(n: number): Value;
}

/** Lowers one op: reads `inputs`, writes every element of every output. */
export type GpuLowering<Attrs> = (
  e: GpuEmitter,
  inputs: readonly Value[],
  outputs: readonly Value[],
  attrs: Attrs,
) => void;

/** A fused pointwise tail: operand 0 of the expression is the op's result, operand i + 1 is `operands[i]`. */
export interface GpuEpilogue {
  readonly expr: Expr;
  readonly operands: readonly (Omit<Operand, 'width'> & { readonly kind: 'column' | 'full' | 'scalar' })[];
  /** Size of the result's last axis. */
  readonly columns: number;
}

export const elementsOf = (v: Value): number => v.shape.reduce((n, d) => n * d, 1);
export const ceilDiv = (n: number, by: number): number => Math.ceil(n / by);
/** The smallest power of two that is at least n, or `most`. */
export const powerUpTo = (n: number, most: number): number => Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(1, n))));
