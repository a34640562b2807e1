/** What every face network is: a module from normalised images to embeddings that says how its images are prepared. */
import { UsageError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import type { Module } from '../nn/module.ts';
import { flip } from '../ops/movement.ts';
import { elementwise } from '../ops/pointwise.ts';

/** How pixels become network input. Travels with the weights. */
export interface Preprocessing {
  /** The order the network takes; pictures are RGB everywhere else. */
  readonly colourOrder: 'RGB' | 'BGR';
  /** Input = (pixel − mean) · scale, pixels 0..255. */
  readonly mean: number;
  readonly scale: number;
  /** [height, width]. */
  readonly inputSize: readonly [number, number];
}

export const defaultPreprocessing: Preprocessing = {
  colourOrder: 'RGB',
  mean: 127.5,
  scale: 1 / 128,
  inputSize: [112, 112],
};

export interface FaceNetwork extends Module {
  /** Name in the registry and in checkpoints. */
  readonly architecture: string;
  readonly options: Readonly<Record<string, unknown>> & { readonly embeddingSize: number };
  readonly preprocessing: Preprocessing;
}

/** What every network here lets its user choose. */
export interface FrameOptions {
  /** Length of the embedding. */
  readonly embeddingSize: number;
  /** [height, width] in pixels, multiples of 16. */
  readonly inputSize: readonly [number, number];
  /** Multiplies every inner channel count. */
  readonly width: number;
}

/** Throws UsageError, in the name of `network`, for options that make no network. */
export function checkFrame(network: string, { embeddingSize, inputSize: [h, w], width }: FrameOptions): void {
  if (h % 16 || w % 16 || h < 16 || w < 16)
    throw new UsageError(
      `${network}: expected an input size in multiples of 16, got ${h}x${w}\nUse 112x112, 112x96 or 96x96.`,
    );
  if (!(width > 0))
    throw new UsageError(`${network}: expected a width above 0, got ${width}\nUse 1 for the paper's network.`);
  if (!Number.isInteger(embeddingSize) || embeddingSize < 1)
    throw new UsageError(
      `${network}: expected a whole embedding size of at least 1, got ${embeddingSize}\nUse 128 or 512, as the papers do.`,
    );
}

/** A channel count times the width, a multiple of 8, which is what the kernels' vectors are. */
export const scaleChannels = (channels: number, width: number): number =>
  Math.max(8, Math.round((channels * width) / 8) * 8);

/** uint8 RGB images [N, H, W, 3] to network input, inside the plan: colours in the network's order, normalised. */
export const preprocess = (images: Tensor, { colourOrder, mean, scale }: Preprocessing): Tensor =>
  elementwise('preprocess', E.mul(E.sub(E.input(0), mean), scale), [
    colourOrder === 'BGR' ? flip(images, [3]) : images,
  ]);
