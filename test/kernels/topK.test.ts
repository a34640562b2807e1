/** topK, argMax and argMin on the GPU against plain loops, to the bit: equals, both zeros, infinities and NaN. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyOf, threefry } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { type HostTensor, host } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { argMax, argMin, topK } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { bitComplaints, problem, randomHost } from '../helpers/gpuProblems.ts';

const awkward = [0, -0, 1, -1, 1, 1e-40, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
/** Many equals: every other number is one of few. */
function withEquals(shape: readonly number[], seed: number): HostTensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const [a, b] = threefry(keyOf(seed), i, 5);
    return a % 2 ? awkward[b % awkward.length]! : b / 2 ** 31 - 1;
  });
  return host(data, shape);
}

describe.runIf(runGpu)('choosing the largest on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  it.each([
    [[1], 1],
    [[5, 17], 5],
    [[2, 3, 33], 33],
    [[3, 256], 7],
    [[2, 257], 1],
    [[2, 1000], 300],
    [[2, 5000], 10],
    [[1, 3000], 3000],
  ])('topK of %j, k %i', async (shape, k) => {
    const inputs = [withEquals(shape, 1), randomHost('f32', shape, 2), host(new Float32Array(sizeOf(shape)), shape)];
    const problems = inputs.map((x, i) =>
      problem(String(i), [x], (t) => {
        const { values, indices } = topK(t, k);
        return [values, indices];
      }),
    );
    expect(await bitComplaints(device, problems)).toEqual([]);
  });

  it.each([
    [[1], 0],
    [[3, 17], 1],
    [[9, 5], 0],
    [[2, 40, 3], 1],
    [[2, 20000], 1],
    [[6000, 2], 0],
    [[700, 70], 0],
  ])('argMax and argMin of %j along %i', async (shape, axis) => {
    const front = withEquals(shape, 3);
    front.data[0] = Number.NaN;
    const inputs = [
      withEquals(shape, 4),
      front,
      host(new Float32Array(sizeOf(shape)).fill(Number.NEGATIVE_INFINITY), shape),
      host(new Float32Array(sizeOf(shape)).fill(Number.NaN), shape),
      randomHost('f32', shape, 5),
      // A kernel takes long to compile: the other dtypes differ in their keys alone.
      ...(shape.length < 3 ? [] : (['i32', 'u8', 'bool'] as const).map((d, i) => randomHost(d, shape, i))),
    ];
    const problems = inputs.map((x, i) => problem(`${i} ${x.dtype}`, [x], (t) => [argMax(t, axis), argMin(t, axis)]));
    expect(await bitComplaints(device, problems)).toEqual([]);
  });
});
