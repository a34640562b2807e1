/**
 * gzip and zlib files unpacked into memory, by the DecompressionStream that Node and browsers have.
 *
 * The one idea: a small file may unpack to anything, so memory grows with what has come out, up to a limit, and no header
 * is believed further than the format can pack (1032 to 1, RFC 1951).
 *
 * A gzip file may be several ones after another (RFC 1952, 2.2), as bgzip and `cat` write them. DecompressionStream takes
 * one alone in browsers and from Node 24 on; so what it refuses is tried again by fflate, which is several times slower and
 * leaves checking to the caller.
 */
import { Gunzip } from 'fflate';
import { crc32 } from '../../core/crc32.ts';
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
/** What fflate is given at once, since all that comes of it is in memory several times. */
const memberStep = 1 << 14;

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

type OnProgress = (done: number) => void;

/** What comes out of a file, of gzip of one member, part by part. Throws what it likes where a gzip file is no such. */
async function* unpacked(source: ByteSource, packing: Packing, onProgress?: OnProgress) {
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
  const reader = packed.pipeThrough(new DecompressionStream(packing)).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    if (error instanceof DataError || packing === 'gzip') throw error;
    const { code, message } = error as { code?: string; message?: string };
    throw damaged(source, packing, `${message || code || 'damaged data'} near offset ${at}`);
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const damaged = ({ name }: ByteSource, packing: Packing, got: string) =>
  new DataError(
    `${name}: expected whole ${packing} data, got ${got}\nIt may be cut off or damaged: fetch or write it again.`,
  );

/**
 * What comes out of a gzip file of any number of members, part by part; each has its checksum and its size checked.
 * @param at most bytes taken at once
 * @throws DataError naming file and offset
 */
export async function* unpackedMembers(source: ByteSource, most = memberStep, onProgress?: OnProgress) {
  let parts: Uint8Array[] = [];
  let check = 0;
  let size = 0;
  /** Where members end, and what their last eight bytes must be. */
  let ends: { readonly at: number; readonly check: number; readonly size: number }[] = [];
  const end = (at: number) => {
    ends.push({ at, check, size: size % 2 ** 32 });
    check = 0;
    size = 0;
  };
  const gunzip = new Gunzip((part) => {
    check = crc32(part, check);
    size += part.length;
    if (part.length > 0) parts.push(part);
  });
  // Called when the next one begins.
  gunzip.onmember = end;
  let at = 0;
  for (let last = false; !last; ) {
    const n = Math.min(most, source.size - at);
    last = n === 0;
    try {
      gunzip.push(await source.read(at, n), last);
    } catch (error) {
      if (error instanceof DataError) throw error;
      throw damaged(source, 'gzip', `${(error as Error).message || 'damaged data'} near offset ${at}`);
    }
    at += n;
    if (last) end(source.size);
    for (const e of ends) {
      // The shortest member has 18 bytes.
      const v = e.at < 18 ? undefined : viewOf(await source.read(e.at - 8, 8));
      if (v?.getUint32(0, true) !== e.check || v.getUint32(4, true) !== e.size)
        throw damaged(source, 'gzip', `a wrong checksum or size at offset ${Math.max(0, e.at - 8)}`);
    }
    ends = [];
    yield* parts;
    parts = [];
    if (at % (64 * step) === 0 || at === source.size) onProgress?.(at);
  }
}

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
  onProgress?: OnProgress,
): Promise<Uint8Array> {
  // gzip ends with the unpacked size modulo 2^32: a guess that saves copies.
  let guess = 4 * source.size;
  if (packing === 'gzip' && source.size >= 18) {
    guess = viewOf(await source.read(source.size - 4, 4)).getUint32(0, true);
  }
  const gather = async (parts: AsyncIterable<Uint8Array>) => {
    let out = memory(Math.min(guess, most, 1032 * source.size));
    let size = 0;
    for await (const part of parts) {
      if (size + part.length > most)
        throw new DataError(
          `${source.name}: expected at most ${most} bytes to come out of this ${packing} file of ${source.size}, got more\nUnpack it first${packing === 'gzip' ? ' (gunzip)' : ''}: then it is read in little memory.`,
        );
      if (size + part.length > out.length) {
        const more = memory(Math.min(most, Math.max(2 * out.length, size + part.length)));
        more.set(out.subarray(0, size));
        out = more;
      }
      out.set(part, size);
      size += part.length;
    }
    return out.subarray(0, size);
  };
  try {
    return await gather(unpacked(source, packing, onProgress));
  } catch (error) {
    if (error instanceof DataError) throw error;
    return gather(unpackedMembers(source, memberStep, onProgress));
  }
}
