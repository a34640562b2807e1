/**
 * Published networks in 8 bits on LFW, folds 1 to 3: their embeddings next to the golden ones of float32, and their accuracy
 * under both protocols. Calibrated on 200 pictures of people who are not in LFW.
 */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { host } from '../../src/core/tensor.ts';
import { openDataset } from '../../src/data/open.ts';
import { pairsOf } from '../../src/data/openPairs.ts';
import { readImage, readPicture } from '../../src/data/readImage.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { verify } from '../../src/evaluate/verification.ts';
import { fitCrop } from '../../src/image/align.ts';
import { quantizeNetwork } from '../../src/quant/quantizeNetwork.ts';
import { int8Bytes } from '../../src/weights/int8.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { data, imported, present, published } from '../evaluate/published.ts';

const wasm = await WasmDevice.create({ threads: 2 });
afterAll(() => wasm.dispose());

const procedures = { A_noflip: 'insightface', B_noflip: 'cosine' } as const;
/** One file of each network. */
const networks = present ? [...new Map(published.map((p) => [p.name, p])).values()] : [];

describe.skipIf(!present)('published networks in 8 bits', () => {
  const folder = `${data}verify/lfw112`;
  for (const p of networks)
    it(p.name, { timeout: 1_800_000 }, async () => {
      const network = await imported(p);
      const faces = await openDataset(`${data}train/celeba112`);
      const [h, w] = network.preprocessing.inputSize;
      const pictures = [];
      for (let i = 0; i < 200; i++) {
        const picture = await readPicture(faces.source(Math.floor((i * faces.length) / 200)));
        pictures.push(host(fitCrop(picture, [h, w]).data as Uint8Array, [1, h, w, 3]));
      }
      const bytes = int8Bytes(await quantizeNetwork(network, pictures, { device: wasm }));
      const embedder = await loadEmbedder(bytes, { device: wasm });
      const { images: set, pairs } = await pairsOf({ images: folder, pairs: `${folder}/pairs.txt` });
      expect(set.length).toBe(2320);
      const rows = new Map<string, Float32Array>();
      for (let at = 0; at < set.length; at += 64) {
        const images = [];
        const names = [];
        for (let i = at; i < Math.min(set.length, at + 64); i++) {
          images.push({ width: 112, height: 112, data: await readImage(set.source(i), [112, 112]) });
          names.push(set.imageName(i));
        }
        const made = await embedder.embed(images);
        names.forEach((name, i) => {
          rows.set(name, made.slice(128 * i, 128 * (i + 1)));
        });
      }
      await embedder.dispose();
      const golden = readNpy(readFileSync(`${data}weights/golden/${p.name}.npy`), p.name).data;
      const lines = readFileSync(`${data}weights/golden/images.txt`, 'utf8').trim().split('\n');
      const cosines = lines.map((name, row) => {
        const [a, b] = [rows.get(name)!, golden.subarray(128 * row, 128 * (row + 1))];
        const dot = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((s, v, k) => s + v * y[k]!, 0);
        return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
      });
      const mean = cosines.reduce((a, b) => a + b, 0) / cosines.length;
      console.log(
        `${p.name} in 8 bits: ${bytes.length} bytes, cosine to float32 mean ${mean.toFixed(5)}, least ${Math.min(...cosines).toFixed(5)}`,
      );
      expect(mean).toBeGreaterThan(0.99);
      const embeddings = new Float32Array(set.length * 128);
      for (let i = 0; i < set.length; i++) embeddings.set(rows.get(set.imageName(i))!, 128 * i);
      const expected = JSON.parse(readFileSync(`${data}weights/golden/accuracy.json`, 'utf8')).networks[p.name];
      for (const [name, protocol] of Object.entries(procedures)) {
        const { accuracy, std } = verify({ ...pairs, folds: pairs.fold, embeddings, dim: 128 }, protocol);
        const want = expected[name].mean as number;
        console.log(
          `${p.name} ${name}: ${(100 * accuracy).toFixed(3)} ± ${(100 * std).toFixed(3)} % in 8 bits, ${(100 * want).toFixed(3)} % in float32`,
        );
        // As far as 1,800 pairs tell networks apart: two standard errors of a share.
        expect(accuracy).toBeGreaterThan(want - 2 * Math.sqrt((want * (1 - want)) / 1800));
      }
    });
});
