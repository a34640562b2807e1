/** What every face network is: a module from normalised images to embeddings that says how its images are prepared. */
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

/** uint8 RGB images [N, H, W, 3] to network input, inside the plan: colours in the network's order, normalised. */
export const preprocess = (images: Tensor, { colourOrder, mean, scale }: Preprocessing): Tensor =>
  elementwise('preprocess', E.mul(E.sub(E.input(0), mean), scale), [
    colourOrder === 'BGR' ? flip(images, [3]) : images,
  ]);
