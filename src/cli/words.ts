/** The words of a command that takes any `--option value`: what networks and recipes let their user choose. */
import { UsageError } from '../core/errors.ts';
import { readOption } from '../core/options.ts';
import type { Architecture } from '../models/index.ts';

const camel = (s: string) => s.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase());

export interface OptionWord {
  /** In camelCase, whichever way it was written. */
  readonly key: string;
  /** As it was written, with its dashes. */
  readonly shown: string;
  /** 'true' for a flag alone, 'false' for `--no-flag`; undefined where a value is missing. */
  readonly text: string | undefined;
}

/**
 * `--key value`, `--key=value`, `--flag` and `--no-flag`, in camelCase or with dashes.
 * @param called what messages call the words
 * @param isFlag whether a key may stand alone
 * @throws UsageError, in the name of `command`, for a word that is no option
 */
export function* optionWords(
  words: readonly string[],
  command: string,
  called: 'key' | 'option',
  isFlag: (key: string) => boolean,
): Generator<OptionWord> {
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!word.startsWith('--'))
      throw new UsageError(
        `${command}: expected --${called} value, got '${word}'\nPut the ${called} before its value.`,
      );
    const [dashed, inline] = word.slice(2).split(/=(.*)/s) as [string, string | undefined];
    const shown = `--${dashed}`;
    const positive = camel(dashed.replace(/^no-/, ''));
    if (dashed.startsWith('no-') && inline === undefined && isFlag(positive)) {
      yield { key: positive, shown, text: 'false' };
      continue;
    }
    const key = camel(dashed);
    const next = words[i + 1];
    const value = inline ?? (next === undefined || next.startsWith('--') ? undefined : words[++i]);
    yield { key, shown, text: value ?? (isFlag(key) ? 'true' : undefined) };
  }
}

/** Words as options of a network, which itself checks their sense. */
export function networkOptions(
  command: string,
  { family: { options: specs } }: Architecture,
  words: readonly string[],
): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const specOf = (key: string) => (Object.hasOwn(specs, key) ? specs[key] : undefined);
  for (const { key, shown, text } of optionWords(words, command, 'option', (k) => specOf(k)?.accepts(true) ?? false)) {
    const spec = specOf(key);
    if (spec && text === undefined)
      throw new UsageError(`${command}: ${shown} expected ${spec.expects}, got nothing\nGive the value after it.`);
    out[key] = spec ? readOption(spec, text!) : text;
  }
  return out;
}
