/** MobileFaceNet's forms: published sizes, PyTorch's counts and numbers (test/reference/mobileFaceNetForms.py), options. */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { MobileFaceNet, type MobileFaceNetOptions } from '../../src/models/mobileFaceNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, parametersOf, variablesOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** At 112×112: parameters, and multiply-adds in millions. */
it.each<[string, MobileFaceNetOptions, number, number, number]>([
  ['mobilefacenet', {}, 128, 1_003_136, 221.0],
  ['mobilefacenet', { inputSize: [112, 96] }, 128, 999_552, 189.4],
  ['mobilefacenet', { inputSize: [96, 96] }, 128, 996_480, 162.4],
  ['mobilefacenet-512', {}, 512, 1_200_512, 221.2],
  ['mobilefacenet-m', {}, 512, 937_344, 220.9],
  ['mobilefacenet-s', {}, 128, 850_688, 217.7],
  ['mobilefacenet-r', {}, 128, 995_584, 221.0],
  ['mobilefacenet-tf', {}, 128, 1_270_528, 234.1],
  ['mobilefacenet-tf', { embeddingSize: 192 }, 192, 1_303_424, 234.1],
  ['mobilefacenet-y1', {}, 128, 1_003_136, 221.0],
  ['mobilefacenet-y2', {}, 256, 1_996_032, 468.8],
  ['mbf', {}, 512, 2_059_520, 437.5],
  ['mbf-large', {}, 512, 6_314_880, 1816.5],
])('%s %o: %i numbers, %i parameters, %f M multiply-adds', (name, options, size, parameters, millions) => {
  const network = create(name, options);
  const s = summarize(network);
  expect(network.architecture).toBe('mobilefacenet');
  expect([network.options.embeddingSize, s.parameters]).toEqual([size, parameters]);
  expect((s.multiplyAdds / 1e6).toFixed(1)).toBe(millions.toFixed(1));
  expect(s.layers.at(-1)!.output.at(-1)).toBe(size);
});

it('as many variables as the TensorFlow port: 294 variables with the moving statistics and the head', () => {
  const network = create('mobilefacenet-tf');
  // The 294th is the matrix of the head.
  expect(variablesOf(network).length + 1).toBe(294);
});

it('parameters of checkpoints written before there were options have kept their names and shapes', () => {
  const names = parametersOf(new MobileFaceNet({ width: 0.125 })).map((p) => `${p.name} ${p.shape.join('x')}`);
  expect(names.length).toBe(50 * 3 + 33);
  for (const name of [
    'stem.conv.weight 3x3x3x8',
    'stem.prelu.weight 8',
    'stemDepthwise.conv.weight 3x3x1x8',
    'blocks.0.expand.conv.weight 1x1x8x16',
    'blocks.14.project.bn.bias 16',
    'head.prelu.weight 64',
    'globalDepthwise.conv.weight 7x7x1x64',
    'embedding.conv.weight 1x1x64x128',
    'embedding.bn.weight 128',
  ])
    expect(names).toContain(name);
});

it('without a last layer the embedding is as long as asked: the convolution that makes the last map says so', () => {
  for (const [name, layer] of [
    ['mobilefacenet-m', 'head.conv'],
    ['mobilefacenet-s', 'blocks.14.project.conv'],
  ] as const) {
    const { layers } = summarize(create(name, { embeddingSize: 40, width: 0.25 }));
    expect(layers.find((l) => l.name === layer)!.output).toEqual([7, 7, 40]);
    expect(layers.at(-1)).toMatchObject({ name: 'globalDepthwise.bn', output: [1, 1, 40] });
  }
});

it('initial weights of the convolutions: by fan-out, by fan-in, or by both', () => {
  const deviation = (init: 'fanOut' | 'fanIn' | 'xavier', i: number) => {
    const w = initialize(new MobileFaceNet({ init }), 1).blocks[i]!.expand.conv.weight;
    const values = Array.from(w.host);
    return {
      found: Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / w.size),
      n: w.size,
      largest: Math.max(...values.map(Math.abs)),
    };
  };
  // blocks.5 goes from 64 to 256 channels.
  for (const [init, expected] of [
    ['fanOut', Math.sqrt(2 / 256)],
    ['fanIn', Math.sqrt(1 / 64 / 3)],
    ['xavier', Math.sqrt(2 / (64 + 256))],
  ] as const) {
    const { found, n, largest } = deviation(init, 5);
    // Six standard errors of the standard deviation of n normal numbers.
    expect(Math.abs(found / expected - 1), init).toBeLessThan(6 / Math.sqrt(2 * n));
    if (init === 'fanIn') expect(largest).toBeLessThanOrEqual(1 / 8);
  }
});

it.each<[Record<string, unknown>, RegExp]>([
  [{ blocks: [1, 4, 6] }, /^mobilefacenet: blocks expected four whole numbers such as 1,4,6,2/],
  [{ blocks: [0, 4, 6, 2] }, /blocks expected four whole numbers/],
  [{ output: 'E' }, /output expected conv, linear or none, got "E"/],
  [{ padding: 'valid' }, /padding expected symmetric or same/],
  [{ scale: 1.5 }, /scale expected a whole number of at least 1/],
  [{ inputSize: [112, 100] }, /inputSize expected HEIGHTxWIDTH in multiples of 16/],
  [{ exapnsion: 2 }, /got 'exapnsion'\nDid you mean 'expansion'\?/],
])('refuses %o', (options, message) => {
  expect(() => create('mobilefacenet', options)).toThrow(message);
});

heldToPytorch('mobilefacenet', readGolden('mobileFaceNetForms'));
