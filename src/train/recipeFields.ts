/**
 * The keys of a recipe: what each takes and means.
 *
 * The one idea: four groups (model, head, optimizer, schedule) are a name from a registry with that entry's options, so a
 * new network or loss is a new recipe without a line here. Everything else is one value, a list, or a record by name.
 */
import * as v from 'valibot';
import {
  entryOf,
  flag,
  number,
  type OptionSpecs,
  oneOf,
  optional,
  text as textOption,
  whole,
} from '../core/options.ts';
import { distillationOptions } from '../heads/distillation.ts';
import { losses } from '../heads/index.ts';
import { augmentPresets, formatAugment, parseAugment } from '../image/augment.ts';
import { architectureOf } from '../models/index.ts';
import { perColour } from '../models/network.ts';
import { optimizers } from '../optim/index.ts';
import { schedules } from '../optim/schedules.ts';
import { patternHelp } from './patterns.ts';

/** A name from a registry with the options of that entry. */
export interface Named {
  readonly name: string;
  readonly [option: string]: unknown;
}

interface Entry {
  readonly options: OptionSpecs;
  /** Options that the name alone says. */
  readonly preset?: Readonly<Record<string, unknown>>;
}

/** The model that is whatever network the weights of `from` are of, imported graphs included. */
export const fromWeights = 'from';

/** Groups: how a name is looked up, and what the group is. */
export const namedGroups = {
  model: {
    means: `network; '${fromWeights}' is that of the weights --from names`,
    entry: (name: string): Entry => {
      if (name === fromWeights) return { options: {} };
      const { family, preset } = architectureOf(name);
      return { options: family.options, preset };
    },
  },
  head: {
    means: 'loss',
    entry: (name: string): Entry =>
      entryOf(
        'head',
        losses.filter((l) => l.role !== 'term'),
        name,
      ),
  },
  optimizer: { means: 'update rule', entry: (name: string): Entry => entryOf('optimizer', optimizers, name) },
  schedule: {
    means: 'course of the learning rate',
    entry: (name: string): Entry => entryOf('schedule', schedules, name),
  },
} as const;
export type NamedKey = keyof typeof namedGroups;

/** Groups without a name. */
export const plainGroups = {
  preprocessing: {
    means: "how pixels become input; the network's own where it is left out",
    options: {
      colourOrder: optional(oneOf(['RGB', 'BGR'], 'RGB', 'order of the colours that the network takes')),
      mean: optional(perColour({}, 127.5, 'number taken from each pixel')),
      scale: optional(perColour({ above: 0 }, 1 / 128, 'factor after that')),
    },
  },
  sampler: {
    means:
      'batches of some people with some pictures each, for metric losses; every picture once an epoch where it is left out',
    options: {
      people: optional(whole({ from: 1 }, 16, 'people in a batch')),
      images: optional(whole({ from: 1 }, 4, 'pictures of each')),
    },
  },
  distillation: {
    means: "learning from a teacher's embeddings beside the labels",
    options: {
      teacher: optional(textOption('', 'weights file of the teacher')),
      weight: number({ from: 0 }, 1, 'factor on its loss'),
      form: distillationOptions.form,
      raw: distillationOptions.raw,
    },
  },
  ema: {
    means: 'moving average of the weights, which evaluation and use then take',
    options: {
      decay: number({ from: 0, below: 1 }, 0, 'share of the old average that is kept; 0 for no average'),
      // Without it a short run is evaluated by what it began with.
      warmUp: flag(true, 'switch for a smaller share in the first steps'),
    },
  },
  clip: {
    means: 'limits on the gradient',
    options: {
      norm: number({ from: 0 }, 0, 'longest gradient, all parameters as one vector; 0 for none'),
      value: number({ from: 0 }, 0, 'largest magnitude of a number; 0 for none'),
    },
  },
  prune: {
    means: 'setting more and more of the smallest weights to 0 while training',
    options: {
      sparsity: number({ from: 0, below: 1 }, 0, 'share of zeros at last; 0 for no pruning'),
      start: number({ from: 0, to: 1 }, 0.1, 'share of the run after which it begins'),
      end: number({ from: 0, to: 1 }, 0.7, 'share of the run after which it is done'),
      everySteps: whole({ from: 1 }, 100, 'number of steps between changes'),
      of: textOption('@conv,@dense', 'parameters that are pruned, patterns separated by commas'),
    },
  },
  earlyStop: {
    means: 'ending a run that no longer gets better',
    options: {
      patience: whole({ from: 0 }, 0, 'evaluations without improvement that are borne; 0 for no end'),
      minDelta: number({ from: 0 }, 0, 'how much better is an improvement'),
      metric: oneOf(['accuracy', 'loss'], 'accuracy', 'what is looked at'),
    },
  },
} as const;
export type PlainKey = keyof typeof plainGroups;

const wholeNumber = (from: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(from));
const above = (low: number) => v.pipe(v.number(), v.finite(), v.gtValue(low));
const atLeast = (low: number) => v.pipe(v.number(), v.finite(), v.minValue(low));
const text = v.pipe(v.string(), v.minLength(1));
const from1 = 'a whole number of at least 1';
const from0 = 'a whole number of at least 0';
const pairsPath = v.union([
  text,
  v.strictObject({ pairs: v.optional(text), images: v.optional(text), folds: v.optional(wholeNumber(2)) }),
]);
const factors = v.record(text, atLeast(0));
const factorsText = 'patterns with a factor, such as @norm=0,@head=10';

/** `a=1,b=2` as a record. A name that comes twice has both values, which no schema takes. */
const recordOf = (read: (s: string) => unknown) => (s: string) => {
  const out = new Map<string, unknown>();
  for (const part of words(s)) {
    const [name = '', value = ''] = part.split(/=(.*)/s).map((x) => x.trim());
    out.set(name, out.has(name) ? [out.get(name), read(value)] : read(value));
  }
  return Object.fromEntries(out);
};
const words = (s: string): string[] =>
  s
    .split(',')
    .map((w) => w.trim())
    .filter((w) => w !== '');
const numeric = (s: string): unknown => (s === '' || Number.isNaN(Number(s)) ? s : Number(s));

/** Every other key: its schema, what it expects in words, what it means, and how text that is no plain value is read. */
export const fields = {
  data: {
    schema: v.optional(v.union([text, v.pipe(v.array(text), v.minLength(1))])),
    expects: 'a path, or several separated by commas',
    means:
      'data sets of any format, such as a folder per person or a .rec; several are joined; synthetic people without it',
    text: (s: string) => (s.includes(',') ? words(s) : s),
  },
  mergeIdentities: {
    schema: v.boolean(),
    expects: 'true or false',
    means: 'people of equal name in several sets are one person',
  },
  identities: {
    schema: wholeNumber(2),
    expects: 'a whole number of at least 2',
    means: 'synthetic people to train on',
  },
  imagesPerIdentity: { schema: wholeNumber(1), expects: from1, means: 'pictures of each of them' },
  flip: { schema: v.boolean(), expects: 'true or false', means: 'mirror half of the pictures' },
  augment: {
    // Kept as operations, so that a checkpoint goes on alike whatever becomes of a preset.
    schema: v.pipe(
      v.string(),
      v.transform((spec) => formatAugment(parseAugment(spec))),
    ),
    expects: `none, ${Object.keys(augmentPresets).join(', ')}, or operations such as crop=8,rotate=10 (see facegrad augment --help)`,
    means: 'random changes of the pictures',
  },
  skipBad: { schema: v.boolean(), expects: 'true or false', means: 'leave unreadable pictures out and say so' },

  from: {
    schema: v.optional(text),
    expects: 'a path',
    means: 'weights to start from: the network, and the head where it and its people are the same',
  },
  fromMissing: {
    schema: v.picklist(['error', 'fresh']),
    expects: 'error or fresh',
    means: 'what becomes of tensors that those weights lack or have in another shape',
  },
  fromHead: {
    schema: v.picklist(['auto', 'never']),
    expects: 'auto or never',
    means: 'whether the head is taken from them, too',
  },
  freeze: {
    schema: v.array(text),
    expects: 'patterns separated by commas, such as @backbone',
    means: `parameters that are not trained (${patternHelp})`,
    text: words,
  },
  freezeEpochs: {
    schema: wholeNumber(0),
    expects: from0,
    means: 'epochs after which all of them are trained; 0: they stay frozen',
  },

  headWeight: {
    schema: atLeast(0),
    expects: 'a number of at least 0',
    means: "factor on the head's loss; 0 to learn from terms or a teacher alone",
  },
  terms: {
    schema: v.record(text, v.unknown()),
    expects: 'losses beside the head with their weights, such as center=0.01',
    means: 'losses beside the head',
    text: recordOf(numeric),
  },

  batch: { schema: wholeNumber(2), expects: 'a whole number of at least 2', means: 'pictures per step' },
  accumulate: {
    schema: wholeNumber(1),
    expects: from1,
    means: 'parts that a step takes its batch in; batch norm sees one part at a time',
  },
  recompute: {
    schema: v.boolean(),
    expects: 'true or false',
    means: 'keep only block inputs for the backward pass and compute the rest again',
  },
  epochs: { schema: wholeNumber(1), expects: from1, means: 'passes over the data' },
  maxSteps: { schema: v.optional(wholeNumber(1)), expects: from1, means: 'steps of the run, in place of epochs' },
  lr: { schema: above(0), expects: 'a number above 0', means: 'learning rate' },
  weightDecay: { schema: atLeast(0), expects: 'a number of at least 0', means: 'weight decay' },
  decayRules: {
    schema: factors,
    expects: factorsText,
    means: `factors on the weight decay; the last pattern that fits counts (${patternHelp})`,
    text: recordOf(numeric),
  },
  rateRules: {
    schema: factors,
    expects: factorsText,
    means: 'factors on the learning rate, in the same way',
    text: recordOf(numeric),
  },
  seed: { schema: wholeNumber(0), expects: from0, means: 'of weights, order, flips, synthetic people' },

  logEverySteps: { schema: wholeNumber(1), expects: from1, means: 'steps between log lines' },
  evalEverySteps: { schema: wholeNumber(0), expects: from0, means: 'steps between evaluations; 0: only at the end' },
  saveEverySteps: {
    schema: wholeNumber(0),
    expects: from0,
    means: 'steps between checkpoints; 0: only at evaluations and the end',
  },
  keepLast: {
    schema: wholeNumber(0),
    expects: from0,
    means: 'how many checkpoints of earlier steps stay in the folder beside last and best',
  },
  samples: { schema: v.boolean(), expects: 'true or false', means: 'pictures of a batch and of the hardest pairs' },
  tensorBoard: { schema: v.boolean(), expects: 'true or false', means: 'event files for TensorBoard' },
  histograms: {
    schema: v.boolean(),
    expects: 'true or false',
    means: 'histograms of all weights in them, at every evaluation',
  },
  validation: {
    schema: v.record(text, pairsPath),
    expects: 'sets by name, such as lfw=lfw.bin,agedb=agedb_30.bin',
    means: 'verification sets: .bin files, or in a file {pairs, images, folds}',
    text: recordOf((s) => s),
  },
  evalProtocol: {
    schema: v.picklist(['insightface', 'cosine']),
    expects: 'insightface or cosine',
    means: 'verification protocol',
  },
  evalFlip: {
    schema: v.picklist(['none', 'sum', 'unitSum', 'concat']),
    expects: 'none, sum, unitSum or concat',
    means: 'how the mirrored picture counts',
  },
  evalBatchStatistics: {
    schema: v.boolean(),
    expects: 'true or false',
    means: 'evaluate with the batch norm moments of each batch, as while training, in place of the running ones',
  },
  evalIdentities: {
    schema: v.union([v.literal(0), wholeNumber(4)]),
    expects: '0, or a whole number of at least 4',
    means: 'synthetic people, never trained on, to evaluate on; 0: no synthetic evaluation',
  },
} as const;
export type FieldKey = keyof typeof fields;

/** Keys that stand for an option of a group, or for a rule. */
export const shorthands: Readonly<Record<string, readonly [group: NamedKey, option: string]>> = {
  embeddingSize: ['model', 'embeddingSize'],
  inputSize: ['model', 'inputSize'],
  width: ['model', 'width'],
  s: ['head', 's'],
  m: ['head', 'm'],
  easyMargin: ['head', 'easyMargin'],
  momentum: ['optimizer', 'momentum'],
  nesterov: ['optimizer', 'nesterov'],
  milestones: ['schedule', 'milestones'],
  gamma: ['schedule', 'gamma'],
  warmupSteps: ['schedule', 'warmupSteps'],
};
