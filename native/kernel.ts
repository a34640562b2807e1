/**
 * What a WASM kernel is: a named function over one chunk of work, its arguments read from a block in memory.
 *
 * A call block in memory is `[counter address, chunk count, arguments…]`, one 32-bit word each. Every worker calls
 * `run(block, scratch)`, which claims chunks by an atomic counter until none is left. What a chunk writes depends on
 * its number alone, never on who runs it: results do not depend on the thread count.
 */
import { type F32, type Fn, type I32, type Local, loadF32, loadI32, type Mode, Module } from './wasm.ts';

export type ArgType = 'i32' | 'f32';
type ArgValues<A extends Record<string, ArgType>> = {
  readonly [K in keyof A]: A[K] extends 'i32' ? Local<I32> : Local<F32>;
};

/** A generated kernel: its cache key, the words of its argument block, and its module for a mode. */
export interface Kernel<A extends Record<string, ArgType> = Record<string, ArgType>> {
  /** Spells the point in the parameter space, e.g. `gemm_6x16_nt_epilogue…`; equal keys mean equal code. */
  readonly key: string;
  readonly args: A;
  /** Bytes of per-thread scratch memory that one chunk may use. */
  readonly scratchBytes: number;
  encode(mode: Mode): Uint8Array<ArrayBuffer>;
}

export interface KernelSpec<A extends Record<string, ArgType>> {
  readonly key: string;
  /** Addresses and dimensions are i32, numbers f32. Order is the order of the words in the block. */
  readonly args: A;
  readonly scratchBytes?: number;
  /** Emits the code of one chunk. `chunk` is its number, `scratch` the address of this thread's scratch memory. */
  chunk(f: Fn, args: ArgValues<A>, chunk: I32, scratch: I32): void;
}

/** Words of a call block before the arguments: counter address and chunk count. */
export const blockHeaderWords = 2;

export function defineKernel<const A extends Record<string, ArgType>>(spec: KernelSpec<A>): Kernel<A> {
  return {
    key: spec.key,
    args: spec.args,
    scratchBytes: spec.scratchBytes ?? 0,
    encode(mode) {
      const m = new Module(mode);
      const chunk = m.func(['i32', 'i32', 'i32'], (f) => {
        const [block, index, scratch] = f.params as Local<I32>[] as [Local<I32>, Local<I32>, Local<I32>];
        const args = Object.fromEntries(
          Object.entries(spec.args).map(([name, type], i) => {
            const offset = 4 * (blockHeaderWords + i);
            return [name, f.let<I32 | F32>(type === 'i32' ? loadI32(block, offset) : loadF32(block, offset))];
          }),
        ) as unknown as ArgValues<A>;
        spec.chunk(f, args, index, scratch);
      });
      m.func(
        ['i32', 'i32'],
        (f) => {
          const [block, scratch] = f.params as Local<I32>[] as [Local<I32>, Local<I32>];
          const counter = f.let(loadI32(block));
          const count = f.let(loadI32(block, 4));
          const next = f.let(f.atomicAdd(counter, 1) as I32);
          f.while(next.ltS(count), () => {
            // A call per chunk, so that V8 can replace the body by its optimised version between chunks.
            f.call(chunk, block, next, scratch);
            f.set(next, f.atomicAdd(counter, 1) as I32);
          });
        },
        'run',
      );
      return m.encode();
    },
  };
}
