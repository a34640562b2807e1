/** `facegrad info` as a process. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { architectures } from '../../src/models/index.ts';
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
  expect(human.stdout).toMatch(
    /^Activations: \d+ MB an image in training, 2\.\d MB at inference \(what the plan stores/m,
  );
});

it('takes every option of the network, in both spellings, and flags as such', async () => {
  const words = ['--blocks', '2,8,16,4', '--firstExpansion=1', '--linears', '--no-widen', '--bn-eps', '2e-5', '--json'];
  const { code, stdout } = await facegrad(['info', 'mobilefacenet-512', '--inputSize', '96x96', ...words]);
  expect(code).toBe(0);
  const info = JSON.parse(stdout);
  expect(info.options).toMatchObject({
    embeddingSize: 512,
    output: 'linear',
    inputSize: [96, 96],
    blocks: [2, 8, 16, 4],
    firstExpansion: 1,
    linears: true,
    widen: false,
    bnEps: 2e-5,
  });
  expect(info.layers.some((l: { name: string }) => l.name === 'stemLinear.conv')).toBe(true);
  expect(info.layers.some((l: { name: string }) => l.name === 'head.conv')).toBe(false);
  expect(info.activationBytes.training).toBeGreaterThan(info.activationBytes.inference);
});

it('lists the networks, and the options of one with the values that its name stands for', async () => {
  const { code, stdout } = await facegrad(['info']);
  expect(code).toBe(0);
  expect(stdout).toBe((await facegrad(['info', '--list'])).stdout);
  for (const { name, means } of architectures.values())
    expect(
      stdout.split('\n').some((l) => l.trimStart().startsWith(`${name} `) && l.includes(means)),
      name,
    ).toBe(true);
  const all = JSON.parse((await facegrad(['info', '--list', '--json'])).stdout);
  expect(all.map((n: { name: string }) => n.name)).toEqual([...architectures.keys()]);
  const y2 = all.find((n: { name: string }) => n.name === 'mobilefacenet-y2');
  expect(y2).toMatchObject({ family: 'mobilefacenet', options: { embeddingSize: { default: 256 } } });
  const help = (await facegrad(['info', 'mobilefacenet-y2', '--help'])).stdout;
  for (const option of Object.keys(y2.options))
    expect(help).toContain(`--${option.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} `);
  expect(help).toMatch(/--blocks .*\(default 2,8,16,4\)/);
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
  expect(info.options).toMatchObject({ embeddingSize: 16, inputSize: [32, 32], width: 0.125 });
  expect(info.verification.cosine).toBe(0.25);
});

it('bad input: one clear message and exit code', async () => {
  const cases: [string[], number, RegExp][] = [
    [
      ['info', 'mobilefacnet'],
      2,
      /network's name or a weights file, got 'mobilefacnet'\nDid you mean 'mobilefacenet'\?/,
    ],
    [
      ['info', 'mobilefacenet', '--input-size', '50'],
      2,
      /inputSize expected HEIGHTxWIDTH in multiples of 16, .*got "50"/,
    ],
    [['info', 'mobilefacenet', '--input-size', '50x50'], 2, /multiples of 16, .*got "50x50"/],
    [['info', 'mobilefacenet', '--width', 'wide'], 2, /width expected a number above 0, got "wide"/],
    [['info', 'mobilefacenet', '--width'], 2, /--width expected a number above 0, got nothing/],
    [['info', 'mobilefacenet', '--exapnsion', '2'], 2, /got 'exapnsion'\nDid you mean 'expansion'\?/],
    [['info', 'ir-18', '--blocks', '2'], 2, /^facegrad: ir: expected options among depth, .*, got 'blocks'/],
    [['info', 'mobilefacenet', 'width', '2'], 2, /expected --option value, got 'width'/],
    [['info', '--width', '2'], 2, /expected a network's name or a weights file, got '--width'/],
    [['info', folder, '--width', '2'], 2, /expected no options for a weights file, got '--width'/],
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
