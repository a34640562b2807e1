/**
 * Reads the numbers of a little-endian binary format one after the other. Every step is checked against the end, so counts
 * of a damaged file allocate nothing.
 */
import { DataError } from '../core/errors.ts';

export class Cursor {
  /** Offset of the next byte. */
  at = 0;
  readonly bytes: Uint8Array;
  readonly name: string;
  private readonly view: DataView;

  /** @param name what errors call the file */
  constructor(bytes: Uint8Array, name: string) {
    this.bytes = bytes;
    this.name = name;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get left(): number {
    return this.bytes.length - this.at;
  }
  /** Moves on by `length` bytes and says where they began. Throws DataError past the end, calling them `what`. */
  private step(length: number, what: string): number {
    if (!(length <= this.left))
      throw new DataError(
        `${this.name}: expected ${what} of ${length} bytes at offset ${this.at}, but the file ends at ${this.bytes.length}\n` +
          'It may be cut off or damaged: fetch it again.',
      );
    this.at += length;
    return this.at - length;
  }
  /** A view of the next bytes. */
  take(length: number, what: string): Uint8Array {
    const from = this.step(length, what);
    return this.bytes.subarray(from, from + length);
  }
  u32(what: string): number {
    return this.view.getUint32(this.step(4, what), true);
  }
  i32(what: string): number {
    return this.view.getInt32(this.step(4, what), true);
  }
  /** A 64-bit integer; what is above 2^53 is rounded, which no size of a file survives. */
  u64(what: string): number {
    return Number(this.view.getBigUint64(this.step(8, what), true));
  }
  i64(what: string): number {
    return Number(this.view.getBigInt64(this.step(8, what), true));
  }
}
