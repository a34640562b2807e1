/** Finding out how a network's pictures are prepared. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { readPicture } from '../../src/data/readImage.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { detectPreprocessing, separationOf } from '../../src/evaluate/preprocessing.ts';
import { fitCrop } from '../../src/image/align.ts';
import { tinyNetwork } from '../helpers/tinyNetwork.ts';
import { data, imported, present, published } from './published.ts';

const wasm = await WasmDevice.create({ threads: 2 });
afterAll(() => wasm.dispose());

describe('separation', () => {
  it('is that of two normal heaps, and the area under the curve of all pairs', () => {
    // Two people, two pictures each: cosines 1 and 1 of the same, 0 and 0.6 of the others.
    const rows = Float32Array.of(1, 0, 1, 0, 0, 1, 0.6, 0.8);
    const { auc, separation } = separationOf(rows, 2, [0, 0, 1, 1]);
    const [same, different] = [
      [1, 0.8],
      [0, 0, 0.6, 0.6],
    ] as const;
    const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    const variance = (x: readonly number[]) => mean(x.map((v) => (v - mean(x)) ** 2));
    const expected = (mean(same) - mean(different)) / Math.sqrt((variance(same) + variance(different)) / 2);
    expect(auc).toBe(1);
    expect(separation).toBeCloseTo(expected, 5);
  });
  it('of numbers that overflowed is none', () => {
    expect(separationOf(Float32Array.of(1, Number.NaN, 1, 0), 2, [0, 0])).toEqual({ auc: 0.5, separation: 0 });
  });
  it('needs people with several pictures', async () => {
    const image = { width: 32, height: 32, data: new Uint8Array(3 * 32 * 32) };
    for (const labels of [
      [0, 1, 2],
      [0, 0, 0],
    ])
      await expect(detectPreprocessing(tinyNetwork(), [image, image, image], labels, wasm)).rejects.toThrow(UsageError);
  });
});

describe.skipIf(!present)('published networks', () => {
  it('are told apart by what they were trained with', { timeout: 240_000 }, async () => {
    const root = `${data}train/celeba112`;
    const people = readdirSync(root).filter((name) => /^\d+$/.test(name));
    const chosen = people.slice(0, 10).flatMap((person, label) =>
      readdirSync(join(root, person))
        .slice(0, 3)
        .map((name) => ({ label, path: join(root, person, name) })),
    );
    const images = await Promise.all(chosen.map(({ path }) => readPicture({ kind: 'file', path })));
    const found = async (file: string) => {
      const network = await imported(published.find((p) => p.file === file)!);
      const before = network.preprocessing;
      const trials = await detectPreprocessing(
        network,
        images.map((image) => fitCrop(image, before.inputSize)),
        chosen.map((c) => c.label),
        wasm,
      );
      expect(network.preprocessing).toBe(before);
      return { before, best: trials[0]! };
    };
    const foamliu = await found('foamliu/mobilefacenet.pt');
    expect(foamliu.best.preprocessing).toEqual(foamliu.before);
    // 1/127.5 and 1/128 are one to it.
    const xiaoccer = await found('xiaoccer/068.ckpt');
    expect(xiaoccer.best.preprocessing).toMatchObject({ colourOrder: 'RGB', mean: 127.5 });
  });
});
