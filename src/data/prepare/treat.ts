/**
 * What a selection (select.ts) can ask to be done to a picture, each as the field's preparation scripts do it. A function of
 * (picture, treatment, key) alone.
 */
import { fold, type Key, permutation, uniformAt } from '../../core/random.ts';
import type { RgbImage } from '../../image/decode.ts';
import {
  add,
  boxBlur,
  coarseDropout,
  gaussianBlur,
  gaussianNoise,
  medianBlur,
  mirror,
  multiply,
  opening,
  pixelDropout,
  saltPepper,
  sharpen,
} from '../../image/filters.ts';

/**
 * 'keep': as it is; 'open': morphological opening, 5 x 5; 'gaussian': noise of mean 0 and variance 0.01 (of levels 0 to 1);
 * 'saltPepper': 5 % of the samples black or white; 'chain': `chain`.
 */
export type Treatment = 'keep' | 'open' | 'gaussian' | 'saltPepper' | 'chain';

/** A treated copy of a picture. */
export function treat(image: RgbImage, treatment: Treatment, key: Key): RgbImage {
  if (treatment === 'open') return opening(image, 5);
  if (treatment === 'gaussian') return gaussianNoise(image, 0.01, key);
  if (treatment === 'saltPepper') return saltPepper(image, 0.05, key);
  return treatment === 'chain' ? chain(image, key) : image;
}

/** Levels spread about the middle: 127 + factor (level − 127), as imgaug's LinearContrast. */
const spread = (image: RgbImage, factor: number): RgbImage => {
  const levels = Uint8ClampedArray.from({ length: 256 }, (_, v) => 127 + factor * (v - 127));
  return { ...image, data: image.data.map((v) => levels[v]!) };
};

/**
 * The chain of imgaug augmenters that makes up missing images of a person, in random order: mirrored (one half); with one
 * half blurred, by a Gaussian (sigma 0 to 3), a mean (side 2 to 7) or a median (odd side 3 to 11); sharpened (alpha 0 to 1,
 * lightness 0.75 to 1.5); Gaussian noise (standard deviation up to 0.05 · 255, one half for each channel by itself); single
 * pixels (1 to 10 %) or areas of 1/50 to 1/20 of a side (3 to 15 %) black, one half per channel; −10 to 10 levels added; levels
 * times 0.5 to 1.5; contrast times 0.5 to 2. Numbers are uniform.
 */
export function chain(image: RgbImage, key: Key): RgbImage {
  const draw = fold(key, 'draw');
  let drawn = 0;
  const between = (low: number, high: number) => low + (high - low) * uniformAt(draw, drawn++);
  const whole = (low: number, high: number) => Math.floor(between(low, high + 1));
  const coin = () => between(0, 1) < 0.5;
  const cells = (pixels: number, share: number) => Math.min(pixels, Math.max(3, Math.floor(pixels * share)));
  // Numbers are drawn here, in this order, whatever order the steps then come in.
  const mirrored = coin();
  const blurred = coin();
  const blur = whole(0, 2);
  const [sigma, side, odd] = [between(0, 3), whole(2, 7), 2 * whole(1, 5) + 1];
  const [alpha, lightness] = [between(0, 1), between(0.75, 1.5)];
  const [deviation, noisePerChannel] = [between(0, 0.05), coin()];
  const [areas, perChannel, few, many, cell] = [
    coin(),
    coin(),
    between(0.01, 0.1),
    between(0.03, 0.15),
    between(0.02, 0.05),
  ];
  const [added, factor, contrast] = [whole(-10, 10), between(0.5, 1.5), between(0.5, 2)];
  const steps: readonly ((x: RgbImage) => RgbImage)[] = [
    (x) => (mirrored ? mirror(x) : x),
    (x) => {
      if (!blurred) return x;
      return blur === 0 ? gaussianBlur(x, sigma) : blur === 1 ? boxBlur(x, side) : medianBlur(x, odd);
    },
    (x) => sharpen(x, alpha, lightness),
    (x) => gaussianNoise(x, deviation ** 2, fold(key, 'noise'), noisePerChannel),
    (x) =>
      areas
        ? coarseDropout(x, many, [cells(x.width, cell), cells(x.height, cell)], fold(key, 'dropout'), perChannel)
        : pixelDropout(x, few, fold(key, 'dropout'), perChannel),
    (x) => add(x, added),
    (x) => multiply(x, factor),
    (x) => spread(x, contrast),
  ];
  let out = image;
  for (const k of permutation(fold(key, 'order'), steps.length)) out = steps[k]!(out);
  return out;
}
