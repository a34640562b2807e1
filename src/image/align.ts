/**
 * Face alignment: five points of a face to the place where networks expect them.
 *
 * The one idea: the least-squares similarity (rotation, uniform scale, translation; never a reflection) from the points to a
 * template (Umeyama 1991, eq. 34-42), and the picture resampled through it. In two dimensions a similarity is q = a p + b
 * in complex numbers, so the fit is one division.
 *
 * Points are x0, y0, x1, y1 … in pixel-index coordinates (0 = centre of the first pixel): left eye, right eye, nose, left
 * and right corner of the mouth, left and right as seen in the picture. An EXIF rotation is applied neither here nor in
 * decoding: points and pixels are those of the stored picture.
 */
import { DataError, UsageError } from '../core/errors.ts';
import type { RgbImage } from './jpeg.ts';
import { resize } from './resize.ts';

/** Height and width in pixels, as networks give their input size. */
export type CropSize = readonly [height: number, width: number];
/** [a, b, c, d, e, f]: (x, y) goes to (a x + b y + c, d x + e y + f). */
export type Affine = readonly [number, number, number, number, number, number];

/** The 112x112 template of ArcFace (InsightFace's `face_align.py`). */
const arcFace = [38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041];

function checkSize(what: string, [height, width]: CropSize): void {
  for (const side of [height, width])
    if (!Number.isInteger(side) || side < 8 || side > 4096)
      throw new UsageError(
        `${what}: expected a crop of 8 to 4096 whole pixels a side, got ${height}x${width}\nPass [height, width].`,
      );
}

const isNarrow = ([height, width]: CropSize): boolean => 6 * height === 7 * width;

/** Whether the field has a template for crops of this shape: square, or 7:6. */
export const hasTemplate = (size: CropSize): boolean => size[0] === size[1] || isNarrow(size);

/**
 * Where the five points lie in a crop: x0, y0 … x4, y4.
 *
 * - square: ArcFace's 112x112 points times side / 112 (112, 224 as InsightFace; 96, 150, 160 as is usual elsewhere);
 * - square, a multiple of 128 but not of 112: the same face with a wider margin, (x + 8, y) times side / 128 (InsightFace);
 * - height : width = 7 : 6, such as 112x96: (x - 8, y) times height / 112 (SphereFace, CosFace).
 *
 * @throws UsageError for other shapes: the field has no template for them.
 */
export function faceTemplate(size: CropSize): Float64Array {
  checkSize('faceTemplate', size);
  const [height, width] = size;
  const wide = height === width && height % 112 !== 0 && height % 128 === 0;
  const narrow = isNarrow(size);
  if (!hasTemplate(size))
    throw new UsageError(
      `faceTemplate: expected a square crop or one of 7:6 such as 112x96 (height x width), got ${height}x${width}\nUse one of these shapes, or fit your own template with \`similarity\` and \`warpAffine\`.`,
    );
  const unit = height / (wide ? 128 : 112);
  const right = wide ? 8 : narrow ? -8 : 0;
  return Float64Array.from(arcFace, (v, i) => unit * (i % 2 === 0 ? v + right : v));
}

/**
 * A crop of the size wanted, cut out of a larger one that frames the same face with a wider margin: the middle 96 columns of a
 * 112x112 crop, the inner 112x112 of a 128x128 one. Undefined where the two templates differ in more than that.
 */
export function cutCrop(image: RgbImage, size: CropSize): RgbImage | undefined {
  const [height, width] = size;
  const own: CropSize = [image.height, image.width];
  if (![own, size].every((s) => s.every((n) => n >= 8 && n <= 4096) && hasTemplate(s))) return undefined;
  const from = faceTemplate(own);
  const to = faceTemplate(size);
  const [left, top] = [Math.round(from[0]! - to[0]!), Math.round(from[1]! - to[1]!)];
  const shifted = from.every((v, i) => Math.abs(v - to[i]! - (i % 2 ? top : left)) < 1e-9);
  if (!shifted || left < 0 || top < 0 || left + width > image.width || top + height > image.height) return undefined;
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = 3 * ((y + top) * image.width + left);
    data.set(image.data.subarray(row, row + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** The picture as a crop of this size: cut where it is a wider crop of the same face, else scaled. */
export const fitCrop = (image: RgbImage, [height, width]: CropSize): RgbImage =>
  image.width === width && image.height === height
    ? image
    : (cutCrop(image, [height, width]) ?? resize(image, width, height));

/**
 * The similarity that takes `from` nearest to `to` in the sum of squared distances (Umeyama 1991).
 * @param from x0, y0, x1, y1 … of two or more points; `to` as many.
 * @throws UsageError when the counts do not fit; DataError when a number is not finite or the points fix no similarity (all
 * in one place, or as near to the target's mirror image as to the target).
 */
export function similarity(from: ArrayLike<number>, to: ArrayLike<number>): Affine {
  const n = from.length / 2;
  if (from.length !== to.length || !Number.isInteger(n) || n < 2)
    throw new UsageError(
      `similarity: expected as many points on both sides, two or more of x, y, got ${from.length} and ${to.length} numbers\nPass x0, y0, x1, y1 … on both sides.`,
    );
  let fx = 0;
  let fy = 0;
  let tx = 0;
  let ty = 0;
  for (let i = 0; i < n; i++) {
    fx += from[2 * i]! / n;
    fy += from[2 * i + 1]! / n;
    tx += to[2 * i]! / n;
    ty += to[2 * i + 1]! / n;
  }
  // sums of |p|^2, |q|^2 and conj(p) q about the means
  let pp = 0;
  let qq = 0;
  let re = 0;
  let im = 0;
  for (let i = 0; i < n; i++) {
    const px = from[2 * i]! - fx;
    const py = from[2 * i + 1]! - fy;
    const qx = to[2 * i]! - tx;
    const qy = to[2 * i + 1]! - ty;
    pp += px * px + py * py;
    qq += qx * qx + qy * qy;
    re += px * qx + py * qy;
    im += px * qy - py * qx;
  }
  const bad = (what: string): never => {
    const shown = Array.from({ length: Math.min(n, 8) }, (_, i) => `(${from[2 * i]}, ${from[2 * i + 1]})`).join(' ');
    throw new DataError(`similarity: ${what}: ${shown}\nCorrect the points, or leave this face out.`);
  };
  const finite = [pp, qq, re, im, fx, fy, tx, ty].every(Number.isFinite);
  if (!finite) bad('expected finite coordinates');
  // The means carry rounding errors of their size, so nothing below them is a distance.
  const noise = 1e-20 * n;
  if (pp <= noise * (1 + fx * fx + fy * fy)) bad('expected points apart, got all in one place');
  if (qq <= noise * (1 + tx * tx + ty * ty)) bad('expected target points apart, got all in one place');
  if (re * re + im * im <= 1e-20 * pp * qq) bad('expected points that fix a rotation');
  const c = re / pp;
  const s = im / pp;
  return [c, -s, tx - c * fx + s * fy, s, c, ty - s * fx - c * fy];
}

/**
 * The picture resampled through an affine map: exact bilinear, black outside of the picture. A map that shrinks much
 * aliases, as it does in the tools that made the field's crops; networks know it so.
 * @param matrix from the picture's pixel indices to the result's.
 * @param width of the result, like `height` in pixels.
 * @throws UsageError for a size that is not whole and positive, or a matrix that cannot be inverted.
 */
export function warpAffine(image: RgbImage, matrix: Affine, width: number, height: number): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1 || width * height > 2 ** 28)
    throw new UsageError(
      `warpAffine: expected a whole, positive size, got ${width}x${height}\nPass width and height in pixels.`,
    );
  const [a, b, c, d, e, f] = matrix;
  const det = a * e - b * d;
  if (![c, f, 1 / det].every(Number.isFinite))
    throw new UsageError(
      `warpAffine: expected a finite matrix that can be inverted, got ${matrix.join(', ')}\nPass [a, b, c, d, e, f] as \`similarity\` gives it.`,
    );
  // the inverse: where pixel (x, y) of the result comes from
  const ax = e / det;
  const bx = -b / det;
  const ay = -d / det;
  const by = a / det;
  const cx = -(ax * c + bx * f);
  const cy = -(ay * c + by * f);
  const { width: w, height: h, data: from } = image;
  const row = 3 * w;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++, o += 3) {
      const sx = ax * x + bx * y + cx;
      const sy = ay * x + by * y + cy;
      if (!(sx > -1 && sy > -1 && sx < w && sy < h)) continue;
      const ix = Math.floor(sx);
      const iy = Math.floor(sy);
      const rx = sx - ix;
      const ry = sy - iy;
      // What lies outside has the weight of black, so its pixel may be any: the nearest inside.
      const left = ix < 0 ? 0 : 1 - rx;
      const right = ix + 1 >= w ? 0 : rx;
      const up = iy < 0 ? 0 : 1 - ry;
      const down = iy + 1 >= h ? 0 : ry;
      const x0 = ix < 0 ? 0 : 3 * ix;
      const x1 = ix + 1 >= w ? x0 : 3 * (ix + 1);
      const y0 = iy < 0 ? 0 : row * iy;
      const y1 = iy + 1 >= h ? y0 : row * (iy + 1);
      const w00 = left * up;
      const w01 = right * up;
      const w10 = left * down;
      const w11 = right * down;
      for (let k = 0; k < 3; k++)
        data[o + k] =
          w00 * from[y0 + x0 + k]! +
          w01 * from[y0 + x1 + k]! +
          w10 * from[y1 + x0 + k]! +
          w11 * from[y1 + x1 + k]! +
          0.5;
    }
  }
  return { width, height, data };
}

/**
 * The aligned crop of a face: what data preparation, detection and embedding all use.
 * @param points five points of the face in the picture (order and coordinates: see above), ten numbers.
 * @param size of the crop, [112, 112] unless told; the template is `faceTemplate(size)`.
 * @throws UsageError for a wrong count or size; DataError for points that are not finite, fix no similarity, or lie outside
 * of the picture (points of another size of it).
 */
export function alignFace(image: RgbImage, points: ArrayLike<number>, size: CropSize = [112, 112]): RgbImage {
  if (points.length !== 10)
    throw new UsageError(
      `alignFace: expected five points (10 numbers), got ${points.length} numbers\nPass left eye, right eye, nose, left and right corner of the mouth as x0, y0, x1, y1 …`,
    );
  const matrix = similarity(points, faceTemplate(size));
  let x = 0;
  let y = 0;
  for (let i = 0; i < 10; i += 2) {
    x += points[i]! / 5;
    y += points[i + 1]! / 5;
  }
  if (x < 0 || y < 0 || x > image.width - 1 || y > image.height - 1)
    throw new DataError(
      `alignFace: expected points inside of the picture, got points about (${x.toFixed(1)}, ${y.toFixed(1)}) in ${image.width}x${image.height} pixels\nThey may belong to the picture at another size; scale them, or use the original.`,
    );
  return warpAffine(image, matrix, size[1], size[0]);
}

/** The rectangle of whole pixels from (x0, y0) up to (x1, y1), resized. */
function cut(image: RgbImage, x0: number, y0: number, x1: number, y1: number, [height, width]: CropSize): RgbImage {
  const w = x1 - x0;
  const data = new Uint8Array(w * (y1 - y0) * 3);
  for (let y = y0; y < y1; y++) {
    const at = (y * image.width + x0) * 3;
    data.set(image.data.subarray(at, at + w * 3), (y - y0) * w * 3);
  }
  return resize({ width: w, height: y1 - y0, data }, width, height);
}

/**
 * For a picture without points or box: its middle, resized. A makeshift: networks expect `alignFace`.
 * @param margin what is cut off on each side, as a share of that side's length; 0.0625 as in InsightFace, which goes on to
 * widen this box as `cropBox` does (in a picture of up to 352 pixels that gives the whole picture again).
 */
export function centralCrop(image: RgbImage, size: CropSize, margin = 0.0625): RgbImage {
  checkSize('centralCrop', size);
  if (!(margin >= 0 && margin < 0.5))
    throw new UsageError(
      `centralCrop: expected a margin from 0 to below 0.5, got ${margin}\nPass the share cut off on each side.`,
    );
  const x = Math.floor(image.width * margin);
  const y = Math.floor(image.height * margin);
  return cut(image, x, y, image.width - x, image.height - y, size);
}

/**
 * For a face known by its box alone: the box widened by half of `margin` pixels on each side (44 as in InsightFace and
 * facenet), cut at the picture's edges and to whole pixels, resized. A makeshift: networks expect `alignFace`.
 * @param box x1, y1, x2, y2 in pixels. @throws DataError when nothing of the box lies in the picture.
 */
export function cropBox(image: RgbImage, box: ArrayLike<number>, size: CropSize, margin = 44): RgbImage {
  checkSize('cropBox', size);
  if (box.length !== 4 || !(margin >= 0))
    throw new UsageError(
      `cropBox: expected x1, y1, x2, y2 and a margin from 0 on, got ${box.length} numbers and ${margin}\nPass the box in pixels.`,
    );
  const half = margin / 2;
  const x0 = Math.trunc(Math.max(box[0]! - half, 0));
  const y0 = Math.trunc(Math.max(box[1]! - half, 0));
  const x1 = Math.trunc(Math.min(box[2]! + half, image.width));
  const y1 = Math.trunc(Math.min(box[3]! + half, image.height));
  if (!(x1 > x0 && y1 > y0))
    throw new DataError(
      `cropBox: expected a box inside of the ${image.width}x${image.height} picture, got ${Array.from(box).join(', ')}\nCorrect the box, or leave this face out.`,
    );
  return cut(image, x0, y0, x1, y1, size);
}
