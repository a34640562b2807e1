/**
 * Image files to RGB pixels: JPEG and PNG, told apart by their first bytes.
 *
 * The one idea: pixels as the field's usual readers give them. JPEG equals libjpeg-turbo in every bit (jpeg.ts); from
 * PNG, alpha is dropped, 16 bits become the nearest 8, grey and palettes become RGB. Colour profiles, gamma and EXIF
 * rotation are not applied.
 */
import { type DecodedPng, decode as readPng } from 'fast-png';
import { DataError } from '../core/errors.ts';
import { checkPixels, type DecodedImage, decodeJpeg, type RgbImage } from './jpeg.ts';
import { pictureKind } from './pictureKind.ts';
import { inflatesBeyond, pixelChunks, rescuePng } from './pngRescue.ts';

/** Of a damaged PNG's rows, those that must be there. */
const leastShare = 0.01;

export type { DecodedImage, RgbImage } from './jpeg.ts';

export interface DecodeOptions {
  /** Largest image accepted, in pixels; checked before memory is taken. Default 100 million. */
  maxPixels?: number;
  /**
   * Read what arrived of a file that is damaged or cut off, what is missing mid-grey; `complete` and `damage` of the result
   * tell. A file of which nothing arrived stays an error. Default false: any damage is an error.
   */
  tolerant?: boolean;
}

/**
 * Decodes a JPEG or PNG file.
 * @param bytes the whole file. @param name what an error calls it, usually its path.
 * @returns width and height in pixels, `data` as bytes [height, width, 3], RGB; with `tolerant` also the share that arrived.
 * @throws DataError naming the file when it is neither format, damaged, cut off, too large, or of an unsupported kind.
 */
export function decodeImage(bytes: Uint8Array, name: string, options: DecodeOptions = {}): DecodedImage {
  const { maxPixels = 100e6, tolerant = false } = options;
  const kind = pictureKind(bytes);
  if (kind === 'jpeg') return decodeJpeg(bytes, name, maxPixels, tolerant);
  if (kind === 'png') return decodePng(bytes, name, maxPixels, tolerant);
  const start = [...bytes.subarray(0, 8)].map((b) => b.toString(16).padStart(2, '0')).join(' ');
  const what = bytes.length === 0 ? 'the file is empty' : `neither JPEG nor PNG (first bytes ${start})${guess(bytes)}`;
  throw new DataError(`${name}: ${what}\nconvert it to JPEG or PNG, or remove it from the data`);
}

function guess(bytes: Uint8Array): string {
  const text = String.fromCharCode(...bytes.subarray(0, 16));
  if (text.startsWith('GIF8')) return '; it looks like a GIF';
  if (text.startsWith('BM')) return '; it looks like a BMP';
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return '; it looks like WebP';
  if (/^.{4}ftyp(avif|heic|mif1)/s.test(text)) return '; it looks like HEIC or AVIF';
  if (text.startsWith('II*\0') || text.startsWith('MM\0*')) return '; it looks like a TIFF';
  if (/^\s*<|^version https:/i.test(text)) return '; it looks like text, perhaps a failed download';
  return '';
}

/** A PNG file, or with `tolerant` the rows that arrived of it. */
function decodePng(bytes: Uint8Array, name: string, maxPixels: number, tolerant: boolean): DecodedImage {
  if (!tolerant) return readWholePng(bytes, name, maxPixels);
  try {
    return { ...readWholePng(bytes, name, maxPixels), complete: 1 };
  } catch (error) {
    const rescued = error instanceof DataError ? rescuePng(bytes, name, maxPixels) : undefined;
    if (!rescued) throw error;
    const { width, height, file } = rescued;
    const image = readWholePng(file, name, maxPixels);
    // Memory for the whole picture is worth it from some rows on.
    if (image.height < leastShare * height) throw error;
    const data = new Uint8Array(width * height * 3).fill(128);
    data.set(image.data);
    const damage = (error as DataError).message.slice(name.length + 2).split('\n', 1)[0]!;
    return { width, height, data, complete: image.height / height, damage };
  }
}

function readWholePng(bytes: Uint8Array, name: string, maxPixels: number): RgbImage {
  const fail = (what: string): never => {
    throw new DataError(`${name}: damaged or incomplete PNG: ${what}\nreplace the file, or save it again`);
  };
  if (bytes.length < 33) fail('the file ends in its header');
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (String.fromCharCode(...bytes.subarray(12, 16)) !== 'IHDR') fail('no header');
  const width = header.getUint32(16);
  const height = header.getUint32(20);
  const channels = [1, 0, 3, 1, 2, 0, 4][bytes[25]!] ?? 0;
  if (width === 0 || height === 0) fail('an image without pixels');
  checkPixels(width, height, name, maxPixels);
  // Deflate makes at most 1032 bytes of one.
  if ((width * height * channels * bytes[24]!) / 8 > 1032 * bytes.length) fail('fewer pixels than its header says');
  // The reader inflates all that is there. Small files are harmless.
  const room = 64e6 + 2 * height * (1 + width * channels * 2);
  if (bytes.length * 1032 > room && inflatesBeyond(bytes, room)) fail('far more image data than its header says');
  const plain = pixelChunks(bytes) ?? fail('chunks that are cut off, damaged or there twice');
  let png: DecodedPng | undefined;
  try {
    png = readPng(plain, { checkCrc: true });
  } catch (e) {
    fail(e instanceof Error ? e.message : String(e));
  }
  const { data, depth, palette } = png!;
  const perRow = depth < 8 ? Math.ceil((width * depth) / 8) : width * channels;
  if (png!.channels !== channels || data.length !== perRow * height) fail('fewer pixels than its header says');
  const out = new Uint8Array(width * height * 3);
  const indexed = bytes[25] === 3;
  if (indexed && !palette) fail('no palette');
  // one sample per pixel: grey or palette index, packed when below 8 bits
  if (channels <= 2) {
    const most = 2 ** depth - 1;
    for (let y = 0, o = 0; y < height; y++) {
      for (let x = 0; x < width; x++, o += 3) {
        let v: number;
        if (depth < 8) {
          const bit = x * depth;
          v = (data[y * perRow + (bit >> 3)]! >> (8 - depth - (bit & 7))) & most;
        } else v = data[y * perRow + x * channels]!;
        if (indexed) {
          const colour = palette![v] ?? fail(`palette colour ${v} of ${palette!.length}`);
          for (let c = 0; c < 3; c++) out[o + c] = colour[c]!;
        } else out.fill(Math.floor((v * 255) / most + 0.5), o, o + 3);
      }
    }
    return { width, height, data: out };
  }
  for (let i = 0, o = 0; i < data.length; i += channels, o += 3) {
    for (let c = 0; c < 3; c++) out[o + c] = depth === 16 ? Math.floor(data[i + c]! / 257 + 0.5) : data[i + c]!;
  }
  return { width, height, data: out };
}
