/**
 * Landmarks of a face that a detector found without points: networks that give the 68 points of the iBUG 300-W markup
 * (Sagonas et al. 2013, "300 Faces in-the-Wild Challenge") from a small picture of the face, and the five points of them that
 * faces are aligned by.
 *
 * The one idea: the network sees the box of the face alone and answers in shares of it.
 */

import { compile } from '../compile.ts';
import { DataError } from '../core/errors.ts';
import { host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { resize } from '../image/resize.ts';
import type { GraphNetwork } from '../models/graph/network.ts';
import type { Detection } from './detection.ts';

export interface Landmarker {
  /** 68 points x0, y0 … in pixels of the picture. */
  points(picture: RgbImage, box: Detection['box']): Promise<Float64Array>;
  dispose(): void;
}

/** The part of a picture in a box, whole pixels, cut at the edges. */
function part({ width, height, data }: RgbImage, [x0, y0, x1, y1]: Detection['box']) {
  const within = (v: number, most: number) => Math.min(most, Math.max(0, Math.trunc(v)));
  const [left, top] = [within(x0, width - 1), within(y0, height - 1)];
  const [w, h] = [Math.max(1, within(x1, width) - left), Math.max(1, within(y1, height) - top)];
  const out = new Uint8Array(3 * w * h);
  for (let y = 0; y < h; y++) {
    const row = 3 * ((y + top) * width + left);
    out.set(data.subarray(row, row + 3 * w), 3 * y * w);
  }
  return { left, top, image: { width: w, height: h, data: out } };
}

/** Brightness by the weights of BT.601, 0 to 255. */
function grey({ width, height, data }: RgbImage): Float32Array {
  const out = new Float32Array(width * height);
  for (let i = 0; i < out.length; i++)
    out[i] = Math.round(0.299 * data[3 * i]! + 0.587 * data[3 * i + 1]! + 0.114 * data[3 * i + 2]!);
  return out;
}

/**
 * A network from grey pictures [N, side, side, 1], pixels / 256, to 136 numbers: x and y of the points in shares of the box.
 * @throws DataError for a network of another shape
 */
export function landmarks68(network: GraphNetwork, device: Device): Landmarker {
  const [input] = network.options.graph.inputs;
  const [height = 0, width = 0, channels] = input!.shape;
  if (channels !== 1 || network.options.embeddingSize !== 136)
    throw new DataError(
      `landmarks: expected a network from grey pictures to 136 numbers, got one from [${input!.shape}] to ${network.options.embeddingSize}\nGive one of 68 points.`,
    );
  const run = compile(({ x }, ctx) => ({ points: network.call(x!, ctx) }), { device });
  return {
    async points(picture, box) {
      const { left, top, image } = part(picture, box);
      const pixels = grey(resize(image, width, height)).map((v) => v / 256);
      const { points } = await run({ x: host(pixels, [1, height, width, 1]) });
      return Float64Array.from(points!.data, (v, i) => (i % 2 ? top + v * image.height : left + v * image.width));
    },
    dispose: () => run.dispose(),
  };
}

/**
 * The five points that faces are aligned by, of the 68: each eye as the mean of its four lid points, the tip of the nose, each
 * corner of the mouth as the mean of its outer and inner point.
 */
export function fivePoints(all: ArrayLike<number>): number[] {
  const mean = (...at: readonly number[]) =>
    [0, 1].map((axis) => at.reduce((sum, i) => sum + all[2 * i + axis]!, 0) / at.length);
  return [mean(37, 38, 40, 41), mean(43, 44, 46, 47), mean(30), mean(48, 60), mean(54, 64)].flat();
}
