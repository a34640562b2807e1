/** Filling part of a batch: the work that loader threads share. */
import { type ImageSource, sourceName } from './dataset.ts';
import { readImage } from './readImage.ts';

/** One picture of a batch. */
export interface BatchItem {
  readonly source: ImageSource;
  /** Its place in the batch. */
  readonly row: number;
  readonly mirrored: boolean;
  /** Its number in the cache of decoded pictures; those past the cache's end are not kept. */
  readonly slot: number;
}

export interface BatchRequest {
  readonly items: readonly BatchItem[];
  /** Shared pixels [B, h, w, 3]. */
  readonly images: Uint8Array;
  readonly size: readonly [number, number];
  /** Shared decoded pixels by slot, and one byte per slot: 1 once it is filled. */
  readonly cache: { readonly pixels: Uint8Array; readonly filled: Uint8Array } | undefined;
}

export interface BadItem {
  readonly row: number;
  readonly path: string;
  readonly reason: string;
}

export async function fillBatch({ items, images, size, cache }: BatchRequest): Promise<BadItem[]> {
  const bytes = size[0] * size[1] * 3;
  const bad: BadItem[] = [];
  for (const { source, row, mirrored, slot } of items) {
    try {
      const kept = cache !== undefined && slot < cache.filled.length;
      let pixels: Uint8Array;
      // The flag is stored after the pixels and atomically, so a thread that sees it sees them too.
      if (kept && Atomics.load(cache.filled, slot)) pixels = cache.pixels.subarray(slot * bytes, (slot + 1) * bytes);
      else {
        pixels = await readImage(source, size);
        if (kept) {
          cache.pixels.set(pixels, slot * bytes);
          Atomics.store(cache.filled, slot, 1);
        }
      }
      copyPixels(images, row * bytes, pixels, size[1], mirrored);
    } catch (error) {
      const path = sourceName(source);
      const { message } = error as Error;
      bad.push({ row, path, reason: message.startsWith(path) ? message : `${path}: ${message}` });
    }
  }
  return bad;
}

/** Copies pixels [h, w, 3] to `out` at `at`, mirrored left to right if asked. */
function copyPixels(out: Uint8Array, at: number, pixels: Uint8Array, width: number, mirrored: boolean): void {
  if (!mirrored) {
    out.set(pixels, at);
    return;
  }
  const row = 3 * width;
  for (let y = 0; y < pixels.length; y += row)
    for (let x = 0; x < row; x += 3) {
      const from = y + row - 3 - x;
      const to = at + y + x;
      out[to] = pixels[from]!;
      out[to + 1] = pixels[from + 1]!;
      out[to + 2] = pixels[from + 2]!;
    }
}
