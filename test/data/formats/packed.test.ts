/** Packed files: what is written comes back, in memory and on disk, after a break too, and as Python reads it. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import { memorySink, memorySource } from '../../../src/data/bytes.ts';
import type { NewImage } from '../../../src/data/formats/format.ts';
import { packedDamage, packedDataset } from '../../../src/data/formats/packed.ts';
import { createPacked, openPacked, verifyPacked } from '../../../src/data/formats/packedFormat.ts';
import { packedState, packedWriter } from '../../../src/data/formats/packedWriter.ts';
import { openDataset } from '../../../src/data/open.ts';
import { closeContainers, readPicture } from '../../../src/data/readImage.ts';
import { openImage } from '../../../src/data/source.ts';
import { encodePng } from '../../../src/image/encode.ts';
import { imagesOf, jointsOf, pack, readAll, writeAll } from '../../helpers/packedFiles.ts';
import { picture } from '../../helpers/pictures.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-packed-'));
});
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true, force: true });
});

/** An image as the writer takes it; label and name of a person belong together. */
const people = ['', 'Ada', 'Zoë', '', '名 \u{1f600}', '\ufeffBo'];
const image: fc.Arbitrary<NewImage> = fc
  .record({
    name: fc.string({ unit: 'grapheme', maxLength: 12 }),
    label: fc.integer({ min: -1, max: 5 }),
    sides: fc.option(fc.record({ width: fc.integer({ min: 1, max: 3 }), height: fc.integer({ min: 1, max: 3 }) })),
    seed: fc.uint8Array({ maxLength: 90 }),
    landmarks: fc.option(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 10, maxLength: 10 }),
      { freq: 4 },
    ),
  })
  .map(({ name, label, sides, seed, landmarks }) => ({
    name,
    label,
    identity: people[label] ?? '',
    bytes: sides
      ? Uint8Array.from({ length: 3 * sides.width * sides.height }, (_, i) => seed[i % (seed.length || 1)] ?? i)
      : seed,
    ...(sides && { raw: sides }),
    ...(landmarks && { landmarks }),
  }));
const options = fc.record({
  shardBytes: fc.integer({ min: 1, max: 600 }),
  shardImages: fc.integer({ min: 1, max: 6 }),
  metadata: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.constant(null))) as fc.Arbitrary<
    Record<string, unknown>
  >,
});
const content = fc.record({
  images: fc.array(image, { maxLength: 14 }),
  pairs: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean(), fc.integer({ min: 0, max: 3 })), { maxLength: 6 }),
});
type Rows = readonly (readonly [number, number, boolean, number])[];
const tableOf = (rows: Rows, images: number) =>
  images === 0 || rows.length === 0
    ? undefined
    : {
        folds: 4,
        left: Int32Array.from(rows, (r) => r[0] % images),
        right: Int32Array.from(rows, (r) => r[1] % images),
        same: Uint8Array.from(rows, (r) => Number(r[2])),
        fold: Int32Array.from(rows, (r) => r[3]),
      };
/** Names that a reader gives: a label without one is its number. */
const named = (images: readonly NewImage[]) =>
  images.map((i) => ({ ...i, identity: i.label < 0 ? '' : i.identity || String(i.label) }));

describe('a packed file', () => {
  it('gives back what was written', async () => {
    await fc.assert(
      fc.asyncProperty(content, options, async ({ images, pairs }, how) => {
        const table = tableOf(pairs, images.length);
        const file = await pack({ images, pairs: table }, how);
        const { set, images: back, pairs: pairsBack } = await readAll(file);
        expect(back).toEqual(named(images));
        expect(pairsBack).toEqual(table);
        expect(set.metadata).toEqual(how.metadata);
        expect(set.note).toBeUndefined();
        expect(set.classes).toBe(images.reduce((m, i) => Math.max(m, i.label + 1), 0));
        expect(await packedDamage(file)).toEqual([]);
        for (const { images: n, at, dataAt } of jointsOf(file).shards) {
          expect([at % 64, dataAt % 64]).toEqual([0, 0]);
          expect(n).toBeLessThanOrEqual(how.shardImages);
        }
      }),
      { numRuns: 150 },
    );
  });
  it("takes people's names from finish, then from the images, then numbers", async () => {
    const one = (label: number, identity: string) => ({ name: 'i', label, identity, bytes: new Uint8Array(1) });
    const file = await pack({
      images: [one(2, ''), one(2, 'two'), one(0, 'zero'), one(2, 'other'), one(4, '')],
      identities: ['Null', '', '', '', '', 'Five'],
    });
    const { set, identities } = await readAll(file);
    expect(identities).toEqual(['Null', '1', 'two', '3', '4', 'Five']);
    expect([-1, 6].map((l) => set.identityName(l))).toEqual(['-1', '6']);
  });
  it('of one size of pixels is an array; mixed is not', async () => {
    const raw = (width: number, height: number, fill: number): NewImage => {
      const bytes = new Uint8Array(3 * width * height).fill(fill);
      return { name: `${fill}`, label: 0, identity: 'a', bytes, raw: { width, height } };
    };
    const file = await pack({ images: [raw(4, 2, 1), raw(4, 2, 2), raw(4, 2, 3), raw(2, 4, 4)] }, { shardImages: 2 });
    const [whole, mixed] = jointsOf(file).shards;
    const stride = (at: number) => new DataView(file.buffer).getUint32(at + 44, true);
    expect([stride(whole!.at), stride(mixed!.at)]).toEqual([24, 0]);
    expect([...file.subarray(whole!.dataAt, whole!.dataAt + 49)]).toEqual([
      ...Array(24).fill(1),
      ...Array(24).fill(2),
      0,
    ]);
  });
  it('is read from a Blob, and its pictures with it', async () => {
    const face = picture(1, 1, 8);
    const file = await pack({
      images: [
        { name: 'a.png', label: 0, identity: 'a', bytes: encodePng(face) },
        { name: 'b', label: 0, identity: 'a', bytes: face.data, raw: { width: 8, height: 8 } },
      ],
    });
    const set = await packedDataset(new Blob([file as Uint8Array<ArrayBuffer>]), { name: 'blob.faces' });
    for (const i of [0, 1]) expect(await openImage(set.source(i))).toEqual(face);
    const later = await packedDataset(memorySource(file.subarray(0, -1), 'y.faces'));
    expect(later.source(0)).toMatchObject({ name: 'y.faces: image 0 (a.png)' });
  });
  it('refuses what it cannot hold', async () => {
    const add = async (change: Partial<NewImage>) => {
      const writer = await packedWriter(memorySink());
      await writer.add({ name: 'n', label: 0, identity: '', bytes: new Uint8Array(12), ...change });
    };
    for (const [change, message] of [
      [{ label: -2 }, /whole label from -1/],
      [{ label: 0.5 }, /whole label from -1/],
      [{ label: 2 ** 28 }, /whole label from -1/],
      [{ raw: { width: 2, height: 3 } }, /expected 18 bytes for 2x3 pixels, got 12/],
      [{ raw: { width: 0, height: 3 } }, /from 1 to 65535, got 0x3/],
      [{ raw: { width: 1.5, height: 8 / 3 } }, /from 1 to 65535/],
      [{ landmarks: [1, 2] }, /ten finite numbers/],
      [{ landmarks: Array(10).fill(Number.NaN) }, /ten finite numbers/],
      [{ name: 'x'.repeat(65536) }, /at most 65535 bytes/],
    ] as const)
      await expect(add(change)).rejects.toThrow(message);
    await expect(packedWriter(memorySink(), { shardBytes: 0 })).rejects.toThrow(UsageError);
    const pairs = { folds: 1, left: Int32Array.of(0), right: Int32Array.of(1), same: Uint8Array.of(1) };
    const writer = await packedWriter(memorySink());
    await writer.add({ name: 'n', label: 0, identity: '', bytes: new Uint8Array(12) });
    await expect(writer.finish({ identities: [], pairs: { ...pairs, fold: Int32Array.of(0) } })).rejects.toThrow(
      /expected pairs of 1 images/,
    );
  });
});

/** Seven images in four shards of all kinds. */
const some = async () => {
  const face = picture(2, 1, 2);
  const of = (k: number, extra: Partial<NewImage> = {}): NewImage => ({
    name: `p${k % 3}/${k}.png`,
    label: (k % 3) - (k === 6 ? 1 : 0),
    identity: k === 6 ? '' : `p${k % 3}`,
    bytes: new Uint8Array(20 + 9 * k).fill(k + 1),
    ...extra,
  });
  const raw = { bytes: face.data, raw: { width: 2, height: 2 } };
  const images = [
    of(0, raw),
    of(1, raw),
    of(2),
    of(3),
    of(4, { landmarks: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }),
    of(5),
    of(6),
  ];
  const pairs = {
    folds: 2,
    left: Int32Array.of(0, 1),
    right: Int32Array.of(3, 6),
    same: Uint8Array.of(1, 0),
    fold: Int32Array.of(0, 1),
  };
  const how = { shardImages: 2, metadata: { source: 'made up' } };
  const all = { images, identities: ['p0', 'p1', 'p2', 'p3'], pairs };
  return { all, how, file: await pack(all, how) };
};

describe('a packed file that is cut off', () => {
  it('gives its whole shards at every length, or says that it is not even a header', async () => {
    const { all, file } = await some();
    const { shards, directory, footer } = jointsOf(file);
    expect(shards).toHaveLength(4);
    for (let length = 0; length < file.length; length++) {
      const cut = file.slice(0, length);
      if (length < 64) {
        await expect(readAll(cut)).rejects.toThrow(DataError);
        await expect(readAll(cut)).rejects.toThrow(/^x\.faces: /);
        continue;
      }
      const { set, images, pairs } = await readAll(cut);
      const whole = shards.filter((s) => s.end <= length).reduce((n, s) => n + s.images, 0);
      expect(images, `cut to ${length}`).toEqual(named(all.images.slice(0, whole)));
      expect(set.note).toContain(length < footer ? 'cut off' : 'everything else is there');
      expect(pairs).toEqual(length < footer ? undefined : all.pairs);
      expect((await packedDamage(cut)).map((d) => d.what)).toEqual(['end']);
    }
    expect(directory).toBeLessThan(footer);
  });
  it('is gone on with to the same bytes, cut anywhere', async () => {
    const { all, how, file } = await some();
    const { shards } = jointsOf(file);
    for (let length = 0; length <= file.length; length++) {
      const bytes = file.slice(0, length);
      const state = await packedState(memorySource(bytes));
      expect(state === undefined).toBe(length < 64);
      if (!state) continue;
      expect(state.places).toHaveLength(shards.filter((s) => s.end <= length).length);
      const again = await pack(all, how, { bytes, state });
      expect(Buffer.compare(again, file), `cut to ${length}`).toBe(0);
    }
  });
  it('is gone on with whatever the images', async () => {
    await fc.assert(
      fc.asyncProperty(content, options, fc.nat(), async ({ images }, how, where) => {
        const file = await pack({ images }, how);
        const bytes = file.slice(0, 64 + (where % (file.length - 63)));
        const state = (await packedState(memorySource(bytes)))!;
        expect(Buffer.compare(await pack({ images }, how, { bytes, state }), file)).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
  it('with a hole in its last shard loses that shard, not the file', async () => {
    const { all, how, file } = await some();
    const third = jointsOf(file).shards[2]!;
    const bytes = file.slice(0, third.end);
    bytes.fill(0, third.dataAt + 3);
    const state = (await packedState(memorySource(bytes)))!;
    expect(state.end).toBe(third.at);
    expect(Buffer.compare(await pack(all, how, { bytes, state }), file)).toBe(0);
  });
});

describe('packed files on disk', () => {
  it('have their name once they are whole, and are recognised under any', async () => {
    const { all, how, file } = await some();
    const path = join(folder, 'set.faces');
    const writer = await createPacked(path, how);
    for (const i of all.images) await writer.add(i);
    expect([existsSync(path), existsSync(`${path}.part`)]).toEqual([false, true]);
    await writer.finish(all);
    expect([existsSync(path), existsSync(`${path}.part`)]).toEqual([true, false]);
    expect(Buffer.compare(readFileSync(path), file)).toBe(0);
    const other = join(folder, 'set.bin');
    writeFileSync(other, file);
    const set = await openDataset(other);
    expect([set.name, set.length, set.classes]).toEqual([other, 7, 4]);
    expect(await readPicture(set.source(1))).toEqual(picture(2, 1, 2));
    expect(await verifyPacked(other)).toEqual([]);
    await expect(openPacked(join(folder, 'none.faces'))).rejects.toThrow(/none\.faces: expected a readable file/);
  });
  it('resume after a break to the same bytes, and start anew where not asked to', async () => {
    const { all, how, file } = await some();
    const path = join(folder, 'resumed.faces');
    const first = await createPacked(path, how);
    for (const i of all.images.slice(0, 5)) await first.add(i);
    await first.abort();
    const left = statSync(`${path}.part`).size;
    expect(left).toBe(jointsOf(file).shards[1]!.end);
    for (const [size, written] of [
      [left, 4],
      [left - 1, 2],
      [63, 0],
      [0, 0],
    ] as const) {
      writeFileSync(`${path}.part`, file.subarray(0, left));
      truncateSync(`${path}.part`, size);
      const again = await createPacked(path, { ...how, resume: true });
      expect(again.written).toBe(written);
      await writeAll(again, all);
      expect(Buffer.compare(readFileSync(path), file)).toBe(0);
    }
    writeFileSync(`${path}.part`, file.subarray(0, left));
    const anew = await createPacked(path, how);
    expect(anew.written).toBe(0);
    await anew.abort();
    writeFileSync(`${path}.part`, 'my diary');
    await expect(createPacked(path, { resume: true })).rejects.toThrow(/expected a facegrad packed file/);
    expect(readFileSync(`${path}.part`, 'utf8')).toBe('my diary');
  });
});

/**
 * packed.faces was packed from drawn faces once, and is kept as it is: files of version 1.0 open for ever. packed.json is what
 * packed.py, written from the description alone, read from it.
 */
describe('the kept file', () => {
  const file = new Uint8Array(readFileSync(new URL('../../reference/packed.faces', import.meta.url)));
  const python = JSON.parse(readFileSync(new URL('../../reference/packed.json', import.meta.url), 'utf8'));
  it('is read as Python read it', async () => {
    const { set, images, identities, pairs } = await readAll(file);
    expect(python.whole).toBe(true);
    expect(
      images.map(({ name, label, bytes, raw, landmarks }, i) => ({
        name,
        label,
        kind: raw ? 'pixels' : 'file',
        width: raw?.width ?? 0,
        height: raw?.height ?? 0,
        sha256: createHash('sha256').update(bytes).digest('hex'),
        landmarks: landmarks ?? null,
        pieces: (set.source(i) as { pieces?: number[] }).pieces,
      })),
    ).toEqual(
      python.images.map(({ offset, length, crc: _, ...rest }: { offset: number; length: number; crc: number }) => ({
        ...rest,
        pieces: [offset, length],
      })),
    );
    expect(identities).toEqual(python.directory.identities);
    expect(set.metadata).toEqual(python.directory.metadata);
    const { folds, left, right, same, fold } = pairs!;
    expect([folds, [...left].map((l, k) => [l, right[k], fold[k], same[k]])]).toEqual([
      python.directory.folds,
      python.directory.pairs,
    ]);
    for (let i = 0; i < set.length; i++) expect((await openImage(set.source(i))).data.length).toBeGreaterThan(0);
  });
  it('is written again to the same bytes', async () => {
    const set = await packedDataset(file);
    const identities = Array.from({ length: set.classes }, (_, l) => set.identityName(l));
    const again = await pack(
      { images: await imagesOf(set), identities, pairs: set.pairs },
      { shardImages: 3, metadata: set.metadata },
    );
    expect(Buffer.compare(again, file)).toBe(0);
  });
});
