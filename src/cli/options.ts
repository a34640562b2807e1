/** Options' texts as numbers and words; what does not fit is a UsageError that names the option and gives an example. */
import { UsageError } from '../core/errors.ts';
import { type OptionSpec, readOption } from '../core/options.ts';

/** For commander: a whole number from `least` to `most`. */
export const whole =
  (name: string, least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const n = Number(text);
    if (text.trim() !== '' && Number.isInteger(n) && n >= least && n <= most) return n;
    const range = most < Number.MAX_SAFE_INTEGER ? `from ${least} to ${most}` : `of at least ${least}`;
    throw new UsageError(
      `--${name}: expected a whole number ${range}, got '${text}'\nExample: --${name} ${Math.max(least, 2)}.`,
    );
  };

/** For commander: what a described option takes, such as a number in a range. */
export const described =
  <T>(name: string, spec: OptionSpec<T>) =>
  (text: string): T => {
    const value = readOption(spec as OptionSpec<unknown>, text);
    if (spec.accepts(value)) return value as T;
    throw new UsageError(`--${name}: expected ${spec.expects}, got '${text}'\nThe default is ${spec.fallback}.`);
  };

/** A whole number of at least 1 from the text of an option that may be left out. */
export const wholeOption = (name: string, text: string | number | undefined): number | undefined =>
  text === undefined ? undefined : whole(name, 1)(String(text));

/** One of a few words. Throws UsageError naming the option. */
export function oneOf<T extends string>(option: string, value: string, words: readonly T[]): T {
  if ((words as readonly string[]).includes(value)) return value as T;
  throw new UsageError(`--${option}: expected ${words.join(', ')}, got '${value}'\nUse one of these.`);
}
