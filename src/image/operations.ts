/**
 * What augmentation can do to a picture: the operations, in the order in which they are applied: geometry, colour, loss
 * of detail, noise, covered areas.
 *
 * The one idea: an operation is a record. `amount` turns a strength and a uniform draw into an exact amount, `apply`
 * does that amount; so training draws amounts, and a preview shows chosen ones. Draws: 0 decides whether an operation
 * happens, 1 how much (both in augment.ts), 2 and 3 where.
 */
import { fold, type Key, uniformAt } from '../core/random.ts';
import * as filters from './filters.ts';
import type { RgbImage } from './jpeg.ts';
import { resize } from './resize.ts';

/** One operation of the table: what a strength means, and what it does. */
export interface Operation {
  readonly means: string;
  /** Smallest and largest strength. */
  readonly range: readonly [least: number, most: number];
  /** Strengths are whole numbers. */
  readonly whole?: true;
  /** How often it happens where nothing else is said; undefined where the strength is the probability itself. */
  readonly probability?: number;
  /** The amount that a strength and a uniform number in [0, 1) give. */
  amount(strength: number, u: number): number;
  /** Does it by an exact amount; the key draws places and noise. */
  apply(image: RgbImage, amount: number, key: Key): RgbImage;
  /** Amounts for a preview, from little to much. */
  readonly shown: readonly number[];
}

/** A whole number 0 .. n-1. */
const below = (key: Key, draw: number, n: number): number => Math.floor(uniformAt(key, draw) * n);
const upTo = (strength: number, u: number): number => strength * u;
const itself = (strength: number): number => strength;
/** A factor around 1. */
const around = (strength: number, u: number): number => 1 + strength * (2 * u - 1);
/** An odd window side 1, 3 … up to the strength. */
const oddUpTo = (strength: number, u: number): number => 1 + 2 * Math.floor(u * Math.floor((strength + 1) / 2));

/** Part of a larger picture, of the first one's size, at a random place. */
function partOf(larger: RgbImage, { width, height }: RgbImage, key: Key): RgbImage {
  const left = below(key, 2, larger.width - width + 1);
  const top = below(key, 3, larger.height - height + 1);
  return filters.crop(larger, left, top, width, height);
}
/** An eighth of the shorter side: what dropped areas measure. */
const eighth = ({ width, height }: RgbImage): number => Math.max(1, Math.round(Math.min(width, height) / 8));
const cells = (side: number, area: number): number => Math.max(1, Math.round(side / area));

const factor = (means: string, filter: (image: RgbImage, factor: number) => RgbImage): Operation => ({
  means: `${means} by a factor from 1 - x to 1 + x`,
  range: [0, 1],
  probability: 1,
  amount: around,
  apply: filter,
  shown: [0.2, 0.5, 0.8, 1.2, 1.5, 2],
});

const table = {
  flip: {
    means: 'mirror left to right with probability x',
    range: [0, 1],
    amount: () => 1,
    apply: filters.mirror,
    shown: [1],
  },
  crop: {
    means: 'enlarge by x pixels a side, and cut the old size out of it anywhere',
    range: [0, 1024],
    whole: true,
    probability: 1,
    amount: itself,
    apply: (image, x, key) => (x ? partOf(resize(image, image.width + x, image.height + x), image, key) : image),
    shown: [4, 8, 16, 24, 32, 48],
  },
  shift: {
    means: 'add x black pixels on all sides, and cut the old size out of it anywhere',
    range: [0, 1024],
    whole: true,
    probability: 1,
    amount: itself,
    apply: (image, x, key) => partOf(filters.pad(image, { left: x, top: x, right: x, bottom: x }), image, key),
    shown: [2, 4, 8, 12, 16, 24],
  },
  rotate: {
    means: 'turn by -x to x degrees about the centre, black where nothing was',
    range: [0, 180],
    probability: 0.5,
    amount: (strength, u) => strength * (2 * u - 1),
    apply: filters.rotate,
    shown: [-30, -20, -10, 10, 20, 30],
  },
  brightness: factor('brightness', filters.brightness),
  contrast: factor('contrast', filters.contrast),
  saturation: factor('saturation', filters.saturation),
  grey: { means: 'grey with probability x', range: [0, 1], amount: () => 1, apply: filters.grey, shown: [1] },
  sharpen: {
    means: 'sharpen, 0 to x of 1',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x) => filters.sharpen(image, x),
    shown: [0.1, 0.2, 0.3, 0.5, 0.7, 1],
  },
  scale: {
    means: 'make smaller by a factor from x to 1, and large again',
    range: [0.02, 1],
    probability: 0.3,
    amount: (strength, u) => 1 - (1 - strength) * u,
    apply: filters.downUp,
    shown: [0.7, 0.5, 0.35, 0.25, 0.18, 0.12],
  },
  blur: {
    means: 'Gaussian blur of a sigma from 0 to x pixels',
    range: [0, 20],
    probability: 0.3,
    amount: upTo,
    apply: filters.gaussianBlur,
    shown: [0.5, 1, 1.5, 2, 3, 5],
  },
  average: {
    means: 'average blur of a window of 1, 3, 5 … up to x pixels',
    range: [1, 31],
    whole: true,
    probability: 0.3,
    amount: oddUpTo,
    apply: filters.boxBlur,
    shown: [3, 5, 7, 9, 11, 15],
  },
  median: {
    means: 'median of a window of 1, 3, 5 … up to x pixels',
    range: [1, 31],
    whole: true,
    probability: 0.3,
    amount: oddUpTo,
    apply: filters.medianBlur,
    shown: [3, 5, 7, 9, 11, 15],
  },
  open: {
    means: 'morphological opening by a window of 1, 3, 5 … up to x pixels',
    range: [1, 31],
    whole: true,
    probability: 0.3,
    amount: oddUpTo,
    apply: filters.opening,
    shown: [3, 5, 7, 9, 11, 15],
  },
  noise: {
    means: 'Gaussian noise of a deviation from 0 to x, where white is 1',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x, key) => filters.gaussianNoise(image, x * x, fold(key, 'pixels')),
    shown: [0.02, 0.05, 0.1, 0.15, 0.2, 0.3],
  },
  saltPepper: {
    means: 'a share from 0 to x of the samples black or white',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x, key) => filters.saltPepper(image, x, fold(key, 'pixels')),
    shown: [0.01, 0.02, 0.05, 0.1, 0.2, 0.3],
  },
  jpeg: {
    means: 'write as JPEG of a quality from x to 100, and read again',
    range: [1, 100],
    whole: true,
    probability: 0.2,
    amount: (strength, u) => 100 - Math.floor(u * (101 - strength)),
    apply: filters.recompress,
    shown: [80, 50, 30, 20, 10, 5],
  },
  cutout: {
    means: 'a grey square of x pixels a side anywhere, partly outside too',
    range: [0, 1024],
    whole: true,
    probability: 0.5,
    amount: itself,
    apply: (image, x, key) => filters.cutout(image, below(key, 2, image.width), below(key, 3, image.height), x),
    shown: [16, 24, 32, 40, 48, 64],
  },
  dropBlock: {
    means: 'black squares, an eighth of the side each, over a share from 0 to x',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x, key) => filters.blockDropout(image, x, eighth(image), fold(key, 'pixels')),
    shown: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5],
  },
  dropCoarse: {
    means: 'black cells of a grid of eighths of the side, a share from 0 to x',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x, key) => {
      const area = eighth(image);
      const grid = [cells(image.width, area), cells(image.height, area)] as const;
      return filters.coarseDropout(image, x, grid, fold(key, 'pixels'));
    },
    shown: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5],
  },
  dropPixels: {
    means: 'black pixels, a share from 0 to x',
    range: [0, 1],
    probability: 0.3,
    amount: upTo,
    apply: (image, x, key) => filters.pixelDropout(image, x, fold(key, 'pixels')),
    shown: [0.02, 0.05, 0.1, 0.2, 0.3, 0.5],
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof table;
/** Operations by name, in the order in which they are applied. */
export const operations: Readonly<Record<OperationName, Operation>> = table;
export const operationNames = Object.keys(table) as readonly OperationName[];
