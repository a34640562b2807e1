/** slim ResNets: the counts of InsightFace-tensorflow's networks, and PyTorch's numbers (test/reference/slimResNet.py). */
import { expect, it } from 'vitest';
import { create } from '../../src/models/index.ts';
import { summarize } from '../../src/models/summary.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

const golden = readGolden('slimResNet');

/** Million parameters and giga multiply-adds at 112×112, counted from that project's own code; it states none of v1. */
it.each([
  ['v2-m', 50, '43.57344', '5.43'],
  ['v2-m', 101, '93.9', '7.8'],
  ['v2-m', 152, '109.6', '11.5'],
  ['v2-m', 200, '114.1', '15.0'],
  ['v2', 50, '40.3', '0.95'],
  ['v2', 101, '59.3', '1.87'],
  ['v2', 152, '75.0', '2.80'],
  ['v2', 200, '79.5', '3.68'],
])('%s %i has %s M parameters and %s G multiply-adds', (version, depth, millions, giga) => {
  const { parameters, multiplyAdds } = golden.counts.find(
    ({ options }) => options.version === version && options.depth === depth,
  )!;
  const like = (n: number, text: string) => n.toFixed(text.split('.')[1]!.length);
  expect([like(parameters / 1e6, millions), like(multiplyAdds / 1e9, giga)]).toEqual([millions, giga]);
});

it.each([
  ['slim-resnet-v1-50', [4, 4, 2048]],
  ['slim-resnet-v2-50', [4, 4, 2048]],
  ['slim-resnet-v2-m-50', [7, 7, 512]],
  ['slim-resnet-v2-m-101', [7, 7, 2048]],
])('%s ends in a map %o at 112x112', (name, map) => {
  const bn = summarize(create(name, { output: 'GAP' })).layers.find((l) => l.name === 'output.bn')!;
  expect(bn.output).toEqual(map);
});

it('drops 0.6 before the dense layer of E, and nothing where the output is another', () => {
  expect(create('slim-resnet', { width: 0.125 }).options).toMatchObject({ version: 'v2-m', depth: 50, dropout: 0.6 });
  expect(create('slim-resnet', { width: 0.125, output: 'GDC' }).options).toMatchObject({ dropout: 0 });
});

heldToPytorch('slim-resnet', golden);
