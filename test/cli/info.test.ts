/** `facegrad info` as a process. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { facegrad } from '../helpers/killedRuns.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-info-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('MobileFaceNet by name', async () => {
  const { code, stdout } = await facegrad(['info', 'mobilefacenet', '--json']);
  expect(code).toBe(0);
  const info = JSON.parse(stdout);
  expect(info).toMatchObject({
    architecture: 'mobilefacenet',
    parameters: 1_003_136,
    multiplyAdds: 220_965_376,
    options: { embeddingSize: 128, inputSize: [112, 112] },
  });
  expect(info.layers.reduce((n: number, l: { parameters: number }) => n + l.parameters, 0)).toBe(1_003_136);
  const human = await facegrad(['info', 'mobilefacenet', '--embedding-size', '256', '--input-size', '112x96']);
  expect(human.code).toBe(0);
  expect(human.stdout).toMatch(/^blocks\.0\.expand\.conv +Conv2d +56x48x128 +8,192 +22,020,096$/m);
  expect(human.stdout).toMatch(/Input: 96x112 pixels/);
});

it('a network by its short name', async () => {
  const { code, stdout } = await facegrad(['info', 'ir-se-50', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    architecture: 'ir',
    parameters: 43_813_568,
    multiplyAdds: 6_309_553_664,
    options: { depth: 50, attention: 'se', embeddingSize: 512, inputSize: [112, 112], dropout: 0.4 },
  });
});

it('a weights file, with its evaluation', async () => {
  const path = join(folder, 'w.safetensors');
  const verification = {
    data: 'lfw',
    pairs: 60,
    protocol: 'insightface',
    flip: 'sum',
    accuracy: 0.9,
    metric: 'squaredL2',
    threshold: 1.5,
  };
  writeFileSync(path, await weightsOf(tinyNetwork(), { verification: JSON.stringify(verification) }));
  const { code, stdout } = await facegrad(['info', path]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/Verified: 90\.00 % \(lfw, 60 pairs, insightface, flip sum\), cosine threshold 0\.250/);
  const info = JSON.parse((await facegrad(['info', path, '--json'])).stdout);
  expect(info.options).toEqual({ embeddingSize: 16, inputSize: [32, 32], width: 0.125 });
  expect(info.verification.cosine).toBe(0.25);
});

it('bad input: one clear message and exit code', async () => {
  const cases: [string[], number, RegExp][] = [
    [['info'], 2, /missing required argument 'model'/],
    [['info', 'mobilefacnet'], 2, /one of the networks mobilefacenet, ir, .*, got 'mobilefacnet'/],
    [['info', 'mobilefacenet', '--input-size', '50'], 2, /--input-size expected HEIGHTxWIDTH, got '50'/],
    [['info', 'mobilefacenet', '--input-size', '50x50'], 2, /multiples of 16, got 50x50/],
    [['info', 'mobilefacenet', '--width', 'wide'], 2, /--width expected a number, got 'wide'/],
    [['info', folder], 1, /reading weights .*EISDIR/],
  ];
  const bad = join(folder, 'bad.safetensors');
  writeFileSync(bad, 'not weights at all');
  cases.push([['info', bad], 1, /bad\.safetensors: /]);
  for (const [args, code, message] of cases) {
    const ended = await facegrad(args);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
    expect(ended.stdout).toBe('');
  }
});
