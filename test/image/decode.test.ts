import { existsSync, readFileSync } from 'node:fs';
import { encode as encodeAnyPng } from 'fast-png';
import jpegJs from 'jpeg-js';
import { describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { DataError } from '../../src/core/errors.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../src/image/encode.ts';
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
    const huge = bytesOf('jpeg 420');
    const frame = huge.findIndex((b, i) => b === 0xff && huge[i + 1] === 0xc0);
    huge.set([0xff, 0xff, 0xff, 0xff], frame + 5);
    expect(() => decodeImage(huge, 'h.jpg')).toThrow(/^h\.jpg: the image is 65535x65535, .* the limit is 100\n/);
    const png = bytesOf('png palette8');
    png.set([0, 1, 0, 0], 16);
    png.set([0, 1, 0, 0], 20);
    expect(() => decodeImage(png, 'h.png')).toThrow(/^h\.png: the image is 65536x65536/);
    expect(() => decodeImage(bytesOf('jpeg 420'), 'x', { maxPixels: 27 * 21 })).not.toThrow();
    expect(() => decodeImage(bytesOf('jpeg 420'), 'x', { maxPixels: 27 * 21 - 1 })).toThrow(DataError);
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

describe('encode', () => {
  const face = { width: 40, height: 40, data: syntheticFace(1, 4, 2, 40) };
  it('PNG comes back as it went', () => {
    expect(decodeImage(encodePng(face), '')).toEqual(face);
  });
  it('JPEG comes back near, and near what another decoder reads', () => {
    const bytes = encodeJpeg(face, 95);
    const back = decodeImage(bytes, '').data;
    const other = jpegJs.decode(bytes, { useTArray: true, formatAsRGBA: false }).data;
    const mean = (a: Uint8Array, b: Uint8Array) => a.reduce((s, v, i) => s + Math.abs(v - b[i]!), 0) / a.length;
    expect(mean(back, other)).toBeLessThan(1);
    expect(mean(back, face.data)).toBeLessThan(mean(decodeImage(encodeJpeg(face, 30), '').data, face.data) / 2);
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
