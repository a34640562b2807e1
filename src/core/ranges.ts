/**
 * Bytes that are read by range: what readers of large files ask of a file, a Blob or an array. The byte sources of `src/data`
 * are such.
 */
import { DataError } from './errors.ts';

/** Bytes that can be read by range. */
export interface ByteRanges {
  /** What errors call it. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * The bytes from `at` on; a view that is not to be written to.
   * @throws DataError naming what is read and the offset where it ends before `at + length`
   */
  read(at: number, length: number): Promise<Uint8Array>;
}

/** Part of what can be read by range, counted from its own start. */
export function rangesWithin(whole: ByteRanges, start: number, size: number, name: string): ByteRanges {
  return {
    name,
    size,
    async read(at, length) {
      checkWithin(name, size, at, length);
      return whole.read(start + at, length);
    },
  };
}

/** Bytes in memory; reads are views. */
export function rangesOf(bytes: Uint8Array, name: string): ByteRanges {
  return {
    name,
    size: bytes.length,
    async read(at, length) {
      checkWithin(name, bytes.length, at, length);
      return bytes.subarray(at, at + length);
    },
  };
}

function checkWithin(name: string, size: number, at: number, length: number): void {
  if (Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0 && at + length <= size) return;
  throw new DataError(
    `${name}: expected ${length} bytes at offset ${at}, but it ends at ${size}\nIt may be cut off or damaged: fetch or write it again.`,
  );
}
