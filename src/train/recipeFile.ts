/** Recipes in files (Node): YAML or JSON, extending ready ones or other files. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DataError } from '../core/errors.ts';
import { isRecipePath, parseRecipe, type Recipe, type RecipeChanges } from './recipe.ts';

export { isRecipePath as isRecipeFile };

/** No recipe is longer; a larger file is something else, and would take long to parse. */
const largest = 1e6;

const read = (path: string): string => {
  let size: number;
  try {
    ({ size } = statSync(path));
    if (size <= largest) return readFileSync(path, 'utf8');
  } catch (e) {
    throw new DataError(`${path}: expected a recipe file, but ${(e as Error).message}\nCheck the path.`);
  }
  throw new DataError(
    `${path}: expected a recipe of at most ${largest} bytes, got ${size}\nGive the recipe's own file.`,
  );
};

/**
 * A recipe from a file; `extends` in it is a name, or the path of another file from where it lies.
 * @throws DataError where a file cannot be read; UsageError as `parseRecipe`
 */
export const readRecipe = (path: string, changes: RecipeChanges = {}): Recipe =>
  parseRecipe(read(path), path, changes, (next, from) => {
    const where = resolve(dirname(from), next);
    return { text: read(where), where };
  });
