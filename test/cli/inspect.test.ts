/** `facegrad inspect` as a process: what a person reads, what a program reads, exit codes. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/image/decode.ts';
import { encodeJpeg } from '../../src/image/encode.ts';
import { writeNpy } from '../../src/weights/npy.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { picture, writePeople } from '../helpers/pictures.ts';

const root = mkdtempSync(join(tmpdir(), 'facegrad-inspect-cli-'));
afterAll(() => rmSync(root, { recursive: true }));

const sound = join(root, 'sound');
writePeople(sound, 4, 3);
writeFileSync(
  join(sound, 'pairs.txt'),
  '2\t1\nPerson_0\t1\t2\nPerson_0\t1\tPerson_1\t1\nPerson_2\t1\t3\nPerson_2\t1\tPerson_3\t1\n',
);
/** Two people; a cut-off picture, a text, and one picture under both. */
function damaged(name: string): string {
  const folder = join(root, name);
  writePeople(folder, 2, 2);
  const jpeg = encodeJpeg(picture(0, 9));
  writeFileSync(join(folder, 'Person_0', 'cut.jpg'), jpeg.subarray(0, Math.floor(0.9 * jpeg.length)));
  writeFileSync(join(folder, 'Person_0', 'text.jpg'), 'not a picture');
  writeFileSync(join(folder, 'Person_1', 'copy.png'), readFileSync(join(folder, 'Person_0/Person_0_0001.png')));
  return folder;
}
const bad = damaged('bad');

it('tells people what is in a set', async () => {
  const { code, stdout, stderr } = await facegrad(['inspect', sound, '--workers', '0']);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toContain(`${sound}: folder (a folder of pictures per identity)\n`);
  expect(stdout).toContain('\n12 images of 4 people\n');
  expect(stdout).toMatch(/^ {2}per person +3 each$/m);
  expect(stdout).toMatch(/^ +fewer than 10: all$/m);
  expect(stdout).toContain('\n4 pairs: 2 of the same person, 2 of different people, in 2 folds\n');
  expect(stdout).toMatch(/^ {2}per fold +1 \+ 1 \(same \+ different\)$/m);
  expect(stdout).toContain('\nAll 12 pictures, decoded:\n');
  expect(stdout).toMatch(/^ {2}stored as +PNG 100 %$/m);
  expect(stdout).toMatch(/^ {2}size +32x32 +100 %$/m);
  expect(stdout).toMatch(/^ {2}alignment +! 12 of the 12 pictures/m);
  expect(stdout).not.toContain('NaN');
  const sampled = await facegrad(['inspect', sound, '--workers', '0', '--sample', '5']);
  expect(sampled.stdout).toMatch(/^5 pictures from all over the set \(--all looks at all\)/m);
  const all = await facegrad(['inspect', sound, '--workers', '0', '--sample', '5', '--all']);
  expect(all.stdout).toMatch(/^All 12 pictures/m);
});

it('--verify: names what is wrong, and says what to do; exit code 1', async () => {
  const { code, stdout } = await facegrad(['inspect', bad, '--verify', '--workers', '1']);
  expect(code).toBe(1);
  expect(stdout).toContain(
    '\n2 of 7 images cannot be read:\n  Person_0/cut.jpg: the JPEG file ends before its image does (part of it can be saved)\n  Person_0/text.jpg: neither JPEG nor PNG',
  );
  expect(stdout).toContain(
    '\n1 image is an exact copy of another; one picture stands under different people, so some labels are wrong:\n  different people: Person_0/Person_0_0001.png = Person_1/copy.png\n',
  );
  expect(stdout).toMatch(/--repair; the originals stay beside as NAME\.bad\.\n$/);
  const fine = await facegrad(['inspect', sound, '--verify', '--workers', '0']);
  expect(fine.code).toBe(0);
  expect(fine.stdout).toMatch(/All 12 images can be read\.\nNo image is there twice/);
});

it('--repair', async () => {
  const folder = damaged('repaired');
  const first = await facegrad(['inspect', folder, '--repair', '--workers', '0']);
  expect(first.code).toBe(1);
  expect(first.stdout).toMatch(/^1 picture repaired; 1 of 7 images cannot be read:$/m);
  expect(first.stdout).toMatch(/cut\.jpg: .* — repaired, original kept as .*cut\.jpg\.bad$/m);
  expect(first.stdout).toMatch(/text\.jpg: .* — not repaired: too little of it is there$/m);
  expect(existsSync(join(folder, 'Person_0/cut.jpg.bad'))).toBe(true);
  rmSync(join(folder, 'Person_0/text.jpg'));
  const then = await facegrad(['inspect', folder, '--verify', '--workers', '0']);
  expect(then.code).toBe(0);
  expect(then.stdout).toContain('All 6 images can be read.');
});

it('--json: one object', async () => {
  const { code, stdout } = await facegrad(['inspect', bad, '--verify', '--json', '--workers', '0']);
  expect(code).toBe(1);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const found = JSON.parse(stdout);
  expect(Object.keys(found).sort()).toEqual(
    'format identities images kind landmarks means notes path perIdentity sample unlabelled verified'.split(' '),
  );
  expect(found).toMatchObject({
    kind: 'images',
    format: 'folder',
    images: 7,
    identities: 2,
    sample: { images: 7, decoded: 5, seed: 1, bad: 2, formats: { png: 5, jpeg: 1, unknown: 1 } },
    verified: { bad: 2, repaired: 0, duplicates: { copies: 1, groups: 1, across: 1 } },
  });
  const pairs = JSON.parse((await facegrad(['inspect', sound, '--json', '--workers', '0'])).stdout);
  expect(pairs.pairs).toEqual({
    same: 2,
    different: 2,
    folds: Array(2).fill({ same: 1, different: 1 }),
    contradictions: 0,
  });
});

it('--sheet writes a PNG of the size it says', async () => {
  const path = join(root, 'sheet.png');
  const { code, stdout } = await facegrad(['inspect', sound, '--sheet', path, '--tile', '48', '--workers', '0']);
  expect(code).toBe(0);
  const { width, height } = decodeImage(readFileSync(path), path);
  expect(stdout).toContain(`wrote ${path} (${width}x${height} pixels)`);
  // Pairs: two tiles, an empty one, two tiles; two rows.
  expect([width, height]).toEqual([4 + 5 * 52, 4 + 2 * 63]);
});

it('an array of numbers', async () => {
  const path = join(root, 'x.npy');
  writeFileSync(path, writeNpy({ dtype: 'f32', shape: [2, 2], data: Float32Array.of(1, 2.5, -3, 4) }));
  const { code, stdout } = await facegrad(['inspect', path]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/x\.npy/);
  expect(stdout).toMatch(/2x2/);
  expect(stdout).toMatch(/-3 to 4/);
});

it('bad input: one clear message and exit code', async () => {
  const other = join(root, 'notes.md');
  writeFileSync(other, '# no data set');
  const cases: [string[], number, RegExp][] = [
    [['inspect'], 2, /missing required argument 'path'/],
    [['inspect', join(root, 'nowhere')], 1, /nowhere: expected a data set, got ENOENT/],
    [['inspect', other], 1, /notes\.md: expected a data set, but it fits no format known here/],
    [['inspect', sound, '--sample', 'few'], 2, /--sample: expected a whole number of at least 1, got 'few'/],
    [['inspect', sound, '--tile', '4'], 2, /--tile: expected a whole number from 16 to 1024, got '4'/],
    [['inspect', sound, '--sheet', 'x.jpg'], 2, /--sheet: expected the name of a \.png file, got 'x\.jpg'/],
    [
      ['inspect', sound, '--sheet', join(root, 'no/where.png'), '--json'],
      1,
      /where\.png: expected to write this picture, got ENOENT/,
    ],
  ];
  for (const [args, code, message] of cases) {
    const ended = await facegrad(args);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
  }
});

const shared = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const present = existsSync(shared);
if (!present) console.log(`skipped: no real data under ${shared}, inspect not run on it`);
describe.skipIf(!present)('real sets', () => {
  it('a verification .bin', async () => {
    const { code, stdout } = await facegrad(['inspect', join(shared, 'formats/small_lfw.bin'), '--verify']);
    expect(code).toBe(0);
    expect(stdout).toContain('\n20 images; their people are not known\n');
    expect(stdout).toContain('10 pairs: 10 of the same person, 0 of different people');
    expect(stdout).toContain('they look like aligned face crops');
    expect(stdout).toContain('All 20 images can be read.');
  });
});
