/**
 * MTCNN: three networks in a cascade. Zhang et al. 2016, arXiv 1604.02878; after facenet-pytorch's detect_face.
 *
 * The one idea: P-Net looks at every place of the picture in many sizes and lets most go; R-Net and O-Net look again at crops of
 * what is left, each correcting the boxes. Boxes count pixels from 1, as in the MATLAB original, so places are rounded and
 * widths grow by 1 as they do there: a detector that is right to a fraction of a pixel needs the same steps.
 */
import { number, numbers, type OptionSpec, type Options, resolveOptions, whole } from '../core/options.ts';
import { host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { adaptiveMean } from '../image/resize.ts';
import type { MtcnnPart } from '../models/detectors/mtcnn.ts';
import type { GraphNetwork } from '../models/graph/network.ts';
import { atMost, backTo, type Detection, type Detector, rgbOf } from './detection.ts';
import { nms } from './nms.ts';
import { type Size, SizedNetworks } from './sizedNetworks.ts';

/** Pixels that P-Net looks at, and between its places. */
const [cell, stride] = [12, 2];
/** Most places of one picture of the pyramid, the surest; overlaps are compared pair by pair. */
const mostPlaces = 10_000;
/** Most crops of one run. */
const mostCrops = 64;

const two: OptionSpec<readonly number[]> = {
  ...numbers({ from: 0, to: 1 }, [0.6, 0.7], 'least scores of P-Net and R-Net'),
  expects: 'two numbers from 0 to 1',
  accepts: (x) => Array.isArray(x) && x.length === 2 && x.every((n) => typeof n === 'number' && n >= 0 && n <= 1),
};
export const mtcnnOptions = {
  score: number({ from: 0, to: 1 }, 0.7, "least score of a face: O-Net's"),
  thresholds: two,
  factor: number({ from: 0.1, to: 0.95 }, 0.709, 'size of a picture of the pyramid over the one before'),
  minFace: whole({ from: 12 }, 20, 'smallest face that is looked for, in pixels'),
  maxSide: whole({ from: 32 }, 1280, 'longer side that larger pictures are brought down to'),
};
export type MtcnnOptions = Options<typeof mtcnnOptions>;

/** The scales of the pyramid: as long as the picture holds a cell. */
export function pyramidScales([height, width]: Size, minFace: number, factor: number): number[] {
  const scales: number[] = [];
  let scale = cell / minFace;
  for (let side = Math.min(height, width) * scale; side >= cell; side *= factor) {
    scales.push(scale);
    scale *= factor;
  }
  return scales;
}

/** Boxes with what belongs to each: score, the correction, the points. All are float32, as in the reference. */
interface Candidate {
  box: Float32Array;
  score: number;
  reg: Float32Array;
  points?: Float32Array;
}

const f = Math.fround;

function keep(all: readonly Candidate[], threshold: number, over: 'union' | 'smaller' = 'union'): Candidate[] {
  const boxes = new Float32Array(4 * all.length);
  all.forEach((c, i) => {
    boxes.set(c.box, 4 * i);
  });
  const scores = all.map((c) => c.score);
  return nms(boxes, scores, { threshold, over, edge: over === 'smaller' ? 1 : 0 }).map((i) => all[i]!);
}

/** Moves the corners by the network's corrections, in units of the box; `edge` is what its sides count more. */
function correct(box: Float32Array, reg: Float32Array, edge: 0 | 1): Float32Array {
  const w = f(f(box[2]! - box[0]!) + edge);
  const h = f(f(box[3]! - box[1]!) + edge);
  return Float32Array.from(box, (v, i) => v + f(reg[i]! * (i % 2 ? h : w)));
}

/** The square of the longer side about the same centre. */
function square(box: Float32Array): Float32Array {
  const w = f(box[2]! - box[0]!);
  const h = f(box[3]! - box[1]!);
  const side = Math.max(w, h);
  const x = f(f(box[0]! + w * 0.5) - side * 0.5);
  const y = f(f(box[1]! + h * 0.5) - side * 0.5);
  return Float32Array.of(x, y, x + side, y + side);
}

/** The pixels of a box inside the picture: [x0, y0, x1, y1], the last not included; undefined where there are none. */
function inside(box: Float32Array, { width, height }: RgbImage): [number, number, number, number] | undefined {
  const x0 = Math.max(1, Math.trunc(box[0]!)) - 1;
  const y0 = Math.max(1, Math.trunc(box[1]!)) - 1;
  const x1 = Math.min(width, Math.trunc(box[2]!));
  const y1 = Math.min(height, Math.trunc(box[3]!));
  return x1 > x0 && y1 > y0 ? [x0, y0, x1, y1] : undefined;
}

/** Pixel means to network input, in place. */
function normalize(x: Float32Array): Float32Array {
  for (let i = 0; i < x.length; i++) x[i] = f(x[i]! - 127.5) * 0.0078125;
  return x;
}

/** Where P-Net sees a face: its cell, in pixels of the picture. `prob` [rows, columns, 2], `reg` [rows, columns, 4]. */
export function placesOf(
  prob: ArrayLike<number>,
  reg: ArrayLike<number>,
  columns: number,
  scale: number,
  threshold: number,
): Candidate[] {
  const least = f(threshold);
  const s = f(scale);
  const found: Candidate[] = [];
  for (let i = 0; 2 * i < prob.length; i++) {
    const score = prob[2 * i + 1]!;
    if (!(score >= least)) continue;
    const corner = (at: number, end: number) => Math.floor(f((stride * at + end) / s));
    const [x, y] = [i % columns, Math.floor(i / columns)];
    found.push({
      box: Float32Array.of(corner(x, 1), corner(y, 1), corner(x, cell), corner(y, cell)),
      score,
      reg: Float32Array.from({ length: 4 }, (_, k) => reg[4 * i + k]!),
    });
  }
  return found;
}

/** The detector on a device. `dispose` leaves the device open. */
export function mtcnn(
  make: (part: MtcnnPart, size: Size) => GraphNetwork | Promise<GraphNetwork>,
  device: Device,
  given: MtcnnOptions = {},
): Detector {
  const options = resolveOptions('mtcnn', mtcnnOptions, given);
  const [pLeast, rLeast] = options.thresholds as readonly [number, number];
  const networks = (part: MtcnnPart, most: number) =>
    new SizedNetworks(
      device,
      (size) => make(part, size),
      (x) => x,
      most,
    );
  // A pyramid of 1280 pixels has a dozen sizes.
  const [pnet, rnet, onet] = [networks('pnet', 24), networks('rnet', 1), networks('onet', 1)];

  async function propose(image: RgbImage): Promise<Candidate[]> {
    const all: Candidate[] = [];
    for (const scale of pyramidScales([image.height, image.width], options.minFace, options.factor)) {
      const height = Math.trunc(image.height * scale + 1);
      const width = Math.trunc(image.width * scale + 1);
      const input = normalize(adaptiveMean(image, width, height));
      const { prob, reg } = await pnet.run(host(input, [1, height, width, 3]));
      const places = placesOf(prob!.data, reg!.data, prob!.shape[2]!, scale, pLeast);
      if (places.length > mostPlaces) places.sort((a, b) => b.score - a.score).length = mostPlaces;
      all.push(...keep(places, 0.5));
    }
    return keep(all, 0.7).map((c) => ({ ...c, box: square(correct(c.box, c.reg, 0)) }));
  }

  /** Candidates as another network sees them, those above its threshold. */
  async function look(
    image: RgbImage,
    candidates: readonly Candidate[],
    network: SizedNetworks,
    side: number,
    least: number,
  ): Promise<Candidate[]> {
    const crops = candidates.flatMap((candidate) => {
      const part = inside(candidate.box, image);
      return part ? [{ candidate, part }] : [];
    });
    const out: Candidate[] = [];
    const pixels = 3 * side * side;
    for (let from = 0; from < crops.length; from += mostCrops) {
      const batch = crops.slice(from, from + mostCrops);
      // A plan per power of two.
      const rows = 2 ** Math.ceil(Math.log2(batch.length));
      const input = new Float32Array(rows * pixels);
      batch.forEach(({ part }, i) => {
        input.set(normalize(adaptiveMean(image, side, side, part)), i * pixels);
      });
      const { prob, reg, points } = await network.run(host(input, [rows, side, side, 3]));
      const row = (data: ArrayLike<number>, i: number, n: number) =>
        Float32Array.from({ length: n }, (_, k) => data[n * i + k]!);
      batch.forEach(({ candidate }, i) => {
        const score = prob!.data[2 * i + 1]!;
        if (score > f(least))
          out.push({
            box: candidate.box,
            score,
            reg: row(reg!.data, i, 4),
            ...(points && { points: row(points.data, i, 10) }),
          });
      });
    }
    return out;
  }

  return {
    kind: 'mtcnn',
    options,
    async detect(picture) {
      const { image, factors } = atMost(rgbOf(picture), options.maxSide);
      const refined = keep(await look(image, await propose(image), rnet, 24, rLeast), 0.7);
      const squares = refined.map((c) => ({ ...c, box: square(correct(c.box, c.reg, 1)) }));
      const seen = await look(image, squares, onet, 48, options.score);
      const faces = seen.map((c) => {
        const w = f(f(c.box[2]! - c.box[0]!) + 1);
        const h = f(f(c.box[3]! - c.box[1]!) + 1);
        // Five x, then five y, from the first pixel's number, which is 1.
        const points = Float32Array.from({ length: 10 }, (_, k) =>
          k % 2 ? f(f(h * c.points![5 + (k >> 1)]!) + c.box[1]!) - 1 : f(f(w * c.points![k >> 1]!) + c.box[0]!) - 1,
        );
        return { ...c, points, box: correct(c.box, c.reg, 1) };
      });
      return keep(faces, 0.7, 'smaller').map(
        ({ box, score, points }): Detection =>
          backTo({ box: [box[0]!, box[1]!, box[2]!, box[3]!], score, points: [...points!] }, factors),
      );
    },
    async dispose() {
      await Promise.all([pnet.dispose(), rnet.dispose(), onet.dispose()]);
    },
  };
}
