/** ResNet and ResNeXt: the counts of Face_Pytorch and torchvision, and PyTorch's numbers (test/reference/resNet.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { ResNet } from '../../src/models/resNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, parametersOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** Of Face_Pytorch's own networks at 112×112, counted from its code. */
it.each([
  [18, '24.0', '1.73'],
  [34, '34.1', '3.58'],
  [50, '74.9', '4.04'],
  [101, '93.9', '7.75'],
  [152, '109.5', '11.47'],
])('resnet-%i has %s M parameters and %s G multiply-adds', (depth, millions, giga) => {
  const { parameters, multiplyAdds } = summarize(create(`resnet-${depth}`));
  expect([(parameters / 1e6).toFixed(1), (multiplyAdds / 1e9).toFixed(2)]).toEqual([millions, giga]);
});

/** Parameters that torchvision documents for the networks that end in 1000 classes and begin with a 7×7 convolution. */
it.each([
  ['resnet-18', 11_689_512],
  ['resnet-34', 21_797_672],
  ['resnet-50', 25_557_032],
  ['resnet-101', 44_549_160],
  ['resnet-152', 60_192_808],
  ['resnext-50', 25_028_904],
  ['resnext-101-32x8d', 88_791_336],
])('the stages of %s have the parameters of torchvision', (name, published) => {
  const stages = summarize(create(name)).layers.filter((l) => l.name.startsWith('units.'));
  const c = stages.at(-1)!.output.at(-1)!;
  const [stem, classes] = [7 * 7 * 3 * 64 + 2 * 64, (c + 1) * 1000];
  expect(stages.reduce((n, l) => n + l.parameters, 0)).toBe(published - stem - classes);
});

it('resnext-101 is 32x4d, with the cost of resnet-101 (table 1 of the paper)', () => {
  expect(create('resnext-101').options).toMatchObject({ depth: 101, cardinality: 32, baseWidth: 4 });
  expect(new ResNet({ depth: 50, cardinality: 32 }).options).toEqual(create('resnext-50').options);
  const [next, plain] = ['resnext-101', 'resnet-101'].map((name) => summarize(create(name)));
  expect(Math.abs(next!.multiplyAdds / plain!.multiplyAdds - 1)).toBeLessThan(0.05);
});

it('zeroInit begins the last batch norm of every unit at 0, and no other', () => {
  for (const depth of [18, 50] as const) {
    const net = initialize(new ResNet({ depth, width: 0.125, zeroInit: true, output: 'GAP' }), 1);
    const zero = parametersOf(net).filter((p) => p.name.endsWith('bn.weight') && p.host.every((v) => v === 0));
    const last = depth === 18 ? 1 : 2;
    expect(zero.map((p) => p.name)).toEqual(net.units.map((_, i) => `units.${i}.branch.${last}.bn.weight`));
  }
});

it('refuses groups where there are no bottlenecks', () => {
  expect(() => create('resnet-18', { cardinality: 32 })).toThrow(
    /^resnet: expected cardinality 1 and baseWidth 64 at depth 18, got 32 and 4\n/,
  );
  expect(() => create('resnet-34', { baseWidth: 128 })).toThrow(/at depth 34, got 1 and 128/);
});

heldToPytorch('resnet', readGolden('resNet'));
