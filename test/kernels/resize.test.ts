/** Resizing and random numbers on the GPU: sizes beyond the samples of the op records. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { host } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { randomUniform, resize } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { bitComplaints, problem, randomHost } from '../helpers/gpuProblems.ts';
import { complaints, forwardBatch, gradientBatch, outOfBound, runOn, truthOf } from '../ops/harness.ts';

describe.runIf(runGpu)('images and draws on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  it.each([
    [
      [1, 19, 25, 3],
      [56, 41],
    ],
    [
      [1, 64, 48, 3],
      [7, 5],
    ],
    [
      [2, 12, 9, 8],
      [12, 30],
    ],
    [
      [1, 1, 40, 4],
      [5, 40],
    ],
    [
      [1, 23, 2, 1],
      [24, 1],
    ],
  ] as const)('resizes %j to %j', async (shape, size) => {
    const x = randomHost('f32', shape, 1);
    const ways = [
      { mode: 'nearest' },
      { mode: 'bilinear', alignCorners: false },
      { mode: 'bilinear', alignCorners: true },
    ] as const;
    const problems = ways.map((way) => problem(JSON.stringify(way), [x], (t) => [resize(t, size, way)]));
    for (const batch of [forwardBatch(problems), gradientBatch(problems)]) {
      const truth = await truthOf(batch);
      expect(complaints(await runOn(device, batch), (r) => outOfBound(r, truth))).toEqual([]);
    }
  });

  it('draws the numbers of every other device', async () => {
    const keys = [
      [0, 0],
      [-1, 2 ** 31 - 1],
      [1234567, -89],
    ].map((k) => host(Int32Array.from(k), [2]));
    const problems = keys.map((k, i) =>
      problem(String(i), [k], (t) => [randomUniform(t, [3, 1001]), randomUniform(t, [6], 0xfedcba98)]),
    );
    expect(await bitComplaints(device, problems)).toEqual([]);
  });
});
