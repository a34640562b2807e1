/** `facegrad plot` as a process: curves of losses, and angles of a network, as SVG, HTML, CSV and JSON. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { centreAngles } from '../../src/evaluate/angles.ts';
import { losses } from '../../src/heads/index.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { noCrops, writePeople } from '../helpers/pictures.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-plot-'));
afterAll(() => rmSync(folder, { recursive: true }));
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const plot = (...args: string[]) => facegrad(['plot', ...args], undefined, { cwd: folder });
const cos = (degrees: number) => Math.cos((degrees * Math.PI) / 180);

it('the logits are the formulas, by their scale or scaled', async () => {
  const { code, stdout, stderr } = await plot('arcface', 'cosface:m=0.25,s=30', '--json', '--to', '120');
  expect([code, stderr]).toEqual([0, '']);
  const told = JSON.parse(stdout);
  expect(Object.keys(told)).toEqual(['scaled', 'degrees', 'curves']);
  expect(told.degrees).toEqual(Array.from({ length: 121 }, (_, i) => i));
  expect(told.curves.map((c: { name: string }) => c.name)).toEqual(['arcface', 'cosface m=0.25 s=30']);
  expect(told.curves[1]).toMatchObject({ loss: 'cosface', options: { m: 0.25, s: 30 }, label: '' });
  told.degrees.forEach((d: number, i: number) => {
    expect(told.curves[0].logit[i]).toBeCloseTo(cos(d + (0.5 * 180) / Math.PI), d === 0 ? 3 : 9);
    expect(told.curves[1].logit[i]).toBeCloseTo(cos(d) - 0.25, 12);
  });
  expect(existsSync(join(folder, 'curves.svg'))).toBe(false);
  const scaled = JSON.parse((await plot('cosface', '--json', '--scaled')).stdout);
  expect(scaled).toMatchObject({ scaled: true, curves: [{ options: { s: 64, m: 0.35 } }] });
  expect(scaled.curves[0].logit[60]).toBeCloseTo(64 * (0.5 - 0.35), 9);
  expect(scaled.curves[0].logit[180]).toBeCloseTo(64 * (-1 - 0.35), 9);
});

it('without names: every loss that has a curve, as curves.svg, equal curves as one line', async () => {
  const { code, stdout, stderr } = await plot();
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^curves\.svg: \d+ target logits from 0 to 180 degrees\n$/);
  const svg = read('curves.svg');
  expect(svg).toMatch(/^<svg xmlns=/);
  for (const l of losses.filter((e) => e.curves)) expect(svg, l.name).toContain(l.name);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  const lines = svg.match(/stroke-linejoin/g)!.length;
  expect(lines).toBeLessThan(Number(/: (\d+)/.exec(stdout)![1]));
  // At no margin the logit is the cosine, whatever the loss.
  await plot('arcface:m=0', 'cosface:m=0', 'arcface:m=0.2', '--out', 'same.svg');
  const same = read('same.svg');
  expect(same).toContain('>arcface m=0, cosface m=0<');
  expect(same.match(/stroke-linejoin/g)!.length).toBe(2);
  // From (0°, 1) to (180°, -1), a curve per degree, thinned by nothing.
  const d = /<path d="([^"]*)" stroke="var\(--s1/.exec(same)![1]!;
  expect(d).toMatch(/^M58 /);
  expect(d).toMatch(/L536 [\d.]+$/);
});

it('CSV, JSON and HTML by the ending of the file', async () => {
  await plot('magface', 'combined:m1=1.35', '--out', 'c.csv', '--to', '90');
  const rows = read('c.csv').trimEnd().split('\n');
  expect(rows.length).toBe(92);
  expect(rows[0]).toBe('degrees,magface length 10,magface length 110,combined m1=1.35');
  const told = JSON.parse(
    (await plot('magface', 'combined:m1=1.35', '--out', 'c.json', '--json', '--to', '90')).stdout,
  );
  expect(told.out).toBe('c.json');
  const { out: _, ...data } = told;
  expect(JSON.parse(read('c.json'))).toEqual(data);
  rows.slice(1).forEach((row, i) => {
    const [degree, ...values] = row.split(',').map(Number);
    expect(degree).toBe(i);
    values.forEach((v, k) => {
      expect(v).toBeCloseTo(data.curves[k].logit[i], 6);
    });
  });
  const { code } = await plot('sphereface:m=3', '--out', 'c.HTML');
  expect(code).toBe(0);
  const html = read('c.HTML');
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).toMatch(/sphereface m=3 λ = 5/);
  expect(html).toMatch(/arXiv 1704\.08063/);
});

it('angles of networks to the centres of people', async () => {
  const weights = join(folder, 'w.safetensors');
  writeFileSync(weights, await weightsOf(tinyNetwork(), { seed: '7' }));
  writePeople(join(folder, 'people'), 3, 3);
  const people = ['--images', 'people', '--threads', '1'];
  const { code, stdout, stderr } = await plot(
    '--weights',
    'w.safetensors',
    '--start',
    ...people,
    '--json',
    '--out',
    'a.csv',
  );
  expect(stderr).toMatch(/do not look like aligned face crops/);
  expect(code).toBe(0);
  const told = JSON.parse(stdout);
  expect(told.people).toBe(3);
  expect(told.pictures.length).toBe(9);
  expect(told.weights.map((w: { name: string }) => w.name)).toEqual(['w.safetensors, at the start', 'w.safetensors']);
  const [start, now] = told.weights;
  expect(start.own).not.toEqual(now.own);
  // By the embeddings themselves.
  const embedded = JSON.parse(
    (await facegrad(['embed', 'people', '--weights', weights, '--json', '--threads', '1'], undefined, { cwd: folder }))
      .stdout,
  );
  const rows: number[][] = embedded.embeddings.map((e: { embedding: number[] }) => e.embedding);
  const { own, other } = centreAngles(Float32Array.from(rows.flat()), embedded.dim, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
  now.own.forEach((v: number, i: number) => {
    expect([v, now.other[i]]).toEqual([own[i], other[i]]);
  });
  const table = read('a.csv').trimEnd().split('\n');
  expect(table[0]).toBe(
    'picture,"w.safetensors, at the start own","w.safetensors, at the start other",w.safetensors own,w.safetensors other',
  );
  expect(table.length).toBe(10);

  const human = await plot('--weights', weights, ...people);
  expect(human.stderr).toMatch(noCrops);
  expect(human.stdout).toMatch(
    /^angles\.svg:\n {2}w\.safetensors: [\d.]+ degrees to the own centre, [\d.]+ to the nearest other \(means\)\n$/,
  );
  expect(read('angles.svg')).toContain('>nearest other centre<');
});

it('angles: bad input', async () => {
  const weights = join(folder, 'plain.safetensors');
  writeFileSync(weights, await weightsOf(tinyNetwork()));
  writePeople(join(folder, 'alone'), 3, 1);
  writePeople(join(folder, 'three'), 2, 2);
  const cases: [string[], number, RegExp][] = [
    [['arcface', '--weights', weights], 2, /losses or --weights, got both/],
    [['--weights', weights], 2, /--images with --weights, got none/],
    [
      ['--weights', weights, '--images', 'alone'],
      1,
      /two people or more, one of them with two pictures, got 3 and at most 1/,
    ],
    [['--weights', weights, '--images', 'three', '--start'], 2, /holds no seed/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await plot(...args);
    expect([ended.code, ended.stdout, ended.stderr], args.join(' ')).toEqual([
      code,
      '',
      expect.stringMatching(message),
    ]);
  }
});

it('help lists every loss with its options', async () => {
  const { code, stdout } = await plot('--help');
  expect(code).toBe(0);
  for (const l of losses.filter((e) => e.curves)) expect(stdout).toMatch(new RegExp(`\\n {2}${l.name} `));
  expect(stdout).toMatch(/\n {2}cosface +s=64, m=0\.35/);
});

it('bad input: one clear message, exit code 2, no file', async () => {
  const cases: [string[], number, RegExp][] = [
    [['cosfac'], 2, /plot: expected one of .*, got 'cosfac'\nDid you mean 'cosface'\?/],
    [['triplet'], 2, /expected losses with a target logit, got 'triplet'\nThose are .*arcface/],
    [['cosface:m'], 2, /cosface:key=value,key=value, got 'cosface:m'\nIts options are s=64/],
    [['cosface:m=wide'], 2, /cosface: m expected a number .*, got "wide"/],
    [['magface:um=0.1'], 2, /magface: .*um/],
    [['arcface', '--to', '270'], 2, /--to: expected a whole number from 1 to 180, got '270'/],
    [['arcface', '--out', 'curves.png'], 2, /--out to end in \.svg, \.html, \.csv or \.json, got 'curves\.png'/],
    [['arcface', '--out', join('nowhere', 'c.svg')], 1, /nowhere.*c\.svg: expected a place/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await plot(...args);
    expect([ended.code, ended.stdout, ended.stderr], args.join(' ')).toEqual([
      code,
      '',
      expect.stringMatching(message),
    ]);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
  }
  expect(existsSync(join(folder, 'curves.png'))).toBe(false);
});
