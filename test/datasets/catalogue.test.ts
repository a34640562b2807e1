/** The catalogue: consistent in itself; what it says of sets in their known forms, in part, cut off, and taken for another. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { catalogue, catalogueEntry, formsOf } from '../../datasets/catalogue.ts';
import type { Dataset, PairTable } from '../../src/data/dataset.ts';
import { checkCatalogue } from '../../src/data/inspect/catalogueCheck.ts';
import { openDataset } from '../../src/data/open.ts';
import { contiguousFolds } from '../../src/data/pairs.ts';
import { closeContainers } from '../../src/data/readImage.ts';

const entry = (name: string) => catalogueEntry(name)!;

/** A set that holds nothing but counts. */
function fake(
  images: number,
  classes: number,
  { size = [112, 112], pairs }: { size?: readonly [number, number]; pairs?: PairTable } = {},
): Dataset {
  const raw = { width: size[0], height: size[1] };
  return {
    name: 'fake',
    classes,
    length: images,
    label: () => -1,
    identityName: String,
    imageName: String,
    source: (i) => ({ kind: 'bytes', name: String(i), bytes: new Uint8Array(0), raw }),
    ...(pairs ? { pairs } : {}),
  };
}
/** Per fold, first the pairs of one person, then those of two. */
function pairTable(n: number, folds: number, images = 2 * n): PairTable {
  const per = n / folds;
  return {
    folds,
    left: Int32Array.from({ length: n }, (_, k) => (2 * k) % images),
    right: Int32Array.from({ length: n }, (_, k) => (2 * k + 1) % images),
    same: Uint8Array.from({ length: n }, (_, k) => (k % per < per / 2 ? 1 : 0)),
    fold: contiguousFolds(n, folds),
  };
}

describe('the catalogue', () => {
  it('has all sets that were asked of it', () => {
    const asked =
      'casia-webface ms1m-v1 ms1m-v2 ms1m-v3 vggface2 glint360k lfw cfp-fp cfp-ff agedb-30 calfw cplfw vgg2-fp megaface ijb-a ijb-b ijb-c facescrub celeba asian-celeb synthetic';
    expect(asked.split(' ').filter((name) => !catalogueEntry(name))).toEqual([]);
  });
  it('names everything once, whatever case and dashes', () => {
    const names = catalogue.flatMap((e) => [e.name, ...e.aliases]);
    const plain = new Map<string, string>();
    for (const e of catalogue)
      for (const n of [e.name, ...e.aliases]) {
        const key = n.toLowerCase().replace(/[^a-z0-9]/g, '');
        expect(plain.get(key) ?? e.name, n).toBe(e.name);
        plain.set(key, e.name);
      }
    for (const n of names)
      expect(catalogueEntry(n)?.name, n).toBe(plain.get(n.toLowerCase().replace(/[^a-z0-9]/g, '')));
    expect(catalogueEntry('FACES_EMORE')?.name).toBe('ms1m-v2');
    expect(catalogueEntry('lfww')).toBeUndefined();
  });
  it('gives every number a source, and every set a licence and a place', () => {
    for (const e of catalogue) {
      for (const c of [e.counts ?? [], e.otherCounts, e.variants].flat())
        expect(c.source.length, e.name).toBeGreaterThan(5);
      expect(e.licence.note.length, e.name).toBeGreaterThan(20);
      expect(e.published.length, e.name).toBeGreaterThan(0);
      expect(e.layout.length, e.name).toBeGreaterThan(10);
      expect(
        e.commands.every((c) => c.startsWith('facegrad ')),
        e.name,
      ).toBe(true);
      if (e.paper) expect(e.cite, e.name).toMatch(new RegExp(`${e.paper.year}`));
      if (e.name !== 'synthetic') expect(formsOf(e).length, e.name).toBeGreaterThan(0);
    }
  });
  it('adds up', () => {
    for (const e of catalogue)
      for (const f of formsOf(e)) {
        for (const n of [f.identities, f.images, f.pairs, f.folds])
          expect(n === undefined || (Number.isInteger(n) && n > 0), `${e.name} ${f.name}`).toBe(true);
        if (f.identities !== undefined && f.images !== undefined) expect(f.images).toBeGreaterThan(f.identities);
        if (f.folds !== undefined) expect(f.pairs! % f.folds, e.name).toBe(0);
        // Sets by pair have two images of each.
        if (f.files.some((n) => n.endsWith('.bin')) && f.identities === undefined) expect(f.images).toBe(2 * f.pairs!);
        if (e.same !== undefined && f.pairs !== undefined) expect(2 * e.same).toBe(f.pairs);
      }
    const [many, few] = entry('digiface-1m').variants;
    expect(many!.images! + few!.images!).toBe(entry('digiface-1m').counts!.images);
    expect(many!.identities! + few!.identities!).toBe(entry('digiface-1m').counts!.identities);
    const [v1c] = entry('deepglint').variants;
    const asian = entry('asian-celeb').counts!;
    expect(v1c!.images! + asian.images!).toBe(entry('deepglint').counts!.images);
    expect(v1c!.identities! + asian.identities!).toBe(entry('deepglint').counts!.identities);
    expect(entry('ijb-c').counts!.images).toBe(31_334 + 117_542);
    expect(entry('ijb-b').counts!.images).toBe(21_798 + 55_026);
    // Key 0 of MS1M-V1's pack names the first record of an identity and the end.
    const v1 = entry('ms1m-v1').counts!;
    expect([v1.images! + 1, v1.images! + 1 + v1.identities!]).toEqual([3_804_847, 3_890_011]);
  });
  it('knows the sizes of the verification sets', () => {
    const pairs = (name: string) => entry(name).variants.find((v) => v.name.includes('.bin'))?.pairs;
    const names = ['lfw', 'agedb-30', 'calfw', 'cplfw', 'cfp-ff', 'cfp-fp', 'vgg2-fp'];
    expect(names.map(pairs)).toEqual([6000, 6000, 6000, 6000, 7000, 7000, 5000]);
  });
});

describe('held against files', () => {
  it('packs are recognised', async () => {
    const emore = await checkCatalogue(fake(5_822_653, 85_742), entry('ms1m-v2'));
    expect(emore).toMatchObject({ state: 'whole', variant: 'faces_emore', differences: [] });
    expect(emore.traps.join()).toContain('not the 85,164 of MS1M-V1');
    const casia = await checkCatalogue(fake(494_414, 10_575, { size: [250, 250] }), entry('casia'));
    expect(casia).toMatchObject({ state: 'whole', variant: 'as published' });
    const bin = await checkCatalogue(fake(14_000, 0, { pairs: pairTable(7000, 10) }), entry('cfp-fp'));
    expect(bin).toMatchObject({
      state: 'whole',
      variant: 'cfp_fp.bin (InsightFace)',
      found: { pairs: 7000, same: 3500 },
    });
  });
  it('LFW in its forms', async () => {
    const whole = pairTable(6000, 10, 13_233);
    const funneled = await checkCatalogue(fake(13_233, 5749, { size: [250, 250], pairs: whole }), entry('lfw'));
    expect(funneled).toMatchObject({ state: 'whole', variant: 'lfw, lfw-funneled, lfw-deepfunneled' });
    const bare = await checkCatalogue(fake(13_233, 5749), entry('lfw'));
    expect(bare).toMatchObject({ state: 'whole', variant: 'Align_112x112' });
    expect(bare.remarks.join()).toContain('no pairs; LFW (Labeled Faces in the Wild) has 6,000');
    const narrow = await checkCatalogue(fake(13_233, 5749, { size: [96, 112] }), entry('lfw'), { pairs: whole });
    expect(narrow).toMatchObject({ state: 'whole', variant: 'lfw-112X96', found: { folds: 10 } });
    const some = await checkCatalogue(fake(9000, 4500, { pairs: pairTable(6000, 10, 9000) }), entry('lfw'));
    expect(some).toMatchObject({ state: 'whole', variant: 'pairs alone' });
    const five = await checkCatalogue(fake(13_233, 5749), entry('lfw'), { pairs: pairTable(3000, 5, 13_233) });
    expect(five.state).toBe('part');
    expect(five.summary).toContain('3,000 of 6,000 pairs, 5 of 10 folds');
  });
  it('what is cut off, wrong or another set does not fit, and why', async () => {
    const v1 = await checkCatalogue(fake(3_804_846, 85_164), entry('ms1m-v2'));
    expect(v1.state).toBe('differs');
    expect(v1.differences).toContainEqual({ what: 'identities', expected: 85_742, found: 85_164 });
    expect(v1.remarks.join('\n')).toContain('those of ms1m-v1 (faces_ms1m_112x112)');
    const cut = await checkCatalogue(fake(5_000_000, 85_742), entry('ms1m-v2'));
    expect(cut.state).toBe('differs');
    expect(cut.remarks.join()).toContain('822,653 images fewer');
    // All records of CASIA's pack, the 10,572 of identities among them.
    const records = await checkCatalogue(fake(501_195, 10_572), entry('casia-webface'));
    expect(records.remarks.join()).toContain('490,623 images and the 10,572 records');
    const shifted = await checkCatalogue(fake(202_599, 10_178, { size: [178, 218] }), entry('celeba'));
    expect(shifted.remarks.join()).toContain('labels may count from 1');
    const small = await checkCatalogue(fake(5_822_653, 85_742, { size: [96, 112] }), entry('ms1m-v2'));
    expect(small.state).toBe('whole'); // as published: the counts say no size
    expect(small.remarks.join()).toContain('Its pictures are 96x112; faces_emore has 112x112');
    const odd = await checkCatalogue(fake(12_000, 0, { pairs: pairTable(5900, 10) }), entry('lfw'));
    expect(odd.differences).toContainEqual({ what: 'pairs', expected: 6000, found: 5900 });
    const flags = pairTable(6000, 10);
    flags.same.fill(1);
    const flagged = await checkCatalogue(fake(12_000, 0, { pairs: flags }), entry('lfw'));
    expect(flagged.differences).toEqual([{ what: 'same', expected: 3000, found: 6000 }]);
    expect((await checkCatalogue(fake(13_233, 5749), entry('calfw'))).state).toBe('differs');
  });
  it('sets of as many pairs are told apart by the name of their file alone, and it says so', async () => {
    const bin = fake(12_000, 0, { pairs: pairTable(6000, 10) });
    const right = await checkCatalogue(bin, entry('calfw'), { file: 'calfw.bin' });
    expect(right.state).toBe('whole');
    expect(right.remarks).toContain(
      'lfw, cplfw, agedb-30 have as many pairs and folds: counts do not tell them apart.',
    );
    expect((await checkCatalogue(bin, entry('calfw'), { file: 'mine.bin' })).state).toBe('whole');
    const wrong = await checkCatalogue(bin, entry('calfw'), { file: 'lfw.bin' });
    expect(wrong.state).toBe('differs');
    expect(wrong.differences).toEqual([{ what: 'name', expected: 'calfw.bin', found: 'lfw.bin' }]);
    expect(wrong.summary).toContain('but LFW');
  });
  it('pictures that cannot be read do not fit', async () => {
    const set: Dataset = {
      ...fake(13_233, 5749),
      source: (i) => ({ kind: 'bytes', name: `${i}.jpg`, bytes: new Uint8Array(9) }),
    };
    const found = await checkCatalogue(set, entry('lfw'), { sample: 5 });
    expect(found.state).toBe('differs');
    expect(found.differences).toContainEqual({ what: 'pictures', expected: 'all readable', found: '5 of 5 not' });
  });
  it('a set of no fixed size is nothing to compare with', async () => {
    await expect(checkCatalogue(fake(10, 2), entry('synthetic'))).rejects.toThrow(/known counts/);
  });

  const lfw = resolve(import.meta.dirname, '../../../shared/data/verify/lfw112');
  const there = existsSync(lfw);
  if (!there) console.warn(`catalogue: real sets are not tested, ${lfw} is not there`);
  it.skipIf(!there)('three folds of LFW are part of it', async () => {
    const found = await checkCatalogue(await openDataset(lfw), entry('lfw'));
    await closeContainers();
    expect(found).toMatchObject({
      state: 'part',
      found: { images: 2320, identities: 1241, pairs: 1800, folds: 3, same: 900, unreadable: 0 },
    });
    expect(found.summary).toContain('1,800 of 6,000 pairs, 3 of 10 folds');
    expect(found.found.sizes).toEqual([{ width: 112, height: 112, images: 64 }]);
  });
});
