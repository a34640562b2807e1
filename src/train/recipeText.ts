/**
 * Recipes as text: the lines that `train` prints, the help of their keys, and YAML that `parseRecipe` reads back to the same
 * recipe, whole or what of it differs from the defaults.
 *
 * The one idea of the YAML: the text names the ready recipe it came from, so it keeps what that one needs (such as data of its own),
 * and a key that is left out stands for the recipe's.
 */
import { Document, visit } from 'yaml';
import { showOption } from '../core/options.ts';
import { type Recipe, resolveRecipe } from './recipe.ts';
import { fields, type NamedKey, namedGroups, type PlainKey, plainGroups } from './recipeFields.ts';
import { readyRecipes } from './recipes.ts';

type Values = Readonly<Record<string, unknown>>;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
/** Keys whose values differ from those of `from`. */
const differing = (values: Values, from: Values): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([key, x]) => x !== undefined && !same(x, from[key])));

/** What an entry's options are where none is given. */
function entryDefaults(key: NamedKey, name: string): Values {
  const { options, preset = {} } = namedGroups[key].entry(name);
  return { ...Object.fromEntries(Object.entries(options).map(([o, spec]) => [o, spec.fallback])), ...preset };
}

/** The recipe's keys that differ from the defaults; of groups with another name what differs from that entry's. */
export function recipeDifferences(recipe: Recipe): Record<string, unknown> {
  const defaults = resolveRecipe('mobilefacenet-arcface') as unknown as Values;
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(differing(recipe as unknown as Values, defaults))) {
    const [now, old] = [value, defaults[key]] as [Values, Values];
    if (key === 'recipe') continue;
    else if (Object.hasOwn(namedGroups, key)) {
      const { name, ...options } = now;
      const from = name === old.name ? old : entryDefaults(key as NamedKey, String(name));
      out[key] = { ...(name !== old.name && { name }), ...differing(options, from) };
    } else out[key] = Object.hasOwn(plainGroups, key) ? differing(now, old) : value;
  }
  return out;
}

/**
 * A recipe as a YAML file: where it is from as comments, then its keys.
 * @param changes only the keys that differ from the defaults
 */
export function recipeYaml(recipe: Recipe, { changes = false }: { readonly changes?: boolean } = {}): string {
  const { recipe: name, ...all } = recipe;
  const isEmptyGroup = (key: string, x: unknown) =>
    Object.hasOwn(plainGroups, key) && Object.keys(x as Values).length === 0;
  const keys = changes
    ? recipeDifferences(recipe)
    : Object.fromEntries(Object.entries(all).filter(([key, x]) => x !== undefined && !isEmptyGroup(key, x)));
  const document = new Document({ recipe: name, ...keys });
  visit(document, {
    Seq(_, node) {
      node.flow = true;
    },
    // 1e-9, where YAML would write out the noughts.
    Scalar(_, node) {
      if (typeof node.value === 'number' && node.value !== 0 && Math.abs(node.value) < 1e-3) node.format = 'EXP';
    },
  });
  const ready = readyRecipes[name];
  const about = ready
    ? [
        `${name}: ${ready.means}`,
        `Source: ${ready.source}`,
        ...(ready.needs?.length ? [`Needs: ${ready.needs.map((key) => `--${key} PATH`).join(' ')}`] : []),
      ]
    : [];
  if (changes) about.push(`Only what differs from the defaults; what is left out is as in ${name}.`);
  return `${about.map((line) => `# ${line}\n`).join('')}${document.toString({ lineWidth: 100 })}`;
}

const isRecord = (x: unknown): x is Values => typeof x === 'object' && x !== null && !Array.isArray(x);

/** Keys with their meaning, what they expect and their default: the command's help. */
export function recipeKeys(): { key: string; means: string; expects: string; fallback: string }[] {
  const defaults = resolveRecipe('mobilefacenet-arcface');
  const short = (key: string) => {
    const value = (defaults as unknown as Record<string, unknown>)[key];
    return value === undefined || (isRecord(value) && Object.keys(value).length === 0) ? '' : showValue(value);
  };
  return [
    ...(Object.keys(namedGroups) as NamedKey[]).map((key) => ({
      key,
      means: `${namedGroups[key].means}; its options as --${key}.OPTION`,
      expects: `a name, see facegrad options ${key}`,
      fallback: defaults[key].name,
    })),
    ...(Object.keys(plainGroups) as PlainKey[]).flatMap((key) =>
      Object.entries(plainGroups[key].options).map(([o, spec]) => ({
        key: `${key}.${o}`,
        means: spec.means,
        expects: spec.expects,
        fallback: spec.fallback === undefined ? '' : showOption(spec.fallback),
      })),
    ),
    ...Object.entries(fields).map(([key, { means, expects }]) => ({ key, means, expects, fallback: short(key) })),
  ];
}

/** A value as the command line would have it. */
function showValue(x: unknown, key = ''): string {
  if (Array.isArray(x)) return x.join(key === 'inputSize' ? 'x' : ',');
  if (!isRecord(x)) return String(x);
  return Object.entries(x)
    .filter(([, value]) => value !== undefined)
    .map(([k, value]) => `${k}=${isRecord(value) ? `(${showValue(value)})` : showValue(value, k)}`)
    .join(' ');
}

/** The recipe as lines of `key  value`, as `train` prints it; groups with their options. */
export const recipeLines = (recipe: Recipe): string[] =>
  Object.entries(recipe)
    .map(([k, x]): [string, string] => {
      if (!isRecord(x)) return [k, showValue(x)];
      const { name, ...options } = x;
      return [k, [name, showValue(options)].filter(Boolean).join(' ')];
    })
    .filter(([, text]) => text !== '')
    .map(([k, text]) => `${k.padEnd(21)}${text}`);
