/** Moments on the GPU around the edges of row groups, blocks and vectors, with a large common offset, against f64. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { momentsSpread } from '../../kernels/batchNorm.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { moments } from '../../src/ops/batchNorm.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import {
  bitDifference,
  complaints,
  draw,
  forwardBatch,
  outOfBound,
  type Problem,
  runOn,
  truthOf,
} from '../ops/harness.ts';

type Range = readonly [number, number];
const problemOf = (rows: number, channels: number, range: Range): Problem => {
  const name = `${rows} rows of ${channels} in [${range}]`;
  return {
    name,
    inputs: [draw({ shape: [rows, channels], range }, fold(keyOf(41), name))],
    build: ([x]) => moments(x!),
  };
};
const ranges: readonly Range[] = [
  [-1, 1],
  [99, 101],
];
const sizes: readonly (readonly [rows: number, channels: number])[] = [
  ...[1, 2, 7, 8, 9, 15, 16, 17, 23, 127, 128, 129, 700].flatMap((rows) => [3, 8].map((c) => [rows, c] as const)),
  ...[1, 4, 5, 12, 65, 260].map((c) => [65, c] as const),
  // Several blocks; the last one short.
  ...[1, 3, 8].map((c) => [9001, c] as const),
  [1000, 260],
];

describe('the spread of moments over a GPU', () => {
  it('gives the layers of MobileFaceNet at least 256 workgroups at batch 32, or no invocation more than eight rows', () => {
    for (const [side, channels] of [
      [56, 64],
      [56, 128],
      [28, 64],
      [28, 128],
      [28, 256],
      [14, 128],
      [14, 256],
      [14, 512],
      [7, 512],
    ] as const) {
      const s = momentsSpread(32 * side * side, channels / 4);
      expect(s.groups >= 256 || s.blockGroups <= s.parts, `${side} ${channels}`).toBe(true);
    }
  });
  it('covers every row once', () => {
    for (const [rows, channels] of sizes) {
      const s = momentsSpread(rows, channels);
      expect(8 * s.blockGroups * s.blocks).toBeGreaterThanOrEqual(rows);
      expect(8 * s.blockGroups * (s.blocks - 1)).toBeLessThan(rows);
    }
  });
});

describe.runIf(runGpu)('moments on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  it.each(ranges)('of numbers from %f to %f', async (...range) => {
    const batch = forwardBatch(sizes.map(([rows, channels]) => problemOf(rows, channels, range)));
    const truth = await truthOf(batch);
    expect(complaints(await runOn(device, batch), (r) => outOfBound(r, truth))).toEqual([]);
  });
  it('equal numbers have no variance, whatever their size', async () => {
    const batch = forwardBatch([1, 8, 700, 9001].map((rows) => problemOf(rows, 8, [1e6, 1e6])));
    for (const r of (await runOn(device, batch)).values())
      expect(new Set(Array.from(r.values)), r.name).toEqual(new Set([r.name.endsWith('y0') ? 1e6 : 0]));
  });
  it('gives the same bits on every run', async () => {
    const batch = forwardBatch([problemOf(9001, 8, [99, 101])]);
    const first = await runOn(device, batch);
    expect(complaints(await runOn(device, batch), (r) => bitDifference(r, first.get(r.name)!))).toEqual([]);
  });
});
