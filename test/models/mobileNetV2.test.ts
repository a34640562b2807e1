/** MobileNetV2: the counts that are published of its classifier, and PyTorch's numbers (test/reference/mobileNetV2.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { makeDivisible } from '../../src/models/mobileNetV2.ts';
import { summarize } from '../../src/models/summary.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** Of the classifier of 1000 images: ours up to the last map at 224×224, then a mean over the map and one dense layer. */
it('is the network that is published with 3,504,872 parameters and 300.8 M multiply-adds', () => {
  const { layers } = summarize(create('mobilenet-v2', { stemStride: 2, inputSize: [224, 224], output: 'GAP' }));
  const body = layers.filter((l) => !l.name.startsWith('output.'));
  const count = (of: 'parameters' | 'multiplyAdds') => body.reduce((n, l) => n + l[of], 0);
  const [parameters, multiplyAdds] = [count('parameters') + 1281 * 1000, count('multiplyAdds') + 1280 * 1000];
  expect(parameters).toBe(3_504_872);
  expect((multiplyAdds / 1e6).toFixed(1)).toBe('300.8');

  // Keras ports with a bias in every convolution, and an expansion to the same width in the first unit (t = 1).
  const biases = body.filter((l) => l.type === 'Conv2d').reduce((n, l) => n + l.output.at(-1)!, 0);
  const [expansion, pixels] = [32 * 32 + 2 * 32 + 32, 112 * 112];
  expect(((parameters + biases + expansion) / 1e6).toFixed(2)).toBe('3.52');
  expect(((multiplyAdds + pixels * 32 * 32) / 1e6).toFixed(1)).toBe('313.6');
});

it.each([
  [32 * 0.35, 16],
  [16 * 0.35, 8],
  [24 * 0.75, 24],
  [1280 * 1.4, 1792],
  [18, 24],
  [19, 24],
  [4, 8],
])('%f channels become %i', (channels, expected) => {
  expect(makeDivisible(channels)).toBe(expected);
  expect(expected).toBeGreaterThanOrEqual(0.9 * channels);
});

it('has a last map of 7x7 at 112x112, and of 4x4 with a stem of stride 2', () => {
  for (const [stemStride, side] of [
    [1, 7],
    [2, 4],
  ] as const) {
    const { layers } = summarize(create('mobilenet-v2', { stemStride, width: 0.25 }));
    expect(layers.find((l) => l.name === 'head.bn')!.output).toEqual([side, side, 1280]);
    expect(layers.find((l) => l.name === 'output.depthwise.bn')!.output).toEqual([1, 1, 1280]);
  }
});

it('has output GDC unless asked otherwise, and drops numbers only with E', () => {
  expect(create('mobilenet-v2', { width: 0.25 }).options).toMatchObject({ output: 'GDC', dropout: 0, stemStride: 1 });
  expect(create('mobilenet-v2', { width: 0.25, output: 'E' }).options).toMatchObject({ output: 'E', dropout: 0.4 });
  expect(() => create('mobilenet-v2', { stemStride: 3 })).toThrow(/^mobilenet-v2: stemStride expected 1 or 2, got 3\n/);
});

heldToPytorch('mobilenet-v2', readGolden('mobileNetV2'));
