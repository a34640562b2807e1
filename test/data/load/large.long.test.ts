/** A .rec of 20 GB, sparse on disk, goes through the loader in bounded memory. */
import { fork } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeJpeg } from '../../../src/image/encode.ts';
import { needBuild } from '../../helpers/built.ts';
import { picture } from '../../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-large-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Records of 128 kB each: a header, a JPEG, and a hole that only the file system's bookkeeping holds. */
function sparseRec(path: string, records: number, index: boolean): void {
  const jpegs = [0, 1, 2, 3].map((p) => encodeJpeg(picture(p, 0, 112), 80));
  const payload = 128 * 1024;
  const file = openSync(path, 'w');
  let text = '';
  const head = new DataView(new ArrayBuffer(32));
  head.setUint32(0, 0xced7230a, true);
  head.setUint32(4, payload, true);
  for (let i = 0; i < records; i++) {
    const at = i * (payload + 8);
    head.setFloat32(12, i % 4, true); // flag 0, then the label
    head.setBigUint64(16, BigInt(i), true);
    writeSync(file, Buffer.concat([new Uint8Array(head.buffer), jpegs[i % 4]!]), 0, undefined, at);
    text += `${i}\t${at}\n`;
  }
  ftruncateSync(file, records * (payload + 8));
  closeSync(file);
  if (!index) return;
  const idx = openSync(path.replace('.rec', '.idx'), 'w');
  writeSync(idx, text);
  closeSync(idx);
}

const stream = (path: string, batches: number): Promise<{ length: number; classes: number; rssBytes: number }> =>
  new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('../../helpers/streamRec.mjs', import.meta.url)), [path, String(batches)]);
    child.on('message', resolve);
    child.on('error', reject);
    child.on('exit', (code) => code && reject(new Error(`ended with ${code}`)));
  });

describe('a .rec of 20 GB', () => {
  needBuild();
  const records = 155_000;
  it.each([true, false])('with an index: %s', { timeout: 600_000 }, async (index) => {
    const path = join(folder, index ? 'a.rec' : 'b.rec');
    sparseRec(path, records, index);
    expect(statSync(path).size).toBeGreaterThan(20e9);
    // In random order, from the whole file; nothing is kept of the pictures.
    const { length, classes, rssBytes } = await stream(path, 300);
    expect([length, classes]).toEqual([records, 4]);
    expect(rssBytes).toBeLessThan(300e6);
    console.log(`20 GB, ${index ? 'with' : 'without'} index: ${(rssBytes / 1e6).toFixed(0)} MB at most`);
    rmSync(path);
  });
});
