/** An image source to pixels of a given size (Node: reads files). */
import { readFile } from 'node:fs/promises';
import { syntheticFace } from '../../datasets/syntheticFace.ts';
import { DataError } from '../core/errors.ts';
import { decodeImage, type RgbImage } from '../image/decode.ts';
import { resize } from '../image/resize.ts';
import type { ImageSource } from './dataset.ts';

/** The picture of a source at its own size. Throws DataError naming the file. */
export async function openImage(source: ImageSource, side: number): Promise<RgbImage> {
  if (source.kind === 'synthetic')
    return { width: side, height: side, data: syntheticFace(source.seed, source.identity, source.image, side) };
  if (source.kind === 'bytes') return decodeImage(source.bytes, source.name);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(source.path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new DataError(
      `${source.path}: expected a readable picture, got ${code ?? (error as Error).message}\nCheck the path and its permissions.`,
    );
  }
  return decodeImage(bytes, source.path);
}

/** RGB pixels [h, w, 3] of a source, resized if its own size differs. */
export async function readImage(source: ImageSource, [height, width]: readonly [number, number]): Promise<Uint8Array> {
  const image = await openImage(source, Math.max(height, width));
  return image.width === width && image.height === height ? image.data : resize(image, width, height).data;
}
