import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { NewImage } from '../../../src/data/formats/format.ts';
import { createRecordIO, openRecordIO, recordioFormat } from '../../../src/data/formats/recordioFormat.ts';
import { formatOf } from '../../../src/data/open.ts';
import { closeContainers, readBytes, readPicture } from '../../../src/data/readImage.ts';
import { encodeJpeg } from '../../../src/image/encode.ts';

let root = '';
let folder = '';
let count = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'facegrad-recordio-'));
});
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});
afterAll(async () => {
  await closeContainers();
  rmSync(root, { recursive: true, force: true });
});

const [height, width] = [20, 24];
const picture = (k: number) =>
  encodeJpeg({ width, height, data: Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * k) & 255) });
const identities = ['Abel_Pacheco', 'Bo', 'Cy'];
const images: NewImage[] = Array.from({ length: 2500 }, (_, k) => {
  const label = Math.floor(k / 1000);
  return { name: `${identities[label]}/${k}.jpg`, label, identity: identities[label]!, bytes: picture(k % 7) };
});
const filesIn = (path: string) =>
  Object.fromEntries(readdirSync(path).map((n) => [n, readFileSync(join(path, n)).toString('base64')]));
async function write(path: string, given: readonly NewImage[]) {
  const writer = await createRecordIO(path);
  for (const image of given) await writer.add(image);
  await writer.finish({ identities });
}

describe('RecordIO on disk', () => {
  it('is found by name, by its first bytes and in a folder, and holds what was written', async () => {
    const path = join(folder, 'train.rec');
    await write(path, images.slice(995, 1005));
    expect(readdirSync(folder).sort()).toEqual(['property', 'train.idx', 'train.lst', 'train.rec']);
    expect(readFileSync(join(folder, 'property'), 'utf8')).toBe('3,20,24\n');
    for (const p of [path, folder]) {
      expect(await formatOf(p)).toBe(recordioFormat);
      const set = await openRecordIO(p);
      expect([set.length, set.classes, set.name, set.identityName(0)]).toEqual([10, 3, path, 'Abel_Pacheco']);
      for (let i = 0; i < 10; i++) {
        expect([set.label(i), set.imageName(i)]).toEqual([i < 5 ? 0 : 1, images[995 + i]!.name]);
        expect(Buffer.compare((await readBytes(set.source(i))).bytes, images[995 + i]!.bytes)).toBe(0);
      }
      expect((await readPicture(set.source(3))).width).toBe(24);
    }
    expect(recordioFormat.detect('x.bin', false, readFileSync(path).subarray(0, 64))).toBe(true);
    expect(recordioFormat.detect('x.bin', false, images[0]!.bytes.subarray(0, 64))).toBe(false);
  });

  it('one property stands for train.rec, or for the only .rec', async () => {
    await write(join(folder, 'train.rec'), images.slice(0, 3));
    writeFileSync(join(folder, 'property'), '7,112,112');
    await write(join(folder, 'val.rec'), images.slice(0, 3));
    expect(readFileSync(join(folder, 'property'), 'utf8')).toBe('7,112,112');
    expect((await openRecordIO(join(folder, 'val.rec'))).classes).toBe(1);
    expect((await openRecordIO(join(folder, 'train.rec'))).classes).toBe(7);
  });

  it('goes on after a crash to the same bytes, whatever of the files was on disk', async () => {
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')];
    mkdirSync(whole);
    mkdirSync(broken);
    await write(join(whole, 'a.rec'), images);
    const path = join(broken, 'a.rec');
    const part = (ending: string) => join(broken, `a.${ending}.part`);
    for (const [after, damage] of [
      [0, () => {}],
      [1500, () => {}],
      [1700, () => truncateSync(part('rec'), 300_001)],
      [1900, () => truncateSync(part('lst'), 9_999)],
      [2000, () => appendFileSync(part('rec'), new Uint8Array(5000))],
      [2000, () => appendFileSync(part('lst'), 'half a li')],
      [2100, () => rmSync(part('lst'))],
    ] as const) {
      const first = await createRecordIO(path);
      for (const image of images.slice(0, after)) await first.add(image);
      await first.abort();
      expect(existsSync(path)).toBe(false);
      damage();
      const second = await createRecordIO(path, { resume: true });
      expect(second.written).toBeLessThanOrEqual(after);
      if (damage.toString() === '() => {}') expect(second.written).toBe(after);
      else if (after < 2100) expect(second.written).toBeGreaterThan(200);
      for (const image of images.slice(second.written)) await second.add(image);
      await second.finish({ identities });
      expect(filesIn(broken)).toEqual(filesIn(whole));
      rmSync(path);
    }
  }, 60_000);

  it('says where it cannot be written or read', async () => {
    await expect(createRecordIO(join(folder, 'x.txt'))).rejects.toThrow(/x\.txt: expected a name that ends in \.rec/);
    await expect(createRecordIO(join(folder, 'no', 'x.rec'))).rejects.toThrow(
      /no: expected a folder to write to, got ENOENT/,
    );
    await expect(openRecordIO(join(folder, 'x.rec'))).rejects.toThrow(/x\.rec: expected a readable file, got ENOENT/);
  });
});

describe('RecordIO of more than 4 GiB', () => {
  it('is opened and read in little memory, with and without an index', async () => {
    // Real pictures far apart: between them, records as large as there may be, of which nothing but the head is on disk.
    const path = join(folder, 'big.rec');
    const file = await openFile(path, 'w');
    const records: { at: number; picture?: Uint8Array }[] = [];
    let at = 0;
    const put = async (label: number, content: number, bytes?: Uint8Array) => {
      const head = Buffer.alloc(32);
      head.writeUInt32LE(0xced7230a, 0);
      head.writeUInt32LE(24 + content, 4);
      head.writeFloatLE(label, 12);
      head.writeUInt32LE(records.length + 1, 16);
      await file.write(head, 0, 32, at);
      if (bytes) await file.write(bytes, 0, bytes.length, at + 32);
      records.push(bytes ? { at, picture: bytes } : { at });
      at += 32 + 4 * Math.ceil(content / 4);
    };
    for (let label = 0; label < 4; label++) {
      const bytes = picture(label + 1);
      await put(label, bytes.length, bytes);
      for (let k = 0; k < 3; k++) await put(label, 2 ** 29 - 1000 - k);
    }
    await put(4, picture(6).length, picture(6));
    await file.truncate(at);
    await file.close();
    expect(at).toBeGreaterThan(5e9);
    expect(records[8]!.at).toBeLessThan(2 ** 32);
    expect(records[12]!.at).toBeGreaterThan(2 ** 32);

    const before = process.memoryUsage().rss;
    for (const indexed of [false, true]) {
      if (indexed) writeFileSync(join(folder, 'big.idx'), records.map((r, k) => `${k + 1}\t${r.at}\n`).join(''));
      const set = await openRecordIO(path);
      expect(Array.from({ length: set.length }, (_, i) => set.label(i))).toEqual([
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4,
      ]);
      for (const [i, { picture: bytes }] of records.entries())
        if (bytes) expect(Buffer.compare((await readBytes(set.source(i))).bytes, bytes), `image ${i}`).toBe(0);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
  }, 30_000);
});
