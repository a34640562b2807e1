/** `facegrad eval` as a process: equal to the library's verification of the library's embeddings. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { combineFlip, type Flip, type Protocol, verify } from '../../src/evaluate/verification.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { initialize } from '../../src/nn/module.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { noCrops, picture, writePeople } from '../helpers/pictures.ts';
import { tinyOptions, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-eval-'));
afterAll(() => rmSync(folder, { recursive: true }));
const weights = join(folder, 'w.safetensors');
const bytes = await weightsOf(initialize(new MobileFaceNet(tinyOptions), 1));
writeFileSync(weights, bytes);
const images = join(folder, 'faces');
const [people, shots] = [8, 3];
writePeople(images, people, shots);

/** Two folds of 8 same and 8 different pairs over people 0–3 and 4–7. */
const list = [0, 1].flatMap((fold) => [
  ...Array.from({ length: 8 }, (_, i) => ({
    a: 4 * fold + (i % 4),
    n: 1,
    b: 4 * fold + (i % 4),
    m: 2 + Math.floor(i / 4),
    fold,
  })),
  ...Array.from({ length: 8 }, (_, i) => ({
    a: 4 * fold + (i % 4),
    n: 1 + (i % 3),
    b: 4 * fold + ((i + 1 + (i >> 2)) % 4),
    m: 1,
    fold,
  })),
]);
const text = (pairs: typeof list, header = '2\t8') =>
  [
    header,
    ...pairs.map((p) =>
      p.a === p.b ? `Person_${p.a}\t${p.n}\t${p.m}` : `Person_${p.a}\t${p.n}\tPerson_${p.b}\t${p.m}`,
    ),
    '',
  ].join('\n');
const pairs = join(folder, 'pairs.txt');
writeFileSync(pairs, text(list));

async function expected(protocol: Protocol, flip: Flip, slice?: readonly [i: number, n: number]) {
  const device = await WasmDevice.create({ threads: 1 });
  const e = await loadEmbedder(bytes, { device });
  const all = Array.from({ length: people * shots }, (_, i) => picture(Math.floor(i / shots), i % shots));
  const combined = combineFlip(await e.embed(all), await e.embed(all, { mirrored: true }), 16, flip);
  await e.dispose();
  await device.dispose();
  const row = (p: number, s: number) => p * shots + s - 1;
  const [i, n] = slice ?? [1, 1];
  /** Columns of slice i of every 16 numbers. */
  const kept = Array.from({ length: combined.dim }, (_, c) => c).filter(
    (c) => Math.floor(((c % 16) * n) / 16) === i - 1,
  );
  const rows = combined.embeddings.length / combined.dim;
  const embeddings = Float32Array.from({ length: rows * kept.length }, (_, k) => {
    const [r, c] = [Math.floor(k / kept.length), k % kept.length];
    return combined.embeddings[r * combined.dim + kept[c]!]!;
  });
  return verify(
    {
      embeddings,
      dim: kept.length,
      left: list.map((p) => row(p.a, p.n)),
      right: list.map((p) => row(p.b, p.m)),
      same: list.map((p) => p.a === p.b),
      folds: list.map((p) => p.fold),
    },
    protocol,
  );
}

it.each([
  ['insightface', 'sum'],
  ['insightface', 'none'],
  ['cosine', 'concat'],
] as const)('protocol %s, flip %s', async (protocol, flip) => {
  const args = [
    'eval',
    '--weights',
    weights,
    '--images',
    images,
    '--pairs',
    pairs,
    '--protocol',
    protocol,
    '--flip',
    flip,
  ];
  const { code, stdout, stderr } = await facegrad([...args, '--json']);
  expect(stderr).toMatch(noCrops);
  expect(code).toBe(0);
  const got = JSON.parse(stdout);
  const want = await expected(protocol, flip);
  expect(got).toMatchObject({ protocol, flip, pairs: 32, images: 24, folds: 2 });
  for (const key of ['accuracy', 'std', 'auc', 'eer', 'valAtFar', 'threshold', 'metric'] as const)
    expect(got[key], key).toEqual(want[key]);
  // Pictures of one person differ in noise only: a network that sees them tells them apart, untrained as it is.
  expect(got.accuracy).toBeGreaterThan(0.9);
});

it.each([
  ['insightface', 'sum', '3/16'],
  ['cosine', 'concat', '16/16'],
] as const)('one sub-embedding: %s, %s, %s', async (protocol, flip, which) => {
  const args = ['eval', '--weights', weights, '--images', images, '--pairs', pairs, '--protocol', protocol];
  const { stdout } = await facegrad([...args, '--flip', flip, '--sub-embedding', which, '--json']);
  const got = JSON.parse(stdout);
  const [i, n] = which.split('/').map(Number) as [number, number];
  const want = await expected(protocol, flip, [i, n]);
  for (const key of ['accuracy', 'auc', 'threshold'] as const) expect(got[key], key).toEqual(want[key]);
  // One number alone has no direction: the slice is what was scored.
  expect(got.auc).not.toEqual((await expected(protocol, flip)).auc);
});

it('speaks to people', async () => {
  const { stdout } = await facegrad(['eval', '--weights', weights, '--images', images, '--pairs', pairs]);
  expect(stdout).toMatch(/32 pairs of 24 pictures, 2 folds; protocol insightface, flip sum/);
  expect(stdout).toMatch(/^accuracy +\d+\.\d\d % ± /m);
  expect(stdout).toMatch(/^VAL .* at FAR 0\.001/m);
});

it('bad input: file, line and what to do', async () => {
  const missing = join(folder, 'missing.txt');
  writeFileSync(missing, text(list).replace('Person_3\t1\t2', 'Person_3\t1\t9'));
  const cut = join(folder, 'cut.txt');
  writeFileSync(cut, text(list.slice(0, 20)));
  const line = text(list).split('\n').indexOf('Person_3\t1\t2') + 1;
  for (const [args, code, message] of [
    [['--pairs', missing], 1, new RegExp(`missing\\.txt:${line}: .*Person_3_0009`)],
    [['--pairs', cut], 1, /cut\.txt: .*holds 20/],
    [['--pairs', join(folder, 'no.txt')], 1, /no\.txt: expected a pairs file/],
    [['--pairs', pairs, '--protocol', 'lfw'], 2, /--protocol: expected insightface, cosine, got 'lfw'/],
    [
      ['--pairs', pairs, '--sub-embedding', '1/3'],
      2,
      /--sub-embedding: expected i\/n .* divisor of the embedding size 16/,
    ],
    [['--pairs', pairs, '--sub-embedding', '3/2'], 2, /--sub-embedding: expected i\/n/],
    [['--pairs', pairs, '--far', '0'], 2, /false accept rate over 0/],
  ] as [string[], number, RegExp][]) {
    const ended = await facegrad(['eval', '--weights', weights, '--images', images, ...args]);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
    expect(ended.stdout).toBe('');
  }
});
