/**
 * Sets of every format, damaged or made to do harm, from opening to conversion: whatever comes, it is read or refused with a
 * DataError that names a file, in bounded time and memory, and nothing is written but where it was asked for.
 */
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { memorySource } from '../../src/data/bytes.ts';
import { imageExample } from '../../src/data/formats/example.ts';
import { formats } from '../../src/data/formats/index.ts';
import { createPacked } from '../../src/data/formats/packedFormat.ts';
import { recordIODataset } from '../../src/data/formats/recordioSet.ts';
import { createTfRecords } from '../../src/data/formats/tfrecordFormat.ts';
import { inspect } from '../../src/data/inspect/inspect.ts';
import { repairFile } from '../../src/data/inspect/repair.ts';
import { openDataset } from '../../src/data/open.ts';
import { journalPath } from '../../src/data/prepare/journal.ts';
import { type PrepareEvent, type PrepareOptions, prepare } from '../../src/data/prepare/prepare.ts';
import { closeContainers, readPicture } from '../../src/data/readImage.ts';
import { encodeJpeg, encodePng } from '../../src/image/encode.ts';
import { fuzz } from '../helpers/fuzz.ts';
import { jpegHeader, pngFile } from '../helpers/hostilePictures.ts';
import { picture } from '../helpers/pictures.ts';

const root = mkdtempSync(join(tmpdir(), 'facegrad-hostile-'));
afterAll(async () => {
  await closeContainers();
  rmSync(root, { recursive: true });
});
let count = 0;
/** A new folder; within it, a path. */
const fresh = (name = '') => {
  const path = join(root, `${count++}`);
  mkdirSync(path);
  return join(path, name);
};
const writable = formats.filter((f) => f.create ?? f.createFromPairs);
const targetName = (ending: string | undefined) => `out${ending ?? ''}`;

/** Three people with two small pictures each, and pairs. */
function people(): string {
  const folder = fresh('people');
  for (let p = 0; p < 3; p++) {
    mkdirSync(join(folder, `P${p}`), { recursive: true });
    for (let s = 1; s <= 2; s++) {
      const file = s === 1 ? encodeJpeg(picture(p, s, 16), 80) : encodePng(picture(p, s, 12));
      writeFileSync(join(folder, `P${p}`, `P${p}_000${s}.${s === 1 ? 'jpg' : 'png'}`), file);
    }
  }
  writeFileSync(join(folder, 'pairs.txt'), '# folds 2\nP0_0001 P0_0002 1\nP1_0001 P2_0002 -1\n');
  return folder;
}

/** All files below a folder, links not followed, with what they hold. */
function tree(folder: string, out = new Map<string, string>()): Map<string, string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const found = lstatSync(path);
    if (found.isDirectory()) tree(path, out);
    else out.set(path, found.isSymbolicLink() ? 'link' : readFileSync(path, 'latin1'));
  }
  return out;
}

/** Does all that can be done with a set. The errors of single images are for `prepare` and `inspect` to pass over. */
async function useAll(path: string, out: string): Promise<void> {
  await closeContainers();
  rmSync(dirname(out), { recursive: true, force: true });
  mkdirSync(dirname(out));
  const set = await openDataset(path);
  for (let i = 0; i < set.length; i++) {
    expect(set.label(i)).toBeLessThan(Math.max(1, set.classes));
    set.imageName(i);
    await readPicture(set.source(i)).catch((error) => {
      if (!(error instanceof DataError)) throw error;
    });
  }
  await inspect(path, { verify: true, workers: 0 });
  await prepare({ sources: [path], out, skipBad: true, workers: 0 });
}

describe('damaged sets', () => {
  const sets = new Map<string, string>();
  beforeAll(async () => {
    const source = people();
    for (const f of writable) {
      const out = fresh(targetName(f.ending));
      await prepare({ sources: [source], out, to: f.name, workers: 0 });
      sets.set(f.name, out);
    }
    const kit = fresh('list.json');
    cpSync(source, dirname(kit), { recursive: true });
    const path = ['P0/P0_0001.jpg', 'P1/P1_0002.png'];
    writeFileSync(kit, JSON.stringify({ path, id: ['P0', 'P1'] }));
    sets.set('megaface', kit);
  });
  it('are there of every format', () => {
    expect([...sets.keys()].sort()).toEqual(formats.map((f) => f.name).sort());
  });
  it.each(formats.map((f) => f.name))('%s: every file of it', async (name) => {
    const path = sets.get(name)!;
    const whole = dirname(path);
    await useAll(path, join(fresh(), 'x', 'out'));
    const out = join(fresh(), 'x', 'out');
    let refused = 0;
    // Pictures of their own are alike.
    const files = [...tree(whole).keys()].filter((f) => !/[1-9]_000\d\.(jpg|png)$/.test(f));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const good = new Uint8Array(readFileSync(file));
      const result = await fuzz(
        async (bytes) => {
          writeFileSync(file, bytes);
          await useAll(path, out);
        },
        good,
        root,
        { cuts: 8, flips: 14, numbers: 14, mostBytes: 400e6 },
      );
      refused += result.refused;
      writeFileSync(file, good);
    }
    expect(refused).toBeGreaterThan(0);
  });
});

/** Names that lead out of a folder, that a file system or a terminal does not take, or that look like others. */
const absolute = join(root, 'evil.png');
const hostileNames = [
  '../../evil.png',
  '..\\..\\evil.png',
  'a/../../../evil.png',
  absolute,
  'C:\\evil.png',
  'C:evil.png',
  '\\\\host\\share\\evil.png',
  '~/evil.png',
  'a\0b.png',
  'a\nb: all is well.png',
  '\x1b[2Jevil.png',
  'CON',
  'nul.png',
  'com\u00b9.png',
  'x'.repeat(300),
  '\u8868'.repeat(200),
  `${'deep/'.repeat(1200)}x.png`,
  '\u202egnp.live',
  'e\u0301.png',
  '\uff0e\uff0e/evil.png',
  '\u2025/evil.png',
  '.hidden.png',
  '.facegrad-progress',
  'identities.txt',
  '..',
  '.',
  '',
  ' ',
  '__proto__',
  '\ud800.png',
];

describe('hostile names', () => {
  const good = encodePng(picture(0, 0, 8));
  it.each(writable.map((f) => f.name))('%s: nothing is written outside of the target', async (to) => {
    const f = writable.find((w) => w.name === to)!;
    for (const kind of ['image', 'identity'] as const)
      for (const hostile of hostileNames) {
        const box = fresh('box');
        mkdirSync(join(box, 'in', 'side'), { recursive: true });
        writeFileSync(join(box, 'secret.txt'), 'as it was');
        const source = join(box, 'source.faces');
        const writer = await createPacked(source);
        const image = (name: string, label: number, identity: string) =>
          writer.add({ name, label, identity, bytes: good });
        await image('Ann/1.png', 0, 'Ann');
        await image(kind === 'image' ? hostile : 'b/2.png', 1, kind === 'identity' ? hostile : 'b');
        const one = Int32Array.of(0);
        const pairs = { folds: 1, left: one, right: Int32Array.of(1), same: Uint8Array.of(0), fold: one };
        await writer.finish({ identities: ['Ann', kind === 'identity' ? hostile : 'b'], pairs });
        const before = tree(box);
        const out = join(box, 'in', 'side', targetName(f.ending));
        const told: string[] = [];
        const onEvent = (e: PrepareEvent) => {
          if (e.type === 'bad') told.push(e.reason);
        };
        const what = `${kind} ${JSON.stringify(hostile.slice(0, 50))}`;
        await prepare({ sources: [source], out, to, skipBad: true, workers: 0, onEvent }).then(
          ({ images }) => expect(images, what).toBeGreaterThan(0),
          (error) => {
            expect(error, what).toBeInstanceOf(DataError);
            told.push(error.message);
          },
        );
        const stem = join(dirname(out), 'out');
        const siblings = join(dirname(out), 'property');
        for (const [path, content] of tree(box))
          if (!path.startsWith(stem) && !path.startsWith(siblings)) expect(before.get(path), what).toBe(content);
        expect(existsSync(absolute)).toBe(false);
        expect([...before.keys()].every((p) => existsSync(p))).toBe(true);
        for (const message of told) {
          expect(message, what).not.toMatch(/[^\P{Cc}\n\t]|\p{Cs}|\u202e/u);
          expect(message, what).toMatch(kind === 'image' && to !== 'folder' ? /./ : /Ann|b|"/);
        }
        // Climbing out is refused where names are paths on disk, and the good picture is there all the same.
        if (/^(folder|list)$/.test(to) && kind === 'image' && /^(\.\.|\/|C:|\\|a\/\.\.)/.test(hostile)) {
          expect(told.length, what).toBe(1);
          expect(
            [...tree(dirname(out)).keys()].some((p) => p.endsWith('1.png')),
            what,
          ).toBe(true);
        }
        rmSync(dirname(box), { recursive: true });
      }
  });
});

describe('links that lie in the way', () => {
  /** A conversion that was cut off after some images. */
  async function interrupted(): Promise<{ options: PrepareOptions; outside: string; out: string }> {
    const source = people();
    const out = fresh('out');
    const outside = fresh('outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'file'), 'as it was');
    const stop = new AbortController();
    const options = { sources: [source], out, workers: 0 };
    const onEvent = (e: PrepareEvent) => {
      if (e.type === 'progress' && e.done === 3) stop.abort();
    };
    expect((await prepare({ ...options, signal: stop.signal, onEvent })).finished).toBe(false);
    return { options, outside, out };
  }
  const unchanged = (outside: string) => expect([...tree(outside)]).toEqual([[join(outside, 'file'), 'as it was']]);

  it('where the folder of a person is to be, also of one that was written before', async () => {
    for (const person of ['P2', 'P0']) {
      const { options, outside, out } = await interrupted();
      if (existsSync(join(out, person))) renameSync(join(out, person), fresh('moved'));
      symlinkSync(outside, join(out, person));
      await expect(prepare(options)).rejects.toThrow(DataError);
      unchanged(outside);
    }
  });
  it('where a picture, the progress or a list is to be', async () => {
    for (const name of [
      'P1/P1_0002.png',
      'P2/P2_0001.jpg',
      '.facegrad-progress',
      'pairs.txt.part',
      'identities.txt.part',
    ]) {
      const { options, outside, out } = await interrupted();
      mkdirSync(join(out, dirname(name)), { recursive: true });
      if (name.startsWith('.')) rmSync(join(out, name));
      symlinkSync(join(outside, 'file'), join(out, name));
      await prepare(options).catch((error) => expect(error).toBeInstanceOf(DataError));
      unchanged(outside);
    }
  });
  it('where the journal, or a file that is not yet whole, is to be', async () => {
    const source = people();
    for (const { name, ending } of writable) {
      const out = fresh(targetName(ending));
      const outside = fresh('outside');
      mkdirSync(outside);
      writeFileSync(join(outside, 'file'), 'as it was');
      const link = name === 'folder' ? `${out}.prepare.jsonl.new` : `${out}.part`;
      symlinkSync(join(outside, 'file'), link);
      await prepare({ sources: [source], out, to: name, workers: 0 }).then(
        () => expect(lstatSync(out).isSymbolicLink()).toBe(false),
        (error) => expect(error.message).toMatch(/expected to write this.*, got ELOOP/),
      );
      unchanged(outside);
    }
  });
  it('where a repaired picture is to be', async () => {
    const folder = people();
    const outside = fresh('outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'file'), 'as it was');
    const path = join(folder, 'P0', 'P0_0001.jpg');
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, bytes.length - 8));
    symlinkSync(join(outside, 'file'), `${path}.part`);
    expect(await repairFile(path, folder)).toHaveProperty('notRepaired');
    unchanged(outside);
  });
  it('to devices and to each other, which have no end', async () => {
    const folder = people();
    const picturePath = join(folder, 'P0', 'P0_0001.jpg');
    rmSync(picturePath);
    symlinkSync('/dev/zero', picturePath);
    const set = await openDataset(folder);
    await expect(readPicture(set.source(0))).rejects.toThrow(
      /P0_0001\.jpg: expected a readable picture, got no regular/,
    );
    expect((await repairFile(picturePath, folder)) as object).toHaveProperty('notRepaired');
    for (const name of ['identities.txt', 'pairs.txt']) {
      rmSync(join(folder, name), { force: true });
      symlinkSync('/dev/zero', join(folder, name));
      await expect((async () => (await openDataset(folder)).pairs)()).rejects.toThrow(/got no regular file/);
      rmSync(join(folder, name));
    }
    await expect(openDataset('/dev/zero')).rejects.toThrow(/^\/dev\/zero: expected a data set, got no regular file/);
    // Each folder holds two links to the next: 2^40 paths.
    const many = fresh('many');
    for (let k = 0; k < 40; k++) {
      mkdirSync(join(many, `d${k}`), { recursive: true });
      for (const l of ['a', 'b']) symlinkSync(join(many, `d${k + 1}`), join(many, `d${k}`, l));
    }
    mkdirSync(join(many, 'd40'));
    writeFileSync(join(many, 'd40', '1.png'), '');
    const start = performance.now();
    await expect(openDataset(many)).rejects.toThrow(/expected at most 64 links to /);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('pictures that promise much, in every container', () => {
  const much = [
    jpegHeader(0xc0, 65535, 65535),
    jpegHeader(0xc2, 65535, 65535),
    jpegHeader(0xc2, 9999, 9999),
    pngFile(65535, 65535, 16, 2, 0),
    pngFile(65535, 65535, 8, 3, 1),
    pngFile(9999, 9999, 16, 6, 1),
  ];
  it.each(writable.map((f) => f.name))('%s: are refused in time, and left out', async (to) => {
    const { ending, create, createFromPairs } = writable.find((f) => f.name === to)!;
    const path = fresh(targetName(ending));
    const good = encodePng(picture(0, 0, 8));
    const images = [...much, good];
    if (create) {
      const writer = await create(path);
      for (const [i, bytes] of images.entries())
        await writer.add({ name: `p/${i}.${bytes[0] === 0xff ? 'jpg' : 'png'}`, label: 0, identity: 'p', bytes });
      await writer.finish({ identities: ['p'] });
    } else {
      const left = Int32Array.from(images.keys());
      const pairs = { folds: 1, left, right: left, same: new Uint8Array(left.length), fold: left.map(() => 0) };
      await createFromPairs!(path, pairs, async (i) => images[i]!);
    }
    const start = performance.now();
    const before = process.memoryUsage().rss;
    const set = await openDataset(path);
    let bad = 0;
    for (let i = 0; i < set.length; i++)
      await readPicture(set.source(i)).catch((error) => {
        expect(error).toBeInstanceOf(DataError);
        expect(error.message).toContain(dirname(path));
        bad++;
      });
    expect(bad / set.length).toBeCloseTo(much.length / images.length);
    const found = await inspect(path, { verify: true, workers: 0 });
    expect(found.kind === 'images' && found.verified!.bad).toBe(bad);
    const made = await prepare({ sources: [path], out: fresh('out'), check: true, skipBad: true, workers: 0 });
    expect(made.leftOut.length).toBe(bad);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(process.memoryUsage().rss - before).toBeLessThan(300e6);
  });
  it('pixels of 65535 x 65535 that are not there', async () => {
    const bytes = new Uint8Array(300);
    const raw = { width: 65535, height: 65535 };
    const packed = await createPacked(fresh('x.faces'));
    await expect(packed.add({ name: 'a', label: 0, identity: '', bytes, raw })).rejects.toThrow(/12884508675 bytes/);
    await packed.abort();
    const path = fresh('x.tfrecord');
    const records = await createTfRecords(path, { schema: 'raw' });
    await records.add({ name: 'a', label: 0, identity: '', bytes, raw });
    await records.finish({ identities: [] });
    await expect(openDataset(path)).rejects.toThrow(/x\.tfrecord: record at offset 0: expected 12884508675 bytes/);
    expect(imageExample({ name: 'a', label: 0, identity: '', bytes, raw }, 'raw').length).toBeLessThan(400);
  });
});

describe('labels and folds that take memory', () => {
  it('are refused in a packed file', async () => {
    const writer = await createPacked(fresh('x.faces'));
    const bytes = encodePng(picture(0, 0, 8));
    await expect(writer.add({ name: 'a', label: 2 ** 24, identity: '', bytes })).rejects.toThrow(/to 16777215/);
    await writer.add({ name: 'a', label: 0, identity: '', bytes });
    const none = new Int32Array(0);
    const pairs = { folds: 2 ** 32 - 1, left: none, right: none, same: new Uint8Array(0), fold: none };
    await expect(writer.finish({ identities: [], pairs })).rejects.toThrow(/expected pairs of/);
    await writer.abort();
  });
});

describe('an index that leads to one record again and again', () => {
  it('reads no more than its beginning', async () => {
    // One record of 150000 parts, and an index of 20000 images in it.
    const parts = 150_000;
    const head = (part: number, length: number) => {
      const b = Buffer.alloc(8);
      b.writeUInt32LE(0xced7230a, 0);
      b.writeUInt32LE(part * 2 ** 29 + length, 4);
      return b;
    };
    const rec = Buffer.concat([
      head(1, 32),
      Buffer.alloc(32, 0),
      ...Array.from({ length: parts }, () => head(2, 0)),
      head(3, 0),
    ]);
    const idx = Buffer.from(Array.from({ length: 20_000 }, (_, k) => `${k + 1}\t0\n`).join(''));
    const start = performance.now();
    const set = await recordIODataset({ rec: memorySource(rec, 'x.rec'), idx: memorySource(idx, 'x.idx') });
    expect([set.length, set.label(7)]).toEqual([20_000, 0]);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

it('damaged notes of an interrupted conversion are refused, or gone on with inside of the target', async () => {
  const source = people();
  const box = fresh('box');
  const out = join(box, 'out');
  const stop = new AbortController();
  const onEvent = (e: PrepareEvent) => {
    if (e.type === 'progress' && e.done === 3) stop.abort();
  };
  mkdirSync(box);
  await prepare({ sources: [source], out, workers: 0, signal: stop.signal, onEvent });
  const kept = fresh('kept');
  cpSync(box, kept, { recursive: true });
  const others = () => [...tree(root)].filter(([path]) => !path.startsWith(box) && !path.startsWith(kept));
  const before = others();
  for (const name of [basename(journalPath(out)), join('out', '.facegrad-progress')])
    await fuzz(
      async (bytes) => {
        rmSync(box, { recursive: true });
        cpSync(kept, box, { recursive: true });
        writeFileSync(join(box, name), bytes);
        // What was asked before may now be another conversion.
        await prepare({ sources: [source], out, workers: 0 }).catch((error) => {
          if (error.name !== 'UsageError') throw error;
        });
      },
      new Uint8Array(readFileSync(join(kept, name))),
      root,
      { cuts: 20, flips: 40, numbers: 40 },
    );
  expect(others()).toEqual(before);
});

it('a journal that is none is a DataError', async () => {
  const source = people();
  for (const text of ['', 'null\n', '{\n', '{"version":1,"asked":null}\n', '[]\n', '{"version":1,"asked":{}}\n-1\n']) {
    const out = fresh('out');
    writeFileSync(`${out}.prepare.jsonl`, text);
    await expect(prepare({ sources: [source], out, workers: 0 })).rejects.toThrow(DataError);
    expect(existsSync(out) && statSync(out).isDirectory() && readdirSync(out).length > 0).toBe(false);
  }
});
