/** Places in device memory before they have an address: what lowerings are handed instead of data. */
import type { DType } from './dtype.ts';

/** A place in device memory that gets its address when the plan is linked. */
export interface Buffer {
  readonly id: number;
  /** Bytes past the start of the buffer `id`. */
  readonly offset: number;
}

/** The same buffer, some bytes further on. */
export const at = (b: Buffer, bytes: number): Buffer => ({ id: b.id, offset: b.offset + bytes });

export const sameBuffer = (a: Buffer, b: Buffer): boolean => a.id === b.id && a.offset === b.offset;

/** A tensor's place, shape and dtype. */
export interface Value {
  readonly buffer: Buffer;
  readonly shape: readonly number[];
  readonly dtype: DType;
}
