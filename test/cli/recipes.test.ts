/** `facegrad recipes` and `facegrad options` as processes: what can be trained by, listed and printed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, test } from 'vitest';
import { lookUp } from '../../src/cli/listOptions.ts';
import { keyHelp, recipeChanges } from '../../src/cli/recipeWords.ts';
import { losses } from '../../src/heads/index.ts';
import { architectures } from '../../src/models/index.ts';
import { optimizers } from '../../src/optim/index.ts';
import { schedules } from '../../src/optim/schedules.ts';
import { parseRecipe, recipeNames, resolveRecipe } from '../../src/train/recipe.ts';
import { readRecipe } from '../../src/train/recipeFile.ts';
import { readyRecipes } from '../../src/train/recipes.ts';
import { recipeDifferences, recipeKeys, recipeYaml } from '../../src/train/recipeText.ts';
import { facegrad } from '../helpers/killedRuns.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-recipes-'));
afterAll(() => rmSync(folder, { recursive: true }));
const said = async (...args: string[]) => {
  const { code, stdout, stderr } = await facegrad(args);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
};
const refused = async (args: string[], message: RegExp) => {
  const { code, stdout, stderr } = await facegrad(args);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(message);
};
/** Words that help broke into lines, in one. */
const flat = (text: string) => text.replace(/\s+/g, ' ');
const widest = (text: string) => Math.max(...text.split('\n').map((line) => line.length));

test.each(recipeNames)('%s: its YAML is the recipe again, whole and by what differs', (name) => {
  const recipe = resolveRecipe(name);
  expect(parseRecipe(recipeYaml(recipe), name)).toEqual(recipe);
  const changes = recipeYaml(recipe, { changes: true });
  expect(parseRecipe(changes, name)).toEqual(recipe);
  expect(changes.length).toBeLessThan(recipeYaml(recipe).length);
  for (const text of [changes, recipeYaml(recipe)]) {
    expect(text).toContain(`# ${name}: ${readyRecipes[name]!.means}\n# Source: ${readyRecipes[name]!.source}\n`);
    for (const key of readyRecipes[name]!.needs ?? []) expect(text).toMatch(new RegExp(`# Needs: .*--${key} PATH`));
  }
});

it('differences: keys that differ, and of a group with another name what differs from its own defaults', () => {
  expect(recipeDifferences(resolveRecipe('mobilefacenet-arcface'))).toEqual({});
  const changes = {
    lr: 0.2,
    model: { name: 'ir-se-50', depth: 34 },
    head: { m: 0.3, s: 64 },
    optimizer: { name: 'adam', beta1: 0.9 },
    clip: { norm: 5 },
    terms: { center: 0.01 },
    decayRules: { '@head': 10 },
  };
  const recipe = resolveRecipe('mobilefacenet-arcface', changes);
  expect(recipeDifferences(recipe)).toEqual({
    lr: 0.2,
    model: { name: 'ir-se-50', depth: 34 },
    head: { m: 0.3 },
    optimizer: { name: 'adam' },
    clip: { norm: 5 },
    terms: { center: recipe.terms.center },
    decayRules: { '@head': 10 },
  });
});

it('recipes lists them all; NAME prints a file that train takes', async () => {
  const text = await said('recipes');
  expect(widest(text)).toBeLessThanOrEqual(100);
  const list = flat(text);
  const told = JSON.parse(await said('recipes', '--json'));
  expect(told.map((r: { name: string }) => r.name)).toEqual(recipeNames);
  for (const { name, means, source } of told) expect(list).toContain(flat(`${name} ${means} (${source})`));

  const file = join(folder, 'mine.yaml');
  writeFileSync(file, await said('recipes', 'demo'));
  expect(readRecipe(file)).toEqual(resolveRecipe('demo'));
  expect(readRecipe(file, recipeChanges(['--lr', '0.3']))).toEqual(resolveRecipe('demo', { lr: 0.3 }));
  expect(JSON.parse(await said('recipes', 'demo', '--json', '--changes')).recipe).toEqual(
    recipeDifferences(resolveRecipe('demo')),
  );
  await refused(['recipes', 'dmeo'], /expected one of .*, got 'dmeo'\nDid you mean 'demo'\?/);
});

it('options lists every group with every name', async () => {
  const text = await said('options');
  const names = [...architectures.keys(), ...[...losses, ...optimizers, ...schedules].map((e) => e.name)];
  for (const name of names) expect(` ${flat(text)},`).toMatch(new RegExp(` ${name}[, ]`));
  for (const group of ['sampler', 'distillation', 'ema', 'clip', 'earlyStop', 'preprocessing'])
    expect(text).toMatch(new RegExp(`^ {2}${group} `, 'm'));
  expect(widest(text)).toBeLessThanOrEqual(110);
  const told = JSON.parse(await said('options', '--json'));
  expect(told.slice(0, 5).map((g: { group: string }) => g.group)).toEqual([
    'model',
    'head',
    'terms',
    'optimizer',
    'schedule',
  ]);
  expect(told[1].names).toEqual(losses.filter((l) => l.role !== 'term').map((l) => l.name));
});

it('options of a group: meanings and sources', async () => {
  const text = flat(await said('options', 'heads'));
  for (const l of losses.filter((x) => x.role !== 'term')) expect(text).toContain(`${l.name} ${l.means} (${l.source})`);
  expect(JSON.parse(await said('options', 'schedules', '--json'))).toEqual(
    schedules.map(({ name, means, source }) => ({ name, means, source })),
  );
});

it('options of one: what each takes and means, its default, and an example that train takes', async () => {
  const text = await said('options', 'arcface');
  expect(text).toBe(await said('options', 'head', 'ArcFace'));
  expect(text).toMatch(/^head arcface: .*\n {2}Source: Deng et al\. 2019/);
  expect(flat(text)).toContain('--head.m margin in radians: a number from 0 to 1.571 (default 0.5)');
  expect(text).toMatch(/^Example: facegrad train --head arcface --head\.s 64 --head\.m 0\.5$/m);
  // A variant's name says some of the defaults.
  expect(lookUp('ir-se-34')[0]!.options.depth).toMatchObject({ default: 34 });
  expect(lookUp('earlystop')[0]!.options.patience).toMatchObject({ default: 0 });
  // What is both a head and a term is told as both.
  const both = lookUp('triplet');
  expect(both.map((f) => f.group)).toEqual(['head', 'terms']);
  expect(both[0]!.options.mining).toMatchObject({ default: 'semi-hard' });
});

it('every example is a recipe', () => {
  const names = [...architectures.keys(), ...[...losses, ...optimizers, ...schedules].map((e) => e.name)];
  for (const name of names)
    for (const found of lookUp(name)) {
      const [line, file] = found.example!.replace('facegrad train ', '').split(', or in a file ') as [string, string?];
      // The demo has results during the run, as a schedule that goes by them wants.
      const recipe = resolveRecipe('demo', recipeChanges(line.split(' ')));
      const chosen = recipe as unknown as Record<string, { name: string }>;
      if (file) expect(Object.keys(parseRecipe(file, 'example').terms)).toEqual([name]);
      else expect(chosen[found.group]!.name).toBe(name);
    }
});

it('unknown names: the nearest', async () => {
  await refused(['options', 'cosfac'], /got 'cosfac'\nDid you mean 'cosface'\?/);
  expect(() => lookUp('optimiser')).toThrow(/Did you mean 'optimizer'\?/);
  expect(() => lookUp('head', 'center')).toThrow(/expected one of the losses that train a network, got 'center'/);
  expect(() => lookUp('hed', 'arcface')).toThrow(/expected one of model, head, .*, got 'hed'\nDid you mean 'head'\?/);
});

it('train --help has every key once, by theme, in lines of 100', async () => {
  const help = keyHelp();
  for (const { key } of recipeKeys())
    expect(help.match(new RegExp(`^ {2}--${key.replace('.', '\\.')}( {2}|$)`, 'gm')), key).toHaveLength(1);
  // A key without a theme stands under Others.
  expect(help).not.toMatch(/^Others:/m);
  expect(widest(help)).toBeLessThanOrEqual(100);
  const text = await said('train', '--help');
  expect(text).toContain('facegrad options');
  for (const name of recipeNames) expect(flat(text)).toContain(name);
});
