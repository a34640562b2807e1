/**
 * How a network's pictures are prepared, found out by trying.
 *
 * The one idea: fed wrongly a network still gives embeddings, only worse ones; so of the preparations in use the right one is
 * that under which pictures of one person are the least like those of others. What is measured is the area under the ROC of
 * all pairs, and d' (the distance of the two means in standard deviations), which still tells where the area is full.
 */
import { compile } from '../compile.ts';
import { ShapeError, UsageError } from '../core/errors.ts';
import { type HostTensor, host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import * as E from '../expr/nodes.ts';
import type { RgbImage } from '../image/jpeg.ts';
import type { FaceNetwork, PerColour, Preprocessing } from '../models/network.ts';
import { elementwise } from '../ops/pointwise.ts';
import { auc, roc } from './metrics.ts';
import { unitRows } from './verification.ts';

/** A preparation in use, without its colour order. */
export interface Normalisation {
  readonly name: string;
  readonly mean: PerColour;
  readonly scale: PerColour;
}

/** The normalisations of the field, the commonest first. Numbers per colour are for RGB. */
export const normalisations: readonly Normalisation[] = [
  { name: '(x - 127.5) / 128', mean: 127.5, scale: 1 / 128 },
  { name: '(x - 127.5) / 127.5', mean: 127.5, scale: 1 / 127.5 },
  { name: 'x', mean: 0, scale: 1 },
  { name: 'x / 255', mean: 0, scale: 1 / 255 },
  {
    name: "(x / 255 - ImageNet's mean) / its deviation",
    mean: [123.675, 116.28, 103.53],
    scale: [1 / 58.395, 1 / 57.12, 1 / 57.375],
  },
  { name: "x - VGGFace2's mean", mean: [131.0912, 103.8827, 91.4953], scale: 1 },
  { name: "x - Caffe's mean", mean: [123, 117, 104], scale: 1 },
];

const reversed = (v: PerColour): PerColour => (typeof v === 'number' ? v : [v[2], v[1], v[0]]);

/** A preparation that was tried. */
export interface PreprocessingTrial {
  readonly name: string;
  readonly preprocessing: Preprocessing;
  /** Area under the ROC of all pairs, 0 to 1. */
  readonly auc: number;
  /** (mean cosine of same − of different) / the root of their mean variance. */
  readonly separation: number;
}

/** Similarities of all pairs of rows, those of one person apart. */
function pairScores(embeddings: Float32Array, dim: number, labels: readonly number[]) {
  const unit = unitRows(embeddings, dim);
  const same: number[] = [];
  const different: number[] = [];
  for (let i = 0; i < labels.length; i++)
    for (let j = 0; j < i; j++) {
      let dot = 0;
      for (let k = 0; k < dim; k++) dot += unit[i * dim + k]! * unit[j * dim + k]!;
      (labels[i] === labels[j] ? same : different).push(dot);
    }
  return { same, different };
}

const meanOf = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
const varianceOf = (x: readonly number[], mean = meanOf(x)) => x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;

/** How well embeddings tell people apart. */
export function separationOf(embeddings: Float32Array, dim: number, labels: readonly number[]) {
  // Fed too large numbers, some networks overflow: they tell nobody apart then.
  if (!embeddings.every(Number.isFinite)) return { auc: 0.5, separation: 0 };
  const { same, different } = pairScores(embeddings, dim, labels);
  const scores = Float64Array.from([...same, ...different]);
  const spread = Math.sqrt((varianceOf(same) + varianceOf(different)) / 2);
  return {
    auc: auc(
      roc(
        scores,
        Array.from(scores, (_, i) => i < same.length),
      ),
    ),
    separation: spread > 0 ? (meanOf(same) - meanOf(different)) / spread : 0,
  };
}

/**
 * Tries the preparations in use on pictures of known people, the best first. The network is left as it was.
 * @param images in the network's size
 * @param labels whose face each picture shows; two people with two pictures each are the least
 * @param onTrial called after each with how many are done, of how many
 * @throws UsageError for too few pictures
 */
export async function detectPreprocessing(
  network: FaceNetwork,
  images: readonly RgbImage[],
  labels: readonly number[],
  device: Device,
  onTrial: (done: number, total: number) => void = () => {},
): Promise<PreprocessingTrial[]> {
  const people = new Set(labels);
  if (people.size < 2 || people.size === labels.length || images.length !== labels.length)
    throw new UsageError(
      `detectPreprocessing: expected pictures of at least two people, some with two or more, got ${images.length} of ${people.size}\nTen people with five pictures each tell enough.`,
    );
  const { preprocessing: own } = network;
  const candidates = normalisations.flatMap((n) =>
    (['RGB', 'BGR'] as const).map((colourOrder) => ({ ...n, colourOrder })),
  );
  // One plan for all: what differs comes in as numbers.
  const run = compile(
    ({ images: pixels, mean, scale }, ctx) => ({
      y: network.call(
        elementwise('preprocess', E.mul(E.sub(E.input(0), E.input(1)), E.input(2)), [pixels!, mean!, scale!]),
        ctx,
      ),
    }),
    { device },
  );
  const inRgb = batchesOf(images, own.inputSize, network.batch ?? 16);
  const inBgr = inRgb.map(swapped);
  const trials: PreprocessingTrial[] = [];
  try {
    for (const { name, colourOrder, ...numbers } of candidates) {
      const inOrder = (v: PerColour) => (colourOrder === 'BGR' ? reversed(v) : v);
      const [mean, scale] = [inOrder(numbers.mean), inOrder(numbers.scale)];
      const three = (v: PerColour) => host(Float32Array.from([v, v, v].flat().slice(0, 3)), [3]);
      const rows: number[] = [];
      for (const batch of colourOrder === 'RGB' ? inRgb : inBgr) {
        const { y } = await run({ images: batch, mean: three(mean), scale: three(scale) });
        for (const v of y!.data) rows.push(v);
      }
      const dim = network.options.embeddingSize;
      const embeddings = Float32Array.from(rows.slice(0, labels.length * dim));
      trials.push({
        name: `${colourOrder}, ${name}`,
        preprocessing: { ...own, colourOrder, mean, scale },
        ...separationOf(embeddings, dim, labels),
      });
      onTrial(trials.length, candidates.length);
    }
  } finally {
    run.dispose();
  }
  return trials.sort((a, b) => b.separation - a.separation);
}

/** Images of the network's size in batches, the last one filled up. */
function batchesOf(
  images: readonly RgbImage[],
  [height, width]: readonly [number, number],
  batchSize: number,
): HostTensor[] {
  const bytes = 3 * height * width;
  const wrong = images.find((i) => i.width !== width || i.height !== height || i.data.length !== bytes);
  if (wrong)
    throw new ShapeError(
      `detectPreprocessing: expected RGB images of ${width}x${height}, got one of ${wrong.width}x${wrong.height}\nCut or scale them first.`,
    );
  return Array.from({ length: Math.ceil(images.length / batchSize) }, (_, b) => {
    const data = new Uint8Array(batchSize * bytes);
    images.slice(b * batchSize, (b + 1) * batchSize).forEach((image, i) => {
      data.set(image.data, i * bytes);
    });
    return host(data, [batchSize, height, width, 3]);
  });
}

/** Red for blue. */
function swapped({ data, shape }: HostTensor): HostTensor {
  const out = (data as Uint8Array).slice();
  for (let i = 0; i < out.length; i += 3) [out[i], out[i + 2]] = [out[i + 2]!, out[i]!];
  return host(out, shape);
}
