/**
 * What every face detector gives, and how pictures come to it.
 *
 * The one idea: boxes and points are in pixels of the picture that was passed, whatever size the network saw.
 */
import { ShapeError } from '../core/errors.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { resize } from '../image/resize.ts';

/** A face that was found. */
export interface Detection {
  /** x0, y0, x1, y1 in pixels of the picture; it may reach beyond the edges. */
  readonly box: readonly [number, number, number, number];
  /** 0 to 1. */
  readonly score: number;
  /** Left eye, right eye, nose, left and right corner of the mouth as seen in the picture (x0, y0 … x4, y4), as `alignFace` takes them. */
  readonly points?: readonly number[];
}

/** Pixels row by row, RGB (3 bytes) or RGBA (4 bytes, alpha unused): a canvas's ImageData fits. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

export interface Detector {
  /** Name of the family: retinaface, mtcnn, ultraface. */
  readonly kind: string;
  /** Its settings, defaults included. */
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * The faces of a picture, the surest first. Calls may overlap: they queue.
   * @throws ShapeError where size and bytes disagree
   */
  detect(picture: Picture): Promise<Detection[]>;
  /** Frees the memory of its networks, and the device if the detector opened it. */
  dispose(): Promise<void>;
}

/** A picture as RGB bytes. */
export function rgbOf({ width, height, data }: Picture): RgbImage {
  const area = width * height;
  const whole = Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0;
  if (!whole || (data.length !== 3 * area && data.length !== 4 * area))
    throw new ShapeError(
      `detect: expected RGB or RGBA pixels, got ${data.length} bytes for ${width}x${height}\nPass 3 or 4 bytes a pixel.`,
    );
  if (data.length === 3 * area)
    return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  const rgb = new Uint8Array(3 * area);
  for (let i = 0, o = 0; o < rgb.length; i += 4, o += 3) {
    rgb[o] = data[i]!;
    rgb[o + 1] = data[i + 1]!;
    rgb[o + 2] = data[i + 2]!;
  }
  return { width, height, data: rgb };
}

/** A picture in the size that a network sees, and the factors back to its own pixels. */
export interface Seen {
  readonly image: RgbImage;
  readonly factors: readonly [x: number, y: number];
}

/** The picture with a longer side of at most `most` pixels; each side is rounded, so the factors differ a little. */
export function atMost(image: RgbImage, most: number): Seen {
  const scale = Math.min(1, most / Math.max(image.width, image.height));
  const size = (n: number) => Math.max(1, Math.round(n * scale));
  return atSize(image, size(image.width), size(image.height));
}

/** The picture in just this size. */
export const atSize = (image: RgbImage, width: number, height: number): Seen => ({
  image: resize(image, width, height, 'area'),
  factors: [image.width / width, image.height / height],
});

/** A picture at the top left of a larger canvas of one colour. */
function onCanvas(image: RgbImage, width: number, height: number, colour: readonly number[]): RgbImage {
  if (image.width === width && image.height === height) return image;
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) data[i] = colour[i % 3]!;
  const row = 3 * image.width;
  for (let y = 0; y < image.height; y++) data.set(image.data.subarray(y * row, (y + 1) * row), 3 * y * width);
  return { width, height, data };
}

/** The picture at the top left of a canvas, as large as fits; what is left has the colour. */
export function within(image: RgbImage, width: number, height: number, colour: readonly number[]): Seen {
  const scale = Math.min(width / image.width, height / image.height);
  const size = (n: number, most: number) => Math.min(most, Math.max(1, Math.round(n * scale)));
  const small = atSize(image, size(image.width, width), size(image.height, height));
  return { ...small, image: onCanvas(small.image, width, height, colour) };
}

/** The picture with sides that are multiples of a number: the rest, at the right and the bottom, has the colour. */
export function toMultiple({ image, factors }: Seen, of: number, colour: readonly number[]): Seen {
  const up = (n: number) => of * Math.ceil(n / of);
  return { image: onCanvas(image, up(image.width), up(image.height), colour), factors };
}

/** A detection of the picture that the network saw, in pixels of the one that was passed. */
export const backTo = ({ box, score, points }: Detection, [fx, fy]: Seen['factors']): Detection => ({
  box: [box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy],
  score,
  ...(points && { points: points.map((v, i) => v * (i % 2 ? fy : fx)) }),
});
