/** Layers that no golden of a whole network pins down: dropout's statistics and streams, optional parts of the others. */
import { expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host, type Tensor } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { type ActivationName, BatchNorm, Conv2d, ConvBlock, Dropout, Linear } from '../../src/nn/layers.ts';
import { initialize, Module, nameTree, parameterCount, parametersOf } from '../../src/nn/module.ts';
import { keyData, type TraceContext } from '../../src/plan/trace.ts';

class Two extends Module {
  readonly a: Dropout;
  readonly b: Dropout;
  constructor(rate: number) {
    super();
    this.a = new Dropout(rate);
    this.b = new Dropout(rate);
    nameTree(this);
  }
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    return this.a.call(x, ctx);
  }
}

it.each([0, 0.1, 0.4, 0.9])(
  'dropout of %f keeps the expectation, drops that share, and repeats itself',
  async (rate) => {
    const device = await WasmDevice.create({ threads: 1 });
    const n = 100_000;
    const x = host(Float32Array.from(normal(keyOf(3), n), Math.abs), [n]);
    const net = new Two(rate);
    const run = async (training: boolean, step: number) => {
      const f = compile(({ x: t }, ctx) => ({ a: net.a.call(t!, ctx), b: net.b.call(t!, ctx) }), { device, training });
      const { a, b } = await f({ x, key: host(keyData(keyOf(9), step), [2], 'i32') });
      f.dispose();
      return { a: a!.data, b: b!.data };
    };
    const first = await run(true, 1);
    const kept = Array.from(first.a).filter((v) => v !== 0).length;
    // Six deviations of a binomial, and of a sum of x/(1 − rate) over the kept.
    expect(Math.abs(kept - n * (1 - rate))).toBeLessThanOrEqual(6 * Math.sqrt(n * rate * (1 - rate)));
    const total = (d: ArrayLike<number>) => Array.from(d).reduce((s, v) => s + v, 0);
    const squares = total(Array.from(x.data, (v) => v * v));
    expect(Math.abs(total(first.a) - total(x.data))).toBeLessThanOrEqual(
      6 * Math.sqrt((squares * rate) / (1 - rate)) + 1e-6,
    );
    const scaled = (v: number, i: number) => v === 0 || Math.abs(v * (1 - rate) - x.data[i]!) <= 2e-7 * x.data[i]!;
    expect(Array.from(first.a).every(scaled)).toBe(true);
    expect(await run(true, 1)).toEqual(first);
    const off = await run(false, 1);
    expect(off.a).toEqual(x.data);
    expect(off.b).toEqual(x.data);
    if (rate > 0) {
      expect((await run(true, 2)).a).not.toEqual(first.a);
      expect(first.b).not.toEqual(first.a);
    }
    await device.dispose();
  },
);

it('dropout refuses rates that keep nothing', () => {
  for (const rate of [1, -0.1, Number.NaN]) expect(() => new Dropout(rate)).toThrow(/rate in \[0, 1\)/);
});

it('a dense layer has a bias or none', () => {
  expect(parameterCount(new Linear(5, 3))).toBe(18);
  const bare = initialize(new Linear(5, 3, { bias: false }), 1);
  expect(parameterCount(bare)).toBe(15);
  // Xavier's bound.
  expect(Math.max(...Array.from(bare.weight.host, Math.abs))).toBeLessThanOrEqual(Math.sqrt(6 / 8));
});

it('a convolution has no bias unless asked; a batch norm without scale is one with a weight of 1', async () => {
  const device = await WasmDevice.create({ threads: 1 });
  const x = host(normal(keyOf(1), 2 * 3 * 3 * 8), [2, 3, 3, 8]);
  const run = async (m: Module, training = false) => {
    const f = compile(({ x: t }, ctx) => m.call(t!, ctx), { device, training });
    const { result } = await f({ x });
    f.dispose();
    return Array.from(result!.data);
  };
  const bare = initialize(nameTree(new Conv2d(8, 8, { kernel: 1 })), 1);
  const biased = initialize(nameTree(new Conv2d(8, 8, { kernel: 1, bias: true })), 1);
  expect(parametersOf(bare).map((p) => p.name)).toEqual(['weight']);
  expect(parametersOf(biased).map((p) => p.name)).toEqual(['weight', 'bias']);
  biased.bias!.write(Float32Array.from({ length: 8 }, (_, i) => i));
  const without = await run(bare);
  expect(await run(biased)).toEqual(without.map((v, i) => Math.fround(v + (i % 8))));
  const [scaled, unscaled] = [true, false].map((scale) =>
    initialize(nameTree(new BatchNorm(8, { scale, eps: 1e-3, momentum: 0.01 })), 1),
  ) as [BatchNorm, BatchNorm];
  expect(parametersOf(unscaled).map((p) => p.name)).toEqual(['bias']);
  for (const training of [true, false]) expect(await run(unscaled, training)).toEqual(await run(scaled, training));
  await device.dispose();
});

it.each<[ActivationName, (x: number) => number]>([
  ['prelu', (x) => (x > 0 ? x : 0.25 * x)],
  ['relu', (x) => Math.max(0, x)],
  ['relu6', (x) => Math.min(6, Math.max(0, x))],
  ['leakyRelu', (x) => (x > 0 ? x : 0.3 * x)],
  ['hardSwish', (x) => (x * Math.min(6, Math.max(0, x + 3))) / 6],
  ['swish', (x) => x / (1 + Math.exp(-x))],
  ['none', (x) => x],
])("a ConvBlock's activation: %s", async (activation, formula) => {
  const device = await WasmDevice.create({ threads: 1 });
  const block = (kind: ActivationName) =>
    initialize(nameTree(new ConvBlock(8, 8, { kernel: 1, activation: kind, slope: 0.3 })), 1);
  const x = host(
    normal(keyOf(2), 50 * 8).map((v) => 4 * v),
    [1, 5, 10, 8],
  );
  const [y, plain] = await Promise.all(
    [activation, 'none' as const].map(async (kind) => {
      const m = block(kind);
      const f = compile(({ x: t }, ctx) => m.call(t!, ctx), { device });
      const { result } = await f({ x });
      f.dispose();
      return Array.from(result!.data);
    }),
  );
  // A few roundings of numbers up to ten.
  const far = Math.max(...y!.map((v, i) => Math.abs(v - formula(plain![i]!))));
  expect(far).toBeLessThanOrEqual(2 ** -20);
  expect(Math.max(...plain!)).toBeGreaterThan(6);
  const names = ['conv.weight', 'bn.weight', 'bn.bias', ...(activation === 'prelu' ? ['prelu.weight'] : [])];
  expect(parametersOf(block(activation)).map((p) => p.name)).toEqual(names);
  expect(parameterCount(block(activation))).toBe(64 + 16 + (activation === 'prelu' ? 8 : 0));
  await device.dispose();
});
