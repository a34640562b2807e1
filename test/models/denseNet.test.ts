/** DenseNet: torchvision's counts, and PyTorch's numbers (test/reference/denseNet.py). */
import { expect, it } from 'vitest';
import { DenseNet } from '../../src/models/denseNet.ts';
import { create } from '../../src/models/index.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, parametersOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** Parameters and giga multiply-adds at 224×224 that torchvision documents for the networks that end in 1000 classes. */
it.each([
  [121, 7_978_856, '2.83'],
  [169, 14_149_480, '3.36'],
  [201, 20_013_928, '4.29'],
])('densenet-%i has the counts of torchvision', (depth, published, giga) => {
  const { layers, multiplyAdds } = summarize(
    create(`densenet-${depth}`, { stem: 'imagenet', inputSize: [224, 224], output: 'GAP' }),
  );
  const body = layers.filter((l) => !l.name.startsWith('output.'));
  const [c] = body.at(-1)!.output.slice(-1) as [number];
  expect(body.reduce((n, l) => n + l.parameters, 0)).toBe(published - (c + 1) * 1000);
  expect((multiplyAdds / 1e9).toFixed(2)).toBe(giga);
});

it.each([
  [{}, [7, 7, 1024]],
  [{ stem: 'imagenet' }, [3, 3, 1024]],
  [{ depth: 169, inputSize: [112, 96] }, [7, 6, 1664]],
  [{ growthRate: 16, compression: 0.25 }, [7, 7, 366]],
])('%o ends in a map %o', (options, map) => {
  const { layers } = summarize(create('densenet', { ...options, output: 'GAP' }));
  expect(layers.find((l) => l.name === 'bn')!.output).toEqual(map);
});

it('refuses pictures that the ImageNet stem leaves nothing of', () => {
  expect(() => create('densenet', { stem: 'imagenet', inputSize: [112, 16] })).toThrow(
    /^densenet: expected an input of at least 32x32 with the stem imagenet, got 112x16\n/,
  );
});

it('begins with maps that neither grow nor vanish, before any batch has been measured', () => {
  const net = initialize(new DenseNet({ width: 0.25, inputSize: [32, 32], output: 'GAP' }), 3);
  for (const { name, shape, host } of parametersOf(net).filter((p) => p.shape.length === 4)) {
    const [kh, kw, inputs] = shape as [number, number, number];
    const variance = (host as Float32Array).reduce((s, v) => s + v * v, 0) / host.length;
    // Five deviations of the estimated variance of normal numbers, sqrt(2 / n).
    expect(Math.abs((variance * kh * kw * inputs) / 2 - 1), name).toBeLessThan(5 * Math.sqrt(2 / host.length));
  }
});

heldToPytorch('densenet', readGolden('denseNet'));
