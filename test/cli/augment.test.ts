/** `facegrad augment` as a process: the preview, its size and what it says. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { operationNames, operations } from '../../src/image/augment.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { writePeople } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-augment-'));
afterAll(() => rmSync(folder, { recursive: true }));
const people = writePeople(join(folder, 'faces'), 3, 2);
const read = (name: string) => decodeImage(readFileSync(join(folder, name)), name);

it('draws a sheet of synthetic faces without data, the same for the same seed', async () => {
  const run = (name: string, ...more: string[]) =>
    facegrad(['augment', '--preview', join(folder, name), '--size', '32', '--json', ...more]);
  const { code, stdout } = await run('a.png', '--count', '3');
  expect(code).toBe(0);
  const told = JSON.parse(stdout);
  const sheet = read('a.png');
  expect(told).toMatchObject({ width: sheet.width, height: sheet.height, faces: 4, draws: 12 });
  expect(told.augment).toMatch(/^crop=12,/);
  expect(told.operations.map((o: { name: string }) => o.name)).toEqual(operationNames);
  // seven tiles a row; a row for each operation and each face
  expect([sheet.width, sheet.height]).toEqual([4 + 7 * 36, 4 + (operationNames.length + 4) * (36 + 11)]);
  await run('b.png', '--count', '3');
  await run('c.png', '--count', '3', '--seed', '2');
  const bytes = (name: string) => readFileSync(join(folder, name));
  expect(bytes('b.png').equals(bytes('a.png'))).toBe(true);
  expect(bytes('c.png').equals(bytes('a.png'))).toBe(false);
});

it('takes pictures, folders and data sets, and a spec', async () => {
  for (const from of [[people[0]![0]!, people[1]![0]!], [join(folder, 'faces')], ['--data', join(folder, 'faces')]]) {
    const { code, stdout, stderr } = await facegrad([
      ...['augment', ...from, '--preview', join(folder, 'd.png'), '--size', '32', '--count', '1'],
      ...['--augment', 'rotate=5,flip=0.5'],
    ]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      /d\.png: 256x\d+, each operation by itself, then 1 draws? of 'flip=0.5,rotate=5' for each of/,
    );
  }
  // the first tile is the picture itself
  await facegrad(['augment', people[0]![0]!, '--preview', join(folder, 'e.png'), '--size', '32', '--count', '1']);
  const sheet = read('e.png');
  const first = decodeImage(readFileSync(people[0]![0]!), 'x');
  for (let y = 0; y < 32; y++)
    expect(sheet.data.slice(3 * ((4 + y) * sheet.width + 4), 3 * ((4 + y) * sheet.width + 36))).toEqual(
      first.data.slice(96 * y, 96 * (y + 1)),
    );
});

it('help lists every operation with its range', async () => {
  const { code, stdout } = await facegrad(['augment', '--help']);
  expect(code).toBe(0);
  for (const name of operationNames) {
    const { means, range } = operations[name];
    expect(stdout).toMatch(new RegExp(`\\n  ${name} +${range[0]} to ${range[1]} `));
    expect(stdout).toContain(means);
  }
});

it('bad input', async () => {
  const out = ['--preview', join(folder, 'x.png')];
  for (const [args, code, message] of [
    [[], 2, /required option '--preview <file>' not specified/],
    [[...out, '--augment', 'rotat=3'], 2, /got 'rotat'\nDid you mean 'rotate'/],
    [[...out, '--count', '0'], 2, /--count: expected a whole number/],
    [[...out, '--size', '9999'], 2, /--size: expected a whole number from 16 to 512, got '9999'/],
    [[...out, '--seed', 'x'], 2, /--seed: expected a whole number of at least 0, got 'x'/],
    [[...out, '--data', 'a', 'b.png'], 2, /pictures or --data, got both/],
    [[...out, join(folder, 'nobody.jpg')], 1, /nobody\.jpg/],
    [
      ['--preview', join(folder, 'nowhere', 'x.png'), '--size', '16', '--count', '1'],
      1,
      /nowhere.*x\.png: expected a place/,
    ],
  ] as [string[], number, RegExp][]) {
    const ended = await facegrad(['augment', ...args]);
    expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(message)]);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
  }
});
