import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { openFolder, openPictures } from '../../../src/data/formats/folder.ts';
import { formatDevkitList, readDevkitList, readNameLines } from '../../../src/data/formats/megaface.ts';
import { megafaceFormat, openDevkitList } from '../../../src/data/formats/megafaceFormat.ts';
import { formatOf, openDataset } from '../../../src/data/open.ts';
import { readPicture } from '../../../src/data/readImage.ts';
import { encodePng } from '../../../src/image/encode.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { picture } from '../../helpers/pictures.ts';

const root = mkdtempSync(join(tmpdir(), 'facegrad-megaface-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = '';
let next = 0;
beforeEach(() => {
  folder = join(root, String(next++));
  mkdirSync(folder);
});
const write = (path: string, content: string | Uint8Array) => {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
  return join(folder, path);
};

const probes = {
  paths: ['Adam_Brody/Adam_Brody_277.png', 'Zoe_X/Zoe_X_1.png', 'Adam_Brody/Adam_Brody_9.png'],
  ids: ['Adam_Brody', 'Zoe_X', 'Adam_Brody'],
};
const distractors = ['271/27104265@N00/1_0.jpg', '3/9@N01/2_0.jpg'];

describe('development-kit lists', () => {
  it('give paths and people', () => {
    expect(readDevkitList(JSON.stringify({ id: probes.ids, path: probes.paths }))).toEqual(probes);
    expect(readDevkitList('\uFEFF{"path": ["a.jpg"], "id": [12]}')).toEqual({ paths: ['a.jpg'], ids: ['12'] });
    expect(readDevkitList(JSON.stringify({ path: distractors }))).toEqual({ paths: distractors, ids: undefined });
  });
  it('come back as they were written', () => {
    const path = fc.string({ minLength: 1 }).filter((s) => !s.includes('\0'));
    fc.assert(
      fc.property(fc.array(fc.tuple(path, fc.string()), { minLength: 1 }), fc.boolean(), (rows, known) => {
        const list = { paths: rows.map((r) => r[0]), ids: known ? rows.map((r) => r[1]) : undefined };
        expect(readDevkitList(formatDevkitList(list))).toEqual(list);
      }),
      { seed: 1 },
    );
  });
  it('of another kind are refused, naming the file', async () => {
    for (const [text, message] of [
      ['', /^l\.json: expected \{"path": \[\.\.\.\], "id": \[\.\.\.\]\}.*got/],
      ['null', /no list of paths/],
      ['{"path": []}', /no list of paths/],
      ['{"path": ["a", 3]}', /got 3 as path 1/],
      ['{"path": ["a", ""]}', /got "" as path 1/],
      ['{"path": ["a"], "id": []}', /got 0 ids for 1 paths/],
      ['{"path": ["a"], "id": "a"}', /no list of ids/],
      ['{"path": ["a"], "id": [null]}', /got null as id 0/],
    ] as const)
      expect(() => readDevkitList(text, 'l.json'), text).toThrow(message);
    for (const key of ['path', 'id']) {
      const nested = `{"path":["a"],"${key}":[${'['.repeat(1e5)}${']'.repeat(1e5)}]}`;
      expect(() => readDevkitList(nested, 'l.json')).toThrow(/^l\.json: .*got a list as /);
    }
    const bytes = new TextEncoder().encode(formatDevkitList(probes));
    await fuzz((b) => readDevkitList(new TextDecoder().decode(b), 'l.json'), bytes, 'l.json');
  });
});

it('text lists: comments, columns and line ends', () => {
  expect(readNameLines('\uFEFF# noise\r\nAdam_Brody_277.png\r\n\r\n#x\nA B_1.png \n')).toEqual([
    'Adam_Brody_277.png',
    'A B_1.png',
  ]);
  expect(readNameLines('1\t271/27104265@N00/1_0.jpg\n2\t3/9@N01/2_0.jpg\n')).toEqual(distractors);
  expect(readNameLines('')).toEqual([]);
});

describe('pictures of the challenge', () => {
  const fill = () => {
    for (const p of probes.paths) write(`facescrub_images/${p}`, encodePng(picture(0, 0)));
    for (const p of distractors) write(`megaface_images/${p}`, encodePng(picture(1, 0)));
  };
  it('by the lists of the kit, beside or below the pictures', async () => {
    fill();
    const known = await openDataset(
      write('devkit/templatelists/facescrub_features_list.json', formatDevkitList(probes)),
    );
    expect([known.classes, known.length]).toEqual([2, 3]);
    expect([0, 1, 2].map((i) => [known.imageName(i), known.identityName(known.label(i))])).toEqual(
      probes.paths.map((p, i) => [p, probes.ids[i]]),
    );
    expect((await readPicture(known.source(2))).data).toEqual(picture(0, 0).data);
    const list = write(
      'megaface_features_list.json_1000000_1',
      formatDevkitList({ paths: distractors, ids: undefined }),
    );
    const unknown = await openDataset(list);
    expect([unknown.classes, unknown.length, unknown.label(0), unknown.label(1)]).toEqual([0, 2, -1, -1]);
    expect((await readPicture(unknown.source(1))).data).toEqual(picture(1, 0).data);
    expect((await formatOf(list)).name).toBe('megaface');
    const own = openDevkitList(list, { root: join(folder, 'megaface_images') });
    expect(own.source(0)).toEqual(unknown.source(0));
  });
  it('as trees: a folder per person, and distractors of unknown people', () => {
    fill();
    const known = openFolder(join(folder, 'facescrub_images'));
    expect([known.classes, known.length]).toEqual([2, 3]);
    const unknown = openPictures(join(folder, 'megaface_images'));
    expect([unknown.imageName(0), unknown.imageName(1), unknown.classes]).toEqual([...distractors, 0]);
  });
  it('a list without its pictures says where they were looked for', async () => {
    const list = write('list.json', formatDevkitList(probes));
    await expect(openDataset(list)).rejects.toThrow(
      /list\.json: expected its picture Adam_Brody\/Adam_Brody_277\.png in .*facescrub_images or .*megaface_images, found none/,
    );
  });
  it('other JSON is not taken for a list', () => {
    const head = (text: string) => megafaceFormat.detect('a.json', false, new TextEncoder().encode(text));
    expect(['{"path": ["', ' {\n "id" : [', '\uFEFF{"path":['].map(head)).toEqual([true, true, true]);
    expect(['{"paths": [', '["path"]', '{"path": "x"}', '# {"path": ['].map(head)).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(megafaceFormat.detect('a', true, new Uint8Array(0))).toBe(false);
  });
});
