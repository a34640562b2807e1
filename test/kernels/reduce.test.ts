/** Reductions on WebGPU: every way they are spread, with and without subgroups, within derived bounds. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spreadOf } from '../../kernels/reduce.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { max, mean, min, mul, sum } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { type Batch, draw, outOfBound, runOn, truthOf } from '../ops/harness.ts';

/** [shape, reduced axes]: rows, columns and the middle, around the sizes where the spread changes. */
const cases: readonly (readonly [readonly number[], readonly number[]])[] = [
  ...[1, 2, 7, 63, 64, 65, 255, 256, 257, 2048, 5000, 9001].map((n) => [[3, n], [1]] as const),
  ...[1, 5, 63, 64, 65, 130].map((c) => [[301, c], [0]] as const),
  [[5000, 3], [0]],
  [[5, 300, 7], [1]],
  [[2, 9, 257], [1]],
  [
    [300, 300],
    [0, 1],
  ],
  [[1000, 2], [1]],
];

describe('the spread of a reduction', () => {
  it('keeps at least 256 workgroups busy where there is work for them', () => {
    // Rows of channels as batch norm's gradient sums them at batch 32: [N·H·W, C].
    for (const [rows, c] of [
      [32 * 56 * 56, 64],
      [32 * 28 * 28, 128],
      [32 * 14 * 14, 256],
      [32 * 7 * 7, 512],
      [32 * 7 * 7, 128],
    ] as const) {
      const s = spreadOf([1, rows, c]);
      expect(s.groups * s.blocks, `${rows}x${c}`).toBeGreaterThanOrEqual(256);
    }
  });
  it('covers every element once', () => {
    for (const [shape, axes] of cases) {
      const red = axes.reduce((n, a) => n * shape[a]!, 1);
      const outer = shape.slice(0, axes[0]).reduce((n, d) => n * d, 1);
      const inner = shape.slice(axes.at(-1)! + 1).reduce((n, d) => n * d, 1);
      const s = spreadOf([outer, red, inner]);
      expect(s.columns * s.parts).toBeLessThanOrEqual(256);
      expect(s.groups * s.columns).toBeGreaterThanOrEqual(outer * inner);
      expect(s.block * s.blocks).toBeGreaterThanOrEqual(red);
      expect(s.block * (s.blocks - 1)).toBeLessThan(red);
    }
  });
});

describe.runIf(runGpu)('reductions', () => {
  let whole: WebGpuDevice;
  let least: WebGpuDevice;
  beforeAll(async () => {
    whole = await openGpuDevice();
    least = await openGpuDevice({ least: true });
  });
  afterAll(async () => {
    await whole?.dispose();
    await least?.dispose();
  });
  it.each(cases)('%j over %j', async (shape, axes) => {
    const batch: Batch = {
      inputs: new Map([['x', draw({ shape }, fold(keyOf(40), `${shape}`))]]),
      build: ({ x }) => ({
        sum: sum(x!, axes),
        mean: mean(x!, axes),
        max: max(x!, axes),
        min: min(x!, axes),
        squares: sum(mul(x!, x!), axes),
      }),
    };
    const truth = await truthOf(batch);
    for (const device of [whole, least])
      for (const r of (await runOn(device, batch)).values()) expect(outOfBound(r, truth)).toBeUndefined();
  });
});
