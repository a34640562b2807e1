/** What every face network is: a module from normalised images to embeddings that says how its images are prepared. */
import {
  type Described,
  imageSize,
  number,
  type OptionSpec,
  type OptionSpecs,
  type Options,
  whole,
} from '../core/options.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import type { Module } from '../nn/module.ts';
import { flip } from '../ops/movement.ts';
import { elementwise } from '../ops/pointwise.ts';

/** A number for all colours, or one for each, in the order that the network takes. */
export type PerColour = number | readonly [number, number, number];

/** How pixels become network input. Travels with the weights. */
export interface Preprocessing {
  /** The order the network takes; pictures are RGB everywhere else. */
  readonly colourOrder: 'RGB' | 'BGR';
  /** Input = (pixel − mean) · scale, pixels 0..255. */
  readonly mean: PerColour;
  readonly scale: PerColour;
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
  /** Its own until training or a checkpoint says otherwise. */
  preprocessing: Preprocessing;
  /** The only number of images that it takes at once, where there is one. */
  readonly batch?: number | undefined;
}

/** Options that every network here has, with the embedding size and the input size that are usual for it. */
export const frameOptions = (embeddingSize = 128, inputSize: readonly [number, number] = [112, 112], step = 16) => ({
  embeddingSize: whole({ from: 1 }, embeddingSize, 'length of the embedding'),
  inputSize: imageSize(step, inputSize),
  width: number({ above: 0 }, 1, 'factor on the channel counts'),
});

/** A family of networks by name, and by the names of its usual settings. */
export interface ModelEntry<S extends OptionSpecs = OptionSpecs> extends Described<S> {
  create(options?: Options<S>): FaceNetwork;
  /** Short names for options of this family; a checkpoint holds the family's name and the options. */
  readonly variants: Readonly<Record<string, { readonly means: string; readonly options: Options<S> }>>;
}

/** Makes an entry; the types of its options are those of its `options`. */
export const defineModel = <S extends OptionSpecs>(entry: ModelEntry<S>): ModelEntry<S> => entry;

/** A channel count times the width, a multiple of 8, which is what the kernels' vectors are. */
export const scaleChannels = (channels: number, width: number): number =>
  Math.max(8, Math.round((channels * width) / 8) * 8);

/** An option that is a number, or three, one a colour. */
export const perColour = (
  range: Parameters<typeof number>[0],
  fallback: number,
  means: string,
): OptionSpec<PerColour> => {
  const one = number(range, fallback, means);
  return {
    ...one,
    expects: `${one.expects}, or three, one a colour`,
    accepts: (x) => one.accepts(x) || (Array.isArray(x) && x.length === 3 && x.every(one.accepts)),
  };
};

/** In words: 'RGB, (x - 127.5) * 0.0078125'. */
export function showPreprocessing({ colourOrder, mean, scale }: Preprocessing): string {
  const show = (v: PerColour) =>
    typeof v === 'number' ? String(Number(v.toPrecision(6))) : `[${v.map((n) => Number(n.toPrecision(6))).join(', ')}]`;
  return `${colourOrder}, (x - ${show(mean)}) * ${show(scale)}`;
}

/** uint8 RGB images [N, H, W, 3] to network input, inside the plan: colours in the network's order, normalised. */
export function preprocess(images: Tensor, { colourOrder, mean, scale }: Preprocessing): Tensor {
  const inputs = [colourOrder === 'BGR' ? flip(images, [3]) : images];
  const term = (v: PerColour) => (typeof v === 'number' ? v : E.input(inputs.push(tensor([...v])) - 1));
  return elementwise('preprocess', E.mul(E.sub(E.input(0), term(mean)), term(scale)), inputs);
}
