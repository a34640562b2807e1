/**
 * Options as data: what a network, a loss, an optimizer or a schedule lets its user choose.
 *
 * The one idea: an option is described once (what it takes, what it means, its default), and from that come the check of
 * constructors, the reading of command lines and recipes, the help texts and the TypeScript types.
 */
import { distance } from 'fastest-levenshtein';
import { UsageError } from './errors.ts';

/** One option. */
export interface OptionSpec<T> {
  /** What it takes, in words: 'a number above 0'. */
  readonly expects: string;
  /** What it is, without a full stop: 'scale of the logits'. */
  readonly means: string;
  /** The default; undefined where it depends on other options (`means` says how) or there is none. */
  readonly fallback: T;
  readonly accepts: (value: unknown) => boolean;
}
// biome-ignore lint/suspicious/noExplicitAny: a record of options of any types
export type OptionSpecs = Readonly<Record<string, OptionSpec<any>>>;
type ValueOf<S> = S extends OptionSpec<infer T> ? T : never;
/** What a caller passes: every option may be left out. */
export type Options<S extends OptionSpecs> = { readonly [K in keyof S]?: ValueOf<S[K]> };
/** What an object keeps: every option has its value. */
export type ResolvedOptions<S extends OptionSpecs> = { readonly [K in keyof S]: ValueOf<S[K]> };

/** What a registry entry says of itself beside its options. */
export interface Described<S extends OptionSpecs = OptionSpecs> {
  /** Name in recipes, checkpoints and on the command line: lower case, parts joined by dashes. */
  readonly name: string;
  /** One line, without a full stop. */
  readonly means: string;
  /** Paper and equation, or whose convention it is. */
  readonly source: string;
  readonly options: S;
}

interface Range {
  readonly from?: number;
  readonly to?: number;
  readonly above?: number;
  readonly below?: number;
}

const inRange = (x: number, { from = -Infinity, to = Infinity, above = -Infinity, below = Infinity }: Range): boolean =>
  x >= from && x <= to && (above === -Infinity || x > above) && (below === Infinity || x < below);
const short = (x: number): string => String(Number(x.toPrecision(4)));
const showRange = ({ from, to, above, below }: Range): string =>
  [
    from !== undefined &&
      (to !== undefined || below !== undefined ? ` from ${short(from)}` : ` of at least ${short(from)}`),
    above !== undefined && ` above ${short(above)}`,
    to !== undefined && (from === undefined && above === undefined ? ` up to ${short(to)}` : ` to ${short(to)}`),
    below !== undefined &&
      (from !== undefined ? ` to below ${short(below)}` : `${above === undefined ? '' : ' and'} below ${short(below)}`),
  ]
    .filter(Boolean)
    .join('');

/** A finite number within a range. */
export const number = (range: Range, fallback: number, means: string): OptionSpec<number> => ({
  expects: `a number${showRange(range)}`,
  means,
  fallback,
  accepts: (x) => typeof x === 'number' && Number.isFinite(x) && inRange(x, range),
});

/** A whole number within a range. */
export const whole = (range: Range, fallback: number, means: string): OptionSpec<number> => ({
  expects: `a whole number${showRange(range)}`,
  means,
  fallback,
  accepts: (x) => Number.isSafeInteger(x) && inRange(x as number, range),
});

export const flag = (fallback: boolean, means: string): OptionSpec<boolean> => ({
  expects: 'true or false',
  means,
  fallback,
  accepts: (x) => typeof x === 'boolean',
});

/** Any words, such as a path. */
export const text = (fallback: string, means: string): OptionSpec<string> => ({
  expects: 'text',
  means,
  fallback,
  accepts: (x) => typeof x === 'string' && x !== '',
});

/** One of some words or numbers. */
export const oneOf = <const T extends string | number>(
  choices: readonly T[],
  fallback: NoInfer<T>,
  means: string,
): OptionSpec<T> => ({
  expects:
    choices.length > 1 ? `${choices.slice(0, -1).join(', ')} or ${choices[choices.length - 1]}` : `${choices[0]}`,
  means,
  fallback,
  accepts: (x) => choices.includes(x as T),
});

/** A list of numbers, each within a range. */
export const numbers = (range: Range, fallback: readonly number[], means: string): OptionSpec<readonly number[]> => ({
  expects: `numbers${showRange(range)}, separated by commas`,
  means,
  fallback,
  accepts: (x) => Array.isArray(x) && x.every((n) => typeof n === 'number' && Number.isFinite(n) && inRange(n, range)),
});

/** [height, width] in pixels, multiples of a step. */
export const imageSize = (
  step: number,
  fallback: readonly [number, number],
  means = 'size of the input in pixels',
): OptionSpec<readonly [number, number]> => ({
  expects: `HEIGHTxWIDTH in multiples of ${step}, such as ${fallback.join('x')}`,
  means,
  fallback,
  accepts: (x) =>
    Array.isArray(x) && x.length === 2 && x.every((n) => Number.isSafeInteger(n) && n >= step && n % step === 0),
});

/** An option without a default of its own: where it is left out, `means` says what holds. */
export const optional = <T>(spec: OptionSpec<T>): OptionSpec<T | undefined> => ({
  ...spec,
  fallback: undefined,
  accepts: (x) => x === undefined || spec.accepts(x),
});

const show = (x: unknown): string => (x === undefined ? 'nothing' : JSON.stringify(x));

/** The candidate nearest in spelling: the first that the word begins, else that of the fewest edits. */
export function nearest(word: string, candidates: readonly string[]): string {
  const wanted = word.toLowerCase();
  const begun = wanted.length > 2 ? candidates.find((c) => c.toLowerCase().startsWith(wanted)) : undefined;
  const edits = (c: string) => distance(wanted, c.toLowerCase());
  return begun ?? candidates.reduce((a, b) => (edits(b) < edits(a) ? b : a));
}

/**
 * Every option with its value: the one given, or the default. Options that are undefined both ways are left out.
 * @param where what errors begin with: the class or key whose options these are
 * @throws UsageError for an unknown option, naming the nearest, and for a value of the wrong kind
 */
export function resolveOptions<S extends OptionSpecs>(
  where: string,
  specs: S,
  given: Readonly<Record<string, unknown>> = {},
): ResolvedOptions<S> {
  const known = Object.keys(specs);
  for (const key of Object.keys(given))
    if (!Object.hasOwn(specs, key))
      throw new UsageError(
        known.length
          ? `${where}: expected options among ${known.join(', ')}, got '${key}'\nDid you mean '${nearest(key, known)}'?`
          : `${where}: expected no options, got '${key}'\nLeave it out.`,
      );
  const out: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(specs)) {
    const value = given[key] ?? spec.fallback;
    if (value === undefined) continue;
    if (!spec.accepts(value))
      throw new UsageError(
        `${where}: ${key} expected ${spec.expects}, got ${show(value)}\nIt is the ${spec.means}${spec.fallback === undefined ? '' : `; the default is ${showOption(spec.fallback)}`}.`,
      );
    out[key] = value;
  }
  return out as ResolvedOptions<S>;
}

/** An option's value as command lines have it. */
export const showOption = (x: unknown): string => (Array.isArray(x) ? x.join(',') : String(x));

/** What a text may stand for, most literal first. */
export function* readings(s: string): Generator<unknown> {
  yield s;
  if (s.trim() !== '' && !Number.isNaN(Number(s))) yield Number(s);
  if (s === 'true' || s === 'false') yield s === 'true';
  const list = s.split(/[,x]/).filter((part) => part.trim() !== '');
  if (list.every((part) => !Number.isNaN(Number(part)))) yield list.map(Number);
}

/** The value that a text stands for: the first reading that the option accepts; the text itself where none is. */
export function readOption(spec: OptionSpec<unknown>, text: string): unknown {
  for (const value of readings(text)) if (spec.accepts(value)) return value;
  return text;
}

/**
 * The entry of that name.
 * @param kind what the entries are, for the error: 'head'
 * @throws UsageError naming the nearest
 */
export function entryOf<T extends { readonly name: string }>(kind: string, entries: readonly T[], name: string): T {
  const found = entries.find((e) => e.name === name.toLowerCase());
  if (found) return found;
  const names = entries.map((e) => e.name);
  throw new UsageError(
    `${kind}: expected one of ${names.join(', ')}, got '${name}'\nDid you mean '${nearest(name, names)}'?`,
  );
}
