/** An image source to its bytes and pixels. Browser-safe: who reads paths is an argument (readImage.ts passes Node's files). */
import { syntheticFace } from '../../datasets/syntheticFace.ts';
import { DataError, UsageError } from '../core/errors.ts';
import { decodeImage, type RgbImage } from '../image/decode.ts';
import { type ByteSource, blobSource } from './bytes.ts';
import { type ImageSource, type RawSize, sourceName } from './dataset.ts';
import { recordContent } from './formats/recordio.ts';

/** Opens a path; it stays open for the next image, so it is not closed here. */
export type OpenPath = (path: string) => Promise<ByteSource>;

const noPaths: OpenPath = async (path) => {
  throw new UsageError(
    `${path}: expected an image in a Blob or in memory, since files by path are read in Node alone\nPass the file itself.`,
  );
};

/** What a source holds: an image file, or with `raw` its pixels. */
export interface ImageBytes {
  readonly bytes: Uint8Array;
  readonly raw?: RawSize;
}

/** The bytes of an image as its set stores them. Throws DataError naming the file. */
export async function imageBytes(source: ImageSource, open: OpenPath = noPaths): Promise<ImageBytes> {
  if (source.kind === 'synthetic') {
    const { seed, identity, image, size } = source;
    return { bytes: syntheticFace(seed, identity, image, size), raw: { width: size, height: size } };
  }
  if (source.kind === 'bytes') return source;
  if (source.kind === 'file') {
    const file = await open(source.path);
    return { bytes: await file.read(0, file.size) };
  }
  const { container } = source;
  const file = typeof container === 'string' ? await open(container) : blobSource(container, source.name);
  if (source.kind === 'record') return { bytes: await recordContent(file, source.at, source.guess) };
  const { pieces, raw } = source;
  const parts: Uint8Array[] = [];
  for (let i = 0; i < pieces.length; i += 2) parts.push(await file.read(pieces[i]!, pieces[i + 1]!));
  let bytes = parts[0]!;
  if (parts.length !== 1) {
    bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of parts) {
      bytes.set(p, at);
      at += p.length;
    }
  }
  return raw ? { bytes, raw } : { bytes };
}

/** Bytes as pixels. Throws DataError naming the image. */
export function decodeBytes({ bytes, raw }: ImageBytes, name: string): RgbImage {
  if (!raw) return decodeImage(bytes, name);
  const wanted = raw.width * raw.height * 3;
  if (bytes.length !== wanted)
    throw new DataError(
      `${name}: expected the ${wanted} bytes of ${raw.width}x${raw.height} RGB pixels, got ${bytes.length}\nThe set is damaged: write or fetch it again.`,
    );
  return { ...raw, data: bytes };
}

/** The picture of a source at its own size. Throws DataError naming the file. */
export async function openImage(source: ImageSource, open?: OpenPath): Promise<RgbImage> {
  return decodeBytes(await imageBytes(source, open), sourceName(source));
}
