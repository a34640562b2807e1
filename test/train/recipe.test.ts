import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import {
  checkText,
  FromText,
  isBooleanKey,
  parseRecipe,
  type Recipe,
  recipeNames,
  resolveRecipe,
  savedRecipe,
} from '../../src/train/recipe.ts';
import { recipeKeys } from '../../src/train/recipeText.ts';

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
  expect(() => resolveRecipe('demo', { momentum: 0 })).toThrow(/'nesterov' expected a momentum above 0, got 0/);
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
  expect(() => resolveRecipe('demo', { sampler: { people: 4 } })).toThrow(/'sampler' .*, got people alone/);
  expect(() => resolveRecipe('demo', { sampler: { people: 4, images: 4 } })).toThrow(/Pass --batch 16/);
  expect(() => resolveRecipe('demo', { freezeEpochs: 1 })).toThrow(/expected something to freeze, got nothing/);
});

test.each([
  ['../x=a.bin', /'validation' expected names of up to 64 letters, .*, got "..\/x"\nRename the set/],
  ['a b:c=a.bin', /got "a b:c"/],
  ['batch=a.bin', /are not 'batch', got "batch"/],
  ['LFW=a.bin,lfw=b.bin', /names that differ by more than case and spaces, got "LFW" and "lfw"/],
  ['lfw=a.bin,lfw=b.bin', /'validation' expected sets by name/],
])('validation sets %s would clash in files, columns or tags', (text, message) => {
  expect(() => resolveRecipe('demo', { validation: new FromText(text) })).toThrow(message);
});
test('names of validation sets may be of any script; one made from a path is made plain', () => {
  const text = 'Gesichter ä=a.bin,顔=b.bin';
  expect(Object.keys(resolveRecipe('demo', { validation: new FromText(text) }).validation)).toEqual([
    'Gesichter ä',
    '顔',
  ]);
  const { validation } = resolveRecipe('demo', { evalPairs: new FromText('x/,my "set" (1).bin') });
  expect(Object.keys(validation)).toEqual(['my _set_ _1_']);
});

test.each([
  [{ terms: new FromText('center=1,center=2') }, /terms center expected a weight of at least 0, got \[1,2\]/],
  [{ decayRules: new FromText('@norm=0,@norm=1') }, /'decayRules' expected patterns with a factor/],
  [{ 'head.s.x': new FromText('3') }, /expected a key of the recipe, got 'head\.s\.x'/],
  [{ 'noise.foo': new FromText('3') }, /expected a key of the recipe, got 'noise\.foo'/],
  [{ headWeight: 0 }, /'headWeight' 0 leaves nothing to learn from/],
  [{ headWeight: 0, terms: { center: 0 } }, /'headWeight' 0 leaves nothing to learn from/],
  [{ distillation: { teacher: 'x', weight: 0 } }, /'distillation' expected a weight above 0 for its teacher, got 0/],
  [{ earlyStop: { patience: 1 }, evalEverySteps: 0 }, /earlyStop goes by results .* 'evalEverySteps' is 0/],
])('%j is refused', (changes, message) => {
  expect(() => resolveRecipe('demo', changes)).toThrow(message);
  expect(() => resolveRecipe('demo', changes)).toThrow(UsageError);
});

test.each([
  ['duplicate keys', 'lr: 0.1\nlr: 0.2\n', /but Map keys must be unique at line 2/],
  ['tabs', 'model:\n\tname: ir-18\n', /but Tabs are not allowed as indentation at line 2/],
  ['a list', '- lr: 0.1\n', /expected a recipe as a record of keys, got \[\{"lr":0\.1\}\]/],
  ['nothing', '', /expected a recipe as a record of keys, got null/],
  ['several documents', 'lr: 0.1\n---\nlr: 0.2\n', /multiple documents/],
  ['a key that no object should have', '"__proto__": {lr: 1}\n', /got '__proto__'/],
  [
    'an alias of itself',
    'head: &a {s: *a}\n',
    /my\.yaml: expected a recipe as YAML or JSON, but Converting circular structure/,
  ],
  [
    'aliases that multiply',
    `a: &a [x, x]\n${[...'bcde'].map((k, i) => `${k}: &${k} [${Array(9).fill(`*${'abcd'[i]}`)}]`).join('\n')}\n`,
    /Excessive alias count/,
  ],
])('a recipe file of %s is refused', (_, text, message) => {
  expect(() => parseRecipe(text, 'my.yaml')).toThrow(message);
  expect(() => parseRecipe(text, 'my.yaml')).toThrow(UsageError);
  expect(() => parseRecipe(text, 'my.yaml')).toThrow(/^my\.yaml: .*\n.*\.$/s);
});
test('anchors stand for what they name', () => {
  const { decayRules, rateRules } = parseRecipe('decayRules: &x {"@norm": 0.5}\nrateRules: *x\n', 'my.yaml');
  expect(decayRules).toEqual({ '@norm': 0.5 });
  expect(rateRules).toEqual(decayRules);
});
