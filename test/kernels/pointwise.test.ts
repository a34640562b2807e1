/** Pointwise kernels on WebGPU: every way an operand meets the output, and more operands than can be bound. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fold, keyOf } from '../../src/core/random.ts';
import type { Shape } from '../../src/core/shape.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { add, cast, conv2d, greater, mul, sum } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { type Batch, draw, outOfBound, runOn, truthOf } from '../ops/harness.ts';

let whole: WebGpuDevice;
let least: WebGpuDevice;
beforeAll(async () => {
  if (!runGpu) return;
  whole = await openGpuDevice();
  least = await openGpuDevice({ least: true });
});
afterAll(async () => {
  await whole?.dispose();
  await least?.dispose();
});

async function check(shapes: readonly Shape[], build: (x: readonly Tensor[]) => Record<string, Tensor>) {
  const batch: Batch = {
    inputs: new Map(shapes.map((shape, i) => [`x${i}`, draw({ shape }, fold(keyOf(50), `${i} ${shape}`))])),
    build: (inputs) => build(shapes.map((_, i) => inputs[`x${i}`]!)),
  };
  const truth = await truthOf(batch);
  for (const device of [whole, least])
    for (const r of (await runOn(device, batch)).values()) expect(outOfBound(r, truth)).toBeUndefined();
}

describe.runIf(runGpu)('pointwise', () => {
  it.each([
    // Rows of whole vectors, rows with tails, and one operand along each axis.
    [[5, 8], [8]],
    [
      [5, 8],
      [5, 1],
    ],
    [
      [3, 5, 8],
      [5, 1],
    ],
    [
      [3, 5, 8],
      [3, 1, 8],
    ],
    [
      [2, 3, 4, 12],
      [3, 1, 12],
    ],
    [[5, 7], [7]],
    [
      [3, 5, 7],
      [3, 1, 7],
    ],
    [
      [3, 5, 7],
      [5, 1],
    ],
    [
      [6, 1],
      [1, 8],
    ],
    [
      [6, 1],
      [1, 7],
    ],
    [[], [9]],
  ] as [Shape, Shape][])('%j and %j', async (a, b) => {
    await check([a, b], ([x, y]) => ({
      sum: add(x!, y!),
      // Bytes are stored four to a word.
      counted: mul(cast(greater(x!, y!), 'f32'), y!),
    }));
  });

  it('reads more small operands than an adapter can bind', async () => {
    const small = Array.from({ length: 11 }, (_, i): Shape => (i % 3 ? [16] : [1]));
    await check([[37, 16], ...small], ([x, ...rest]) => {
      const y = rest.reduce((a, b, i) => (i % 2 ? add(a, b) : mul(a, b)), x!);
      return { y, columns: sum(y, 0) };
    });
  });
  it('does so in the store of a convolution, in vectors and in single elements', async () => {
    for (const c of [8, 7]) {
      const small = Array.from({ length: 9 }, (): Shape => [c]);
      await check([[2, 5, 5, 3], [3, 3, 3, c], ...small], ([x, w, ...rest]) => ({
        y: rest.reduce((a, b, i) => (i % 2 ? add(a, b) : mul(a, b)), conv2d(x!, w!, { padding: 1 })),
      }));
    }
  });
});
