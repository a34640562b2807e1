/** The published recipes against their sources: what the defaults must not add to them, and which weights decay. */
import { expect, test } from 'vitest';
import { recipeNames, resolveRecipe } from '../../src/train/recipe.ts';
import { readyRecipes } from '../../src/train/recipes.ts';
import { headFor, networkFor, rulesFor, termsFor, trainable } from '../../src/train/trainable.ts';

// Those of facegrad's own begin with the defaults' warm-up.
const own = ['mobilefacenet-arcface', 'demo', 'distill'];

test.each(recipeNames.filter((name) => !own.includes(name)))('%s: no warm-up', (name) => {
  const { warmupSteps, warmupEpochs } = resolveRecipe(name).schedule;
  expect([warmupSteps, warmupEpochs]).toEqual([0, undefined]);
  expect(readyRecipes[name]!.needs).toContain('data');
});

test.each([
  // The last layers after the global operator, not that operator itself.
  ['casia-mobilefacenet-arcface', 4e-5, 'globalDepthwise.conv.weight', 'stem.prelu.weight'],
  ['casia-mobilefacenet-arcface', 4e-4, 'embedding.conv.weight', 'arcface.weight'],
  ['casia-mobilefacenet-xiaoccer', 4e-5, 'stem.bn.weight', 'stem.bn.bias'],
  ['casia-mobilefacenet-xiaoccer', 4e-4, 'embedding.bn.weight', 'arcface.weight'],
  ['casia-mobilefacenet-xiaoccer', 0, 'stem.prelu.weight'],
  ['face-pytorch-mobilefacenet', 5e-4, 'stem.bn.bias', 'stem.prelu.weight', 'arcface.weight'],
  ['face-pytorch-center', 0, 'center.centers'],
  ['mobilefacenet-tf-sgd', 5e-5, 'stem.conv.weight', 'embedding.conv.weight'],
  ['mobilefacenet-tf-sgd', 0, 'stemDepthwise.conv.weight', 'stem.bn.weight', 'stem.prelu.weight', 'arcface.weight'],
  ['multiface-mobilefacenet', 4e-5, 'stem.prelu.weight', 'globalDepthwise.conv.weight'],
  ['multiface-mobilefacenet', 4e-4, 'embedding.fc.weight', 'multiface.weight'],
  ['multiface-mobilefacenet', 0, 'embedding.bn.weight'],
  ['multiface-ir-se-100', 5e-4, 'output.fc.weight', 'output.fc.bias', 'multiface.weight'],
  ['slim-resnet-arcface', 5e-4, 'stem.weight', 'output.bn.weight', 'arcface.weight'],
  ['slim-resnet-arcface', 0, 'stem.bias', 'output.fc.weight', 'output.bn.bias'],
  ['insightface-mobilefacenet-y1', 4e-5, 'stem.bn.weight', 'stem.prelu.weight', 'embedding.fc.weight'],
  ['insightface-mobilefacenet-y1', 0, 'stem.bn.bias'],
  ['insightface-mobilefacenet-y1', 4e-4, 'arcface.weight'],
] as [string, number, ...string[]][])('%s: decay %d of %s and others', (name, decay, ...parameters) => {
  const recipe = resolveRecipe(name);
  const network = networkFor(recipe);
  const terms = termsFor(recipe, network, 10);
  const t = trainable(network, headFor(recipe, network, 10), recipe, { terms });
  const rules = rulesFor(t.parameterSet, recipe);
  const found = t.optimizer.parameters.filter((p) => parameters.includes(p.name));
  expect(found.map((p) => p.name).sort()).toEqual([...parameters].sort());
  for (const p of found) expect(rules.decay(p), p.name).toBeCloseTo(decay, 12);
});
