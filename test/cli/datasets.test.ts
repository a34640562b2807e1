/** `facegrad datasets` as a process. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { catalogue } from '../../datasets/catalogue.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { writePeople } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-datasets-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('lists all', async () => {
  const { code, stdout } = await facegrad(['datasets']);
  expect(code).toBe(0);
  for (const e of catalogue) expect(stdout).toMatch(new RegExp(`^${e.name} `, 'm'));
  expect(stdout).toMatch(/^ms1m-v2 +train +85,742 +5,822,653 +withdrawn$/m);
  expect(stdout).toMatch(/^lfw +verify +5,749 +13,233 +6,000 +research$/m);
  expect(stdout).toContain('Nothing is downloaded');
  const json = JSON.parse((await facegrad(['datasets', '--json'])).stdout);
  expect(json).toHaveLength(catalogue.length);
  expect(json[0].counts).toEqual(catalogue[0]!.counts);
});

it('tells all about one', async () => {
  const { code, stdout } = await facegrad(['datasets', 'Faces_Emore']);
  expect(code).toBe(0);
  for (const text of [
    'MS1M-V2',
    'took offline in 2019',
    'deng2019arcface',
    'train.rec',
    '85,742 people',
    '--check PATH',
  ])
    expect(stdout).toContain(text);
  expect(stdout.split('\n').every((line) => line.length <= 140)).toBe(true);
  expect(JSON.parse((await facegrad(['datasets', 'lfw', '--json'])).stdout)).toMatchObject({ name: 'lfw', same: 3000 });
});

it('checks what lies there', async () => {
  const people = join(folder, 'people');
  writePeople(people, 3, 2);
  const { code, stdout } = await facegrad(['datasets', 'lfw', '--check', people]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/does not fit: Not LFW .*6 images, 3 people/);
  expect(stdout).toMatch(/images: expected 13,233 .*found 6$/m);
  const json = await facegrad(['datasets', 'lfw', '--check', people, '--json']);
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({
    path: people,
    state: 'differs',
    found: { images: 6, identities: 3 },
  });
});

const lfw = resolve(import.meta.dirname, '../../../shared/data/verify/lfw112');
const there = existsSync(lfw);
if (!there) console.warn(`datasets: real sets are not tested, ${lfw} is not there`);
it.skipIf(!there)('a part of LFW fits as that', async () => {
  const { code, stdout } = await facegrad(['datasets', 'lfw', '--check', lfw, '--pairs', join(lfw, 'pairs.txt')]);
  expect(code).toBe(0);
  expect(stdout).toContain('1,800 of 6,000 pairs');
  expect(stdout).toContain('calfw, cplfw, agedb-30 have as many pairs');
});

it('bad input: one clear message and exit code', async () => {
  const cases: [string[], number, RegExp][] = [
    [['datasets', 'casia-webfac'], 2, /Did you mean 'casia-webface'/],
    [['datasets', '--check', folder], 2, /the name of a set to check against/],
    [['datasets', 'lfw', '--pairs', 'pairs.txt'], 2, /--pairs goes with --check/],
    [['datasets', 'lfw', '--check', folder, '--sample', '0'], 2, /--sample: expected a whole number of at least 1/],
    [['datasets', 'lfw', '--check', join(folder, 'none')], 1, /none: expected a data set/],
    [['datasets', 'synthetic', '--check', join(folder, 'people')], 2, /known counts/],
  ];
  for (const [args, code, message] of cases) {
    const got = await facegrad(args);
    expect([got.code, got.stderr.match(message)?.[0]], args.join(' ')).toEqual([code, expect.any(String)]);
    expect(got.stdout).toBe('');
  }
});
