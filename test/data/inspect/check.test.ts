import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { encode as encodeAnyPng } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { syntheticFace } from '../../../datasets/synthetic.ts';
import { DataError } from '../../../src/core/errors.ts';
import { checkPicture, repairPicture } from '../../../src/data/inspect/check.ts';
import { decodeImage } from '../../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../../src/image/encode.ts';
import { pictureFacts } from '../../../src/image/facts.ts';
import { resize } from '../../../src/image/resize.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { files } from '../../image/files.ts';

const bytesOf = (name: string) => new Uint8Array(Buffer.from(files[name]!.base64, 'base64'));
const face = { width: 48, height: 40, data: syntheticFace(1, 4, 2, 48).slice(0, 48 * 40 * 3) };
const jpeg = encodeJpeg(face);
const png = encodePng(face);
/** With a segment behind the start marker. */
const withSegment = (file: Uint8Array, marker: number, body: readonly number[]) =>
  Uint8Array.from([...file.subarray(0, 2), 0xff, marker, 0, body.length + 2, ...body, ...file.subarray(2)]);
const exif = (little: boolean, value: number) => {
  const two = (n: number) => (little ? [n, 0] : [0, n]);
  const four = (n: number) => (little ? [n, 0, 0, 0] : [0, 0, 0, n]);
  const tag = (low: number) => (little ? [low, 1] : [1, low]);
  const head = little ? [0x49, 0x49, 42, 0] : [0x4d, 0x4d, 0, 42];
  const entry = (low: number, v: number) => [...tag(low), ...two(3), ...four(1), ...two(v), 0, 0];
  return [
    ...Buffer.from('Exif\0\0'),
    ...head,
    ...four(8),
    ...two(2),
    ...entry(0, 7),
    ...entry(0x12, value),
    ...four(0),
  ];
};

describe('pictureFacts', () => {
  it('reads them from the header', () => {
    const plain = { format: 'jpeg', width: 27, height: 21, channels: 3, bits: 8, progressive: false };
    expect(pictureFacts(bytesOf('jpeg 420'), 'x')).toEqual({ ...plain, subsampling: '4:2:0' });
    expect(pictureFacts(bytesOf('jpeg 422p'), 'x')).toMatchObject({ subsampling: '4:2:2', progressive: true });
    expect(pictureFacts(bytesOf('jpeg 444'), 'x')).toMatchObject({ subsampling: '4:4:4', progressive: false });
    expect(pictureFacts(bytesOf('jpeg grey'), 'x').channels).toBe(1);
    expect(pictureFacts(bytesOf('jpeg grey'), 'x')).not.toHaveProperty('subsampling');
    expect(pictureFacts(bytesOf('jpeg cmyk'), 'x').channels).toBe(4);
    expect(pictureFacts(png, 'x')).toEqual({
      ...{ format: 'png', width: 48, height: 40, channels: 3, bits: 8, progressive: false },
    });
    expect(pictureFacts(bytesOf('png palette4'), 'x')).toMatchObject({ channels: 3, bits: 4 });
    expect(pictureFacts(bytesOf('png grey2'), 'x')).toMatchObject({ channels: 1, bits: 2 });
  });
  it('agrees with what decoding gives', () => {
    for (const name of Object.keys(files).filter((n) => n !== 'jpeg cmyk')) {
      const { width, height } = decodeImage(bytesOf(name), name);
      expect(pictureFacts(bytesOf(name), name), name).toMatchObject({ width, height });
    }
  });
  it('finds the orientation in EXIF of either byte order', () => {
    for (const little of [true, false]) {
      const turned = pictureFacts(withSegment(jpeg, 0xe1, exif(little, 6)), 'x');
      expect(turned).toEqual({ ...pictureFacts(jpeg, 'x'), orientation: 6 });
      expect(pictureFacts(withSegment(jpeg, 0xe1, exif(little, 1)), 'x')).not.toHaveProperty('orientation');
      expect(pictureFacts(withSegment(jpeg, 0xe1, exif(little, 9)), 'x')).not.toHaveProperty('orientation');
      for (const n of [5, 8, 15, 20, 30])
        expect(pictureFacts(withSegment(jpeg, 0xe1, exif(little, 6).slice(0, n)), 'x').width).toBe(48);
    }
    expect(pictureFacts(withSegment(jpeg, 0xe1, [...Buffer.from('http://ns.adobe')]), 'x').width).toBe(48);
  });
  it('needs the header alone, whatever size that states, and refuses less', async () => {
    const frame = Buffer.from(jpeg).indexOf(Buffer.of(0xff, 0xc0));
    const head = jpeg.slice(0, frame + 2 + 17);
    expect(pictureFacts(head, 'x')).toEqual(pictureFacts(jpeg, 'x'));
    head.set([0xff, 0xff, 0xff, 0xff], frame + 5);
    const before = process.memoryUsage().rss;
    expect(pictureFacts(head, 'x')).toMatchObject({ width: 65535, height: 65535 });
    expect(checkPicture({ bytes: head }, 'x')).toMatchObject({
      ok: false,
      repairable: false,
      problem: expect.stringMatching(/^the image is 65535x65535/),
      facts: { width: 65535 },
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
    for (const n of [0, 1, 2, 3, 20, frame + 3, frame + 10])
      expect(() => pictureFacts(jpeg.subarray(0, n), 'some/x')).toThrow(/^some\/x: /);
    for (const name of ['jpeg 420', 'jpeg 420p', 'png palette8'])
      await fuzz((b) => pictureFacts(b, 'f'), bytesOf(name), 'f');
    await fuzz((b) => pictureFacts(b, 'f'), withSegment(jpeg, 0xe1, exif(true, 6)).slice(0, 300), 'f');
  });
});

describe('checkPicture', () => {
  it('finds nothing wrong with whole pictures', () => {
    for (const bytes of [jpeg, png])
      expect(checkPicture({ bytes }, 'x')).toEqual({
        ...{ format: bytes === jpeg ? 'jpeg' : 'png', bytes: bytes.length, ok: true },
        ...{ facts: pictureFacts(bytes, 'x'), image: decodeImage(bytes, 'x') },
      });
    const raw = { bytes: face.data, raw: { width: 48, height: 40 } };
    expect(checkPicture(raw, 'x')).toEqual({ format: 'raw', bytes: 5760, ok: true, image: face });
    expect(checkPicture(raw, 'x', { size: [40, 48], rgb: true }).ok).toBe(true);
  });
  it('says what is wrong, and whether it can be saved', () => {
    const text = (s: string) => ({ bytes: new TextEncoder().encode(s) });
    expect(checkPicture(text('<html>'), 'x')).toMatchObject({
      ...{ format: 'unknown', ok: false, repairable: false, problem: expect.stringMatching(/failed download/) },
    });
    expect(checkPicture({ bytes: bytesOf('jpeg cmyk') }, 'x')).toMatchObject({
      ...{ format: 'jpeg', ok: false, repairable: false, problem: 'CMYK JPEG is not supported' },
    });
    expect(checkPicture({ bytes: face.data.subarray(1), raw: { width: 48, height: 40 } }, 'x')).toMatchObject({
      ...{ ok: false, repairable: false, problem: '48x40 pixels are 5760 bytes, got 5759' },
    });
    expect(checkPicture({ bytes: jpeg }, 'x', { size: [112, 112] })).toMatchObject({
      ...{ ok: false, repairable: true, problem: '48x40 pixels, expected 112x112' },
    });
    expect(checkPicture({ bytes: bytesOf('jpeg grey') }, 'x').ok).toBe(true);
    expect(checkPicture({ bytes: bytesOf('jpeg grey') }, 'x', { rgb: true }).problem).toBe(
      '1 channels of 8 bits, expected 3 of 8',
    );
  });
  it('finds a cut-off picture repairable by the share that arrived', () => {
    for (const cut of [0.95, 0.8, 0.7]) {
      const bytes = jpeg.subarray(0, Math.floor(jpeg.length * cut));
      const { complete } = decodeImage(bytes, 'x', { tolerant: true });
      const at = (least: number) => checkPicture({ bytes }, 'x', { least });
      expect(at(complete! - 0.01)).toMatchObject({ ok: false, repairable: true, complete, repaired: at(0).problem });
      expect(at(complete! + 0.01)).toMatchObject({ ok: false, repairable: false, complete });
      expect(at(complete! + 0.01)).not.toHaveProperty('image');
    }
  });
});

describe('repairPicture', () => {
  it('leaves alone what is right or lost', () => {
    expect(repairPicture({ bytes: jpeg }, 'x')).toBeUndefined();
    expect(repairPicture({ bytes: new Uint8Array(9) }, 'x')).toBeUndefined();
    expect(repairPicture({ bytes: jpeg.subarray(0, 640) }, 'x')).toBeUndefined();
  });
  it('encodes what arrived anew', () => {
    const cut = jpeg.subarray(0, jpeg.length - 60);
    const saved = repairPicture({ bytes: cut }, 'x')!;
    expect(saved.repaired).toBe('the JPEG file ends before its image does');
    const got = decodeImage(saved.bytes, 'y').data;
    const want = decodeImage(cut, 'x', { tolerant: true }).data;
    expect(got.reduce((sum, v, i) => sum + Math.abs(v - want[i]!), 0) / want.length).toBeLessThan(3);
    const wrong = png.slice();
    wrong[wrong.length - 14]! ^= 255;
    const again = repairPicture({ bytes: wrong }, 'x')!;
    expect(decodeImage(again.bytes, 'y')).toEqual(face);
  });
  it('mends size and channels', () => {
    const grey = encodeAnyPng({ width: 2, height: 1, data: Uint8Array.of(7, 9), channels: 1 });
    const saved = repairPicture({ bytes: grey }, 'x', { rgb: true })!;
    expect(pictureFacts(saved.bytes, 'y').channels).toBe(3);
    expect([...decodeImage(saved.bytes, 'y').data]).toEqual([7, 7, 7, 9, 9, 9]);
    expect(repairPicture({ bytes: saved.bytes }, 'x', { rgb: true })).toBeUndefined();
    const raw = repairPicture({ bytes: face.data, raw: { width: 48, height: 40 } }, 'x', { size: [20, 24] })!;
    expect(raw.raw).toEqual({ width: 24, height: 20 });
    expect(raw.bytes).toEqual(resize(face, 24, 20).data);
    const small = repairPicture({ bytes: jpeg }, 'x', { size: [20, 24], quality: 90 })!;
    expect(pictureFacts(small.bytes, 'y')).toMatchObject({ format: 'jpeg', width: 24, height: 20 });
  });
  it('keeps the resolution of chroma', () => {
    for (const [stored, then] of [
      ['4:2:0', '4:2:0'],
      ['4:2:2', '4:4:4'],
      ['4:4:4', '4:4:4'],
    ] as const) {
      const bytes = encodeJpeg(face, 95, { subsampling: stored });
      const saved = repairPicture({ bytes }, 'x', { size: [20, 24] })!;
      expect(pictureFacts(saved.bytes, 'y').subsampling).toBe(then);
    }
  });
  it('takes any damage', async () => {
    const run = (b: Uint8Array) => {
      const { ok, repairable } = checkPicture({ bytes: b }, 'f');
      const saved = repairPicture({ bytes: b }, 'f');
      expect(saved !== undefined).toBe(!ok && repairable);
      if (saved) expect(checkPicture(saved, 'f').ok).toBe(true);
      else if (!ok) throw new DataError('f: refused');
    };
    const small = { width: 16, height: 16, data: resize(face, 16, 16).data };
    for (const file of [encodeJpeg(small, 60), encodePng(small)])
      await fuzz(run, file, 'f', { cuts: 60, flips: 100, numbers: 60 });
  });
});

const lfw = new URL('../../../../shared/data/verify/lfw112/', import.meta.url);
const present = existsSync(lfw);
if (!present) console.log(`skipped: no real photographs under ${lfw.pathname}, cut-off crops not saved`);
describe.skipIf(!present)('real photographs', () => {
  it('cut off at four fifths give their upper part', () => {
    const people = readdirSync(lfw, { withFileTypes: true }).filter((e) => e.isDirectory());
    for (const { name } of people.slice(0, 8)) {
      const folder = new URL(`${encodeURIComponent(name)}/`, lfw);
      const bytes = new Uint8Array(readFileSync(new URL(readdirSync(folder)[0]!, folder)));
      const full = checkPicture({ bytes }, name, { size: [112, 112], rgb: true });
      expect(full).toMatchObject({ ok: true, facts: { channels: 3, subsampling: '4:2:0' } });
      const cut = checkPicture({ bytes: bytes.subarray(0, Math.floor(bytes.length * 0.8)) }, name);
      expect(cut.repairable).toBe(true);
      expect(cut.complete).toBeGreaterThan(0.6);
      const sure = (Math.floor(cut.complete! * 7) * 16 - 1) * 112 * 3;
      expect(Buffer.compare(cut.image!.data.subarray(0, sure), full.image!.data.subarray(0, sure))).toBe(0);
    }
  });
});
