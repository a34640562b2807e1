/**
 * Ready recipes: the published settings of the field, by name, each with where it is from.
 *
 * A recipe says only in what it differs from the one it extends, and in the end from `base`.
 */
import type { RecipeChanges } from './recipe.ts';

/** The defaults of every recipe. */
export const base: RecipeChanges = {
  model: { name: 'mobilefacenet' },
  head: { name: 'arcface' },
  optimizer: { name: 'sgd', momentum: 0.9, nesterov: true },
  schedule: { name: 'step', milestones: [0.6, 0.85], gamma: 0.1, warmupSteps: 100 },
  mergeIdentities: false,
  identities: 200,
  imagesPerIdentity: 20,
  flip: true,
  augment: 'none',
  skipBad: false,
  fromMissing: 'error',
  fromHead: 'auto',
  freeze: [],
  freezeEpochs: 0,
  headWeight: 1,
  terms: {},
  batch: 64,
  accumulate: 1,
  recompute: false,
  epochs: 20,
  lr: 0.1,
  weightDecay: 4e-5,
  decayRules: {
    '@norm': 0,
    '@prelu': 0,
    'globalDepthwise.conv.weight': 10,
    'embedding.conv.weight': 10,
    '@head': 10,
  },
  rateRules: {},
  seed: 1,
  logEverySteps: 10,
  evalEverySteps: 0,
  saveEverySteps: 200,
  keepLast: 0,
  samples: true,
  tensorBoard: true,
  histograms: false,
  validation: {},
  evalProtocol: 'insightface',
  evalFlip: 'sum',
  evalIdentities: 100,
};

export interface ReadyRecipe {
  readonly means: string;
  /** Where its settings are from. */
  readonly source: string;
  /** The recipe it differs from; without it the defaults. */
  readonly extends?: string;
  readonly changes: RecipeChanges;
}

export const readyRecipes: Readonly<Record<string, ReadyRecipe>> = {
  'mobilefacenet-arcface': {
    means: 'MobileFaceNet and ArcFace as published: 112x112, 128 numbers, s 64, m 0.5',
    source: 'Chen et al. 2018, arXiv 1804.07573, section 3.3; Deng et al. 2019, arXiv 1801.07698',
    changes: {},
  },
  demo: {
    means: 'a small MobileFaceNet on synthetic people, about a minute on two cores',
    source: 'facegrad',
    changes: {
      model: { width: 0.5, inputSize: [32, 32] },
      head: { s: 24, m: 0.2 },
      schedule: { warmupSteps: 30 },
      identities: 150,
      batch: 32,
      maxSteps: 1500,
      evalEverySteps: 500,
      saveEverySteps: 250,
      evalIdentities: 200,
    },
  },
};
