/**
 * Recipes: everything that decides the numbers of a training run, as one flat record.
 *
 * The one idea: a recipe is data with a schema; the command line, a JSON file and a checkpoint all go through the same
 * check. What only decides how fast a run goes (threads, workers, device) is no part of it, so the same recipe gives the
 * same file everywhere.
 */
import { distance } from 'fastest-levenshtein';
import * as v from 'valibot';
import { UsageError } from '../core/errors.ts';
import { augmentPresets, formatAugment, parseAugment } from '../image/augment.ts';

const whole = (from: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(from));
const above = (low: number) => v.pipe(v.number(), v.finite(), v.gtValue(low));
const between = (low: number, high: number) => v.pipe(v.number(), v.finite(), v.minValue(low), v.maxValue(high));
const atLeast = (low: number) => v.pipe(v.number(), v.finite(), v.minValue(low));
const text = v.pipe(v.string(), v.minLength(1));
const side = v.pipe(whole(16), v.multipleOf(16));

/** Each key: its schema, what it expects in words, and what it means. */
const fields = {
  embeddingSize: { schema: whole(1), expects: 'a whole number of at least 1', means: 'length of the embedding' },
  inputSize: {
    schema: v.tuple([side, side]),
    expects: 'HEIGHTxWIDTH in multiples of 16, such as 112x112',
    means: 'size of the input in pixels',
  },
  width: { schema: above(0), expects: 'a number above 0', means: 'factor on the channel counts' },
  s: { schema: above(0), expects: 'a number above 0', means: 'scale of the logits' },
  m: { schema: between(0, Math.PI / 2), expects: 'a number from 0 to 1.57', means: 'margin in radians' },
  easyMargin: { schema: v.boolean(), expects: 'true or false', means: 'margin only where the cosine is above 0' },

  data: {
    schema: v.optional(text),
    expects: 'a path',
    means: 'data set of any format, such as a folder per person or a .rec; synthetic people without it',
  },
  identities: { schema: whole(2), expects: 'a whole number of at least 2', means: 'synthetic people to train on' },
  imagesPerIdentity: { schema: whole(1), expects: 'a whole number of at least 1', means: 'pictures of each of them' },
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

  batch: { schema: whole(2), expects: 'a whole number of at least 2', means: 'pictures per step' },
  accumulate: {
    schema: whole(1),
    expects: 'a whole number of at least 1',
    means: 'parts that a step takes its batch in; batch norm sees one part at a time',
  },
  recompute: {
    schema: v.boolean(),
    expects: 'true or false',
    means: 'keep only block inputs for the backward pass and compute the rest again',
  },
  epochs: { schema: whole(1), expects: 'a whole number of at least 1', means: 'passes over the data' },
  maxSteps: {
    schema: v.optional(whole(1)),
    expects: 'a whole number of at least 1',
    means: 'steps of the run, in place of epochs',
  },
  lr: { schema: above(0), expects: 'a number above 0', means: 'learning rate' },
  momentum: { schema: v.pipe(between(0, 1), v.ltValue(1)), expects: 'a number from 0 to below 1', means: 'momentum' },
  nesterov: { schema: v.boolean(), expects: 'true or false', means: "Nesterov's form of it" },
  weightDecay: {
    schema: atLeast(0),
    expects: 'a number of at least 0',
    means: 'weight decay (0 for batch norm, PReLU)',
  },
  lastLayerDecayFactor: {
    schema: atLeast(0),
    expects: 'a number of at least 0',
    means: 'factor on it for the last layers and the class centres',
  },
  milestones: {
    schema: v.array(between(0, 1)),
    expects: 'fractions of the run, such as 0.6,0.85',
    means: 'where the learning rate falls',
  },
  gamma: { schema: above(0), expects: 'a number above 0', means: 'by what factor' },
  warmupSteps: { schema: whole(0), expects: 'a whole number of at least 0', means: 'steps of linear warm-up' },
  seed: {
    schema: whole(0),
    expects: 'a whole number of at least 0',
    means: 'of weights, order, flips, synthetic people',
  },

  logEverySteps: { schema: whole(1), expects: 'a whole number of at least 1', means: 'steps between log lines' },
  evalEverySteps: {
    schema: whole(0),
    expects: 'a whole number of at least 0',
    means: 'steps between evaluations; 0: only at the end',
  },
  saveEverySteps: {
    schema: whole(0),
    expects: 'a whole number of at least 0',
    means: 'steps between checkpoints; 0: only at evaluations and the end',
  },
  evalPairs: {
    schema: v.optional(text),
    expects: 'a path',
    means: 'pairs file over the set evalImages, or a verification set such as lfw.bin',
  },
  evalImages: { schema: v.optional(text), expects: 'a path', means: 'set of its pictures, of any format' },
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
  evalIdentities: {
    schema: v.union([v.literal(0), whole(4)]),
    expects: '0, or a whole number of at least 4',
    means: 'synthetic people, never trained on, to evaluate on; 0: no synthetic evaluation',
  },
} as const;

export type RecipeKey = keyof typeof fields;
const shape = Object.fromEntries(Object.entries(fields).map(([k, f]) => [k, f.schema])) as {
  [K in RecipeKey]: (typeof fields)[K]['schema'];
};
const schema = v.strictObject(shape);
/** A resolved recipe, without its name. */
export type RecipeValues = v.InferOutput<typeof schema>;
export interface Recipe extends RecipeValues {
  /** Name of the recipe it started from. */
  readonly recipe: string;
}

const base: RecipeValues = {
  embeddingSize: 128,
  inputSize: [112, 112],
  width: 1,
  s: 64,
  m: 0.5,
  easyMargin: false,
  identities: 200,
  imagesPerIdentity: 20,
  flip: true,
  augment: 'none',
  skipBad: false,
  batch: 64,
  accumulate: 1,
  recompute: false,
  epochs: 20,
  lr: 0.1,
  momentum: 0.9,
  nesterov: true,
  weightDecay: 4e-5,
  lastLayerDecayFactor: 10,
  milestones: [0.6, 0.85],
  gamma: 0.1,
  warmupSteps: 100,
  seed: 1,
  logEverySteps: 10,
  evalEverySteps: 0,
  saveEverySteps: 200,
  evalProtocol: 'insightface',
  evalFlip: 'sum',
  evalIdentities: 100,
};

/** Recipes by name: what they change of the defaults. */
const recipes: Readonly<Record<string, { readonly means: string; readonly changes: Partial<RecipeValues> }>> = {
  'mobilefacenet-arcface': {
    means: 'MobileFaceNet and ArcFace as published: 112x112, 128 numbers, s 64, m 0.5',
    changes: {},
  },
  demo: {
    means: 'a small MobileFaceNet on synthetic people, about a minute on two cores',
    changes: {
      width: 0.5,
      inputSize: [32, 32],
      identities: 150,
      imagesPerIdentity: 20,
      batch: 32,
      maxSteps: 1500,
      s: 24,
      m: 0.2,
      milestones: [0.6, 0.85],
      warmupSteps: 30,
      evalEverySteps: 500,
      saveEverySteps: 250,
      evalIdentities: 200,
    },
  },
};

export const recipeNames = Object.keys(recipes);
export const recipeMeaning = (name: string): string => recipes[name]!.means;

/** Keys with their meaning, what they expect and their default: the command's help. */
export const recipeKeys = (): { key: RecipeKey; means: string; expects: string; fallback: string }[] =>
  (Object.keys(fields) as RecipeKey[]).map((key) => ({
    key,
    means: fields[key].means,
    expects: fields[key].expects,
    fallback: base[key] === undefined ? '' : showValue(key, base[key]),
  }));

const showValue = (key: string, x: unknown): string =>
  Array.isArray(x) ? x.join(key === 'inputSize' ? 'x' : ',') : String(x);
const show = (x: unknown): string => (x === undefined ? 'nothing' : JSON.stringify(x));

/** The candidate nearest in spelling. */
export const nearest = (word: string, candidates: readonly string[]): string =>
  candidates.reduce((a, b) =>
    distance(word.toLowerCase(), b.toLowerCase()) < distance(word.toLowerCase(), a.toLowerCase()) ? b : a,
  );

/** What a text from the command line may stand for, most literal first. */
function* readings(s: string): Generator<unknown> {
  yield s;
  if (s.trim() !== '' && !Number.isNaN(Number(s))) yield Number(s);
  if (s === 'true' || s === 'false') yield s === 'true';
  const list = s.split(/[,x]/).filter((part) => part.trim() !== '');
  if (list.every((part) => !Number.isNaN(Number(part)))) yield list.map(Number);
}

function checkKey(key: string, where: string): RecipeKey {
  if (Object.hasOwn(fields, key)) return key as RecipeKey;
  const known = Object.keys(fields);
  throw new UsageError(
    `${where}: expected a key of the recipe, got '${key}'\nDid you mean '${nearest(key, known)}'? The keys are: ${known.join(', ')}.`,
  );
}

function checkValue(key: RecipeKey, value: unknown, where: string): unknown {
  const found = v.safeParse(fields[key].schema as v.GenericSchema, value);
  if (found.success) return found.output;
  const kind = Array.isArray(value) ? 'a list' : value === null ? 'null' : typeof value;
  throw new UsageError(
    `${where}: '${key}' expected ${fields[key].expects}, got ${show(value)} (${kind})\nIt is the ${fields[key].means}. Give it such a value.`,
  );
}

/** The value of a key written as text: `--inputSize 112x96`, `--milestones 0.5,0.8`, `--flip false`. */
export function parseValue(key: string, raw: string, where = 'recipe'): readonly [RecipeKey, unknown] {
  const known = checkKey(key, where);
  for (const value of readings(raw))
    if (v.safeParse(fields[known].schema as v.GenericSchema, value).success) return [known, value];
  return [known, checkValue(known, raw, where)];
}

/** True for keys that take true or false, so that `--flip` alone can mean true. */
export const isBooleanKey = (key: string): boolean =>
  Object.hasOwn(fields, key) && v.safeParse(fields[key as RecipeKey].schema as v.GenericSchema, true).success;

/**
 * A complete recipe from a name and changes to it.
 * @param where what errors call the source of the changes
 * @throws UsageError for an unknown recipe or key, naming the nearest; for a value of the wrong type, naming the key,
 * what it expects and what came; and for keys that do not fit each other
 */
export function resolveRecipe(name: string, changes: Readonly<Record<string, unknown>> = {}, where = 'recipe'): Recipe {
  const preset = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (!preset)
    throw new UsageError(
      `recipe: expected one of ${recipeNames.join(', ')}, got '${name}'\nDid you mean '${nearest(name, recipeNames)}'?`,
    );
  const given = Object.fromEntries(
    Object.entries(changes)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, checkValue(checkKey(key, where), value, where)]),
  );
  // Keys in the order of the schema: the same recipe is the same text.
  const merged: Record<string, unknown> = { ...base, ...preset.changes, ...given };
  const ordered = Object.fromEntries(
    Object.keys(fields)
      .filter((k) => k in merged)
      .map((k) => [k, merged[k]]),
  );
  const values = v.parse(schema, ordered) as RecipeValues;
  const recipe: Recipe = { recipe: name, ...values };
  if (recipe.batch % recipe.accumulate || recipe.batch / recipe.accumulate < 2)
    throw new UsageError(
      `${where}: expected 'accumulate' to divide 'batch' into parts of at least 2, got batch ${recipe.batch} and accumulate ${recipe.accumulate}\nChange one of them.`,
    );
  if (recipe.nesterov && recipe.momentum === 0)
    throw new UsageError(`${where}: 'nesterov' needs a momentum above 0\nPass --nesterov false, or a momentum.`);
  return recipe;
}

/** A recipe as a checkpoint or a file holds it: `{ "recipe": "mobilefacenet-arcface", "lr": 0.05, … }`. */
export function parseRecipe(json: string, where: string, changes: Readonly<Record<string, unknown>> = {}): Recipe {
  let found: unknown;
  try {
    found = JSON.parse(json);
  } catch (e) {
    throw new UsageError(`${where}: expected a recipe as JSON, but ${(e as Error).message}\nCorrect the file.`);
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    throw new UsageError(`${where}: expected a recipe as a JSON object, got ${show(found)}\nWrite {"lr": 0.1, …}.`);
  const { recipe = 'mobilefacenet-arcface', ...rest } = found as Record<string, unknown>;
  if (typeof recipe !== 'string')
    throw new UsageError(
      `${where}: 'recipe' expected the name of a recipe, got ${show(recipe)}\nNames: ${recipeNames.join(', ')}.`,
    );
  return resolveRecipe(recipe, { ...rest, ...changes }, where);
}

/** The recipe as lines of `key  value`, as `train` prints it. */
export const recipeLines = (recipe: Recipe): string[] =>
  Object.entries(recipe).map(([k, x]) => `${k.padEnd(21)}${showValue(k, x)}`);
