/**
 * Ultra-Light-Fast-Generic-Face-Detector: a fixed input, boxes without points. After Linzaer's project.
 *
 * The one idea: the published graphs decode their boxes themselves, as shares of the picture's width and height; what is left is
 * choosing. Pictures are stretched to the input, whatever their shape, as the network was trained.
 */
import { number, type Options, resolveOptions } from '../core/options.ts';
import { host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { detectorPreprocessing } from '../models/detectors/recognise.ts';
import type { GraphNetwork } from '../models/graph/network.ts';
import { preprocess } from '../models/network.ts';
import { atSize, type Detection, type Detector, rgbOf } from './detection.ts';
import { nms } from './nms.ts';
import { SizedNetworks } from './sizedNetworks.ts';

/** Most boxes that are compared with one another. */
const mostCandidates = 200;

export const ultraFaceOptions = {
  score: number({ from: 0, to: 1 }, 0.7, 'least score of a face'),
  overlap: number({ from: 0, to: 1 }, 0.3, 'boxes that share more of their area are one face'),
};
export type UltraFaceOptions = Options<typeof ultraFaceOptions>;

/**
 * The faces in the network's output, in pixels of a picture, the surest first.
 * @param scores [n, 2]: background, face. @param boxes [n, 4]: x0, y0, x1, y1 as shares of the sides.
 */
export function decodeUltraFace(
  scores: ArrayLike<number>,
  boxes: ArrayLike<number>,
  { width, height }: { readonly width: number; readonly height: number },
  { score, overlap }: { readonly score: number; readonly overlap: number },
): Detection[] {
  const found: number[] = [];
  for (let i = 0; 2 * i < scores.length; i++) if (scores[2 * i + 1]! > score) found.push(i);
  const best = found.sort((a, b) => scores[2 * b + 1]! - scores[2 * a + 1]! || a - b).slice(0, mostCandidates);
  const shares = Float32Array.from({ length: 4 * best.length }, (_, k) => boxes[4 * best[k >> 2]! + (k & 3)]!);
  const sure = best.map((i) => scores[2 * i + 1]!);
  return nms(shares, sure, { threshold: overlap }).map((k) => ({
    box: [shares[4 * k]! * width, shares[4 * k + 1]! * height, shares[4 * k + 2]! * width, shares[4 * k + 3]! * height],
    score: sure[k]!,
  }));
}

/** The detector on a device; the network's input is the size that pictures are brought to. `dispose` leaves the device open. */
export function ultraFace(
  network: GraphNetwork,
  device: Device,
  given: UltraFaceOptions = {},
  names: { readonly scores: string; readonly boxes: string } = { scores: 'scores', boxes: 'boxes' },
): Detector {
  const options = resolveOptions('ultraface', ultraFaceOptions, given);
  const [height, width] = network.options.graph.inputs[0]!.shape as [number, number, number];
  const only = new SizedNetworks(
    device,
    () => network,
    (images) => preprocess(images, { ...detectorPreprocessing.ultraface, inputSize: [height, width] }),
  );
  return {
    kind: 'ultraface',
    options,
    async detect(picture) {
      const image = rgbOf(picture);
      const { data } = atSize(image, width, height).image;
      const made = await only.run(host(data, [1, height, width, 3]));
      return decodeUltraFace(made[names.scores]!.data, made[names.boxes]!.data, image, options);
    },
    dispose: () => only.dispose(),
  };
}
