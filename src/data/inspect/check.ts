/**
 * Whether a picture of a set is what it should be, and what can be saved of one that is not.
 *
 * The one idea: a check decodes strictly, as training does; what that refuses is read again tolerantly, and counts as
 * repairable when enough of it arrived.
 */
import { DataError } from '../../core/errors.ts';
import { decodeImage, type RgbImage } from '../../image/decode.ts';
import { encodeJpeg, encodePng } from '../../image/encode.ts';
import { type PictureFacts, pictureFacts } from '../../image/facts.ts';
import { resize } from '../../image/resize.ts';
import type { ImageBytes } from '../source.ts';

export interface CheckOptions {
  /** [height, width] that pictures should have; others can be repaired by resizing. Default: any. */
  readonly size?: readonly [number, number] | undefined;
  /** Whether pictures should be stored as three channels of 8 bits, as programs other than this one may need. Default false. */
  readonly rgb?: boolean | undefined;
  /** Share of a damaged picture that must have arrived for it to be repairable. Default 0.5. */
  readonly least?: number | undefined;
}

/** What a check finds. */
export interface Checked {
  readonly format: 'jpeg' | 'png' | 'raw' | 'unknown';
  /** Length of the file. */
  readonly bytes: number;
  /** Of what the file says of itself, as far as it does. */
  readonly facts?: PictureFacts;
  readonly ok: boolean;
  /** What is wrong, in a few words. */
  readonly problem?: string;
  /** Whether `repairPicture` can save it. Only with a problem. */
  readonly repairable?: boolean;
  /** Share of a damaged picture that arrived, 0 to 1. */
  readonly complete?: number;
  /** The picture at its own size, what is missing of it mid-grey; absent where nothing can be saved. */
  readonly image?: RgbImage;
  /** What was wrong and is mended in `image`. */
  readonly repaired?: string;
}

const reasonOf = (error: unknown, name: string): string => {
  if (!(error instanceof DataError)) throw error;
  const [line] = error.message.split('\n', 1);
  return line!.startsWith(`${name}: `) ? line!.slice(name.length + 2) : line!;
};

/** Checks a picture by decoding it; whatever is wrong with it is in the result. @param name what the picture is called */
export function checkPicture(
  { bytes, raw }: ImageBytes,
  name: string,
  { size, rgb = false, least = 0.5 }: CheckOptions = {},
): Checked {
  if (raw) {
    const wanted = raw.width * raw.height * 3;
    const base = { format: 'raw', bytes: bytes.length } as const;
    if (bytes.length !== wanted)
      return {
        ...base,
        ok: false,
        repairable: false,
        problem: `${raw.width}x${raw.height} pixels are ${wanted} bytes, got ${bytes.length}`,
      };
    return unlike({ ...base, ok: true, image: { ...raw, data: bytes } }, size, false);
  }
  let facts: PictureFacts | undefined;
  try {
    facts = pictureFacts(bytes, name);
  } catch (error) {
    // the decoder says what the file looks like
    reasonOf(error, name);
  }
  const base = { format: facts?.format ?? 'unknown', bytes: bytes.length, ...(facts && { facts }) } as const;
  try {
    return unlike({ ...base, ok: true, image: decodeImage(bytes, name) }, size, rgb);
  } catch (error) {
    const problem = reasonOf(error, name);
    try {
      const { complete = 0, damage, ...image } = decodeImage(bytes, name, { tolerant: true });
      if (complete < least) return { ...base, ok: false, problem, repairable: false, complete };
      return { ...base, ok: false, problem, repairable: true, complete, image, repaired: problem };
    } catch (again) {
      reasonOf(again, name);
      return { ...base, ok: false, problem, repairable: false };
    }
  }
}

/** A readable picture held against what pictures should be. */
function unlike(checked: Checked & { image: RgbImage }, size: CheckOptions['size'], rgb: boolean): Checked {
  const { width, height } = checked.image;
  const wrong: string[] = [];
  if (size && (height !== size[0] || width !== size[1]))
    wrong.push(`${width}x${height} pixels, expected ${size[1]}x${size[0]}`);
  const { channels = 3, bits = 8 } = checked.facts ?? {};
  if (rgb && (channels !== 3 || bits !== 8)) wrong.push(`${channels} channels of ${bits} bits, expected 3 of 8`);
  if (wrong.length === 0) return checked;
  return { ...checked, ok: false, problem: wrong.join('; '), repairable: true };
}

/** A picture that has been saved. */
export interface Repaired extends ImageBytes {
  /** What was wrong. */
  readonly repaired: string;
}

/**
 * Saves a picture that a check finds repairable: what arrived of it, in RGB, at the size asked for, encoded anew (a JPEG as JPEG, 4:2:0
 * where it was and 4:4:4 otherwise, other files as PNG, pixels as pixels). Undefined where nothing is wrong, or nothing can be saved.
 * @param options.quality of JPEG, 1 to 100; default 95
 */
export function repairPicture(
  picture: ImageBytes,
  name: string,
  options: CheckOptions & { readonly quality?: number } = {},
): Repaired | undefined {
  const { ok, repairable, problem, image, format, facts } = checkPicture(picture, name, options);
  if (ok || !repairable || !image || problem === undefined) return undefined;
  const [height, width] = options.size ?? [image.height, image.width];
  const right = image.width === width && image.height === height ? image : resize(image, width, height);
  if (format === 'raw') return { bytes: right.data, raw: { width, height }, repaired: problem };
  if (format !== 'jpeg') return { bytes: encodePng(right), repaired: problem };
  const subsampling = facts?.subsampling === '4:2:0' ? '4:2:0' : '4:4:4';
  return { bytes: encodeJpeg(right, options.quality, { subsampling }), repaired: problem };
}
