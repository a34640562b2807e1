import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/core/errors.ts';
import { memorySink, memorySource } from '../../../src/data/bytes.ts';
import type { Dataset, PairTable } from '../../../src/data/dataset.ts';
import {
  type VerificationBinForm,
  verificationBinDataset,
  writeVerificationBin,
} from '../../../src/data/formats/verificationBin.ts';
import { verificationBinFormat } from '../../../src/data/formats/verificationBinFormat.ts';
import { closeContainers, readBytes, readPicture } from '../../../src/data/readImage.ts';
import { imageBytes, openImage } from '../../../src/data/source.ts';
import { encodePng } from '../../../src/image/encode.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import reference from '../../reference/pickles.json' with { type: 'json' };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-bin-'));
});
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true, force: true });
});

/** A byte per character. */
const code = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const table = (left: number[], right: number[], same: number[]): PairTable => ({
  folds: 1,
  left: Int32Array.from(left),
  right: Int32Array.from(right),
  same: Uint8Array.from(same),
  fold: new Int32Array(same.length),
});
const written = async (pairs: PairTable, images: readonly Uint8Array[], form?: VerificationBinForm) => {
  const sink = memorySink('x.bin');
  await writeVerificationBin(sink, pairs, async (i) => images[i]!, form);
  return sink.bytes();
};
const allImages = (set: Dataset) =>
  Promise.all(Array.from({ length: set.length }, async (_, i) => (await imageBytes(set.source(i))).bytes));

// As in test/reference/pickles.py, where CPython loads what is written here.
const images = Array.from({ length: 5 }, (_, i) =>
  Uint8Array.from({ length: 6 * (1 + 60 * (i % 3)) }, (_, k) => [0xff, 0xd8, i, 0, 10, 92][k % 6]!),
);
const pairs = table([0, 2, 4], [1, 0, 4], [1, 0, 1]);
const inOrder = [0, 1, 2, 0, 4, 4].map((i) => images[i]!);
const forms = (['bytes', 'numpy'] as const).flatMap((items) =>
  ([2, 3, 4] as const).map((protocol) => ({ items, protocol })),
);

describe('writing', () => {
  it.each(forms)('$items by protocol $protocol: the bytes that CPython loads', async (form) => {
    const bytes = await written(pairs, images, form);
    const golden = (reference.written as Record<string, string>)[`${form.items}, protocol ${form.protocol}`];
    expect(Buffer.from(bytes).toString('hex')).toBe(golden);
  });
  it.each(forms)('$items by protocol $protocol: comes back', async (form) => {
    const set = await verificationBinDataset(await written(pairs, images, form), { name: 'x.bin' });
    expect(set.length).toBe(6);
    expect(await allImages(set)).toEqual(inOrder);
    expect([...set.pairs!.left]).toEqual([0, 2, 4]);
    expect([...set.pairs!.right]).toEqual([1, 3, 5]);
    expect([...set.pairs!.same]).toEqual([1, 0, 1]);
    expect([...set.pairs!.fold]).toEqual([0, 1, 2]);
    expect(set.pairs!.folds).toBe(3);
    expect(set.source(1).kind).toBe('part');
  });
  it('of more than a batch, with folds as KFold has them', async () => {
    const n = 1203;
    const index = Array.from({ length: n }, (_, k) => k % 5);
    const many = table(
      index,
      index.toReversed(),
      index.map((k) => k % 2),
    );
    const set = await verificationBinDataset(await written(many, images));
    expect(set.length).toBe(2 * n);
    expect([...set.pairs!.same]).toEqual([...many.same]);
    const got = await allImages(set);
    for (let k = 0; k < n; k++) {
      expect(got[2 * k]).toEqual(images[many.left[k]!]);
      expect(got[2 * k + 1]).toEqual(images[many.right[k]!]);
    }
    const sizes = Array.from({ length: 10 }, (_, f) => set.pairs!.fold.filter((x) => x === f).length);
    expect(sizes).toEqual([121, 121, 121, 120, 120, 120, 120, 120, 120, 120]);
    expect(set.pairs!.folds).toBe(10);
  });
  it('refuses no pairs and empty images', async () => {
    await expect(written(table([], [], []), images)).rejects.toThrow(UsageError);
    await expect(
      written(
        pairs,
        images.map(() => new Uint8Array(0)),
      ),
    ).rejects.toThrow(/image 0 to be 1 byte to 2 GiB, got 0/);
  });
});

describe('the data set', () => {
  it('has no people, and names by content', async () => {
    const png = encodePng({ width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) });
    const set = await verificationBinDataset(await written(table([0], [1], [0]), [images[0]!, png]), { name: 'x.bin' });
    expect([set.classes, set.label(0), set.identityName(0), set.name]).toEqual([0, -1, '', 'x.bin']);
    expect([set.imageName(0), set.imageName(1)]).toEqual(['00001.jpg', '00002.png']);
    expect([...(await openImage(set.source(1))).data]).toEqual([1, 2, 3, 4, 5, 6]);
    await expect(openImage(set.source(0))).rejects.toThrow(/^x\.bin: image 00001\.jpg/);
  });
  it('reads flags of all kinds', async () => {
    const item = 'C\x01a';
    for (const flags of ['(\x88\x89l', '(I01\nI00\nl', '(K\x01K\x00l', '(K\x01\x89t'])
      expect([...(await verificationBinDataset(code(`((${item.repeat(4)}l${flags}t.`))).pairs!.same]).toEqual([1, 0]);
    const dtype = 'cnumpy\ndtype\n(Vb1\nI00\nI01\ntR';
    const scalars = `(cnumpy.core.multiarray\nscalar\n(${dtype}C\x01\x01tRcnumpy._core.multiarray\nscalar\n(${dtype}C\x01\x00tRl`;
    const array = `cnumpy._core.numeric\n_frombuffer\n(C\x02\x01\x00${dtype}(K\x02tVC\ntR`;
    for (const flags of [scalars, array])
      expect([...(await verificationBinDataset(code(`((${item.repeat(4)}l${flags}t.`))).pairs!.same]).toEqual([1, 0]);
  });
  it('reads numpy items of one row, one column and one axis, and no others', async () => {
    const item = (type: string, dims: string, data: string) =>
      `cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(${dims}tcnumpy\ndtype\n(V${type}\ntRI00\nC${String.fromCharCode(data.length)}${data}tb`;
    for (const dims of ['I3\n', 'I1\nI3\n', 'I3\nI1\n']) {
      const set = await verificationBinDataset(code(`((${item('u1', dims, 'abc').repeat(2)}l(\x88lt.`));
      expect(await allImages(set)).toEqual([code('abc'), code('abc')]);
      expect(set.source(0).kind).toBe('part');
    }
    const odd = (text: string) => verificationBinDataset(code(`((${text}${text}l(\x88lt.`), { name: 'x' });
    await expect(odd(item('u1', 'I2\nI2\n', 'abcd'))).rejects.toThrow(
      /^x: expected image 1 .*type \|u1 and shape \(2,2\)/,
    );
    await expect(odd(item('i2', 'I2\n', 'abcd'))).rejects.toThrow(/type <i2 and shape \(2\)/);
    await expect(odd('N')).rejects.toThrow(/image 1 as the bytes of a JPEG or PNG file, got None/);
  });
  it('reads byte strings of Python 2, raw where they are raw', async () => {
    const set = await verificationBinDataset(
      code("((lp0\nS'\\xff\\xd8\\n'\np1\naU\x03\xff\xd8\x01aT\x02\0\0\0\xff\xd8ag1\na(I01\nI00\nlt."),
    );
    expect((await allImages(set)).map((b) => [...b])).toEqual([
      [255, 216, 10],
      [255, 216, 1],
      [255, 216],
      [255, 216, 10],
    ]);
    expect([0, 1, 2, 3].map((i) => set.source(i).kind)).toEqual(['bytes', 'part', 'part', 'bytes']);
  });
  it.each([
    ['another value', '}.', /a pickle of \(images, flags\), got a dict/],
    ['three parts', '(]]]t.', /got a list or tuple of 3/],
    ['no lists', '(}]t.', /a list of images and one of flags, got a dict and a list/],
    ['nothing', '(]]t.', /two images for each flag, got 0 images and 0 flags/],
    ['an image too many', '((C\x01aC\x01aC\x01al(\x88lt.', /got 3 images and 1 flags/],
    ['flags that are none', '((C\x01aC\x01al(K\x02lt.', /expected flag 1 to be True or False, got 2/],
    ['a command', "cos\nsystem\n(S'id'\ntR.", /asks for the Python global 'os\.system'/],
    ['no pickle', '\x00\x02\0\0\x01\0\0\0', /pickle at offset 0: expected an opcode/],
    ['a file cut off', '\x80\x03](B\xff\0\0\0abc', /offset 4: expected 255 more bytes at offset 9/],
  ])('refuses %s', async (_, text, message) => {
    const error = await verificationBinDataset(code(text), { name: 'x.bin' }).catch((e) => e);
    expect(error.name).toBe('DataError');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^x\.bin: /);
  });
  it('refuses a file too large to be one, before reading it', async () => {
    const huge = { ...memorySource(new Uint8Array(0), 'huge.bin'), size: 2 ** 32, container: 'huge.bin' };
    await expect(verificationBinDataset(huge)).rejects.toThrow(
      /^huge\.bin: expected a verification set of less than 4 GiB/,
    );
  });
  it('reads large files in blocks and tells how far', async () => {
    const large = new Uint8Array((1 << 26) + 100);
    large.set([0x43, 2, 97, 98]);
    const file = await written(table([0, 1], [1, 0], [1, 0]), [large, images[1]!]);
    const told: number[][] = [];
    const set = await verificationBinDataset(file, { onProgress: (...p) => told.push(p) });
    expect(told).toEqual(
      [1, 2, 3]
        .map((n) => [Math.min(n << 26, file.length), file.length])
        .filter(([n], i, a) => i === 0 || n !== a[i - 1]![0]),
    );
    expect(sha256((await imageBytes(set.source(3))).bytes)).toBe(sha256(large));
  });
});

describe('files', () => {
  it('are recognised by name and first bytes', async () => {
    const yes = [
      ...Object.values(reference.written).map((h) => Uint8Array.from(Buffer.from(h, 'hex'))),
      code('((lp0\nS'),
      code('(](U'),
      code('(lp0\n'),
    ];
    for (const head of yes) expect(verificationBinFormat.detect('a/lfw.bin', false, head.subarray(0, 64))).toBe(true);
    for (const head of ['', '\x00\x02\x00\x00\x01', '\x80\x02\x8a\x0al', '\x89PNG', '(a'])
      expect(verificationBinFormat.detect('a/lfw.bin', false, code(head)), head).toBe(false);
    expect(verificationBinFormat.detect('a/lfw.rec', false, yes[0]!)).toBe(false);
    expect(verificationBinFormat.detect('a/lfw.bin', true, new Uint8Array(0))).toBe(false);
  });
  it('are written by pairs and opened again', async () => {
    const path = join(folder, 'own.bin');
    await verificationBinFormat.createFromPairs!(path, pairs, async (i) => images[i]!);
    expect(readdirSync(folder)).toEqual(['own.bin']);
    const set = await verificationBinFormat.open(path);
    const got = await Promise.all(Array.from({ length: 6 }, async (_, i) => (await readBytes(set.source(i))).bytes));
    expect(got).toEqual(inOrder);
    expect(set.source(0)).toMatchObject({ kind: 'part', container: path });
  });
  it('leave nothing behind where an image cannot be read, and keep the file before', async () => {
    const path = join(folder, 'kept.bin');
    writeFileSync(path, 'before');
    const failing = async (i: number) => {
      if (i === 2) throw new Error('gone');
      return images[i]!;
    };
    await expect(verificationBinFormat.createFromPairs!(path, pairs, failing)).rejects.toThrow('gone');
    expect(readFileSync(path, 'utf8')).toBe('before');
    expect(existsSync(`${path}.part`)).toBe(false);
  });
});

describe('damaged files', () => {
  it.each(forms)('$items by protocol $protocol', async (form) => {
    const result = await fuzz(
      async (bytes) => {
        const set = await verificationBinDataset(memorySource(bytes, 'x.bin'));
        for (let i = 0; i < set.length; i++) set.imageName(i);
        await allImages(set);
      },
      await written(pairs, images, form),
      'x.bin',
    );
    expect(result.refused).toBeGreaterThan(150);
  });
  it('of protocol 0', async () => {
    const file = code("((lp0\nS'\\xff\\xd8\\n'\np1\nac_codecs\nencode\n(V\\u00ff\xd8\nVlatin1\ntRa(I01\nlt.");
    expect(await allImages(await verificationBinDataset(file))).toEqual([
      Uint8Array.of(255, 216, 10),
      Uint8Array.of(255, 216),
    ]);
    const result = await fuzz(
      async (bytes) => allImages(await verificationBinDataset(memorySource(bytes, 'x.bin'))),
      file,
      'x.bin',
      { flips: 2000, numbers: 1000 },
    );
    expect(result.refused).toBeGreaterThan(1000);
  });
});

const shared = new URL('../../../../shared/data/formats/', import.meta.url);
const present = existsSync(new URL('small_lfw.expected.json', shared));
if (!present) console.log(`skipped: no real verification sets under ${shared.pathname}`);
describe.skipIf(!present)('real files', () => {
  const path = (name: string) => new URL(name, shared).pathname;
  const expected = present
    ? (JSON.parse(readFileSync(path('small_lfw.expected.json'), 'utf8')) as {
        same: boolean[];
        images: { bytes: number; sha256: string; meanRGB: number[] }[];
      })
    : { same: [], images: [] };
  const names = present ? ['small_lfw.bin', ...readdirSync(path('pickle')).map((f) => `pickle/${f}`)] : [];

  it.each(names)('%s', async (name) => {
    expect(names).toHaveLength(11);
    const set = await verificationBinFormat.open(path(name));
    const head = readFileSync(path(name)).subarray(0, 64);
    expect(verificationBinFormat.detect(path(name), false, head)).toBe(true);
    expect(set.length).toBe(expected.images.length);
    for (let i = 0; i < set.length; i++) {
      const { bytes } = await readBytes(set.source(i));
      expect(bytes.length).toBe(expected.images[i]!.bytes);
      expect(sha256(bytes), `image ${i}`).toBe(expected.images[i]!.sha256);
      // Python 3 writes bytes as text by protocols 0 to 2.
      expect(set.source(i).kind).toBe(/p[02]/.test(name) ? 'bytes' : 'part');
    }
    expect([...set.pairs!.same]).toEqual(expected.same.map(Number));
    expect([...set.pairs!.fold]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
  it('decode to the pixels that were expected', async () => {
    const set = await verificationBinFormat.open(path('small_lfw.bin'));
    for (let i = 0; i < set.length; i++) {
      const { data, width, height } = await readPicture(set.source(i));
      expect([width, height]).toEqual([112, 112]);
      const sums = [0, 0, 0];
      data.forEach((v, k) => {
        sums[k % 3]! += v;
      });
      expected.images[i]!.meanRGB.forEach((mean, c) => {
        expect(Math.abs(sums[c]! / (112 * 112) - mean), `image ${i}`).toBeLessThan(0.02);
      });
    }
  });
  it('damaged', async () => {
    const files = ['small_lfw.bin', 'pickle/lfw_p0_bytes.bin', 'pickle/lfw_p5_numpy.bin'];
    for (const name of files) {
      const result = await fuzz(
        async (bytes) => allImages(await verificationBinDataset(memorySource(bytes, 'x.bin'))),
        new Uint8Array(readFileSync(path(name))),
        'x.bin',
        { cuts: 40, flips: 60, numbers: 60 },
      );
      expect(result.refused).toBeGreaterThan(20);
    }
  });
});
