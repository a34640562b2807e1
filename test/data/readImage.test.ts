import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { ImageSource } from '../../src/data/dataset.ts';
import { closeContainers, readBytes, readPicture } from '../../src/data/readImage.ts';
import { encodePng } from '../../src/image/encode.ts';
import { picture } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-containers-'));
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true });
});

/** Two hundred containers with two pictures each. */
const pngs = Array.from({ length: 4 }, (_, s) => encodePng(picture(s, s, 8)));
const paths = Array.from({ length: 200 }, (_, i) => {
  const path = join(folder, `${i}.shard`);
  writeFileSync(path, Buffer.concat([pngs[i % 4]!, pngs[(i + 1) % 4]!]));
  return path;
});
const source = (i: number, second: boolean): ImageSource => {
  const [a, b] = [pngs[i % 4]!.length, pngs[(i + 1) % 4]!.length];
  return { kind: 'part', name: `image ${i}`, container: paths[i]!, pieces: second ? [a, b] : [0, a] };
};
const openFiles = () => readdirSync('/proc/self/fd').length;

it('reads from more containers than stay open, all at once, and keeps few files open', async () => {
  const before = process.platform === 'linux' ? openFiles() : 0;
  const wanted = paths.flatMap((_, i) => [source(i, false), source(i, true)]);
  for (let round = 0; round < 3; round++) {
    const read = await Promise.all(wanted.map((s, k) => (k % 3 ? readBytes(s).then((b) => b.bytes) : readPicture(s))));
    read.forEach((r, k) => {
      const which = ((k >> 1) + (k & 1)) % 4;
      if (r instanceof Uint8Array) expect(Buffer.compare(r, pngs[which]!)).toBe(0);
      else expect(r.data).toEqual(picture(which, which, 8).data);
    });
    // They close a moment after the read that was the last of theirs.
    if (process.platform === 'linux') await expect.poll(openFiles).toBeLessThanOrEqual(before + 40);
  }
  await closeContainers();
  if (process.platform === 'linux') await expect.poll(openFiles).toBeLessThanOrEqual(before + 2);
});
