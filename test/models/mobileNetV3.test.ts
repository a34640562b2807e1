/** MobileNetV3: the counts that are published of its classifiers, and PyTorch's numbers (test/reference/mobileNetV3.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { summarize } from '../../src/models/summary.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/**
 * Of the classifiers of 1000 images: ours up to the last map at 224×224, then a mean over the map, a hidden dense layer
 * and another. The hidden layer of small had 1280 numbers in the paper's first version and has 1024 since.
 */
it.each([
  ['large', 1280, 5_483_032, '0.22'],
  ['small', 1024, 2_542_856, '0.06'],
] as const)(
  '%s with %i hidden numbers is the network published with %i parameters, %s G multiply-adds',
  (size, hidden, published, giga) => {
    const { layers } = summarize(create('mobilenet-v3', { size, stemStride: 2, inputSize: [224, 224] }));
    const body = layers.filter((l) => !l.name.startsWith('output.'));
    const last = body.at(-1)!.output.at(-1)!;
    const count = (of: 'parameters' | 'multiplyAdds') => body.reduce((n, l) => n + l[of], 0);
    expect(count('parameters') + (last + 1) * hidden + (hidden + 1) * 1000).toBe(published);
    expect(((count('multiplyAdds') + last * hidden + hidden * 1000) / 1e9).toFixed(2)).toBe(giga);

    // The first version's, without biases in squeeze and excitation.
    const biases = body.filter((l) => l.type === 'Linear').reduce((n, l) => n + l.output.at(-1)!, 0);
    const first = count('parameters') - biases + (last + 1) * 1280 + 1281 * 1000;
    expect((first / 1e6).toFixed(2)).toBe(size === 'large' ? '5.48' : '2.94');
  },
);

it('has a last map of 7x7 at 112x112, and of 4x4 with a stem of stride 2', () => {
  for (const [stemStride, side] of [
    [1, 7],
    [2, 4],
  ] as const)
    for (const [name, channels] of [
      ['mobilenet-v3-large', 960],
      ['mobilenet-v3-small', 576],
    ] as const) {
      const { layers } = summarize(create(name, { stemStride }));
      expect(layers.find((l) => l.name === 'head.bn')!.output).toEqual([side, side, channels]);
    }
});

heldToPytorch('mobilenet-v3', readGolden('mobileNetV3'));
