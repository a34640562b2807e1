/** Pictures made to take memory or time: headers of 65535 x 65535, passes without end, what unpacks to much. */
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { checkPicture } from '../../src/data/inspect/check.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { encodePng } from '../../src/image/encode.ts';
import { pictureFacts } from '../../src/image/facts.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { chunk, interlacedPng, jpegHeader, pngFile, progressiveJpeg } from '../helpers/hostilePictures.ts';
import { picture } from '../helpers/pictures.ts';
import { files } from './files.ts';

const base64 = (name: string) => new Uint8Array(Buffer.from(files[name]!.base64, 'base64'));

/** 200 MB of zeros, packed. */
let packed: Uint8Array | undefined;
const much = () => {
  packed ??= deflateSync(Buffer.alloc(200e6));
  return packed;
};

/** What f throws, in a second or two, and with little memory. */
function refusal(f: () => unknown): string {
  const start = performance.now();
  const before = process.memoryUsage().rss;
  let message = '';
  try {
    f();
  } catch (error) {
    expect((error as Error).name, (error as Error).stack).toBe('DataError');
    message = (error as Error).message;
  }
  expect(performance.now() - start).toBeLessThan(2000);
  expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
  return message;
}

describe('a header that promises more than there is', () => {
  it('of 65535 x 65535 is refused by its size', () => {
    for (const file of [
      jpegHeader(0xc0, 65535, 65535),
      jpegHeader(0xc2, 65535, 65535),
      pngFile(65535, 65535, 16, 2, 0),
      pngFile(65535, 65535, 8, 3, 0),
      pngFile(65535, 65535, 1, 0, 1),
      pngFile(2 ** 31 - 1, 2 ** 31 - 1, 16, 6, 1),
      pngFile(2 ** 32 - 1, 1, 8, 2, 0),
    ])
      for (const tolerant of [false, true])
        expect(refusal(() => decodeImage(file, 'f', { tolerant }))).toMatch(/^f: the image is \d+x\d+, .* megapixels/);
  });
  it('of 9999 x 9999 is refused before its memory is taken', () => {
    for (const tolerant of [false, true]) {
      for (const file of [jpegHeader(0xc0, 9999, 9999), jpegHeader(0xc2, 9999, 9999)])
        expect(refusal(() => decodeImage(file, 'f', { tolerant }))).toMatch(/^f: the JPEG file ends before/);
      for (const [depth, colour, interlace] of [
        [16, 6, 0],
        [8, 3, 1],
        [8, 2, 1],
      ] as const)
        expect(refusal(() => decodeImage(pngFile(9999, 9999, depth, colour, interlace), 'f', { tolerant }))).toMatch(
          /^f: damaged or incomplete PNG: fewer pixels/,
        );
    }
  });
  it('that comes again in a PNG is refused', () => {
    const good = encodePng(picture(0, 0, 8));
    const again = Buffer.concat([
      good.subarray(0, 33),
      pngFile(60000, 60000, 8, 0, 1).subarray(8, 33),
      good.subarray(33),
    ]);
    expect(refusal(() => decodeImage(again, 'f'))).toMatch(/^f: damaged .*there twice/);
  });
  it('that ends at once is a DataError', () => {
    const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
    const frame = 'ffd8ffc0000b080008000801011100';
    for (const hex of ['ffd8ffc00002', 'ffd8ffc20002', `${frame}ffda0002`, `${frame}ffda0003`, `${frame}ffda000301`]) {
      expect(refusal(() => decodeImage(bytes(hex), 'f'))).toMatch(/^f: /);
      expect(refusal(() => decodeImage(bytes(hex), 'f', { tolerant: true }))).toMatch(/^f: /);
      expect(checkPicture({ bytes: bytes(hex) }, 'f')).toMatchObject({ ok: false });
    }
    expect(refusal(() => pictureFacts(bytes('ffd8ffc00002'), 'f'))).toMatch(/^f: a damaged JPEG frame header/);
  });
});

describe('passes of a progressive JPEG', () => {
  it('are read, as many as an encoder makes', () => {
    const plain = decodeImage(progressiveJpeg(64, 64, 0), 'f');
    expect([plain.width, plain.data.every((v) => v === 128)]).toEqual([64, true]);
    // 13 refinements of all coefficients, which is the most that the format has
    expect(decodeImage(progressiveJpeg(1024, 1024, 13), 'f').data.every((v) => v === 128)).toBe(true);
  });
  it('are refused where they take time without end', () => {
    const file = progressiveJpeg(2000, 2000, 20_000);
    expect(file.length).toBeLessThan(500_000);
    for (const tolerant of [false, true]) {
      const start = performance.now();
      let message = '';
      try {
        message = decodeImage(file, 'f', { tolerant }).damage ?? '';
      } catch (error) {
        expect(error).toBeInstanceOf(DataError);
        message = (error as Error).message;
      }
      expect(message).toMatch(/more passes over its picture/);
      expect(performance.now() - start).toBeLessThan(5000);
    }
  });
});

describe('PNG files', () => {
  it('with a profile that unpacks to much are read without it', () => {
    const good = encodePng(picture(0, 0, 8));
    const profile = Buffer.concat([Buffer.from('x\0\0'), much()]);
    const bomb = Buffer.concat([good.subarray(0, 33), chunk('iCCP', profile), good.subarray(33)]);
    expect(bomb.length).toBeLessThan(500_000);
    expect(refusal(() => expect(decodeImage(bomb, 'f').data).toEqual(picture(0, 0, 8).data))).toBe('');
    bomb[60]! ^= 1;
    expect(refusal(() => decodeImage(bomb, 'f'))).toMatch(/^f: damaged or incomplete PNG/);
  });
  it('whose data unpack to much are refused', () => {
    for (const interlace of [0, 1]) {
      const file = pngFile(8, 8, 8, 2, interlace, much());
      expect(refusal(() => decodeImage(file, 'f'))).toMatch(/^f: .*far more image data/);
    }
  });
  it('in passes give the pixels that they hold', () => {
    const image = picture(3, 1, 13);
    expect(decodeImage(interlacedPng(image), 'f')).toEqual(image);
  });
});

describe('damaged pictures', () => {
  it('are read or refused, strictly and tolerantly', async () => {
    const all: Record<string, Uint8Array> = Object.fromEntries(Object.keys(files).map((name) => [name, base64(name)]));
    all['png in passes'] = interlacedPng(picture(1, 1, 9));
    all['jpeg in many passes'] = progressiveJpeg(24, 24, 12);
    for (const bytes of Object.values(all))
      await fuzz(
        (b) => {
          pictureFacts(b, 'f');
          for (const tolerant of [false, true]) decodeImage(b, 'f', { tolerant, maxPixels: 1e5 });
        },
        bytes,
        'f',
        { cuts: 40, flips: 60, numbers: 60 },
      );
  });
});
