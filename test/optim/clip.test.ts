/** Gradient clipping against the formulas of PyTorch's clip_grad_norm_ and clip_grad_value_ in float64. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { clipByGlobalNorm, clipByValue } from '../../src/optim/clip.ts';

let device: WasmDevice;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

const a = normal(keyOf(1), 35);
const b = normal(keyOf(2), 11);
const inputs = { a: host(a, [5, 7]), b: host(b, [11]) };
const length = Math.sqrt([...a, ...b].reduce((s, x) => s + x * x, 0));

describe('clipping', () => {
  it.each([length / 3, length * 2, 1e-3])('by a global norm of %d', async (maxNorm) => {
    const f = compile(
      (t) => {
        const { gradients, norm } = clipByGlobalNorm([t.a!, t.b!], maxNorm);
        return { a: gradients[0]!, b: gradients[1]!, norm };
      },
      { device },
    );
    const out = await f(inputs);
    const scale = Math.min(1, maxNorm / (length + 1e-6));
    expect(Math.abs(out.norm!.data[0]! / length - 1)).toBeLessThan(1e-6);
    expect([out.a!.shape, out.b!.shape]).toEqual([[5, 7], [11]]);
    for (const [x, y] of [
      [a, out.a!.data],
      [b, out.b!.data],
    ] as const)
      x.forEach((v, i) => {
        expect(Math.abs(y[i]! - v * scale)).toBeLessThanOrEqual(1e-6 * Math.abs(v * scale));
      });
    if (scale === 1) expect(out.a!.data).toEqual(a);
    f.dispose();
  });

  it('by value, NaN staying NaN', async () => {
    const f = compile(({ x }) => clipByValue([x!], 0.5)[0]!, { device });
    const { result } = await f({ x: host(Float32Array.of(-2, -0.5, 0.25, 0.75, Infinity, Number.NaN), [6]) });
    expect([...result!.data]).toEqual([-0.5, -0.5, 0.25, 0.5, 0.5, Number.NaN]);
    f.dispose();
  });

  it('a gradient that is not finite is not hidden by its norm', async () => {
    const f = compile(
      ({ x }) => {
        const { gradients, norm } = clipByGlobalNorm([x!], 1);
        return { g: gradients[0]!, norm };
      },
      { device },
    );
    const { g, norm } = await f({ x: host(Float32Array.of(1, Number.NaN), [2]) });
    expect([...g!.data, ...norm!.data]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    f.dispose();
  });

  it('refuses limits that are none', () => {
    expect(() => clipByGlobalNorm([], 1)).toThrow('clipByGlobalNorm: expected gradients, got none');
    expect(() => clipByGlobalNorm([], 0)).toThrow('clipByGlobalNorm: expected maxNorm above 0, got 0');
    expect(() => clipByValue([], Number.NaN)).toThrow('clipByValue: expected a limit above 0, got NaN');
  });
});
