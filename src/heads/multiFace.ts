/**
 * MultiFace: Xu, Guo, Xu, Xu, Bai 2021, "MultiFace: A Generic Training Mechanism for Boosting Face Recognition Performance"
 * (arXiv 2101.09899). The embedding is N slices of equal length, every slice has its own class centres, and the loss is
 * the sum of the N margin losses: N small spheres are learned faster than a large one. Used is the whole embedding.
 *
 * What has unit length is an option. In the authors' code it is the whole embedding, so a slice is about 1/√N long, its
 * "cosine" stays below that, and the scale is in effect s/√N; `norm: 'slice'` gives every slice unit length, the N spheres
 * that the paper speaks of. The authors' code has m = 0.2 for ArcFace in its head and 0.3 from its command line.
 */
import { ShapeError, UsageError } from '../core/errors.ts';
import { number, type Options, oneOf, whole } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { slice } from '../ops/movement.ts';
import { add, elementwise, mul } from '../ops/pointwise.ts';
import {
  atLeast,
  type CosineBlock,
  cosineBlocks,
  l2Normalize,
  type MarginLogits,
  marginCrossEntropy,
  nearestOther,
} from '../ops/softmax.ts';
import { arcFaceLogits } from './arcFace.ts';
import { cosFaceLogits } from './cosFace.ts';
import { Head, scale, scaleOf, shared } from './head.ts';
import { defineLoss, type LossResult, type LossSize } from './loss.ts';
import { normFaceLogits } from './softmax.ts';

const options = {
  n: whole({ from: 1 }, 2, 'number of slices of the embedding'),
  loss: oneOf(['arcface', 'cosface', 'normface'], 'arcface', 'margin loss of each slice'),
  s: scale(64),
  m: number(
    { from: 0, to: Math.PI / 2 },
    0.3,
    'margin: radians for arcface, of the cosine for cosface; normface has none',
  ),
  norm: oneOf(['whole', 'slice'], 'whole', 'what has unit length: the whole embedding, or each slice'),
  ...shared,
};
export type MultiFaceOptions = Options<typeof options>;

/** The logits of each slice as expressions of its cosine. */
function multiFaceLogits({
  loss = 'arcface',
  s = 64,
  m = 0.3,
  classes,
}: MultiFaceOptions & Partial<LossSize>): MarginLogits {
  const scaled = { s: scaleOf(s, classes) };
  if (loss === 'normface') return normFaceLogits(scaled);
  return loss === 'arcface' ? arcFaceLogits({ ...scaled, m }) : cosFaceLogits({ ...scaled, m });
}

/** The MultiFace head: class centres [C, d], slice i of the columns being those of slice i, and the loss over them. */
export class MultiFace extends Head<typeof options> {
  constructor(given: LossSize & MultiFaceOptions) {
    super('multiface', options, given);
    const { embeddingSize, n } = this.options;
    if (embeddingSize % n)
      throw new UsageError(
        `multiface: expected an embedding size that divides into n = ${n} slices, got ${embeddingSize}\nChoose another n.`,
      );
  }
  /** Hits go by the sum over the slices, of cosines and of logits. */
  protected over(embeddings: Tensor, centres: Tensor, labels: Tensor): LossResult {
    const { n, norm, s, classes } = this.options;
    const logits = multiFaceLogits(this.options);
    const x = norm === 'whole' ? l2Normalize(embeddings) : embeddings;
    const parts = sliced(x, n).map((part, i) =>
      cosineBlocks(norm === 'whole' ? part : l2Normalize(part), sliced(centres, n)[i]!),
    );
    const results = parts.map((blocks) => marginCrossEntropy(blocks, labels, logits));
    const together = parts.reduce((a, b) => a.map((p, i): CosineBlock => ({ cos: add(p.cos, b[i]!.cos), ids: p.ids })));
    const own = results.map((r) => r.targetCos).reduce(add);
    const ownLogit = results
      .map((r) => elementwise('sliceLogit', logits.target(E.input(0)), [r.targetCos]))
      .reduce(add);
    const nearest = nearestOther(together, labels);
    return {
      loss: results.map((r) => r.loss).reduce(add),
      // To the direction of all slices' centres together.
      targetCos: mul(own, norm === 'whole' ? 1 / Math.sqrt(n) : 1 / n),
      hits: atLeast(own, nearest),
      marginHits: atLeast(ownLogit, mul(nearest, scaleOf(s, classes))),
    };
  }
}

/** N equal slices of the columns. */
function sliced(x: Tensor, n: number): Tensor[] {
  const width = x.shape[1]! / n;
  return Array.from({ length: n }, (_, i) => slice(x, 1, i * width, (i + 1) * width));
}

/**
 * Slice i (0 to n − 1) of every embedding, rows [·, dim] → [·, dim/n]: what MultiFace scores one sub-embedding by. Rows
 * are copied as they are; normalise them before comparing.
 * @throws UsageError where the embeddings do not divide into n slices or there is no slice i
 */
export function subEmbedding(embeddings: Float32Array, dim: number, n: number, i: number): Float32Array {
  if (!Number.isInteger(n) || n < 1 || dim % n)
    throw new UsageError(
      `subEmbedding: expected a number of slices that divides the embedding size ${dim}, got ${n}\nPass the n of the MultiFace head.`,
    );
  if (!Number.isInteger(i) || i < 0 || i >= n)
    throw new UsageError(`subEmbedding: expected a slice from 0 to ${n - 1}, got ${i}\nSlices count from 0 here.`);
  if (embeddings.length % dim)
    throw new ShapeError(
      `subEmbedding: expected rows of ${dim} numbers, got ${embeddings.length} numbers\nPass the size of the embeddings.`,
    );
  const width = dim / n;
  const out = new Float32Array(embeddings.length / n);
  for (let row = 0; row < embeddings.length / dim; row++)
    out.set(embeddings.subarray(row * dim + i * width, row * dim + (i + 1) * width), row * width);
  return out;
}

export const multiFace = defineLoss({
  name: 'multiface',
  means: 'sum of margin losses over slices of the embedding',
  source: "Xu et al. 2021, arXiv 2101.09899, with the switch of normalisation of the authors' code",
  role: 'head',
  options,
  create: (size, given) => new MultiFace({ ...size, ...given }),
  curves: (o) => [{ label: 'of a slice', logits: multiFaceLogits(o) }],
});
