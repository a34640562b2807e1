/**
 * Cyclic redundancy checks of 32 bits, bit-reversed, as file formats have them. Eight tables take eight bytes a turn
 * ("slicing by 8", Kounavis and Berry 2005).
 */

/** The checksum of bytes, as an unsigned number; `before` is that of the bytes before them. */
export type Crc = (bytes: Uint8Array, before?: number) => number;

/** The checksum of a polynomial, which is given reversed (lowest bit: highest power). */
export function crcOf(polynomial: number): Crc {
  const tables = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ polynomial : c >>> 1;
    tables[i] = c;
  }
  for (let i = 256; i < tables.length; i++) tables[i] = (tables[i - 256]! >>> 8) ^ tables[tables[i - 256]! & 255]!;
  return (bytes, before = 0) => {
    let c = ~before;
    let i = 0;
    for (const end = bytes.length - 7; i < end; i += 8) {
      c ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      c =
        tables[1792 + (c & 255)]! ^
        tables[1536 + ((c >>> 8) & 255)]! ^
        tables[1280 + ((c >>> 16) & 255)]! ^
        tables[1024 + (c >>> 24)]! ^
        tables[768 + bytes[i + 4]!]! ^
        tables[512 + bytes[i + 5]!]! ^
        tables[256 + bytes[i + 6]!]! ^
        tables[bytes[i + 7]!]!;
    }
    for (; i < bytes.length; i++) c = tables[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
    return ~c >>> 0;
  };
}

/** CRC-32 (ISO 3309), as PNG and gzip have it. */
export const crc32: Crc = /* @__PURE__ */ crcOf(0xedb88320);
