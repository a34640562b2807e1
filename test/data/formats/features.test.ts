import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/core/errors.ts';
import { rangesOf } from '../../../src/core/ranges.ts';
import { memorySource } from '../../../src/data/bytes.ts';
import { featureFiles, mergeFeatureFiles, readFeatureFiles } from '../../../src/data/formats/featureFiles.ts';
import {
  describeMatrix,
  featureHeader,
  openFeatures,
  readFeature,
  writeFeatures,
} from '../../../src/data/formats/features.ts';
import { writeNpy } from '../../../src/weights/npy.ts';
import { writeNpz } from '../../../src/weights/npz.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import golden from '../../reference/npz.json' with { type: 'json' };

const root = mkdtempSync(join(tmpdir(), 'facegrad-features-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = '';
let next = 0;
beforeEach(() => {
  folder = join(root, String(next++));
  mkdirSync(folder);
});

const packed = (name: keyof typeof golden.features) => new Uint8Array(Buffer.from(golden.features[name], 'base64'));
const count = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('matrices of Python', () => {
  it('one face: a column', async () => {
    const one = rangesOf(packed('single'), 'a.feat');
    expect((await openFeatures(one)).shape).toEqual([5, 1]);
    expect([...(await readFeature(one))]).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(writeFeatures(Float32Array.of(0, 0.25, 0.5, 0.75, 1), 1)).toEqual(packed('single'));
  });
  it('stacked, float64, and with rows that are padded', async () => {
    for (const name of ['stacked', 'double', 'padded'] as const) {
      const matrix = await openFeatures(rangesOf(packed(name), name));
      expect([matrix.type, matrix.length, matrix.width]).toEqual([name === 'double' ? '<f8' : '<f4', 6, 4]);
      expect([...(await matrix.rows(0, 6))], name).toEqual(count(24));
      expect([...(await matrix.rows(2, 3))], name).toEqual(count(24).slice(8, 20));
      await expect(matrix.rows(4, 3)).rejects.toThrow(UsageError);
    }
    expect(writeFeatures(Float32Array.from(count(24)), 4)).toEqual(packed('stacked'));
    await expect(readFeature(rangesOf(packed('stacked'), 'm.bin'))).rejects.toThrow(
      /m\.bin: expected the features of one face, got a matrix of 6 x 4/,
    );
  });
});

it('what is written is read back, whole and by rows', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 0, max: 20 }),
      fc.integer({ min: 1, max: 7 }),
      async (width, rows, block) => {
        const data = Float32Array.from({ length: rows * width }, (_, i) => Math.fround(Math.cos(i)));
        const matrix = await openFeatures(rangesOf(writeFeatures(data, width), 'm'));
        const out: number[] = [];
        for (let at = 0; at < rows; at += block) out.push(...(await matrix.rows(at, Math.min(block, rows - at))));
        expect(Float32Array.from(out)).toEqual(data);
      },
    ),
    { seed: 1 },
  );
  expect(() => writeFeatures(new Float32Array(7), 2)).toThrow(UsageError);
  expect(() => featureHeader(2 ** 31, 1)).toThrow(UsageError);
  expect(() => featureHeader(1, 2 ** 29)).toThrow(UsageError);
});

it('headers that the file does not hold are refused, saying where', async () => {
  const header = (...n: number[]) => new Uint8Array(Int32Array.from(n).buffer);
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(15), /^a\.bin: expected a header of 16 bytes at offset 0, got 15 bytes/],
    [header(2, 2, 8, 5), /^a\.bin: expected 32 bytes for 2 rows of 8, got 16/],
    [header(0x7fffffff, 0x7fffffff, 0x7fffffff, 5), /rows of 8589934588 bytes at offset 8, got 2147483647/],
    [header(0x7fffffff, 512, 2048, 5), /expected 4398046509072 bytes/],
    [header(-1, 2, 8, 5), /whole numbers of rows and columns at offset 0, got -1 and 2/],
    [header(1, 1, 6, 5), /expected rows of 4 bytes at offset 8, got 6/],
    [header(0, 0, 0, 0), /type 5 \(float32\) or 6 \(float64\) at offset 12, got 0/],
  ];
  for (const [bytes, message] of cases) await expect(openFeatures(rangesOf(bytes, 'a.bin'))).rejects.toThrow(message);
  const nothing = await openFeatures(rangesOf(header(0x7fffffff, 0, 0, 6), 'a.bin'));
  expect(await nothing.rows(0, 0x7fffffff)).toHaveLength(0);
  await expect(readFeature(rangesOf(header(0, 1, 4, 5), 'a.bin'))).rejects.toThrow(/expected the features of one face/);
});

it('damaged copies give numbers or a DataError', async () => {
  for (const name of ['stacked', 'double', 'padded'] as const)
    await fuzz(
      async (bytes) => {
        const m = await openFeatures(rangesOf(bytes, 'a.bin'));
        await m.rows(0, m.length);
        await describeMatrix(memorySource(bytes, 'a.bin'));
      },
      packed(name),
      'a.bin',
    );
});

it('describes matrices of every kind', async () => {
  const data = Float32Array.of(3, Number.NaN, -2, 1);
  const npy = writeNpy({ dtype: 'f32', shape: [2, 2], data });
  const text = { dtype: 'text' as const, shape: [2], data: ['a', 'bc'] };
  const of = (bytes: Uint8Array) => describeMatrix(memorySource(bytes, 'm'));
  const found = { type: '<f4', shape: [2, 2], min: -2, max: 3 };
  expect(await of(npy)).toEqual({ kind: 'npy', arrays: [{ name: '', ...found }] });
  expect(await of(writeNpy(text))).toEqual({ kind: 'npy', arrays: [{ name: '', type: '<U2', shape: [2] }] });
  expect(await of(writeFeatures(data, 2))).toEqual({ kind: 'features', arrays: [{ name: '', ...found }] });
  const npz = [
    ['m', { dtype: 'f32', shape: [2, 2], data }],
    ['n', text],
  ] as const;
  for (const compress of [false, true])
    expect(await of(await writeNpz(npz, { compress }))).toEqual({
      kind: 'npz',
      arrays: [
        { name: 'm', ...found },
        { name: 'n', type: '<U2', shape: [2] },
      ],
    });
  await expect(of(new Uint8Array(3))).rejects.toThrow(/^m: expected a header of 16 bytes/);
});

describe('trees of feature files', () => {
  const write = (path: string, ...numbers: number[]) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), writeFeatures(Float32Array.from(numbers), 1));
  };

  it('are ordered by whole paths, by characters', () => {
    // By folders, a/b would come before a-b; by UTF-16, \u{1f600} before \uffee.
    for (const p of [
      'a/b.jpg.feat',
      'a-b/c.jpg.FEAT',
      'z\uffee.feat',
      'z\u{1f600}.feat',
      'B.feat',
      'a/b.txt',
      'a/.hidden.feat',
    ])
      write(p, 1);
    const sorted = ['B.feat', 'a-b/c.jpg.FEAT', 'a/b.jpg.feat', 'z\uffee.feat', 'z\u{1f600}.feat'];
    expect(featureFiles(folder)).toEqual(sorted);
    expect(() => featureFiles(folder, { suffix: '_x.bin' })).toThrow(/expected files that end in _x\.bin, found none/);
  });
  it('become one matrix, in memory and as a file', async () => {
    write('p/2.jpg_r50.bin', 5, 6);
    write('p/1.jpg_r50.bin', 3, 4);
    write('a/9.jpg_r50.bin', 1, 2);
    const options = { suffix: '_r50.bin' };
    const { names, width, features } = await readFeatureFiles(folder, options);
    expect([names, width, [...features]]).toEqual([['a/9.jpg', 'p/1.jpg', 'p/2.jpg'], 2, [1, 2, 3, 4, 5, 6]]);
    const out = join(folder, 'all.bin');
    const seen: number[] = [];
    const onProgress = (done: number, total: number) => seen.push(done / total);
    expect(await mergeFeatureFiles(folder, out, { ...options, expected: 3, onProgress })).toEqual({
      rows: 3,
      width: 2,
    });
    expect(new Uint8Array(readFileSync(out))).toEqual(writeFeatures(features, 2));
    expect(seen).toEqual([1 / 3, 2 / 3, 1]);
    expect([...new Int32Array(new Uint8Array(readFileSync(out)).buffer, 0, 4)]).toEqual([3, 2, 8, 5]);
  });
  it('that do not fit leave no file', async () => {
    write('a.feat', 1, 2);
    write('b.feat', 1, 2, 3);
    const out = join(folder, 'all.bin');
    await expect(mergeFeatureFiles(folder, out, { expected: 1862120 })).rejects.toThrow(
      /expected 1862120 feature files, found 2/,
    );
    await expect(mergeFeatureFiles(folder, out)).rejects.toThrow(/b\.feat: expected 2 numbers as in a\.feat, got 3/);
    writeFileSync(join(folder, 'b.feat'), 'no feature file at all');
    await expect(mergeFeatureFiles(folder, out)).rejects.toThrow(/b\.feat: expected matrix type/);
    expect(() => readFileSync(out)).toThrow();
    expect(() => readFileSync(`${out}.part`)).toThrow();
  });
});
