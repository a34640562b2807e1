/**
 * Does a picture look like an aligned face crop? Networks fed with anything else answer with confidence and wrongly, the
 * most frequent mishap of the field; this says so before hours are spent.
 *
 * The one idea: a drawing of a face in a dozen soft spots (dark eyes, brows, mouth, under the nose; bright cheeks, bridge,
 * forehead), placed by hand, is correlated with the locally normalised grey picture: once about the template, allowing
 * for pose, and once where a misaligned face would be: shifted, smaller, larger, turned, upside down. An aligned crop
 * fits at the template about as well as anywhere else. Drawing, places, factors and limits are a handful of round numbers set
 * by hand; they were adjusted on the pictures of the figures below, which therefore flatter a little.
 *
 * Measured: aligned crops taken for misaligned: 1.0 % of 2,320 (LFW), 1.8 % of 5,863 (CelebA). Misaligned ones found, of 20
 * LFW photographs: shrunk whole 90 %; cropped 20 pixels off 95 %, 1.5 times too large 80 %, 0.6 times 90 %, turned by 30
 * degrees 80 %, by 45 95 %, upside down 85 %. Made of finished crops: enlarged 1.5 times about their middle 26 to 39 %,
 * turned by 30 degrees 71 %; noise 93 %. Small slips (10 pixels 21 %, 1.25 times 5 %, 15 degrees 0 %) mostly pass. The pictures
 * of `datasets/synthetic` show whole heads, not crops at the template, and 71 % of them are found. A set is far surer: see
 * `looksAlignedSet`.
 */
import { UsageError } from '../core/errors.ts';
import { type CropSize, faceTemplate } from './align.ts';
import type { RgbImage } from './jpeg.ts';
import { resize } from './resize.ts';

/** What the check says of one picture. */
export interface AlignedCheck {
  /** Whether it looks like an aligned crop: score >= 0. */
  readonly aligned: boolean;
  /** From about -1 to 0.5; below 0 the picture looks misaligned. */
  readonly score: number;
  /** What is wrong, for a warning; absent when aligned. */
  readonly why?: string;
}

/** Soft spots of the drawing: x, y, spread in x and y (pixels of the 112x112 crop), brightness. */
const spots = [
  [39, 51.5, 8, 5, -1.1],
  [73, 51.5, 8, 5, -1.1],
  [40, 45, 9, 4, -0.4],
  [72, 45, 9, 4, -0.4],
  [34, 66, 9, 7, 0.7],
  [78, 66, 9, 7, 0.7],
  [56, 56, 4, 13, 0.7],
  [56, 77, 9, 3.5, -0.55],
  [56, 90, 12, 4.5, -0.65],
  [56, 32, 18, 8, 0.4],
  [56, 106, 10, 4, 0.3],
] as const;

/** Best fit at the template less best fit elsewhere, where aligned ends: below it are 2 % of CelebA's aligned crops. */
const mark = -0.16;
/** Least fit at the template: most noise stays below it, hardly any aligned crop. */
const least = 0.26;
/** Cells about a cell that its light is compared with, for a drawing of up to its right size and for a large one. */
const radii = [8, 12];
/** The score of what cannot be a crop at all. */
const worst = -1;

const bump = (dx: number, dy: number, sx: number, sy: number): number =>
  Math.exp(-0.5 * ((dx / sx) ** 2 + (dy / sy) ** 2));

/** Points of the drawing, 5 pixels apart in an oval: x, y and brightness. */
const points: { x: number; y: number; v: number }[] = [];
for (let y = 16; y <= 110; y += 5)
  for (let x = 16; x <= 96; x += 5) {
    if (((x - 56) / 38) ** 2 + ((y - 64) / 42) ** 2 > 1) continue;
    const v = spots.reduce((sum, [sx, sy, wide, high, light]) => sum + light * bump(x - sx, y - sy, wide, high), 0);
    points.push({ x, y, v });
  }

/** The drawing laid over a crop: cell of each point that lies inside, and its brightness with mean 0 and length 1. */
interface Placement {
  readonly cells: Int16Array;
  readonly values: Float32Array;
  /** Factor of the fit: below 1 where much of the drawing lies outside. */
  readonly trust: number;
  /** Which of `radii` suits its scale. */
  readonly window: 0 | 1;
  /** Undefined about the template; else how a face would lie that fits here. */
  readonly what?: string;
}

/** Cells of 2x2 pixels of the 112x112 crop; `left` cells are added (or taken) on each side in another frame. */
interface Frame {
  readonly width: number;
  readonly height: number;
  readonly placements: readonly Placement[];
}

function placementsOf(width: number, height: number, left: number, top: number): Placement[] {
  const all: Placement[] = [];
  const place = (dx: number, dy: number, scale: number, degrees: number, yaw: number, what?: string): void => {
    const cos = scale * Math.cos((degrees * Math.PI) / 180);
    const sin = scale * Math.sin((degrees * Math.PI) / 180);
    const cells: number[] = [];
    const values: number[] = [];
    for (const { x, y, v } of points) {
      // a turned head moves its nose and mouth sideways
      const px = x + yaw * bump(x - 56, y - 75, 18, 20) - 56;
      const py = y - 66;
      const cx = Math.floor((56 + dx + cos * px - sin * py) / 2 + left);
      const cy = Math.floor((66 + dy + sin * px + cos * py) / 2 + top);
      if (cx < 0 || cy < 0 || cx >= width || cy >= height) continue;
      cells.push(cy * width + cx);
      values.push(v);
    }
    const share = values.length / points.length;
    if (share < 0.5) return;
    const mean = values.reduce((s, v) => s + v, 0) / values.length;
    const length = Math.hypot(...values.map((v) => v - mean));
    // Fewer cells under a small drawing fit more by chance.
    all.push({
      cells: Int16Array.from(cells),
      values: Float32Array.from(values, (v) => (v - mean) / length),
      trust: Math.min(1, share + 0.25) * (scale < 0.8 ? 0.85 : scale > 1.2 || degrees === 180 ? 1.1 : 1),
      window: scale > 1.2 ? 1 : 0,
      ...(what && { what }),
    });
  };
  const spread = (
    step: number,
    most: number,
    least: number,
    scale: number,
    degrees: number,
    say: (dx: number, dy: number) => string,
  ) => {
    for (let dx = -most; dx <= most; dx += step)
      for (let dy = -most; dy <= most; dy += step)
        if (Math.hypot(dx, dy) >= least) place(dx, dy, scale, degrees, 0, say(dx, dy));
  };
  for (const degrees of [0, -10, 10])
    for (const scale of [0.92, 1.05])
      for (let dx = -4; dx <= 4; dx += 4)
        for (let dy = -4; dy <= 4; dy += 4) for (const yaw of [-7, 0, 7]) place(dx, dy, scale, degrees, yaw);
  const side = (v: number, less: string, more: string) =>
    Math.abs(v) < 6 ? [] : [`${Math.abs(v)} pixels too far ${v < 0 ? less : more}`];
  const shifted = (dx: number, dy: number) => [...side(dx, 'left', 'right'), ...side(dy, 'up', 'down')].join(' and ');
  spread(6, 36, 13, 1, 0, shifted);
  for (const scale of [0.5, 0.62, 0.75]) spread(6, 24, 0, scale, 0, () => 'too small');
  for (const scale of [1.3, 1.5, 1.8]) spread(8, 16, 0, scale, 0, () => 'too large');
  for (const scale of [0.8, 1]) for (const a of [-25, 25]) spread(6, 12, 0, scale, a, () => 'turned in the picture');
  for (const a of [-50, 50, -90, 90]) spread(6, 12, 0, 1, a, () => 'turned in the picture');
  spread(6, 18, 0, 1, 180, () => 'upside down');
  return all;
}

const frames = new Map<string, Frame>();

/** The cells that a crop of this size has, and the drawing's places in them. */
function frameOf(size: CropSize): Frame {
  const eyes = faceTemplate(size);
  const unit = (eyes[2]! - eyes[0]!) / (73.5318 - 38.2946);
  const left = Math.round((eyes[0]! / unit - 38.2946) / 2);
  const width = Math.round(size[1] / unit / 2);
  const height = Math.round(size[0] / unit / 2);
  const key = `${width}x${height}`;
  const known = frames.get(key) ?? { width, height, placements: placementsOf(width, height, left, 0) };
  frames.set(key, known);
  return known;
}

/** Sums of grey and of its square over all cells above and to the left of each. */
interface Sums {
  readonly sums: Float64Array;
  readonly squares: Float64Array;
}

function sumsOf(image: RgbImage, { width, height }: Frame): Sums {
  const { data } = resize(image, width, height, 'area');
  const row = width + 1;
  const sums = new Float64Array(row * (height + 1));
  const squares = new Float64Array(row * (height + 1));
  for (let y = 0, i = 0, o = row + 1; y < height; y++, o++) {
    let sum = 0;
    let square = 0;
    for (let x = 0; x < width; x++, i += 3, o++) {
      const v = (data[i]! + 2 * data[i + 1]! + data[i + 2]!) / 4;
      sum += v;
      square += v * v;
      sums[o] = sums[o - row]! + sum;
      squares[o] = squares[o - row]! + square;
    }
  }
  return { sums, squares };
}

/** Grey less the mean of the cells up to `radius` away, over their deviation: light and contrast no longer count. */
function normalised({ sums, squares }: Sums, { width, height }: Frame, radius: number): Float32Array {
  const row = width + 1;
  const out = new Float32Array(width * height);
  for (let y = 0, o = 0; y < height; y++) {
    const y0 = Math.max(0, y - radius) * row;
    const y1 = Math.min(height, y + radius + 1) * row;
    const near0 = Math.max(0, y - 1) * row;
    const near1 = Math.min(height, y + 2) * row;
    for (let x = 0; x < width; x++, o++) {
      const x0 = Math.max(0, x - radius);
      const x1 = Math.min(width, x + radius + 1);
      const n = ((y1 - y0) / row) * (x1 - x0);
      const m = (sums[y1 + x1]! - sums[y0 + x1]! - sums[y1 + x0]! + sums[y0 + x0]!) / n;
      const s = (squares[y1 + x1]! - squares[y0 + x1]! - squares[y1 + x0]! + squares[y0 + x0]!) / n;
      const a = Math.max(0, x - 1);
      const b = Math.min(width, x + 2);
      const here = sums[near1 + b]! - sums[near0 + b]! - sums[near1 + a]! + sums[near0 + a]!;
      out[o] = (here / (((near1 - near0) / row) * (b - a)) - m) / (Math.sqrt(Math.max(0, s - m * m)) + 4);
    }
  }
  return out;
}

/** Correlation of the drawing at a place with the picture, from -1 to 1. */
function correlation(grey: Float32Array, { cells, values, trust }: Placement): number {
  const n = cells.length;
  let sum = 0;
  let square = 0;
  let product = 0;
  for (let i = 0; i < n; i++) {
    const v = grey[cells[i]!]!;
    sum += v;
    square += v * v;
    product += v * values[i]!;
  }
  return (trust * product) / Math.sqrt(square - (sum * sum) / n + 1e-9);
}

/**
 * Whether a picture looks like a face crop aligned to `faceTemplate(size)`.
 * @param size what the crop is taken for, [height, width]; by default its own size. The picture may be a scaled copy.
 */
export function looksAligned(image: RgbImage, size: CropSize = [image.height, image.width]): AlignedCheck {
  const not = (why: string, score = worst): AlignedCheck => ({ aligned: false, score, why });
  const [height, width] = size;
  const is = `${image.width}x${image.height} pixels`;
  if (Math.min(image.width, image.height) < 32) return not(`it has only ${is}`);
  if (Math.abs(image.width / image.height - width / height) > 0.02)
    return not(`its shape, ${is}, is not that of a crop`);
  let frame: Frame;
  try {
    frame = frameOf(size);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return not(`its shape, ${is}, is not that of a crop`);
  }
  const sums = sumsOf(image, frame);
  const cells = frame.width * frame.height;
  const mean = sums.sums.at(-1)! / cells;
  if (sums.squares.at(-1)! / cells - mean * mean < 4) return not('it is of one colour');
  const greys = radii.map((radius) => normalised(sums, frame, radius));
  let here = -1;
  let away = -1;
  let how = '';
  for (const p of frame.placements) {
    const s = correlation(greys[p.window]!, p);
    if (p.what === undefined) here = Math.max(here, s);
    else if (s > away) {
      away = s;
      how = p.what;
    }
  }
  const score = Math.min(here - away - mark, here - least);
  if (score >= 0) return { aligned: true, score };
  // On photographs the guess is right two times in three.
  const guess = away < 0.45 ? '' : `; it may be ${how}`;
  return not(`no face is seen where it should be${guess}`, score);
}

/** Pictures that are plenty to judge a set by. */
export const enoughPictures = 64;

/** What the check says of a set, from the scores of a sample of its pictures (64 are plenty). */
export interface AlignedSetCheck {
  /** False where more than 15 % of the pictures, and more than one, look misaligned. */
  readonly aligned: boolean;
  /** How many of the pictures look misaligned, from 0 to 1. */
  readonly share: number;
  /** What is wrong, for a warning; absent when aligned. */
  readonly why?: string;
}

/**
 * Whether a set looks aligned, from the `score` of each picture looked at. Of 600 random samples of 64 aligned LFW or
 * CelebA crops none was doubted; every sample of crops moved by 20 pixels, made 0.6 times as large, turned by 30 degrees or more, or
 * upside down was.
 */
export function looksAlignedSet(scores: ArrayLike<number>): AlignedSetCheck {
  const low = Array.from(scores).filter((s) => !(s >= 0)).length;
  const share = scores.length === 0 ? 0 : low / scores.length;
  if (share <= 0.15 || (low === 1 && scores.length > 1)) return { aligned: true, share };
  const why =
    scores.length === 1
      ? 'the picture looked at does not look like an aligned face crop'
      : `${low} of the ${scores.length} pictures looked at do not look like aligned face crops`;
  return { aligned: false, share, why };
}
