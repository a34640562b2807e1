/** `facegrad find-lr` as a process: what it says and writes, Ctrl-C, and what it refuses. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { facegrad } from '../helpers/killedRuns.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-rates-'));
afterAll(() => rmSync(folder, { recursive: true }));
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const recipe =
  'demo --width 0.25 --embeddingSize 32 --batch 16 --identities 10 --imagesPerIdentity 10 --threads 1'.split(' ');
const find = (...args: string[]) => facegrad(['find-lr', ...args], undefined, { cwd: folder });

it('draws the sweep and names the rate to pass', { timeout: 60_000 }, async () => {
  const { code, stdout, stderr } = await find(...recipe);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(
    /^synthetic-10x10-seed1: 100 pictures of 10 people\nfind-lr\.svg: 100 steps from 0\.000001 to 10/,
  );
  const [, rate] = /Train with --lr ([\d.e-]+):/.exec(stdout)!;
  // The command to train by has the keys that were given, and the device stays out of it.
  expect(stdout).toContain(
    `\n  facegrad train demo --width 0.25 --embeddingSize 32 --batch 16 --identities 10 --imagesPerIdentity 10 --lr ${rate}\n`,
  );
  const svg = read('find-lr.svg');
  expect(svg).toContain(`>train at ${rate}<`);
  expect(svg.match(/stroke-linejoin/g)).toHaveLength(2);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

it('numbers as JSON and CSV; no file without --out', { timeout: 60_000 }, async () => {
  rmSync(join(folder, 'find-lr.svg'), { force: true });
  const args = [...recipe, '--steps', '25', '--min-lr', '1e-4', '--max-lr', '1e-1', '--json'];
  const told = JSON.parse((await find(...args)).stdout);
  expect(told).toMatchObject({ recipe: 'demo', ended: 'whole' });
  expect(told.points[0].lr).toBe(1e-4);
  expect(told.points).toHaveLength(25);
  expect(existsSync(join(folder, 'find-lr.svg'))).toBe(false);
  expect(JSON.parse((await find(...args, '--out', 'r.csv')).stdout)).toEqual({ out: 'r.csv', ...told });
  const [head, ...rows] = read('r.csv').trim().split('\n');
  expect(head).toBe('lr,loss,smoothed');
  rows.forEach((row, i) => {
    const { lr, loss, smoothed } = told.points[i];
    expect(row.split(',').map(Number)).toEqual([lr, loss, smoothed].map((x) => Number(x.toPrecision(7))));
  });
});

it('Ctrl-C: what was found so far', { timeout: 60_000 }, async () => {
  const { code, stdout } = await facegrad(
    ['find-lr', ...recipe, '--steps', '100000', '--out', 'stopped.json'],
    (line, kill) => {
      if (line.startsWith('synthetic')) setTimeout(kill, 3000, 'SIGINT');
    },
    { cwd: folder },
  );
  expect(code).toBe(130);
  expect(stdout).toMatch(
    /stopped\.json: [\d,]+ steps? from 0\.000001 .*, stopped before the end\n|Stopped before the first/,
  );
  if (existsSync(join(folder, 'stopped.json'))) expect(JSON.parse(read('stopped.json')).ended).toBe('aborted');
});

it.each([
  [['--from', '1e-6'], /expected --from to be weights to start from, got the number 1e-6\nThe rates are --min-lr/],
  [['--steps', '5'], /--steps: expected a whole number of at least 25, got '5'/],
  [['--min-lr', '1', '--max-lr', '0.1'], /expected --min-lr below --max-lr, got 1 and 0\.1/],
  [['--out', 'x.png'], /find-lr: expected --out to end in \.svg/],
  [['--bacth', '4'], /got 'bacth'\nDid you mean 'batch'/],
])('%j is refused', async (args, message) => {
  const { code, stdout, stderr } = await find('demo', ...args);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(message);
});
