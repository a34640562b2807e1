/**
 * What every training loss is: a module from embeddings and labels to a scalar, with the options it was made with.
 *
 * The one idea: margin heads, metric losses and regularisers share one call, `loss(embeddings, labels, ctx)`, so a run has
 * one of them as its head and adds any others, weighted. Parameters (class centres) and state (running scales, centres that
 * move by a rule of their own) are the module's variables; state is read as it was before the step and written by
 * `ctx.assign` where `ctx.training`.
 */
import { UsageError } from '../core/errors.ts';
import type { Described, OptionSpecs, Options, ResolvedOptions } from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import { Module } from '../nn/module.ts';
import type { MarginLogits } from '../ops/softmax.ts';
import type { TraceContext } from '../plan/trace.ts';

/** What the data and the network decide of a loss. */
export interface LossSize {
  /** Number of people in the training set. */
  readonly classes: number;
  /** Length of the embeddings. Default 128. */
  readonly embeddingSize?: number;
}

export interface LossResult {
  /** Mean over the batch: a scalar. */
  readonly loss: Tensor;
  /** 1 where a picture is recognised, else 0: [B]. What that means, without any margin, the loss says. */
  readonly hits?: Tensor;
  /** 1 where it is recognised with the margin applied, [B], where there is a margin. */
  readonly marginHits?: Tensor;
  /** Cosine to the own class centre, [B]. */
  readonly targetCos?: Tensor;
}

export abstract class Loss extends Module {
  /** What it was made with, as checkpoints hold it. */
  abstract readonly options: LossSize & Readonly<Record<string, unknown>>;
  /** Embeddings [B, d] as the network gives them, int32 labels [B] from 0 to classes − 1. */
  abstract loss(embeddings: Tensor, labels: Tensor, ctx: TraceContext): LossResult;
  protected forward(): Tensor {
    throw new UsageError(
      `${this.constructor.name}: expected a call of loss(embeddings, labels, ctx), got a plain call\nA loss has no output of its own.`,
    );
  }
}

/** A line of a plot of target logits: one set of row scalars. */
export interface LogitCurve {
  /** What tells it from the others of the same loss, such as 'length 10'; '' where there is one only. */
  readonly label: string;
  readonly logits: MarginLogits;
  readonly rowScalars?: readonly number[];
}

/** A loss by name: what recipes, `facegrad train --head` and `facegrad plot` know of it. */
export interface LossEntry<S extends OptionSpecs = OptionSpecs> extends Described<S> {
  /** 'head': trains a network alone; 'term': only beside a head; 'either': both. */
  readonly role: 'head' | 'term' | 'either';
  create(size: LossSize, options?: Options<S>): Loss;
  /** Its target logit over the angle, where it has one. */
  curves?(options: ResolvedOptions<S>): readonly LogitCurve[];
}

/** Makes an entry; the types of its options are those of its `options`. */
export const defineLoss = <S extends OptionSpecs>(entry: LossEntry<S>): LossEntry<S> => entry;
