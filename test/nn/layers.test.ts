/** Layers that no golden of a whole network pins down: dropout's statistics and streams, the dense layer's bias. */
import { expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host, type Tensor } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { Dropout, Linear } from '../../src/nn/layers.ts';
import { initialize, Module, nameTree, parameterCount } from '../../src/nn/module.ts';
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
