import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syntheticFace, syntheticSet } from '../../../datasets/synthetic.ts';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import { keyOf } from '../../../src/core/random.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { openFolder } from '../../../src/data/formats/folder.ts';
import { type Batch, createLoader, type Loader } from '../../../src/data/load/loader.ts';
import { decodeImage } from '../../../src/image/decode.ts';
import { encodeJpeg, encodePng } from '../../../src/image/encode.ts';
import { resize } from '../../../src/image/resize.ts';

const key = keyOf(11);
const set = syntheticSet({ identities: 7, imagesPerIdentity: 3, size: 16 });
const plain = { dataset: set, batch: 4, size: [16, 16] as const, key };

async function take(loader: Loader, n: number): Promise<Batch[]> {
  const all: Batch[] = [];
  for (let i = 0; i < n; i++) all.push(await loader.next());
  return all;
}
const rowOf = (b: Batch, row: number) =>
  b.images.slice((row * b.images.length) / b.labels.length, ((row + 1) * b.images.length) / b.labels.length);
function mirrored(pixels: Uint8Array, width: number): Uint8Array {
  const out = new Uint8Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const x = Math.floor(i / 3) % width;
    out[i + 3 * (width - 1 - 2 * x)] = pixels[i]!;
  }
  return out;
}

describe('createLoader', () => {
  it('gives every picture of an epoch once, with its label', async () => {
    const loader = createLoader({ ...plain, batch: 7, workers: 0 });
    const all = await take(loader, 6);
    expect(loader.stepsPerEpoch).toBe(3);
    const orders = [0, 1].map((epoch) => {
      const seen: number[] = [];
      for (const b of all.slice(epoch * 3, epoch * 3 + 3)) {
        expect(b.epoch).toBe(epoch);
        for (let row = 0; row < 7; row++) {
          const i = Array.from({ length: 21 }, (_, k) => k).findIndex((k) =>
            Buffer.from(rowOf(b, row)).equals(syntheticFace(1, Math.floor(k / 3), k % 3, 16)),
          );
          expect(b.labels[row]).toBe(set.label(i));
          seen.push(i);
        }
      }
      expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 21 }, (_, k) => k));
      return seen;
    });
    expect(orders[0]).not.toEqual(orders[1]);
    expect(all.map((b) => b.step)).toEqual([0, 1, 2, 3, 4, 5]);
    await loader.close();
  });
  it('gives the same batches with any workers, look-ahead and cache', async () => {
    const options = { ...plain, flip: true };
    const reference = createLoader({ ...options, workers: 0, cacheBytes: 0 });
    const want = await take(reference, 12);
    for (const [workers, ahead, cacheBytes] of [
      [0, 2, 1e6],
      [1, 0, 0],
      [3, 3, 16 * 16 * 3 * 10],
    ] as const) {
      const loader = createLoader({ ...options, workers, ahead, cacheBytes });
      expect(await take(loader, 12), `${workers} workers`).toEqual(want);
      await loader.close();
    }
    await reference.close();
  });
  it('resumes anywhere', async () => {
    const whole = createLoader({ ...plain, flip: true, workers: 1 });
    const want = (await take(whole, 9)).slice(7);
    const resumed = createLoader({ ...plain, flip: true, workers: 1 });
    resumed.seek(7);
    expect(await take(resumed, 2)).toEqual(want);
    // also when batches ahead were already under way
    whole.seek(7);
    expect(await take(whole, 2)).toEqual(want);
    await Promise.all([whole.close(), resumed.close()]);
  });
  it('mirrors about half, decided by position', async () => {
    const still = createLoader({ ...plain, batch: 7, workers: 0 });
    const flipped = createLoader({ ...plain, batch: 7, workers: 0, flip: true });
    let mirrors = 0;
    for (let step = 0; step < 30; step++) {
      const [a, b] = await Promise.all([still.next(), flipped.next()]);
      expect(b.labels).toEqual(a.labels);
      for (let row = 0; row < 7; row++) {
        const same = Buffer.from(rowOf(a, row)).equals(rowOf(b, row));
        if (!same) {
          expect(Buffer.from(mirrored(rowOf(a, row), 16)).equals(rowOf(b, row))).toBe(true);
          mirrors++;
        }
      }
    }
    // 210 coins: within five standard deviations
    expect(Math.abs(mirrors - 105)).toBeLessThan((5 * Math.sqrt(210)) / 2);
  });
  it('keeps or drops the last, smaller batch', async () => {
    const loader = createLoader({ ...plain, workers: 0, dropLast: false });
    expect(loader.stepsPerEpoch).toBe(6);
    const all = await take(loader, 7);
    expect(all.map((b) => [b.labels.length, b.images.length / 768, b.epoch])).toEqual(
      [4, 4, 4, 4, 4, 1, 4].map((n, i) => [n, n, i < 6 ? 0 : 1]),
    );
    expect(createLoader({ ...plain, workers: 0 }).stepsPerEpoch).toBe(5);
  });
  it('refuses impossible options, and use after close', async () => {
    for (const wrong of [
      { batch: 0 },
      { batch: 22 },
      { batch: 1.5 },
      { workers: -1 },
      { ahead: -1 },
      { size: [0, 4] as const },
    ]) {
      expect(() => createLoader({ ...plain, ...wrong })).toThrow(UsageError);
    }
    const loader = createLoader({ ...plain, workers: 1 });
    const pending = loader.next();
    const outcome = pending.then(
      () => 'given',
      (e) => e,
    );
    await loader.close();
    const result = await outcome;
    if (result !== 'given') expect(result).toBeInstanceOf(UsageError);
    await expect(loader.next()).rejects.toThrow(UsageError);
    expect(loader.waitedMs).toBeGreaterThanOrEqual(0);
  });
});

describe('picture files', () => {
  let root = '';
  let files: Dataset;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'facegrad-loader-'));
    for (let id = 0; id < 3; id++) {
      mkdirSync(join(root, `p${id}`));
      for (let i = 0; i < 2; i++) {
        const face = {
          width: 24,
          height: 20,
          data: resize({ width: 24, height: 24, data: syntheticFace(1, id, i, 24) }, 24, 20).data,
        };
        writeFileSync(join(root, `p${id}`, `${i}.${i ? 'png' : 'jpg'}`), i ? encodePng(face) : encodeJpeg(face));
      }
    }
    files = openFolder(root);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('are decoded and resized, in workers too, from paths and from bytes', async () => {
    const { readFileSync } = await import('node:fs');
    const bytesSet: Dataset = {
      ...files,
      source: (i) => {
        const s = files.source(i);
        return s.kind === 'file' ? { kind: 'bytes', name: s.path, bytes: new Uint8Array(readFileSync(s.path)) } : s;
      },
    };
    const want = Array.from({ length: 6 }, (_, i) => {
      const s = files.source(i);
      const path = s.kind === 'file' ? s.path : '';
      return Buffer.from(resize(decodeImage(readFileSync(path), path), 12, 10).data).toString('hex');
    }).sort();
    for (const dataset of [files, bytesSet]) {
      for (const workers of [0, 1]) {
        const loader = createLoader({ dataset, batch: 6, size: [10, 12], key, workers });
        const b = await loader.next();
        expect(Array.from({ length: 6 }, (_, row) => Buffer.from(rowOf(b, row)).toString('hex')).sort()).toEqual(want);
        await loader.close();
      }
    }
  });
  it('that cannot be read stop the run by name, or are replaced alike everywhere and reported', async () => {
    writeFileSync(join(root, 'p1', '0.jpg'), 'not a picture');
    rmSync(join(root, 'p2', '1.png'));
    const results: Batch[][] = [];
    for (const workers of [0, 2]) {
      const strict = createLoader({ dataset: files, batch: 6, size: [20, 24], key, workers });
      const error = await strict.next().catch((e) => e);
      expect(error).toBeInstanceOf(DataError);
      expect(error.message).toMatch(/p1\/0\.jpg: neither JPEG nor PNG|p2\/1\.png: .*ENOENT/);
      await strict.close();
      const lenient = createLoader({ dataset: files, batch: 6, size: [20, 24], key, workers, skipBad: true });
      results.push(await take(lenient, 2));
      await lenient.close();
    }
    expect(results[1]).toEqual(results[0]);
    for (const b of results[0]!) {
      expect(b.bad.map((x) => x.path.slice(root.length)).sort()).toEqual(['/p1/0.jpg', '/p2/1.png']);
      // the pictures after the bad ones stand in: p1/1.png, and p0/0.jpg after the end
      expect([...b.labels].sort()).toEqual([0, 0, 0, 1, 1, 2]);
    }
    const none: Dataset = { ...files, length: 1, source: () => ({ kind: 'file', path: join(root, 'gone.jpg') }) };
    const hopeless = createLoader({ dataset: none, batch: 1, size: [8, 8], key, workers: 0, skipBad: true });
    await expect(hopeless.next()).rejects.toThrow(/unreadable pictures/);
  });
  it('lets the process end, closed or not', () => {
    const script = (close: boolean) => `
      import { createLoader } from ${JSON.stringify(new URL('../../../src/data/load/loader.ts', import.meta.url).href)};
      import { syntheticSet } from ${JSON.stringify(new URL('../../../datasets/synthetic.ts', import.meta.url).href)};
      const dataset = syntheticSet({ identities: 4, imagesPerIdentity: 4, size: 16 });
      const loader = createLoader({ dataset, batch: 4, size: [16, 16], key: [1, 2], workers: 2 });
      const { labels } = await loader.next();
      ${close ? 'await loader.close();' : ''}
      console.log('labels ' + labels.length);
    `;
    for (const close of [true, false]) {
      const run = spawnSync(process.execPath, ['--input-type=module', '-e', script(close)], {
        timeout: 20_000,
        encoding: 'utf8',
      });
      expect([run.status, run.stdout.trim()], run.stderr).toEqual([0, 'labels 4']);
    }
  });
  it('is closed before the process ends, with batches still under way', () => {
    const script = `
      import { createLoader } from ${JSON.stringify(new URL('../../../src/data/load/loader.ts', import.meta.url).href)};
      import { syntheticSet } from ${JSON.stringify(new URL('../../../datasets/synthetic.ts', import.meta.url).href)};
      const dataset = syntheticSet({ identities: 4, imagesPerIdentity: 4, size: 16 });
      for (let i = 0; i < 20; i++) {
        const loader = createLoader({ dataset, batch: 2, size: [16, 16], key: [1, 2], workers: 1, ahead: 3 });
        await loader.next();
        // The batches prepared ahead are ready, but their messages arrive only after close has begun.
        for (const until = performance.now() + 40; performance.now() < until; );
        await loader.close();
      }
      console.log('closed');
    `;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 40_000,
      encoding: 'utf8',
    });
    expect([run.status, run.stdout.trim()], run.stderr).toEqual([0, 'closed']);
  });
});
