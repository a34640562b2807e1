/** Recipes on the command line: words to changes, names and files to recipes, and the keys as help has them. */
import { UsageError } from '../core/errors.ts';
import { checkText, FromText, isBooleanKey, type Recipe, resolveRecipe } from '../train/recipe.ts';
import { shorthands } from '../train/recipeFields.ts';
import { isRecipeFile, readRecipe } from '../train/recipeFile.ts';
import { recipeKeys } from '../train/recipeText.ts';
import { columns, indented } from './columns.ts';
import { optionWords } from './words.ts';

/**
 * Words as changes to a recipe, whose keys decide what their texts are.
 * @param command what errors begin with
 */
export function recipeChanges(words: readonly string[], command = 'train'): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const { key, shown, text } of optionWords(words, command, 'key', isBooleanKey)) {
    checkText(key, text ?? '', shown); // names an unknown key, or what the known one expects
    if (text === undefined) throw new UsageError(`${shown}: expected a value after it, got none\nExample: --lr 0.1.`);
    out[key] = new FromText(text);
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
