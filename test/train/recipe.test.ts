import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import {
  checkText,
  FromText,
  isBooleanKey,
  parseRecipe,
  type Recipe,
  recipeKeys,
  recipeNames,
  resolveRecipe,
  savedRecipe,
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
  const read = (key: string, raw: string): Recipe => resolveRecipe('demo', { [key]: new FromText(raw) });
  expect(read('lr', '0.05').lr).toBe(0.05);
  expect(read('lr', '5e-2').lr).toBe(0.05);
  expect(read('flip', 'false').flip).toBe(false);
  expect(read('inputSize', '112x96').model.inputSize).toEqual([112, 96]);
  expect(read('model.inputSize', '112x96').model.inputSize).toEqual([112, 96]);
  expect(read('milestones', '0.5,0.8').schedule.milestones).toEqual([0.5, 0.8]);
  expect(read('milestones', '0.5').schedule.milestones).toEqual([0.5]);
  expect(read('milestones', '').schedule.milestones).toEqual([]);
  expect(read('data', '123').data).toBe('123'); // a folder may be called so
  expect(read('data', 'a,b').data).toEqual(['a', 'b']);
  expect(read('evalProtocol', 'cosine').evalProtocol).toBe('cosine');
  expect(read('validation', 'lfw=x/lfw.bin,agedb=agedb_30.bin').validation).toEqual({
    lfw: 'x/lfw.bin',
    agedb: 'agedb_30.bin',
  });
  expect(read('decayRules', '@norm=0,stem.*=2').decayRules).toEqual({ '@norm': 0, 'stem.*': 2 });
  expect(read('terms', 'center=0.01').terms.center).toMatchObject({ weight: 0.01 });
  expect(read('head', 'cosface').head).toMatchObject({ name: 'cosface', s: 64 });
  expect(isBooleanKey('skipBad')).toBe(true);
  expect(isBooleanKey('lr')).toBe(false);
});

test('an unknown key names the nearest', () => {
  expect(() => checkText('leraning', '1', 'recipe')).toThrow(UsageError);
  expect(() => checkText('warmupStep', '1', 'recipe')).toThrow(/got 'warmupStep'\nDid you mean 'warmupSteps'\?/);
  expect(() => resolveRecipe('demo', { bach: 3 })).toThrow(/Did you mean 'batch'/);
  expect(() => resolveRecipe('mobilfacenet-arcface')).toThrow(/Did you mean 'mobilefacenet-arcface'/);
});

test.each([
  ['lr', 'fast', /'lr' expected a number above 0, got "fast" \(string\)/],
  ['lr', '-1', /'lr' expected a number above 0, got "-1"/],
  ['batch', '2.5', /'batch' expected a whole number of at least 2, got "2.5"/],
  ['flip', 'maybe', /'flip' expected true or false, got "maybe"/],
  ['inputSize', '100x100', /inputSize expected HEIGHTxWIDTH in multiples of 16/],
  ['inputSize', '112', /inputSize expected HEIGHTxWIDTH/],
  ['head.s', 'big', /head arcface: s expected a number above 0, or auto, got "big"/],
  ['head.scale', '3', /head arcface: expected options among s, m, .*, got 'scale'/],
  ['head', 'arkface', /expected one of .*, got 'arkface'\nDid you mean 'arcface'/],
  ['model', 'mobilfacenet', /Did you mean 'mobilefacenet'/],
  ['terms', 'arcface=1', /terms: expected one of .*, got 'arcface'/],
  ['terms', 'center=much', /terms center expected a weight of at least 0, got "much"/],
  ['evalProtocol', 'lfw', /expected insightface or cosine, got "lfw"/],
  ['maxSteps', '', /'maxSteps' expected a whole number of at least 1, got ""/],
])('--%s %s is refused with what it expects', (key, raw, message) => {
  const resolve = () => resolveRecipe('demo', { [key]: new FromText(raw) });
  expect(resolve).toThrow(message);
  expect(resolve).toThrow(UsageError);
});

test('a recipe file of a wrong type names the file, the key and the types', () => {
  expect(() => parseRecipe('{"lr": "0.1"}', 'my.json')).toThrow(
    /^my\.json: 'lr' expected a number above 0, got "0.1" \(string\)/,
  );
  expect(() => parseRecipe('{"batch": null}', 'my.json')).toThrow(/got null \(null\)/);
  expect(() => parseRecipe('[]', 'my.json')).toThrow(/^my\.json: expected a recipe as a record of keys, got \[\]/);
  expect(() => parseRecipe('{"lr": 1', 'my.json')).toThrow(/^my\.json: expected a recipe as YAML or JSON/);
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

test('a group that changes its name begins with the defaults of the new one', () => {
  expect(resolveRecipe('demo').head).toMatchObject({ name: 'arcface', s: 24, m: 0.2 });
  expect(resolveRecipe('demo', { head: { m: 0.3 } }).head).toMatchObject({ s: 24, m: 0.3 });
  expect(resolveRecipe('demo', { head: 'cosface' }).head).toMatchObject({ name: 'cosface', s: 64, m: 0.35 });
  expect(resolveRecipe('demo', { head: { name: 'cosface', s: 20 } }).head).toMatchObject({
    name: 'cosface',
    s: 20,
    m: 0.35,
  });
});

test('YAML with extends, comments and nested options; recipes saved flat by older versions', () => {
  const yaml = `
extends: demo          # synthetic people
head: { name: cosface, s: 20 }
schedule:
  name: cosine
  warmupSteps: 7
decayRules: { "@norm": 0 }
`;
  const recipe = parseRecipe(yaml, 'my.yaml', { lr: 0.3 });
  expect(recipe).toMatchObject({
    recipe: 'demo',
    batch: 32,
    lr: 0.3,
    head: { name: 'cosface', s: 20 },
    schedule: { name: 'cosine', warmupSteps: 7 },
    decayRules: { '@norm': 0 },
  });
  const old = { recipe: 'demo', width: 0.5, s: 24, momentum: 0.8, milestones: [0.5], lastLayerDecayFactor: 5 };
  const read = savedRecipe(JSON.stringify({ ...old, evalPairs: 'x/lfw.bin' }), 'checkpoint');
  expect(read).toMatchObject({
    model: { name: 'mobilefacenet', width: 0.5 },
    head: { name: 'arcface', s: 24, m: 0.5 },
    optimizer: { name: 'sgd', momentum: 0.8 },
    schedule: { name: 'step', milestones: [0.5] },
    decayRules: { '@norm': 0, '@head': 5 },
    validation: { lfw: { pairs: 'x/lfw.bin' } },
  });
});

test('null takes away what the extended recipe gives, where a key may be missing', () => {
  expect(resolveRecipe('demo').maxSteps).toBe(1500);
  expect(resolveRecipe('demo', { maxSteps: null }).maxSteps).toBeUndefined();
  expect(resolveRecipe('casia-mobilefacenet-xiaoccer')).toMatchObject({ epochs: 70, model: { inputSize: [112, 96] } });
  expect(resolveRecipe('casia-mobilefacenet-xiaoccer').maxSteps).toBeUndefined();
});

test('extends may name a file, relative to the one that says so, but not itself', () => {
  const files: Record<string, string> = { 'b.yaml': 'extends: demo\nlr: 0.2\nbatch: 16', 'c.yaml': 'extends: c.yaml' };
  const read = (path: string) => ({ text: files[path]!, where: path });
  expect(parseRecipe('extends: b.yaml\nlr: 0.4', 'a.yaml', {}, read)).toMatchObject({ lr: 0.4, batch: 16 });
  expect(() => parseRecipe('extends: c.yaml', 'a.yaml', {}, read)).toThrow(/c\.yaml: .* extends itself/);
});

test('a sampler, freezing and early stopping must fit the rest', () => {
  expect(() => resolveRecipe('demo', { sampler: { people: 4 } })).toThrow(/'sampler' needs people and images/);
  expect(() => resolveRecipe('demo', { sampler: { people: 4, images: 4 } })).toThrow(/Pass --batch 16/);
  expect(() => resolveRecipe('demo', { freezeEpochs: 1 })).toThrow(/needs something to freeze/);
});
