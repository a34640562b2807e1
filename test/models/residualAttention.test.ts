/** Residual Attention Networks: the counts of Face_Pytorch's, and PyTorch's numbers (test/reference/residualAttention.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { modulesOf } from '../../src/nn/module.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

const golden = readGolden('residualAttention');

/**
 * Million parameters as Face_Pytorch allocates them and giga multiply-adds. That project holds a shortcut convolution in
 * every unit; the identities among them, which no forward pass reads, are added here to our counts.
 */
it.each([
  [56, '26.4', '4.17'],
  [92, '134.6', '10.5'],
])('depth %i has %s M parameters with the unused ones, and %s G multiply-adds', (depth, millions, giga) => {
  const { parameters, multiplyAdds } = golden.counts.find(({ options }) => options.depth === depth)!;
  const unused = modulesOf(create('residual-attention', { depth, output: 'GAP' }))
    .filter((m) => m.constructor.name === 'Unit' && !('shortcut' in m && m.shortcut))
    .map((m) => {
      const { conv1, conv3 } = m as unknown as Record<'conv1' | 'conv3', { weight: { shape: number[] } }>;
      return conv1.weight.shape[2]! * conv3.weight.shape[3]!;
    });
  const like = (n: number, text: string) => n.toFixed(text.split('.')[1]!.length);
  expect(like((parameters + unused.reduce((a, b) => a + b)) / 1e6, millions)).toBe(millions);
  expect(like(multiplyAdds / 1e9, giga)).toBe(giga);
});

heldToPytorch('residual-attention', golden);
