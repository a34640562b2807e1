/**
 * `facegrad options`: what a recipe can name (networks, losses, optimizers, schedules), and what each of these lets its
 * user choose, as the registries describe it.
 */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { nearest, type OptionSpecs, showOption } from '../core/options.ts';
import { losses } from '../heads/index.ts';
import { architectures } from '../models/index.ts';
import { optimizers } from '../optim/index.ts';
import { schedules } from '../optim/schedules.ts';
import { plainGroups } from '../train/recipeFields.ts';
import { columns, indented } from './columns.ts';
import { print, printJson } from './output.ts';

interface Entry {
  readonly name: string;
  readonly means: string;
  readonly source: string;
  readonly options: OptionSpecs;
  /** Defaults that the name itself says. */
  readonly preset?: Readonly<Record<string, unknown>>;
}

interface Group {
  /** As the recipe's key. */
  readonly name: string;
  readonly plural: string;
  readonly means: string;
  readonly entries: readonly Entry[];
}

const groups: readonly Group[] = [
  {
    name: 'model',
    plural: 'models',
    means: 'networks',
    entries: [...architectures.values()].map(({ name, means, family, preset }) => ({
      name,
      means,
      source: family.source,
      options: family.options,
      preset,
    })),
  },
  {
    name: 'head',
    plural: 'heads',
    means: 'losses that train a network',
    entries: losses.filter((l) => l.role !== 'term'),
  },
  { name: 'terms', plural: 'term', means: 'losses beside the head', entries: losses.filter((l) => l.role !== 'head') },
  { name: 'optimizer', plural: 'optimizers', means: 'update rules', entries: optimizers },
  { name: 'schedule', plural: 'schedules', means: 'courses of the learning rate', entries: schedules },
];
const settings = Object.entries(plainGroups) as [string, { readonly means: string; readonly options: OptionSpecs }][];

/** A group's entry, or options without one, as `--key.option` has them. */
interface Found {
  readonly key: string;
  readonly entry: Omit<Entry, 'name' | 'source'> & { readonly name?: string; readonly source?: string };
}

const namesOf = (x: readonly { readonly name: string }[]): string[] => x.map((e) => e.name);
const groupOf = (word: string): Group | undefined => groups.find((g) => g.name === word || g.plural === word);
const inGroups = (name: string, among: readonly Group[]): Found[] =>
  among.flatMap((g) => g.entries.filter((e) => e.name === name).map((entry) => ({ key: g.name, entry })));

const defaultOf = ({ entry }: Found, option: string): unknown =>
  entry.preset?.[option] ?? entry.options[option]!.fallback;

const showDefault = (o: string, value: unknown): string =>
  o === 'inputSize' ? (value as readonly number[]).join('x') : showOption(value);

/** A call of `train` that names it, with its first options as they are by default; none of options without a name. */
function example(found: Found): string | undefined {
  const { key, entry } = found;
  if (entry.name === undefined) return undefined;
  const given = Object.keys(entry.options)
    .map((o): [string, unknown] => [o, defaultOf(found, o)])
    .filter(([, value]) => value !== undefined && showOption(value) !== '')
    .slice(0, 2);
  if (key === 'terms') {
    const more = given.map(([o, value]) => `, ${o}: ${Array.isArray(value) ? `[${value}]` : value}`).join('');
    return `facegrad train --terms ${entry.name}=0.01, or in a file terms: {${entry.name}: {weight: 0.01${more}}}`;
  }
  const words = given.map(([o, value]) => `--${key}.${o} ${showDefault(o, value)}`);
  return ['facegrad train', `--${key} ${entry.name}`, ...words].join(' ');
}

function describe(found: Found): string {
  const { key, entry } = found;
  const rows = Object.entries(entry.options).map(([o, { means, expects }]): [string, string] => {
    const value = defaultOf(found, o);
    return [
      key === 'terms' ? o : `--${key}.${o}`,
      `${means}: ${expects}${value === undefined ? '' : ` (default ${showDefault(o, value)})`}`,
    ];
  });
  return [
    `${entry.name === undefined ? key : `${key} ${entry.name}`}: ${entry.means}`,
    ...(entry.source === undefined ? [] : [indented(`Source: ${entry.source}`)]),
    '',
    rows.length ? columns(rows) : '  It has no options.',
    ...(entry.name === undefined ? [] : ['', `Example: ${example(found)}`]),
  ].join('\n');
}

const asJson = (found: Found) => ({
  group: found.key,
  ...(found.entry.name !== undefined && { name: found.entry.name }),
  means: found.entry.means,
  ...(found.entry.source !== undefined && { source: found.entry.source }),
  options: Object.fromEntries(
    Object.entries(found.entry.options).map(([o, { means, expects }]) => [
      o,
      { means, expects, default: defaultOf(found, o) ?? null },
    ]),
  ),
  example: example(found),
});

function overview(): string {
  const named = groups.map(
    ({ name, means, entries }) => `${name}: ${means}\n${indented(namesOf(entries).join(', '))}\n`,
  );
  return [
    ...named,
    `Groups of options without a name:\n${columns(settings.map(([name, { means }]) => [name, means]))}\n`,
    'facegrad options head says what the members of a group are, facegrad options arcface what one lets you choose.',
  ].join('\n');
}

const groupText = ({ name, means, entries }: Group): string =>
  [
    `${name}: ${means}`,
    columns(entries.map((e) => [e.name, `${e.means} (${e.source})`])),
    `\nfacegrad options ${name} ${entries[0]!.name} says what one lets you choose.`,
  ].join('\n');

/** The entries that one or two words name. */
function find(first: string, second: string | undefined): Found[] {
  const [word, name] = [first.toLowerCase(), second?.toLowerCase()];
  const group = groupOf(word);
  const fail = (wrong: string, candidates: readonly string[], what: string): never => {
    throw new UsageError(
      `options: expected ${what}, got '${wrong}'\nDid you mean '${nearest(wrong, candidates)}'? facegrad options lists them all.`,
    );
  };
  if (name !== undefined) {
    if (!group) return fail(first, namesOf(groups), `one of ${namesOf(groups).join(', ')}`);
    const found = inGroups(name, [group]);
    return found.length ? found : fail(second!, namesOf(group.entries), `one of the ${group.means}`);
  }
  const setting = settings.find(([key]) => key.toLowerCase() === word);
  const found = setting ? [{ key: setting[0], entry: setting[1] }] : inGroups(word, groups);
  if (found.length) return found;
  const known = [...groups.flatMap((g) => [g.name, g.plural, ...namesOf(g.entries)]), ...settings.map(([key]) => key)];
  return fail(first, known, 'a group or the name of one of its members');
}

/** What one or two words name, as `--json` has it. */
export const lookUp = (first: string, second?: string) => find(first, second).map(asJson);

function options(first: string | undefined, second: string | undefined, { json }: { readonly json?: boolean }): void {
  const group = first !== undefined && second === undefined ? groupOf(first.toLowerCase()) : undefined;
  if (first === undefined && json)
    printJson([
      ...groups.map(({ name, means, entries }) => ({ group: name, means, names: namesOf(entries) })),
      ...settings.map(([name, { means, options: o }]) => ({ group: name, means, options: Object.keys(o) })),
    ]);
  else if (first === undefined) print(overview());
  else if (group && json) printJson(group.entries.map(({ name, means, source }) => ({ name, means, source })));
  else if (group) print(groupText(group));
  else if (json) printJson(lookUp(first, second));
  else print(find(first, second).map(describe).join('\n\n'));
}

export function register(program: Command): void {
  program
    .command('options')
    .description('list networks, losses, optimizers and schedules, and what each lets its user choose')
    .argument('[group]', 'model, head, terms, optimizer or schedule; or the name of a member at once')
    .argument('[name]', 'a member of the group')
    .option('--json', 'the same as JSON')
    .addHelpText('after', '\nExample: facegrad options head arcface')
    .action(options);
}
