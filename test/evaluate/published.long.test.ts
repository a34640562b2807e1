/** Published networks have their accuracy on LFW, folds 1 to 3: both protocols, with and without flip, to within one pair. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { pairsOf } from '../../src/data/openPairs.ts';
import { readImage } from '../../src/data/readImage.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf } from '../../src/evaluate/embedder.ts';
import { combineFlip, type Flip, verify } from '../../src/evaluate/verification.ts';
import { runGpu } from '../helpers/gpu.ts';
import { bound, data, gpuGap, imported, present, published } from './published.ts';

const wasm = await WasmDevice.create({ threads: 2 });
afterAll(() => wasm.dispose());

/** Protocol and flip rule by the reference's names. */
const procedures = {
  A_noflip: ['insightface', 'none'],
  A_flip_sum: ['insightface', 'sum'],
  B_noflip: ['cosine', 'none'],
  B_flip_concat: ['cosine', 'concat'],
} as const;

describe.skipIf(!present)('accuracy of published networks', () => {
  const folder = `${data}verify/lfw112`;
  for (const p of published)
    it(p.file, { timeout: 900_000 }, async () => {
      const expected = JSON.parse(readFileSync(`${data}weights/golden/accuracy.json`, 'utf8')).networks[
        p.name
      ] as Record<keyof typeof procedures, { mean: number }>;
      const network = await imported(p);
      const { images: set, pairs } = await pairsOf({ images: folder, pairs: `${folder}/pairs.txt` });
      expect(set.length).toBe(2320);
      const embedder = embedderOf(network, wasm);
      const [upright, mirrored] = [[], []] as Float32Array[][];
      for (let at = 0; at < set.length; at += 64) {
        const images = [];
        for (let i = at; i < Math.min(set.length, at + 64); i++)
          images.push({ width: 112, height: 112, data: await readImage(set.source(i), [112, 112]) });
        upright!.push(await embedder.embed(images));
        mirrored!.push(await embedder.embed(images, { mirrored: true }));
      }
      const joined = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((x) => [...x]));
      const [a, b] = [joined(upright!), joined(mirrored!)];
      await embedder.dispose();
      for (const [name, [protocol, flip]] of Object.entries(procedures)) {
        const { embeddings, dim } = combineFlip(a, b, embedder.embeddingSize, flip as Flip);
        const { accuracy } = verify({ ...pairs, folds: pairs.fold, embeddings, dim }, protocol);
        const want = expected[name as keyof typeof procedures].mean;
        console.log(`${p.file} ${name}: ${(100 * accuracy).toFixed(3)} %, reference ${(100 * want).toFixed(3)} %`);
        // One pair of 1,800, and the six digits that the reference is rounded to.
        expect(Math.abs(accuracy - want), name).toBeLessThan(1 / 1800 + 1e-6);
      }
    });
});

describe.skipIf(!present)('published networks', () => {
  for (const p of published.filter(({ quick }) => !quick))
    it.runIf(runGpu)(`${p.file} on webgpu`, { timeout: 400_000 }, async () => {
      expect(await gpuGap(p)).toBeLessThan(bound);
    });
});
