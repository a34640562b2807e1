/** The network of MobileFaceNet-Keras-K210: its sizes, and PyTorch's counts and numbers (test/reference/k210Net.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { summarize } from '../../src/models/summary.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

/** Parameters, and multiply-adds in millions. */
it.each<[string, [number, number], number, number]>([
  ['k210-s', [112, 112], 208_384, 59.9],
  ['k210-m', [112, 112], 225_152, 59.9],
  ['k210-full', [112, 112], 361_344, 63.2],
  ['k210-s', [128, 128], 210_304, 78.2],
  ['k210-full', [128, 128], 369_024, 82.5],
])('%s at %o: %i parameters, %f M multiply-adds', (name, inputSize, parameters, millions) => {
  const s = summarize(create(name, { inputSize }));
  expect(s.parameters).toBe(parameters);
  expect((s.multiplyAdds / 1e6).toFixed(1)).toBe(millions.toFixed(1));
});

it('only the forms m and full have convolutions around the global one', () => {
  const names = (form: string) => summarize(create(`k210-${form}`)).layers.map((l) => l.name);
  for (const [form, head, squeeze] of [
    ['s', false, false],
    ['m', false, true],
    ['full', true, true],
  ] as const) {
    expect(names(form).includes('head.conv')).toBe(head);
    expect(names(form).includes('squeeze.conv')).toBe(squeeze);
  }
  expect(create('k210').options).toEqual(create('k210-s').options);
});

heldToPytorch('k210', readGolden('k210Net'));
