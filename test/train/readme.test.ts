/** The README names what the registries hold. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { losses } from '../../src/heads/index.ts';
import { models } from '../../src/models/index.ts';
import { optimizers } from '../../src/optim/index.ts';
import { schedules } from '../../src/optim/schedules.ts';
import { parseRecipe } from '../../src/train/recipe.ts';
import { readyRecipes } from '../../src/train/recipes.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const between = (from: string, to: string) => readme.slice(readme.indexOf(from), readme.indexOf(to));
/** `a-b`, `-c` stands for a-c: the names in backquotes, short ones continued from the last whole one. */
function namesIn(text: string): Set<string> {
  const names = new Set<string>();
  let last = '';
  for (const [, name] of text.matchAll(/`([\w-]+)`/g)) {
    if (!name!.startsWith('-')) last = name!;
    names.add(name!);
    const parts = last.split('-');
    for (let n = 1; n <= parts.length; n++) names.add(parts.slice(0, n).join('-') + name);
  }
  return names;
}

describe('the README names every', () => {
  it.each([
    ['family of networks', models, between('### Networks', '### Losses')],
    ['loss', losses, between('### Losses', '## Data sets')],
    ['optimizer', optimizers, between('### Losses', '## Data sets')],
    ['schedule', schedules, between('### Losses', '## Data sets')],
    [
      'recipe',
      Object.keys(readyRecipes).map((name) => ({ name })),
      between('### Recipes', '### Networks').replace(/\n/g, ' '),
    ],
  ])('%s', (_, entries, text) => {
    const names = namesIn(text);
    const missing = entries
      .map((e) => e.name)
      .filter((name) => !names.has(name) && !new RegExp(`\\b${name}\\b`).test(text));
    expect(missing).toEqual([]);
  });
});

it("the README's YAML is a recipe", () => {
  const [, yaml] = /```yaml\n([\s\S]*?)```/.exec(readme)!;
  expect(parseRecipe(yaml!, 'README.md')).toMatchObject({
    recipe: 'casia-mobilefacenet-arcface',
    head: { name: 'adaface' },
    terms: { center: { weight: 0.003 } },
    earlyStop: { patience: 5 },
  });
});
