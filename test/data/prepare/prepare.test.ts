/** Conversions between all formats: what goes in comes out, whatever the way, also after being cut off. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/core/crc32c.ts';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { formats } from '../../../src/data/formats/index.ts';
import { openDataset } from '../../../src/data/open.ts';
import { type PrepareEvent, type PrepareOptions, prepare } from '../../../src/data/prepare/prepare.ts';
import { targetFormat, validationName } from '../../../src/data/prepare/target.ts';
import { closeContainers, readBytes, readPicture } from '../../../src/data/readImage.ts';
import { encodeJpeg, encodePng } from '../../../src/image/encode.ts';
import { picture } from '../../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-prepare-'));
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true });
});
let count = 0;
const fresh = (name = '') => {
  const path = join(folder, `${count++}`);
  mkdirSync(path);
  return join(path, name);
};

/** Six people with one to six pictures, JPEG and PNG, as a folder with pairs over them. */
function people(): string {
  const root = fresh('people');
  const names: string[] = [];
  for (let p = 0; p < 6; p++) {
    mkdirSync(join(root, `Person_${p}`), { recursive: true });
    for (let s = 0; s <= p; s++) {
      const png = (p + s) % 3 === 0;
      const name = `Person_${p}/Person_${p}_${String(s + 1).padStart(4, '0')}.${png ? 'png' : 'jpg'}`;
      const image = picture(p, s, 24);
      writeFileSync(join(root, name), png ? encodePng(image) : encodeJpeg(image, 90));
      names.push(name);
    }
  }
  const pairs = [0, 1].flatMap((fold) => [
    `${names[1 + fold]}\t${names[2 - fold]}\t1`,
    `${names[3 + 2 * fold]}\t${names[10 + fold]}\t-1`,
  ]);
  writeFileSync(join(root, 'pairs.txt'), `# folds 2\n${pairs.join('\n')}\n`);
  return root;
}

/** What a set holds: by name, the person's name and the bytes. */
async function contents(set: Dataset): Promise<[string, string, number][]> {
  const all: [string, string, number][] = [];
  for (let i = 0; i < set.length; i++) {
    const { bytes } = await readBytes(set.source(i));
    const label = set.label(i);
    all.push([set.imageName(i), label < 0 ? '' : set.identityName(label), crc32c(bytes)]);
  }
  return all.sort(([a], [b]) => (a < b ? -1 : 1));
}
const labelsOf = (set: Dataset) =>
  Object.fromEntries(Array.from({ length: set.length }, (_, i) => [set.imageName(i), set.label(i)]));
const pairsOf = (set: Dataset) =>
  set.pairs &&
  Array.from(set.pairs.left, (l, k) => [
    set.imageName(l),
    set.imageName(set.pairs!.right[k]!),
    set.pairs!.same[k],
    set.pairs!.fold[k],
  ]);

const quiet = { workers: 0 } as const;
const targets = { folder: 'set', list: 'set.txt', recordio: 'set.rec', tfrecord: 'set.tfrecord', packed: 'set.faces' };
const labelled = Object.keys(targets) as (keyof typeof targets)[];

describe('round trips', () => {
  const root = people();
  it('cover every format that can be written with labels', () => {
    expect(
      formats
        .filter((f) => f.create && f.holds.labels)
        .map((f) => f.name)
        .sort(),
    ).toEqual([...labelled].sort());
  });
  it.each(labelled.flatMap((a) => labelled.map((b) => [a, b] as const)))('folder → %s → %s → folder', async (a, b) => {
    const want = await openDataset(root);
    const [first, second, third] = [fresh(targets[a]), fresh(targets[b]), fresh('back')];
    await prepare({ ...quiet, sources: [root], out: first });
    await prepare({ ...quiet, sources: [first], out: second });
    const middle = await openDataset(second);
    expect(await contents(middle)).toEqual(await contents(want));
    expect(labelsOf(middle)).toEqual(labelsOf(want));
    expect(middle.classes).toBe(6);
    await prepare({ ...quiet, sources: [second], out: third });
    const end = await openDataset(third);
    expect(await contents(end)).toEqual(await contents(want));
    // Pairs go wherever both formats on the way hold them.
    const holds = (name: string) => formats.find((f) => f.name === name)!.holds.pairs;
    expect(pairsOf(end)).toEqual(holds(a) && holds(b) ? pairsOf(want) : undefined);
  });
  it('pairs as a verification set and back: the same pictures in the same pairs', async () => {
    const bin = fresh('set.bin');
    const done = await prepare({ ...quiet, sources: [root], out: bin });
    expect(done).toMatchObject({ format: 'verification', pairs: 4, finished: true });
    const want = await openDataset(root);
    for (const target of ['set.faces', 'set']) {
      const out = fresh(target);
      await prepare({ ...quiet, sources: [bin], out });
      const set = await openDataset(out);
      expect(set.classes).toBe(0);
      expect([...set.pairs!.same]).toEqual([...want.pairs!.same]);
      for (const side of ['left', 'right'] as const)
        for (let k = 0; k < 4; k++) {
          const [got, had] = [set.source(set.pairs![side][k]!), want.source(want.pairs![side][k]!)];
          expect(crc32c((await readBytes(got)).bytes)).toBe(crc32c((await readBytes(had)).bytes));
        }
    }
  });
  it('bare pixels become PNG where a format holds none, and stay the same pixels', async () => {
    const raw = fresh('raw.faces');
    await prepare({ ...quiet, sources: [root], out: raw, encode: 'raw' });
    const want = await openDataset(root);
    const pixels = await openDataset(raw);
    expect((await readBytes(pixels.source(0))).raw).toEqual({ width: 24, height: 24 });
    for (const out of [fresh('set.rec'), fresh('set')]) {
      await prepare({ ...quiet, sources: [raw], out });
      const set = await openDataset(out);
      for (let i = 0; i < set.length; i++) {
        const name = set.imageName(i);
        expect(name).toMatch(/\.png$/);
        const stem = name.replace(/\.png$/, '');
        const k = Array.from({ length: want.length }, (_, j) => want.imageName(j).replace(/\.\w+$/, '')).indexOf(stem);
        expect((await readPicture(set.source(i))).data).toEqual((await readPicture(want.source(k))).data);
      }
    }
  });
});

describe('an interrupted conversion', () => {
  const root = people();
  const cases = [...labelled.map((name) => targets[name])];
  it.each(cases)('goes on to the same bytes: %s', async (target) => {
    const whole = fresh(target);
    await prepare({ ...quiet, sources: [root], out: whole });
    for (const after of [0, 1, 7, 20]) {
      const out = fresh(target);
      const stop = new AbortController();
      const part = await prepare({
        ...quiet,
        sources: [root],
        out,
        signal: stop.signal,
        onEvent: (e) => {
          if ((e.type === 'progress' && e.done >= after) || after === 0) stop.abort();
        },
      });
      expect(part.finished).toBe(false);
      const events: PrepareEvent[] = [];
      const rest = await prepare({ ...quiet, sources: [root], out, onEvent: (e) => events.push(e) });
      expect(rest).toMatchObject({ finished: true, images: 21 });
      expect(treeOf(out)).toEqual(treeOf(whole));
    }
  });
  it('is not gone on with under other settings', async () => {
    const out = fresh('set.rec');
    const stop = new AbortController();
    const options = { ...quiet, sources: [root], out };
    await prepare({
      ...options,
      signal: stop.signal,
      onEvent: (e) => e.type === 'progress' && e.done === 3 && stop.abort(),
    });
    await expect(prepare({ ...options, size: [16, 16] })).rejects.toThrow(
      /interrupted conversion is here, made with another 'how'/,
    );
    await expect(prepare({ ...options, size: [16, 16], overwrite: true })).resolves.toMatchObject({ finished: true });
    await expect(prepare(options)).rejects.toThrow(/expected a new file, but it is there already/);
  });
});

/** Every file below a path or beside it, with its checksum. */
function treeOf(path: string): [string, number][] {
  const top = join(path, '..');
  return readdirSync(top, { recursive: true, encoding: 'utf8' })
    .filter((f) => statSync(join(top, f)).isFile())
    .map((f): [string, number] => [f, crc32c(readFileSync(join(top, f)))])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

describe('on the way', () => {
  const root = people();
  const to = async (options: Partial<PrepareOptions>, target = 'out.faces') => {
    const out = fresh(target);
    const events: PrepareEvent[] = [];
    const done = await prepare({ ...quiet, sources: [root], out, onEvent: (e) => events.push(e), ...options });
    return { done, events, set: await openDataset(out), out };
  };
  it('sizes, encodings', async () => {
    const { set } = await to({ size: [16, 12], encode: 'png' });
    for (let i = 0; i < set.length; i++) {
      expect((await readBytes(set.source(i))).bytes[0]).toBe(0x89);
      expect(set.imageName(i)).toMatch(/\.png$/);
      expect(await readPicture(set.source(i))).toMatchObject({ width: 12, height: 16 });
    }
  });
  it('threads change nothing', async () => {
    const options = { size: [20, 20], exactly: 4, seed: 5 } as const;
    const [one, three] = [await to({ ...options, workers: 0 }), await to({ ...options, workers: 3 })];
    expect(crc32c(readFileSync(three.out))).toBe(crc32c(readFileSync(one.out)));
    expect(one.done.images).toBe(24);
  });
  it('selections: least, most, exact, bands', async () => {
    expect((await to({ atLeast: 3 })).done).toMatchObject({ images: 18, identities: 4 });
    expect((await to({ atLeast: 3, atMost: 4 })).done).toMatchObject({ images: 15, identities: 4 });
    const { set } = await to({ exactly: 3 });
    const perPerson = new Map<number, number>();
    for (let i = 0; i < set.length; i++) perPerson.set(set.label(i), (perPerson.get(set.label(i)) ?? 0) + 1);
    expect([...perPerson.values()]).toEqual([3, 3, 3, 3, 3, 3]);
    await expect(to({ balance: true })).rejects.toThrow(/none is left by this selection/);
    await expect(to({ balance: true, exactly: 3 })).rejects.toThrow(UsageError);
  });
  it('a part for validation', async () => {
    const { done, out } = await to({ validation: 0.34, splitBy: 'identity' });
    const other = await openDataset(validationName(out));
    const set = await openDataset(out);
    expect([set.classes, other.classes]).toEqual([4, 2]);
    expect(done.images + other.length).toBe(21);
    const names = (s: Dataset) => Array.from({ length: s.classes }, (_, l) => s.identityName(l));
    expect([...names(set), ...names(other)].sort()).toEqual(Array.from({ length: 6 }, (_, p) => `Person_${p}`));
  });
  it('several sets: people behind people, or joined by name', async () => {
    const other = people();
    expect((await to({ sources: [root, other] })).done).toMatchObject({ images: 42, identities: 12 });
    expect((await to({ sources: [root, other], merge: true })).done).toMatchObject({ images: 42, identities: 6 });
  });
  it('bad pictures stop it, are left out, or repaired', async () => {
    const bad = people();
    writeFileSync(join(bad, 'Person_2/Person_2_0001.jpg'), 'no picture');
    const whole = readFileSync(join(bad, 'Person_3/Person_3_0002.jpg'));
    writeFileSync(join(bad, 'Person_3/Person_3_0002.jpg'), whole.subarray(0, whole.length - 120));
    // As copies they are not looked at, unless asked.
    expect((await to({ sources: [bad] })).done.images).toBe(21);
    await expect(to({ sources: [bad], check: true })).rejects.toThrow(/Person_2_0001\.jpg: neither JPEG nor PNG/);
    const skipped = await to({ sources: [bad], check: true, skipBad: true });
    expect(skipped.done).toMatchObject({ images: 19, repaired: 0 });
    expect(skipped.done.leftOut.length).toBe(2);
    const mended = await to({ sources: [bad], repair: true, skipBad: true });
    expect(mended.done).toMatchObject({ images: 20, repaired: 1 });
    expect(mended.events.find((e) => e.type === 'repaired')).toMatchObject({ name: 'Person_3/Person_3_0002.jpg' });
    // One that stopped at a bad picture goes on once told what to do.
    const out = fresh('stopped.rec');
    const options = { ...quiet, sources: [bad], out, check: true };
    await expect(prepare(options)).rejects.toThrow(DataError);
    expect(await prepare({ ...options, skipBad: true })).toMatchObject({ images: 19, finished: true });
    expect((await openDataset(out)).length).toBe(19);
  });
  it('goes on after what was left out, also where its journal was cut off in a line', async () => {
    const bad = people();
    for (const name of ['Person_1/Person_1_0001.jpg', 'Person_2/Person_2_0001.jpg', 'Person_4/Person_4_0002.jpg'])
      writeFileSync(join(bad, name), 'no picture');
    const options = { ...quiet, sources: [bad], check: true, skipBad: true };
    const whole = fresh('whole.faces');
    await prepare({ ...options, out: whole });
    const out = fresh('cut.faces');
    const stop = new AbortController();
    const onEvent = (e: PrepareEvent) => e.type === 'progress' && e.done === 9 && stop.abort();
    await prepare({ ...options, out, signal: stop.signal, onEvent });
    const journal = `${out}.prepare.jsonl`;
    expect(readFileSync(journal, 'utf8').split('\n').length).toBeGreaterThan(3);
    writeFileSync(journal, `${readFileSync(journal, 'utf8')}1`);
    expect(await prepare({ ...options, out })).toMatchObject({ finished: true, images: 18 });
    expect(crc32c(readFileSync(out))).toBe(crc32c(readFileSync(whole)));
    expect(existsSync(journal)).toBe(false);
  });
  it('pairs lose those whose pictures are gone', async () => {
    const { set } = await to({ atLeast: 2 });
    const all = await openDataset(root);
    const kept = pairsOf(all)!.filter(([a, b]) => ![a, b].some((n) => String(n).startsWith('Person_0/')));
    expect(pairsOf(set)).toEqual(kept);
  });
  it('refuses what cannot be', async () => {
    expect(() => targetFormat('x.zip')).toThrow(/expected an ending that stands for a format/);
    expect(() => targetFormat('x', 'zip')).toThrow(/--to: expected a format that can be written, got 'zip'/);
    await expect(prepare({ ...quiet, sources: [root], out: root })).rejects.toThrow(/another place than a source/);
    await expect(prepare({ ...quiet, sources: [root], out: folder })).rejects.toThrow(/something is in it/);
    await expect(prepare({ ...quiet, sources: [join(folder, 'none')], out: fresh('x') })).rejects.toThrow(
      /none: expected a data set, got ENOENT/,
    );
    await expect(to({ align: 'known' })).rejects.toThrow(/expected a set that holds five points/);
    const bare = fresh('bare');
    await prepare({ ...quiet, sources: [root], out: bare });
    rmSync(join(bare, 'pairs.txt'));
    await expect(to({ sources: [bare] }, 'x.bin')).rejects.toThrow(
      /expected pairs, since a verification consists of them/,
    );
  });
});

const shared = new URL('../../../../shared/data/', import.meta.url).pathname;
const present = existsSync(shared);
if (!present) console.log(`skipped: no photographs under ${shared}, alignment by prepare not compared`);
describe.skipIf(!present)('photographs', () => {
  it('aligned by their landmarks are the reference crops', async () => {
    const out = fresh('crops');
    await prepare({
      sources: [join(shared, 'verify/lfw250/images')],
      out,
      align: join(shared, 'verify/lfw250/expected.json'),
      encode: 'png',
      workers: 1,
    });
    const set = await openDataset(out);
    const expected = JSON.parse(readFileSync(join(shared, 'verify/lfw250/expected.json'), 'utf8')) as {
      images: Record<string, { crop: string }>;
    };
    let compared = 0;
    for (const [, { crop }] of Object.entries(expected.images)) {
      const k = Array.from({ length: set.length }, (_, i) => set.imageName(i)).indexOf(crop);
      const [got, want] = [
        await readPicture(set.source(k)),
        await readPicture({ kind: 'file', path: join(shared, 'verify/lfw250/crops', crop) }),
      ];
      const worst = got.data.reduce((m, v, i) => Math.max(m, Math.abs(v - want.data[i]!)), 0);
      expect(worst, crop).toBeLessThanOrEqual(2); // the reference rounds positions to 1/32 pixel
      compared++;
    }
    expect(compared).toBe(20);
  });
});
