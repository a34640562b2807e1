/** Recipes on the command line: words to changes, names and files to recipes, and the keys as help has them. */
import { UsageError } from '../core/errors.ts';
import { checkText, FromText, isBooleanKey, type Recipe, resolveRecipe } from '../train/recipe.ts';
import { shorthands } from '../train/recipeFields.ts';
import { isRecipeFile, readRecipe } from '../train/recipeFile.ts';
import { recipeKeys } from '../train/recipeText.ts';
import { columns, indented } from './columns.ts';

const camel = (s: string) => s.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase());

/**
 * `--key value`, `--key=value`, `--flag` and `--no-flag` for keys of the recipe; both camelCase and dashes.
 * @param command what errors begin with
 */
export function recipeChanges(words: readonly string[], command = 'train'): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!word.startsWith('--'))
      throw new UsageError(
        `${command}: expected --key value, got '${word}'\nPut the key of the recipe before its value.`,
      );
    const [dashed, inline] = word.slice(2).split(/=(.*)/s) as [string, string | undefined];
    const key = camel(dashed);
    if (key.startsWith('no') && isBooleanKey(key.charAt(2).toLowerCase() + key.slice(3)) && inline === undefined) {
      out[key.charAt(2).toLowerCase() + key.slice(3)] = new FromText('false');
      continue;
    }
    const next = words[i + 1];
    const hasValue = inline !== undefined || (next !== undefined && !next.startsWith('--'));
    if (!hasValue && !isBooleanKey(key)) {
      checkText(key, '', `--${dashed}`); // names an unknown key, or what the known one expects
      throw new UsageError(`--${dashed}: expected a value after it, got none\nExample: --lr 0.1.`);
    }
    const raw = inline ?? (hasValue ? words[++i]! : 'true');
    checkText(key, raw, `--${dashed}`);
    out[key] = new FromText(raw);
  }
  return out;
}

/** The recipe a name or a file gives, with changes. */
export const startRecipe = (from: string, changes: Readonly<Record<string, unknown>>, command = 'train'): Recipe =>
  isRecipeFile(from) ? readRecipe(from, changes) : resolveRecipe(from, changes, command);

/** Keys by what they are about; a key with options of its own stands for all of them. */
const themes: readonly (readonly [title: string, keys: readonly string[]])[] = [
  ['Network, losses, optimizer, schedule', ['model', 'head', 'headWeight', 'terms', 'optimizer', 'schedule']],
  ['Data', ['data', 'mergeIdentities', 'skipBad', 'identities', 'imagesPerIdentity', 'flip', 'augment']],
  ['Batches and input', ['batch', 'accumulate', 'recompute', 'sampler', 'preprocessing']],
  ['Length and rate', ['epochs', 'maxSteps', 'lr', 'earlyStop']],
  ['Weights and gradients', ['weightDecay', 'decayRules', 'rateRules', 'clip', 'ema', 'prune', 'seed']],
  ['From other weights', ['from', 'fromMissing', 'fromHead', 'freeze', 'freezeEpochs', 'distillation']],
  ['Evaluation', ['validation', 'evalProtocol', 'evalFlip', 'evalBatchStatistics', 'evalIdentities', 'evalEverySteps']],
  ['What a run writes', ['saveEverySteps', 'keepLast', 'logEverySteps', 'samples', 'tensorBoard', 'histograms']],
];

/** Every key of a recipe by theme, and where the options of its groups are listed. */
export function keyHelp(): string {
  const left = new Map(recipeKeys().map((k) => [k.key, k]));
  const section = (title: string, keys: readonly string[]) => {
    const rows = keys.flatMap((key) =>
      [...left.keys()]
        .filter((k) => k === key || k.startsWith(`${key}.`))
        .map((k): [string, string] => {
          const { means, expects, fallback } = left.get(k)!;
          left.delete(k);
          return [`--${k}`, `${means}: ${expects}${fallback ? ` (default ${fallback})` : ''}`];
        }),
    );
    return rows.length ? `${title}:\n${columns(rows)}\n` : '';
  };
  const sections = themes.map(([title, keys]) => section(title, keys));
  const shorts = Object.entries(shorthands).map(([key, [group, option]]) => `--${key} for --${group}.${option}`);
  return [...sections, section('Others', [...left.keys()]), `Short forms:\n${indented(`${shorts.join(', ')}.`)}\n`]
    .filter(Boolean)
    .join('\n');
}
