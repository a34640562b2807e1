/** Pairs as text: every form read by hand-made examples, written and read back, and damaged. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import type { PairTable } from '../../src/data/dataset.ts';
import { openDataset } from '../../src/data/open.ts';
import { contiguousFolds, formatPairs, type NamedImages, parsePairs } from '../../src/data/pairs.ts';
import { readPairs, readPairTable } from '../../src/data/readPairs.ts';
import { fuzz } from '../helpers/fuzz.ts';

const images = (...names: string[]): NamedImages => ({
  name: 'SET',
  length: names.length,
  imageName: (i) => names[i]!,
});
const flat = (t: PairTable) => [t.folds, [...t.left], [...t.right], [...t.same], [...t.fold]];
function complaint(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    expect(e).toBeInstanceOf(DataError);
    return (e as Error).message;
  }
  throw new Error('nothing was thrown');
}

describe('contiguousFolds', () => {
  it('are those of KFold', () => {
    // numpy.array_split(range(23), 10) has these sizes; KFold's rule is the same.
    const sizes = (n: number, k?: number) => {
      const fold = contiguousFolds(n, k);
      expect([...fold]).toEqual([...fold].sort((a, b) => a - b));
      return Array.from({ length: Math.max(...fold) + 1 }, (_, f) => fold.filter((x) => x === f).length);
    };
    expect(sizes(23)).toEqual([3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
    expect(sizes(7, 3)).toEqual([3, 2, 2]);
    expect(sizes(6000)).toEqual(Array(10).fill(600));
    expect(sizes(4)).toEqual([1, 1, 1, 1]);
    expect(contiguousFolds(0).length).toBe(0);
  });
});

describe('parsePairs', () => {
  const faces = images('Ann/Ann_0001.jpg', 'Ann/Ann_0012.jpg', 'Cy/Cy_0003.png', 'Dee_0002.jpg', 'x/00007.jpg');
  const both = [2, [0, 0, 1, 2], [1, 2, 0, 3], [1, 0, 1, 0], [0, 0, 1, 1]];
  const lfw = ['Ann\t1\t12', 'Ann\t1\tCy\t3', 'Ann\t12\t1', 'Cy\t3\tDee\t2'];
  it('reads pairs.txt with tabs, spaces, Windows line ends, a byte-order mark and none at the end', () => {
    for (const text of [
      ['2\t1', ...lfw, ''].join('\n'),
      ['2 1', ...lfw].join('\n').replaceAll('\t', '  '),
      `\uFEFF${['2\t1', ...lfw, '', ''].join('\r\n')}`,
      ['# people', '2\t1', '', ...lfw].join('\n'),
    ])
      expect(flat(parsePairs(text, 'p', faces))).toEqual(both);
  });
  it('reads pairsDev*.txt: one number, one fold, the same before the different', () => {
    const text = ['2', lfw[0], lfw[2], lfw[1], lfw[3]].join('\n');
    expect(flat(parsePairs(text, 'p', faces))).toEqual([1, [0, 1, 0, 2], [1, 0, 2, 3], [1, 1, 0, 0], [0, 0, 0, 0]]);
  });
  it('reads CSV', () => {
    const text = ['name,imagenum1,imagenum2,', 'Ann,1,12,', 'Ann,1,Cy,3'].join('\r\n');
    expect(flat(parsePairs(text, 'p', faces))).toEqual([2, [0, 0], [1, 2], [1, 0], [0, 1]]);
    const list = ['a,b,same', 'Ann/Ann_0001.jpg,Cy/Cy_0003.png,0'].join('\n');
    expect(flat(parsePairs(list, 'p.csv', faces))).toEqual([1, [0], [2], [0], [0]]);
  });
  it('reads lists: 1, -1 or 0, folders, backslashes, names with spaces between tabs, other endings', () => {
    const expected = [2, [0, 4], [1, 2], [1, 0], [0, 1]];
    for (const text of [
      'Ann/Ann_0001.jpg Ann/Ann_0012.jpg 1\n00007.jpg Cy_0003.png -1',
      'Ann/Ann_0001.jpg Ann/Ann_0012.jpg 1\nx/00007.jpg Cy_0003.png 0',
      'Ann\\Ann_0001.jpg\t.\\Ann\\Ann_0012.jpg\t+1\nx\\00007.png\tCy_0003\t-1',
      '# folds 2\nAnn_0001 Ann_0012 1\n00007 Cy_0003 0\n',
      'Ann_0001 Ann_0012 1\n00007 Cy_0003 0\n',
      'x/00007 Ann_0012 1\nx/00007 Cy_0003 0\n'.replace('x/00007', 'Ann/Ann_0001'),
    ])
      expect(flat(parsePairs(text, 'p', faces)), text).toEqual(expected);
    expect(flat(parsePairs('1\na b.jpg\tsub/c.jpg\t1\na b.jpg\tc\t-1', 'p', images('a b.jpg', 'sub/c.jpg')))).toEqual([
      1,
      [0, 0],
      [1, 1],
      [1, 0],
      [0, 0],
    ]);
    expect(
      parsePairs('2 1\na.jpg b.jpg 1\na.jpg b.jpg -1\na.jpg b.jpg 1\na.jpg b.jpg -1', 'p', images('a.jpg', 'b.jpg'))
        .folds,
    ).toBe(2);
    expect(
      flat(parsePairs('# folds 3\na.jpg b.jpg 1 2\na.jpg b.jpg 0 0\nb.jpg a.jpg 0 2', 'p', images('a.jpg', 'b.jpg'))),
    ).toEqual([3, [0, 0, 1], [1, 1, 0], [1, 0, 0], [2, 0, 2]]);
  });
  it('takes the best match and names both where two are as good', () => {
    const of = (name: string, ...set: string[]) => parsePairs(`${name} z.jpg -1`, 'p', images('z.jpg', ...set)).left[0];
    expect(of('a.jpg', 'sub/a.jpg', 'a.jpg', 'a.png')).toBe(2);
    expect(of('a', 'sub/a.jpg', 'a.jpg')).toBe(2);
    expect(of('s/a.jpg', 'r/s/a.jpg', 'r/a.jpg')).toBe(1);
    expect(complaint(() => of('a.jpg', 'x/a.jpg', 'y/a.jpg'))).toMatch(
      /^p:1: expected one picture 'a.jpg' in SET, found images 1 \(x\/a.jpg\) and 2 \(y\/a.jpg\)\nWrite its path/,
    );
    expect(complaint(() => of('a', 'a.jpg', 'a.png'))).toMatch(/images 1 \(a.jpg\) and 2 \(a.png\)/);
    expect(complaint(() => of('b/a.jpg', 'a.jpg'))).toMatch(
      /^p:1: expected a picture 'b\/a.jpg' or 'b\/a' in SET, found none/,
    );
  });
  it('complains with name and line', () => {
    const of = (...l: string[]) => complaint(() => parsePairs(l.join('\n'), 'p', faces));
    expect(of('2 1', 'Ann x 1')).toMatch(/^p:2: expected a picture number, got 'x'/);
    expect(of('Ann 1')).toMatch(/^p:1: expected 3 fields .* or 4 .*, got 2/);
    expect(of('a.jpg b.jpg 1', 'a.jpg b.jpg 2')).toMatch(
      /^p:2: expected two pictures and 1 .* or -1, got 'a.jpg b.jpg 2'/,
    );
    expect(of('a b.jpg b.jpg -1')).toMatch(/^p:1: .*\nWrite .* tabs/);
    expect(of('# folds 2', 'a.jpg b.jpg 1 0', 'a.jpg b.jpg 1')).toMatch(/^p:3: expected a fold in a fourth column/);
    expect(of('# folds 2', 'a.jpg b.jpg 1', 'a.jpg b.jpg 1 0')).toMatch(/^p:3: expected no fold/);
    expect(of('# folds 1', 'a.jpg b.jpg 1 -3')).toMatch(/^p:2: expected a fold counted from 0, got '-3'/);
    expect(of('# folds 1', 'Ann_0001 Cy_0003 1 1')).toMatch(/^p:1: expected folds 0 to 0, but a pair is in fold 1/);
    expect(of('# folds 9', 'Ann_0001 Cy_0003 1')).toMatch(/^p:1: expected 1 to 1 folds of its 1 pairs, got 9/);
    expect(of('# folds 0', 'Ann_0001 Cy_0003 1')).toMatch(/^p:1: expected 1 to 1 folds/);
    expect(of('Ann_0001 Cy_0003 1 700000000')).toMatch(/^p: expected 1 to 1 folds of its 1 pairs, got 700000001/);
    for (const header of ['3 1', '0', '5 0', '99999999999999999999 9999999999999999999999', '3'])
      expect(of(header, ...lfw)).toMatch(/^p: its header promises/);
    expect(of('')).toMatch(/^p: expected pairs, found none/);
  });
});

/** Names that files have, from plain to hostile. */
const anyName = fc.oneof(
  fc
    .tuple(fc.constantFrom('Ann', 'Bob_B', 'Cy'), fc.integer({ min: 0, max: 12345 }), fc.constantFrom('jpg', 'png'))
    .map(([p, n, e]) => `${p}/${p}_${String(n).padStart(4, '0')}.${e}`),
  fc.constantFrom(
    '#1.jpg',
    ' a.jpg',
    'a b/c d.png',
    '-1',
    '1',
    '0001',
    'ä/ß.jpg',
    './x.jpg',
    '# folds 9',
    'name,1',
    '\uFEFFa',
    'a\\b.jpg',
  ),
  fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }).filter((s) => !/[\t\r\n]|\p{Cs}/u.test(s)),
);
const tables = fc
  .uniqueArray(anyName, { minLength: 1, maxLength: 30 })
  .chain((names) =>
    fc.record({
      names: fc.constant(names),
      folds: fc.integer({ min: 1, max: 4 }),
      pairs: fc.array(
        fc.tuple(fc.nat(names.length - 1), fc.nat(names.length - 1), fc.boolean(), fc.integer({ min: 0, max: 3 })),
        { minLength: 4, maxLength: 20 },
      ),
      even: fc.boolean(),
    }),
  )
  .map(({ names, folds, pairs, even }) => ({
    set: images(...names),
    table: {
      folds,
      left: Int32Array.from(pairs, (p) => p[0]),
      right: Int32Array.from(pairs, (p) => p[1]),
      same: Uint8Array.from(pairs, (p) => Number(p[2])),
      fold: even ? contiguousFolds(pairs.length, folds) : Int32Array.from(pairs, (p) => p[3] % folds),
    },
  }));

describe('formatPairs', () => {
  it('writes what parsePairs reads, whatever the names and folds', () => {
    let refused = 0;
    let runs = 0;
    fc.assert(
      fc.property(tables, ({ set, table }) => {
        runs++;
        let text: string;
        try {
          text = formatPairs(table, set);
        } catch (error) {
          // Two of the names may be one to a reader, such as './#1.jpg' and '#1.jpg'.
          expect(error).toBeInstanceOf(DataError);
          refused++;
          return;
        }
        expect(flat(parsePairs(text, 'p', set))).toEqual(flat(table));
      }),
      { numRuns: 500 },
    );
    expect(refused).toBeLessThan(runs / 50);
  });
  it('writes pairs.txt for whatever has its form', () => {
    const people = ['Ann', 'Bob', '12', 'Cy-1'];
    const set = images(...people.flatMap((p) => [1, 2, 30].map((n) => `${p}/${p}_${String(n).padStart(4, '0')}.jpg`)));
    const row = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(2), fc.nat(2));
    const sizes = fc.record({ folds: fc.integer({ min: 1, max: 4 }), n: fc.integer({ min: 1, max: 4 }) });
    fc.assert(
      fc.property(sizes, fc.array(row, { minLength: 32, maxLength: 32 }), ({ folds, n }, rows) => {
        const used = rows.slice(0, 2 * n * folds);
        const same = Uint8Array.from(used, (_, k) => Number(k % (2 * n) < n));
        const table = {
          folds,
          same,
          left: Int32Array.from(used, ([p, , i]) => 3 * p + i),
          right: Int32Array.from(used, ([p, q, , j], k) => 3 * (same[k] ? p : q) + j),
          fold: Int32Array.from(used, (_, k) => Math.floor(k / (2 * n))),
        };
        const text = formatPairs(table, set);
        expect(text.split('\n')[0]).toBe(folds === 1 ? `${n}` : `${folds}\t${n}`);
        expect(flat(parsePairs(text, 'p', set))).toEqual(flat(table));
      }),
    );
  });
  it('writes pairs.txt where it fits, else a list', () => {
    const set = images('A/A_0001.jpg', 'A/A_0002.jpg', 'B/B_0001.jpg', 'B/B_0003.jpg', 'c.jpg', 'A/A_0002.png');
    const write = (folds: number, rows: number[][], of = set) =>
      formatPairs(
        {
          folds,
          left: Int32Array.from(rows, (r) => r[0]!),
          right: Int32Array.from(rows, (r) => r[1]!),
          same: Uint8Array.from(rows, (r) => r[2]!),
          fold: Int32Array.from(rows, (r) => r[3]!),
        },
        of,
      );
    expect(
      write(2, [
        [2, 3, 1, 0],
        [0, 3, 0, 0],
        [3, 2, 1, 1],
        [2, 0, 0, 1],
      ]),
    ).toBe('2\t1\nB\t1\t3\nA\t1\tB\t3\nB\t3\t1\nB\t1\tA\t1\n');
    expect(
      write(1, [
        [2, 3, 1, 0],
        [0, 3, 0, 0],
      ]),
    ).toBe('1\nB\t1\t3\nA\t1\tB\t3\n');
    // Different first; of another set's form; two pictures that LFW's form does not tell apart.
    expect(
      write(1, [
        [0, 3, 0, 0],
        [2, 3, 1, 0],
      ]),
    ).toBe('# folds 1\nA/A_0001.jpg\tB/B_0003.jpg\t-1\nB/B_0001.jpg\tB/B_0003.jpg\t1\n');
    expect(
      write(1, [
        [2, 3, 1, 0],
        [0, 4, 0, 0],
      ]),
    ).toMatch(/^# folds 1\n/);
    expect(
      write(1, [
        [0, 1, 1, 0],
        [0, 3, 0, 0],
      ]),
    ).toBe('# folds 1\nA/A_0001.jpg\tA/A_0002.jpg\t1\nA/A_0001.jpg\tB/B_0003.jpg\t-1\n');
    expect(
      write(2, [
        [0, 1, 1, 1],
        [0, 3, 0, 0],
      ]),
    ).toBe('# folds 2 (fourth column, from 0)\nA/A_0001.jpg\tA/A_0002.jpg\t1\t1\nA/A_0001.jpg\tB/B_0003.jpg\t-1\t0\n');
    expect(complaint(() => write(1, [[0, 1, 1, 0]], images('a', 'a')))).toMatch(/found images 0 \(a\) and 1 \(a\)/);
    expect(complaint(() => write(1, [[0, 1, 1, 0]], images('a', 'b\nc')))).toMatch(
      /fit in a line .* image 1 is "b\\nc"/,
    );
    expect(complaint(() => write(1, [[0, 2, 1, 0]], images('a', 'b')))).toMatch(/its 2 images, got image 2/);
    expect(complaint(() => write(2, [[0, 1, 1, 0]], images('a', 'b')))).toMatch(/got 1 in 2 folds/);
  });
});

describe('damaged files of pairs', () => {
  const names = ['Ann/Ann_0001.jpg', 'Ann/Ann_0012.jpg', 'Cy/Cy_0003.png'];
  const read = (bytes: Uint8Array) => parsePairs(new TextDecoder().decode(bytes), 'FILE', images(...names));
  const encode = (s: string) => new TextEncoder().encode(s);
  it('give pairs or a DataError', async () => {
    for (const text of [
      '2\t1\nAnn\t1\t12\nAnn\t1\tCy\t3\nAnn\t12\t1\nCy\t3\tAnn\t12\n',
      '# folds 2 (fourth column, from 0)\nAnn_0001.jpg Cy_0003.png -1 0\nAnn/Ann_0001.jpg\tAnn_0012.jpg\t1\t1\n',
      'name,imagenum1,imagenum2,\nAnn,1,12,\nAnn,1,Cy,3\n',
    ]) {
      const { read: good, refused } = await fuzz(read, encode(text), 'FILE');
      expect(good).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
    }
  });
  it('random text too', () => {
    const piece = fc.constantFrom(
      'Ann',
      'Cy',
      '1',
      '12',
      '3',
      '-1',
      '0',
      '\t',
      ' ',
      '\n',
      '\r\n',
      ',',
      '/',
      '.jpg',
      '_0001',
      '# folds ',
      'name,',
      '\uFEFF',
      '\\',
    );
    const text = fc.array(fc.oneof({ weight: 5, arbitrary: piece }, fc.string({ maxLength: 5 })), { maxLength: 60 });
    fc.assert(
      fc.property(text, (pieces) => {
        try {
          const t = read(encode(pieces.join('')));
          const n = t.left.length;
          expect([t.right.length, t.same.length, t.fold.length]).toEqual([n, n, n]);
          for (const i of [...t.left, ...t.right]) expect(i >= 0 && i < names.length).toBe(true);
          expect(t.folds >= 1 && t.folds <= n && t.fold.every((f) => f >= 0 && f < t.folds)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toMatch(/^FILE/);
        }
      }),
      { numRuns: 2000 },
    );
  });
  it('are read in time, however long their names and lines', () => {
    const deep = `${'a/'.repeat(30_000)}b.jpg`;
    const start = performance.now();
    expect(complaint(() => parsePairs(`${deep} x.jpg -1`, 'p', images(deep)))).toMatch(/found none/);
    expect(complaint(() => parsePairs(`${' '.repeat(100_000)}1\t-1`, 'p', images('a')))).toMatch(/^p:1/);
    expect(complaint(() => parsePairs('1\t'.repeat(100_000), 'p', images('a')))).toMatch(/^p:1/);
    for (const line of [
      `${','.repeat(60_000)}x`,
      `${' ,'.repeat(30_000)}x`,
      `${'./'.repeat(5e6)}a`,
      `${' '.repeat(1e7)}x`,
    ])
      expect(complaint(() => parsePairs(`name,a\n${line}`, 'p', images('a')))).toMatch(/^p:2/);
    expect(complaint(() => parsePairs(`${'./'.repeat(5e6)}a b 1`, 'p', images('a')))).toMatch(/^p:1: expected a line/);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

const shared = fileURLToPath(new URL('../../../shared/data/verify/lfw112', import.meta.url));
const present = existsSync(shared);
if (!present) console.log(`skipped: no real data under ${shared}, pairs of LFW not read`);
describe.skipIf(!present)('real pairs', () => {
  it('LFW opens with its pairs, which are written as they are', async () => {
    const set = await openDataset(shared);
    const pairs = set.pairs!;
    expect([set.classes, set.length, pairs.folds, pairs.left.length]).toEqual([1241, 2320, 3, 1800]);
    expect(set.imageName(pairs.right[0]!)).toBe('Abel_Pacheco/Abel_Pacheco_0004.jpg');
    for (let k = 0; k < 1800; k++) {
      const same = set.label(pairs.left[k]!) === set.label(pairs.right[k]!);
      expect([pairs.fold[k], pairs.same[k]]).toEqual([Math.floor(k / 600), Number(same)]);
    }
    expect(formatPairs(pairs, set)).toBe(readFileSync(`${shared}/pairs.txt`, 'utf8'));
    expect(readPairTable(`${shared}/pairs.txt`, set)).toEqual(pairs);
    expect(readPairs(`${shared}/pairs.txt`, set).pairs).toEqual(readPairs(`${shared}/pairs.txt`, shared).pairs);
  });
});
