/** Folders and lists: labels, links, hostile names; written, interrupted, gone on with and read back. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import type { Dataset, PairTable } from '../../../src/data/dataset.ts';
import { openFolder, openPictures, picturesIn } from '../../../src/data/formats/folder.ts';
import { folderFormat } from '../../../src/data/formats/folderFormat.ts';
import type { NewImage, SetWriter } from '../../../src/data/formats/format.ts';
import { openList } from '../../../src/data/formats/list.ts';
import { listFormat } from '../../../src/data/formats/listFormat.ts';

import { readBytes } from '../../../src/data/readImage.ts';
import { fuzz } from '../../helpers/fuzz.ts';

let root = '';
let fresh = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'facegrad-folder-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
const newPath = (name = '') => join(root, `${fresh++}${name}`);

/** A folder with these files. */
function tree(...files: (string | [string, string])[]): string {
  const folder = newPath();
  for (const f of files) {
    const [path, content] = typeof f === 'string' ? [f, ''] : f;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}
/** The message of the error that f gives. */
async function complaint(f: () => unknown, kind: new (m: string) => Error = DataError): Promise<string> {
  try {
    await f();
  } catch (e) {
    expect(e, (e as Error).stack).toBeInstanceOf(kind);
    return (e as Error).message.replaceAll(root, 'ROOT');
  }
  throw new Error('nothing was thrown');
}
const names = (d: Dataset) => Array.from({ length: d.length }, (_, i) => d.imageName(i));
const labels = (d: Dataset) => Array.from({ length: d.length }, (_, i) => d.label(i));
const bytesOf = async (d: Dataset, i: number) => new Uint8Array((await readBytes(d.source(i))).bytes);
const people = (d: Dataset) => Array.from({ length: d.classes }, (_, l) => d.identityName(l));

const jpeg = (content: number) => new Uint8Array([0xff, 0xd8, 0xff, content & 255, content >> 8]);
const png = (content: number) => new Uint8Array([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, content & 255, content >> 8]);
const image = (name: string, label: number, identity: string, bytes = jpeg(1)): NewImage => ({
  name,
  label,
  identity,
  bytes,
});
async function write(writer: SetWriter, images: readonly NewImage[], identities: string[] = [], pairs?: PairTable) {
  for (const i of images.slice(writer.written)) await writer.add(i);
  await writer.finish({ identities, pairs });
}

describe('reading folders', () => {
  it('labels are in the order of identities.txt', async () => {
    const folder = tree('b/1.jpg', 'a/2.jpg', 'a/1.jpg', ['identities.txt', '\uFEFFb\r\nnobody\r\na\r\n']);
    const d = await folderFormat.open(folder);
    expect([people(d), names(d), labels(d)]).toEqual([
      ['b', 'nobody', 'a'],
      ['b/1.jpg', 'a/1.jpg', 'a/2.jpg'],
      [0, 2, 2],
    ]);
    expect(d.source(1)).toEqual({ kind: 'file', path: join(folder, 'a/1.jpg') });
    expect(await complaint(() => openFolder(tree('b/1.jpg', 'a/1.jpg', ['identities.txt', 'b\n'])))).toMatch(
      /identities.txt: expected the name of every folder, but 'a' is missing\nAdd it/,
    );
    expect(await complaint(() => openFolder(tree('b/1.jpg', ['identities.txt', 'b\n\nb\n'])))).toMatch(
      /identities.txt:3: expected each identity once, got 'b' again/,
    );
    expect(people(openFolder(tree('b/1.txt', 'a/1.jpg', ['identities.txt', 'b\na\n'])))).toEqual(['b', 'a']);
    expect(await complaint(() => openFolder(tree('b/1.txt', ['identities.txt', 'b\n'])))).toMatch(/found none/);
  });
  it('pictures without identity folders, or with an empty identities.txt, are of people not known', async () => {
    for (const folder of [tree('b.jpg', 'a.PNG', 'notes.txt'), tree('x/b.jpg', 'a.png', ['identities.txt', ''])]) {
      const d = await folderFormat.open(folder);
      expect([d.classes, labels(d), d.identityName(-1), d.length]).toEqual([0, [-1, -1], '', 2]);
    }
    expect(await complaint(() => folderFormat.open(tree('a.txt')))).toMatch(/found none\nCheck the path/);
  });
  it('follows links to folders and pictures, and says where they lead back', async () => {
    const other = tree('deep/2.jpg', '1.jpg', 'single.jpg');
    const folder = tree('a/1.jpg');
    symlinkSync(other, join(folder, 'b'));
    symlinkSync(join(other, 'single.jpg'), join(folder, 'a/s.jpg'));
    symlinkSync(join(other, 'deep'), join(folder, 'a/also'));
    expect(names(openFolder(folder))).toEqual([
      'a/1.jpg',
      'a/also/2.jpg',
      'a/s.jpg',
      'b/1.jpg',
      'b/deep/2.jpg',
      'b/single.jpg',
    ]);
    expect(picturesIn(folder)[1]).toBe(join(folder, 'a/also/2.jpg'));

    const circles: [string, string][] = [
      ['a/loop', '.'],
      ['a/loop', '..'],
      ['a/loop', '../..'],
      ['loop', '.'],
    ];
    for (const [link, target] of circles) {
      const round = join(tree('set/a/1.jpg'), 'set');
      symlinkSync(join(dirname(join(round, link)), target), join(round, link));
      for (const open of [openFolder, openPictures])
        expect(await complaint(() => open(round)), `${link} to ${target}`).toMatch(
          /this link leads back to .*\nRemove the link/,
        );
    }
    // Two folders that hold links to each other.
    const [x, y] = [tree('in/1.jpg'), tree('in/1.jpg')];
    symlinkSync(join(y, 'in'), join(x, 'in/y'));
    symlinkSync(join(x, 'in'), join(y, 'in/x'));
    expect(await complaint(() => openFolder(x))).toMatch(/leads back to/);

    const dangling = tree('a/1.jpg');
    symlinkSync('nowhere', join(dangling, 'a/2.jpg'));
    expect(await complaint(() => openFolder(dangling))).toMatch(
      /2.jpg: expected a link that leads to a file or folder, got ENOENT/,
    );
    symlinkSync('self', join(dangling, 'self'));
    expect(await complaint(() => openFolder(dangling))).toMatch(/self: expected a link .* got ELOOP/);
  });
  it('says where a folder is still being written, or is none', async () => {
    expect(await complaint(() => folderFormat.open(tree('a/1.jpg', '.facegrad-progress')))).toMatch(
      /expected a whole set, but writing it was interrupted\nGo on with it/,
    );
    expect(await complaint(() => openFolder(join(tree('a.jpg'), 'a.jpg')))).toMatch(/a readable folder, got ENOTDIR/);
  });
  it('reads pairs.txt when asked for it', async () => {
    const good = await folderFormat.open(
      tree('a/a_0001.jpg', 'b/b_0001.jpg', ['pairs.txt', 'a_0001.jpg b_0001.jpg -1\n']),
    );
    expect([good.pairs!.left[0], good.pairs!.right[0], good.pairs!.same[0]]).toEqual([0, 1, 0]);
    const bad = await folderFormat.open(tree('a/a_0001.jpg', ['pairs.txt', 'a_0001.jpg b_0001.jpg -1\n']));
    expect(bad.length).toBe(1);
    expect(await complaint(() => bad.pairs)).toMatch(
      /pairs.txt:1: expected a picture 'b_0001.jpg' or 'b_0001' in ROOT/,
    );
    expect((await folderFormat.open(tree('a/1.jpg'))).pairs).toBeUndefined();
  });
  it('thousands of folders in little time', () => {
    const folder = newPath();
    for (let i = 0; i < 2000; i++) {
      mkdirSync(join(folder, `${i}`), { recursive: true });
      writeFileSync(join(folder, `${i}/1.jpg`), '');
    }
    const start = performance.now();
    expect(openFolder(folder).classes).toBe(2000);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('writing folders', () => {
  it('puts pictures under their person, with the ending of what they are', async () => {
    const path = newPath();
    const images = [
      image('Ann/1.jpg', 0, 'Ann', jpeg(1)),
      image('2', 0, 'Ann', jpeg(2)),
      image('Bob/3.jpg', 0, 'Ann', png(3)),
      image('Cy/4.JPEG', 1, 'Cy', jpeg(4)),
      image('Cy\\5.bmp', 1, 'Cy', png(5)),
    ];
    await write(await folderFormat.create!(path), images, ['Ann', 'Cy']);
    const d = await folderFormat.open(path);
    expect([people(d), names(d), labels(d)]).toEqual([
      ['Ann', 'Cy'],
      ['Ann/1.jpg', 'Ann/2.jpg', 'Ann/Bob/3.png', 'Cy/4.JPEG', 'Cy/5.png'],
      [0, 0, 0, 1, 1],
    ]);
    for (let i = 0; i < 5; i++) expect(await bytesOf(d, i)).toEqual(images[i]!.bytes);
    // Ranks give the labels, and nothing else is left behind.
    expect(readdirSync(path)).toEqual(['Ann', 'Cy']);
  });
  it('keeps labels, those without pictures too, and people that are not known', async () => {
    const path = newPath();
    await write(await folderFormat.create!(path), [image('1.jpg', 10, ''), image('1.jpg', 2, '')], Array(12).fill(''));
    expect(readFileSync(join(path, 'identities.txt'), 'utf8')).toBe('0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n');
    const d = await folderFormat.open(path);
    expect([d.classes, names(d), labels(d)]).toEqual([12, ['2/1.jpg', '10/1.jpg'], [2, 10]]);

    for (const some of [
      ['a.jpg', 'b.jpg'],
      ['x/a.jpg', 'y/a.jpg'],
    ]) {
      const flat = newPath();
      await write(
        await folderFormat.create!(flat),
        some.map((n) => image(n, -1, '')),
      );
      const e = await folderFormat.open(flat);
      expect([e.classes, names(e), labels(e)]).toEqual([0, some, [-1, -1]]);
    }
  });
  it('refuses what a folder cannot hold, naming it', async () => {
    const add = async (...images: NewImage[]) => {
      const path = newPath();
      const writer = await folderFormat.create!(path);
      const said = await complaint(async () => write(writer, images));
      await writer.abort();
      return said.replace(/ROOT\/\d+/, 'SET');
    };
    expect(
      await add(
        image('a/1.jpg', 0, 'a'),
        image('a/2.jpg', 0, 'a'),
        image('1.jpeg', 0, 'a', png(1)),
        image('1.bmp', 0, 'a', png(2)),
      ),
    ).toMatch(
      /^SET: expected images with names of their own, but image 3 \(1.bmp\) and image 2 are both 'a\/1.png'\nRename/,
    );
    for (const hostile of [
      '../x.jpg',
      '/etc/x.jpg',
      'C:\\x.jpg',
      'a/../../x.jpg',
      '.x.jpg',
      'a/.b/c.jpg',
      'x\ud800.jpg',
      'a\0.jpg',
      '',
    ])
      expect(await add(image(hostile, -1, ''))).toMatch(/^SET: expected a name that .* got "/);
    for (const hostile of ['..', 'a/b', '.a', ...(process.platform === 'win32' ? ['CON', 'Jr.'] : [])])
      expect(await add(image('1.jpg', 0, hostile))).toMatch(/^SET: expected a /);
    expect(await add(image('a.jpg', -1, '', new Uint8Array([71, 73, 70, 56])))).toMatch(
      /^SET: expected a JPEG or PNG file for a.jpg, got 4 bytes that begin 47 49 46 38\n/,
    );
    expect(await add(image('a.jpg', -1, '', new Uint8Array(0)))).toMatch(/got 0 bytes that begin nowhere/);
    expect(await add(image('1.jpg', 0, 'a'), image('2.jpg', -1, ''))).toMatch(
      /expected the person of every image as before, but 2.jpg has none/,
    );
    expect(await add(image('1.jpg', 0, 'a'), image('2.jpg', 1, 'a'))).toMatch(/'a' is label 0 and label 1 \(2.jpg\)/);
    expect(await add(image('1.jpg', 0, 'a'), image('2.jpg', 0, 'b'))).toMatch(
      /one name for label 0, got 'a' and 'b' \(2.jpg\)/,
    );
    expect(await complaint(() => folderFormat.create!(tree('old.jpg')))).toMatch(
      /expected an empty folder .* one with old.jpg\nName another/,
    );
    expect(await complaint(() => folderFormat.create!(tree('old.jpg'), { resume: true }))).toMatch(/one with old.jpg/);
    expect(await complaint(() => folderFormat.create!(tree('.facegrad-progress')))).toMatch(
      /interrupted call\nGo on with/,
    );
    expect(await complaint(() => folderFormat.create!(join(tree('file'), 'file')))).toMatch(
      /file: expected to write this, got EEXIST/,
    );
  });
  it('refuses names that the file system does not tell apart', async () => {
    // Where upper and lower case are one, the progress is found by either name; here a second file stands for that.
    const path = tree('.FACEGRAD-PROGRESS');
    let writer = await folderFormat.create!(path);
    await writer.add(image('1.jpg', 0, 'Zo\u00eb'));
    await writer.abort();
    writer = await folderFormat.create!(path, { resume: true });
    for (const other of ['zo\u00eb', 'Zoe\u0308'])
      expect(await complaint(() => writer.add(image('2.jpg', 1, other)))).toMatch(
        /expected names that this file system tells apart, got 'Zo.*' and '.*' \(2.jpg\)\nWrite to one/,
      );
    await writer.add(image('2.jpg', 0, 'Zo\u00eb'));
    await writer.finish({ identities: [] });
    expect(openFolder(path).length).toBe(2);
  });
  it('goes on after an abort and after a kill, to the same files', async () => {
    const images = Array.from({ length: 400 }, (_, i) =>
      image(`p${i % 7}/\u00fc${i}.jpg`, (i * 3) % 7, `p${i % 7}`, jpeg(i)),
    );
    const identities = Array.from({ length: 7 }, (_, l) => `p${(l * 5) % 7}`);
    const pairs: PairTable = {
      folds: 3,
      left: Int32Array.of(5, 399, 0),
      right: Int32Array.of(6, 1, 7),
      same: Uint8Array.of(0, 0, 1),
      fold: Int32Array.of(2, 0, 1),
    };
    const contents = (path: string) =>
      readdirSync(path, { recursive: true, encoding: 'utf8' })
        .sort()
        .filter((f) => f.includes('.'))
        .map((f) => [f, readFileSync(join(path, f), 'latin1')]);
    const whole = newPath();
    await write(await folderFormat.create!(whole), images, identities, pairs);
    expect(existsSync(join(whole, '.facegrad-progress'))).toBe(false);
    expect(contents(whole).length).toBe(402);

    const aborted = newPath();
    let writer = await folderFormat.create!(aborted, { resume: true });
    for (const i of images.slice(0, 77)) await writer.add(i);
    await writer.abort();
    writer = await folderFormat.create!(aborted, { resume: true });
    expect(writer.written).toBe(77);
    await write(writer, images, identities, pairs);
    expect(contents(aborted)).toEqual(contents(whole));

    // Killed: pictures are there that were not noted, one of them half written, and the last note is cut off.
    const killed = newPath();
    writer = await folderFormat.create!(killed);
    for (const i of images.slice(0, 250)) await writer.add(i);
    await writer.abort();
    const progress = join(killed, '.facegrad-progress');
    writeFileSync(progress, readFileSync(progress, 'utf8').split('\n').slice(0, 200).join('\n').slice(0, -1));
    writeFileSync(join(killed, 'p4/\u00fc249.jpg'), '');
    writer = await folderFormat.create!(killed, { resume: true });
    expect(writer.written).toBe(199);
    await write(writer, images, identities, pairs);
    expect(contents(killed)).toEqual(contents(whole));

    const d = await folderFormat.open(killed);
    expect(people(d)).toEqual(identities);
    expect([d.pairs!.folds, [...d.pairs!.fold], [...d.pairs!.same]]).toEqual([3, [2, 0, 1], [0, 0, 1]]);
    expect([...d.pairs!.left].map((i) => d.imageName(i))).toEqual([
      'p5/\u00fc5.jpg',
      'p0/\u00fc399.jpg',
      'p0/\u00fc0.jpg',
    ]);

    // A name that is taken is found also among those of the call before.
    const clash = newPath();
    writer = await folderFormat.create!(clash);
    await writer.add(images[0]!);
    await writer.abort();
    writer = await folderFormat.create!(clash, { resume: true });
    expect(await complaint(() => writer.add({ ...images[0]!, name: '\u00fc0' }))).toMatch(
      /image 1 \(\u00fc0\) and image 0 are both 'p0\/\u00fc0.jpg'/,
    );
    await writer.abort();
  });
  it('what is written is read, whatever the names', async () => {
    const part = fc.oneof(
      fc.constantFrom(
        'Ann',
        'ann',
        '10',
        '2',
        'ä',
        '#a',
        ' a',
        'a b',
        'identities.txt',
        'pairs.txt',
        '\u2028',
        '\uFEFFa',
        '1 1',
      ),
      fc.string({ minLength: 1, maxLength: 6, unit: 'grapheme' }),
    );
    const sets = fc.array(fc.tuple(fc.nat(3), fc.array(part, { minLength: 1, maxLength: 3 })), {
      minLength: 1,
      maxLength: 8,
    });
    let held = 0;
    await fc.assert(
      fc.asyncProperty(
        sets,
        fc.uniqueArray(part, { minLength: 4, maxLength: 4 }),
        fc.boolean(),
        async (rows, who, toList) => {
          const format = toList ? listFormat : folderFormat;
          const path = toList ? join(tree('other'), ' #.txt') : newPath();
          const writer = await format.create!(path);
          const images = rows.map(([label, parts], i) => image(`${parts.join('/')}${i}`, label, who[label]!, jpeg(i)));
          try {
            await write(writer, images, who);
          } catch (error) {
            // A name that no file system takes, or two that are one.
            expect(error).toBeInstanceOf(DataError);
            await writer.abort();
            return;
          }
          held++;
          const d = await format.open(path);
          const got: unknown[] = [];
          for (let i = 0; i < d.length; i++) got.push([(await bytesOf(d, i))[3], d.label(i)]);
          const sorted = toList ? got : got.sort((a, b) => (a as number[])[0]! - (b as number[])[0]!);
          expect([d.classes, sorted]).toEqual([4, images.map((m, i) => [i, m.label])]);
          if (!toList) expect(people(d)).toEqual(who);
        },
      ),
      { numRuns: 120 },
    );
    expect(held).toBeGreaterThan(30);
  });
});

describe('lists', () => {
  it('are written beside their pictures, in the order given', async () => {
    const path = join(tree('other'), '#x.txt');
    const images = [image('b/1', 1, 'Bob'), image('a/2.png', 0, 'Ann', jpeg(2)), image('a/3 .jpg', 4, 'Cy')];
    let writer = await listFormat.create!(path);
    await writer.add(images[0]!);
    await writer.abort();
    writer = await listFormat.create!(path, { resume: true });
    expect(writer.written).toBe(1);
    expect(existsSync(path)).toBe(false);
    await write(writer, images, Array(6).fill(''));
    expect(readFileSync(path, 'utf8')).toBe('./#x/b/1.jpg 1\n./#x/a/2.jpg 0\n./#x/a/3 .jpg 4\n# classes 6\n');
    const d = await listFormat.open(path);
    expect([d.classes, labels(d)]).toEqual([6, [1, 0, 4]]);
    expect(await bytesOf(d, 1)).toEqual(images[1]!.bytes);
    for (const people of [
      [-1, -1],
      [-1, 0],
      [-1, 1],
    ]) {
      const some = newPath('.txt');
      const named = people.map((label, i) => image(`${i}.jpg`, label, label < 0 ? '' : 'P'));
      await write(await listFormat.create!(some), named, Array(Math.max(...people) + 1).fill(''));
      const list = await listFormat.open(some);
      expect([list.classes, labels(list)]).toEqual([Math.max(...people) + 1, people]);
    }
    expect(await complaint(() => listFormat.create!(newPath()), UsageError)).toMatch(
      /expected a list file such as people.txt/,
    );
    expect(await complaint(() => listFormat.create!(join(newPath(), '.txt')), UsageError)).toMatch(
      /expected a list file/,
    );
  });
  it('are read with a byte-order mark, ./ and the number of classes', async () => {
    const list = (text: string) => {
      const path = newPath('.txt');
      writeFileSync(path, text);
      return path;
    };
    expect(names(openList(list('\uFEFF./#a.jpg 0\n b.jpg 1\n\u2028.jpg 0')))).toEqual([
      '#a.jpg',
      ' b.jpg',
      '\u2028.jpg',
    ]);
    expect(openList(list('a.jpg 0\r\n# classes 5\r\n')).classes).toBe(5);
    expect(await complaint(() => openList(list('a.jpg 7\n# classes 5')))).toMatch(
      /:1: expected a label below the 5 classes, got 7/,
    );
    expect(await complaint(() => openList(list('a.jpg 0\nb.jpg 16777215')))).toMatch(/but 1 is missing/);
    for (const classes of [16777217, 999999999])
      expect(await complaint(() => openList(list(`# classes ${classes}\na.jpg 0`)))).toMatch(
        /at most 16777216 classes/,
      );
    expect(await complaint(() => openList(list('a.jpg 16777216')))).toMatch(
      /:1: expected 'path label' with a whole label/,
    );
  });
  it('damaged give a list or a DataError', async () => {
    const few = { cuts: 60, flips: 150, numbers: 50 };
    const path = newPath('.txt');
    const read = (bytes: Uint8Array) => {
      writeFileSync(path, bytes);
      const d = openList(path);
      for (let i = 0; i < d.length; i++)
        expect([d.label(i) < d.classes, typeof d.imageName(i), d.source(i).kind]).toEqual([true, 'string', 'file']);
    };
    await fuzz(
      read,
      new TextEncoder().encode('# people\na/1 x.jpg 1\r\nb\\2.jpg\t0\n\n/abs/3.jpg 1\n# classes 3\n'),
      path,
      few,
    );
    const folder = tree('a/1.jpg', 'b/2.jpg');
    const identities = (bytes: Uint8Array) => {
      writeFileSync(join(folder, 'identities.txt'), bytes);
      labels(openFolder(folder));
    };
    const { read: good } = await fuzz(identities, new TextEncoder().encode('b\nnobody\na\n'), folder, few);
    expect(good).toBeGreaterThan(0);
  });
});

const shared = fileURLToPath(new URL('../../../../shared/data/train/celeba112', import.meta.url));
const present = existsSync(shared);
if (!present) console.log(`skipped: no real data under ${shared}, no real folder converted`);
describe.skipIf(!present)('a real set', () => {
  it('goes to a folder and to a list and back unchanged', async () => {
    const set = await folderFormat.open(shared);
    expect([set.classes, set.length]).toEqual([289, 5863]);
    const some = names(set)
      .map((_, i) => i)
      .filter((i) => i % 9 === 0);
    const used = new Set(some.map((i) => set.label(i)));
    for (const [format, path] of [
      [folderFormat, newPath()],
      [listFormat, newPath('.txt')],
    ] as const) {
      const writer = await format.create!(path);
      const images: NewImage[] = [];
      for (const i of some)
        images.push({
          name: set.imageName(i),
          label: set.label(i),
          identity: set.identityName(set.label(i)),
          bytes: await bytesOf(set, i),
        });
      await write(writer, images, people(set));
      const back = await format.open(path);
      expect([back.classes, back.length]).toEqual([289, some.length]);
      expect(names(back)).toEqual(images.map((m) => m.name));
      expect(labels(back)).toEqual(images.map((m) => m.label));
      expect(await bytesOf(back, 100)).toEqual(images[100]!.bytes);
      expect(existsSync(join(path, 'identities.txt'))).toBe(format === folderFormat && used.size < 289);
    }
  });
});
