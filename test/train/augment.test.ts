/** The recipe's key `augment`: what it takes, how it is kept, and checkpoints from before it. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { augmentPresets, formatAugment } from '../../src/image/augment.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import { checkText, parseRecipe, resolveRecipe } from '../../src/train/recipe.ts';
import { resumeRecipe } from '../../src/train/run.ts';

test('is kept as operations in order, so that a preset may change', () => {
  expect(resolveRecipe('demo').augment).toBe('none');
  expect(resolveRecipe('demo', { augment: 'strong' }).augment).toBe(formatAugment(augmentPresets.strong));
  const recipe = resolveRecipe('demo', { augment: 'rotate=10, flip=0.5' });
  expect(recipe.augment).toBe('flip=0.5,rotate=10');
  expect(parseRecipe(JSON.stringify(recipe), 'file')).toEqual(recipe);
});

test('says what is wrong', () => {
  expect(() => checkText('augment', 'storng', 'recipe')).toThrow(/got 'storng'\nDid you mean 'strong'\?/);
  expect(() => resolveRecipe('demo', { augment: 'rotate=999' })).toThrow(/'rotate' expected a number from 0 to 180/);
  expect(() => resolveRecipe('demo', { augment: true })).toThrow(
    /'augment' expected none, light, strong, or operations/,
  );
});

test('a checkpoint from before it goes on without, or with one that is asked for', async () => {
  const path = fileURLToPath(new URL('../fixtures/checkpoint-v1.safetensors', import.meta.url));
  const checkpoint = await readCheckpoint(path);
  expect(resumeRecipe(checkpoint, path, {}).recipe.augment).toBe('none');
  expect(resumeRecipe(checkpoint, path, { augment: 'crop=4' }).recipe.augment).toBe('crop=4');
});
