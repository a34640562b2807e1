/**
 * Recipes: everything that decides the numbers of a training run, as one record of plain data.
 *
 * The one idea: a recipe is data with a schema (recipeFields.ts); the command line, a YAML or JSON file and a checkpoint all
 * go through the same check. What only decides how fast a run goes (threads, workers, device) is no part of it, so the
 * same recipe gives the same file everywhere. Recipes are changes laid over one another: the defaults, the recipe that
 * one extends, its own keys, the command line. A group whose name changes begins with that entry's defaults.
 */
import * as v from 'valibot';
import { parse as parseYaml } from 'yaml';
import { UsageError } from '../core/errors.ts';
import { entryOf, nearest, readings, readOption, resolveOptions } from '../core/options.ts';
import { losses } from '../heads/index.ts';
import { schedules } from '../optim/schedules.ts';
import {
  type FieldKey,
  fields,
  fromWeights,
  type Named,
  type NamedKey,
  namedGroups,
  type PlainKey,
  plainGroups,
  shorthands,
} from './recipeFields.ts';
import { base, readyRecipes } from './recipes.ts';

type FieldValues = { readonly [K in FieldKey]: v.InferOutput<(typeof fields)[K]['schema']> };
type PlainValues = {
  readonly [K in PlainKey]: {
    readonly [O in keyof (typeof plainGroups)[K]['options']]: (typeof plainGroups)[K]['options'][O] extends {
      readonly fallback: infer T;
    }
      ? T
      : never;
  };
};
/** A loss beside the head: its weight and its options. */
export interface TermOptions {
  readonly weight: number;
  readonly [option: string]: unknown;
}

/** A resolved recipe: every key has its value. */
export interface Recipe
  extends Readonly<Record<NamedKey, Named>>,
    PlainValues,
    Omit<FieldValues, 'data' | 'maxSteps' | 'from' | 'terms'> {
  /** Name of the recipe it started from. */
  readonly recipe: string;
  readonly data?: string | readonly string[] | undefined;
  readonly maxSteps?: number | undefined;
  readonly from?: string | undefined;
  readonly terms: Readonly<Record<string, TermOptions>>;
}

/** Changes to a recipe: any keys, options of groups as records; `head: 'cosface'` is short for `{ name: 'cosface' }`. */
export type RecipeChanges = Readonly<Record<string, unknown>>;

/** A value from the command line, whose type the key decides. */
export class FromText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const namedKeys = Object.keys(namedGroups) as NamedKey[];
const plainKeys = Object.keys(plainGroups) as PlainKey[];
const isNamed = (key: string): key is NamedKey => Object.hasOwn(namedGroups, key);
const isPlain = (key: string): key is PlainKey => Object.hasOwn(plainGroups, key);
const isField = (key: string): key is FieldKey => Object.hasOwn(fields, key);
const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x) && !(x instanceof FromText);
/** Every key, in the order of a saved recipe. */
const keyOrder: readonly string[] = [...namedKeys, ...plainKeys, ...Object.keys(fields)];
const allKeys = [...keyOrder, ...Object.keys(shorthands), 'lastLayerDecayFactor', 'evalPairs', 'evalImages'];

export const recipeNames = Object.keys(readyRecipes);

const show = (x: unknown): string => (x === undefined ? 'nothing' : JSON.stringify(x instanceof FromText ? x.text : x));

/** The schema's output for a value, reading text by the types that the schema takes. */
function checkField(key: FieldKey, value: unknown, where: string): unknown {
  const { schema, expects, means, ...rest } = fields[key] as (typeof fields)[FieldKey] & {
    readonly text?: (s: string) => unknown;
  };
  const candidates =
    value instanceof FromText ? (rest.text ? [rest.text(value.text)] : [...readings(value.text)]) : [value];
  for (const candidate of candidates) {
    const found = v.safeParse(schema as v.GenericSchema, candidate);
    if (found.success) return found.output;
  }
  const got = value instanceof FromText ? value.text : value;
  const kind = Array.isArray(got) ? 'a list' : got === null ? 'null' : typeof got;
  throw new UsageError(
    `${where}: '${key}' expected ${expects}, got ${show(got)} (${kind})\nIts meaning: ${means}. Give it such a value.`,
  );
}

const mayBeMissing = (key: FieldKey): boolean => v.safeParse(fields[key].schema as v.GenericSchema, undefined).success;

const nameOfSet = (path: string): string =>
  path
    .replace(/^.*[\\/](?=.)|\.[^.\\/]*$/g, '')
    .replace(/[^\p{L}\p{N} ._+-]/gu, '_')
    .replace(/^[^\p{L}\p{N}]+/u, '')
    .slice(0, 64) || 'set';

/** One layer of changes with shorthands written out and unknown keys refused. */
function layerOf(changes: RecipeChanges, where: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const put = (group: string, option: string, value: unknown) => {
    const old = out[group];
    out[group] = { ...(isRecord(old) ? old : old === undefined ? {} : { name: old }), [option]: value };
  };
  const plain = (x: unknown) => (x instanceof FromText ? x.text : x);
  const { evalPairs, evalImages, lastLayerDecayFactor, ...rest } = changes;
  for (const [key, value] of Object.entries(rest)) {
    if (value === undefined) continue;
    const short = Object.hasOwn(shorthands, key) ? shorthands[key] : undefined;
    const [, group = '', option] = /^([^.]*)\.([^.]*)$/.exec(key) ?? [];
    if (short) put(...short, value);
    else if (option !== undefined && (isNamed(group) || isPlain(group))) put(group, option, value);
    else if (isNamed(key)) {
      if (isRecord(value)) for (const [o, x] of Object.entries(value)) put(key, o, x);
      else put(key, 'name', value);
    } else if (isPlain(key)) {
      if (!isRecord(value))
        throw new UsageError(
          `${where}: '${key}' expected options ${Object.keys(plainGroups[key].options).join(', ')}, got ${show(value)}\nWrite --${key}.${Object.keys(plainGroups[key].options)[0]} VALUE, or a record in a file.`,
        );
      for (const [o, x] of Object.entries(value)) put(key, o, x);
    } else if (isField(key))
      // null takes away what a recipe below gives, where a key may be missing at all.
      out[key] = value === null && mayBeMissing(key) ? undefined : checkField(key, value, where);
    else
      throw new UsageError(
        `${where}: expected a key of the recipe, got '${key}'\nDid you mean '${nearest(key, allKeys)}'? The keys are: ${keyOrder.join(', ')}.`,
      );
  }
  // One set, as recipes had it before they could name several.
  if (evalPairs !== undefined || evalImages !== undefined) {
    const set = {
      ...(evalPairs !== undefined && { pairs: plain(evalPairs) }),
      ...(evalImages !== undefined && { images: plain(evalImages) }),
    };
    out.validation = checkField('validation', { [nameOfSet(String(plain(evalPairs ?? evalImages)))]: set }, where);
  }
  if (lastLayerDecayFactor !== undefined) {
    const last = Number(plain(lastLayerDecayFactor));
    out.decayRules = checkField(
      'decayRules',
      { 'globalDepthwise.*': last, 'embedding.*': last, '@head': last, '@norm': 0, '@prelu': 0 },
      where,
    );
  }
  return out;
}

/** Lays changes over a recipe: options join those of the same name, everything else is replaced. */
function lay(below: Record<string, unknown>, above: Record<string, unknown>): Record<string, unknown> {
  const out = { ...below, ...above };
  for (const key of [...namedKeys, ...plainKeys]) {
    const [a, b] = [below[key], above[key]] as (Record<string, unknown> | undefined)[];
    if (!a || !b) continue;
    const name = b.name instanceof FromText ? b.name.text : b.name;
    out[key] =
      name === undefined || name === a.name ? { ...a, ...b, ...(a.name !== undefined && { name: a.name }) } : b;
  }
  return out;
}

/** Options with what came as text read by their specs. */
const readTexts = (options: Record<string, unknown>, specs: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(
    Object.entries(options).map(([o, x]) => [
      o,
      x instanceof FromText && Object.hasOwn(specs, o)
        ? readOption(specs[o] as never, x.text)
        : x instanceof FromText
          ? x.text
          : x,
    ]),
  );

function resolveNamed(key: NamedKey, group: Record<string, unknown>, where: string): Named {
  const { name: given, ...options } = group;
  const name = given instanceof FromText ? given.text : given;
  if (typeof name !== 'string')
    throw new UsageError(`${where}: '${key}' expected a name, got ${show(name)}\nIt is the ${namedGroups[key].means}.`);
  const entry = namedGroups[key].entry(name);
  const own = { ...entry.preset, ...readTexts(options, entry.options) };
  return {
    name: name.toLowerCase(),
    ...resolveOptions(`${where}: ${key} ${name}`, entry.options, own),
  };
}

function resolveTerms(terms: Readonly<Record<string, unknown>>, where: string): Record<string, TermOptions> {
  const out: Record<string, TermOptions> = {};
  for (const [name, value] of Object.entries(terms)) {
    const entry = entryOf(
      'terms',
      losses.filter((l) => l.role !== 'head'),
      name,
    );
    const { weight = 1, ...options } = isRecord(value) ? value : { weight: value };
    if (!(typeof weight === 'number' && weight >= 0 && Number.isFinite(weight)))
      throw new UsageError(
        `${where}: terms ${name} expected a weight of at least 0, got ${show(weight)}\nWrite ${name}=0.01, or {weight: 0.01, …} in a file.`,
      );
    out[entry.name] = { weight, ...resolveOptions(`${where}: terms ${name}`, entry.options, options) };
  }
  return out;
}

function resolveLayers(name: string, layers: readonly Record<string, unknown>[], where: string): Recipe {
  const merged = layers.reduce(lay, {});
  const out: Record<string, unknown> = {};
  for (const key of keyOrder) {
    const value = merged[key];
    if (isNamed(key)) out[key] = resolveNamed(key, value as Record<string, unknown>, where);
    else if (isPlain(key)) {
      const { options } = plainGroups[key];
      out[key] = resolveOptions(
        `${where}: ${key}`,
        options,
        readTexts((value ?? {}) as Record<string, unknown>, options),
      );
    } else if (key === 'terms') out[key] = resolveTerms(value as Record<string, unknown>, where);
    else if (value !== undefined) out[key] = value;
  }
  const recipe = { recipe: name, ...out } as unknown as Recipe;
  checkTogether(recipe, where);
  return recipe;
}

/** Throws UsageError for keys that do not fit each other. */
function checkTogether(r: Recipe, where: string): void {
  const fail = (message: string, advice: string): never => {
    throw new UsageError(`${where}: ${message}\n${advice}`);
  };
  if (r.batch % r.accumulate || r.batch / r.accumulate < 2)
    fail(
      `expected 'accumulate' to divide 'batch' into parts of at least 2, got batch ${r.batch} and accumulate ${r.accumulate}`,
      'Change one of them.',
    );
  if (r.optimizer.nesterov && r.optimizer.momentum === 0)
    fail("'nesterov' expected a momentum above 0, got 0", 'Pass --nesterov false, or a momentum.');
  const { people, images } = r.sampler;
  if ((people === undefined) !== (images === undefined))
    fail(
      `'sampler' expected people and images, got ${people === undefined ? 'images' : 'people'} alone`,
      'Pass --sampler.people 16 --sampler.images 4.',
    );
  if (people !== undefined && people * images! !== r.batch)
    fail(
      `expected a batch of ${people} people with ${images} pictures each, got batch ${r.batch}`,
      `Pass --batch ${people * images!}.`,
    );
  if (people !== undefined && r.accumulate > 1 && (people % r.accumulate || people / r.accumulate < 2))
    fail(
      `expected parts of a batch that hold at least 2 of its ${people} people whole, got accumulate ${r.accumulate}`,
      'Change --accumulate or --sampler.people.',
    );
  if (r.model.name === fromWeights && r.from === undefined && !readyRecipes[r.recipe]?.needs?.includes('from'))
    fail("'model' from expected weights whose network it is, got none", 'Pass --from FILE, or name a network.');
  if (r.freezeEpochs > 0 && r.freeze.length === 0)
    fail("'freezeEpochs' expected something to freeze, got nothing", 'Pass --freeze @backbone.');
  const { teacher, weight } = r.distillation;
  if (teacher !== undefined && weight === 0)
    fail("'distillation' expected a weight above 0 for its teacher, got 0", 'Leave the teacher out.');
  if (r.headWeight === 0 && teacher === undefined && !Object.values(r.terms).some((t) => t.weight > 0))
    fail(
      "'headWeight' 0 leaves nothing to learn from: there are no terms and no teacher",
      'Pass a --headWeight above 0, --terms, or --distillation.teacher.',
    );
  checkResults(r, fail);
  checkNames(Object.keys(r.validation), fail);
}

type Fail = (message: string, advice: string) => never;

/** What goes by results needs evaluations during the run, and an accuracy where it looks at one. */
function checkResults(r: Recipe, fail: Fail): void {
  const byResults: [string, unknown][] = [
    ...(entryOf('schedule', schedules, r.schedule.name).byResults
      ? [[`schedule ${r.schedule.name}`, r.schedule.metric] as [string, unknown]]
      : []),
    ...(r.earlyStop.patience > 0 ? [['earlyStop', r.earlyStop.metric] as [string, unknown]] : []),
  ];
  const none = Object.keys(r.validation).length === 0 && (r.evalIdentities === 0 || r.data !== undefined);
  for (const [what, metric] of byResults) {
    if (r.evalEverySteps === 0)
      fail(`${what} goes by results during the run, but 'evalEverySteps' is 0`, 'Pass --evalEverySteps 1000.');
    if (metric === 'accuracy' && none)
      fail(
        `${what} goes by the accuracy, but the run has no validation set`,
        `Pass --validation NAME=FILE, or --${what.split(' ')[0]}.metric loss.`,
      );
  }
}

/** Names of validation sets are parts of file names, columns and tags, so they are plain and differ by more than case. */
function checkNames(names: readonly string[], fail: Fail): void {
  const seen = new Map<string, string>();
  for (const name of names) {
    if (!/^[\p{L}\p{N}][\p{L}\p{N} ._+-]{0,63}$/u.test(name) || /^batch( with margin)?$/.test(name))
      fail(
        `'validation' expected names of up to 64 letters, digits, spaces and . _ + - that begin with a letter or digit and are not 'batch', got ${JSON.stringify(name)}`,
        'Rename the set: --validation lfw=FILE.',
      );
    const plain = name.toLowerCase().replaceAll(' ', '_');
    if (seen.has(plain))
      fail(
        `'validation' expected names that differ by more than case and spaces, got ${JSON.stringify(seen.get(plain))} and ${JSON.stringify(name)}`,
        'Rename one of them.',
      );
    seen.set(plain, name);
  }
}

/**
 * A complete recipe from a name and changes to it.
 * @param where what errors call the source of the changes
 * @throws UsageError for an unknown recipe, key or option, naming the nearest; for a value of the wrong type, naming the
 * key, what it expects and what came; and for keys that do not fit each other
 */
export const resolveRecipe = (name: string, changes: RecipeChanges = {}, where = 'recipe'): Recipe =>
  resolveLayers(name, [...readyLayers(name), layerOf(changes, where)], where);

/** The defaults and a ready recipe with all that it extends, lowest first. */
function readyLayers(name: string): Record<string, unknown>[] {
  const ready = Object.hasOwn(readyRecipes, name) ? readyRecipes[name] : undefined;
  if (!ready)
    throw new UsageError(
      `recipe: expected one of ${recipeNames.join(', ')}, got '${name}'\nDid you mean '${nearest(name, recipeNames)}'?`,
    );
  const below = ready.extends === undefined ? [layerOf(base, 'defaults')] : readyLayers(ready.extends);
  return [...below, layerOf(ready.changes, `recipe ${name}`)];
}

/** The record that YAML or JSON text holds. JSON is YAML. */
function recordIn(text: string, where: string): Record<string, unknown> {
  let found: unknown;
  try {
    found = parseYaml(text, { maxAliasCount: 100, logLevel: 'error' });
    JSON.stringify(found); // an alias of what it is in makes a circle
  } catch (e) {
    throw new UsageError(
      `${where}: expected a recipe as YAML or JSON, but ${(e as Error).message.split('\n')[0]}\nCorrect the file.`,
    );
  }
  if (!isRecord(found))
    throw new UsageError(
      `${where}: expected a recipe as a record of keys, got ${show(found)}\nWrite "lr: 0.1", or {"lr": 0.1, …}.`,
    );
  return found;
}

/** What a recipe's `extends` names: the text of a file, with what errors call it. */
export type ReadExtended = (path: string, from: string) => { readonly text: string; readonly where: string };

/** Whether a recipe is a file rather than a name. */
export const isRecipePath = (s: string): boolean => /\.(json|ya?ml)$|[\\/]/i.test(s);

/**
 * A recipe as a file holds it, YAML or JSON: `extends: mobilefacenet-arcface` (or `recipe: …`), then keys that differ.
 * @param read gives the file that `extends` names; without it only names of recipes are taken
 */
export function parseRecipe(text: string, where: string, changes: RecipeChanges = {}, read?: ReadExtended): Recipe {
  const layers: Record<string, unknown>[] = [layerOf(changes, where)];
  const seen = new Set<string>();
  for (let at = { text, where }; ; ) {
    if (seen.has(at.where))
      throw new UsageError(
        `${at.where}: expected recipes that end in a named one, but it extends itself\nCorrect 'extends'.`,
      );
    seen.add(at.where);
    const { recipe, extends: above = recipe ?? 'mobilefacenet-arcface', ...keys } = recordIn(at.text, at.where);
    layers.unshift(layerOf(keys, at.where));
    if (typeof above !== 'string')
      throw new UsageError(
        `${at.where}: '${recipe === undefined ? 'extends' : 'recipe'}' expected the name of a recipe, got ${show(above)}\nNames: ${recipeNames.join(', ')}.`,
      );
    if (!read || !isRecipePath(above)) return resolveLayers(above, [...readyLayers(above), ...layers], where);
    at = read(above, at.where);
  }
}

/** A recipe that a checkpoint holds: complete, so that no ready recipe is needed to read it. Older ones have fewer keys. */
export function savedRecipe(json: string, where: string, changes: RecipeChanges = {}): Recipe {
  const { recipe = 'mobilefacenet-arcface', ...keys } = recordIn(json, where);
  return resolveLayers(
    String(recipe),
    [layerOf(base, 'defaults'), layerOf(keys, where), layerOf(changes, where)],
    where,
  );
}

/** True for keys that take true or false, so that `--flip` alone can mean true. */
export function isBooleanKey(key: string): boolean {
  const [group = '', option] = key.split('.');
  if (key === 'easyMargin' || key === 'nesterov') return true;
  if (option !== undefined) return isNamed(group) || isPlain(group);
  return isField(key) && v.safeParse(fields[key].schema as v.GenericSchema, true).success;
}

/** Throws UsageError where the command line's key is none, or its text is nothing that the key takes. */
export function checkText(key: string, raw: string, where: string): void {
  if (!allKeys.includes(key)) layerOf({ [key]: raw }, where);
  if (isField(key)) checkField(key, new FromText(raw), where);
}
