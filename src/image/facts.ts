/**
 * What the header of a picture file says of it, without decoding: ITU T.81 frame headers, PNG's IHDR, EXIF 2.3 orientation.
 */
import { DataError } from '../core/errors.ts';
import { type PictureKind, pictureKind } from './pictureKind.ts';

export interface PictureFacts {
  readonly format: PictureKind;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Colour channels as stored, alpha among them: 1 is grey, 4 RGB with alpha or CMYK. Palettes count as 3. */
  readonly channels: number;
  /** Bits of a sample. */
  readonly bits: number;
  /** Whether it is stored in passes: a progressive JPEG, an interlaced PNG. */
  readonly progressive: boolean;
  /** Of a JPEG in colour: 4:4:4, 4:2:0 …, otherwise the factors of luma over chroma. */
  readonly subsampling?: string;
  /** EXIF orientation, 2 to 8 where the picture is to be turned or mirrored; it is not applied in decoding. */
  readonly orientation?: number;
}

const samplings: Readonly<Record<string, string>> = {
  '1x1': '4:4:4',
  '2x1': '4:2:2',
  '2x2': '4:2:0',
  '1x2': '4:4:0',
  '4x1': '4:1:1',
};

/**
 * Reads the header of a JPEG or PNG file.
 * @param bytes the file, or its beginning as far as the header
 * @throws DataError naming the file when it is neither, or ends in its header
 */
export function pictureFacts(bytes: Uint8Array, name: string): PictureFacts {
  const fail = (what: string): never => {
    throw new DataError(`${name}: ${what}\nreplace the file, or remove it from the data`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = pictureKind(bytes);
  if (kind === 'png' && bytes.length >= 33 && view.getUint32(12) === 0x49484452)
    return {
      format: 'png',
      width: view.getUint32(16),
      height: view.getUint32(20),
      channels: [1, 0, 3, 3, 2, 0, 4][bytes[25]!] ?? 0,
      bits: bytes[24]!,
      progressive: bytes[28] === 1,
    };
  if (kind !== 'jpeg') fail('expected a JPEG or PNG file');
  let orientation = 1;
  for (let p = 2; ; ) {
    while (p < bytes.length && bytes[p] !== 0xff) p++;
    while (p < bytes.length && bytes[p] === 0xff) p++;
    const marker = bytes[p++];
    if (marker === 0 || marker === 1 || (marker !== undefined && marker >= 0xd0 && marker <= 0xd8)) continue;
    if (p + 2 > bytes.length || marker === 0xd9 || marker === 0xda) fail('the JPEG file ends before its frame header');
    const end = p + view.getUint16(p);
    if (end < p + 2 || end > bytes.length) fail('the JPEG file ends in its header');
    // SOF0 to SOF15, without DHT, JPG and DAC which lie between
    if (marker! >= 0xc0 && marker! <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker!)) {
      const channels = bytes[p + 7]!;
      if (end - p < 8 || end - p < 8 + 3 * channels || channels === 0) fail('a damaged JPEG frame header');
      const [luma, chroma] = [bytes[p + 9]!, bytes[p + 12]!];
      const factors = `${(luma >> 4) / (chroma >> 4)}x${(luma & 15) / (chroma & 15)}`;
      return {
        format: 'jpeg',
        width: view.getUint16(p + 5),
        height: view.getUint16(p + 3),
        channels,
        bits: bytes[p + 2]!,
        progressive: (marker! & 3) === 2,
        ...(channels === 3 && { subsampling: samplings[factors] ?? factors }),
        ...(orientation > 1 && { orientation }),
      };
    }
    if (marker === 0xe1) orientation = orientationIn(bytes.subarray(p + 2, end)) ?? orientation;
    p = end;
  }
}

/** The orientation in an EXIF segment: tag 0x0112 of the first directory. */
function orientationIn(segment: Uint8Array): number | undefined {
  if (segment.length < 14 || String.fromCharCode(...segment.subarray(0, 6)) !== 'Exif\0\0') return undefined;
  const tiff = new DataView(segment.buffer, segment.byteOffset + 6, segment.length - 6);
  const little = tiff.getUint16(0) === 0x4949;
  const at = tiff.getUint32(4, little);
  if (at + 2 > tiff.byteLength) return undefined;
  const entries = tiff.getUint16(at, little);
  for (let e = at + 2; e < at + 2 + 12 * entries && e + 12 <= tiff.byteLength; e += 12) {
    if (tiff.getUint16(e, little) !== 0x0112) continue;
    const value = tiff.getUint16(e + 8, little);
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}
