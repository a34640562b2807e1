/** What `prepare` does to one picture, on a worker thread: align or resize, treat, encode. */
import { DataError } from '../../core/errors.ts';
import type { Key } from '../../core/random.ts';
import { alignFace, centralCrop } from '../../image/align.ts';
import type { RgbImage } from '../../image/decode.ts';
import { encodeJpeg, encodePng } from '../../image/encode.ts';
import { resize } from '../../image/resize.ts';
import { type ImageSource, type RawSize, sourceName } from '../dataset.ts';
import { checkPicture } from '../inspect/check.ts';
import { readBytes } from '../readImage.ts';
import { decodeBytes, type ImageBytes } from '../source.ts';
import { type Treatment, treat } from './treat.ts';

export interface Transform {
  /** [height, width] of the result. Default: as it is. */
  readonly size?: readonly [number, number] | undefined;
  /** How a picture without points gets its size: scaled whole, or its central part. Default 'scale'. */
  readonly fit?: 'scale' | 'crop' | undefined;
  /** How pixels are stored; 'keep': the bytes as they are where the pixels are, otherwise JPEG. */
  readonly encode: 'keep' | 'jpeg' | 'png' | 'raw';
  /** Of JPEG, 1 to 100. */
  readonly quality: number;
  /** Whether the target holds bare pixels; otherwise they become PNG. */
  readonly holdsRaw: boolean;
  /** Decode also where nothing changes, so that unreadable pictures are found. */
  readonly check: boolean;
  /** Save what can be read of a damaged picture. */
  readonly repair: boolean;
}

export interface TransformRequest {
  readonly source: ImageSource;
  readonly how: Transform;
  /** Five points to align by. */
  readonly points?: readonly number[] | undefined;
  readonly treatment?: { readonly kind: Treatment; readonly key: Key } | undefined;
}

export interface Transformed {
  readonly bytes: Uint8Array;
  readonly raw?: RawSize;
  /** What was wrong and has been repaired. */
  readonly repaired?: string;
}

/**
 * One picture as its new set stores it.
 * @throws DataError naming the picture, where it cannot be read
 */
export async function transformPicture({ source, how, points, treatment }: TransformRequest): Promise<Transformed> {
  const name = sourceName(source);
  const stored = await readBytes(source);
  const { repaired, ...found } = how.repair
    ? mended(stored, name)
    : { ...decodeBytes(stored, name), repaired: undefined };
  let image: RgbImage = found;
  let changed = repaired !== undefined;
  const { size } = how;
  if (points && size) {
    try {
      image = alignFace(image, points, size);
    } catch (error) {
      throw error instanceof DataError ? new DataError(`${name}: ${error.message}`) : error;
    }
    changed = true;
  } else if (size && !(image.height === size[0] && image.width === size[1])) {
    image = how.fit === 'crop' ? centralCrop(image, size) : resize(image, size[1], size[0], 'area');
    changed = true;
  }
  if (treatment) {
    image = treat(image, treatment.kind, treatment.key);
    changed = true;
  }
  const note = repaired === undefined ? {} : { repaired };
  if (how.encode === 'keep' && !changed) {
    if (!stored.raw || how.holdsRaw) return { ...stored, ...note };
    return { bytes: encodePng(image), ...note };
  }
  if (how.encode === 'jpeg' || (how.encode === 'keep' && !stored.raw))
    return { bytes: encodeJpeg(image, how.quality), ...note };
  if (how.encode === 'png' || !how.holdsRaw) return { bytes: encodePng(image), ...note };
  return { bytes: image.data, raw: { width: image.width, height: image.height }, ...note };
}

/** A picture with what can be saved of it, and what was wrong. */
function mended(stored: ImageBytes, name: string): RgbImage & { readonly repaired: string | undefined } {
  const { image, problem, repaired } = checkPicture(stored, name);
  if (!image) throw new DataError(`${name}: ${problem}\nNothing can be saved of it: pass --skip-bad to leave it out.`);
  return { ...image, repaired };
}

/** Whether a picture has to be decoded at all, or its bytes can be copied. */
export const isCopy = ({ source, how, points, treatment }: TransformRequest): boolean =>
  !points &&
  !treatment &&
  !how.size &&
  !how.check &&
  !how.repair &&
  how.encode === 'keep' &&
  !(isRaw(source) && !how.holdsRaw);

const isRaw = (s: ImageSource): boolean => s.kind === 'synthetic' || (s.kind !== 'file' && s.raw !== undefined);
