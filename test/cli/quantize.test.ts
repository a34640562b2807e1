/** `facegrad quantize` as a process, what it tells, and what is then done with the file. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { encodePng } from '../../src/image/encode.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-quantize-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  writeFileSync(at('w.safetensors'), await weightsOf(tinyNetwork()));
  writeFileSync(
    at('noise.bin'),
    Uint8Array.from({ length: 300 }, (_, i) => (i * 71) % 251),
  );
  for (const person of ['ann', 'bob', 'eve', 'joe']) {
    mkdirSync(at(`people/${person}`), { recursive: true });
    for (let i = 0; i < 4; i++)
      writeFileSync(
        at(`people/${person}/${i}.png`),
        encodePng({ width: 32, height: 32, data: syntheticFace(1, person.charCodeAt(0), i, 32) }),
      );
  }
  mkdirSync(at('one'));
  writeFileSync(at('one/a.png'), readFileSync(at('people/ann/0.png')));
}, 60_000);

const quantize = (...words: string[]) => facegrad(['quantize', ...words]);

describe('facegrad quantize', () => {
  it('writes a network in 8 bits that the other commands take, and says what it costs', async () => {
    const out = at('w8.safetensors');
    const { code, stdout, stderr } = await quantize(
      at('w.safetensors'),
      '--calibrate',
      at('people'),
      '--out',
      out,
      '--json',
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({ out, calibratedOn: 12, method: 'minmax', cosine: { pictures: 4 } });
    expect(told.bytes).toBe(readFileSync(out).length);
    expect(told.cosine.min).toBeGreaterThan(0.97);
    expect(told.cosine.mean).toBeGreaterThanOrEqual(told.cosine.min);
    expect(told.speed.best).toBeCloseTo(told.speed.float32.best / told.speed.int8.best, 10);

    const embedded = await facegrad(['embed', at('people/ann/0.png'), '--weights', out, '--json']);
    expect(JSON.parse(embedded.stdout).embeddings[0].embedding).toHaveLength(16);
    const pair = [at('people/ann/0.png'), at('people/ann/1.png')];
    const same = await facegrad(['verify', ...pair, '--weights', out, '--json']);
    const float = await facegrad(['verify', ...pair, '--weights', at('w.safetensors'), '--json']);
    expect(JSON.parse(same.stdout).similarity).toBeCloseTo(JSON.parse(float.stdout).similarity, 1);
  }, 120_000);

  it('is described by info, and refused where float32 is needed', async () => {
    const out = at('w8.safetensors');
    const { stdout, code } = await facegrad(['info', out]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^stem\.conv\s+conv2d\s+16x16x8\s+216\s+8$/m);
    expect(stdout).toMatch(/^int8: \d+ layers in 8 bits with [\d,]+ weights; embeddings of 16$/m);
    const told = JSON.parse((await facegrad(['info', out, '--json'])).stdout);
    expect(told).toMatchObject({ architecture: 'int8', embeddingSize: 16 });
    const exported = await facegrad(['export', out, '--out', at('x.onnx')]);
    expect(exported.code).toBe(1);
    expect(exported.stderr).toContain('expected a float32 network, got one in 8 bits');
  }, 60_000);

  it('says it in words', async () => {
    const out = at('words.safetensors');
    const words = ['--method', 'mse', '--pictures', '5', '--test', '2', '--keep', 'stem.conv', '--threads', '1'];
    const { stdout, stderr } = await quantize(at('w.safetensors'), '--calibrate', at('people'), '--out', out, ...words);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^\d+ layers in 8 bits, calibrated on 5 pictures \(mse\)$/m);
    expect(stdout).toMatch(/^cosine to float32 on 2 other pictures: mean 0\.9\d+, least 0\.9\d+$/m);
    expect(stdout).toMatch(/^speed in this run, 1 thread, .* times as fast \(median [\d.]+\)$/m);
    expect(stdout).toMatch(/words\.safetensors: [\d.]+ kB, float32 [\d.]+ kB/);
  }, 120_000);

  const good = () => [at('w.safetensors'), '--calibrate', at('people'), '--out', at('x.safetensors')];
  it.each<[string, () => string[], number, string]>([
    ['no pictures', () => [at('w.safetensors'), '--out', at('x.safetensors')], 2, 'got no --calibrate'],
    ['no file to write', () => [at('w.safetensors'), '--calibrate', at('people')], 2, 'got no --out'],
    [
      'a single picture',
      () => [at('w.safetensors'), '--calibrate', at('one'), '--out', at('x.safetensors')],
      2,
      'got 1',
    ],
    [
      'a folder that is not there',
      () => [at('w.safetensors'), '--calibrate', at('none'), '--out', at('x.safetensors')],
      1,
      'none',
    ],
    ['an unknown method', () => [...good(), '--method', 'entropy'], 2, "got 'entropy'"],
    ['a percentile over 100', () => [...good(), '--percentile', '101'], 2, "got '101'"],
    ['no pictures to find ranges on', () => [...good(), '--pictures', '0'], 2, "got '0'"],
    ['a node that is none', () => [...good(), '--keep', 'nobody'], 2, "got 'nobody'"],
    ['WebGPU', () => [...good(), '--device', 'webgpu'], 2, "got 'webgpu'"],
    ['a file that is there', () => [...good().slice(0, 4), at('w.safetensors')], 2, 'but it is there'],
    ['a folder for a file', () => [...good().slice(0, 4), folder], 2, 'but it is a folder'],
    ['a model of no format', () => [at('noise.bin'), ...good().slice(1)], 1, 'noise.bin'],
    ['a model in 8 bits', () => [at('w8.safetensors'), ...good().slice(1)], 1, 'w8.safetensors'],
  ])(
    'refuses %s',
    async (_, words, exit, what) => {
      const { code, stderr, stdout } = await quantize(...words());
      expect(stdout).toBe('');
      expect(stderr).toContain(what);
      expect(code).toBe(exit);
      expect(existsSync(at('x.safetensors'))).toBe(false);
    },
    60_000,
  );
});
