/** SGD as PyTorch writes it, against the formula in f64. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { constantInit } from '../../src/nn/init.ts';
import { Parameter } from '../../src/nn/module.ts';
import { type SgdOptions, sgd } from '../../src/optim/sgd.ts';

const n = 37;
const variants: readonly SgdOptions[] = [
  { momentum: 0 },
  { momentum: 0, decay: () => 0.5 },
  { momentum: 0.9 },
  { momentum: 0.75, decay: () => 0.25 },
  { momentum: 0.9, nesterov: true },
  { momentum: 0.75, nesterov: true, decay: () => 0.25 },
];

/** The formula with each step rounded: p and v after the gradients. */
function formula(
  p0: ArrayLike<number>,
  gradients: readonly Float32Array[],
  lr: number,
  o: SgdOptions,
  round: (x: number) => number,
) {
  const { momentum = 0.9, nesterov = false, decay = () => 0 } = o;
  const wd = decay({} as Parameter);
  const p = Float64Array.from(p0);
  const v = new Float64Array(p.length);
  for (const g of gradients)
    p.forEach((x, i) => {
      const d = round(g[i]! + round(wd * x));
      v[i] = momentum ? round(round(momentum * v[i]!) + d) : d;
      const step = nesterov ? round(d + round(momentum * v[i]!)) : v[i]!;
      p[i] = round(x - round(lr * step));
    });
  return p;
}

describe('sgd', () => {
  it.each(variants.map((o) => [{ ...o, decay: o.decay?.({} as Parameter) ?? 0 }, o] as const))('%j', async (_, o) => {
    const device = await WasmDevice.create({ threads: 1 });
    const p = new Parameter([n], constantInit(0));
    p.name = 'p';
    const start = normal(keyOf(1), n);
    p.write(start.slice());
    const optimizer = sgd([p], o);
    const f = compile(({ g, lr }, ctx) => optimizer.update([g!], lr!, ctx) as undefined, { device });
    const gradients = Array.from({ length: 5 }, (_, k) => normal(keyOf(2 + k), n));
    const lr = 0.125;
    for (const g of gradients) await f({ g: host(g, [n]), lr });
    const truth = formula(start, gradients, lr, o, (x) => x);
    const plain = formula(start, gradients, lr, o, Math.fround);
    const ulp = 2 ** -23 * truth.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const bound = 4 * truth.reduce((a, t, i) => Math.max(a, Math.abs(t - plain[i]!)), 0) + ulp;
    const got = await p.read();
    truth.forEach((t, i) => {
      expect(Math.abs(got[i]! - t)).toBeLessThanOrEqual(bound);
    });
    expect(optimizer.state.map((s) => s.name)).toEqual(o.momentum === 0 ? [] : ['p.velocity']);
    f.dispose();
    await device.dispose();
  });

  it('refuses what makes no sense', () => {
    expect(() => sgd([], { momentum: 1 })).toThrow(/^sgd: momentum expected a number from 0 to below 1, got 1/);
    expect(() => sgd([], { momentum: 0, nesterov: true })).toThrow(/^sgd: expected a momentum above 0 for Nesterov/);
  });
});
