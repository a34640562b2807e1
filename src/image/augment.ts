/**
 * Augmentation while training: random changes of a picture, drawn anew each time it is seen.
 *
 * The one idea: what happens is a function of (picture, spec, key) alone. Operations run in the fixed order of
 * operations.ts, and each draws from its own stream, folded from the key by its name; so adding one leaves the draws of
 * the others as they are, and any number of threads gives the same pictures.
 */
import { UsageError } from '../core/errors.ts';
import { nearest } from '../core/options.ts';
import { fold, type Key, uniformAt } from '../core/random.ts';
import type { RgbImage } from './jpeg.ts';
import { type OperationName, operationNames, operations } from './operations.ts';

export { type Operation, type OperationName, operationNames, operations } from './operations.ts';

/** Strength of an operation; a second number is the probability that it happens, in place of the operation's own. */
export type Strength = number | readonly [strength: number, probability: number];

/** Which operations to apply, and how strongly; none where it is empty. Pixels are those of the picture it is applied to. */
export type AugmentSpec = { readonly [K in OperationName]?: Strength };

/** Specs by name, for faces of about 112 pixels. They leave mirroring to the recipe's `flip`. */
export const augmentPresets = {
  light: { crop: 8, brightness: 0.2, contrast: 0.2, saturation: 0.2, grey: 0.02 },
  strong: {
    crop: 12,
    rotate: 15,
    brightness: 0.4,
    contrast: 0.4,
    saturation: 0.4,
    grey: 0.1,
    scale: 0.25,
    blur: 1.5,
    noise: 0.08,
    jpeg: 20,
    cutout: 40,
  },
} as const satisfies Record<string, AugmentSpec>;

const presetOf = (name: string): AugmentSpec | undefined =>
  Object.hasOwn(augmentPresets, name) ? augmentPresets[name as keyof typeof augmentPresets] : undefined;
const strengthOf = (s: Strength): number => (typeof s === 'number' ? s : s[0]);
const probabilityOf = (name: OperationName, s: Strength): number =>
  typeof s === 'number' ? (operations[name].probability ?? s) : s[1];

/** What a strength of an operation must be, in words. */
const expectsOf = (name: OperationName): string => {
  const { range, whole } = operations[name];
  return `a ${whole ? 'whole ' : ''}number from ${range[0]} to ${range[1]}`;
};

function checkName(name: string, others: readonly string[] = []): OperationName {
  if (Object.hasOwn(operations, name)) return name as OperationName;
  const known = [...operationNames, ...others];
  throw new UsageError(
    `augment: expected an operation, got '${name}'\nDid you mean '${nearest(name, known)}'? There are: ${known.join(', ')}.`,
  );
}

function checkStrength(name: OperationName, given: Strength, shown: string): void {
  const { range, whole, probability } = operations[name];
  const x = strengthOf(given);
  if (!(x >= range[0] && x <= range[1]) || (whole && !Number.isInteger(x)))
    throw new UsageError(
      `augment: '${name}' expected ${expectsOf(name)}, got ${shown}\nIt means: ${operations[name].means}.`,
    );
  if (typeof given === 'number') return;
  if (probability === undefined)
    throw new UsageError(`augment: '${name}' expected a probability alone, got ${shown}\nWrite ${name}=${x}.`);
  if (!(given[1] >= 0 && given[1] <= 1))
    throw new UsageError(`augment: '${name}' expected a probability from 0 to 1 after '@', got ${shown}\nCorrect it.`);
}

/** A spec with its operations in order, checked. Throws UsageError for unknown operations and impossible strengths. */
export function checkAugment(spec: AugmentSpec): AugmentSpec {
  for (const [name, given] of Object.entries(spec)) checkStrength(checkName(name), given, JSON.stringify(given));
  return Object.fromEntries(operationNames.filter((n) => spec[n] !== undefined).map((n) => [n, spec[n]!]));
}

/**
 * Reads a spec: `none`, a preset (`light`, `strong`), or operations `rotate=10,blur=1.5@0.2` (strength, and after '@'
 * the probability); what comes later replaces what came before, so `strong,jpeg=50` changes a preset.
 * @throws UsageError naming the nearest operation, or what a strength must be
 */
export function parseAugment(text: string): AugmentSpec {
  const spec: { [K in OperationName]?: Strength } = {};
  for (const part of text.split(',').map((p) => p.trim())) {
    const [word, given] = part.split(/=(.*)/s) as [string, string?];
    if (given === undefined) {
      const preset = word === 'none' ? {} : presetOf(word);
      if (preset) Object.assign(spec, preset);
      else {
        const name = checkName(word, ['none', ...Object.keys(augmentPresets)]);
        throw new UsageError(
          `augment: '${name}' expected ${expectsOf(name)}, got nothing\nWrite ${name}=… . It means: ${operations[name].means}.`,
        );
      }
      continue;
    }
    const name = checkName(word.trim());
    const numbers = given.split('@').map((n) => (n.trim() === '' ? Number.NaN : Number(n)));
    const [x, p] = numbers.map((n) => n + 0) as [number, number?]; // -0 is 0
    const strength: Strength = p === undefined ? x : [x, p];
    checkStrength(name, numbers.length > 2 ? Number.NaN : strength, `'${given}'`);
    spec[name] = strength;
  }
  return checkAugment(spec);
}

/** A spec as text that `parseAugment` reads: `none`, or operations in order. */
export function formatAugment(spec: AugmentSpec): string {
  const parts = Object.entries(checkAugment(spec)).map(
    ([name, s]) => `${name}=${typeof s === 'number' ? s : s.join('@')}`,
  );
  return parts.join(',') || 'none';
}

/**
 * A picture with random changes, of the same size; the given one where nothing happens, and it is never changed itself.
 * @param key decides everything random; fold it from what the picture is for, such as epoch and position
 */
export function augment(image: RgbImage, spec: AugmentSpec, key: Key): RgbImage {
  let out = image;
  for (const name of operationNames) {
    const given = spec[name];
    if (given === undefined) continue;
    const own = fold(key, name);
    if (uniformAt(own, 0) >= probabilityOf(name, given)) continue;
    const operation = operations[name];
    out = operation.apply(out, operation.amount(strengthOf(given), uniformAt(own, 1)), own);
  }
  return out;
}
