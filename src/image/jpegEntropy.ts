/**
 * Huffman decoding of JPEG coefficient blocks (ITU T.81 annexes F and G).
 *
 * The one idea: codes of up to nine bits, nearly all that occur, are one table look-up; longer ones fall back to
 * comparing against the largest code of each length. Past the end of the data the reader hands out zero bits and notes
 * that it starved, so the inner loops need no checks.
 */

const lookBits = 9;

/** Place of the k-th coefficient of the zigzag in an 8x8 block. */
export const natural = Uint8Array.of(
  0,
  1,
  8,
  16,
  9,
  2,
  3,
  10,
  17,
  24,
  32,
  25,
  18,
  11,
  4,
  5,
  12,
  19,
  26,
  33,
  40,
  48,
  41,
  34,
  27,
  20,
  13,
  6,
  7,
  14,
  21,
  28,
  35,
  42,
  49,
  56,
  57,
  50,
  43,
  36,
  29,
  22,
  15,
  23,
  30,
  37,
  44,
  51,
  58,
  59,
  52,
  45,
  38,
  31,
  39,
  46,
  53,
  60,
  61,
  54,
  47,
  55,
  62,
  63,
);

export class HuffmanTable {
  /** length << 8 | symbol for every nine-bit prefix, 0 where the code is longer. */
  readonly look = new Uint16Array(1 << lookBits);
  /** For each length: one past its largest code (-1: none), and what turns a code into an index of `symbols`. */
  readonly limit = new Int32Array(18).fill(-1);
  readonly offset = new Int32Array(18);
  readonly symbols: Uint8Array;

  private constructor(symbols: Uint8Array) {
    this.symbols = symbols;
  }

  /** Undefined when the counts overfill the code space. */
  static from(counts: Uint8Array, symbols: Uint8Array): HuffmanTable | undefined {
    const t = new HuffmanTable(symbols.slice());
    let code = 0;
    let index = 0;
    for (let length = 1; length <= 16; length++) {
      const n = counts[length - 1]!;
      if (code + n > 1 << length) return undefined;
      t.offset[length] = index - code;
      if (n > 0) t.limit[length] = code + n;
      for (let i = 0; i < n; i++, code++, index++) {
        if (length > lookBits) continue;
        const from = code << (lookBits - length);
        t.look.fill((length << 8) | symbols[index]!, from, from + (1 << (lookBits - length)));
      }
      code <<= 1;
    }
    return t;
  }
}

/** Bits of entropy-coded data, most significant first, stuffed zeros removed. */
export class BitReader {
  private readonly bytes: Uint8Array;
  private at: number;
  private store = 0;
  private have = 0;
  /** Zero bits handed out past the data. */
  private made = 0;
  /** A code that no table holds, or a coefficient beyond the block. */
  bad = false;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Whether bits were used that the data did not hold. */
  get starved(): boolean {
    return this.made > this.have;
  }

  private fill(): void {
    const { bytes } = this;
    while (this.have <= 16) {
      let byte = 0;
      if (this.at >= bytes.length) this.made += 8;
      else {
        byte = bytes[this.at]!;
        if (byte !== 0xff) this.at++;
        else if (bytes[this.at + 1] === 0) this.at += 2;
        else {
          byte = 0;
          this.made += 8;
        }
      }
      this.store = ((this.store << 8) | byte) & 0xffffff;
      this.have += 8;
    }
  }

  /** n bits as a number, n at most 16. */
  bits(n: number): number {
    if (this.have < n) this.fill();
    this.have -= n;
    return (this.store >>> this.have) & ((1 << n) - 1);
  }

  symbol(table: HuffmanTable): number {
    if (this.have < 16) this.fill();
    const entry = table.look[(this.store >>> (this.have - lookBits)) & ((1 << lookBits) - 1)]!;
    if (entry !== 0) {
      this.have -= entry >> 8;
      return entry & 255;
    }
    for (let length = lookBits + 1; length <= 16; length++) {
      const code = (this.store >>> (this.have - length)) & ((1 << length) - 1);
      if (code < table.limit[length]!) {
        this.have -= length;
        return table.symbols[code + table.offset[length]!]!;
      }
    }
    this.bad = true;
    return 0;
  }

  /** A signed number of n bits: T.81 figure F.12. */
  extended(n: number): number {
    if (n === 0) return 0;
    if (n > 16) {
      this.bad = true;
      return 0;
    }
    const v = this.bits(n);
    return v < 1 << (n - 1) ? v - (1 << n) + 1 : v;
  }

  /** Steps over the restart marker that is due, counted modulo 8; false where another marker, or none, comes next. */
  restart(expected: number): boolean {
    const p = this.end();
    if (this.bytes[p] !== 0xff || this.bytes[p + 1] !== 0xd0 + (expected & 7)) return false;
    this.at = p + 2;
    return true;
  }

  /**
   * Goes on to the next restart marker, where `expected` is the one due (counted modulo 8); returns how many were lost
   * before it, −1 where none follows in this scan.
   */
  resync(expected: number): number {
    const { bytes } = this;
    this.bad = false;
    for (let p = this.end(); p + 1 < bytes.length; p = this.end()) {
      const marker = bytes[p + 1]!;
      if (marker === 0xd9 || marker === 0xda) break;
      const lost = (marker - 0xd0 - expected) & 7;
      // one that is overdue by far rather belongs to what was read already
      if (marker >= 0xd0 && marker <= 0xd7 && lost < 6) return lost;
      this.at = p + 2;
    }
    return -1;
  }

  /** Drops the bits left and returns where the next marker begins. */
  end(): number {
    this.store = 0;
    this.have = 0;
    this.made = 0;
    const { bytes } = this;
    let p = this.at;
    while (p < bytes.length && !(bytes[p] === 0xff && bytes[p + 1] !== 0 && bytes[p + 1] !== 0xff)) p++;
    this.at = p;
    return p;
  }
}

/** What decoding carries from block to block of a component within a scan. */
export interface ScanState {
  readonly dc: HuffmanTable;
  readonly ac: HuffmanTable;
  prediction: number;
  readonly start: number;
  readonly stop: number;
  readonly low: number;
  endRun: number;
}

/** A whole block of a sequential image, into zeroed `block`. */
export function decodeSequential(reader: BitReader, s: ScanState, block: Int16Array): void {
  s.prediction += reader.extended(reader.symbol(s.dc));
  block[0] = s.prediction;
  for (let k = 1; k < 64; k++) {
    const rs = reader.symbol(s.ac);
    const size = rs & 15;
    if (size === 0) {
      if (rs !== 0xf0) break;
      k += 15;
      continue;
    }
    k += rs >> 4;
    const value = reader.extended(size);
    if (k > 63) {
      reader.bad = true;
      return;
    }
    block[natural[k]!] = value;
  }
}

/** First pass over a band of a progressive block (T.81 G.1.2.2). */
export function firstAc(reader: BitReader, s: ScanState, out: Int16Array, at: number): void {
  if (s.endRun > 0) {
    s.endRun--;
    return;
  }
  for (let k = s.start; k <= s.stop; k++) {
    const rs = reader.symbol(s.ac);
    const run = rs >> 4;
    const size = rs & 15;
    if (size === 0) {
      if (run < 15) {
        s.endRun = (1 << run) + reader.bits(run) - 1;
        return;
      }
      k += 15;
      continue;
    }
    k += run;
    const value = reader.extended(size) * (1 << s.low);
    if (k > s.stop) {
      reader.bad = true;
      return;
    }
    out[at + natural[k]!] = value;
  }
}

/** One more bit of a coefficient that is already non-zero. */
function correct(reader: BitReader, out: Int16Array, i: number, bit: number): void {
  if (reader.bits(1) && (Math.abs(out[i]!) & bit) === 0) out[i] = out[i]! + (out[i]! < 0 ? -bit : bit);
}

/** Refinement pass over a band of a progressive block (T.81 G.1.2.3). */
export function refineAc(reader: BitReader, s: ScanState, out: Int16Array, at: number): void {
  const bit = 1 << s.low;
  let k = s.start;
  if (s.endRun === 0) {
    for (; k <= s.stop; k++) {
      const rs = reader.symbol(s.ac);
      let run = rs >> 4;
      let value = 0;
      if ((rs & 15) !== 0) {
        if ((rs & 15) !== 1) reader.bad = true;
        value = reader.bits(1) ? bit : -bit;
      } else if (run < 15) {
        s.endRun = (1 << run) + reader.bits(run);
        break;
      }
      // pass over `run` zeros, correcting what is not zero on the way
      for (; k <= s.stop; k++) {
        const i = at + natural[k]!;
        if (out[i] !== 0) correct(reader, out, i, bit);
        else if (run-- === 0) {
          if (value !== 0) out[i] = value;
          break;
        }
      }
      if (reader.bad) return;
    }
  }
  if (s.endRun > 0) {
    for (; k <= s.stop; k++) {
      const i = at + natural[k]!;
      if (out[i] !== 0) correct(reader, out, i, bit);
    }
    s.endRun--;
  }
}
