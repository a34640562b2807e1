/**
 * RetinaFace: anchors, decoding, and the detector. Deng et al. 2019, arXiv 1905.00641; after biubug6/Pytorch_Retinaface.
 *
 * The one idea: every place of three maps has two anchors, squares of fixed sizes about the place's centre; the network
 * says of each how sure it is, how its box differs and where the five points lie, in units of the anchor's size.
 */
import { number, type Options, resolveOptions, whole } from '../core/options.ts';
import { host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { detectorPreprocessing } from '../models/detectors/recognise.ts';
import { preprocess } from '../models/network.ts';
import { atMost, backTo, type Detection, type Detector, rgbOf, toMultiple, within } from './detection.ts';
import { byScore, nms } from './nms.ts';
import { type MakeNetwork, type Size, SizedNetworks } from './sizedNetworks.ts';

/** Pixels between the places of a map, and the sides of their anchors. */
const maps = [
  { stride: 8, sides: [16, 32] },
  { stride: 16, sides: [64, 128] },
  { stride: 32, sides: [256, 512] },
] as const;
/** Units of centres and points, and of the logarithms of sides. */
const [placeVariance, sideVariance] = [0.1, 0.2];
/** Most boxes that are compared with one another. */
const mostCandidates = 5000;

/** Anchors of a picture as x, y of the centre and side, three numbers each; maps are rounded up to whole places. */
export function retinaFaceAnchors([height, width]: Size): Float32Array {
  const sizes = maps.map(({ stride }) => [Math.ceil(height / stride), Math.ceil(width / stride)] as const);
  const out = new Float32Array(6 * sizes.reduce((n, [h, w]) => n + h * w, 0));
  let o = 0;
  maps.forEach(({ stride, sides }, m) => {
    const [rows, columns] = sizes[m]!;
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        for (const side of sides) {
          out.set([(j + 0.5) * stride, (i + 0.5) * stride, side], o);
          o += 3;
        }
  });
  return out;
}

/** What the network gives, each a row an anchor. */
export interface RetinaFaceOutput {
  /** [n, 4]: x and y of the centre, and the logarithms of the sides. */
  readonly loc: ArrayLike<number>;
  /** [n, 2]: probabilities of background and face. */
  readonly conf: ArrayLike<number>;
  /** [n, 10]: five points. */
  readonly lm: ArrayLike<number>;
}

export interface RetinaFaceLimits {
  /** Least score. */
  readonly score: number;
  /** Boxes that overlap more are one face. */
  readonly overlap: number;
}

/** The faces in the network's output for a picture of `size`, in its pixels, the surest first. */
export function decodeRetinaFace(
  { loc, conf, lm }: RetinaFaceOutput,
  size: Size,
  { score, overlap }: RetinaFaceLimits,
): Detection[] {
  const anchors = retinaFaceAnchors(size);
  const found: number[] = [];
  for (let i = 0; 3 * i < anchors.length; i++) if (conf[2 * i + 1]! > score) found.push(i);
  const scored = found.map((i) => conf[2 * i + 1]!);
  const best = byScore(scored)
    .slice(0, mostCandidates)
    .map((k) => found[k]!);
  const boxes = new Float32Array(4 * best.length);
  best.forEach((i, k) => {
    const [x, y, side] = anchors.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number];
    const cx = x + loc[4 * i]! * placeVariance * side;
    const cy = y + loc[4 * i + 1]! * placeVariance * side;
    const w = side * Math.exp(loc[4 * i + 2]! * sideVariance);
    const h = side * Math.exp(loc[4 * i + 3]! * sideVariance);
    boxes.set([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 4 * k);
  });
  const scores = best.map((i) => conf[2 * i + 1]!);
  return nms(boxes, scores, { threshold: overlap, edge: 1 }).map((k) => {
    const i = best[k]!;
    const side = anchors[3 * i + 2]!;
    return {
      box: [boxes[4 * k]!, boxes[4 * k + 1]!, boxes[4 * k + 2]!, boxes[4 * k + 3]!],
      score: scores[k]!,
      points: Array.from({ length: 10 }, (_, p) => anchors[3 * i + (p % 2)]! + lm[10 * i + p]! * placeVariance * side),
    };
  });
}

export const retinaFaceOptions = {
  score: number({ from: 0, to: 1 }, 0.6, 'least score of a face'),
  overlap: number({ from: 0, to: 1 }, 0.4, 'boxes that share more of their area are one face'),
  maxSide: whole({ from: 32 }, 1280, 'longer side that larger pictures are brought down to; the largest anchor is 512'),
  multiple: whole({ from: 1, to: 512 }, 1, 'sides are filled up to a multiple of this; 32 needs fewer plans'),
};
export type RetinaFaceOptions = Options<typeof retinaFaceOptions>;

/** Networks for pictures of any size, or of one. */
export interface RetinaFaceNetworks {
  readonly make: MakeNetwork;
  /** The only size that there is; pictures are fitted into it. */
  readonly only?: Size | undefined;
  /** The outputs' names; by default `loc`, `conf`, `lm`. */
  readonly names?: Readonly<Record<keyof RetinaFaceOutput, string>> | undefined;
  /** `conf` is before the softmax. Default false. */
  readonly logits?: boolean | undefined;
}

const { colourOrder, mean, scale } = detectorPreprocessing.retinaface;
/** Red, green and blue of what becomes 0. */
const nothing = [...(mean as readonly number[])].reverse();

/** The detector on a device. `dispose` leaves the device open. */
export function retinaFace(networks: RetinaFaceNetworks, device: Device, given: RetinaFaceOptions = {}): Detector {
  const options = resolveOptions('retinaface', retinaFaceOptions, given);
  const { names = { loc: 'loc', conf: 'conf', lm: 'lm' }, only, logits = false } = networks;
  const sized = new SizedNetworks(device, networks.make, (images) => {
    const [, height, width] = images.shape;
    return preprocess(images, { colourOrder, mean, scale, inputSize: [height!, width!] });
  });
  return {
    kind: 'retinaface',
    options,
    async detect(picture) {
      const image = rgbOf(picture);
      const seen = only
        ? within(image, only[1], only[0], nothing)
        : toMultiple(atMost(image, options.maxSide), options.multiple, nothing);
      const { width, height, data } = seen.image;
      const made = await sized.run(host(data, [1, height, width, 3]));
      const [loc, conf, lm] = [made[names.loc]!.data, made[names.conf]!.data, made[names.lm]!.data];
      const output = { loc, conf: logits ? softmaxPairs(conf) : conf, lm };
      return decodeRetinaFace(output, [height, width], options).map((d) => backTo(d, seen.factors));
    },
    dispose: () => sized.dispose(),
  };
}

function softmaxPairs(x: ArrayLike<number>): Float32Array {
  return Float32Array.from(x, (v, i) => 1 / (1 + Math.exp(x[i ^ 1]! - v)));
}
