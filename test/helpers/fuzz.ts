/**
 * Feeds a reader damaged copies of a file. Whatever comes, it must give a value or a DataError whose first line begins with
 * the file's name, within `mostMs` and without taking memory that the file does not account for.
 */
import { expect } from 'vitest';
import { keyOf, threefry } from '../../src/core/random.ts';

export interface FuzzOptions {
  /** Copies cut off: all lengths of a short file, else this many. Default 150. */
  readonly cuts?: number;
  /** Copies with some bits flipped. Default 300. */
  readonly flips?: number;
  /** Copies with a number of 2, 4 or 8 bytes made huge, negative or odd. Default 300. */
  readonly numbers?: number;
  /** Longest time for one copy, in milliseconds. Default 2000. */
  readonly mostMs?: number;
  /** Most memory that all copies together may add, in bytes. Default 200 MB. */
  readonly mostBytes?: number;
  readonly seed?: number;
}

const extremes = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
];

/** What came of the copies: how many were read all the same, how many refused. */
export interface FuzzResult {
  readonly read: number;
  readonly refused: number;
}

/**
 * @param read reads all that the file holds (opening alone is not enough: also the images, rows or values)
 * @param name what `read` calls the file
 */
export async function fuzz(
  read: (bytes: Uint8Array) => unknown,
  file: Uint8Array,
  name: string,
  { cuts = 150, flips = 300, numbers = 300, mostMs = 2000, mostBytes = 200e6, seed = 1 }: FuzzOptions = {},
): Promise<FuzzResult> {
  let counter = 0;
  const draw = (n: number) => Math.floor((threefry(keyOf(seed), counter++, 0)[0] / 2 ** 32) * n);
  let good = 0;
  let refused = 0;
  const before = process.memoryUsage().rss;
  const attempt = async (bytes: Uint8Array, what: string) => {
    const start = performance.now();
    try {
      await read(bytes);
      good++;
    } catch (error) {
      expect((error as Error).name, `${what}: ${(error as Error).stack}`).toBe('DataError');
      expect((error as Error).message.startsWith(name), `${what}: ${(error as Error).message}`).toBe(true);
      refused++;
    }
    expect(performance.now() - start, `${what}: time`).toBeLessThan(mostMs);
    expect(process.memoryUsage().rss - before, `${what}: memory`).toBeLessThan(mostBytes);
  };
  const n = Math.min(cuts, file.length);
  for (let i = 0; i < n; i++) {
    const length = n === file.length ? i : i % 2 ? draw(file.length) : Math.floor((i * file.length) / n);
    await attempt(file.slice(0, length), `cut to ${length} bytes`);
  }
  for (let i = 0; i < flips; i++) {
    const copy = file.slice();
    const places = Array.from({ length: 1 + draw(4) }, () => draw(copy.length));
    for (const p of places) copy[p] = copy[p]! ^ (1 << draw(8));
    await attempt(copy, `bits flipped at ${places}`);
  }
  for (let i = 0; i < numbers; i++) {
    const copy = file.slice();
    const width = ([2, 4, 8] as const)[draw(3)]!;
    const at = draw(Math.max(1, copy.length - width));
    const value = BigInt.asUintN(8 * width, extremes[draw(extremes.length)]!);
    const little = draw(2) === 0;
    for (let k = 0; k < width && at + k < copy.length; k++)
      copy[at + k] = Number((value >> BigInt(8 * (little ? k : width - 1 - k))) & 255n);
    await attempt(copy, `${value} in ${width} bytes at ${at}`);
  }
  return { read: good, refused };
}
