/**
 * RGB pixels to image files: PNG (lossless) by fast-png, JPEG (4:4:4 baseline) by jpeg-js.
 */
import { encode as writePng } from 'fast-png';
import jpegJs from 'jpeg-js';
import { ShapeError, UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';

function check(op: string, { width, height, data }: RgbImage): void {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new ShapeError(
      `${op}: width and height must be whole and positive, got ${width}x${height}\npass both in pixels`,
    );
  }
  if (data.length !== width * height * 3) {
    throw new ShapeError(
      `${op}: ${width}x${height} RGB pixels are ${width * height * 3} bytes, got ${data.length}\npass RGB bytes [height, width, 3]`,
    );
  }
}

/** A PNG file of RGB bytes [height, width, 3]. Throws ShapeError when the length does not fit. */
export function encodePng(image: RgbImage): Uint8Array {
  check('encodePng', image);
  return writePng({ width: image.width, height: image.height, data: image.data, depth: 8, channels: 3 });
}

/** A JPEG file of RGB bytes [height, width, 3]; `quality` 1 to 100, default 95. */
export function encodeJpeg(image: RgbImage, quality = 95): Uint8Array {
  check('encodeJpeg', image);
  if (!(quality >= 1 && quality <= 100)) {
    throw new UsageError(`encodeJpeg: quality must be 1 to 100, got ${quality}\npass a number in that range`);
  }
  const { width, height, data } = image;
  const rgba = new Uint8Array(width * height * 4);
  for (let i = 0, o = 0; i < data.length; i += 3, o += 4) {
    rgba[o] = data[i]!;
    rgba[o + 1] = data[i + 1]!;
    rgba[o + 2] = data[i + 2]!;
    rgba[o + 3] = 255;
  }
  return new Uint8Array(jpegJs.encode({ width, height, data: rgba }, quality).data);
}
