/**
 * How an op becomes kernel calls: the contract between the op records and the plan.
 *
 * A lowering sees shapes and opaque buffers, chooses kernels and chunk counts (from shapes alone, never from the number
 * of threads) and appends calls in order. Calls run one after the other; the chunks of one call run in parallel.
 */
import { at, type Buffer, type Value } from '../src/core/buffer.ts';
import type { ArgType, Kernel } from './kernel.ts';
import type { Mode } from './wasm.ts';

export { at, type Buffer, type Value };

export interface Emitter {
  readonly mode: Mode;
  /** Appends a call. Addresses are given as buffers. */
  call<A extends Record<string, ArgType>>(
    kernel: Kernel<A>,
    args: { readonly [K in keyof A]: A[K] extends 'i32' ? number | Buffer : number },
    chunks: number,
  ): void;
  /** A buffer that is free again after the op that asked for it. Its content is undefined at first. */
  temp(bytes: number): Buffer;
  /**
   * A buffer computed from `from` alone by the calls in `emit`, such as packed weights. Where `from` does not change
   * between runs, the plan keeps it and runs those calls only when it does; otherwise it is a `temp`.
   */
  prepared(from: Value, bytes: number, emit: (to: Buffer) => void): Buffer;
}

/** Lowers one op: reads `inputs`, writes every element of every output. */
export type Lowering<Attrs> = (e: Emitter, inputs: readonly Value[], outputs: readonly Value[], attrs: Attrs) => void;
