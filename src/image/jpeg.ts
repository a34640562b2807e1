/**
 * JPEG decoding (ITU T.81 baseline, extended and progressive Huffman, 8 bit) to RGB, equal in every bit to
 * libjpeg-turbo's default output: its accurate integer inverse DCT, its smooth ("fancy") chroma upsampling, its
 * fixed-point colour conversion. Networks are trained on pixels decoded that way; other decoders move embeddings.
 *
 * The one idea: entropy decoding fills coefficient blocks (one block at a time when sequential, the whole image when
 * progressive), blocks become component planes, and rows of planes are upsampled and converted straight into the result.
 *
 * A tolerant reading keeps what came before damage, and what follows it from the next restart marker on, as libjpeg does:
 * blocks that are missing stay mid-grey, the block in which the data ends is completed with zero bits.
 */
import { DataError } from '../core/errors.ts';
import { planesToRgb } from './jpegColour.ts';
import { inverseDct } from './jpegDct.ts';
import {
  BitReader,
  decodeSequential,
  firstAc,
  HuffmanTable,
  natural,
  refineAc,
  type ScanState,
} from './jpegEntropy.ts';

/** One colour component: its sampling, its blocks, its decoded plane. */
export interface Component {
  id: number;
  h: number;
  v: number;
  quant: number;
  /** Blocks that hold image content, and blocks allocated (whole MCUs). */
  blocksWide: number;
  blocksHigh: number;
  stride: number;
  rows: number;
  /** Real samples. */
  width: number;
  height: number;
  plane: Uint8Array;
  coefficients: Int16Array | undefined;
  seen: boolean;
}

/** Decoded pixels, [height, width, 3]. */
export interface RgbImage {
  width: number;
  height: number;
  data: Uint8Array;
}

/** A picture that may have been read in part. */
export interface DecodedImage extends RgbImage {
  /** What is wrong with the file, where a tolerant reading gave a picture all the same. */
  damage?: string;
  /**
   * Of a tolerant reading: share of the blocks that arrived, 0 to 1. Of a progressive JPEG the share of coefficients, those
   * that still lack their last n bits counting 1/(n+1).
   */
  complete?: number;
}

/**
 * Passes of a progressive file over its picture cost time without bytes of their own: a run of empty blocks, or of blocks
 * without a correction, takes 16 bits for 32767. So work is counted, in coefficients looked at (a block of a first pass as
 * `firstPass`), and refused beyond `freeWork` and `mostWork` for each block of the picture: eight refinements of every
 * coefficient, where encoders make up to three; of pictures below a megapixel or so all that the format has, 13.
 */
const firstPass = 8;
const mostWork = 512;
const freeWork = 2 ** 26;
/** A tolerant reading wants a file that could hold this share of its picture. */
const leastShare = 0.01;

const endsEarly = 'the JPEG file ends before its image does';

const unsupported: Record<number, string> = {
  195: 'lossless',
  197: 'hierarchical',
  198: 'hierarchical',
  199: 'hierarchical',
  201: 'arithmetic-coded',
  202: 'arithmetic-coded',
  203: 'arithmetic-coded',
};

/**
 * Decodes a JPEG file to RGB. Grey images get three equal channels; an EXIF rotation is not applied.
 * @throws DataError when the file is damaged, cut off, larger than `maxPixels`, or of an unsupported kind (CMYK,
 * lossless, arithmetic-coded, 12 bit); `name` is what the error calls it. With `tolerant`, a file that is damaged or cut
 * off gives what arrived of it, and only one of which no block arrived is an error.
 */
export function decodeJpeg(bytes: Uint8Array, name: string, maxPixels: number, tolerant = false): DecodedImage {
  return new Decoder(bytes, name, maxPixels, tolerant).decode();
}

class Decoder {
  private readonly bytes: Uint8Array;
  private readonly name: string;
  private readonly maxPixels: number;
  private readonly tolerant: boolean;
  private damage: string | undefined;
  /** Share of the picture that arrived, all coefficients of all components counting alike. */
  private arrived = 0;
  private readonly quants: (Uint16Array | undefined)[] = [];
  private readonly dc: (HuffmanTable | undefined)[] = [];
  private readonly ac: (HuffmanTable | undefined)[] = [];
  private components: Component[] = [];
  private width = 0;
  private height = 0;
  private progressive = false;
  /** What is left for passes of a progressive file. */
  private work = 0;
  private restart = 0;
  private jfif = false;
  private adobe = -1;

  constructor(bytes: Uint8Array, name: string, maxPixels: number, tolerant: boolean) {
    this.bytes = bytes;
    this.name = name;
    this.maxPixels = maxPixels;
    this.tolerant = tolerant;
  }

  private fail(what: string, todo = 'replace the file, or save it again as an ordinary JPEG'): never {
    throw new DataError(`${this.name}: ${what}\n${todo}`);
  }
  private cut(): never {
    this.fail(endsEarly, 'the file was cut off: copy or download it again');
  }
  private u16(p: number): number {
    if (p + 2 > this.bytes.length) this.cut();
    return (this.bytes[p]! << 8) | this.bytes[p + 1]!;
  }

  decode(): DecodedImage {
    try {
      this.readSegments();
    } catch (error) {
      if (!this.tolerant || !(error instanceof DataError) || this.arrived === 0) throw error;
      this.damage ??= error.message.slice(this.name.length + 2).split('\n', 1)[0]!;
    }
    if (this.progressive) for (const c of this.components) if (c.seen) this.transform(c);
    const data = new Uint8Array(this.width * this.height * 3);
    planesToRgb(this.components, this.width, this.height, this.isYcc(), data);
    const image = { width: this.width, height: this.height, data };
    if (!this.tolerant) return image;
    const complete = this.damage === undefined ? 1 : Math.min(1, this.arrived);
    return this.damage === undefined ? { ...image, complete } : { ...image, complete, damage: this.damage };
  }

  private readSegments(): void {
    const { bytes } = this;
    let p = 2;
    for (;;) {
      // markers may be preceded by any number of fill bytes; stray bytes are passed over as libjpeg does
      while (p < bytes.length && bytes[p] !== 0xff) p++;
      while (p < bytes.length && bytes[p] === 0xff) p++;
      if (p >= bytes.length) {
        // a sequential image whose every block arrived needs no end marker
        if (!this.progressive && this.components.length > 0 && this.components.every((c) => c.seen)) break;
        this.cut();
      }
      const marker = bytes[p++]!;
      if (marker === 0xd9) break;
      if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
      const length = this.u16(p);
      const end = p + length;
      if (length < 2) this.fail('a JPEG segment of impossible length');
      if (end > bytes.length) this.cut();
      p += 2;
      if (marker === 0xdb) this.readQuant(p, end);
      else if (marker === 0xc4) this.readHuffman(p, end);
      else if (marker === 0xc0 || marker === 0xc1 || marker === 0xc2) this.readFrame(p, end, marker === 0xc2);
      else if (unsupported[marker]) this.fail(`${unsupported[marker]} JPEG is not supported`);
      else if (marker === 0xdd) this.restart = this.u16(p);
      else if (marker === 0xe0 && this.text(p, end, 5) === 'JFIF\0') this.jfif = true;
      else if (marker === 0xee && end - p >= 12 && this.text(p, end, 5) === 'Adobe') this.adobe = bytes[p + 11]!;
      p = marker === 0xda ? this.readScan(p, end) : end;
    }
    if (this.components.length === 0) this.fail('the JPEG file holds no image');
    if (this.components.some((c) => !c.seen)) this.cut();
  }

  private text(p: number, end: number, n: number): string {
    return String.fromCharCode(...this.bytes.subarray(p, Math.min(end, p + n)));
  }

  /** libjpeg's rule (jdapimin.c): JFIF means YCbCr, else Adobe's flag, else the component names. */
  private isYcc(): boolean {
    if (this.jfif) return true;
    if (this.adobe >= 0) return this.adobe !== 0;
    return String.fromCharCode(...this.components.map((c) => c.id)) !== 'RGB';
  }

  private readQuant(p: number, end: number): void {
    while (p < end) {
      const head = this.bytes[p++]!;
      const wide = head >> 4 ? 2 : 1;
      if ((head & 15) > 3 || p + 64 * wide > end) this.fail('a damaged JPEG quantisation table');
      const table = new Uint16Array(64);
      for (let i = 0; i < 64; i++, p += wide) table[natural[i]!] = wide === 2 ? this.u16(p) : this.bytes[p]!;
      this.quants[head & 15] = table;
    }
  }

  private readHuffman(p: number, end: number): void {
    while (p + 17 <= end) {
      const head = this.bytes[p]!;
      const counts = this.bytes.subarray(p + 1, p + 17);
      const total = counts.reduce((a, b) => a + b, 0);
      p += 17;
      if ((head & 15) > 3 || head >> 4 > 1 || total > 256 || p + total > end) this.fail('a damaged JPEG Huffman table');
      const table = HuffmanTable.from(counts, this.bytes.subarray(p, p + total));
      if (!table) this.fail('a damaged JPEG Huffman table');
      (head >> 4 ? this.ac : this.dc)[head & 15] = table;
      p += total;
    }
  }

  private readFrame(p: number, end: number, progressive: boolean): void {
    const { bytes } = this;
    if (this.components.length > 0) this.fail('a JPEG file with several frames is not supported');
    if (end - p < 6) this.fail('a damaged JPEG frame header');
    if (bytes[p] !== 8) this.fail(`JPEG with ${bytes[p]} bits a sample is not supported, only 8`);
    this.height = this.u16(p + 1);
    this.width = this.u16(p + 3);
    const n = bytes[p + 5]!;
    if (this.width === 0 || this.height === 0) this.fail('a JPEG image without pixels');
    checkPixels(this.width, this.height, this.name, this.maxPixels);
    if (n === 4) this.fail('CMYK JPEG is not supported', 'save it as RGB (YCbCr) JPEG');
    if (n !== 1 && n !== 3) this.fail(`JPEG with ${n} colour components is not supported, only 1 or 3`);
    if (end - p < 6 + 3 * n) this.fail('a damaged JPEG frame header');
    this.progressive = progressive;
    const raw = Array.from({ length: n }, (_, i) => bytes.subarray(p + 6 + 3 * i, p + 9 + 3 * i));
    const hs = raw.map((r) => r[1]! >> 4);
    const vs = raw.map((r) => r[1]! & 15);
    if ([...hs, ...vs].some((s) => s < 1 || s > 4)) this.fail('a damaged JPEG frame header');
    const maxH = Math.max(...hs);
    const maxV = Math.max(...vs);
    const mcusWide = Math.ceil(this.width / (8 * maxH));
    const mcusHigh = Math.ceil(this.height / (8 * maxV));
    // No block takes less than a bit, or two with an end of its coefficients: memory is taken for what can be there.
    const inside = (size: number, s: number, most: number) => Math.ceil(Math.ceil((size * s) / most) / 8);
    const blocks = hs.reduce((sum, h, i) => sum + inside(this.width, h, maxH) * inside(this.height, vs[i]!, maxV), 0);
    const least = (progressive ? blocks : 2 * blocks) / 8;
    if (bytes.length < least * (this.tolerant ? leastShare : 1)) this.cut();
    this.work = mostWork * blocks + freeWork;
    this.components = raw.map((r, i) => {
      const h = hs[i]!;
      const v = vs[i]!;
      if (maxH % h || maxV % v) this.fail(`JPEG with chroma sampling ${h}x${v} in ${maxH}x${maxV} is not supported`);
      const width = Math.ceil((this.width * h) / maxH);
      const height = Math.ceil((this.height * v) / maxV);
      const stride = mcusWide * h * 8;
      const rows = mcusHigh * v * 8;
      return {
        ...{ id: r[0]!, h, v, quant: r[2]!, width, height, stride, rows, seen: false },
        blocksWide: Math.ceil(width / 8),
        blocksHigh: Math.ceil(height / 8),
        plane: this.tolerant ? new Uint8Array(stride * rows).fill(128) : new Uint8Array(stride * rows),
        coefficients: progressive ? new Int16Array(stride * rows) : undefined,
      };
    });
  }

  private quantOf(c: Component): Uint16Array {
    return this.quants[c.quant] ?? this.fail('a JPEG quantisation table is missing');
  }

  private transform(c: Component): void {
    const quant = this.quantOf(c);
    const perRow = c.stride / 8;
    const all = c.coefficients!;
    for (let b = 0; b < all.length / 64; b++) {
      const x = b % perRow;
      inverseDct(all, b * 64, quant, c.plane, ((b - x) / perRow) * 8 * c.stride + x * 8, c.stride);
    }
  }

  /** Decodes one scan; returns the position after its data. */
  private readScan(p: number, end: number): number {
    const { bytes, progressive } = this;
    if (this.components.length === 0) this.fail('a JPEG scan before its frame header');
    const n = end > p ? bytes[p]! : 0;
    if (n < 1 || n > 4 || end - p < 4 + 2 * n) this.fail('a damaged JPEG scan header');
    const start = bytes[p + 1 + 2 * n]!;
    const stop = bytes[p + 2 + 2 * n]!;
    const high = bytes[p + 3 + 2 * n]! >> 4;
    const low = bytes[p + 3 + 2 * n]! & 15;
    if (progressive && (start > stop || stop > 63 || (start === 0 ? stop > 0 : n > 1) || low > 13)) {
      this.fail('a damaged JPEG scan header');
    }
    const reader = new BitReader(bytes, end);
    const parts = Array.from({ length: n }, (_, i) => {
      const id = bytes[p + 1 + 2 * i]!;
      const c = this.components.find((k) => k.id === id) ?? this.fail('a JPEG scan of an unknown component');
      const tables = bytes[p + 2 + 2 * i]!;
      const dc = this.dc[tables >> 4];
      const ac = this.ac[tables & 15];
      const needDc = progressive ? start === 0 && high === 0 : true;
      const needAc = progressive ? start > 0 : true;
      if ((needDc && !dc) || (needAc && !ac)) this.fail('a JPEG Huffman table is missing');
      const state: ScanState = { dc: dc!, ac: ac!, prediction: 0, start, stop, low, endRun: 0 };
      if (start === 0) c.seen = true;
      return { c, state, quant: progressive ? undefined : this.quantOf(c) };
    });
    const block = new Int16Array(64);
    const decodeBlock = (part: (typeof parts)[number], row: number, column: number): void => {
      const { c, state, quant } = part;
      if (quant) {
        decodeSequential(reader, state, block);
        inverseDct(block, 0, quant, c.plane, row * 8 * c.stride + column * 8, c.stride);
        block.fill(0);
        return;
      }
      const all = c.coefficients!;
      const at = (row * (c.stride / 8) + column) * 64;
      if (start > 0) {
        if (high === 0) firstAc(reader, state, all, at);
        else refineAc(reader, state, all, at);
      } else if (high === 0) {
        state.prediction += reader.extended(reader.symbol(state.dc));
        all[at] = state.prediction << low;
      } else if (reader.bits(1)) all[at] = all[at]! | (1 << low);
    };

    // a scan of one component walks its own blocks; several are interleaved by MCU
    const first = parts[0]!.c;
    const maxH = Math.max(...this.components.map((c) => c.h));
    const maxV = Math.max(...this.components.map((c) => c.v));
    const wide = n === 1 ? first.blocksWide : Math.ceil(this.width / (8 * maxH));
    const count = wide * (n === 1 ? first.blocksHigh : Math.ceil(this.height / (8 * maxV)));
    if (progressive) {
      const blocks = n === 1 ? count : count * parts.reduce((sum, { c }) => sum + c.h * c.v, 0);
      this.work -= blocks * (start > 0 && high > 0 ? stop - start + 1 : firstPass);
      if (this.work < 0) this.fail('a progressive JPEG with more passes over its picture than any encoder makes');
    }
    let good = 0;
    for (let mcu = 0; mcu < count; ) {
      const atRestart = this.restart > 0 && mcu > 0 && mcu % this.restart === 0;
      const missing = atRestart && !reader.restart(mcu / this.restart - 1);
      let wrong = missing ? 'a JPEG restart marker is missing' : undefined;
      if (!missing) {
        if (atRestart)
          for (const { state } of parts) {
            state.prediction = 0;
            state.endRun = 0;
          }
        const x = mcu % wide;
        const y = (mcu - x) / wide;
        if (n === 1) decodeBlock(parts[0]!, y, x);
        else {
          for (const part of parts) {
            for (let v = 0; v < part.c.v; v++) {
              for (let h = 0; h < part.c.h; h++) decodeBlock(part, y * part.c.v + v, x * part.c.h + h);
            }
          }
        }
        if (reader.bad || reader.starved) {
          wrong = reader.starved && reader.end() >= bytes.length ? endsEarly : 'damaged JPEG data';
        }
      }
      if (wrong === undefined) {
        good++;
        mcu++;
        continue;
      }
      if (!this.tolerant) {
        if (wrong === endsEarly) this.cut();
        this.fail(wrong);
      }
      this.damage ??= wrong;
      if (progressive || this.restart === 0) break;
      const interval = Math.floor(mcu / this.restart) + (missing ? 0 : 1);
      const lost = reader.resync(interval - 1);
      if (lost < 0) break;
      mcu = (interval + lost) * this.restart;
    }
    const kept = (bits: number) => 1 / (bits + 1);
    const weight = progressive ? ((stop - start + 1) / 64) * Math.max(0, kept(low) - (high > 0 ? kept(high) : 0)) : 1;
    this.arrived += (weight * good * n) / (count * this.components.length);
    // what later scans refine is not there
    if (progressive && this.damage !== undefined) this.fail(this.damage);
    return reader.end();
  }
}

/** Refuses an image before memory is taken for it. */
export function checkPixels(width: number, height: number, name: string, maxPixels: number): void {
  if (width * height > maxPixels) {
    throw new DataError(
      `${name}: the image is ${width}x${height}, ${(width * height) / 1e6} megapixels; the limit is ${maxPixels / 1e6}\n` +
        'scale the image down, or raise maxPixels',
    );
  }
}
