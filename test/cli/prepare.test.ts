/** `facegrad prepare` as a process: what it writes and says, Ctrl-C and going on, exit codes, and what it says to bad input. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/data/dataset.ts';
import { openDataset } from '../../src/data/open.ts';
import { readBytes } from '../../src/data/readImage.ts';
import { type Ended, facegrad } from '../helpers/killedRuns.ts';
import { writePeople } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-prepare-'));
afterAll(() => rmSync(folder, { recursive: true }));
const faces = join(folder, 'faces');
const pictures = writePeople(faces, 3, 4);
/** A picture of nobody known. */
const loose = join(folder, 'loose');
mkdirSync(loose);
writeFileSync(join(loose, '1.png'), readFileSync(pictures[0]![0]!));

const run = (...args: string[]): Promise<Ended> => facegrad(['prepare', ...args], () => {}, { cwd: folder });
const at = (name: string) => join(folder, name);
async function contentOf(path: string): Promise<unknown[]> {
  const set: Dataset = await openDataset(at(path));
  const rows = [];
  for (let i = 0; i < set.length; i++) {
    const label = set.label(i);
    const { bytes } = await readBytes(set.source(i));
    rows.push([
      set.imageName(i),
      label,
      label < 0 ? '' : set.identityName(label),
      createHash('md5').update(bytes).digest('hex'),
    ]);
  }
  return rows;
}

describe('conversions', () => {
  it('through every format and back, by relative paths', async () => {
    let from = 'faces/';
    for (const to of ['a.rec', 'a.faces', 'a.tfrecord', 'a.txt', 'b/']) {
      const ended = await run(from, to);
      const name = { rec: 'recordio', faces: 'packed', tfrecord: 'tfrecord', txt: 'list' }[to.slice(2)] ?? 'folder';
      expect(ended.stderr).toBe(`${to} (${name}): 12 images of 3 people\n`);
      expect(ended.stdout).toMatch(/^\S+: 12 images of 3 people in \d+ s\n$/);
      expect(ended.code).toBe(0);
      from = to;
    }
    expect(await contentOf('b')).toEqual(await contentOf('faces'));
  });
  it('--json: one object a line, and nothing else', async () => {
    const ended = await run('faces', 'j.faces', '--json', '--size', '24', '--encode', 'png', '--at-most', '2');
    const lines = ended.stdout
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l));
    const set = { out: 'j.faces', format: 'packed', images: 6, identities: 3, pairs: 0 };
    expect(lines[0]).toEqual({ type: 'start', ...set, from: 0 });
    expect(lines[1]).toEqual({
      type: 'end',
      ...set,
      leftOut: [],
      repaired: 0,
      finished: true,
      seconds: expect.any(Number),
    });
    expect(lines).toHaveLength(2);
    expect([ended.stderr, ended.code]).toEqual(['', 0]);
  });
  it('pictures of unknown people', async () => {
    expect((await run('loose', 'l.txt')).stdout).toMatch(/^l\.txt: 1 image, people not known in/);
    expect(readFileSync(at('l.txt'), 'utf8')).toBe('l/1.png -1\n');
    expect((await run('l.txt', 'l.rec')).code).toBe(0);
    const mixed = await run('faces', 'loose', 'mixed');
    expect(mixed.stderr).toMatch(/got 1 of unknown people among 13: a folder cannot hold both\nPass --at-least 1/);
    expect([mixed.code, existsSync(at('mixed')), existsSync(at('mixed.prepare.jsonl'))]).toEqual([2, false, false]);
    for (const out of ['mixed.faces', 'mixed.rec', 'mixed.tfrecord', 'mixed.txt'])
      expect((await run('faces', 'loose', out)).code, out).toBe(0);
    expect((await contentOf('mixed.txt')).map((row) => (row as unknown[]).slice(1))).toEqual(
      (await contentOf('mixed.faces')).map((row) => (row as unknown[]).slice(1)),
    );
    expect((await run('mixed.txt', 'known', '--at-least', '1')).stdout).toMatch(/12 images of 3 people/);
  });
  it.skipIf(process.platform === 'win32')('names that only Windows does not take', async () => {
    for (const person of ['Robert_Downey_Jr.', 'con', 'José "Pepe"', '#1 日本']) {
      mkdirSync(at(`odd/${person}`), { recursive: true });
      writeFileSync(at(`odd/${person}/1 #.png`), readFileSync(pictures[0]![0]!));
    }
    expect((await run('odd', 'odd.rec')).code).toBe(0);
    for (const out of ['odd2', 'odd2list.txt']) {
      expect((await run('odd.rec', out)).stderr).toMatch(/4 images of 4 people\n$/);
      expect(await contentOf(out)).toEqual(await contentOf('odd'));
    }
  });
  it('--skip-bad leaves out what cannot be decoded, also where bytes are copied', async () => {
    const [cut, text, empty] = writePeople(at('bad'), 2, 2).flat();
    writeFileSync(cut!, readFileSync(cut!).subarray(0, 300));
    writeFileSync(text!, 'no picture');
    writeFileSync(empty!, '');
    for (const out of ['bad.rec', 'bad.faces', 'bad2']) {
      const ended = await run('bad', out, '--skip-bad');
      expect(ended.stderr.match(/^left out: /gm)).toHaveLength(3);
      expect(ended.stdout).toMatch(/: 1 image of 2 people in \d+ s; 3 unreadable ones left out\n$/);
      expect(ended.code).toBe(0);
    }
  });
});

describe('going on', () => {
  const slow = ['--exactly', '150', '--size', '96', '--encode', 'png'];
  it('after Ctrl-C the same command goes on, to the same files', async () => {
    const whole = await run('faces', 'whole.txt', ...slow);
    expect(whole.code).toBe(0);
    let started = false;
    const stopped = await facegrad(
      ['prepare', 'faces', 'stopped.txt', ...slow, '--json'],
      (line, kill) => {
        if (!line.startsWith('{"type":"start"')) return;
        started = true;
        setTimeout(() => kill('SIGINT'), 300);
      },
      { cwd: folder },
    );
    expect([started, stopped.code, stopped.stderr]).toEqual([true, 130, '']);
    const end = JSON.parse(stopped.stdout.trim().split('\n').at(-1)!);
    expect(end).toMatchObject({ type: 'end', finished: false });
    expect(end.images).toBeGreaterThan(0);
    expect(existsSync(at('stopped.txt'))).toBe(false);

    const other = await run('faces', 'stopped.txt', ...slow, '--seed', '2');
    expect(other.stderr).toMatch(
      /^facegrad: stopped\.txt: an interrupted conversion is here, made with another 'seed': 1, now 2\n/,
    );
    expect(other.code).toBe(2);

    const again = await run('faces', 'stopped.txt', ...slow);
    expect(again.stderr).toBe(`stopped.txt (list): 450 images of 3 people; going on after ${end.images}\n`);
    expect([again.code, existsSync(at('stopped.txt.prepare.jsonl'))]).toEqual([0, false]);
    expect(await contentOf('stopped.txt')).toEqual(await contentOf('whole.txt'));
  });
  it('a part that is whole is kept when the other was cut off', async () => {
    const flags = ['--validation', '0.25', ...slow];
    for (const [out, kept] of [
      ['v/', 'v-validation'],
      ['v.faces', 'v-validation.faces'],
    ] as const) {
      let parts = 0;
      const ended = await facegrad(
        ['prepare', 'faces', out, ...flags, '--json'],
        (line, kill) => {
          if (line.startsWith('{"type":"start"') && ++parts === 2) setTimeout(() => kill('SIGKILL'), 100);
        },
        { cwd: folder },
      );
      expect([ended.signal, parts]).toEqual(['SIGKILL', 2]);
      const before = await contentOf(kept);
      const again = await run('faces', out, ...flags);
      expect(again.stderr).toMatch(new RegExp(`^${kept} .*: 3 images of 3 people; going on after 3\n`));
      expect(again.code).toBe(0);
      expect(await contentOf(kept)).toEqual(before);
      expect(existsSync(at(`${kept}.prepare.jsonl`)) || existsSync(at(`${out.replace('/', '')}.prepare.jsonl`))).toBe(
        false,
      );
    }
  });
  it('a set that was whole when its journal was not yet removed', async () => {
    for (const target of ['w', 'wl.txt', 'w.rec', 'w.faces', 'w.tfrecord']) {
      const flags = ['faces', target, '--at-most', '2'];
      expect((await run(...flags)).code).toBe(0);
      const content = await contentOf(target);
      const set = await openDataset(faces);
      const how = {
        fit: 'scale',
        encode: 'keep',
        quality: 95,
        holdsRaw: target === 'w.faces',
        check: null,
        repair: null,
      };
      const asked = {
        sources: ['faces'],
        images: ['faces', set.length, set.classes, 6],
        to: { w: 'folder', 'wl.txt': 'list', 'w.rec': 'recordio', 'w.faces': 'packed', 'w.tfrecord': 'tfrecord' }[
          target
        ],
        how,
        ...{ merge: null, pairs: null, align: null, balance: null, exactly: null, atLeast: null, atMost: 2 },
        ...{ validation: null, splitBy: 'image', seed: 1 },
      };
      const journal = at(`${target}.prepare.jsonl`);
      writeFileSync(journal, `${JSON.stringify({ version: 1, asked })}\nall\n`);
      const again = await run(...flags);
      expect(again.stderr).toMatch(/: 6 images of 3 people; going on after 6\n$/);
      expect([again.code, existsSync(journal)]).toEqual([0, false]);
      expect(await contentOf(target)).toEqual(content);
    }
  });
});

it('bad options and places: one clear message, the exit code, nothing left behind', async () => {
  await run('faces', 'there.txt');
  await run('faces', 'there.faces');
  symlinkSync(faces, at('link'));
  for (const [args, code, message] of [
    [[], 2, /missing required argument 'paths'/],
    [['faces'], 2, /expected one or more data sets and where to write, got one path/],
    [['faces', ''], 2, /expected paths, got an empty one/],
    [['nowhere', 'x.rec'], 1, /nowhere: expected a data set, got ENOENT/],
    [['faces', 'x.zip'], 2, /x\.zip: expected an ending that stands for a format/],
    [['faces', 'x', '--to', 'zip'], 2, /--to: expected a format that can be written, got 'zip'/],
    [['faces', 'no/folder/x.rec'], 1, /x\.rec\.prepare\.jsonl: expected to write this file, got ENOENT/],
    [['faces', './faces/'], 2, /expected another place than a source/],
    [['faces', 'faces/out'], 2, /faces\/out: expected a place outside of the source faces, got one in it/],
    [['faces', 'link/out.rec'], 2, /expected a place outside of the source faces/],
    [['link', 'faces/new/out.txt'], 2, /expected a place outside of the source link/],
    [['faces', 'there.faces'], 2, /there\.faces: expected a new file, but it is there already/],
    [['faces', 'there.txt'], 2, /there: expected a new or empty folder for the pictures.*\n.*or remove this folder\./],
    [
      ['faces', 'there', '--overwrite'],
      2,
      /there: expected a new or empty folder.*\n.*--overwrite replaces no folders/,
    ],
    [['faces', 'there.txt', '--overwrite'], 2, /remove this folder: --overwrite replaces no folders/],
    [['faces', 'there', '--to', 'packed', '--overwrite'], 2, /there: expected a file to write, but a folder is there/],
    [
      ['faces', 'there.faces', '--to', 'folder', '--overwrite'],
      2,
      /there\.faces: expected a folder to write to, but a/,
    ],
    [['faces', 'x.rec', '--quality', '101'], 2, /--quality: expected a whole number from 1 to 100, got '101'/],
    [['faces', 'x.rec', '--size', '0'], 2, /--size: expected HEIGHTxWIDTH/],
    [['faces', 'x.rec', '--validation', '1'], 2, /--validation: expected a share between 0 and 1/],
    [['faces', 'x.rec', '--split-by', 'identity'], 2, /expected a share to keep apart, got none/],
    [['faces', 'x.rec', '--validation', '0.5', '--pairs', 'p.txt'], 2, /expected pairs over one set/],
    [['faces', 'x.rec', '--at-least', '2', '--exactly', '2'], 2, /expected one of --balance, --exactly/],
    [['faces', 'x.rec', '--at-least', '99'], 1, /expected images to write, but none is left/],
    [['faces', 'x.rec', '--workers', '1000'], 2, /workers: expected a whole number from 0 to 64, got /],
    [['faces', 'x.bin'], 2, /expected pairs, since a verification consists of them/],
  ] as [string[], number, RegExp][]) {
    const ended = await run(...args);
    expect(ended.stderr, args.join(' ')).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
    expect(ended.stdout).toBe('');
  }
  for (const name of ['x.rec', 'x.rec.part', 'x.rec.prepare.jsonl', 'x.bin', 'there.txt.prepare.jsonl', 'faces/new'])
    expect(existsSync(at(name)), name).toBe(false);
});
