/** What a set is said to be, held against sets made to be so; verifying, repair in place, contact sheets. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { keyOf } from '../../../src/core/random.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { createPacked } from '../../../src/data/formats/packedFormat.ts';
import { createRecordIO } from '../../../src/data/formats/recordioFormat.ts';
import { inspect, inspectSet, type SetInspection } from '../../../src/data/inspect/inspect.ts';
import { pairFacts, perIdentity, spread } from '../../../src/data/inspect/setFacts.ts';
import { setSheet } from '../../../src/data/inspect/setSheet.ts';
import { openDataset } from '../../../src/data/open.ts';
import { decodeImage } from '../../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../../src/image/encode.ts';
import type { RgbImage } from '../../../src/image/jpeg.ts';
import { writeNpy } from '../../../src/weights/npy.ts';
import { picture, writePeople } from '../../helpers/pictures.ts';

const root = mkdtempSync(join(tmpdir(), 'facegrad-inspect-'));
afterAll(() => rmSync(root, { recursive: true }));

async function inspectImages(path: string, options = {}): Promise<SetInspection> {
  const found = await inspect(path, { workers: 0, ...options });
  if (found.kind !== 'images') throw new Error('expected images');
  return found;
}

const plain = (rgb: readonly [number, number, number], size = 16): RgbImage => ({
  width: size,
  height: size,
  data: Uint8Array.from({ length: size * size * 3 }, (_, i) => rgb[i % 3]!),
});

/** Ann 4, Bob 3, Cat 2 images: sound, cut off, text, grey, of another size, and copies. */
function damagedFolder(name: string): string {
  const folder = join(root, name);
  const put = (path: string, bytes: Uint8Array | string) => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  };
  const jpeg = (person: number, shot: number, size = 64) => encodeJpeg(picture(person, shot, size), 95);
  put('Ann/1.jpg', jpeg(0, 0));
  put('Ann/2.jpg', jpeg(0, 0));
  put('Ann/3.jpg', jpeg(0, 1).subarray(0, Math.floor(0.8 * jpeg(0, 1).length)));
  put('Ann/4.png', encodePng(picture(0, 2, 64)));
  put('Bob/1.jpg', '<html>404: not found</html>');
  put('Bob/2.jpg', encodeJpeg(plain([90, 90, 90], 64)));
  put('Bob/3.jpg', jpeg(1, 1, 48));
  put('Cat/1.jpg', jpeg(2, 1));
  put('Cat/2.jpg', jpeg(0, 0));
  return folder;
}

describe('counts', () => {
  it('a sample is rising, without repeats, and has a part of every stretch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 10_000 }), fc.nat(), (n, of, seed) => {
        const chosen = spread(n, of, keyOf(seed));
        expect(chosen.length).toBe(Math.min(n, of));
        chosen.forEach((v, i) => {
          expect(v).toBeGreaterThan(i === 0 ? -1 : chosen[i - 1]!);
          expect(Math.floor((i * of) / chosen.length)).toBeLessThanOrEqual(v);
          expect(v).toBeLessThan(Math.floor(((i + 1) * of) / chosen.length));
        });
      }),
    );
    expect(spread(5, 1000, keyOf(1))).toEqual(spread(5, 1000, keyOf(1)));
    expect(spread(5, 1000, keyOf(1))).not.toEqual(spread(5, 1000, keyOf(2)));
  });
  it('images per identity', () => {
    // 0: 1, 1: 4, 2: none, 3: 12, 4: 2000, and three images of no one
    const counts = [1, 4, 0, 12, 2000];
    const labels = Int32Array.from([-1, -1, -1, ...counts.flatMap((n, l) => Array(n).fill(l) as number[])]);
    const p = perIdentity(labels, 5)!;
    expect(p).toMatchObject({ min: 1, median: 8, mean: 2017 / 4, max: 2000, without: 1 });
    expect(p).toMatchObject({ below2: 1, below10: 2, below30: 3 });
    expect(p.histogram.filter((b) => b.identities > 0)).toEqual([
      { from: 1, to: 1, identities: 1 },
      { from: 3, to: 4, identities: 1 },
      { from: 10, to: 19, identities: 1 },
      { from: 1000, to: null, identities: 1 },
    ]);
    expect(perIdentity(Int32Array.of(-1, -1), 0)).toBeUndefined();
  });
  it('the histogram holds every identity once', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3000 }), { minLength: 1, maxLength: 12 }), (counts) => {
        fc.pre(counts.some((n) => n > 0));
        const labels = Int32Array.from(counts.flatMap((n, l) => Array(n).fill(l) as number[]));
        const { histogram, without } = perIdentity(labels, counts.length)!;
        expect(histogram.reduce((n, b) => n + b.identities, without)).toBe(counts.length);
        for (const b of histogram)
          expect(b.identities).toBe(counts.filter((n) => n >= b.from && n <= (b.to ?? Infinity)).length);
      }),
      { numRuns: 30 },
    );
  });
  it('pairs by fold, and those that labels contradict', () => {
    const pairs = {
      folds: 2,
      left: Int32Array.of(0, 0, 2, 2),
      right: Int32Array.of(1, 2, 3, 4),
      same: Uint8Array.of(1, 0, 1, 1),
      fold: Int32Array.of(0, 0, 1, 1),
    };
    // images 0 and 1 are one person, 2 and 3 two; of 4 nobody is known
    expect(pairFacts(pairs, Int32Array.of(0, 0, 1, 2, -1))).toEqual({
      same: 3,
      different: 1,
      folds: [
        { same: 1, different: 1 },
        { same: 2, different: 0 },
      ],
      contradictions: 1,
    });
  });
});

describe('a folder with all kinds of damage', () => {
  const folder = damagedFolder('damaged');
  it('at a glance', async () => {
    const set = await inspectImages(folder);
    expect(set).toMatchObject({ format: 'folder', images: 9, identities: 3, unlabelled: 0, notes: [] });
    const s = set.sample;
    expect(s).toMatchObject({ images: 9, decoded: 7, bad: 2, grey: 1, turned: 0, otherSizes: 0 });
    expect(s.formats).toEqual({ jpeg: 7, png: 1, unknown: 1 });
    expect(s.subsampling).toEqual({ '4:2:0': 7 });
    expect(s.sizes).toEqual([
      { width: 64, height: 64, images: 7 },
      { width: 48, height: 48, images: 1 },
    ]);
    expect(s.badImages.map((b) => b.name)).toEqual(['Ann/3.jpg', 'Bob/1.jpg']);
    expect(s.badImages[0]!.reason).toMatch(/^the JPEG file ends before its image does$/);
    expect(s.badImages[1]!.reason).toMatch(/^neither JPEG nor PNG .* looks like text/);
    const lengths = ['Ann/1', 'Ann/2', 'Ann/3', 'Bob/1', 'Bob/2', 'Bob/3', 'Cat/1', 'Cat/2']
      .map((n) => readFileSync(join(folder, `${n}.jpg`)).length)
      .concat(readFileSync(join(folder, 'Ann/4.png')).length)
      .sort((a, b) => a - b);
    expect(s.bytes).toEqual({
      min: lengths[0],
      median: lengths[4],
      mean: lengths.reduce((a, b) => a + b, 0) / 9,
      max: lengths[8],
    });
    // Blobs are no faces.
    expect(s.aligned).toMatchObject({ aligned: false, images: 7 });
    expect(set.verified).toBeUndefined();
  });
  it.each([0, 2])('verified on %i threads', async (workers) => {
    const seen: string[] = [];
    const set = await inspectImages(folder, {
      verify: true,
      workers,
      onProgress: (e: { what: string; done: number; total: number }) => seen.push(`${e.what} ${e.done}/${e.total}`),
    });
    const v = set.verified!;
    expect(seen.at(-1)).toBe('verifying 9/9');
    expect(v).toMatchObject({ bad: 2, repaired: 0, damage: [], commonSize: [64, 64], otherSize: 1 });
    expect(v.badPictures).toMatchObject([
      { image: 2, name: 'Ann/3.jpg', repairable: true },
      { image: 4, name: 'Bob/1.jpg', repairable: false },
    ]);
    expect(v.otherSizes).toEqual([{ image: 6, name: 'Bob/3.jpg', width: 48, height: 48 }]);
    expect(v.duplicates).toEqual({
      copies: 2,
      groups: 1,
      across: 1,
      examples: [
        {
          across: true,
          images: [
            { image: 0, name: 'Ann/1.jpg', identity: 'Ann' },
            { image: 1, name: 'Ann/2.jpg', identity: 'Ann' },
            { image: 8, name: 'Cat/2.jpg', identity: 'Cat' },
          ],
        },
      ],
    });
  });
  it('the same with a sample', async () => {
    const a = await inspectImages(folder, { sample: 4 });
    expect(a.sample.images).toBe(4);
    expect((await inspectImages(folder, { sample: 4 })).sample).toEqual(a.sample);
    expect(a.images).toBe(9);
  });
});

describe('repair in place', () => {
  it('saves what arrived, keeps the original, leaves the rest', async () => {
    const folder = damagedFolder('repaired');
    const cut = join(folder, 'Ann/3.jpg');
    const before = readFileSync(cut);
    const v = (await inspectImages(folder, { verify: true, repair: true })).verified!;
    expect(v).toMatchObject({ bad: 1, repaired: 1 });
    expect(v.badPictures[0]).toMatchObject({ name: 'Ann/3.jpg' });
    expect(v.badPictures[0]!.original).toMatch(/Ann.3\.jpg\.bad$/);
    expect(v.badPictures[1]).toMatchObject({ name: 'Bob/1.jpg', notRepaired: 'too little of it is there' });
    expect(readFileSync(`${cut}.bad`).equals(before)).toBe(true);
    expect(existsSync(`${cut}.part`)).toBe(false);
    const whole = decodeImage(encodeJpeg(picture(0, 1, 64), 95), 'whole');
    const now = decodeImage(readFileSync(cut), cut);
    const upper = 64 * 40 * 3;
    const apart = now.data.subarray(0, upper).reduce((sum, x, i) => sum + Math.abs(x - whole.data[i]!), 0) / upper;
    // noise of single pixels loses some chroma in each round
    expect(apart).toBeLessThan(6);
    // What is repaired is one of the set; its original is not.
    const again = await inspectImages(folder, { verify: true, repair: true });
    expect(again.images).toBe(9);
    expect(again.verified).toMatchObject({ bad: 1, repaired: 0 });
  });
  it('overwrites nothing, but goes on where it was cut off', async () => {
    const folder = damagedFolder('kept');
    const cut = join(folder, 'Ann/3.jpg');
    const before = readFileSync(cut);
    writeFileSync(`${cut}.bad`, 'mine');
    const v = (await inspectImages(folder, { verify: true, repair: true })).verified!;
    expect(v).toMatchObject({ bad: 2, repaired: 0 });
    expect(v.badPictures[0]!.notRepaired).toMatch(/3\.jpg\.bad is there already/);
    expect(readFileSync(`${cut}.bad`, 'utf8')).toBe('mine');
    expect(readFileSync(cut).equals(before)).toBe(true);
    writeFileSync(`${cut}.bad`, before);
    expect((await inspectImages(folder, { verify: true, repair: true })).verified).toMatchObject({
      bad: 1,
      repaired: 1,
    });
  });
  it('changes nothing outside of the set', async () => {
    const folder = damagedFolder('elsewhere');
    const cut = join(folder, 'Ann/3.jpg');
    const before = readFileSync(cut);
    const inside = join(root, 'lists');
    mkdirSync(inside);
    writeFileSync(join(inside, 'list.txt'), `../elsewhere/Ann/3.jpg 0\n${cut} 1\nlink.jpg 2\n`);
    symlinkSync(cut, join(inside, 'link.jpg'));
    const v = (await inspectImages(join(inside, 'list.txt'), { verify: true, repair: true })).verified!;
    expect(v).toMatchObject({ bad: 3, repaired: 0 });
    for (const b of v.badPictures) expect(b.notRepaired).toMatch(/^it lies outside of /);
    expect(readFileSync(cut).equals(before)).toBe(true);
    expect(existsSync(`${cut}.bad`)).toBe(false);
  });
});

describe('containers', () => {
  it('packed: pixels that decode but are not what was written are found by their checksums', async () => {
    const path = join(root, 'set.faces');
    const writer = await createPacked(path);
    const mark = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (i * 37 + 11) & 255);
    const size = { width: 16, height: 16 };
    await writer.add({ name: 'a/1', label: 0, identity: 'a', bytes: plain([1, 2, 3]).data, raw: size });
    await writer.add({ name: 'a/2', label: 0, identity: 'a', bytes: mark, raw: size });
    await writer.add({ name: 'b/1', label: 1, identity: 'b', bytes: encodePng(plain([9, 8, 7])) });
    await writer.finish({ identities: ['a', 'b'] });
    const sound = await inspectImages(path, { verify: true });
    expect(sound).toMatchObject({ format: 'packed', images: 3, identities: 2 });
    expect(sound.sample.formats).toEqual({ raw: 2, png: 1 });
    expect(sound.verified).toMatchObject({ bad: 0, damage: [], duplicates: { groups: 0 } });

    const bytes = readFileSync(path);
    const at = bytes.indexOf(mark);
    expect(at).toBeGreaterThan(0);
    bytes[at + 100]! ^= 1;
    writeFileSync(path, bytes);
    const v = (await inspectImages(path, { verify: true, repair: true })).verified!;
    expect(v).toMatchObject({ bad: 1, repaired: 0 });
    expect(v.badPictures).toMatchObject([{ image: 1, name: 'a/2' }]);
    expect(v.badPictures[0]!.reason).toMatch(/checksum/);
    // cut off in its directory: a note at a glance, damage when verified
    writeFileSync(path, bytes.subarray(0, bytes.length - 40));
    const cut = await inspectImages(path, { verify: true });
    expect(cut.notes).toHaveLength(1);
    expect(cut.verified!.damage).toHaveLength(1);
    expect(cut.verified!.badPictures).toHaveLength(1);
  });
  it('RecordIO', async () => {
    const path = join(root, 'train.rec');
    const writer = await createRecordIO(path);
    for (let i = 0; i < 6; i++) {
      const whole = encodeJpeg(picture(i >> 1, i & 1));
      const bytes = i === 3 ? whole.subarray(0, 200) : whole;
      await writer.add({ name: `${i >> 1}/${i}.jpg`, label: i >> 1, identity: String(i >> 1), bytes });
    }
    await writer.finish({ identities: ['0', '1', '2'] });
    const set = await inspectImages(path, { verify: true });
    expect(set).toMatchObject({ format: 'recordio', images: 6, identities: 3 });
    expect(set.perIdentity).toMatchObject({ min: 2, max: 2 });
    expect(set.verified).toMatchObject({ bad: 1, badPictures: [{ image: 3 }] });
  });
});

it('red below blue is told, but not of grey pictures or by one picture of many', async () => {
  const colours = (name: string, all: readonly (readonly [number, number, number])[]) => {
    mkdirSync(join(root, name, 'p'), { recursive: true });
    all.forEach((rgb, i) => void writeFileSync(join(root, name, 'p', `${i}.png`), encodePng(plain(rgb))));
    return inspectImages(join(root, name));
  };
  const right = await colours('rgb', [...Array(9).fill([180, 130, 110]), [20, 20, 250]]);
  expect(right.sample.colourHint).toBeUndefined();
  expect(right.sample.mean![0]).toBeCloseTo(164, 5);
  const swapped = await colours('bgr', [...Array(9).fill([110, 130, 180]), [250, 20, 20]]);
  expect(swapped.sample.colourHint).toMatch(/red is below blue on average/);
  const grey = await colours('grey', Array(5).fill([99, 99, 100]));
  expect(grey.sample).toMatchObject({ grey: 5 });
  expect(grey.sample.colourHint).toBeUndefined();
});

it('pairs that cannot be read are a note', async () => {
  const folder = join(root, 'pairs');
  writePeople(folder, 2, 2);
  writeFileSync(join(folder, 'pairs.txt'), 'Person_0 1 2\nPerson_0 1 Person_7 1\n');
  const set = await inspectImages(folder);
  expect(set.images).toBe(4);
  expect(set.pairs).toBeUndefined();
  expect(set.notes[0]).toMatch(/pairs\.txt/);
});

it('two million images are looked at in little time and memory', async () => {
  const n = 2_000_000;
  const set: Dataset = {
    name: 'many',
    classes: 80_000,
    length: n,
    label: (i) => Math.floor(i / 25),
    identityName: String,
    imageName: String,
    source: (i) => ({ kind: 'synthetic', seed: 1, identity: i % 7, image: i % 3, size: 24 }),
  };
  const started = performance.now();
  const before = process.memoryUsage().rss;
  const found = await inspectSet(set, 'many', { name: 'x', means: 'x' }, { sample: 100, workers: 0 });
  expect(found).toMatchObject({ images: n, identities: 80_000, perIdentity: { min: 25, max: 25 } });
  expect(found.sample).toMatchObject({ images: 100, decoded: 100, formats: { raw: 100 } });
  expect(process.memoryUsage().rss - before).toBeLessThan(200e6);
  expect(performance.now() - started).toBeLessThan(20_000);
});

describe('contact sheets', () => {
  /** The pixel in the middle of a tile. */
  const middle = (sheet: RgbImage, row: number, column: number, tile: number) => {
    const x = 4 + column * (tile + 4) + (tile >> 1);
    const y = 4 + row * (tile + 4 + 11) + (tile >> 1);
    return [...sheet.data.subarray(3 * (y * sheet.width + x), 3 * (y * sheet.width + x) + 3)];
  };
  const colourOf = (person: number, shot: number): [number, number, number] => [40 * person + 20, 50 * shot + 30, 77];
  const folder = join(root, 'sheet');
  const shots = [3, 1, 2];
  shots.forEach((n, p) => {
    mkdirSync(join(folder, `P${p}`), { recursive: true });
    for (let s = 0; s < n; s++) writeFileSync(join(folder, `P${p}`, `${s}.png`), encodePng(plain(colourOf(p, s), 20)));
  });
  it('people in rows, empty places white', async () => {
    const sheet = await setSheet(await openDataset(folder), { tile: 40 });
    expect([sheet.width, sheet.height]).toEqual([4 + 3 * 44, 4 + 3 * 55]);
    shots.forEach((n, p) => {
      for (let c = 0; c < 3; c++) expect(middle(sheet, p, c, 40)).toEqual(c < n ? colourOf(p, c) : [255, 255, 255]);
    });
    const fewer = await setSheet(await openDataset(folder), { tile: 40, rows: 1, columns: 2 });
    expect([fewer.width, fewer.height]).toEqual([4 + 2 * 44, 4 + 55]);
  });
  it('pairs side by side, same to the left', async () => {
    const set = await openDataset(folder);
    const pairs = {
      folds: 1,
      left: Int32Array.of(0, 0, 4),
      right: Int32Array.of(1, 3, 5),
      same: Uint8Array.of(1, 0, 1),
      fold: new Int32Array(3),
    };
    const sheet = await setSheet({ ...set, pairs }, { tile: 40 });
    expect([sheet.width, sheet.height]).toEqual([4 + 5 * 44, 4 + 2 * 55]);
    expect([0, 1, 2, 3, 4].map((c) => middle(sheet, 0, c, 40))).toEqual([
      colourOf(0, 0),
      colourOf(0, 1),
      [255, 255, 255],
      colourOf(0, 0),
      colourOf(1, 0),
    ]);
    expect(middle(sheet, 1, 1, 40)).toEqual(colourOf(2, 1));
    expect(middle(sheet, 1, 4, 40)).toEqual([255, 255, 255]);
  });
  it('an unreadable picture is a grey tile; unknown people are pictures in rows', async () => {
    const lone = join(root, 'lone');
    mkdirSync(lone);
    writeFileSync(join(lone, 'a.png'), encodePng(plain([200, 10, 10])));
    writeFileSync(join(lone, 'b.jpg'), 'no picture');
    const sheet = await setSheet(await openDataset(lone), { tile: 40, columns: 2 });
    expect([middle(sheet, 0, 0, 40), middle(sheet, 0, 1, 40)]).toEqual([
      [200, 10, 10],
      [128, 128, 128],
    ]);
  });
});

it('arrays of numbers', async () => {
  const path = join(root, 'x.npy');
  writeFileSync(path, writeNpy({ dtype: 'f32', shape: [2, 3], data: Float32Array.of(1, -2, Number.NaN, 4, 0, 3) }));
  expect(await inspect(path)).toEqual({
    kind: 'matrix',
    path,
    format: 'npy',
    arrays: [{ name: '', type: '<f4', shape: [2, 3], min: -2, max: 4 }],
  });
});

const shared = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const present = existsSync(shared);
if (!present) console.log(`skipped: no real data under ${shared}, its facts not compared`);
describe.skipIf(!present)('real sets', () => {
  it('CelebA: counts, and alignment', async () => {
    const set = await inspectImages(join(shared, 'train/celeba112'), { sample: 200, workers: 2 });
    expect(set).toMatchObject({ images: 5863, identities: 289, unlabelled: 0 });
    expect(set.perIdentity).toMatchObject({ min: 1, median: 22, max: 30, below2: 2, below10: 50 });
    expect(set.sample).toMatchObject({ images: 200, bad: 0, formats: { jpeg: 200 }, subsampling: { '4:2:0': 200 } });
    expect(set.sample.sizes).toEqual([{ width: 112, height: 112, images: 200 }]);
    expect(set.sample.colourHint).toBeUndefined();
    expect(set.sample.aligned).toMatchObject({ aligned: true, images: 64 });
  });
  it('CelebA: five pictures are there twice, four of them as two people (as sha256sum has it)', async () => {
    const { verified: v } = await inspectImages(join(shared, 'train/celeba112'), { verify: true, workers: 2 });
    expect(v).toMatchObject({ bad: 0, otherSize: 0, duplicates: { copies: 5, groups: 5, across: 4 } });
    for (const d of v!.duplicates.examples.slice(0, 4))
      expect(d.images.map((i) => i.identity)).toEqual(['7312', '7314']);
  });
  it('LFW: pairs by fold', async () => {
    const set = await inspectImages(join(shared, 'verify/lfw112'), { sample: 50 });
    expect(set).toMatchObject({ images: 2320, identities: 1241 });
    expect(set.pairs).toMatchObject({ same: 900, different: 900, contradictions: 0 });
    expect(set.pairs!.folds).toEqual(Array(3).fill({ same: 300, different: 300 }));
  });
  it('photographs are no crops', async () => {
    const { sample } = await inspectImages(join(shared, 'verify/lfw250/images'));
    expect(sample.aligned!.aligned).toBe(false);
  });
});
