import { existsSync, readFileSync } from 'node:fs';
import { encode as encodeAnyPng } from 'fast-png';
import { Zlib } from 'fflate';
import jpegJs from 'jpeg-js';
import { describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { DataError } from '../../src/core/errors.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../src/image/encode.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { files, fnv } from './files.ts';

const bytesOf = (name: string) => new Uint8Array(Buffer.from(files[name]!.base64, 'base64'));
const shared = new URL('../../../shared/data/', import.meta.url);

describe('decodeImage', () => {
  const readable = Object.keys(files).filter((n) => n !== 'jpeg cmyk');
  it.each(readable)('%s: the bytes of the reference reader', (name) => {
    const image = decodeImage(bytesOf(name), name);
    expect(image.data.length).toBe(image.width * image.height * 3);
    expect(fnv(image.data)).toBe(files[name]!.hash);
  });
  it.each(readable)('%s: cut off anywhere is a DataError naming the file', (name) => {
    const bytes = bytesOf(name);
    for (let n = 0; n < bytes.length - 14; n += 7) {
      expect(() => decodeImage(bytes.subarray(0, n), 'some/file')).toThrow(DataError);
      expect(() => decodeImage(bytes.subarray(0, n), 'some/file')).toThrow(/^some\/file: /);
    }
  });
  it('damaged files give pixels or a DataError, nothing else', () => {
    for (const name of Object.keys(files)) {
      const bytes = bytesOf(name);
      for (let i = 0; i < bytes.length; i++) {
        const broken = bytes.slice();
        broken[i] = broken[i]! ^ (1 << (i % 8));
        try {
          decodeImage(broken, name, { maxPixels: 1e5 });
        } catch (e) {
          expect(e, `${name}, byte ${i}`).toBeInstanceOf(DataError);
        }
      }
    }
  });
  it('says what it cannot read', () => {
    expect(() => decodeImage(bytesOf('jpeg cmyk'), 'a.jpg')).toThrow(/^a\.jpg: CMYK JPEG is not supported\n/);
    expect(() => decodeImage(new Uint8Array(0), 'b')).toThrow(/^b: the file is empty\n/);
    expect(() => decodeImage(new TextEncoder().encode('GIF89a....'), 'c')).toThrow(/neither JPEG nor PNG .*a GIF/);
    expect(() => decodeImage(new TextEncoder().encode('<html>'), 'd')).toThrow(/failed download/);
  });
  it('refuses an image over the limit before reading it', () => {
    expect(() => decodeImage(hugeJpeg(), 'h.jpg')).toThrow(/^h\.jpg: the image is 65535x65535, .* the limit is 100\n/);
    const png = bytesOf('png palette8');
    png.set([0, 1, 0, 0], 16);
    png.set([0, 1, 0, 0], 20);
    expect(() => decodeImage(png, 'h.png')).toThrow(/^h\.png: the image is 65536x65536/);
    expect(() => decodeImage(bytesOf('jpeg 420'), 'x', { maxPixels: 27 * 21 })).not.toThrow();
    expect(() => decodeImage(bytesOf('jpeg 420'), 'x', { maxPixels: 27 * 21 - 1 })).toThrow(DataError);
  });
  it('refuses a PNG that inflates to far more than its picture, without taking the memory', () => {
    // 112 MB of zeros in little more than 100 KB
    const parts: Uint8Array[] = [];
    const zeros = new Uint8Array(1 << 24);
    const deflate = new Zlib({ level: 6 }, (part) => parts.push(part));
    for (let i = 0; i < 7; i++) deflate.push(zeros, i === 6);
    const small = encodePng({ width: 2, height: 2, data: new Uint8Array(12) });
    const idat = Buffer.concat(parts);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(idat.length, 0);
    head.write('IDAT', 4);
    const bomb = Uint8Array.from(Buffer.concat([small.subarray(0, 33), head, idat, Buffer.alloc(4)]));
    const before = process.memoryUsage().rss;
    for (const tolerant of [false, true])
      expect(() => decodeImage(bomb, 'b.png', { tolerant })).toThrow(/^b\.png: .*more image data/);
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
  });
  it('reads 16 bits and alpha from PNG as 8-bit RGB', () => {
    const wide = Uint16Array.of(0, 128, 129, 65535, 65406, 65407);
    const rgb = encodeAnyPng({ width: 2, height: 1, data: wide, depth: 16, channels: 3 });
    expect([...decodeImage(rgb, '').data]).toEqual([0, 0, 1, 255, 254, 255]);
    const grey = encodeAnyPng({ width: 2, height: 1, data: Uint16Array.of(257, 9, 514, 9), depth: 16, channels: 2 });
    expect([...decodeImage(grey, '').data]).toEqual([1, 1, 1, 2, 2, 2]);
    const rgba = encodeAnyPng({ width: 1, height: 1, data: Uint8Array.of(9, 8, 7, 0), channels: 4 });
    expect([...decodeImage(rgba, '').data]).toEqual([9, 8, 7]);
    const single = encodeAnyPng({ width: 1, height: 2, data: Uint8Array.of(5, 6), channels: 1 });
    expect([...decodeImage(single, '').data]).toEqual([5, 5, 5, 6, 6, 6]);
  });
  it('reads from the middle of a buffer', () => {
    for (const name of ['jpeg 420', 'png palette4']) {
      const bytes = bytesOf(name);
      const inside = new Uint8Array(bytes.length + 9);
      inside.set(bytes, 5);
      expect(fnv(decodeImage(inside.subarray(5, 5 + bytes.length), name).data)).toBe(files[name]!.hash);
    }
  });
});

/** A JPEG header of 65,535 x 65,535 pixels. */
function hugeJpeg(): Uint8Array {
  const huge = bytesOf('jpeg 420');
  huge.set([0xff, 0xff, 0xff, 0xff], huge.findIndex((b, i) => b === 0xff && huge[i + 1] === 0xc0) + 5);
  return huge;
}

describe('decodeImage, tolerant', () => {
  const tolerant = { tolerant: true };
  const cutFiles = JSON.parse(readFileSync(new URL('../reference/cutJpegs.json', import.meta.url), 'utf8')) as Record<
    string,
    { base64: string; hash: number; cuts: { at: number; hash: number }[] }
  >;
  it.each(Object.keys(files).filter((n) => n !== 'jpeg cmyk'))('%s: a whole file is as ever, and complete', (name) => {
    const { complete, damage, ...image } = decodeImage(bytesOf(name), name, tolerant);
    expect([fnv(image.data), complete, damage]).toEqual([files[name]!.hash, 1, undefined]);
  });
  it.each(Object.keys(cutFiles))('cut-off JPEG %s: the pixels of libjpeg-turbo', (name) => {
    const { base64, hash, cuts } = cutFiles[name]!;
    const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
    const full = decodeImage(bytes, name, tolerant);
    expect([fnv(full.data), full.complete, full.damage]).toEqual([hash, 1, undefined]);
    let before = 0;
    for (const { at, hash: want } of cuts.slice(0, -1)) {
      const part = decodeImage(bytes.subarray(0, at), name, tolerant);
      expect(fnv(part.data), `cut at ${at}`).toBe(want);
      expect(part.damage).toBe('the JPEG file ends before its image does');
      expect(part.complete).toBeGreaterThan(before);
      expect(part.complete).toBeLessThan(1);
      before = part.complete!;
      // whole rows of blocks are those of the full picture, but for what chroma upsampling takes from the row below
      const rows = Math.floor(part.complete! * Math.ceil(full.height / 16)) * 16 - 1;
      const bytesSure = Math.max(0, rows) * full.width * 3;
      expect(Buffer.compare(part.data.subarray(0, bytesSure), full.data.subarray(0, bytesSure))).toBe(0);
      // with an end marker behind the cut it is the same picture
      const ended = Uint8Array.from([...bytes.subarray(0, at), 0xff, 0xd9]);
      expect(decodeImage(ended, name, tolerant).data).toEqual(part.data);
    }
    expect(before).toBeGreaterThan(0.7);
    expect(decodeImage(bytes.subarray(0, cuts.at(-1)!.at), name, tolerant).complete).toBe(1);
  });
  it('goes on behind damage at the next restart marker', () => {
    const file = levelsJpeg(levels);
    const want = Array.from({ length: 7 }, (_, row) => levels.slice(row * 9, row * 9 + 9));
    expect(levelRows(decodeImage(file, 'r').data)).toEqual(want);
    const markers = [...file.keys()].filter((i) => file[i] === 0xff && (file[i + 1]! & 0xf8) === 0xd0);
    expect(markers).toHaveLength(6);
    const without = (from: number, to: number) => Uint8Array.from([...file.subarray(0, from), ...file.subarray(to)]);
    const middle = (k: number) => markers[k]! + 6;
    for (const [damaged, lost] of [
      // part of the third row; the third row's end, the marker and the fourth row's beginning; three rows
      [without(middle(1), markers[2]!), [2]],
      [without(middle(1), middle(2)), [2, 3]],
      [without(middle(1), middle(4)), [2, 3, 4, 5]],
      // another marker in the way
      [Uint8Array.from([...file.subarray(0, middle(1)), 0xff, 0xc8, ...file.subarray(markers[2]!)]), [2]],
      [file.map((b, i) => (i === markers[2]! + 1 ? 0xc8 : b)), [3]],
      // nothing behind the damage
      [file.subarray(0, middle(1)), [2, 3, 4, 5, 6]],
    ] as const) {
      const part = decodeImage(damaged, 'd', tolerant);
      const rows = levelRows(part.data);
      for (let row = 0; row < 7; row++)
        if (!(lost as readonly number[]).includes(row))
          expect(rows[row], `row ${row}, lost ${lost}`).toEqual(want[row]);
      expect(part.damage).toBeDefined();
      expect(part.complete).toBeGreaterThanOrEqual((7 - lost.length) / 7 - 1e-9);
      expect(part.complete).toBeLessThan(1);
      expect(() => decodeImage(damaged, 'd')).toThrow(DataError);
    }
    const cut = decodeImage(file.subarray(0, markers[3]!), 'd', tolerant);
    expect(cut.complete).toBeCloseTo(4 / 7, 12);
    expect(
      levelRows(cut.data)
        .slice(4)
        .flat()
        .every((v) => v === 128),
    ).toBe(true);
  });
  it('gives a progressive JPEG as sharp as what arrived', () => {
    for (const name of ['jpeg 420p', 'jpeg 422p']) {
      const bytes = bytesOf(name);
      const full = decodeImage(bytes, name).data;
      const off = (data: Uint8Array) => data.reduce((sum, v, i) => sum + Math.abs(v - full[i]!), 0) / full.length;
      let complete = 0;
      let worst = 0;
      for (const share of [0.8, 0.9, 0.97]) {
        const part = decodeImage(bytes.subarray(0, Math.floor(bytes.length * share)), name, tolerant);
        expect(part.complete).toBeGreaterThanOrEqual(complete);
        expect(part.complete).toBeLessThan(1);
        expect(part.damage).toBeDefined();
        complete = part.complete!;
        worst = Math.max(worst, off(part.data));
      }
      expect(worst, name).toBeLessThan(40);
      expect(complete).toBeGreaterThan(0.2);
    }
  });
  it('gives the rows of a PNG that arrived', () => {
    const noise = { width: 30, height: 50, data: Uint8Array.from({ length: 4500 }, (_, i) => (i * i * 31) >> 5) };
    const whole = encodePng(noise);
    let before = 0;
    for (let cut = 100; cut < whole.length; cut += 331) {
      let part: ReturnType<typeof decodeImage>;
      try {
        part = decodeImage(whole.subarray(0, cut), 'p', tolerant);
      } catch (error) {
        expect(error).toBeInstanceOf(DataError);
        expect(before).toBe(0);
        continue;
      }
      expect(part.complete).toBeGreaterThanOrEqual(before);
      before = part.complete!;
      const rows = Math.round(part.complete! * 50);
      expect(part.data.subarray(0, rows * 90)).toEqual(noise.data.subarray(0, rows * 90));
      expect(part.data.subarray(rows * 90).every((v) => v === 128)).toBe(true);
      expect(part.damage).toMatch(/^damaged or incomplete PNG: /);
    }
    expect(before).toBeGreaterThan(0.5);
    // a wrong checksum of a chunk alone: the data has its own, which is right
    const idat = Buffer.from(whole).indexOf('IDAT');
    const length = new DataView(whole.buffer, whole.byteOffset).getUint32(idat - 4);
    const wrong = whole.slice();
    wrong[idat + 4 + length]! ^= 1;
    expect(() => decodeImage(wrong, 'p')).toThrow(DataError);
    const { damage, complete, ...saved } = decodeImage(wrong, 'p', tolerant);
    expect(saved).toEqual(noise);
    expect([complete, damage]).toEqual([1, expect.stringMatching(/CRC/)]);
    // damaged data in a single chunk leaves nothing that is sure; a damaged header neither
    for (const at of [idat + 40, 18]) {
      const bad = whole.slice();
      bad[at]! ^= 16;
      expect(() => decodeImage(bad, 'p', tolerant)).toThrow(/^p: damaged or incomplete PNG/);
    }
  });
  it('still refuses what is no picture, none of which arrived, or too large', () => {
    const bytes = bytesOf('jpeg 420');
    expect(() => decodeImage(new TextEncoder().encode('GIF89a....'), 'c', tolerant)).toThrow(DataError);
    expect(() => decodeImage(bytes.subarray(0, 300), 'c', tolerant)).toThrow(/^c: the JPEG file ends before/);
    expect(() => decodeImage(hugeJpeg(), 'h', tolerant)).toThrow(/^h: the image is 65535x65535/);
  });
  it('takes any damage', async () => {
    for (const name of Object.keys(files))
      await fuzz((b) => decodeImage(b, 'f', { tolerant: true, maxPixels: 1e5 }), bytesOf(name), 'f', {
        cuts: 40,
        flips: 80,
        numbers: 40,
      });
    const { read } = await fuzz(
      (b) => decodeImage(b, 'f', { tolerant: true, maxPixels: 1e5 }),
      levelsJpeg(levels),
      'f',
    );
    expect(read).toBeGreaterThan(100);
  });
});

/** A grey JPEG of 72x56 whose blocks have one level each, levels[row * 9 + column], with a restart marker after each row. */
function levelsJpeg(levels: readonly number[]): Uint8Array {
  const segment = (marker: number, ...body: number[]) => [0xff, marker, 0, body.length + 2, ...body];
  const out = [
    ...[0xff, 0xd8],
    ...segment(0xdb, 0, ...Array(64).fill(8)),
    ...segment(0xc0, 8, 0, 56, 0, 72, 1, 1, 0x11, 0),
    // twelve DC codes of four bits, and the end of a block in one bit
    ...segment(0xc4, 0, 0, 0, 0, 12, ...Array(12).fill(0), ...Array(12).keys()),
    ...segment(0xc4, 0x10, 1, ...Array(15).fill(0), 0),
    ...segment(0xdd, 0, 9),
    ...segment(0xda, 1, 1, 0, 0, 63, 0),
  ];
  for (let row = 0; row < 7; row++) {
    let bits = '';
    let prediction = 128;
    for (let column = 0; column < 9; column++) {
      const level = levels[row * 9 + column]!;
      const step = level - prediction;
      const size = step === 0 ? 0 : Math.floor(Math.log2(Math.abs(step))) + 1;
      bits += size.toString(2).padStart(4, '0');
      if (size > 0) bits += (step > 0 ? step : step + 2 ** size - 1).toString(2).padStart(size, '0');
      bits += '0';
      prediction = level;
    }
    while (bits.length % 8) bits += '1';
    for (let i = 0; i < bits.length; i += 8) {
      const byte = Number.parseInt(bits.slice(i, i + 8), 2);
      out.push(byte);
      if (byte === 0xff) out.push(0);
    }
    out.push(0xff, row < 6 ? 0xd0 + row : 0xd9);
  }
  return Uint8Array.from(out);
}
const levels = Array.from({ length: 63 }, (_, i) => (i * 89) % 256);
const levelRows = (data: Uint8Array) =>
  Array.from({ length: 7 }, (_, row) => Array.from({ length: 9 }, (_, x) => data[(row * 8 * 72 + x * 8) * 3]!));

describe('encode', () => {
  const face = { width: 40, height: 40, data: syntheticFace(1, 4, 2, 40) };
  it('PNG comes back as it went', () => {
    expect(decodeImage(encodePng(face), '')).toEqual(face);
  });
  it('JPEG comes back near, and near what another decoder reads', () => {
    const saved = (quality: number) => encodeJpeg(face, quality, { subsampling: '4:4:4' });
    const bytes = saved(95);
    const back = decodeImage(bytes, '').data;
    const other = jpegJs.decode(bytes, { useTArray: true, formatAsRGBA: false }).data;
    const mean = (a: Uint8Array, b: Uint8Array) => a.reduce((s, v, i) => s + Math.abs(v - b[i]!), 0) / a.length;
    expect(mean(back, other)).toBeLessThan(1);
    expect(mean(back, face.data)).toBeLessThan(mean(decodeImage(saved(30), '').data, face.data) / 2);
  });
  it('refuses pixels that do not fit', () => {
    expect(() => encodePng({ width: 2, height: 2, data: new Uint8Array(11) })).toThrow(
      /2x2 RGB pixels are 12 bytes, got 11/,
    );
    expect(() => encodeJpeg({ width: 0, height: 2, data: new Uint8Array(0) })).toThrow(/whole and positive/);
    expect(() => encodeJpeg(face, 0)).toThrow(/quality must be 1 to 100/);
  });
});

const golden = new URL('weights/golden/', shared);
const present = existsSync(golden);
if (!present) console.log(`skipped: no real photographs under ${shared.pathname}, decoding of LFW crops not compared`);
describe.skipIf(!present)('real photographs', () => {
  it('LFW crops decode to the reference bytes', () => {
    const names = readFileSync(new URL('images.txt', golden), 'utf8').split('\n');
    const npy = readFileSync(new URL('pixels_first32.npy', golden));
    const one = 112 * 112 * 3;
    const pixels = npy.subarray(npy.length - 32 * one);
    for (let i = 0; i < 32; i++) {
      const image = decodeImage(readFileSync(new URL(`verify/lfw112/${names[i]}`, shared)), names[i]!);
      expect(Buffer.compare(image.data, pixels.subarray(i * one, (i + 1) * one)), names[i]).toBe(0);
    }
  });
});
