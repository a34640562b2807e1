/**
 * What can be read of a damaged or cut-off PNG file.
 *
 * The one idea: image data is inflated as far as it goes, and what rows that gives become a PNG file of their own, for the
 * ordinary reader. Rows count as arrived up to the first chunk whose checksum is wrong.
 */
import { Unzlib, zlibSync } from 'fflate';
import { crc32 } from '../core/crc32.ts';
import { checkPixels } from './jpeg.ts';

function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (const v of bytes) {
    a = (a + v) % 65521;
    b = (b + a) % 65521;
  }
  return b * 65536 + a;
}

const signatureLength = 8;
const idle = new Uint8Array(0);

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

function chunk(type: string, body: Uint8Array): Uint8Array {
  const out = joined([new Uint8Array(8), body, new Uint8Array(4)]);
  const view = new DataView(out.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  view.setUint32(8 + body.length, crc32(out.subarray(4, 8 + body.length)));
  return out;
}

const neededChunks = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND'];

/**
 * A PNG file without what its pixels do not need, so that no profile or text in it is unpacked; the same bytes where that is
 * all there is. Undefined where a chunk is cut off, a header comes again, or a checksum of what is left out is wrong.
 */
export function pixelChunks(bytes: Uint8Array): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kept: Uint8Array[] = [bytes.subarray(0, signatureLength)];
  let left = 0;
  for (let at = signatureLength, end = at; at < bytes.length; at = end) {
    if (at + 12 > bytes.length) return undefined;
    end = at + 12 + view.getUint32(at);
    if (end > bytes.length) return undefined;
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === 'IHDR' && at !== signatureLength) return undefined;
    if (neededChunks.includes(type)) kept.push(bytes.subarray(at, end));
    else if (view.getUint32(end - 4) !== crc32(bytes.subarray(at + 4, end - 4))) return undefined;
    else left++;
    if (type === 'IEND') break;
  }
  return left === 0 ? bytes : joined(kept);
}

/** Whether the image data of a PNG file inflates to more than `limit` bytes; found out in little memory. */
export function inflatesBeyond(bytes: Uint8Array, limit: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let inflated = 0;
  const inflator = new Unzlib((part) => {
    inflated += part.length;
  });
  try {
    for (let at = signatureLength; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
      if (view.getUint32(at + 4) !== 0x49444154) continue;
      const end = Math.min(bytes.length, at + 8 + view.getUint32(at));
      for (let from = at + 8; from < end; from += 4096) {
        inflator.push(bytes.slice(from, Math.min(end, from + 4096)), false);
        if (inflated > limit) return true;
      }
    }
  } catch {
    // the reader says what is wrong
  }
  return false;
}

/** The part of a picture that a damaged file still gives. */
export interface Rescued {
  /** A whole PNG file of the rows that arrived, from the top. */
  readonly file: Uint8Array;
  /** Of the picture that the damaged file was. */
  readonly width: number;
  readonly height: number;
}

/**
 * Saves the rows that arrived; undefined where there is none, where header or palette are damaged, or rows are interlaced.
 * Throws DataError for a picture of more than `maxPixels`.
 */
export function rescuePng(bytes: Uint8Array, name: string, maxPixels: number): Rescued | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = bytes.slice(16, 29);
  if (bytes.length < 33 || view.getUint32(8) !== 13 || view.getUint32(29) !== crc32(bytes.subarray(12, 29)))
    return undefined;
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const [depth, colour, , , interlaced] = header.subarray(8);
  const channels = [1, 0, 3, 1, 2, 0, 4][colour!] ?? 0;
  if (interlaced !== 0 || channels === 0 || ![1, 2, 4, 8, 16].includes(depth!)) return undefined;
  checkPixels(width, height, name, maxPixels);
  const rowBytes = 1 + Math.ceil((width * channels * depth!) / 8);
  const wanted = rowBytes * height;

  const parts: Uint8Array[] = [];
  let inflated = 0;
  const inflator = new Unzlib((part) => {
    const used = part.subarray(0, wanted - inflated);
    if (used.length > 0) parts.push(used);
    inflated += used.length;
  });
  const palette: Uint8Array[] = [];
  /** Bytes of rows before the first wrong checksum. */
  let sure = Number.POSITIVE_INFINITY;
  let tail: Uint8Array = idle;
  let at = signatureLength + 25;
  for (let end = at; at + 12 <= bytes.length && inflated < wanted; at = end) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    end = at + 12 + length;
    const cut = end > bytes.length;
    const right = !cut && view.getUint32(end - 4) === crc32(bytes.subarray(at + 4, end - 4));
    if (type === 'IEND' || !/^[A-Za-z]{4}$/.test(type)) break;
    if (type === 'PLTE') {
      if (!right) return undefined;
      palette.push(bytes.subarray(at, end));
    }
    if (type !== 'IDAT') continue;
    // what is cut off has no checksum, so none that is wrong
    if (!right && !cut) sure = Math.min(sure, inflated);
    tail = bytes.subarray(at + 8, Math.min(end - 4, bytes.length));
    try {
      // in pieces, so that what inflates to more than the picture is left early
      for (let from = 0; from < tail.length && inflated < wanted; from += 4096)
        inflator.push(tail.slice(from, from + 4096), false);
    } catch {
      break;
    }
  }
  const data = joined(parts);
  // the checksum over all data outweighs those of chunks
  if (inflated === wanted && tail.length >= 4) {
    const own = new DataView(tail.buffer, tail.byteOffset + tail.length - 4).getUint32(0);
    if (own === adler32(data)) sure = wanted;
  }
  const rows = Math.floor(Math.min(inflated, sure) / rowBytes);
  if (rows === 0) return undefined;
  new DataView(header.buffer).setUint32(4, rows);
  const file = joined([
    bytes.subarray(0, signatureLength),
    chunk('IHDR', header),
    ...palette,
    chunk('IDAT', zlibSync(data.subarray(0, rows * rowBytes), { level: 0 })),
    chunk('IEND', idle),
  ]);
  return { file, width, height };
}
