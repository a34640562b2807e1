/**
 * Partial FC: An, Zhu, Xiao, Wu, Zhang, Gao, Qin, Zhang, Fu 2020, "Partial FC: Training 10 Million Identities on a Single
 * Machine" (arXiv 2010.05222), and An, Deng, Guo, Feng, Zhu, Yang, Liu 2022, "Killing Two Birds with One Stone: Efficient
 * and Robust Training of Face Recognition CNNs by Partial FC" (arXiv 2203.15565). A training step takes the softmax over a
 * sample of the classes: those of the batch and random others, a fixed number together. The papers use 0.1 to 0.3 of them.
 *
 * The one idea: a draw in the graph. Every class gets a uniform number, those of the batch get 2, and the k largest are
 * the sample: k distinct classes, all positives among them, every set of others equally likely, nothing done by the host.
 * The loss over the sample is the head's own on gathered centres; the others have gradient 0. Decay and momentum, which
 * are the optimizer's, still move them, where the authors' code leaves them alone until they are sampled.
 */
import { UsageError } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { gather, scatterAdd } from '../ops/gather.ts';
import { iota } from '../ops/movement.ts';
import { elementwise } from '../ops/pointwise.ts';
import { randomUniform } from '../ops/random.ts';
import { topK } from '../ops/topK.ts';

export interface ClassSample {
  /** The sampled classes, int32 [k]: those of the batch first. */
  readonly classes: Tensor;
  /** The labels as places in the sample, int32 [B]. */
  readonly labels: Tensor;
}

/** Random numbers of their own beside dropout's. */
const stream = 0x7066_6300;

/** Size of the sample: the share of the classes, and no less than a batch of different people needs. */
export const sampleSize = (classes: number, rate: number, batch: number): number =>
  Math.min(classes, Math.max(Math.ceil(rate * classes), batch));

/**
 * k of the classes: every class of the labels (int32 [B], from 0 to classes − 1) and random others.
 * @param k at least as many as the labels have classes
 * @param key int32 [2], a new one every step
 * @throws UsageError without a key
 */
export function sampleClasses(labels: Tensor, classes: number, k: number, key: Tensor | undefined): ClassSample {
  if (!key)
    throw new UsageError(
      `Partial FC: expected a key while training, got none\nPass the compiled function an input named 'key': keyData(key, step).`,
    );
  const count = scatterAdd(labels, tensor(new Float32Array(labels.size).fill(1)), classes); // [C]
  const rank = elementwise('sampleRank', E.where(E.gt(E.input(0), 0), E.constant(2), E.input(1)), [
    count,
    randomUniform(key, [classes], stream),
  ]);
  const sampled = topK(rank, k).indices;
  const places = scatterAdd(sampled, iota([k]), classes);
  return { classes: sampled, labels: gather(places, labels) };
}
