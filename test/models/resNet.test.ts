/** ResNet and ResNeXt: the counts of Face_Pytorch and torchvision, and PyTorch's numbers (test/reference/resNet.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { ResNet } from '../../src/models/resNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, parametersOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/**
 * Million parameters and giga multiply-adds of Face_Pytorch's own networks at 112×112, counted from its code (it has no
 * ResNeXt), and the parameters that torchvision documents for networks that begin with a 7×7 convolution and end in 1000
 * classes.
 */
it.each<[string, string | undefined, string | undefined, number]>([
  ['resnet-18', '24.0', '1.73', 11_689_512],
  ['resnet-34', '34.1', '3.58', 21_797_672],
  ['resnet-50', '74.9', '4.04', 25_557_032],
  ['resnet-101', '93.9', '7.75', 44_549_160],
  ['resnet-152', '109.5', '11.47', 60_192_808],
  ['resnext-50', undefined, undefined, 25_028_904],
  ['resnext-101-32x8d', undefined, undefined, 88_791_336],
])(
  '%s has %s M parameters and %s G multiply-adds, and the stages of torchvision',
  (name, millions, giga, published) => {
    const { parameters, multiplyAdds, layers } = summarize(create(name));
    if (millions !== undefined)
      expect([(parameters / 1e6).toFixed(1), (multiplyAdds / 1e9).toFixed(2)]).toEqual([millions, giga]);
    const stages = layers.filter((l) => l.name.startsWith('units.'));
    const c = stages.at(-1)!.output.at(-1)!;
    const [stem, classes] = [7 * 7 * 3 * 64 + 2 * 64, (c + 1) * 1000];
    expect(stages.reduce((n, l) => n + l.parameters, 0)).toBe(published - stem - classes);
  },
);

it('names of ResNeXt stand for groups, 32x4d unless they say more', () => {
  const small = { width: 0.125, inputSize: [32, 32] } as const;
  expect(create('resnext-101', small).options).toMatchObject({ depth: 101, cardinality: 32, baseWidth: 4 });
  expect(create('resnext-101-32x8d', small).options).toMatchObject({ depth: 101, cardinality: 32, baseWidth: 8 });
  expect(new ResNet({ ...small, depth: 50, cardinality: 32 }).options).toEqual(create('resnext-50', small).options);
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
