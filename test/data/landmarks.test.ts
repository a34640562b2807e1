import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { parseLandmarks } from '../../src/data/landmarks.ts';
import { fuzz } from '../helpers/fuzz.ts';

const face = [30, 40, 70, 41, 50, 60, 33, 80, 68, 81.5];
const other = face.map((v) => v + 0.25);
const pairs = [0, 2, 4, 6, 8].map((i) => face.slice(i, i + 2));
const header =
  'lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y';
const xsThenYs = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
const lst = (p: readonly number[]) => xsThenYs.map((i) => p[i]).join('\t');

const files: Record<string, string> = {
  'json of ten numbers': JSON.stringify({ 'A/1.jpg': face, 'B/2.jpg': other }),
  'json of pairs under images': JSON.stringify({ about: 'x', images: { 'A/1.jpg': pairs, 'B/2.jpg': other } }),
  'json of objects': JSON.stringify({ 'A/1.jpg': { points: pairs, score: 1 }, 'B/2.jpg': { landmarks: other } }),
  'json with fields': JSON.stringify({
    fields: ['boxX1', ...'leftEye rightEye nose leftMouth rightMouth'.split(' ').flatMap((f) => [`${f}Y`, `${f}X`])],
    images: Object.fromEntries(
      [face, other].map((p, k) => [['A/1.jpg', 'B/2.jpg'][k], [9, ...p.map((_, i) => p[i ^ 1])]]),
    ),
  }),
  'celeba list': `2\n${header}\nA/1.jpg   ${face.join('   ')}\r\nB/2.jpg ${other.join(' ')}\n`,
  'celeba csv': `image_id,${header.replaceAll(' ', ',')}\nA/1.jpg,${face}\nB/2.jpg,${other}\n`,
  'insightface lst': `0\tA/1.jpg\t4\t1\t2\t90\t95\t${lst(face)}\n0\tB\\2.jpg\t5\t1\t2\t90\t95\t${lst(other)}\n1\tC/3.jpg\t6\n1\tD/4.jpg\t6\t0\t0\t9\t9\t${lst(face)}`,
  'plain lines': `# mine\n./A/1.jpg ${face.join(' ')}\n\nB/2.jpg\t${other.join('\t')}`,
};

describe('parseLandmarks', () => {
  it.each(Object.keys(files))('%s', (kind) => {
    const found = parseLandmarks(files[kind]!, 'list');
    expect(found.size).toBe(2);
    expect([...found.paths]).toEqual(['A/1.jpg', 'B/2.jpg']);
    expect(found.find('A/1.jpg')).toEqual(face);
    expect(found.find('B\\2.jpg')).toEqual(other);
    expect(found.find('1.jpg')).toEqual(face);
    expect(found.find('C/3.jpg')).toBeUndefined();
    expect(found.find('B/1.jpg')).toBeUndefined();
  });
  it('finds images of longer and shorter paths, but not where it is in doubt', () => {
    const long = parseLandmarks(
      `/data/x/A/1.jpg ${face.join(' ')}\n/data/x/B/1.jpg ${other.join(' ')}\n/data/a b/B/2.jpg ${face.join(' ')}`,
      'list',
    );
    expect(long.find('A/1.jpg')).toEqual(face);
    expect(long.find('x/B/1.jpg')).toEqual(other);
    expect(long.find('a b/B/2.jpg')).toEqual(face);
    expect(long.find('1.jpg')).toBeUndefined();
    expect(long.find('Q/A/1.jpg')).toBeUndefined();
    const flat = parseLandmarks(`000001.jpg ${face.join(' ')}\n`, 'list');
    expect(flat.find('7201/000001.jpg')).toEqual(face);
    expect(flat.find('7201/000002.jpg')).toBeUndefined();
  });
  it('keeps every number of many images', () => {
    const coordinate = fc.double({ min: 0, max: 50, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(fc.array(coordinate, { minLength: 10, maxLength: 10 }), { minLength: 1, maxLength: 40 }),
        (shifts) => {
          const rows = shifts.map((s) => s.map((v, i) => face[i]! * 20 + v));
          const text = rows.map((r, k) => `p q/${k}.png ${r.join(' ')}`).join('\n');
          const found = parseLandmarks(text, 'list');
          rows.forEach((r, k) => {
            expect(found.find(`p q/${k}.png`)).toEqual(r);
          });
        },
      ),
      { numRuns: 30 },
    );
  });
  it.each([
    ['', /^list: expected points of faces, found none\n/],
    ['[1, 2]', /^list: expected an object of points by path, got a list\n/],
    ['{"a": [1, 2]}', /^list: 'a': expected ten numbers or five pairs, got \[1,2\]\n/],
    ['{"a": {"points": null}}', /^list: 'a': expected ten numbers/],
    ['{"fields": ["noseX"], "images": {}}', /^list: expected a column leftEyeX in fields/],
    ['{\n"a": [1,\n,]}', /^list(:3)?: not valid JSON/],
    [
      `a.jpg ${face.join(' ')}\nb.jpg 1 2 3\n`,
      /^list:2: expected a path and ten numbers, got 4 fields: 'b.jpg 1 2 3'\n/,
    ],
    [`a.jpg ${face.join(' ')}\nb.jpg ${face.join(' ').replace('41', 'x1')}`, /^list:2: expected a number, got 'x1'\n/],
    [`a.jpg ${face.join(' ').replace('41', '1e999')}`, /^list:1: expected a number, got '1e999'\n/],
    [`0\ta.jpg\t1\t1\t2\t3\t4\t${lst(face).replace('41', '')}`, /^list:1: expected a number, got ''\n/],
    [`a.jpg ${face.join(' ')}\n\na.jpg ${face.join(' ')}`, /^list:3: expected each image once, got 'a.jpg' again\n/],
    [`3\n${header}\na.jpg ${face.join(' ')}`, /^list: its first line promises 3 images, but it holds 1\n/],
    [`1\n${header.replace('nose_x nose_y', 'nose_y nose_x')}\n`, /^list:2: expected the columns lefteye_x /],
    [`a.jpg 70 41 30 40 50 60 68 81 33 80`, /^list: .* in 1 of 1 faces they are mirrored\n/],
  ])('%j is refused', (text, message) => {
    expect(() => parseLandmarks(text, 'list')).toThrow(DataError);
    expect(() => parseLandmarks(text, 'list')).toThrow(message);
  });
  it.each(Object.keys(files))('%s, damaged: points or a DataError', async (kind) => {
    const bytes = new TextEncoder().encode(files[kind]!);
    const read = (copy: Uint8Array) => {
      const found = parseLandmarks(new TextDecoder().decode(copy), 'list');
      for (const path of found.paths) expect(found.find(path)?.every(Number.isFinite)).toBe(true);
    };
    const { refused } = await fuzz(read, bytes, 'list', { flips: 100, numbers: 60 });
    expect(refused).toBeGreaterThan(20);
  });
  it('a hostile line takes no time', () => {
    const start = performance.now();
    expect(() => parseLandmarks(`${'a '.repeat(5)}${', '.repeat(200_000)}x`, 'list')).toThrow(DataError);
    expect(() => parseLandmarks('{"a":'.repeat(200_000), 'list')).toThrow(DataError);
    const digits = '1'.repeat(60_000);
    for (const text of [
      `a ${digits}x 1 2 3 4 5 6 7 8 9`,
      `${'./'.repeat(5e6)}a.jpg 1 1 2 1 1 2 1 3 2 3`,
      `${' '.repeat(1e7)}x`,
      `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`,
      `{"a":${'{"points":'.repeat(1e5)}1${'}'.repeat(1e5)}}`,
      `{"a":[${'1,'.repeat(1e5)}[1]]}`,
    ])
      expect(() => parseLandmarks(text, 'list')).toThrow(DataError);
    const dots = parseLandmarks(`{"${'./'.repeat(1e6)}a":[1,1,2,1,1,2,1,3,2,3]}`, 'list');
    expect(dots.find('a')).toEqual([1, 1, 2, 1, 1, 2, 1, 3, 2, 3]);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

const shared = new URL('../../../shared/data/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no ${shared.pathname}, real landmark files not read`);
describe.skipIf(!present)('real files', () => {
  const read = (path: string) => parseLandmarks(readFileSync(new URL(path, shared), 'utf8'), path);
  it('CelebA rows with named columns', () => {
    const found = read('train/celeba112/landmarks.json');
    expect(found.size).toBe(5863);
    expect(found.find('7201/001085.jpg')).toEqual([
      179.1, 119.5, 236.8, 119.8, 213.2, 152.2, 178.3, 168.6, 233.4, 169.1,
    ]);
  });
  it('pairs under images', () => {
    const found = read('verify/lfw250/expected.json');
    expect(found.size).toBe(20);
    expect(found.find('Clare_Short/Clare_Short_0001.jpg')?.slice(0, 4)).toEqual([104.82, 113.25, 146.79, 111.13]);
  });
});

it('finds a picture whose path is longer than the file has it, and never another of that name', () => {
  const points = [30, 35, 58, 33, 45, 50, 33, 66, 57, 64];
  const table = parseLandmarks(
    JSON.stringify({ 'ann/1.jpg': points, 'bob/2.jpg': points.map((v) => v + 1) }),
    'p.json',
  );
  expect(table.find('/photos/set/ann/1.jpg')).toEqual(points);
  expect(table.find('C:\\photos\\bob\\2.jpg')).toEqual(points.map((v) => v + 1));
  expect(table.find('/photos/carl/1.jpg')).toBeUndefined();
  expect(table.find('/photos/joann/1.jpg')).toBeUndefined();
});
