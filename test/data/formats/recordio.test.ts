import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ByteSource, memorySink, memorySource } from '../../../src/data/bytes.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import type { NewImage } from '../../../src/data/formats/format.ts';
import { recordContent, scanRecords, writeRecordIO } from '../../../src/data/formats/recordio.ts';
import { type RecordIOFiles, type RecordIOOptions, recordIODataset } from '../../../src/data/formats/recordioSet.ts';
import { type RecordIOWriterOptions, recordIOState, recordIOWriter } from '../../../src/data/formats/recordioWriter.ts';
import { imageBytes } from '../../../src/data/source.ts';
import { fuzz } from '../../helpers/fuzz.ts';

type Golden = { rec: string; idx: string; lst?: string; property?: string };
const golden = JSON.parse(readFileSync(new URL('../../reference/recordio.json', import.meta.url), 'utf8')) as {
  images: { name: string; label: number; identity: string; bytes: string }[];
} & Record<'scalar' | 'list' | 'zeroFirst' | 'shuffledIndex' | 'im2rec' | 'im2recLabels' | 'unknown', Golden>;
const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const utf8 = (text: string) => new TextEncoder().encode(text);
const images: NewImage[] = golden.images.map((im) => ({ ...im, bytes: bytesOf(im.bytes) }));
const n = images.length;
const people = ['Ann', 'Bea Ö', 'Cem', 'Dan', 'Eve'];

const filesOf = ({ rec, idx, lst, property }: Golden, without: readonly (keyof Golden)[] = []): RecordIOFiles => {
  const named = (kind: keyof Golden, bytes: Uint8Array | undefined) =>
    bytes && !without.includes(kind) ? memorySource(bytes, `train.${kind}`) : undefined;
  return {
    rec: memorySource(bytesOf(rec), 'train.rec'),
    idx: named('idx', utf8(idx)),
    lst: named('lst', lst === undefined ? undefined : utf8(lst)),
    property: named('property', property === undefined ? undefined : utf8(property)),
  };
};
async function readAll(set: Dataset) {
  const out: { label: number; name: string; identity: string; bytes: number[] }[] = [];
  for (let i = 0; i < set.length; i++) {
    const label = set.label(i);
    const { bytes } = await imageBytes(set.source(i));
    out.push({ label, name: set.imageName(i), identity: label < 0 ? '' : set.identityName(label), bytes: [...bytes] });
  }
  return out;
}
async function written(given: readonly NewImage[], identities: readonly string[], options: RecordIOWriterOptions = {}) {
  const sinks = { rec: memorySink('o.rec'), idx: memorySink('o.idx'), lst: memorySink(), property: memorySink() };
  const writer = recordIOWriter(sinks, options);
  for (const image of given) await writer.add(image);
  await writer.finish({ identities });
  return { rec: sinks.rec.bytes(), idx: sinks.idx.bytes(), lst: sinks.lst.bytes(), property: sinks.property.bytes() };
}
const asText = (b: Uint8Array) => new TextDecoder().decode(b);
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
/** Counts bytes that are read. */
function counted(bytes: Uint8Array, name: string): ByteSource & { readonly readBytes: number } {
  const source = memorySource(bytes, name);
  let readBytes = 0;
  return {
    name,
    size: source.size,
    container: source.container,
    read(at, length) {
      readBytes += length;
      return source.read(at, length);
    },
    async close() {},
    get readBytes() {
      return readBytes;
    },
  };
}

describe('RecordIO as another program writes it', () => {
  const all = images.map(({ name, label, identity, bytes }) => ({ label, name, identity, bytes: [...bytes] }));
  const generic = all.map((im, i) => {
    const identity = String(im.label).padStart(6, '0');
    return { ...im, identity, name: `${identity}/${String(i + 1).padStart(8, '0')}.jpg` };
  });
  const fromZero = generic.map((im, i) => ({ ...im, name: im.name.replace(/\d{8}/, String(i).padStart(8, '0')) }));
  it.each(['scalar', 'list'] as const)('reads InsightFace sets, %s labels, whichever files are there', async (kind) => {
    const set = await recordIODataset(filesOf(golden[kind]));
    expect([set.classes, set.length, set.name]).toEqual([5, n, 'train.rec']);
    expect(await readAll(set)).toEqual(all);
    expect(await readAll(await recordIODataset(filesOf(golden[kind], ['idx', 'property'])))).toEqual(all);
    expect(await readAll(await recordIODataset(filesOf(golden[kind], ['lst'])))).toEqual(generic);
    expect(await readAll(await recordIODataset(filesOf(golden[kind], ['lst', 'idx'])))).toEqual(generic);
  });
  it.each([
    ['zeroFirst', generic],
    ['shuffledIndex', generic],
    ['im2rec', all],
    ['im2recLabels', fromZero],
  ] as const)('reads %s', async (kind, expected) => {
    expect(await readAll(await recordIODataset(filesOf(golden[kind])))).toEqual(expected);
    expect(await readAll(await recordIODataset(filesOf(golden[kind], ['idx'])))).toEqual(expected);
  });
  it('reads sets of unknown people', async () => {
    const set = await recordIODataset(filesOf(golden.unknown));
    expect(set.classes).toBe(0);
    expect((await readAll(set)).map((im) => [im.label, im.name])).toEqual(images.map((im) => [-1, im.name]));
    const nameless = await recordIODataset(filesOf(golden.unknown, ['lst']));
    expect([nameless.imageName(0), nameless.imageName(11)]).toEqual(['00000000.jpg', '00000011.jpg']);
  });
  it('writes the same bytes', async () => {
    const nobody = images.map((im) => ({ ...im, label: -1, identity: '' }));
    for (const [kind, given, names, options] of [
      ['scalar', images, people, {}],
      ['list', images, people, { labels: 'list' }],
      ['unknown', nobody, [], {}],
    ] as const) {
      const out = await written(given, names, options);
      expect(same(out.rec, bytesOf(golden[kind].rec)), kind).toBe(true);
      expect([asText(out.idx), asText(out.lst), asText(out.property)]).toEqual([
        golden[kind].idx,
        golden[kind].lst,
        golden[kind].property,
      ]);
    }
  });
  it('goes on with an interrupted file to the same bytes, wherever it was cut', async () => {
    const whole = bytesOf(golden.scalar.rec);
    const ends = golden.scalar.idx.split('\n').map((l) => Number(l.split('\t')[1]));
    for (let cut = 0; cut <= whole.length; cut += 3) {
      const state = await recordIOState(whole.subarray(0, cut), cut % 2 ? 7 : undefined);
      const have = Math.min(cut % 2 ? 7 : n, ends.filter((e) => e > 0 && e <= cut).length);
      expect([state?.offsets.length ?? 0, state?.end ?? 0], `cut ${cut}`).toEqual([have, have ? ends[have] : 0]);
      const rec = memorySink();
      await rec.write(whole.subarray(0, state?.end ?? 0));
      const idx = memorySink();
      const writer = recordIOWriter({ rec, idx }, { resume: state });
      expect(writer.written).toBe(have);
      for (const image of images.slice(have)) await writer.add(image);
      await writer.finish({ identities: people });
      expect(same(rec.bytes(), whole) && asText(idx.bytes()) === golden.scalar.idx, `cut ${cut}`).toBe(true);
    }
  });
});

describe('RecordIO round trips', () => {
  const magic = [0x0a, 0x23, 0xd7, 0xce];
  const nasty = fc
    .array(fc.oneof(fc.constant(magic), fc.constant(magic.slice(0, 3)), fc.array(fc.nat(255), { maxLength: 5 })), {
      maxLength: 12,
    })
    .map((parts) => Uint8Array.from(parts.flat()));
  it('gives back any content, labels and ids, magics and all', async () => {
    // Ids and labels hold the magic too: as an id, and as the bits of a float32.
    const asFloat = new Float32Array(Uint8Array.from(magic).buffer)[0]!;
    const label = fc.oneof(fc.nat(9), fc.constant(asFloat));
    const id = fc.oneof(fc.nat(), fc.constant(0xced7230a), fc.constant(0xced7230a * 2 ** 20), fc.constant(2 ** 52 + 1));
    const record = fc.tuple(id, fc.array(label, { minLength: 1, maxLength: 4 }), nasty);
    await fc.assert(
      fc.asyncProperty(fc.array(record, { maxLength: 8 }), async (records) => {
        const sink = memorySink('x.rec');
        const at: number[] = [];
        for (const [key, list, content] of records) at.push(await writeRecordIO(sink, key, list, content));
        const source = memorySource(sink.bytes(), 'x.rec');
        const heads: unknown[] = [];
        await scanRecords(source, (h) => {
          heads.push([h.at, h.id, h.flag, h.label, h.content]);
          return true;
        });
        expect(heads).toEqual(
          records.map(([key, list, content], i) => [
            at[i],
            key,
            list.length === 1 ? 0 : list.length,
            list[0],
            content.length,
          ]),
        );
        for (let i = 0; i < at.length; i++)
          for (const guess of [1, 40, 4096])
            expect([...(await recordContent(source, at[i]!, guess))]).toEqual([...records[i]![2]]);
        // No chunk but its own start has the magic at an aligned place: one for each part, found by looking at all words.
        const b = sink.bytes();
        const words = Array.from({ length: b.length / 4 }, (_, k) => magic.every((m, j) => b[4 * k + j] === m));
        let chunks = 0;
        for (let p = 0; p < b.length; chunks++) {
          expect(words[p / 4]).toBe(true);
          const length = new DataView(b.buffer, b.byteOffset).getUint32(p + 4, true) & (2 ** 29 - 1);
          p += 8 + 4 * Math.ceil(length / 4);
        }
        expect(words.filter((w) => w)).toHaveLength(chunks);
      }),
      { numRuns: 150 },
    );
  });
  it('keeps labels with gaps, and the names of people', async () => {
    const image = (label: number, k: number): NewImage => ({
      name: `p${label}/${k}.jpg`,
      label,
      identity: `p${label}`,
      bytes: Uint8Array.of(255, 216, k),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(9), { minLength: 1, maxLength: 30 }), async (drawn) => {
        const sorted = drawn.sort((a, b) => a - b);
        const files = await written(sorted.map(image), []);
        const set = await recordIODataset(files);
        expect(set.classes).toBe(sorted.at(-1)! + 1);
        expect((await readAll(set)).map((im) => [im.label, im.name, im.identity, im.bytes[2]])).toEqual(
          sorted.map((l, k) => [l, `p${l}/${k}.jpg`, `p${l}`, k]),
        );
      }),
      { numRuns: 40 },
    );
  });
});

describe('RecordIO labels', () => {
  const image = (label: number, bytes: Uint8Array): NewImage => ({
    name: `a/${label}.jpg`,
    label,
    identity: '',
    bytes,
  });
  it('of InsightFace sets are read for each identity, not each image', async () => {
    const pictures = Array.from({ length: 400 }, (_, k) => image(Math.floor(k / 100), new Uint8Array(20_000).fill(k)));
    const { rec, idx } = await written(pictures, []);
    const source = counted(rec, 'train.rec');
    const set = await recordIODataset({ rec: source, idx });
    expect(Array.from({ length: 400 }, (_, i) => set.label(i))).toEqual(pictures.map((p) => p.label));
    expect(source.readBytes).toBeLessThan(100_000);
    const scanned = counted(rec, 'train.rec');
    const progress: number[] = [];
    await recordIODataset({ rec: scanned }, { onProgress: (done, total) => progress.push(done, total) });
    expect(scanned.readBytes).toBeLessThan(1.3 * rec.length);
    expect(progress.slice(-2)).toEqual([rec.length, rec.length]);
  });
  /** Records (key, labels, content) as files. */
  async function made(records: readonly (readonly [number, readonly number[], Uint8Array])[]) {
    const rec = memorySink('train.rec');
    let idx = '';
    for (const [key, list, content] of records) idx += `${key}\t${await writeRecordIO(rec, key, list, content)}\n`;
    return { rec: memorySource(rec.bytes(), 'train.rec'), idx: memorySource(utf8(idx), 'train.idx') };
  }
  const none = new Uint8Array(0);
  const picture = Uint8Array.of(255, 216, 255);
  it('beyond 2^24 images come from the images, since float32 rounds the ranges', async () => {
    // As if 2^25 + 1 images were there: keys that are left out of the index.
    const last = 2 ** 25 + 1;
    const files = await made([
      [1, [0], picture],
      [2, [0], picture],
      [2 ** 24, [1], picture],
      [2 ** 24 + 1, [2], picture],
      [last - 1, [2], picture],
      [last, [3], picture],
      [0, [last + 1, last + 5], none],
      [last + 1, [1, 3], none],
      [last + 2, [3, 2 ** 24 + 1], none],
      [last + 3, [2 ** 24 + 1, last], none],
      [last + 4, [last, last + 1], none],
    ]);
    const set = await recordIODataset(files);
    expect(Array.from({ length: set.length }, (_, i) => [set.imageName(i), set.label(i)])).toEqual([
      ['000000/00000001.jpg', 0],
      ['000000/00000002.jpg', 0],
      ['000001/16777216.jpg', 1],
      ['000002/16777217.jpg', 2],
      ['000002/33554432.jpg', 2],
      ['000003/33554433.jpg', 3],
    ]);
  });
  it('of records whose ids are all the same are in the order of the file', async () => {
    const { rec } = await made([3, 1, 2].map((label) => [0, [label], Uint8Array.of(label)] as const));
    expect((await readAll(await recordIODataset({ rec }))).map((im) => [im.label, im.name, im.bytes])).toEqual([
      [3, '000003/00000000.jpg', [3]],
      [1, '000001/00000001.jpg', [1]],
      [2, '000002/00000002.jpg', [2]],
    ]);
  });
  it('of a subset of the index are found, also where its identity records are left out', async () => {
    const { rec, idx, ...rest } = filesOf(golden.scalar, ['lst', 'property']);
    const lines = golden.scalar.idx.split('\n');
    const subset = async (kept: readonly number[]) => {
      const set = await recordIODataset({
        rec,
        ...rest,
        idx: utf8(lines.filter((l) => kept.includes(Number.parseInt(l, 10))).join('\r\n')),
      });
      return (await readAll(set)).map((im) => [im.label, im.bytes]);
    };
    const want = [2, 5, 9].map((key) => [images[key - 1]!.label, [...images[key - 1]!.bytes]]);
    expect(await subset([2, 5, 9])).toEqual(want);
    expect(await subset([0, 2, 5, 9, 13, 14, 15])).toEqual(want);
    expect(idx).toBeDefined();
  });
  it.each([
    ['half a label', [[1, [0.5], picture]], /^train\.rec: expected a whole label .* at offset 0, got 0.5/],
    ['a label below -1', [[1, [-2], picture]], /^train\.rec: expected a whole label/],
    ['no number', [[1, [Number.NaN], picture]], /^train\.rec: expected a whole label .* got NaN/],
    ['no images', [[0, [1, 1], none]], /^train\.rec: expected records of images, got none/],
    [
      'ranges that overlap',
      [
        [1, [0], picture],
        [2, [1], picture],
        [0, [3, 5], none],
        [3, [1, 3], none],
        [4, [2, 3], none],
      ],
      /^train\.rec: expected a range of image keys from 3 to 3/,
    ],
  ] as const)('are refused: %s', async (_what, records, message) => {
    await expect(recordIODataset(await made(records))).rejects.toThrow(message);
  });
});

describe('RecordIO siblings', () => {
  const open = (change: Partial<Golden>, options: RecordIOOptions = {}) =>
    recordIODataset(filesOf({ ...golden.scalar, ...change }), options);
  it('give landmarks and names in InsightFace layout', async () => {
    const five = [30, 70, 50, 32, 68, 51, 52, 71, 92, 93];
    const lines = images.map((im, k) => {
      const points = k === 3 || k === 4 ? `\t1\t2\t3\t4\t${five.join('\t')}` : '';
      return `${k === 4 ? 0 : 1}\t/data/ms1m/crops/${im.name}\t${im.label}${points}`;
    });
    // Neither aligned nor with points: skipped by the writer of the .rec.
    lines.splice(2, 0, '0\t/data/ms1m/crops/Ann/gone.jpg\t0');
    const set = await open({ lst: `${lines.join('\r\n')}\r\n` });
    expect((await readAll(set)).map((im) => [im.name, im.identity])).toEqual(
      images.map((im) => [im.name, im.identity]),
    );
    expect(set.landmarks!(3)).toEqual([30, 51, 70, 52, 50, 71, 32, 92, 68, 93]);
    // Those of image 4 belong to the photograph from which it was cut.
    expect([set.landmarks!(2), set.landmarks!(4)]).toEqual([undefined, undefined]);
  });
  it('may lack lines in im2rec layout, and folders that mix people name nobody', async () => {
    const lines = golden.scalar.lst!.split('\n').map((l) => l.replace(/\t[^\t]*\//, '\tall/'));
    lines.splice(4, 1);
    const set = await open({ lst: lines.join('\n') });
    expect([set.imageName(3), set.imageName(4)]).toEqual(['all/Bea Ö_0003.jpg', '000001/00000005.jpg']);
    expect(set.identityName(1)).toBe('000001');
  });
  it('two people of one folder name are told apart by their labels', async () => {
    const set = await open({ lst: golden.scalar.lst!.replace(/\t(\w[^\t]*)\//g, '\t$1/faces/') });
    expect([set.imageName(0), set.identityName(0)]).toEqual(['Ann/faces/Ann_0000.jpg', '000000']);
  });
  it('that do not fit are refused by name', async () => {
    for (const [change, message] of [
      [{ lst: golden.scalar.lst!.replace('4\t1\t', '4\t2\t') }, /^train\.lst: expected label 1 for the image of key 4/],
      [{ lst: '1\ta/b.jpg\t0\n' }, /^train\.lst: expected a line for each of 12 images, got 1/],
      [{ lst: '1 a/b.jpg 0\n' }, /^train\.lst:1: expected 'aligned path label' separated by tabs/],
      [{ property: '4,112,112' }, /^train\.property: expected more than the highest label, 4,/],
      [{ property: 'x' }, /^train\.property: expected 'classes,height,width', got 'x'/],
      [{ idx: '1\t0\n2\tx\n' }, /^train\.idx:2: expected 'key offset'/],
      [{ idx: '1\t0\n1\t48\n' }, /^train\.idx: expected each key once, got 1 again/],
      [{ idx: '1\t0\n2\t99999\n' }, /^train\.idx:2: expected an offset within the \d+ bytes of train\.rec, got 99999/],
      [{ idx: '1\t4\n' }, /^train\.rec: expected the RecordIO magic 0xced7230a at offset 4, got 0x/],
    ] as const)
      await expect(open(change), JSON.stringify(change)).rejects.toThrow(message);
    expect((await open({ property: '9,112,112' })).classes).toBe(9);
  });
  it('a file cut off is refused with its offset, or read up to there', async () => {
    const rec = golden.scalar.rec.slice(0, 480);
    const cut = { rec: memorySource(bytesOf(rec), 'train.rec') };
    await expect(recordIODataset(cut)).rejects.toThrow(
      /^train\.rec: expected \d+ bytes at offset \d+, but it ends at 360/,
    );
    // Also where all offsets of the index are inside.
    const inside = golden.scalar.idx.split('\n').filter((l) => Number(l.split('\t')[1]) < 350);
    const idx = memorySource(utf8(inside.join('\n')), 'train.idx');
    await expect(recordIODataset({ ...cut, idx })).rejects.toThrow(/^train\.rec: expected \d+ bytes at offset/);
    const set = await recordIODataset({ ...cut, idx }, { recover: true });
    const ends = golden.scalar.idx.split('\n').map((l) => Number(l.split('\t')[1]));
    const whole = ends.filter((e) => e > 0 && e <= 360).length;
    expect(set.note).toMatch(new RegExp(`ends at 360; the ${whole} images before it are there`));
    expect((await readAll(set)).map((im) => im.bytes)).toEqual(images.slice(0, whole).map((im) => [...im.bytes]));
  });
});

describe('RecordIO writer', () => {
  it('refuses what it cannot hold', async () => {
    const rec = memorySink('o.rec');
    const writer = recordIOWriter({ rec, idx: memorySink() });
    await writer.add(images[5]!);
    for (const [change, message] of [
      [{ label: 0 }, /^o\.rec: .*expected images sorted by label, after 2, got 0/],
      [{ label: -1 }, /expected images sorted by label/],
      [{ label: 2.5 }, /expected a whole label/],
      [{ label: 2 ** 24 }, /expected a whole label/],
      [{ name: 'a\tb' }, /expected a name without control characters/],
      [{ bytes: new Uint8Array(0) }, /expected a JPEG or PNG file, got no bytes/],
      [{ raw: { width: 1, height: 1 } }, /expected a JPEG or PNG file, got pixels/],
      [{ bytes: { length: 2 ** 29 - 24 } as Uint8Array }, /^o\.rec: expected records below 2\^29 bytes, got 536870912/],
    ] as const)
      await expect(writer.add({ ...images[5]!, ...change })).rejects.toThrow(message);
    await expect(recordIOWriter({ rec, idx: rec }).finish({ identities: [] })).rejects.toThrow(
      /expected images, got none/,
    );
  });
});

describe('RecordIO damage', () => {
  const named = (files: RecordIOFiles) => async (kind: keyof RecordIOFiles, bytes: Uint8Array) => {
    const set = await recordIODataset({ ...files, [kind]: memorySource(bytes, 'x') });
    if (set.length > 1000) throw new Error('more images than the file can hold');
    await readAll(set);
  };
  const withName = (files: RecordIOFiles, name: string): RecordIOFiles =>
    Object.fromEntries(
      Object.entries(files)
        .filter(([, s]) => s)
        .map(([k, s]) => [
          k,
          {
            ...(s as ByteSource),
            name,
            get container() {
              return (s as ByteSource).container;
            },
          },
        ]),
    ) as unknown as RecordIOFiles;
  it('of the .rec gives values or a DataError', async () => {
    for (const kind of ['scalar', 'im2recLabels'] as const)
      for (const without of [[], ['idx', 'lst', 'property']] as const) {
        const read = named(withName(filesOf(golden[kind], without), 'x'));
        const { refused } = await fuzz((b) => read('rec', b), bytesOf(golden[kind].rec), 'x', { cuts: 60 });
        expect(refused).toBeGreaterThan(50);
      }
  }, 60_000);
  it('of the siblings gives values or a DataError', async () => {
    const read = named(withName(filesOf(golden.scalar), 'x'));
    for (const kind of ['idx', 'lst', 'property'] as const)
      await fuzz((b) => read(kind, b), utf8(golden.scalar[kind]!), 'x', { cuts: 60, flips: 150, numbers: 50 });
  }, 60_000);
});
