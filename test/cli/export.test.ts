/** `facegrad export` as a process: files that give the embeddings of the network, told and refused in words. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf, loadEmbedder } from '../../src/evaluate/embedder.ts';
import { create } from '../../src/models/index.ts';
import { initialize, variablesOf } from '../../src/nn/module.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { exportNetwork, exportTargetOf } from '../../src/weights/export.ts';
import { modelBytes } from '../../src/weights/import.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';
import { needBuild } from '../helpers/built.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { openOnnx, planar } from '../helpers/onnxruntime.ts';
import { writePeople } from '../helpers/pictures.ts';
import { noiseImages, tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

beforeAll(needBuild);
const folder = mkdtempSync(join(tmpdir(), 'facegrad-export-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const verification = {
  metric: 'squaredL2',
  threshold: 1.2,
  data: 'lfw',
  pairs: 6000,
  protocol: 'insightface',
  flip: 'none',
  accuracy: 0.99,
};
const training = {
  head: '{"name":"arcface"}',
  progress: '{}',
  recipe: '{}',
  verification: JSON.stringify(verification),
};
const weights = at('w.safetensors');
{
  // As a run leaves it: with a head and the optimizer's state.
  const { tensors, metadata } = parseCheckpoint(await weightsOf(tinyNetwork()), 'w');
  const more = { data: new Float32Array(32), shape: [2, 16], dtype: 'f32' } as const;
  tensors.set('arcface.weight', more).set('optimizer.stem.conv.weight.momentum', more);
  writeFileSync(weights, writeSafetensors(tensors, { ...metadata, ...training, format: 'facegrad', version: '1' }));
}
const k210 = at('k210.safetensors');
writeFileSync(k210, await modelBytes(initialize(create('k210-s', { width: 0.125, embeddingSize: 8 }), 1)));
writePeople(at('faces'), 3, 2);

const run = async (...args: string[]) => {
  const ended = await facegrad(['export', ...args, '--threads', '1']);
  return { ...ended, json: ended.code === 0 && args.includes('--json') ? JSON.parse(ended.stdout) : undefined };
};
/** Embeddings of noise by the library. */
async function rowsOf(bytes: Uint8Array): Promise<Float32Array> {
  const device = await WasmDevice.create({ threads: 1 });
  const e = await loadEmbedder(bytes, { device });
  const rows = await e.embed(noiseImages(3));
  await e.dispose();
  await device.dispose();
  return rows;
}

it('ONNX: pixels to embeddings, verified by onnxruntime, nothing of the training in it', async () => {
  const out = at('model.onnx');
  const { json } = await run(weights, '--out', out, '--preprocessing', 'include', '--json');
  expect(json).toMatchObject({
    target: 'onnx',
    architecture: 'mobilefacenet',
    embeddingSize: 16,
    takes: { colourOrder: 'RGB', mean: 0, scale: 1, inputSize: [32, 32] },
    verification: { pictures: 4, independent: true, by: expect.stringMatching(/^onnxruntime-\w+ \d/) },
    files: [{ file: out, bytes: readFileSync(out).length }],
  });
  expect(json.verification.difference).toBeGreaterThan(0);
  expect(json.verification.difference).toBeLessThan(1e-4);
  const session = await openOnnx(readFileSync(out));
  const pixels = Float32Array.from(noiseImages(3).flatMap(({ data }) => [...data]));
  const { embedding } = await session.run({ input: planar(pixels, [3, 32, 32, 3]) });
  await session.close();
  const want = await rowsOf(readFileSync(weights));
  expect(Math.hypot(...want.map((x, i) => x - embedding!.data[i]!))).toBeLessThan(1e-4 * Math.hypot(...want));
  expect(readFileSync(out, 'latin1')).not.toMatch(/momentum|arcface/);
  expect(readFileSync(out, 'latin1')).toContain('colourOrder');
});

it('safetensors: what is left of a run is its network; halves are half as large', async () => {
  const [whole, half] = [at('whole.safetensors'), at('half.safetensors')];
  const ended = await run(weights, '--out', whole);
  expect(ended.code, ended.stderr).toBe(0);
  expect(ended.stdout).toMatch(
    /mobilefacenet: [\d,]+ parameters, embeddings of 16; heads and optimizer state are left out/,
  );
  expect(ended.stdout).toMatch(/of 4 drawn faces: they differ by nothing, cosine 1\.000000 \(facegrad\)/);
  expect(ended.stdout).toContain('unverified by an independent program');
  const { tensors, metadata } = parseCheckpoint(readFileSync(whole), whole);
  expect([...tensors.keys()].sort()).toEqual(
    variablesOf(tinyNetwork())
      .map((v) => v.name)
      .sort(),
  );
  expect(Object.keys(metadata).sort()).toEqual(['architecture', 'options', 'preprocessing', 'verification']);
  expect(await rowsOf(readFileSync(whole))).toEqual(await rowsOf(readFileSync(weights)));

  const { json } = await run(weights, '--out', half, '--half', '--json');
  expect(json.verification.difference).toBeGreaterThan(0);
  // A half has 11 bits.
  expect(json.verification.cosine).toBeGreaterThan(1 - 2 ** -11);
  expect(json.files[0].bytes).toBeLessThan(0.8 * readFileSync(whole).length);
});

it('TFLite in float32 and in integers, and the K210', async () => {
  const { json: float } = await run(k210, '--out', at('k.tflite'), '--json');
  expect(float.verification).toMatchObject({ independent: true, by: expect.stringMatching(/^LiteRT/) });
  expect(float.verification.difference).toBeLessThan(1e-4);
  const int8 = await run(k210, '--to', 'tflite-int8', '--out', at('k8.tflite'), '--calibrate', at('faces'), '--json');
  expect(int8.code, int8.stderr).toBe(0);
  expect(int8.json.verification).toMatchObject({ independent: true, pictures: 4 });
  // Rounded to 8 bits, as the float32 file is not.
  expect(int8.json.verification.difference).toBeGreaterThan(1e-3);
  const chip = await run(k210, '--to', 'k210', '--out', at('chip.tflite'), '--calibrate', at('faces'));
  expect(chip.code, chip.stderr).toBe(0);
  expect(chip.stdout).toContain(`${at('calibration')}: 6 files`);
  expect(readdirSync(at('calibration')).length).toBe(6);
  expect(readFileSync(at('chip.txt'), 'utf8')).toContain('ncc compile chip.tflite');
});

it('an ES module that Node runs too, and a page with the threshold of the run', async () => {
  const module = at('model.mjs');
  const ended = await run(weights, '--out', module);
  expect(ended.code, ended.stderr).toBe(0);
  const { embed, info } = await import(module);
  expect(info).toMatchObject({
    embeddingSize: 16,
    width: 32,
    height: 32,
    threshold: { cosine: 0.4, from: 'chosen on lfw' },
  });
  const [picture] = noiseImages(1);
  const device = await WasmDevice.create({ threads: 1 });
  const embedder = embedderOf(tinyNetwork(), device);
  const want = await embedder.embed([picture!]);
  await embedder.dispose();
  await device.dispose();
  const found: Float32Array = await embed(picture);
  expect(Math.hypot(...want.map((x, i) => x - found[i]!))).toBeLessThan(1e-4 * Math.hypot(...want));
  const page = await run(weights, '--to', 'html', '--out', at('page'), '--json');
  expect(page.json.files[0].file).toBe(at('page'));
  expect(readFileSync(at('page'), 'utf8')).toMatch(/^<!doctype html>/);
});

it('a model of another program, and back again', async () => {
  const out = at('again.onnx');
  const ended = await run(at('model.onnx'), '--out', out, '--json');
  expect(ended.json).toMatchObject({ architecture: 'graph', verification: { independent: true } });
});

it.each<[string, () => string[], number, RegExp]>([
  ['no file to write', () => [weights], 2, /expected --out FILE, got none\nExample: facegrad export/],
  [
    'an ending that tells nothing',
    () => [weights, '--out', at('x.bin')],
    2,
    /whose ending tells it[\s\S]*safetensors \.safetensors; onnx \.onnx/,
  ],
  [
    'a file that is there',
    () => [weights, '--to', 'onnx', '--out', weights],
    2,
    /expected a new file, but it is there\nPass --overwrite/,
  ],
  ['no folder', () => [weights, '--out', at('none/x.onnx')], 2, /expected a folder .*none to write into, got none/],
  ['no pictures', () => [weights, '--to', 'tflite-int8', '--out', at('x')], 2, /expected --calibrate DIR/],
  [
    'pictures for nothing',
    () => [weights, '--out', at('x.onnx'), '--calibrate', at('faces')],
    2,
    /expected no --calibrate/,
  ],
  ['no model', () => [at('none.safetensors'), '--out', at('x.onnx')], 1, /none\.safetensors: ENOENT/],
  [
    'no model at all',
    () => [join(at('faces'), readdirSync(at('faces'))[0]!), '--out', at('x.onnx')],
    1,
    /reading .*EISDIR/,
  ],
])('refuses: %s', async (_, args, code, says) => {
  const ended = await run(...args());
  expect(ended.stderr).toMatch(says);
  expect(ended.code).toBe(code);
  for (const name of ['x', 'x.onnx', 'x.js', 'x.bin']) expect(existsSync(at(name))).toBe(false);
});

it('refuses what a target has not', async () => {
  expect(() => exportTargetOf('onyx', 'x')).toThrow(
    /^--to: expected one of safetensors, onnx[\s\S]*Did you mean 'onnx'\?$/,
  );
  const to = (name: string, options: object) =>
    exportNetwork(tinyNetwork(), exportTargetOf(name, ''), { name: 'x', ...options });
  await expect(to('onnx', { half: true })).rejects.toThrow(/only safetensors, browser, html keep/);
  await expect(to('browser', { preprocessing: 'include' })).rejects.toThrow(/expected preprocessing 'leave'/);
  await expect(to('tflite-int8', {})).rejects.toThrow(/expected pictures to calibrate with/);
  await expect((async () => to('html', {}))()).rejects.toThrow(/expected the script of the engine/);
});
