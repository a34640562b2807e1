/** The pairs of LFW give the same accuracy from whatever format holds them. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import type { PairSet } from '../../src/data/dataset.ts';
import { pairsOf, refolded } from '../../src/data/openPairs.ts';
import { prepare } from '../../src/data/prepare/prepare.ts';
import { closeContainers, readImage } from '../../src/data/readImage.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { evaluatorOf } from '../../src/train/evaluation.ts';
import { tinyNetwork } from '../helpers/tinyNetwork.ts';

const lfw = fileURLToPath(new URL('../../../shared/data/verify/lfw112', import.meta.url));
const present = existsSync(lfw);
if (!present) console.log(`skipped: no photographs under ${lfw}, accuracy not compared between formats`);

const folder = mkdtempSync(join(tmpdir(), 'facegrad-accuracy-'));
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true });
});

it.skipIf(!present)('accuracy from a folder, .bin, .rec, .tfrecord and .faces', { timeout: 120_000 }, async () => {
  const to = async (name: string) => {
    const out = join(folder, name);
    await prepare({ sources: [lfw], out, workers: 0 });
    return out;
  };
  const pairs = join(lfw, 'pairs.txt');
  const device = await WasmDevice.create({ threads: 1 });
  const network = tinyNetwork();
  const resultOf = async (set: PairSet) => {
    const options = { protocol: 'cosine', flip: 'none' } as const;
    const evaluator = await evaluatorOf(set, (s) => readImage(s, [32, 32]), network, device, options);
    const { result } = await evaluator.run();
    await evaluator.dispose();
    return result;
  };
  const want = await resultOf(await pairsOf({ images: lfw, pairs }));
  expect(want.pairs).toBe(1800);
  // It tells people apart a little, untrained as it is: the figures are not those of chance.
  expect(want.accuracy).toBeGreaterThan(0.55);
  expect(await resultOf(await pairsOf({ images: lfw }))).toEqual(want);
  for (const name of ['lfw.rec', 'lfw.tfrecord'])
    expect(await resultOf(await pairsOf({ images: await to(name), pairs })), name).toEqual(want);
  expect(await resultOf(await pairsOf({ images: await to('lfw.faces') }))).toEqual(want);
  // A verification .bin holds no folds: the three are named.
  const bin = await pairsOf({ pairs: await to('lfw.bin') });
  expect(bin.pairs.folds).toBe(10);
  expect(await resultOf(refolded(bin, 3))).toEqual(want);
  await device.dispose();
});
