/**
 * gzip and zlib files unpacked into memory, by the DecompressionStream that Node and browsers have.
 *
 * The one idea: a small file may unpack to anything, so memory grows with what has come out, up to a limit, and no header
 * is believed further than the format can pack (1032 to 1, RFC 1951).
 */
import { DataError } from '../../core/errors.ts';
import type { ByteSource } from '../bytes.ts';

export type Packing = 'gzip' | 'deflate';

/** How a file is packed, by its first bytes: gzip (RFC 1952), zlib ('deflate', RFC 1950), or not. */
export function packingOf(head: Uint8Array): Packing | undefined {
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 8) return 'gzip';
  if (head.length >= 2 && head[0] === 0x78 && ((head[0] << 8) | head[1]!) % 31 === 0) return 'deflate';
  return undefined;
}

/** Memory that other threads see without a copy, where this page or program may have it. */
function memory(length: number): Uint8Array {
  return typeof SharedArrayBuffer === 'function'
    ? new Uint8Array(new SharedArrayBuffer(length))
    : new Uint8Array(length);
}

// Small: some browsers unpack all that they are given before any of it is taken.
const step = 1 << 16;

/**
 * Unpacks a whole file into shared memory, or plain memory where there is no SharedArrayBuffer.
 * @param most bytes that may come out
 * @param onProgress called with packed bytes done
 * @throws DataError where the file is damaged, cut off, or unpacks to more
 */
export async function unpack(
  source: ByteSource,
  packing: Packing,
  most: number,
  onProgress?: (done: number) => void,
): Promise<Uint8Array> {
  let at = 0;
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(to) {
      const n = Math.min(step, source.size - at);
      if (n === 0) return to.close();
      to.enqueue((await source.read(at, n)).slice());
      at += n;
      if (at % (64 * step) === 0 || at === source.size) onProgress?.(at);
    },
  });
  // gzip ends with the unpacked size modulo 2^32: a guess that saves copies.
  let guess = 4 * source.size;
  if (packing === 'gzip' && source.size >= 18) {
    const tail = await source.read(source.size - 4, 4);
    guess = new DataView(tail.buffer, tail.byteOffset).getUint32(0, true);
  }
  let out = memory(Math.min(guess, most, 1032 * source.size));
  let size = 0;
  const reader = packed.pipeThrough(new DecompressionStream(packing)).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error instanceof DataError) throw error;
      const { code, message } = error as { code?: string; message?: string };
      throw new DataError(
        `${source.name}: expected whole ${packing} data, got ${message || code || 'damaged data'} near offset ${at}\nIt may be cut off or damaged: fetch or write it again.`,
      );
    });
    if (done) break;
    if (size + value.length > most) {
      await reader.cancel();
      throw new DataError(
        `${source.name}: expected at most ${most} bytes to come out of this ${packing} file of ${source.size}, got more\nUnpack it first${packing === 'gzip' ? ' (gunzip)' : ''}: then it is read in little memory.`,
      );
    }
    if (size + value.length > out.length) {
      const more = memory(Math.min(most, Math.max(2 * out.length, size + value.length)));
      more.set(out.subarray(0, size));
      out = more;
    }
    out.set(value, size);
    size += value.length;
  }
  return out.subarray(0, size);
}
