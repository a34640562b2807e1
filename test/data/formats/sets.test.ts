import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError } from '../../../src/core/errors.ts';
import type { ImageSource } from '../../../src/data/dataset.ts';
import { openFolder } from '../../../src/data/formats/folder.ts';
import { openList } from '../../../src/data/formats/list.ts';
import { readPairs } from '../../../src/data/readPairs.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'facegrad-sets-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Writes a file below the test's folder (its content does not matter to these readers unless given). */
function put(path: string, content = ''): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}
const pathOf = (s: ImageSource) => (s.kind === 'file' ? s.path : '');
/** The message of the DataError that f throws. */
function complaint(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    expect(e).toBeInstanceOf(DataError);
    return (e as Error).message.replaceAll(root, 'ROOT');
  }
  throw new Error('nothing was thrown');
}

describe('openFolder', () => {
  it('labels identities by the order of their names, pictures by theirs', () => {
    for (const f of [
      'b/2.png',
      'b/10.JPG',
      'a/x.jpeg',
      'a/notes.txt',
      'a/.hidden.jpg',
      'C/deep/1.jpg',
      '.git/1.jpg',
      'info.json',
    ]) {
      put(`people/${f}`);
    }
    const d = openFolder(join(root, 'people'));
    const all = Array.from({ length: d.length }, (_, i) => [d.identityName(d.label(i)), pathOf(d.source(i))]);
    expect([d.classes, all.map(([n, p]) => `${n}: ${p!.slice(root.length + 8)}`)]).toEqual([
      3,
      ['C: C/deep/1.jpg', 'a: a/x.jpeg', 'b: b/10.JPG', 'b: b/2.png'],
    ]);
  });
  it('complains of an empty identity, of none, of no folder', () => {
    put('holes/a/1.jpg');
    put('holes/b/readme.txt');
    expect(complaint(() => openFolder(join(root, 'holes')))).toMatch(
      /^ROOT\/holes\/b: .*found none\nAdd pictures or remove/,
    );
    put('flat/identities.txt', 'a\n');
    expect(complaint(() => openFolder(join(root, 'flat')))).toMatch(/^ROOT\/flat: expected one folder of pictures per/);
    expect(complaint(() => openFolder(join(root, 'nowhere')))).toMatch(/^ROOT\/nowhere: .* ENOENT\n/);
  });
});

describe('openList', () => {
  it('reads paths, with spaces or backslashes, and labels', () => {
    const list = put('lists/a.txt', '# people\na/1 x.jpg 1\r\nb\\2.jpg\t0\n\n/abs/3.jpg 1\n');
    const d = openList(list);
    expect([d.classes, d.length, [0, 1, 2].map((i) => d.label(i))]).toEqual([2, 3, [1, 0, 1]]);
    expect([0, 1, 2].map((i) => pathOf(d.source(i)))).toEqual([
      join(root, 'lists/a/1 x.jpg'),
      join(root, 'lists/b/2.jpg'),
      '/abs/3.jpg',
    ]);
    expect(pathOf(openList(list, { root: '/else' }).source(0))).toBe('/else/a/1 x.jpg');
  });
  it('complains with file and line', () => {
    for (const bad of ['c.jpg', 'c.jpg x', 'c.jpg -2', 'c.jpg 1.5', 'c.jpg 0x1', '7']) {
      const list = put('lists/bad.txt', `a.jpg 0\n${bad}\n`);
      expect(complaint(() => openList(list))).toMatch(/^ROOT\/lists\/bad\.txt:2: expected 'path label'/);
    }
    expect(complaint(() => openList(put('lists/empty.txt', '\n')))).toMatch(/found none/);
    expect(complaint(() => openList(join(root, 'lists/none.txt')))).toMatch(
      /none\.txt: expected a list file, got ENOENT/,
    );
  });
  it('wants labels without gaps, unless told how many there are', () => {
    const list = put('lists/gap.txt', 'a.jpg 0\nb.jpg 3\n');
    expect(complaint(() => openList(list))).toMatch(/labels 0 to 3 without gaps, but 1 is missing/);
    expect(openList(list, { classes: 9 }).classes).toBe(9);
    expect(complaint(() => openList(list, { classes: 3 }))).toMatch(
      /gap\.txt:2: expected a label below the 3 classes, got 3/,
    );
  });
});

describe('readPairs', () => {
  const images = () => {
    for (const f of ['Ann_B/Ann_B_0001.jpg', 'Ann_B/Ann_B_0012.jpg', 'Cy/Cy_0003.png', 'Dee_0002.jpg'])
      put(`faces/${f}`);
    return join(root, 'faces');
  };
  const lines = ['Ann_B\t1\t12', 'Ann_B\t12\t1', 'Ann_B\t1\tCy\t3', 'Cy\t3\tDee\t2'];
  it('reads folds, same and different, nested and flat pictures', () => {
    const faces = images();
    const set = readPairs(put('p/a.txt', ['2\t1', lines[0], lines[2], lines[1], lines[3], ''].join('\n')), faces);
    const { left, right, same, fold, folds } = set.pairs;
    expect(folds).toBe(2);
    const named = (i: number) => pathOf(set.images.source(i)).slice(root.length + 7);
    expect(Array.from(left, (l, k) => [named(l), named(right[k]!), same[k] === 1, fold[k]])).toEqual([
      ['Ann_B/Ann_B_0001.jpg', 'Ann_B/Ann_B_0012.jpg', true, 0],
      ['Ann_B/Ann_B_0001.jpg', 'Cy/Cy_0003.png', false, 0],
      ['Ann_B/Ann_B_0012.jpg', 'Ann_B/Ann_B_0001.jpg', true, 1],
      ['Cy/Cy_0003.png', 'Dee_0002.jpg', false, 1],
    ]);
    const one = readPairs(put('p/b.txt', `2\r\n${lines.join('\r\n')}\r\n`), faces);
    expect([one.pairs.folds, [...one.pairs.fold]]).toEqual([1, [0, 0, 0, 0]]);
    const bare = readPairs(put('p/c.txt', lines.join('\n')), faces);
    expect([bare.pairs.folds, [...bare.pairs.fold]]).toEqual([4, [0, 1, 2, 3]]);
  });
  it('complains with file and line', () => {
    const faces = images();
    const read = (...l: string[]) => complaint(() => readPairs(put('p/bad.txt', l.join('\n')), faces));
    expect(read('1\t1', lines[0]!, 'Ann_B\t1\tEve\t4')).toMatch(
      /^ROOT\/p\/bad\.txt:3: expected a picture 'Eve\/Eve_0004' or 'Eve_0004' in ROOT\/faces, found none\n/,
    );
    expect(read('1\t1', 'Ann_B 1')).toMatch(/bad\.txt:2: expected 3 fields .* or 4 .*, got 2/);
    expect(read('1\t1', 'Ann_B x 1')).toMatch(/bad\.txt:2: expected a picture number, got 'x'/);
    expect(read('2\t1', lines[0]!, lines[2]!)).toMatch(/promises 2 folds of 2 pairs, but it holds 2/);
    expect(read('')).toMatch(/expected pairs, found none/);
    expect(complaint(() => readPairs(join(root, 'no.txt'), faces))).toMatch(/expected a pairs file, got ENOENT/);
  });
});

const shared = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const present = existsSync(shared);
if (!present) console.log(`skipped: no real data under ${shared}`);
describe.skipIf(!present)('real data', () => {
  it('LFW folds 1 to 3', () => {
    const { pairs } = readPairs(join(shared, 'verify/lfw112/pairs.txt'), join(shared, 'verify/lfw112'));
    expect([pairs.folds, pairs.left.length]).toEqual([3, 1800]);
    pairs.fold.forEach((fold, i) => {
      expect([fold, pairs.same[i]]).toEqual([Math.floor(i / 600), Number(i % 600 < 300)]);
    });
  });
  it('CelebA folders', () => {
    const d = openFolder(join(shared, 'train/celeba112'));
    expect([d.classes, d.length, d.identityName(0)]).toEqual([289, 5863, '7201']);
  });
});
