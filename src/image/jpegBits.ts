/**
 * Huffman coding of JPEG coefficient blocks with the standard's own tables (ITU T.81, annex F.1.2 and tables K.3 to K.6).
 *
 * The one idea: a code and the bits that follow it go as one number into a 32-bit word, which is written when it is full:
 * four bytes at once where none is 0xff, since a zero has to follow each of those.
 */
import { natural } from './jpegEntropy.ts';

const bytesOfHex = (hex: string) =>
  Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));

/** A DHT segment's content without its first byte: how many codes there are of each length, and their symbols. */
export interface HuffmanSpec {
  readonly counts: Uint8Array;
  readonly symbols: Uint8Array;
}
const spec = (counts: string, symbols: string): HuffmanSpec => ({
  counts: bytesOfHex(counts),
  symbols: bytesOfHex(symbols),
});
export const dcLuma = spec('00010501010101010100000000000000', '000102030405060708090a0b');
export const dcChroma = spec('00030101010101010101010000000000', '000102030405060708090a0b');
export const acLuma = spec(
  '0002010303020403050504040000017d',
  '01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a' +
    '434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aa' +
    'b2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa',
);
export const acChroma = spec(
  '00020102040403040705040400010277',
  '000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a' +
    '434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9' +
    'aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa',
);

/** code << 5 | length of every symbol (annex C). */
export function codesOf({ counts, symbols }: HuffmanSpec): Int32Array {
  const codes = new Int32Array(256);
  let code = 0;
  let k = 0;
  for (let length = 1; length <= 16; length++, code <<= 1)
    for (let i = 0; i < counts[length - 1]!; i++) codes[symbols[k++]!] = (code++ << 5) | length;
  return codes;
}

/** Bytes that a block may take at most: 22 bits and 63 times 26, each byte an 0xff that a zero follows. */
const mostBytes = 416;
/** Room that stays allocated between pictures. */
const keptBytes = 1 << 20;
const firstBytes = 1 << 16;

/** Writes bytes and bits to memory that grows. */
export class BitWriter {
  private bytes = new Uint8Array(firstBytes);
  private at = 0;
  /** The last 32 - `free` bits are waiting to be written. */
  private word = 0;
  private free = 32;

  /** Starts anew with these bytes, of which those of the size, at `sizeAt`, are filled in. */
  start(head: Uint8Array, sizeAt: number, width: number, height: number): void {
    this.bytes.set(head);
    this.bytes.set([height >> 8, height & 255, width >> 8, width & 255], sizeAt);
    this.at = head.length;
    this.word = 0;
    this.free = 32;
  }

  /** Makes sure that so many blocks fit. */
  reserve(blocks: number): void {
    const least = this.at + blocks * mostBytes + 16;
    if (least <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(least, 2 * this.bytes.length));
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
  }

  /** Writes the `length` lowest bits, at most 27, of `bits`, which has no others. */
  private put(bits: number, length: number): void {
    const free = this.free - length;
    if (free >= 0) {
      this.word = (this.word << length) | bits;
      this.free = free;
      return;
    }
    this.flush((this.word << (length + free)) | (bits >>> -free));
    // what has been written of `bits` moves out at the top
    this.word = bits;
    this.free = free + 32;
  }

  /** Writes 32 bits. */
  private flush(word: number): void {
    const { bytes } = this;
    let { at } = this;
    for (let shift = 24; shift >= 0; shift -= 8) {
      const byte = (word >>> shift) & 255;
      bytes[at++] = byte;
      if (byte === 255) bytes[at++] = 0;
    }
    this.at = at;
  }

  /** A value's code, then its bits: its lowest ones, of a negative value those of one less. */
  private value(value: number, size: number, code: number): void {
    this.put(((code >>> 5) << size) | ((value + (value >> 31)) & ((1 << size) - 1)), (code & 31) + size);
  }

  /**
   * Writes a block of quantised coefficients, given in natural order.
   * @param before the DC coefficient of the component's block before this one
   */
  block(block: Int32Array, before: number, dc: Int32Array, ac: Int32Array): void {
    const step = block[0]! - before;
    const bits = bitsOf(step);
    this.value(step, bits, dc[bits]!);
    let run = 0;
    for (let k = 1; k < 64; k++) {
      const v = block[natural[k]!]!;
      if (v === 0) {
        run++;
        continue;
      }
      for (; run > 15; run -= 16) this.value(0, 0, ac[0xf0]!);
      const size = bitsOf(v);
      this.value(v, size, ac[(run << 4) | size]!);
      run = 0;
    }
    if (run > 0) this.value(0, 0, ac[0]!);
  }

  /** Writes a block that is there to complete an MCU: the DC coefficient of the one before, nothing else. */
  filler(dc: Int32Array, ac: Int32Array): void {
    this.value(0, 0, dc[0]!);
    this.value(0, 0, ac[0]!);
  }

  /** Completes the last byte with ones, writes the end marker, and gives a copy of all that was written. */
  finish(): Uint8Array {
    let waiting = 32 - this.free;
    const last = this.word;
    while (waiting > 0) {
      const byte = (waiting >= 8 ? last >>> (waiting - 8) : (last << (8 - waiting)) | (255 >> waiting)) & 255;
      this.bytes[this.at++] = byte;
      if (byte === 255) this.bytes[this.at++] = 0;
      waiting -= 8;
    }
    this.bytes[this.at++] = 0xff;
    this.bytes[this.at++] = 0xd9;
    const whole = this.bytes.slice(0, this.at);
    if (this.bytes.length > keptBytes) this.bytes = new Uint8Array(firstBytes);
    return whole;
  }
}

/** How many bits the magnitude of a value has. */
const bitsOf = (v: number): number => 32 - Math.clz32(v < 0 ? -v : v);
