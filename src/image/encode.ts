/**
 * RGB pixels to image files: PNG (lossless) by fast-png, JPEG (baseline) by jpegEncode.ts.
 */
import { encode as writePng } from 'fast-png';
import { ShapeError, UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';
import { type Subsampling, subsamplings, writeJpeg } from './jpegEncode.ts';

export type { Subsampling };

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

export interface JpegOptions {
  /** How much chroma is kept. Default '4:2:0', what OpenCV and Pillow write and data sets hold. */
  readonly subsampling?: Subsampling;
}

/**
 * A JPEG file (baseline) of RGB bytes [height, width, 3], the same bytes as OpenCV and Pillow write with libjpeg-turbo.
 * @param quality whole, 1 to 100; default 95
 * @throws ShapeError where the length does not fit, or a side is over 65500 pixels, libjpeg's limit; UsageError on other values
 * of quality and subsampling
 */
export function encodeJpeg(image: RgbImage, quality = 95, { subsampling = '4:2:0' }: JpegOptions = {}): Uint8Array {
  check('encodeJpeg', image);
  const { width, height } = image;
  if (Math.max(width, height) > 65500) {
    throw new ShapeError(
      `encodeJpeg: a JPEG may have 65500 pixels a side, got ${width}x${height}\nmake the picture smaller, or write a PNG`,
    );
  }
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw new UsageError(`encodeJpeg: quality must be 1 to 100, got ${quality}\npass a whole number in that range`);
  }
  if (!subsamplings.includes(subsampling)) {
    throw new UsageError(
      `encodeJpeg: subsampling must be one of ${subsamplings.join(', ')}, got ${subsampling}\npass one of them`,
    );
  }
  return writeJpeg(image, quality, subsampling);
}
