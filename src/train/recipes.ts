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
  // Ten times the decay in the layers after the global operator, as in MobileFaceNet's paper, and in the class centres.
  decayRules: { 'embedding.*': 10, '@head': 10, '@norm': 0, '@prelu': 0 },
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
  evalBatchStatistics: false,
  evalIdentities: 100,
};

export interface ReadyRecipe {
  /** One line, without a full stop. */
  readonly means: string;
  /** Where its settings are from. */
  readonly source: string;
  /** The recipe it differs from; without it the defaults. */
  readonly extends?: string;
  /** What only its user can give: paths of the data, of weights to start from, of a teacher. */
  readonly needs?: readonly ('data' | 'from' | 'distillation.teacher')[];
  readonly changes: RecipeChanges;
}

/** What the published recipes share: they are for real pictures. */
const published = { needs: ['data'] } as const;
const casia = 'CASIA-WebFace';

/** Drops of the rate. The warm-up of the defaults is none of what was published. */
const drops = (milestones: readonly number[], unit: 'epochs' | 'steps', more: RecipeChanges = {}) =>
  ({ name: 'step', milestones, unit, gamma: 0.1, warmupSteps: 0, ...more }) as const;

/** Settings of several recipes. */
const facePytorch: RecipeChanges = {
  preprocessing: { colourOrder: 'BGR', mean: 127.5, scale: 1 / 127.5 },
  head: { name: 'arcface', s: 32, m: 0.5 },
  schedule: drops([6, 11, 16], 'epochs'),
  epochs: 18,
  batch: 200,
  lr: 0.1,
  weightDecay: 5e-4,
  decayRules: {},
  evalProtocol: 'cosine',
  evalFlip: 'concat',
};
const multiFace: RecipeChanges = {
  preprocessing: { colourOrder: 'BGR', mean: 127.5, scale: 1 / 127.5 },
  head: { name: 'multiface', loss: 'arcface', n: 2, s: 64, m: 0.3 },
  optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
  schedule: drops([12, 15, 18], 'epochs'),
  epochs: 20,
  batch: 180,
  lr: 0.05,
  evalFlip: 'unitSum',
};
const arcfaceTorch: RecipeChanges = {
  preprocessing: { mean: 127.5, scale: 1 / 127.5 },
  head: { name: 'arcface', s: 64, m: 0.5, init: 'normal' },
  optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
  schedule: { name: 'poly', power: 2 },
  batch: 128,
  // Of its configuration for one GPU; with eight of this batch it is 0.1.
  lr: 0.02,
  decayRules: {},
};
const treb1enIr = { midBatchNorm: false, shortcut: 'pool', dropout: 0.6 } as const;

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

  'casia-mobilefacenet-arcface': {
    ...published,
    means: `the paper's small protocol: MobileFaceNet on ${casia}, 60,000 steps of 512 pictures`,
    source: 'Chen et al. 2018, arXiv 1804.07573, section 4.1',
    changes: {
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
      schedule: drops([36_000, 52_000, 58_000], 'steps'),
      batch: 512,
      maxSteps: 60_000,
      lr: 0.1,
      weightDecay: 4e-5,
      decayRules: { 'embedding.*': 10, '@head': 10, '@norm': 0 },
      evalEverySteps: 2000,
      saveEverySteps: 1000,
    },
  },
  'casia-mobilefacenet-xiaoccer': {
    ...published,
    extends: 'casia-mobilefacenet-arcface',
    means: `MobileFaceNet at 112x96 on ${casia}, 70 epochs, no decay of PReLU`,
    source: 'MobileFaceNet_Pytorch (Xiaoccer)',
    changes: {
      model: { inputSize: [112, 96] },
      head: { s: 32 },
      optimizer: { nesterov: true },
      schedule: { milestones: [36, 52, 58], unit: 'epochs' },
      epochs: 70,
      maxSteps: null,
      // Batch norm decays like its layer.
      decayRules: { 'embedding.*': 10, '@head': 10, '@prelu': 0 },
      evalProtocol: 'cosine',
      evalFlip: 'concat',
    },
  },
  'casia-mobilefacenet-softmax': {
    ...published,
    extends: 'casia-mobilefacenet-arcface',
    means: 'the same with softmax, as the first stage where ArcFace does not converge from nothing',
    source: "InsightFace's advice for MobileFaceNet: softmax first",
    changes: { head: 'softmax' },
  },

  'face-pytorch-mobilefacenet': {
    ...published,
    means: 'Face_Pytorch: MobileFaceNet, ArcFace s 32, BGR; published LFW 99.23 % (small protocol)',
    source: 'Face_Pytorch (wujiyang), train.py',
    changes: facePytorch,
  },
  'face-pytorch-ir-50': {
    ...published,
    extends: 'face-pytorch-mobilefacenet',
    means: 'Face_Pytorch: IR-50; published LFW 99.42 % (small protocol)',
    source: 'Face_Pytorch (wujiyang), train.py',
    changes: { model: 'ir-50' },
  },
  'face-pytorch-ir-se-50': {
    ...published,
    extends: 'face-pytorch-mobilefacenet',
    means: 'Face_Pytorch: SE-IR-50; published LFW 99.43 % (small protocol)',
    source: 'Face_Pytorch (wujiyang), train.py',
    changes: { model: 'ir-se-50' },
  },
  'face-pytorch-ir-100': {
    ...published,
    extends: 'face-pytorch-mobilefacenet',
    means: 'Face_Pytorch: IR-100; published LFW 99.83 % (large protocol)',
    source: 'Face_Pytorch (wujiyang), train.py',
    changes: { model: 'ir-100' },
  },
  'face-pytorch-attention-56': {
    ...published,
    extends: 'face-pytorch-mobilefacenet',
    means: 'Face_Pytorch: Residual Attention-56',
    source: 'Face_Pytorch (wujiyang), train.py',
    changes: { model: 'residual-attention-56' },
  },
  'face-pytorch-softmax': {
    ...published,
    extends: 'face-pytorch-mobilefacenet',
    means: 'Face_Pytorch: ResNet-50 and softmax, 50 epochs',
    source: 'Face_Pytorch (wujiyang), train_softmax.py',
    changes: { model: 'resnet-50', head: 'softmax', epochs: 50, batch: 256, schedule: { milestones: [20, 35, 45] } },
  },
  'face-pytorch-center': {
    ...published,
    extends: 'face-pytorch-softmax',
    means: 'Face_Pytorch: softmax and center loss, 80 epochs',
    source: 'Face_Pytorch (wujiyang), train_center.py with its center loss switched on',
    changes: {
      terms: { center: { weight: 0.01, form: 'gradient' } },
      // Plain SGD at 0.5 for the centres, without decay; a momentum of 0.9 makes ten times of a rate.
      rateRules: { 'center.*': 0.5 },
      decayRules: { 'center.*': 0 },
      epochs: 80,
      schedule: { milestones: [25, 50, 65] },
    },
  },

  'mobilefacenet-tf-adam': {
    ...published,
    means: 'MobileFaceNet of TensorFlow, ArcFace, Adam with epsilon 0.1, prelogits norm, averaged weights',
    source: 'MobileFaceNets_TF (RichieMay), train_nets.py',
    changes: {
      model: 'mobilefacenet-tf',
      optimizer: { name: 'adam', eps: 0.1, epsilonHat: true },
      // TensorFlow keeps the old rate at the boundary itself.
      schedule: drops([80_001, 100_001, 120_001, 140_001], 'steps', { values: [1e-3, 5e-4, 3e-4, 1e-4, 1e-5] }),
      terms: { 'prelogits-norm': 2e-5 },
      ema: { decay: 0.999, warmUp: false },
      batch: 90,
      maxSteps: 800_000,
      lr: 1e-3,
      weightDecay: 5e-5,
      decayRules: { '@norm': 0, '@prelu': 0, '@bias': 0, '@depthwise': 0, '@head': 0 },
      evalFlip: 'none',
    },
  },
  'mobilefacenet-tf-sgd': {
    ...published,
    extends: 'mobilefacenet-tf-adam',
    means: 'the same with SGD and drops by epochs; published LFW 99.4 % (MS1M)',
    source: 'MobileFaceNet_TF (sirius-ai), train_nets.py',
    changes: {
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: true },
      schedule: drops([5, 8, 10, 12], 'epochs', { values: [0.1, 0.01, 1e-3, 1e-4, 1e-5] }),
      epochs: 12,
      maxSteps: null,
      lr: 0.1,
    },
  },

  pretrain: {
    ...published,
    means: 'first of three stages: softmax, Adam; then retrain and tune from its weights',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), session train',
    changes: {
      preprocessing: { mean: 127.5, scale: 1 / 127.5 },
      head: { name: 'softmax', bias: true },
      optimizer: { name: 'adam' },
      // Keras's patience of 3 counts the result that lowers the rate; it has one an epoch.
      schedule: { name: 'plateau', metric: 'loss', factor: 0.2, patience: 2, thresholdMode: 'abs', minLr: 1e-6 },
      flip: false,
      epochs: 30,
      batch: 256,
      lr: 1e-3,
      weightDecay: 0,
      evalEverySteps: 2000, // about an epoch of CASIA-WebFace
    },
  },
  retrain: {
    needs: ['data', 'from'],
    extends: 'pretrain',
    means: 'second stage: ArcFace with the automatic scale, from the weights of pretrain',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), session retrain',
    changes: { head: { name: 'arcface', s: 'auto', m: 0.5 } },
  },
  tune: {
    needs: ['data', 'from'],
    extends: 'retrain',
    means: 'third stage: the same at a tenth of the rate, from the weights of retrain',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), session tune',
    changes: { lr: 1e-4 },
  },
  'k210-pretrain': {
    ...published,
    extends: 'pretrain',
    means: 'the first stage for the K210 network at 128x128',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), train.py',
    changes: { model: { name: 'k210-s', inputSize: [128, 128] } },
  },
  'k210-retrain': {
    needs: ['data', 'from'],
    extends: 'retrain',
    means: 'the second stage for the K210 network',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), train.py',
    changes: { model: { name: 'k210-s', inputSize: [128, 128] } },
  },
  'k210-tune': {
    needs: ['data', 'from'],
    extends: 'k210-retrain',
    means: 'the third stage for the K210 network',
    source: 'MobileFaceNet-Keras-K210 (AIWintermuteAI), train.py',
    changes: { lr: 1e-4 },
  },

  'multiface-mobilefacenet': {
    ...published,
    means: 'MultiFace: two ArcFace spheres on a MobileFaceNet of 512 numbers; published LFW 99.52 % (MS1M)',
    source: 'MultiFace (KikimorMay), train.py; Xu et al. 2021, arXiv 2101.09899',
    changes: {
      ...multiFace,
      model: 'mobilefacenet-512',
      weightDecay: 4e-5,
      decayRules: { '@norm': 0, '@dense': 10, '@head': 10 },
    },
  },
  'multiface-ir-se-100': {
    ...published,
    means: 'MultiFace: two ArcFace spheres on SE-IR-100; published AgeDB-30 98.20 % (MS1M)',
    source: 'MultiFace (KikimorMay), train.py; Xu et al. 2021, arXiv 2101.09899',
    changes: {
      ...multiFace,
      model: { name: 'ir-se-100', ...treb1enIr },
      weightDecay: 5e-4,
      decayRules: { '@norm': 0 },
    },
  },
  'treb1en-ir-se-50': {
    ...published,
    means: 'InsightFace_Pytorch: SE-IR-50, ArcFace, BGR',
    source: 'InsightFace_Pytorch (TreB1eN), train.py',
    changes: {
      ...multiFace,
      model: { name: 'ir-se-50', ...treb1enIr },
      head: { name: 'arcface', s: 64, m: 0.5 },
      batch: 96,
      lr: 1e-3,
      weightDecay: 5e-4,
      decayRules: { '@norm': 0 },
    },
  },

  'slim-resnet-arcface': {
    ...published,
    means: 'InsightFace-tensorflow: ResNet v2-m-50, ArcFace, rates for 512 pictures scaled; published LFW 99.53 %',
    source: 'InsightFace-tensorflow (luckycallor), config_ms1m_100.yaml',
    changes: {
      model: 'slim-resnet-v2-m-50',
      preprocessing: { mean: 127.5, scale: 1 / 127.5 },
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
      schedule: drops([40_000, 60_000, 80_000], 'steps', {
        values: [0.004, 0.002, 0.0012, 0.0004],
        batchBase: 512,
        batchRule: 'whole',
      }),
      // 20 epochs, each of 100,000 steps whatever the data.
      maxSteps: 2_000_000,
      batch: 100,
      lr: 0.004,
      weightDecay: 5e-4,
      decayRules: { '*.bias': 0, '@dense': 0, '@head': 1 },
      evalEverySteps: 2000,
      evalFlip: 'unitSum',
    },
  },
  'slim-resnet-finetune': {
    needs: ['data', 'from'],
    extends: 'slim-resnet-arcface',
    means: 'its fine-tuning: the class layer alone for one epoch, then everything',
    source: 'InsightFace-tensorflow (luckycallor), finetune_softmax.py',
    changes: { freeze: ['@backbone'], freezeEpochs: 1 },
  },

  'insightface-mobilefacenet-y1': {
    ...published,
    means: 'InsightFace: y1, ArcFace, lr 0.1 for 512 pictures, decay 4e-5 and ten times that for the class centres',
    source: 'InsightFace (deepinsight), recognition/ArcFace',
    changes: {
      model: 'mobilefacenet-y1',
      head: { init: 'normal' },
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
      schedule: drops([100_000, 160_000, 220_000], 'steps'),
      batch: 512,
      // Its trainer goes on until it is stopped.
      maxSteps: 240_000,
      lr: 0.1,
      weightDecay: 4e-5,
      // MXNet decays weights and slopes, and no biases.
      decayRules: { '*.bias': 0, '@head': 10 },
    },
  },
  'insightface-ir-100': {
    ...published,
    extends: 'insightface-mobilefacenet-y1',
    means: 'InsightFace: IR-100 (LResNet100E-IR), ArcFace, decay 5e-4',
    source: 'InsightFace (deepinsight), recognition/ArcFace',
    changes: { model: 'ir-100', weightDecay: 5e-4, decayRules: { '*.bias': 0 } },
  },
  'arcface-torch-mbf': {
    ...published,
    means: 'arcface_torch: mbf, ArcFace, polynomial rate over 40 epochs',
    source: 'InsightFace (deepinsight), recognition/arcface_torch',
    changes: { ...arcfaceTorch, model: 'mbf', epochs: 40, weightDecay: 1e-4 },
  },
  'partial-fc-ir-50': {
    ...published,
    means: 'Partial FC: a tenth of the class centres in each step, for hundreds of thousands of people',
    source: 'An et al. 2021, arXiv 2010.05222, and arcface_torch',
    changes: {
      ...arcfaceTorch,
      model: 'ir-50',
      head: { name: 'arcface', s: 64, m: 0.5, init: 'normal', sampleRate: 0.1 },
      epochs: 20,
      weightDecay: 5e-4,
    },
  },
  'triplet-finetune': {
    needs: ['data', 'from'],
    means: "triplet loss from a classifier's weights: 12 people with 5 pictures each, margin 0.3, semi-hard",
    source: "InsightFace's triplet training; Schroff et al. 2015, arXiv 1503.03832",
    changes: {
      model: 'from',
      head: { name: 'triplet', mining: 'semi-hard', margin: 0.3 },
      sampler: { people: 12, images: 5 },
      batch: 60,
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: false },
      lr: 0.005,
      schedule: { name: 'constant' },
      weightDecay: 5e-4,
      decayRules: { '*.bias': 0 },
    },
  },
  finetune: {
    needs: ['data', 'from'],
    means: 'weights of another data set: the new head alone for one epoch, then everything at a low rate',
    source: 'facegrad',
    changes: {
      model: 'from',
      freeze: ['@backbone'],
      freezeEpochs: 1,
      epochs: 6,
      lr: 0.01,
      schedule: { name: 'cosine' },
    },
  },
  distill: {
    needs: ['data', 'distillation.teacher'],
    means: "MobileFaceNet taught by a larger network's embeddings beside ArcFace",
    source: 'Hinton et al. 2015, arXiv 1503.02531; Duong et al. 2019, arXiv 1905.10620',
    changes: { distillation: { weight: 10, form: 'cosine' } },
  },
};
