/** Picture files on disk for tests of what reads them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keyOf, uniform } from '../../src/core/random.ts';
import { encodePng } from '../../src/image/encode.ts';
import type { RgbImage } from '../../src/image/jpeg.ts';

/** A smooth picture that belongs to a person: large blobs from `person`, a little noise from `shot`. */
export function picture(person: number, shot: number, size = 32): RgbImage {
  const blobs = uniform(keyOf(100 + person), 4 * 4 * 3);
  const noise = uniform(keyOf(10_000 + 100 * person + shot), size * size * 3);
  const data = new Uint8Array(size * size * 3);
  for (let y = 0, i = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      for (let c = 0; c < 3; c++, i++) {
        const blob = blobs[(Math.floor((4 * y) / size) * 4 + Math.floor((4 * x) / size)) * 3 + c]!;
        data[i] = Math.round(40 + 160 * blob + 16 * noise[i]!);
      }
  return { width: size, height: size, data };
}

/** Writes people × shots pictures as LFW lays them out: folder/Person_0/Person_0_0001.png. Gives the paths by person. */
export function writePeople(folder: string, people: number, shots: number, size = 32): string[][] {
  return Array.from({ length: people }, (_, p) => {
    const name = `Person_${p}`;
    mkdirSync(join(folder, name), { recursive: true });
    return Array.from({ length: shots }, (_, s) => {
      const path = join(folder, name, `${name}_${String(s + 1).padStart(4, '0')}.png`);
      writeFileSync(path, encodePng(picture(p, s, size)));
      return path;
    });
  });
}

/** What commands say of these pictures, which show no faces. */
export const noCrops = /^warning: \d+ of the \d+ pictures looked at do not look like aligned face crops: .*\n$/;
