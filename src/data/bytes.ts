/**
 * Where readers get bytes from and writers put them: files, Blobs, arrays. Browser-safe; files are files.ts.
 *
 * The one idea: a reader asks for ranges, so a file of any size is read in little memory, and errors know the offset.
 */
import { DataError } from '../core/errors.ts';

/** Bytes that can be read by range. */
export interface ByteSource {
  /** What errors call it. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** How an image source reaches it again, also from another thread: a path, or the Blob itself. */
  readonly container: string | Blob;
  /**
   * The bytes from `at` on; a view that is not to be written to.
   * @param into memory of at least `length` bytes that may be used for them
   * @throws DataError naming source and offset where it ends before `at + length`
   */
  read(at: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Throws the DataError of a range that a source does not hold. */
export function checkRange({ name, size }: Pick<ByteSource, 'name' | 'size'>, at: number, length: number): void {
  if (Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0 && at + length <= size) return;
  throw new DataError(
    `${name}: expected ${length} bytes at offset ${at}, but it ends at ${size}\nIt may be cut off or damaged: fetch or write it again.`,
  );
}

/** A Blob or File (of a file input, a fetch, `fs.openAsBlob`) as a source. */
export function blobSource(blob: Blob, name = (blob as { name?: string }).name ?? 'blob'): ByteSource {
  return {
    name,
    size: blob.size,
    container: blob,
    async read(at, length) {
      checkRange(this, at, length);
      return new Uint8Array(await blob.slice(at, at + length).arrayBuffer());
    },
    async close() {},
  };
}

/** Bytes in memory as a source; reads are views. */
export function memorySource(bytes: Uint8Array | ArrayBuffer, name = 'bytes'): ByteSource {
  const all = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  let blob: Blob | undefined;
  return {
    name,
    size: all.length,
    get container() {
      blob ??= new Blob([all as Uint8Array<ArrayBuffer>]);
      return blob;
    },
    async read(at, length) {
      checkRange(this, at, length);
      return all.subarray(at, at + length);
    },
    async close() {},
  };
}

/** What readers accept in place of a source. */
export type Readable = ByteSource | Blob | Uint8Array | ArrayBuffer;

export function asSource(bytes: Readable, name?: string): ByteSource {
  if (bytes instanceof Blob) return blobSource(bytes, name);
  if (bytes instanceof Uint8Array || bytes instanceof ArrayBuffer) return memorySource(bytes, name);
  return bytes;
}

/** Reads a source forward in large blocks; `skip` jumps over what is not wanted without reading it. */
export class Scan {
  readonly source: ByteSource;
  /** Offset of the next byte. */
  at: number;
  private readonly block: number;
  private window: Uint8Array = new Uint8Array(0);
  private from = 0;

  constructor(source: ByteSource, at = 0, block = 1 << 20) {
    this.source = source;
    this.at = at;
    this.block = block;
  }
  /** Bytes to the end. */
  get left(): number {
    return this.source.size - this.at;
  }
  /** The next bytes, which stay valid. Throws DataError past the end. */
  async take(length: number): Promise<Uint8Array> {
    const inside = this.at - this.from;
    if (!(inside >= 0 && inside + length <= this.window.length)) {
      checkRange(this.source, this.at, length);
      this.from = this.at;
      this.window = await this.source.read(this.at, Math.min(this.left, Math.max(length, this.block)));
    }
    const start = this.at - this.from;
    this.at += length;
    return this.window.subarray(start, start + length);
  }
  skip(length: number): void {
    checkRange(this.source, this.at, length);
    this.at += length;
  }
}

/** Where a writer puts bytes, in order. */
export interface ByteSink {
  readonly name: string;
  /** Bytes written so far, also those of a call before that is gone on with. */
  readonly size: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Writes over bytes already written. */
  patch(at: number, bytes: Uint8Array): Promise<void>;
  /** Makes sure that what is written so far survives a crash of the program. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Keeps what is written in memory. */
export function memorySink(name = 'memory'): ByteSink & { bytes(): Uint8Array } {
  let held = new Uint8Array(1 << 16);
  let size = 0;
  return {
    name,
    get size() {
      return size;
    },
    async write(bytes) {
      if (size + bytes.length > held.length) {
        const more = new Uint8Array(Math.max(2 * held.length, size + bytes.length));
        more.set(held.subarray(0, size));
        held = more;
      }
      held.set(bytes, size);
      size += bytes.length;
    },
    async patch(at, bytes) {
      checkRange({ name, size }, at, bytes.length);
      held.set(bytes, at);
    },
    async flush() {},
    async close() {},
    bytes: () => held.slice(0, size),
  };
}
