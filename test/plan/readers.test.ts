/** Who reads what, and when: values with several readers, and variables read after their new value is made. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Compiled, compile } from '../../src/compile.ts';
import { host, type Tensor, Variable } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { add, conv2d, matmul, max, mul, relu, reshape, sub, sum, transpose } from '../../src/ops/index.ts';

let device: WasmDevice;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2 });
});
afterAll(() => device.dispose());

/** Whole numbers: every order of summation gives the same. */
const whole = (n: number, seed: number) => Float32Array.from({ length: n }, (_, i) => ((i * 7 + seed * 5) % 11) - 5);
const image = host(whole(2 * 6 * 5 * 8, 1), [2, 6, 5, 8]);
const matrix = host(whole(9 * 9, 2), [9, 9]);
const w = host(whole(3 * 3 * 8 * 8, 3), [3, 3, 8, 8]);
const taps = host(whole(3 * 3 * 8, 4), [3, 3, 1, 8]);

type Fn = Parameters<typeof compile>[0];
async function run(fn: Fn, on: Device, fuse: boolean): Promise<Record<string, number[]>> {
  const f: Compiled = compile(fn, { device: on, fuse });
  const out = await f({ image, matrix, w, taps });
  f.dispose();
  return Object.fromEntries(Object.entries(out).map(([name, t]) => [name, [...t.data]]));
}

const heavy: Record<string, (x: Readonly<Record<string, Tensor>>) => Tensor> = {
  matmul: ({ matrix: m }) => matmul(m!, m!),
  conv2d: (x) => conv2d(x.image!, x.w!, { padding: 1 }),
  depthwise: (x) => conv2d(x.image!, x.taps!, { padding: 1, groups: 8 }),
};
/** Readers that cannot all be part of the op's own kernel. */
const readers: Record<string, (y: Tensor) => Record<string, Tensor>> = {
  'a tail and a reduction': (y) => ({ a: relu(y), b: sum(y, 0), c: max(y) }),
  'two tails of different shapes': (y) => ({ a: relu(y), b: add(reshape(y, [-1]), 1) }),
  'a tail and a transpose': (y) => ({ a: add(y, 1), b: transpose(y) }),
  'a tail that is the result, and the value itself': (y) => ({ a: relu(y), y }),
  'a tail and a later kernel': (y) => {
    const a = relu(y);
    return { a, b: sub(y, sum(a)) };
  },
};

describe('a value with several readers', () => {
  for (const [op, make] of Object.entries(heavy))
    it.each(Object.entries(readers))(`of ${op}: %s`, async (_, read) => {
      const fn: Fn = (x) => read(make(x));
      const truth = await run(fn, new ReferenceDevice(), true);
      expect(await run(fn, device, true)).toEqual(truth);
      expect(await run(fn, device, false)).toEqual(truth);
    });
});

describe('a variable', () => {
  it('is read as it was by kernels that run after its new value is made', async () => {
    for (const d of [device, new ReferenceDevice()]) {
      const v = new Variable('v', whole(9, 5), [9]);
      const before = [...v.host];
      const f = compile(
        ({ matrix: m }, ctx) => {
          ctx.assign(v, add(v.tensor, 1));
          // Needs a product, so it runs behind the assignment's kernel, which comes first in order.
          const late = matmul(m!, m!);
          return { late: mul(late, v.tensor), plain: sum(late, 0) };
        },
        { device: d },
      );
      const { late, plain } = await f({ matrix });
      const rows = Array.from({ length: 9 }, (_, i) => [...late!.data].slice(9 * i, 9 * i + 9));
      const columns = before.map((x, j) => rows.reduce((s, r) => s + r[j]!, 0) - x * plain!.data[j]!);
      expect(columns.map((c) => c + 0)).toEqual(before.map(() => 0));
      expect([...(await v.read())]).toEqual(before.map((x) => x + 1));
      f.dispose();
      v.dispose();
    }
  });
});
