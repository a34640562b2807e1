/**
 * What `inspect` asks of pictures, on a worker thread: what their files say, and with `decode` what they show.
 *
 * The one idea: an answer is a few numbers a picture, so that a set of millions is looked at without holding any of it. What
 * cannot be read is an answer too.
 */
import { createHash } from 'node:crypto';
import { looksAligned } from '../../image/alignedCheck.ts';
import type { RgbImage } from '../../image/decode.ts';
import { type PictureFacts, pictureFacts } from '../../image/facts.ts';
import { type ImageSource, sourceName } from '../dataset.ts';
import { readBytes } from '../readImage.ts';
import { checkPicture } from './check.ts';

export interface LookItem {
  readonly source: ImageSource;
  /** Decode it: finds damage, and gives its colours. */
  readonly decode: boolean;
  /** Say whether it looks like an aligned crop; takes `decode`. */
  readonly aligned: boolean;
}

export interface LookRequest {
  readonly items: readonly LookItem[];
  /** Hash the stored bytes. */
  readonly hash: boolean;
}

/** What one picture is. */
export interface Look {
  /** Bytes as stored; 0 where they cannot be read. */
  readonly bytes: number;
  readonly format: 'jpeg' | 'png' | 'raw' | 'unknown';
  /** Pixels; 0 where not known. */
  readonly width: number;
  readonly height: number;
  /** JPEG alone, such as '4:2:0'. */
  readonly subsampling?: string;
  /** Mean R, G and B, when decoded. */
  readonly mean?: readonly [number, number, number];
  /** Whether it shows no colours: by its pixels when decoded, otherwise where its file says so. */
  readonly grey: boolean;
  /** 64 bits of the SHA-256 of its bytes. */
  readonly hash?: readonly [number, number];
  /** As `looksAligned` has them. */
  readonly aligned?: { readonly score: number; readonly why?: string };
  /** Whether its EXIF data ask to turn or mirror it, which decoding does not. */
  readonly turned?: boolean;
  /** Why it cannot be read or decoded, without its name. */
  readonly bad?: string;
  /** Whether a bad one could be saved in part; known when decoded. */
  readonly repairable?: boolean;
}

/** How far the channels of a picture without colours may be apart, on average, in levels. */
const greyWithin = 1.5;

function colours({ data }: RgbImage): { mean: [number, number, number]; grey: boolean } {
  const sum: [number, number, number] = [0, 0, 0];
  let apart = 0;
  for (let i = 0; i < data.length; i += 3) {
    const [r, g, b] = [data[i]!, data[i + 1]!, data[i + 2]!];
    sum[0] += r;
    sum[1] += g;
    sum[2] += b;
    apart += Math.max(r, g, b) - Math.min(r, g, b);
  }
  const pixels = data.length / 3;
  return { mean: [sum[0] / pixels, sum[1] / pixels, sum[2] / pixels], grey: apart / pixels <= greyWithin };
}

/** An error's first line without the picture's name, which is shown beside it. */
function reasonOf(error: unknown, name: string): string {
  const line = ((error as Error).message ?? String(error)).split('\n', 1)[0]!;
  return line.startsWith(`${name}: `) ? line.slice(name.length + 2) : line;
}

/** What a file's header adds. */
const stated = ({ format, width, height, channels, subsampling, orientation }: PictureFacts): Partial<Look> => ({
  format,
  width,
  height,
  grey: channels <= 2,
  ...(subsampling ? { subsampling } : {}),
  ...(orientation ? { turned: true } : {}),
});

async function lookAt({ source, decode, aligned }: LookItem, hash: boolean): Promise<Look> {
  const name = sourceName(source);
  let look: Look = { bytes: 0, format: 'unknown', width: 0, height: 0, grey: false };
  try {
    const stored = await readBytes(source);
    const { bytes, raw } = stored;
    look = { ...look, bytes: bytes.length };
    if (hash) {
      const digest = createHash('sha256').update(bytes).digest();
      look = { ...look, hash: [digest.readUInt32LE(0), digest.readUInt32LE(4)] };
    }
    if (raw) look = { ...look, ...raw, format: 'raw' };
    if (!decode) return raw ? look : { ...look, ...stated(pictureFacts(bytes, name)) };
    const { ok, facts, image, problem, repairable = false } = checkPicture(stored, name);
    if (facts) look = { ...look, ...stated(facts) };
    if (!ok || !image) return { ...look, bad: problem ?? 'it cannot be read', repairable };
    look = { ...look, width: image.width, height: image.height, ...colours(image) };
    if (!aligned) return look;
    const { score, why } = looksAligned(image);
    return { ...look, aligned: why === undefined ? { score } : { score, why } };
  } catch (error) {
    return { ...look, bad: reasonOf(error, name) };
  }
}

/** Looks at pictures, one after the other. */
export async function lookAtPictures({ items, hash }: LookRequest): Promise<Look[]> {
  const looks: Look[] = [];
  for (const item of items) looks.push(await lookAt(item, hash));
  return looks;
}
