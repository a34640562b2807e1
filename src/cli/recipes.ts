/** `facegrad recipes`: ready recipes with what they are and where they are from; one of them as a file to train by. */
import type { Command } from 'commander';
import { recipeNames, resolveRecipe } from '../train/recipe.ts';
import { readyRecipes } from '../train/recipes.ts';
import { recipeDifferences, recipeYaml } from '../train/recipeText.ts';
import { columns } from './columns.ts';
import { print, printJson } from './output.ts';

interface RecipesFlags {
  readonly changes?: boolean;
  readonly json?: boolean;
}

/** What a ready recipe says of itself. */
function about(name: string) {
  const { means, source, needs = [] } = readyRecipes[name]!;
  return { name, means, source, needs };
}

function recipes(name: string | undefined, { changes = false, json }: RecipesFlags): void {
  if (name !== undefined) {
    const recipe = resolveRecipe(name);
    if (json) printJson({ ...about(name), recipe: changes ? recipeDifferences(recipe) : recipe });
    else print(recipeYaml(recipe, { changes }).trimEnd());
    return;
  }
  const all = recipeNames.map(about);
  if (json) printJson(all);
  else {
    print(columns(all.map(({ name, means, source }) => [name, `${means} (${source})`])));
    print('\nfacegrad recipes NAME > mine.yaml writes one down; facegrad train mine.yaml trains by it.');
  }
}

export function register(program: Command): void {
  program
    .command('recipes')
    .description('list the ready recipes; with a name, print that one as a YAML file to train by')
    .argument('[name]', 'a ready recipe')
    .option('--changes', 'only the keys that differ from the defaults')
    .option('--json', 'the same as JSON')
    .addHelpText('after', '\nExample: facegrad recipes demo > mine.yaml && facegrad train mine.yaml --lr 0.05')
    .action(recipes);
}
