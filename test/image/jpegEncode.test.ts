/** The JPEG encoder against Pillow and OpenCV (test/reference/jpegEncode.py), jpeg-js, and its own decoder. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import jpegJs from 'jpeg-js';
import { describe, expect, it, test } from 'vitest';
import { ShapeError, UsageError } from '../../src/core/errors.ts';
import { fold, keyOf, threefry } from '../../src/core/random.ts';
import { encodeJpeg, type Subsampling } from '../../src/image/encode.ts';
import { pictureFacts } from '../../src/image/facts.ts';
import { decodeJpeg, type RgbImage } from '../../src/image/jpeg.ts';
import { createQuantiser, quantise } from '../../src/image/jpegForwardDct.ts';
import golden from '../reference/jpegEncode.json' with { type: 'json' };

const hashed = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const decoded = (bytes: Uint8Array) => decodeJpeg(bytes, 'encoded', 1e6);
const subsamplings: Subsampling[] = ['4:4:4', '4:2:2', '4:2:0'];

/** Pictures of jpegEncode.py, drawn from the same numbers. */
const key = fold(keyOf(5), 'jpegEncode');
function noise(width: number, height: number): RgbImage {
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) data[i] = threefry(key, i, 0)[0] & 255;
  return { width, height, data };
}
function face(width: number, height: number): RgbImage {
  const { data } = noise(width, height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const u = Math.floor(((2 * x + 1) * 64) / width) - 64;
      const v = Math.floor(((2 * y + 1) * 64) / height) - 64;
      const head = u * u * 25 + v * v * 16;
      let colour = [40 + Math.floor(u / 2) + 64, 90 + Math.floor(v / 4), 150 - Math.floor(u / 2)];
      if (head < 48400) colour = [205, 158, 132];
      if (head < 52900 && v < -24) colour = [52, 38, 30];
      for (const centre of [-19, 19]) {
        if ((u - centre) ** 2 + (v + 8) ** 2 * 4 < 100) colour = [240, 240, 238];
        if ((u - centre) ** 2 + (v + 8) ** 2 < 16) colour = [30, 60, 90];
      }
      if (u * u + (v - 28) ** 2 * 12 < 360) colour = [170, 60, 66];
      for (const level of colour) data[i] = Math.min(255, Math.max(0, level + (data[i++]! & 7) - 4));
    }
  return { width, height, data };
}
const draw: Record<string, (width: number, height: number) => RgbImage> = {
  noise,
  face,
  extremes: (width, height) => ({ width, height, data: noise(width, height).data.map((v) => (v & 1) * 255) }),
  flat: (width, height) => ({
    width,
    height,
    data: Uint8Array.from({ length: 3 * width * height }, (_, i) => [200, 30, 90][i % 3]!),
  }),
};
function pictureOf(name: string): RgbImage {
  const [kind, size] = name.split(' ') as [string, string];
  const [width, height] = size.split('x').map(Number) as [number, number];
  return draw[kind]!(width, height);
}

describe('writes the bytes of libjpeg-turbo', () => {
  test.each(Object.entries(golden.pictures))('%s', (name, hash) => {
    const image = pictureOf(name);
    expect(hashed(image.data), 'the picture itself').toBe(hash);
    for (const subsampling of subsamplings) {
      const got = golden.qualities.map((quality) => hashed(encodeJpeg(image, quality, { subsampling })));
      expect(got, subsampling).toEqual((golden.files as Record<string, string[]>)[`${name} ${subsampling}`]);
    }
  });
  it('a whole file, to be looked at', () => {
    const got = Buffer.from(encodeJpeg(face(7, 9), 90)).toString('base64');
    expect(got).toBe(golden['face 7x9 4:2:0 90']);
  });
  it('of every quality', () => {
    const image = face(16, 16);
    const all = Array.from({ length: 100 }, (_, i) => encodeJpeg(image, i + 1));
    expect(hashed(Buffer.concat(all))).toBe(golden['face 16x16 4:2:0 1 to 100']);
  });
  it('where the file is larger than the room that is kept', () => {
    const bytes = encodeJpeg(noise(640, 480), 100, { subsampling: '4:4:4' });
    expect(bytes.length).toBeGreaterThan(1 << 20);
    expect(hashed(bytes)).toBe(golden['noise 640x480 4:4:4 100']);
    expect(hashed(encodeJpeg(face(112, 112)))).toBe(golden['default face 112x112']);
  });
  it('by default as those programs by default', () => {
    const bytes = encodeJpeg(face(112, 112));
    expect(hashed(bytes)).toBe(golden['default face 112x112']);
    expect(pictureFacts(bytes, 'default')).toMatchObject({ subsampling: '4:2:0', progressive: false });
  });
});

/** Any picture of 1 to 40 pixels a side: noise about a few colours, so that smooth and rough blocks occur. */
const pictures = fc
  .tuple(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 0, max: 1e6 }),
    fc.constantFrom(0, 1, 15, 255),
  )
  .map(([width, height, seed, rough]): RgbImage => {
    const own = keyOf(seed);
    const data = new Uint8Array(3 * width * height);
    for (let i = 0; i < data.length; i++) {
      const block = (Math.floor(i / 3 / 11) % 5) + 5 * (i % 3);
      data[i] = (threefry(own, block, 1)[1] & 255) ^ (threefry(own, i, 0)[0] & rough);
    }
    return { width, height, data };
  });
const qualities = fc.integer({ min: 1, max: 100 });
const meanError = (a: Uint8Array, b: Uint8Array) => a.reduce((s, v, i) => s + Math.abs(v - b[i]!), 0) / a.length;
const worstError = (a: Uint8Array, b: Uint8Array) => a.reduce((s, v, i) => Math.max(s, Math.abs(v - b[i]!)), 0);

describe('any picture', () => {
  it('comes back at its size, of every quality and subsampling, by two decoders', () => {
    fc.assert(
      fc.property(pictures, qualities, fc.constantFrom(...subsamplings), (image, quality, subsampling) => {
        const bytes = encodeJpeg(image, quality, { subsampling });
        const back = decoded(bytes);
        expect([back.width, back.height]).toEqual([image.width, image.height]);
        const other = jpegJs.decode(bytes, { useTArray: true, formatAsRGBA: false });
        expect([other.width, other.height]).toEqual([image.width, image.height]);
        // they upsample chroma in different ways
        if (subsampling === '4:4:4') expect(worstError(back.data, other.data)).toBeLessThanOrEqual(4);
      }),
      { numRuns: 150 },
    );
  });
  it('is nearly unchanged by quality 100 with all its chroma', () => {
    fc.assert(
      fc.property(pictures, (image) => {
        const back = decoded(encodeJpeg(image, 100, { subsampling: '4:4:4' })).data;
        expect(worstError(back, image.data)).toBeLessThanOrEqual(5);
      }),
    );
  });
  it('gets the same bytes whatever was written before it', () => {
    fc.assert(
      fc.property(pictures, pictures, qualities, (a, b, quality) => {
        const first = encodeJpeg(a, quality);
        const copy = first.slice();
        encodeJpeg(b, 100, { subsampling: '4:4:4' });
        encodeJpeg(b, 7, { subsampling: '4:2:2' });
        expect(first).toEqual(copy);
        expect(encodeJpeg(a, quality)).toEqual(copy);
      }),
      { numRuns: 50 },
    );
  });
  it('differs less from the original the higher the quality, and less with more chroma', () => {
    for (const image of [noise(33, 17), face(112, 112), noise(64, 64)])
      for (const subsampling of subsamplings) {
        const errors = [5, 25, 60, 90, 100].map((quality) =>
          meanError(decoded(encodeJpeg(image, quality, { subsampling })).data, image.data),
        );
        expect(errors).toEqual([...errors].sort((a, b) => b - a));
        expect(errors[4]).toBeLessThan(errors[0]! * 0.95);
      }
    const errors = subsamplings.map((subsampling) =>
      meanError(decoded(encodeJpeg(noise(64, 64), 95, { subsampling })).data, noise(64, 64).data),
    );
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
  });
  it('is as near to the original as by another encoder', () => {
    const { width, height, data } = face(112, 112);
    const rgba = new Uint8Array(4 * width * height).fill(255);
    for (let i = 0; i < data.length; i++) rgba[4 * Math.floor(i / 3) + (i % 3)] = data[i]!;
    for (const quality of [30, 75, 95]) {
      const other = new Uint8Array(jpegJs.encode({ width, height, data: rgba }, quality).data);
      const ours = encodeJpeg({ width, height, data }, quality, { subsampling: '4:4:4' });
      expect(meanError(decoded(ours).data, data)).toBeLessThan(1.02 * meanError(decoded(other).data, data));
      expect(Math.abs(ours.length / other.length - 1)).toBeLessThan(0.05);
    }
  });
});

it('quantises as division does, halves away from zero', () => {
  const block = new Int32Array(64);
  let wrong = 0;
  for (let step = 1; step <= 255; step++) {
    const quantiser = createQuantiser(new Uint8Array(64).fill(step));
    for (let first = 0; first < 9000; first += 64)
      for (const sign of [1, -1]) {
        for (let i = 0; i < 64; i++) block[i] = sign * (first + i);
        quantise(block, quantiser);
        for (let i = 0; i < 64; i++) {
          const n = first + i + 4 * step;
          if (block[i] !== (sign * (n - (n % (8 * step)))) / (8 * step) + 0) wrong++;
        }
      }
  }
  expect(wrong).toBe(0);
});

describe('refuses', () => {
  const image = noise(2, 2);
  it('qualities and subsamplings there are none of', () => {
    for (const quality of [0, 101, 50.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => encodeJpeg(image, quality)).toThrow(UsageError);
    expect(() => encodeJpeg(image, 90, { subsampling: '4:1:1' as '4:2:0' })).toThrow(
      /subsampling must be one of 4:4:4, 4:2:2, 4:2:0, got 4:1:1/,
    );
  });
  it('pixels that do not fit, and sides that libjpeg does not read', () => {
    expect(() => encodeJpeg({ ...image, width: 3 })).toThrow(ShapeError);
    const long = { width: 65501, height: 1, data: new Uint8Array(3 * 65501) };
    expect(() => encodeJpeg(long)).toThrow(/65500 pixels a side, got 65501x1/);
    const bytes = encodeJpeg({ width: 1, height: 65500, data: new Uint8Array(3 * 65500) });
    expect(decoded(bytes)).toMatchObject({ width: 1, height: 65500 });
  });
});
