import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyOf } from '../../../src/core/random.ts';
import { type ByteSource, blobSource, memorySink, memorySource } from '../../../src/data/bytes.ts';
import { encodeExample, imageExample } from '../../../src/data/formats/example.ts';
import type { NewImage } from '../../../src/data/formats/format.ts';
import {
  readRecords,
  type TfRecordOptions,
  tfRecordDataset,
  wholeRecords,
  writeRecord,
} from '../../../src/data/formats/tfrecord.ts';
import { createTfRecords, openTfRecords, tfrecordFormat } from '../../../src/data/formats/tfrecordFormat.ts';
import { createLoader } from '../../../src/data/load/loader.ts';
import { closeContainers, readBytes, readPicture } from '../../../src/data/readImage.ts';
import { imageBytes } from '../../../src/data/source.ts';
import { decodeImage } from '../../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../../src/image/encode.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { picture } from '../../helpers/pictures.ts';

interface Golden {
  readonly file: string;
  readonly images: { bytes: string; label: number; raw?: [number, number]; name?: string; identity?: string }[];
}
const script = fileURLToPath(new URL('../../reference/tfrecord.py', import.meta.url));
const golden: Record<string, Golden> = Object.assign(
  {},
  ...['.json', 'Tensorflow.json'].map((end) => JSON.parse(readFileSync(script.replace('.py', end), 'utf8'))),
);
const base64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-tfrecord-'));
});
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true, force: true });
});
let made = 0;
const newFolder = () => {
  const path = join(folder, `f${made++}`);
  mkdirSync(path);
  return path;
};

const bytesOf = async (examples: readonly Uint8Array[]) => {
  const sink = memorySink();
  for (const e of examples) await writeRecord(sink, e);
  return sink.bytes();
};
const jpeg = (i: number) => encodeJpeg(picture(i, 0, 16), 90);
const ours = (i: number): NewImage => ({
  name: `Person_${i % 3}/${i}.jpg`,
  label: i % 3,
  identity: `Person_${i % 3}`,
  bytes: jpeg(i),
});
const example = (i: number) => encodeExample({ image_raw: jpeg(i), label: [i] });

/** Everything that a set holds. */
async function contents(source: Parameters<typeof tfRecordDataset>[0][number], options: TfRecordOptions = {}) {
  const set = await tfRecordDataset([source], options);
  const images = [];
  for (let i = 0; i < set.length; i++) {
    const { bytes, raw } = await imageBytes(set.source(i));
    images.push({ bytes: bytes.slice(), raw, label: set.label(i), name: set.imageName(i) });
  }
  return { set, images };
}

describe('files that TensorFlow or a program of its own wrote', () => {
  it.each(Object.keys(golden))('%s', async (name) => {
    const { file, images } = golden[name]!;
    const path = join(newFolder(), `${name.replace(' ', '')}.tfrecord`);
    writeFileSync(path, base64(file));
    const sets = [
      await openTfRecords(path),
      await openTfRecords(path, { checkCrc: false }),
      await tfRecordDataset([new Blob([base64(file)])], { name: 'x' }),
    ];
    for (const set of sets) {
      expect(set.length).toBe(images.length);
      expect(set.classes).toBe(Math.max(...images.map((i) => i.label)) + 1);
      for (const [i, image] of images.entries()) {
        const { bytes, raw } = await readBytes(set.source(i));
        expect(Buffer.compare(bytes, base64(image.bytes))).toBe(0);
        expect(raw).toEqual(image.raw && { width: image.raw[0], height: image.raw[1] });
        expect(set.label(i)).toBe(image.label);
        if (image.name) expect(set.imageName(i)).toBe(image.name);
        if (image.identity) expect(set.identityName(image.label)).toBe(image.identity);
      }
    }
  });
  it.each(['jpeg', 'sized', 'raw'] as const)('and facegrad writes the same bytes: %s', async (schema) => {
    const { file, images } = golden['ours jpeg']!;
    const path = join(newFolder(), 'x.tfrecord');
    const writer = await createTfRecords(path, { schema });
    for (const { bytes, label, name = '', identity = '' } of images)
      await writer.add({ bytes: base64(bytes), label, name, identity });
    await writer.finish({ identities: [] });
    expect(readFileSync(path).toString('base64')).toBe(schema === 'jpeg' ? file : golden[`ours ${schema}`]!.file);
  });

  const python = spawnSync('python3', ['--version']).status === 0;
  if (!python) console.log('skipped: no python3, so what facegrad writes is compared with stored bytes alone');
  it.skipIf(!python)('which reads what facegrad writes', async () => {
    const path = join(newFolder(), 'x.tfrecord');
    const writer = await createTfRecords(path, { schema: 'sized' });
    for (let i = 0; i < 5; i++) await writer.add({ ...ours(i), label: i - 1 });
    await writer.finish({ identities: [] });
    const { stdout, stderr } = spawnSync('python3', [script, 'read', path], { encoding: 'utf8' });
    expect(stderr).toBe('');
    const text = (s: string) => [Buffer.from(s).toString('base64')];
    expect(JSON.parse(stdout)).toEqual(
      Array.from({ length: 5 }, (_, i) => ({
        height: [16],
        width: [16],
        depth: [3],
        label: [i - 1],
        image_raw: [Buffer.from(jpeg(i)).toString('base64')],
        name: text(`Person_${i % 3}/${i}.jpg`),
        identity: text(`Person_${i % 3}`),
      })),
    );
  });
});

describe('framing', () => {
  it('gives back any records, whatever the source', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), async (all) => {
        const bytes = await bytesOf(all);
        for (const source of [memorySource(bytes), blobSource(new Blob([bytes.slice()]))]) {
          const back: Uint8Array[] = [];
          for await (const { at, data } of readRecords(source)) {
            expect(Buffer.compare(bytes.subarray(at, at + data.length), data)).toBe(0);
            back.push(data.slice());
          }
          expect(back).toEqual(all);
          expect(await wholeRecords(source)).toEqual({ records: all.length, bytes: bytes.length });
        }
      }),
      { numRuns: 50 },
    );
  });
  it('finds whole records of a cut file', async () => {
    const bytes = await bytesOf([new Uint8Array(10), new Uint8Array(20)]);
    for (let n = 0; n < bytes.length; n++)
      expect(await wholeRecords(memorySource(bytes.subarray(0, n)))).toEqual(
        n < 26 ? { records: 0, bytes: 0 } : { records: 1, bytes: 26 },
      );
  });
  it('names file, offset and both checksums of damage', async () => {
    const first = await bytesOf([example(0)]);
    const bytes = await bytesOf([example(0), example(1)]);
    const broken = (at: number) =>
      memorySource(
        bytes.map((b, i) => (i === at ? b ^ 4 : b)),
        'x.tfrecord',
      );
    const second = first.length;
    await expect(tfRecordDataset([broken(second + 1)])).rejects.toThrow(
      new RegExp(
        `^x.tfrecord: expected masked CRC-32C 0x[0-9a-f]{8} of the length at offset ${second}, got 0x[0-9a-f]{8}\n`,
      ),
    );
    const inImage = second + 60;
    await expect(tfRecordDataset([broken(inImage)])).rejects.toThrow(
      new RegExp(`^x.tfrecord: expected masked CRC-32C 0x.* of the data at offset ${second + 12}, got 0x`),
    );
    // Only the data's checksum can be left out.
    expect((await tfRecordDataset([broken(inImage)], { checkCrc: false })).length).toBe(2);
    await expect(tfRecordDataset([broken(second + 1)], { checkCrc: false })).rejects.toThrow(/of the length at offset/);
    await expect(tfRecordDataset([memorySource(bytes.subarray(0, -1), 'x')])).rejects.toThrow(
      new RegExp(`^x: expected a record within .* bytes at offset ${second}, got a length of`),
    );
  });
  it('refuses a huge record with right checksums before it takes memory', async () => {
    const head = async (length: bigint) => {
      const bytes = await bytesOf([new Uint8Array(8)]);
      new DataView(bytes.buffer).setBigUint64(0, length, true);
      const sink = memorySink();
      await writeRecord(sink, bytes.subarray(0, 8));
      // The checksum of these 8 bytes as data is that of them as a length.
      bytes.set(sink.bytes().subarray(20, 24), 8);
      return bytes;
    };
    for (const length of [21n, 2n ** 29n + 1n, 2n ** 40n, 2n ** 53n + 2n, 2n ** 64n - 1n])
      await expect(tfRecordDataset([memorySource(await head(length), 'x')])).rejects.toThrow(
        /^x: expected a record within 8 bytes at offset 0/,
      );
    // In a file that could hold it: a source that claims to be large.
    const start = await head(2n ** 32n);
    const large: ByteSource = {
      name: 'large',
      size: 2 ** 34,
      container: 'large',
      read: async (at, n) =>
        at === 0 && n <= 1 << 20 ? Buffer.concat([start, new Uint8Array(n)]).subarray(0, n) : fail(),
      close: async () => {},
    };
    const fail = () => {
      throw new Error('read');
    };
    await expect(tfRecordDataset([large])).rejects.toThrow(
      /^large: expected a record within 536870912 bytes at offset 0/,
    );
  });
});

describe('Examples', () => {
  it('a set of each schema gives pictures, labels and names back', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('jpeg', 'sized', 'raw'),
        fc.array(
          fc.record({
            label: fc.oneof(fc.constant(-1), fc.nat(1000), fc.constant(2 ** 24 - 1)),
            name: fc.string({ unit: 'grapheme', maxLength: 40 }),
            raw: fc.boolean(),
            size: fc.integer({ min: 1, max: 12 }),
          }),
          { minLength: 1, maxLength: 6 },
        ),
        async (schema, rows) => {
          const images = rows.map(({ label, name, raw, size }, i): NewImage => {
            const p = picture(i, 0, size);
            const whose = { label, name: `n${name}`, identity: label < 0 ? '' : `who ${label}` };
            return raw
              ? { ...whose, bytes: p.data, raw: { width: size, height: size } }
              : { ...whose, bytes: encodePng(p) };
          });
          const bytes = await bytesOf(images.map((i) => imageExample(i, schema)));
          const set = await tfRecordDataset([bytes]);
          expect(set.classes).toBe(Math.max(...rows.map((r) => r.label)) + 1);
          for (const [i, { label, name, size }] of rows.entries()) {
            expect(set.label(i)).toBe(label);
            expect(set.imageName(i)).toBe(new TextDecoder().decode(new TextEncoder().encode(`n${name}`)));
            if (label >= 0) expect(set.identityName(label)).toBe(`who ${label}`);
            const source = set.source(i);
            expect(source.kind === 'part' && source.raw !== undefined).toBe(schema === 'raw');
            expect(await readPicture(source)).toEqual(picture(i, 0, size));
          }
        },
      ),
      { numRuns: 40 },
    );
  });
  it('names are left out where not wanted, and made up where there are none', async () => {
    const path = join(newFolder(), 'x.tfrecords');
    const writer = await createTfRecords(path, { names: false });
    for (let i = 0; i < 3; i++) await writer.add({ ...ours(i), label: 2 * i - 1 });
    await writer.add({ ...ours(0), bytes: encodePng(picture(0, 0)) });
    await writer.finish({ identities: [] });
    const set = await openTfRecords(path);
    expect([0, 1, 2, 3].map(set.imageName)).toEqual([
      '00000000.jpg',
      '000001/00000001.jpg',
      '000003/00000002.jpg',
      '000000/00000003.png',
    ]);
    expect(set.identityName(3)).toBe('000003');
  });
  it('says what an Example lacks, and which features it has', async () => {
    const of = async (features: Parameters<typeof encodeExample>[0]) =>
      tfRecordDataset([memorySource(await bytesOf([example(0), encodeExample(features)]), 'x')]);
    const start = (await bytesOf([example(0)])).length;
    const image_raw = jpeg(1);
    const img = new Uint8Array(27);
    for (const [features, message] of [
      [{ image_raw, id: [3] }, 'expected a feature label, got "image_raw", "id"'],
      [{ label: [3], picture: image_raw }, 'expected a feature with an image, got "label", "picture"'],
      [{}, 'expected a feature label, got no features'],
      [{ image_raw, label: 'three' }, 'expected 1 whole number of 32 bits in feature label, got bytes'],
      [{ image_raw, label: [1, 2] }, 'expected 1 whole number of 32 bits in feature label, got 1, 2'],
      [{ image_raw, label: [2 ** 31] }, 'expected 1 whole number of 32 bits in feature label, got 2147483648'],
      [{ image_raw, label: [-2] }, 'expected a label from −1 (unknown) to 16777215, got -2'],
      [{ image_raw, label: [2 ** 24] }, 'expected a label from −1 (unknown) to 16777215, got 16777216'],
      [{ image_raw: [1], label: [1] }, 'expected one bytes value in feature image_raw, got int64'],
      [{ image_raw: '', label: [1] }, 'expected an image in feature image_raw, got 0 bytes'],
      [{ img, label: [1] }, 'expected a feature shape beside img, got "img", "label"'],
      [{ img, shape: [3, 3], label: [1] }, 'expected 3 whole numbers of 32 bits in feature shape, got 3, 3'],
      [{ img, shape: [3, 9, 1], label: [1] }, 'expected pixels of shape [height, width, 3], got [3, 9, 1]'],
      [{ img, shape: [-3, -3, 3], label: [1] }, 'expected pixels of shape [height, width, 3], got [-3, -3, 3]'],
      [{ img, shape: [3, 4, 3], label: [1] }, 'expected 36 bytes of pixels [3, 4, 3] in img, got 27'],
    ] as const) {
      const error: Error = await of(features).then(
        () => expect.fail(message),
        (e) => e,
      );
      expect(error.name).toBe('DataError');
      expect(error.message.split('\n')[0]).toBe(`x: record at offset ${start}: ${message}`);
    }
    await expect(of(Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`f${i}`, [i]])))).rejects.toThrow(
      /"f0", .*"f19" …\n/,
    );
    const noExample = memorySource(await bytesOf([new TextEncoder().encode('not protobuf')]), 'x');
    await expect(tfRecordDataset([noExample])).rejects.toThrow(
      /^x: record at offset 0: expected a tf.train.Example, got damaged protobuf data \(.*\)\n/,
    );
  });
  it('stays small on lists and features without end', async () => {
    const label = encodeExample({ label: [1] });
    const long = encodeExample({ image_raw: jpeg(0), label: new Array(3e5).fill(1) });
    const many = encodeExample(Object.fromEntries(Array.from({ length: 5e4 }, (_, i) => [`f${i}`, [i]])));
    const both = Buffer.concat([label, many]);
    await expect(tfRecordDataset([await bytesOf([long])])).rejects.toThrow(/in feature label, got 1, 1\n/);
    await expect(tfRecordDataset([await bytesOf([both])])).rejects.toThrow(/a feature with an image/);
  });
});

describe('packed files', () => {
  it('are views of one memory that threads share', async () => {
    const bytes = await bytesOf([
      example(0),
      example(1),
      encodeExample({ img: picture(2, 0, 4).data, shape: [4, 4, 3], label: [2] }),
    ]);
    const plain = await contents(bytes);
    const { set, images } = await contents(gzipSync(bytes));
    expect(images).toEqual(plain.images);
    const sources = [0, 1, 2].map((i) => set.source(i));
    const memories = new Set(sources.map((s) => s.kind === 'bytes' && s.bytes.buffer));
    expect(memories.size).toBe(1);
    expect([...memories][0]).toBeInstanceOf(SharedArrayBuffer);
    expect(await readPicture(sources[2]!)).toEqual(picture(2, 0, 4));
    expect((await readPicture(sources[1]!)).width).toBe(16);
  });
  it('and ranges and pixels reach loader threads', async () => {
    const path = newFolder();
    const examples = [example(0), example(1), imageExample({ ...ours(2), label: 2 }, 'raw')];
    writeFileSync(join(path, 'a.tfrecord'), await bytesOf(examples));
    writeFileSync(join(path, 'b.tfrecord'), gzipSync(await bytesOf(examples)));
    const dataset = await openTfRecords(path);
    const batches = await Promise.all(
      [0, 1].map(async (workers) => {
        const loader = createLoader({ dataset, batch: 6, size: [16, 16], key: keyOf(1), workers });
        const { images, labels, bad } = await loader.next();
        await loader.close();
        expect(bad).toEqual([]);
        return { images: images.slice(), labels };
      }),
    );
    expect(batches[1]).toEqual(batches[0]);
    const one = 16 * 16 * 3;
    for (const [row, label] of batches[0]!.labels.entries())
      expect(
        Buffer.compare(batches[0]!.images.subarray(row * one, (row + 1) * one), decodeImage(jpeg(label), '').data),
      ).toBe(0);
  });
  it('a record may begin like a gzip file', async () => {
    // The length 0x088b1f is 1f 8b 08 in the file.
    const length = 0x088b1f;
    const without = encodeExample({ label: [0], image_raw: new Uint8Array(length - 100) }).length;
    const record = encodeExample({ label: [0], image_raw: new Uint8Array(length - 100 + length - without) });
    expect(record.length).toBe(length);
    const bytes = await bytesOf([record]);
    expect([...bytes.subarray(0, 3)]).toEqual([0x1f, 0x8b, 8]);
    const set = await tfRecordDataset([bytes]);
    expect(set.source(0).kind).toBe('part');
  });
  it('that unpack past the limit are refused early', async () => {
    const bomb = gzipSync(new Uint8Array(400e6), { level: 9 });
    expect(bomb.length).toBeLessThan(1e6);
    const before = process.memoryUsage().rss;
    const start = performance.now();
    await expect(tfRecordDataset([memorySource(bomb, 'bomb.gz')], { mostUnpacked: 20e6 })).rejects.toThrow(
      /^bomb\.gz: expected at most 20000000 bytes to come out of this gzip file of \d+, got more\nUnpack it first \(gunzip\)/,
    );
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(80e6);
    // The limit is for all shards together.
    const bytes = await bytesOf([example(0)]);
    const two = [gzipSync(bytes), gzipSync(bytes)];
    expect((await tfRecordDataset(two, { mostUnpacked: 2 * bytes.length })).length).toBe(2);
    await expect(tfRecordDataset(two, { mostUnpacked: 2 * bytes.length - 1 })).rejects.toThrow(/to come out/);
  });
  it('of several members, as bgzip and cat write them, are one', async () => {
    const bytes = await bytesOf([0, 1, 2].map(example));
    const plain = await contents(bytes);
    const pieces = (n: number) =>
      Array.from({ length: n }, (_, i) =>
        gzipSync(bytes.subarray((i * bytes.length) / n, ((i + 1) * bytes.length) / n)),
      );
    for (const n of [2, 7, 50]) expect((await contents(Buffer.concat(pieces(n)))).images).toEqual(plain.images);
    const several = Buffer.concat([...pieces(3), gzipSync('')]);
    expect((await contents(several, { mostUnpacked: bytes.length })).images).toEqual(plain.images);
    await expect(contents(memorySource(several, 'x.gz'), { mostUnpacked: bytes.length - 1 })).rejects.toThrow(
      /^x\.gz: expected at most \d+ bytes to come out/,
    );
    // A small member before a bomb.
    const bomb = Buffer.concat([gzipSync(bytes), gzipSync(new Uint8Array(400e6), { level: 9 })]);
    const before = process.memoryUsage().rss;
    await expect(contents(memorySource(bomb, 'x.gz'), { mostUnpacked: 20e6 })).rejects.toThrow(/to come out/);
    expect(process.memoryUsage().rss - before).toBeLessThan(120e6);
  });
  it('cut off or damaged are refused', async () => {
    const bytes = gzipSync(await bytesOf([example(0), example(1)]));
    await expect(tfRecordDataset([memorySource(bytes.subarray(0, -10), 'x.gz')])).rejects.toThrow(
      /^x\.gz: expected whole gzip data, got .* near offset \d+\n/,
    );
  });
});

describe('shards', () => {
  const write = async (path: string, name: string, from: number, n: number, pack = (b: Uint8Array) => b) =>
    writeFileSync(join(path, name), pack(await bytesOf(Array.from({ length: n }, (_, i) => example(from + i)))));
  const labels = async (path: string) => {
    const set = await openTfRecords(path);
    for (let i = 0; i < set.length; i++) await readPicture(set.source(i));
    return Array.from({ length: set.length }, (_, i) => set.label(i));
  };

  it('a family is found from any of its shards, or its folder', async () => {
    const path = newFolder();
    await write(path, 'a-00000-of-00003.tfrecord', 0, 2);
    await write(path, 'a-00001-of-00003.tfrecord', 2, 0);
    await write(path, 'a-00002-of-00003.tfrecord', 2, 3, gzipSync);
    await write(path, 'other.tfrecord', 9, 1);
    writeFileSync(join(path, 'notes.txt'), 'no records');
    const [a, b, c] = [0, 1, 2].map((i) => join(path, `a-0000${i}-of-00003.tfrecord`));
    for (const shard of [a!, b!, c!]) expect(await labels(shard)).toEqual([0, 1, 2, 3, 4]);
    expect(await labels(path)).toEqual([0, 1, 2, 3, 4, 9]);
    expect(await labels(join(path, 'other.tfrecord'))).toEqual([9]);
    rmSync(b!);
    for (const p of [a!, path])
      await expect(openTfRecords(p)).rejects.toThrow(`${b}: expected this shard of its family, but it is missing`);
  });
  it('of names without an ending, and of two countings', async () => {
    const path = newFolder();
    await write(path, 'train.tfrecord-00000-of-00002', 0, 1);
    await write(path, 'train.tfrecord-00001-of-00002', 1, 1);
    await write(path, 'train-00000-of-00001', 5, 1);
    expect(await labels(join(path, 'train.tfrecord-00001-of-00002'))).toEqual([0, 1]);
    expect(await labels(path)).toEqual([5, 0, 1]);
    await write(path, 'train-00000-of-00002', 5, 1);
    await expect(openTfRecords(path)).rejects.toThrow(/expected one family of shards of a name, got those of/);
    await expect(openTfRecords(newFolder())).rejects.toThrow(/expected .tfrecord files in this folder, got none/);
    await expect(openTfRecords(join(path, 'no'))).rejects.toThrow(/no: expected a TFRecord file or a folder/);
    await write(path, 'empty.tfrecord', 0, 0);
    await expect(openTfRecords(join(path, 'empty.tfrecord'))).rejects.toThrow(
      /empty.tfrecord: expected .* got no record/,
    );
  });
  it('tell progress in bytes of all', async () => {
    const path = newFolder();
    await write(path, 'a-00000-of-00002.tfrecord', 0, 3);
    await write(path, 'a-00001-of-00002.tfrecord', 0, 3, gzipSync);
    const told: number[][] = [];
    await openTfRecords(path, { onProgress: (done, total) => told.push([done, total]) });
    const sizes = readdirSync(path).map((n) => readFileSync(join(path, n)).length);
    const total = sizes[0]! + sizes[1]!;
    expect(told).toEqual([
      [sizes[0], total],
      [total, total],
    ]);
  });
  it('are recognised by content or name', async () => {
    const path = newFolder();
    await write(path, 'x.tfrecord', 0, 1);
    const head = readFileSync(join(path, 'x.tfrecord')).subarray(0, 64);
    const detects = (name: string, bytes = new Uint8Array(0)) => tfrecordFormat.detect(join(path, name), false, bytes);
    expect(detects('anything', head)).toBe(true);
    for (const name of ['a.tfrecord', 'a.tfrecords', 'a.tfrecord.gz', 'a-00000-of-00002', 'a.TFRECORD-00000-of-00002'])
      expect(detects(name), name).toBe(true);
    for (const name of ['a.gz', 'a.rec', 'model-00001-of-00002.safetensors', 'tfrecord', 'a.tfrecord.part'])
      expect(detects(name, gzipSync('x')), name).toBe(false);
    expect(tfrecordFormat.detect(path, true, new Uint8Array(0))).toBe(true);
    expect(tfrecordFormat.detect(newFolder(), true, new Uint8Array(0))).toBe(false);
  });
});

describe('writing', () => {
  const all = Array.from({ length: 10 }, (_, i) => ours(i));
  const files = (path: string) => Object.fromEntries(readdirSync(path).map((n) => [n, readFileSync(join(path, n))]));
  const whole = async (options: Parameters<typeof createTfRecords>[1]) => {
    const path = newFolder();
    const writer = await createTfRecords(join(path, 'x.tfrecord'), options);
    for (const image of all) await writer.add(image);
    await writer.finish({ identities: ['Person_0', 'Person_1', 'Person_2'] });
    return files(path);
  };

  it.each([undefined, 1, 3, 5, 10, 20])(
    'goes on after any cut to the same files, %s images a shard',
    async (imagesPerShard) => {
      const options = imagesPerShard === undefined ? {} : { imagesPerShard };
      const expected = await whole(options);
      const shards = Math.ceil(10 / (imagesPerShard ?? 10));
      expect(Object.keys(expected)).toEqual(
        imagesPerShard === undefined
          ? ['x.tfrecord']
          : Array.from({ length: shards }, (_, i) => `x-0000${i}-of-${String(shards).padStart(5, '0')}.tfrecord`),
      );
      for (const done of [0, 1, 3, 4, 9, 10])
        for (const junk of [-1, 0, 50]) {
          const path = newFolder();
          const out = join(path, 'x.tfrecord');
          const first = await createTfRecords(out, options);
          expect(first.written).toBe(0);
          for (const image of all.slice(0, done)) await first.add(image);
          await first.abort();
          const last = join(path, readdirSync(path).sort().at(-1)!);
          const there = readFileSync(last);
          const lost = junk < 0 && there.length > 0 ? 1 : 0;
          writeFileSync(last, lost ? there.subarray(0, -1) : Buffer.concat([there, new Uint8Array(Math.max(0, junk))]));
          expect(readdirSync(path).every((n) => n.endsWith('.part'))).toBe(true);
          const second = await createTfRecords(out, { ...options, resume: true });
          expect(second.written).toBe(done - lost);
          for (const image of all.slice(second.written)) await second.add(image);
          await second.finish({ identities: [] });
          expect(files(path)).toEqual(expected);
        }
    },
  );
  it('heals what a crash between renames left', async () => {
    const expected = await whole({ imagesPerShard: 4 });
    const path = newFolder();
    const writer = await createTfRecords(join(path, 'x.tfrecord'), { imagesPerShard: 4 });
    for (const image of all) await writer.add(image);
    // The second shard's new name is a folder, which cannot be replaced.
    mkdirSync(join(path, 'x-00001-of-00003.tfrecord'));
    await expect(writer.finish({ identities: [] })).rejects.toThrow(/x-00001-of-00003.tfrecord: expected to rename/);
    rmSync(join(path, 'x-00001-of-00003.tfrecord'), { recursive: true });
    const second = await createTfRecords(join(path, 'x.tfrecord'), { imagesPerShard: 4, resume: true });
    expect(second.written).toBe(8);
    for (const image of all.slice(8)) await second.add(image);
    await second.finish({ identities: [] });
    expect(files(path)).toEqual(expected);
  });
  it('starts anew without resume, and refuses to resume shards of other sizes', async () => {
    const path = newFolder();
    const out = join(path, 'x.tfrecord');
    const first = await createTfRecords(out, { imagesPerShard: 3 });
    for (const image of all) await first.add(image);
    await first.abort();
    expect(readdirSync(path)).toHaveLength(4);
    for (const imagesPerShard of [2, 4])
      await expect(createTfRecords(out, { imagesPerShard, resume: true })).rejects.toThrow(
        /00000.part: expected . images in this shard of an interrupted call, got 3/,
      );
    const second = await createTfRecords(out);
    expect(second.written).toBe(0);
    await second.add(all[0]!);
    await second.finish({ identities: [] });
    expect(readdirSync(path)).toEqual(['x.tfrecord']);
    await expect(createTfRecords(out, { imagesPerShard: 0 })).rejects.toThrow(
      /imagesPerShard: expected a whole number/,
    );
    await expect(createTfRecords(join(path, 'no', 'x.tfrecord'))).rejects.toThrow(
      /expected to write this file, got ENOENT/,
    );
    expect(existsSync(out)).toBe(true);
  });
});

describe('damaged and hostile files', () => {
  const read = (bytes: Uint8Array) => contents(memorySource(bytes, 'x.tfrecord'));
  const unchecked = (bytes: Uint8Array) => contents(memorySource(bytes, 'x.tfrecord'), { checkCrc: false });
  it('are read or refused', async () => {
    const { refused } = await fuzz(read, await bytesOf([example(0), example(1)]), 'x.tfrecord');
    expect(refused).toBeGreaterThan(500);
  });
  it('also below the checksums', async () => {
    for (const name of ['odd.tfrecord', 'raw.tfrecord', 'slim.tfrecord', 'ours sized']) {
      const { read: good, refused } = await fuzz(unchecked, base64(golden[name]!.file), 'x.tfrecord');
      expect(good).toBeGreaterThan(50);
      expect(refused).toBeGreaterThan(100);
    }
  });
  it('also Examples alone', async () => {
    const parse = async (bytes: Uint8Array) => read(await bytesOf([bytes]));
    for await (const { data } of readRecords(memorySource(base64(golden['odd.tfrecord']!.file))))
      await fuzz(parse, data.slice(), 'x.tfrecord');
  });
  it('also packed ones', async () => {
    for (const name of ['image.gz', 'image.zlib'])
      expect((await fuzz(read, base64(golden[name]!.file), 'x.tfrecord')).refused).toBeGreaterThan(300);
  });
});
