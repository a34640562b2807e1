import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { lrAt, milestoneSteps } from '../../src/optim/schedule.ts';
import {
  isBooleanKey,
  parseRecipe,
  parseValue,
  recipeKeys,
  recipeNames,
  resolveRecipe,
} from '../../src/train/recipe.ts';

test('every named recipe resolves, and survives being saved', () => {
  for (const name of recipeNames) {
    const recipe = resolveRecipe(name);
    expect(parseRecipe(JSON.stringify(recipe), 'file')).toEqual(recipe);
  }
});

test('keys are in one order, whatever order they were given in', () => {
  const a = resolveRecipe('demo', { seed: 3, lr: 0.2, maxSteps: 7 });
  const b = resolveRecipe('demo', { maxSteps: 7, lr: 0.2, seed: 3 });
  expect(JSON.stringify(a)).toBe(JSON.stringify(b));
});

test('text from the command line becomes the type the key has', () => {
  const read = (key: string, raw: string) => parseValue(key, raw)[1];
  expect(read('lr', '0.05')).toBe(0.05);
  expect(read('lr', '5e-2')).toBe(0.05);
  expect(read('flip', 'false')).toBe(false);
  expect(read('inputSize', '112x96')).toEqual([112, 96]);
  expect(read('milestones', '0.5,0.8')).toEqual([0.5, 0.8]);
  expect(read('milestones', '0.5')).toEqual([0.5]);
  expect(read('milestones', '')).toEqual([]);
  expect(read('data', '123')).toBe('123'); // a folder may be called so
  expect(read('evalProtocol', 'cosine')).toBe('cosine');
  expect(isBooleanKey('skipBad')).toBe(true);
  expect(isBooleanKey('lr')).toBe(false);
});

test('an unknown key names the nearest', () => {
  expect(() => parseValue('leraning', '1')).toThrow(UsageError);
  expect(() => parseValue('warmupStep', '1')).toThrow(/got 'warmupStep'\nDid you mean 'warmupSteps'\?/);
  expect(() => resolveRecipe('demo', { bach: 3 })).toThrow(/Did you mean 'batch'/);
  expect(() => resolveRecipe('mobilfacenet-arcface')).toThrow(/Did you mean 'mobilefacenet-arcface'/);
});

test.each([
  ['lr', 'fast', /'lr' expected a number above 0, got "fast" \(string\)/],
  ['lr', '-1', /'lr' expected a number above 0, got "-1"/],
  ['batch', '2.5', /'batch' expected a whole number of at least 2, got "2.5"/],
  ['flip', 'maybe', /'flip' expected true or false, got "maybe"/],
  ['inputSize', '100x100', /'inputSize' expected HEIGHTxWIDTH in multiples of 16/],
  ['inputSize', '112', /'inputSize' expected HEIGHTxWIDTH/],
  ['milestones', '60,85', /'milestones' expected fractions/],
  ['evalProtocol', 'lfw', /expected insightface or cosine, got "lfw"/],
  ['maxSteps', '', /'maxSteps' expected a whole number of at least 1, got ""/],
])('--%s %s is refused with what it expects', (key, raw, message) => {
  expect(() => parseValue(key, raw)).toThrow(message);
  expect(() => parseValue(key, raw)).toThrow(UsageError);
});

test('a recipe file of a wrong type names the file, the key and the types', () => {
  expect(() => parseRecipe('{"lr": "0.1"}', 'my.json')).toThrow(
    /^my\.json: 'lr' expected a number above 0, got "0.1" \(string\)/,
  );
  expect(() => parseRecipe('{"batch": null}', 'my.json')).toThrow(/got null \(null\)/);
  expect(() => parseRecipe('[]', 'my.json')).toThrow(/^my\.json: expected a recipe as a JSON object, got \[\]/);
  expect(() => parseRecipe('{"lr": 1', 'my.json')).toThrow(/^my\.json: expected a recipe as JSON/);
  expect(() => parseRecipe('{"recipe": 3}', 'my.json')).toThrow(/'recipe' expected the name/);
});

test('keys that contradict each other are refused', () => {
  expect(() => resolveRecipe('demo', { batch: 10, accumulate: 4 })).toThrow(/'accumulate' to divide 'batch'/);
  expect(() => resolveRecipe('demo', { batch: 4, accumulate: 4 })).toThrow(/parts of at least 2/);
  expect(() => resolveRecipe('demo', { momentum: 0 })).toThrow(/'nesterov' needs a momentum/);
});

test('every key says what it means and expects', () => {
  for (const { key, means, expects } of recipeKeys()) {
    expect(means, key).not.toBe('');
    expect(expects, key).not.toBe('');
  }
});

test('the rate warms up linearly and falls at milestones, as PyTorch counts', () => {
  const schedule = { lr: 0.1, warmupSteps: 4, milestoneSteps: [6, 8], gamma: 0.1 };
  const expected = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001];
  expected.forEach((lr, step) => {
    expect(lrAt(step, schedule)).toBeCloseTo(lr, 12);
  });
  expect(lrAt(0, { ...schedule, warmupSteps: 0 })).toBe(0.1);
  expect(milestoneSteps([0.6, 0.85], 100)).toEqual([60, 85]);
  expect(() => lrAt(-1, schedule)).toThrow(UsageError);
});
