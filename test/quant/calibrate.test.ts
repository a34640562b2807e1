/** Ranges of a graph's values, against those counted by hand. */
import { beforeAll, describe, expect, it } from 'vitest';
import { host } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { GraphBuilder } from '../../src/models/graph/builder.ts';
import type { Graph } from '../../src/models/graph/spec.ts';
import { calibrate } from '../../src/quant/calibrate.ts';
import { equalized } from '../../src/quant/equalize.ts';

const device = new ReferenceDevice();
let graph: Graph;
beforeAll(() => {
  const b = new GraphBuilder();
  const x = b.input('image', [2, 2, 1]);
  const y = b.apply('mul', [x], { value: 2 }, 'double');
  graph = b.finish({ out: b.apply('relu', [y], {}, 'relu') });
});
const batch = (...values: number[]) => host(Float32Array.from(values), [values.length / 4, 2, 2, 1]);
/** 4,000 numbers evenly from -1 to 1, and two far out. */
const spread = host(
  Float32Array.from({ length: 4000 }, (_, i) => (i === 17 ? 100 : i === 18 ? -40 : -1 + i / 2000)),
  [1000, 2, 2, 1],
);

describe('calibrate', () => {
  it('gives the least and greatest number of every value over all batches', async () => {
    const ranges = await calibrate(graph, [batch(1, 2, -3, 0.5), batch(0, 1, 1, 4, -1, -1, 0, 2)], { device });
    expect(ranges).toEqual(
      new Map([
        ['image', { min: -3, max: 4 }],
        ['double', { min: -6, max: 8 }],
        ['relu', { min: 0, max: 8 }],
      ]),
    );
  });
  it('prepares uint8 images as it is told', async () => {
    const preprocessing = { colourOrder: 'RGB', mean: 100, scale: 0.5, inputSize: [2, 2] } as const;
    const ranges = await calibrate(graph, [host(Uint8Array.of(0, 10, 200, 50), [1, 2, 2, 1])], {
      device,
      preprocessing,
    });
    expect(ranges.get('image')).toEqual({ min: -50, max: 50 });
  });
  it('leaves rare extremes out by percentile', async () => {
    const { min, max } = (await calibrate(graph, [spread], { device, method: 'percentile', percentile: 99 })).get(
      'image',
    )!;
    // Half a percent on each side, in bins of 140 / 2048.
    expect(min).toBeLessThanOrEqual(-1 + 0.011);
    expect(max).toBeGreaterThanOrEqual(1 - 0.011);
    expect(max - min).toBeLessThan(2 + (2 * 140) / 2048);
  });
  it('keeps everything at 100 percent but bins without numbers', async () => {
    const { min, max } = (await calibrate(graph, [spread], { device, method: 'percentile', percentile: 100 })).get(
      'image',
    )!;
    expect([min, max]).toEqual([-40, 100]);
  });
  it('weighs clipping against rounding by mse', async () => {
    const ranges = await calibrate(graph, [spread], { device, method: 'mse' });
    const square = ({ min, max }: { min: number; max: number }) => {
      const step = (max - min) / 255;
      let sum = 0;
      for (const x of spread.data) {
        const q = min + step * Math.round((Math.min(max, Math.max(min, x)) - min) / step);
        sum += (q - x) ** 2;
      }
      return sum;
    };
    const found = ranges.get('image')!;
    expect(square(found)).toBeLessThan(square({ min: -40, max: 100 }));
  });
  it('of a value that never changes gives that number, by every method', async () => {
    for (const method of ['minmax', 'percentile', 'mse'] as const)
      expect((await calibrate(graph, [batch(2, 2, 2, 2)], { device, method })).get('image')).toEqual({
        min: 2,
        max: 2,
      });
  });
  it('refuses no batches, unknown methods and numbers that are none', async () => {
    await expect(calibrate(graph, [], { device })).rejects.toThrow('at least one batch');
    await expect(calibrate(graph, [batch(1, 1, 1, 1)], { device, method: 'entropy' as 'mse' })).rejects.toThrow(
      "got 'entropy'",
    );
    await expect(calibrate(graph, [batch(1, 1, 1, 1)], { device, percentile: 5 })).rejects.toThrow('got 5');
    await expect(calibrate(graph, [batch(1, Number.NaN, 1, 1)], { device })).rejects.toThrow("in 'image'");
  });
});

it('leaves nothing of the graph on the device, nor does equalising', async () => {
  const b = new GraphBuilder();
  const weight = host(
    Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i)),
    [1, 1, 64, 64],
  );
  const y = b.apply('relu', [b.conv2d(b.input('image', [2, 2, 64]), { weight })], {}, 'relu');
  const layers = b.finish({ out: b.conv2d(y, { weight }) });
  const images = host(new Float32Array(256).fill(1), [1, 2, 2, 64]);
  const wasm = await WasmDevice.create({ threads: 1 });
  try {
    for (const use of [calibrate, equalized]) {
      const cycle = async () => {
        await use(layers, [images], { device: wasm });
        await wasm.idle();
        return wasm.stats();
      };
      // What the kernels themselves need stays.
      const first = await cycle();
      expect(first.plans).toBe(0);
      expect(await cycle()).toEqual(first);
    }
  } finally {
    await wasm.dispose();
  }
});
