/** Filling part of a batch: the work that loader threads share. */
import type { Key } from '../../core/random.ts';
import { type AugmentSpec, augment } from '../../image/augment.ts';
import { mirror } from '../../image/filters.ts';
import type { RgbImage } from '../../image/jpeg.ts';
import { type ImageSource, sourceName } from '../dataset.ts';
import { readImage } from '../readImage.ts';

/** One picture of a batch. */
export interface BatchItem {
  readonly source: ImageSource;
  /** Its place in the batch. */
  readonly row: number;
  readonly mirrored: boolean;
  /** The draws of its augmentation; undefined where there is none. */
  readonly augmentKey: Key | undefined;
  /** Its number in the cache of decoded pictures; those past the cache's end are not kept. */
  readonly slot: number;
}

export interface BatchRequest {
  readonly items: readonly BatchItem[];
  /** Shared pixels [B, h, w, 3]. */
  readonly images: Uint8Array;
  readonly size: readonly [number, number];
  /** What is done to pictures that have a key for it, after they were mirrored. */
  readonly augment: AugmentSpec;
  /** Shared decoded pixels by slot, and one byte per slot: 1 once it is filled. */
  readonly cache: { readonly pixels: Uint8Array; readonly filled: Uint8Array } | undefined;
}

export interface BadItem {
  readonly row: number;
  readonly path: string;
  readonly reason: string;
}

export async function fillBatch({ items, images, size, augment: spec, cache }: BatchRequest): Promise<BadItem[]> {
  const bytes = size[0] * size[1] * 3;
  const bad: BadItem[] = [];
  for (const { source, row, mirrored, augmentKey, slot } of items) {
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
      // Only a copy is changed: the cache keeps the picture as it was read.
      let image: RgbImage = { width: size[1], height: size[0], data: pixels };
      if (mirrored) image = mirror(image);
      if (augmentKey) image = augment(image, spec, augmentKey);
      images.set(image.data, row * bytes);
    } catch (error) {
      const path = sourceName(source);
      const { message } = error as Error;
      bad.push({ row, path, reason: message.startsWith(path) ? message : `${path}: ${message}` });
    }
  }
  return bad;
}
