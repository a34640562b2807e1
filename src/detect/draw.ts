/** Detections drawn into a picture: boxes, points, scores. For looking at what a detector does. */
import type { RgbImage } from '../image/jpeg.ts';
import { advance, lineHeight, write } from '../image/sheet.ts';
import type { Detection, Picture } from './detection.ts';
import { rgbOf } from './detection.ts';

type Rgb = readonly [number, number, number];

const green: Rgb = [0, 255, 80];
/** Left eye, right eye, nose, corners of the mouth: left ones and right ones are told apart. */
const pointColours: readonly Rgb[] = [
  [255, 60, 60],
  [60, 160, 255],
  [255, 230, 0],
  [255, 60, 60],
  [60, 160, 255],
];

/** A filled rectangle from (x0, y0) to before (x1, y1), cut at the edges. */
function fill({ width, height, data }: RgbImage, x0: number, y0: number, x1: number, y1: number, colour: Rgb): void {
  const [left, right] = [Math.max(0, Math.round(x0)), Math.min(width, Math.round(x1))];
  for (let y = Math.max(0, Math.round(y0)); y < Math.min(height, Math.round(y1)); y++)
    for (let x = left; x < right; x++) data.set(colour, 3 * (y * width + x));
}

/** A copy of the picture with the detections on it; lines are as thick as suits its size. */
export function drawDetections(picture: Picture, detections: readonly Detection[]): RgbImage {
  const rgb = rgbOf(picture);
  const image = { ...rgb, data: rgb.data.slice() };
  const thick = Math.max(1, Math.round(Math.max(image.width, image.height) / 500));
  for (const { box, score, points } of detections) {
    const [x0, y0, x1, y1] = box;
    const t = thick / 2;
    fill(image, x0 - t, y0 - t, x1 + t, y0 + t, green);
    fill(image, x0 - t, y1 - t, x1 + t, y1 + t, green);
    fill(image, x0 - t, y0 - t, x0 + t, y1 + t, green);
    fill(image, x1 - t, y0 - t, x1 + t, y1 + t, green);
    for (let i = 0; points && 2 * i < points.length; i++) {
      const [x, y] = [points[2 * i]!, points[2 * i + 1]!];
      fill(image, x - 1.5 * thick, y - 1.5 * thick, x + 1.5 * thick, y + 1.5 * thick, pointColours[i % 5]!);
    }
    const text = score.toFixed(3);
    const [left, top] = [Math.round(x0), Math.round(y0) - lineHeight - thick];
    if (left < 1 || top < 1 || left + text.length * advance >= image.width || top + lineHeight >= image.height)
      continue;
    fill(image, left - 1, top - 1, left + text.length * advance, top + lineHeight - 1, green);
    write(image, text, left, top, [0, 0, 0]);
  }
  return image;
}
