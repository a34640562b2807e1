/**
 * CRC-32C (Castagnoli, reversed polynomial 0x82f63b78), as TFRecord and the packed format use it. Eight tables take eight
 * bytes a turn ("slicing by 8", Kounavis and Berry 2005).
 */
const tables = (() => {
  const all = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    all[i] = c;
  }
  for (let i = 256; i < all.length; i++) all[i] = (all[i - 256]! >>> 8) ^ all[all[i - 256]! & 255]!;
  return all;
})();

/** The checksum of bytes, as an unsigned number; `before` is that of the bytes before them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
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
}
