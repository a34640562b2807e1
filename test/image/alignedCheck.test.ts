import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { keyOf, uniform } from '../../src/core/random.ts';
import { alignFace, type CropSize, faceTemplate, similarity, warpAffine } from '../../src/image/align.ts';
import { looksAligned, looksAlignedSet } from '../../src/image/alignedCheck.ts';
import { decodeImage, type RgbImage } from '../../src/image/decode.ts';
import { resize } from '../../src/image/resize.ts';

/** A photograph of a simple face of hard-edged shapes, 300x300, with its eye distance 60, and its five points. */
function drawn(skin: number, dark: number, back: number): { photo: RgbImage; points: number[] } {
  const points = [120, 140, 180, 140, 150, 174, 126, 209, 174, 209];
  const data = new Uint8Array(300 * 300 * 3);
  const grain = uniform(keyOf(skin), 300 * 300);
  const within = (x: number, y: number, cx: number, cy: number, rx: number, ry: number) =>
    ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1;
  for (let y = 0, i = 0; y < 300; y++)
    for (let x = 0; x < 300; x++, i++) {
      let v = back;
      if (within(x, y, 150, 160, 82, 105)) v = dark + 20; // hair
      if (within(x, y, 150, 170, 66, 90)) v = skin;
      for (const ex of [120, 180]) {
        if (within(x, y, ex, 140, 14, 7)) v = dark;
        if (within(x, y, ex, 124, 18, 4)) v = dark + 20;
      }
      if (within(x, y, 150, 184, 14, 4)) v = skin - 45;
      if (within(x, y, 150, 207, 24, 6)) v = dark + 30;
      data.fill(Math.round(v + 10 * grain[i]!), 3 * i, 3 * i + 3);
    }
  return { photo: { width: 300, height: 300, data }, points };
}
/** The face of a photograph placed wrongly: scaled and turned about the middle of its template, then moved. */
function misplaced(
  photo: RgbImage,
  points: readonly number[],
  scale: number,
  degrees: number,
  dx = 0,
  dy = 0,
): RgbImage {
  const c = scale * Math.cos((degrees * Math.PI) / 180);
  const s = scale * Math.sin((degrees * Math.PI) / 180);
  const to = faceTemplate([112, 112]);
  const moved = to.map((_, i) => {
    const x = to[i & ~1]! - 56;
    const y = to[i | 1]! - 72;
    return i % 2 ? s * x + c * y + 72 + dy : c * x - s * y + 56 + dx;
  });
  return warpAffine(photo, similarity(points, moved), 112, 112);
}
const wrongly = {
  'moved to a side': [1, 0, 24, 0],
  'moved up': [1, 0, 0, -24],
  'moved down': [1, 0, 0, 24],
  'too small': [0.55, 0],
  'too large': [1.7, 0],
  'turned by 45 degrees': [1, 45],
  'turned by -90 degrees': [1, -90],
  'upside down': [1, 180],
} as const;

describe('looksAligned', () => {
  const faces = [drawn(200, 40, 90), drawn(120, 20, 180), drawn(170, 90, 100)];
  const sizes: CropSize[] = [
    [112, 112],
    [112, 96],
    [128, 128],
    [96, 96],
    [160, 160],
    [64, 64],
    [224, 224],
  ];
  it.each(sizes)('a face at the template of %ix%i passes', (...size) => {
    for (const { photo, points } of faces) {
      const crop = alignFace(photo, points, size);
      const check = looksAligned(crop);
      expect(check).toEqual({ aligned: true, score: check.score });
      expect(check.score).toBeGreaterThan(0.05);
      // what is asked about counts, not at which resolution the picture comes
      expect(looksAligned(resize(crop, 2 * size[1], 2 * size[0]), size).aligned).toBe(true);
    }
  });
  it.each(Object.entries(wrongly))('a face %s does not', (_, [scale, degrees, dx = 0, dy = 0]) => {
    for (const { photo, points } of faces) {
      const check = looksAligned(misplaced(photo, points, scale, degrees, dx, dy));
      expect(check.aligned).toBe(false);
      expect(check.score).toBeLessThan(0);
      expect(check.why).toMatch(/^no face is seen where it should be/);
    }
  });
  it('guesses how the face lies', () => {
    const { photo, points } = faces[0]!;
    const why = (...how: Parameters<typeof misplaced> extends [unknown, unknown, ...infer R] ? R : never) =>
      looksAligned(misplaced(photo, points, ...how)).why;
    expect(why(1, 0, 24, 0)).toMatch(/; it may be 24 pixels too far right$/);
    expect(why(1, 0, 0, -24)).toMatch(/; it may be 24 pixels too far up$/);
    expect(why(0.6, 0)).toMatch(/; it may be too small$/);
    expect(why(1.6, 0)).toMatch(/; it may be too large$/);
    expect(why(1, 180)).toMatch(/; it may be upside down$/);
  });
  it('light and contrast do not matter', () => {
    const { photo, points } = faces[0]!;
    const crop = alignFace(photo, points);
    const faint = { ...crop, data: crop.data.map((v) => 100 + v / 4) };
    const lit = { ...crop, data: crop.data.map((v, i) => v * (0.3 + (0.6 * (Math.floor(i / 3) % 112)) / 112)) };
    expect(looksAligned(faint).aligned).toBe(true);
    expect(looksAligned(lit).aligned).toBe(true);
  });
  it('what cannot be a crop says why', () => {
    const of = (width: number, height: number, size?: CropSize) =>
      looksAligned({ width, height, data: new Uint8Array(width * height * 3).map((_, i) => (i * 7919) % 251) }, size);
    expect(of(20, 20).why).toBe('it has only 20x20 pixels');
    expect(of(250, 180).why).toBe('its shape, 250x180 pixels, is not that of a crop');
    expect(of(250, 180, [112, 112])).toEqual({ aligned: false, score: -1, why: of(250, 180).why });
    expect(of(96, 112, [112, 112]).why).toMatch(/its shape/);
    expect(looksAligned({ width: 112, height: 112, data: new Uint8Array(112 * 112 * 3).fill(128) }).why).toBe(
      'it is of one colour',
    );
  });
  it('noise is no face', () => {
    const scores = Array.from({ length: 24 }, (_, k) => {
      const data = Uint8Array.from(uniform(keyOf(k), 112 * 112 * 3), (v) => 255 * v);
      return looksAligned({ width: 112, height: 112, data }).score;
    });
    expect(scores.filter((s) => s < 0).length).toBeGreaterThan(19);
    expect(looksAlignedSet(scores).aligned).toBe(false);
  });
});

describe('looksAlignedSet', () => {
  it('warns above 15 %', () => {
    const of = (low: number, n: number) =>
      looksAlignedSet(Float64Array.from({ length: n }, (_, i) => (i < low ? -0.1 : 0)));
    expect(of(3, 20)).toEqual({ aligned: true, share: 0.15 });
    expect(of(4, 20)).toEqual({
      aligned: false,
      share: 0.2,
      why: '4 of the 20 pictures looked at do not look like aligned face crops',
    });
    expect(of(1, 3).aligned).toBe(true);
    expect(of(1, 1)).toEqual({
      aligned: false,
      share: 1,
      why: 'the picture looked at does not look like an aligned face crop',
    });
    expect(of(0, 0)).toEqual({ aligned: true, share: 0 });
    expect(looksAlignedSet([Number.NaN, Number.NaN]).aligned).toBe(false);
  });
});

const shared = new URL('../../../shared/data/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no ${shared.pathname}, real crops not looked at`);
describe.skipIf(!present)('real pictures', () => {
  const read = (path: string) => decodeImage(readFileSync(new URL(path, shared)), path);
  /** Scores of every 16th crop of a set. */
  const scoresOf = (set: string) =>
    readdirSync(new URL(set, shared), { recursive: true, encoding: 'utf8' })
      .filter((f) => f.endsWith('.jpg'))
      .sort()
      .filter((_, i) => i % 16 === 0)
      .map((f) => looksAligned(read(`${set}/${f}`)).score);
  const misaligned = (scores: readonly number[]) => scores.filter((s) => s < 0).length / scores.length;
  it.each([
    ['verify/lfw112', 145],
    ['train/celeba112', 367],
  ] as const)('aligned crops pass: %s', (set, count) => {
    const scores = scoresOf(set);
    expect(scores.length).toBe(count);
    expect(misaligned(scores)).toBeLessThan(0.035);
    for (let i = 0; i + 64 <= count; i += 64) expect(looksAlignedSet(scores.slice(i, i + 64)).aligned).toBe(true);
  });
  it('photographs and crops gone wrong are found', () => {
    const file = readFileSync(new URL('verify/lfw250/expected.json', shared), 'utf8');
    const images = Object.entries((JSON.parse(file) as { images: Record<string, { points: number[][] }> }).images);
    const photos = images.map(([path, { points }]) => ({
      photo: read(`verify/lfw250/images/${path}`),
      points: points.flat(),
    }));
    const share = (make: (photo: RgbImage, points: number[]) => RgbImage) => {
      const scores = photos.map(({ photo, points }) => looksAligned(make(photo, points)).score);
      return { share: misaligned(scores), set: looksAlignedSet(scores).aligned };
    };
    expect(share((photo, points) => alignFace(photo, points))).toEqual({ share: 0, set: true });
    const bad = {
      whole: share((photo) => resize(photo, 112, 112)),
      right: share((p, q) => misplaced(p, q, 1, 0, 20, 0)),
      up: share((p, q) => misplaced(p, q, 1, 0, 0, -20)),
      large: share((p, q) => misplaced(p, q, 1.5, 0)),
      small: share((p, q) => misplaced(p, q, 0.6, 0)),
      turned: share((p, q) => misplaced(p, q, 1, 30)),
      sideways: share((p, q) => misplaced(p, q, 1, 90)),
      upsideDown: share((p, q) => misplaced(p, q, 1, 180)),
    };
    for (const [how, found] of Object.entries(bad)) {
      expect(found.share, how).toBeGreaterThan(0.7);
      expect(found.set, how).toBe(false);
    }
  });
});
