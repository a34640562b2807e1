/**
 * IR and SE-IR ResNets: counts as published implementations have them, numbers and gradients as PyTorch's in float64
 * (test/reference/irNet.py), and what a user does with a network.
 */
import { expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { architectures, create } from '../../src/models/index.ts';
import { IrNet, type IrNetOptions } from '../../src/models/irNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize } from '../../src/nn/module.ts';
import { keyData } from '../../src/plan/trace.ts';
import { heldToPytorch, readGolden } from './pytorch.ts';

const golden = readGolden('irNet');
const depths = [18, 34, 50, 74, 90, 100, 101, 152, 200];

/** Parameters and giga multiply-adds at 112×112 of the implementations in use, counted from their own code. */
it.each<[string, IrNetOptions, number, number]>([
  ['ir-50', {}, 43_590_848, 6.309],
  ['ir-se-50', {}, 43_813_568, 6.31],
  ['ir-18', {}, 24_025_600, 2.61],
  ['ir-34', {}, 34_139_328, 4.46],
  ['ir-74', {}, 55_996_864, 9.084],
  ['ir-90', {}, 63_677_120, 10.934],
  ['ir-100', {}, 65_156_160, 12.09],
  ['ir-se-100', {}, 65_528_384, 12.09],
  ['ir-152', {}, 70_765_760, 12.321],
  ['ir-se-152', {}, 71_176_896, 12.321],
  ['ir-50', { midBatchNorm: false, shortcut: 'pool' }, 43_574_976, 6.296],
  ['ir-se-50', { midBatchNorm: false, shortcut: 'pool' }, 43_797_696, 6.297],
  ['ir-100', { midBatchNorm: false, shortcut: 'pool' }, 65_129_792, 12.077],
  ['ir-se-152', { midBatchNorm: false, shortcut: 'pool' }, 71_148_736, 12.308],
  ['ir-50', { shortcut: 'pool' }, 43_586_624, 6.296],
  ['ir', { attention: 'cam' }, 43_813_568, 6.31],
  ['ir', { attention: 'sam' }, 43_591_280, 6.31],
  ['ir', { attention: 'cbam' }, 43_814_000, 6.31],
])('%s %o: %i parameters, %f G', (name, options, parameters, giga) => {
  const s = summarize(create(name, { ...options }));
  expect(s.parameters).toBe(parameters);
  expect(Math.round(s.multiplyAdds / 1e6) / 1e3).toBe(giga);
});

it('every depth has its counts from PyTorch', () => {
  expect(new Set(golden.counts.map((c) => c.options.depth))).toEqual(new Set(depths));
});

heldToPytorch('ir', golden);

it('dropout: in training, from the key; a training pass without one says so', async () => {
  const device = await WasmDevice.create({ threads: 1 });
  const net = initialize(new IrNet({ depth: 18, width: 0.25, inputSize: [32, 32], embeddingSize: 16 }), 1);
  const x = host(normal(keyOf(5), 3 * 32 * 32 * 3), [3, 32, 32, 3]);
  const f = compile(({ x: t }, ctx) => net.call(t!, ctx), { device, training: true });
  const outputs = [];
  for (const step of [1, 1, 2])
    outputs.push((await f({ x, key: host(keyData(keyOf(1), step), [2], 'i32') })).result!.data);
  expect(outputs[1]).toEqual(outputs[0]);
  expect(outputs[2]).not.toEqual(outputs[0]);
  await expect(f({ x })).rejects.toThrow(/dropout: expected a key while training/);
  f.dispose();
  await device.dispose();
});

it('names in the registry stand for options', () => {
  for (const [name, options] of [
    ['ir', { depth: 50, attention: 'none' }],
    ['ir-18', { depth: 18, attention: 'none' }],
    ['IR-SE-34', { depth: 34, attention: 'se' }],
  ] as const) {
    const net = create(name, { width: 0.125 });
    expect(net.architecture).toBe('ir');
    expect(net.options).toMatchObject({ ...options, embeddingSize: 512, width: 0.125 });
  }
  expect(depths.every((d) => architectures.has(`ir-${d}`) && architectures.has(`ir-se-${d}`))).toBe(true);
});

it.each<[Record<string, unknown>, RegExp]>([
  [{ depth: 19 }, /^ir: depth expected 18, 34, .* or 200, got 19\n/],
  [{ depth: '50' }, /^ir: depth expected/],
  [{ attention: 'constructor' }, /^ir: attention expected none, se, cam, sam or cbam, got "constructor"/],
  [{ midBatchNorm: 'false' }, /^ir: midBatchNorm expected true or false/],
  [{ shortcut: 'identity' }, /^ir: shortcut expected conv or pool/],
  [{ output: 'F' }, /^ir: output expected E, GDC or GAP/],
  [{ dropout: 1 }, /^ir: dropout expected a number from 0 to below 1, got 1/],
  [{ inputSize: [100, 112] }, /^ir: inputSize expected HEIGHTxWIDTH in multiples of 16, .*, got \[100,112\]/],
  [{ embeddingSize: 0.5 }, /^ir: embeddingSize expected a whole number of at least 1, got 0.5/],
  [{ width: 0 }, /^ir: width expected a number above 0, got 0/],
])('refuses %o', (options, message) => {
  expect(() => create('ir', { depth: 18, ...options })).toThrow(message);
});
