/**
 * The data layer of the built package in a page: every format from Blobs, decoding, alignment and writing, against what Node
 * reads of the same files by path; with and without memory that threads share.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { rangesOf } from '../../src/core/ranges.ts';
import { memorySink } from '../../src/data/bytes.ts';
import type { PairTable } from '../../src/data/dataset.ts';
import { describeMatrix, openFeatures } from '../../src/data/formats/features.ts';
import { packedDataset } from '../../src/data/formats/packed.ts';
import { packedWriter } from '../../src/data/formats/packedWriter.ts';
import { recordIOWriter } from '../../src/data/formats/recordioWriter.ts';
import { writeVerificationBin } from '../../src/data/formats/verificationBin.ts';
import { openDataset } from '../../src/data/open.ts';
import { formatPairs } from '../../src/data/pairs.ts';
import { closeContainers, readBytes, readPicture } from '../../src/data/readImage.ts';
import { readPairTable } from '../../src/data/readPairs.ts';
import { alignFace } from '../../src/image/align.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../src/image/encode.ts';
import { openNpy, writeNpy } from '../../src/weights/npy.ts';
import { openNpz, writeNpz } from '../../src/weights/npz.ts';
import { bundle, launch, noBrowser, open, type Site, scriptPage, serve, type Tab } from '../helpers/browser.ts';
import { needBuild } from '../helpers/built.ts';
import { files as pictures } from '../image/files.ts';
import npzGolden from '../reference/npz.json' with { type: 'json' };
import { npzArrays } from '../weights/npzArrays.ts';
import {
  type Drawn,
  describeNpz,
  describeRows,
  describeSet,
  hash,
  type PageFunctions,
  pageOf,
  tableOf,
} from './dataPage.ts';

const entry = `
import * as data from 'facegrad/data';
import { alignFace, decodeImage } from 'facegrad';
import { pageOf } from './test/browser/dataPage.ts';
Object.assign(globalThis, { page: pageOf({ data, main: { alignFace, decodeImage } }), ready: true });`;

const golden = (name: string) => readFileSync(new URL(`../reference/${name}`, import.meta.url));
const json = (name: string) => JSON.parse(golden(name).toString('utf8'));
const base64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

/** Faces of three people, two JPEGs and two PNGs each, and one whose people are not known. */
const faces = Array.from({ length: 12 }, (_, i) => {
  const label = Math.floor(i / 4);
  const identity = ['Ada', 'Bo', 'Zoë'][label]!;
  const image = { width: 112, height: 112, data: syntheticFace(5, label, i % 4, 112) };
  const ending = i % 2 ? 'png' : 'jpg';
  return {
    name: `${identity}/${identity}_000${(i % 4) + 1}.${ending}`,
    label,
    identity,
    image,
    bytes: i % 2 ? encodePng(image) : encodeJpeg(image, 90, { subsampling: i % 4 ? '4:4:4' : '4:2:0' }),
  };
});
const drawn: Drawn[] = faces.map(({ name, label, identity, bytes }) => ({
  name,
  label,
  identity,
  jpeg: Buffer.from(bytes).toString('base64'),
}));
const table: PairTable = {
  folds: 2,
  left: Int32Array.of(0, 1, 4, 5),
  right: Int32Array.of(2, 8, 6, 11),
  same: Uint8Array.of(1, 0, 1, 0),
  fold: Int32Array.of(0, 0, 1, 1),
};
const points = [39.1, 50.2, 74, 52.5, 55.5, 73, 42, 92, 71.3, 91.1];

const tfRecords: Record<string, string> = Object.fromEntries(
  ['tfrecord.json', 'tfrecordTensorflow.json'].flatMap((file) =>
    Object.entries(json(file) as Record<string, { file: string }>).map(([name, g]) => [`${name}.tfrecord`, g.file]),
  ),
);
const recordIO = json('recordio.json') as Record<string, Record<string, string>>;
const recSets = ['scalar', 'list', 'zeroFirst', 'shuffledIndex', 'im2rec', 'im2recLabels', 'unknown'];

async function written(how: 'faces' | 'rec') {
  const sinks = { rec: memorySink('o.rec'), idx: memorySink(), lst: memorySink(), property: memorySink() };
  const writer = how === 'rec' ? recordIOWriter(sinks) : await packedWriter(sinks.rec);
  for (const face of faces) await writer.add(face);
  await writer.finish({ identities: ['Ada', 'Bo', 'Zoë'] });
  const [rec, idx, lst, property] = [sinks.rec, sinks.idx, sinks.lst, sinks.property].map((s) => s.bytes());
  return { rec: rec!, idx: idx!, lst: lst!, property: property! };
}

/** Files of every format by name. */
async function formatFiles(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const name of recSets)
    for (const [ending, text] of Object.entries(recordIO[name]!))
      files.set(
        ending === 'property' ? `${name}/property` : `${name}/train.${ending}`,
        ending === 'rec' ? base64(text) : Buffer.from(text),
      );
  for (const [ending, bytes] of Object.entries(await written('rec')))
    files.set(ending === 'property' ? 'faces/property' : `faces/train.${ending}`, bytes);

  for (const [name, text] of Object.entries(tfRecords)) files.set(name, base64(text));
  const plain = base64(tfRecords['TensorFlow.tfrecord']!);
  const third = Math.floor(plain.length / 3);
  const members = [plain.subarray(0, third), plain.subarray(third, third), plain.subarray(third)];
  files.set('members.tfrecord', Buffer.concat(members.map((m) => gzipSync(m))));
  files.set('bomb.tfrecord', gzipSync(new Uint8Array(50e6)));
  files.set('memberBomb.tfrecord', Buffer.concat([gzipSync(plain), gzipSync(new Uint8Array(50e6))]));
  files.set('cut.tfrecord', base64(tfRecords['TensorFlow GZIP.tfrecord']!).subarray(0, 300));

  const sink = memorySink('x.faces');
  const writer = await packedWriter(sink, { metadata: { source: 'drawn' } });
  for (const { image, bytes, ...face } of faces)
    await writer.add(
      face.label === 1
        ? { ...face, bytes: image.data, raw: { width: 112, height: 112 }, landmarks: points }
        : { ...face, bytes },
    );
  await writer.finish({ identities: ['Ada', 'Bo', 'Zoë'], pairs: table });
  files.set('drawn.faces', sink.bytes());
  files.set('cut.faces', sink.bytes().subarray(0, -100));
  files.set('kept.faces', golden('packed.faces'));

  for (const items of ['bytes', 'numpy'] as const)
    for (const protocol of [2, 3, 4] as const) {
      const bin = memorySink();
      await writeVerificationBin(bin, table, async (i) => faces[i]!.bytes, { items, protocol });
      files.set(`${items}${protocol}.bin`, bin.bytes());
    }
  files.set('cut.bin', files.get('bytes3.bin')!.subarray(0, -10));

  files.set('pairs.txt', Buffer.from(formatPairs(table, await packedDataset(files.get('drawn.faces')!))));
  for (const [name, text] of Object.entries(npzGolden.features)) files.set(`${name}.feat`, base64(text));
  for (const [name, text] of Object.entries(npzGolden.numpy)) files.set(name, base64(text));
  files.set('ours.npy', writeNpy({ dtype: 'f32', shape: [3, 2], data: Float32Array.of(1, -2, 0.5, NaN, 1e30, 6) }));
  for (const compress of [false, true]) files.set(`ours${compress}.npz`, await writeNpz(npzArrays, { compress }));
  const cut = files.get('ourstrue.npz')!.slice();
  cut[60]! ^= 8;
  files.set('damaged.npz', cut);
  return files;
}

/** Pictures of which libjpeg-turbo's pixels are known by their hash, and drawn ones. */
const readable = Object.keys(pictures).filter((n) => n !== 'jpeg cmyk');
const pictureFiles = new Map<string, Uint8Array>([
  ...readable.map((n) => [`pictures/${n}`, base64(pictures[n]!.base64)] as const),
  ...faces.map(({ name, bytes }) => [`drawn/${basename(name)}`, bytes] as const),
  ...(['4:4:4', '4:2:2', '4:2:0'] as const).flatMap((subsampling) =>
    [30, 75, 100].map((quality) => {
      const image = { width: 75, height: 41, data: syntheticFace(6, 1, quality, 75).subarray(0, 75 * 41 * 3) };
      return [
        `sampled/${subsampling.replaceAll(':', '')} ${quality}.jpg`,
        encodeJpeg(image, quality, { subsampling }),
      ] as const;
    }),
  ),
]);

const shared = new URL('../../../shared/data/', import.meta.url);
const crops = existsSync(new URL('weights/golden/', shared))
  ? readFileSync(new URL('weights/golden/images.txt', shared), 'utf8').split('\n').slice(0, 32)
  : [];
const real = new Map<string, Uint8Array>();
if (crops.length === 0) console.log(`skipped: no real photographs under ${shared.pathname}, none decoded in a page`);
else {
  for (const name of crops) real.set(`real/${name}`, readFileSync(new URL(`verify/lfw112/${name}`, shared)));
  const npy = readFileSync(new URL('weights/golden/pixels_first32.npy', shared));
  real.set('real/pixels', npy.subarray(npy.length - 32 * 112 * 112 * 3));
  real.set('real.bin', readFileSync(new URL('formats/small_lfw.bin', shared)));
}

let folder = '';
let files = new Map<string, Uint8Array>();
let browser: Browser;
beforeAll(async () => {
  needBuild();
  files = await formatFiles();
  folder = mkdtempSync(join(tmpdir(), 'facegrad-page-'));
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), bytes);
  }
  if (!noBrowser) browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  await closeContainers();
  rmSync(folder, { recursive: true, force: true });
});

const path = (name: string) => join(folder, name);
/** What Node reads by path. */
async function inNode(name: string) {
  const set = await openDataset(path(name));
  return describeSet(set, readBytes, readPicture);
}

describe.skipIf(noBrowser).each([true, false])('facegrad/data in a page, isolated: %s', (isolated) => {
  let site: Site;
  let tab: Tab;
  beforeAll(async () => {
    const { code, chunks } = await bundle(entry);
    expect([...chunks.keys()].every((name) => name.startsWith('zip-'))).toBe(true);
    const all = new Map<string, string | Uint8Array>([...chunks, ...files, ...pictureFiles, ...real]);
    const encoded = new Map([...all].map(([name, body]) => [encodeURI(name), body]));
    site = await serve(scriptPage(code, encoded), { isolated });
    tab = await open(browser, site);
  });
  afterAll(async () => {
    await tab?.close();
    site?.close();
  });
  /** Calls a function of the page. */
  const run = <K extends keyof PageFunctions>(name: K, ...args: Parameters<PageFunctions[K]>) =>
    tab.run<Awaited<ReturnType<PageFunctions[K]>>>(`page.${name}(...${JSON.stringify(args)})`);
  const pixelsIn = ({ images }: { images: { pixels: unknown }[] }) => images.filter((i) => i.pixels !== 'none').length;

  it.each([...recSets, 'faces'])('RecordIO: %s', async (name) => {
    const endings = ['rec', 'idx', 'lst', 'property'].filter((e) =>
      files.has(e === 'property' ? `${name}/property` : `${name}/train.${e}`),
    );
    const page = await run('recordIO', `${name}/train`, endings);
    expect(page).toEqual(await inNode(`${name}/train.rec`));
    if (name === 'faces') expect(pixelsIn(page)).toBe(12);
    // Without the files beside it, records are looked for.
    const alone = await run('recordIO', `${name}/train`, ['rec']);
    expect(new Set(alone.images.map((i) => i.bytes))).toEqual(new Set(page.images.map((i) => i.bytes)));
  });
  it.each(Object.keys(tfRecords))('TFRecord: %s', async (name) => {
    const page = await run('tfRecord', [name]);
    expect(page).toEqual(await inNode(name));
    expect(pixelsIn(page) === page.images.length || !/TensorFlow|raw/.test(name)).toBe(true);
    const packed = /gz|zip|zlib/i.test(name);
    expect(await run('tfRecordMemory', name)).toEqual({ kind: packed ? 'bytes' : 'part', shared: packed && isolated });
  });
  it('TFRecord: gzip of several members, and several files', async () => {
    const whole = await run('tfRecord', ['TensorFlow.tfrecord']);
    expect(await run('tfRecord', ['members.tfrecord'])).toEqual(whole);
    expect(await inNode('members.tfrecord')).toEqual(whole);
    const both = await run('tfRecord', ['members.tfrecord', 'TensorFlow.tfrecord']);
    expect(both.images.map((i) => i.bytes)).toEqual([...whole.images, ...whole.images].map((i) => i.bytes));
  });
  it.each(['drawn', 'kept', 'cut'])('packed: %s.faces', async (name) => {
    const { metadata, ...page } = await run('packed', `${name}.faces`);
    const node = await openDataset(path(`${name}.faces`));
    const there = await describeSet(node, readBytes, readPicture);
    expect(page).toEqual({ ...there, note: there.note.replace(`${folder}/`, '') });
    if (name === 'drawn') {
      expect(metadata).toEqual({ source: 'drawn' });
      expect(page.pairs).toEqual(tableOf(table));
      expect(page.images.map((i) => i.pixels)).toEqual(
        faces.map(({ bytes, image, label }) => [
          112,
          112,
          hash(label === 1 ? image.data : decodeImage(bytes, '').data),
        ]),
      );
    }
    expect(page.note === '').toBe(name !== 'cut');
  });
  it.each(['bytes2', 'bytes3', 'bytes4', 'numpy2', 'numpy3', 'numpy4'])('verification set: %s.bin', async (name) => {
    const page = await run('verificationBin', `${name}.bin`);
    expect(page).toEqual(await inNode(`${name}.bin`));
    expect(pixelsIn(page)).toBe(8);
  });
  it('pairs by name', async () => {
    const page = await run('pairs', 'pairs.txt', 'drawn.faces');
    expect(page).toEqual(tableOf(table));
    expect(tableOf(readPairTable(path('pairs.txt'), await openDataset(path('drawn.faces'))))).toEqual(page);
  });
  it('matrices', async () => {
    const of = (name: string) => rangesOf(files.get(name)!, name);
    for (const name of ['single.feat', 'stacked.feat', 'double.feat', 'padded.feat'])
      expect(await run('features', name)).toEqual(await describeRows(await openFeatures(of(name))));
    for (const name of ['ours.npy', 'cube.npy', 'cube_fortran.npy', 'cube_f8.npy', 'cube_f2.npy', 'int16.npy'])
      expect(await run('npy', name)).toEqual(await describeRows(await openNpy(of(name))));
    for (const name of ['stored.npz', 'compressed.npz', 'oursfalse.npz', 'ourstrue.npz']) {
      const page = await run('npz', name);
      expect(page).toEqual(await describeNpz(await openNpz(of(name))));
      expect(page.length).toBeGreaterThan(2);
    }
    for (const name of ['stacked.feat', 'ours.npy', 'compressed.npz', 'ourstrue.npz']) {
      const source = { ...of(name), container: '', close: async () => {} };
      expect(await run('matrix', name)).toEqual(await describeMatrix(source));
    }
  });
  it('refuses what is damaged or unpacks too far', async () => {
    const tooFar = /^DataError: \w+\.tfrecord: expected at most 5000000 bytes to come out/;
    expect(await run('refusal', 'tfRecord', 'bomb.tfrecord')).toMatch(tooFar);
    expect(await run('refusal', 'tfRecord', 'memberBomb.tfrecord')).toMatch(tooFar);
    expect(await run('refusal', 'tfRecord', 'cut.tfrecord')).toMatch(
      /^DataError: cut\.tfrecord: expected whole gzip data/,
    );
    expect(await run('refusal', 'verificationBin', 'cut.bin')).toMatch(/^DataError: cut\.bin: /);
    expect(await run('refusal', 'npz', 'damaged.npz')).toMatch(/^DataError: damaged\.npz: /);
    expect(await run('refusal', 'packed', 'pairs.txt')).toMatch(/^DataError: pairs\.txt: /);
    expect(await run('refusal', 'recordIO', 'pairs.txt')).toMatch(/^DataError: pairs\.txt: /);
  });

  it('decodes to the pixels of libjpeg-turbo and of Node', async () => {
    const names = [...pictureFiles.keys()];
    const page = await run('decode', names.map(encodeURI));
    const node = names.map((name) => {
      const { width, height, data } = decodeImage(pictureFiles.get(name)!, name);
      return [width, height, hash(data)];
    });
    expect(page).toEqual(node);
    expect(page.slice(0, readable.length).map((p) => p[2])).toEqual(readable.map((n) => pictures[n]!.hash));
    const { image, bytes } = faces[0]!;
    expect(image.width).toBe(112);
    expect(await run('align', `drawn/${basename(faces[0]!.name)}`, points)).toBe(
      hash(alignFace(decodeImage(bytes, ''), points).data),
    );
  });
  it.skipIf(crops.length === 0)('decodes real crops to the pixels of libjpeg-turbo, and reads a real set', async () => {
    expect(
      await run(
        'worst',
        crops.map((c) => encodeURI(`real/${c}`)),
        'real/pixels',
      ),
    ).toBe(0);
    const set = await openDataset(new URL('formats/small_lfw.bin', shared).pathname);
    expect(await run('verificationBin', 'real.bin')).toEqual(await describeSet(set, readBytes, readPicture));
  });

  it.each(['faces', 'rec'] as const)('writes the bytes that Node writes, and reads them: %s', async (how) => {
    const page = await run('written', how, drawn);
    expect(page.files).toEqual(Object.values(await written(how)).map(hash));
    expect(page.set.images.map(({ name, identity, bytes }) => ({ name, identity, bytes }))).toEqual(
      faces.map(({ name, identity, bytes }) => ({ name, identity, bytes: hash(bytes) })),
    );
  });
  it('writes archives as Node does', async () => {
    const here = pageOf({ data: await import('../../src/data/index.ts'), main: await import('../../src/index.ts') });
    expect(await run('npzBytes', false)).toEqual(await here.npzBytes(false));
    // How deflate packs is up to the engine's zlib.
    const arrays = async (bytes: number[]) => describeNpz(await openNpz(rangesOf(Uint8Array.from(bytes), 'x.npz')));
    expect(await arrays(await run('npzBytes', true))).toEqual(await arrays(await here.npzBytes(true)));
  });

  it.each(['faces', 'rec'] as const)('reads ranges of a Blob, not all of it: %s', async (how) => {
    const { size, index, value, bytes, longest } = await run('ranges', how, drawn, 40);
    expect(size).toBeGreaterThan(5e6);
    expect(value.length).toBe(480);
    expect(value.images).toEqual([0, 6, 11].map((i) => hash(faces[i]!.bytes)));
    console.log(
      `${how}: ${bytes} of ${size + index} bytes read for 3 of ${value.length} images, at most ${longest} at once`,
    );
    expect(bytes).toBeLessThan(0.04 * size + index);
  });
  it.each([false, true])('scans a TFRecord file once and in pieces, gzip: %s', async (pack) => {
    const { size, value, bytes, longest } = await run('scanned', drawn, 20, pack);
    expect(value).toBe(240);
    expect(size).toBeGreaterThan(2.5e6);
    expect(bytes).toBeLessThan(1.05 * size);
    expect(longest).toBeLessThanOrEqual(1 << 20);
  });
  it('reads rows of a stored archive by range', async () => {
    const { size, value, bytes } = await run('npzRows', 10_000);
    expect(value).toEqual([9999 * 128, 9999 * 128 + 1]);
    expect(size).toBeGreaterThan(10e6);
    expect(bytes).toBeLessThan(0.02 * size);
  });
  it('says nothing on the console', () => {
    expect(tab.problems).toEqual([]);
  });
});
