/**
 * Matrix products and dense convolutions on WebGPU: the tails of every tile, operands in vectors and in single elements,
 * slices of K, fused tails; and that a training step of MobileFaceNet keeps a large GPU busy.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conv2dWeightGradWgsl, conv2dWgsl } from '../../kernels/conv2d.ts';
import type { Dispatch, GpuEmitter, GpuLimits, Value } from '../../kernels/lower.ts';
import { matmulWgsl } from '../../kernels/matmul.ts';
import { type TileRow, type TileTable, tileTables, tilingOf } from '../../kernels/tiles.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import { lowerWgsl } from '../../src/device/lowerWgsl.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import type { ConvBlock } from '../../src/nn/layers.ts';
import { add, conv2d, matmul, prelu } from '../../src/ops/index.ts';
import { fuse } from '../../src/plan/fuse.ts';
import { trace } from '../../src/plan/trace.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import {
  type Batch,
  bitDifference,
  complaints,
  draw,
  forwardBatch,
  gradientBatch,
  outOfBound,
  type Problem,
  runOn,
  truthOf,
} from '../ops/harness.ts';

type Shape = readonly number[];
const kinds = ['gpu', 'software'] as const;
const devices = new Map<(typeof kinds)[number], WebGpuDevice>();
beforeAll(async () => {
  if (!runGpu) return;
  for (const kind of kinds) {
    const device = await openGpuDevice();
    devices.set(kind, Object.assign(device, { limits: { ...device.limits, software: kind === 'software' } }));
  }
});
afterAll(async () => {
  for (const d of devices.values()) await d.dispose();
});

/** Runs with a table of this tile alone. */
async function withTile<T>(table: TileTable, { tileM, tileN, tileK, rows, columns }: TileRow, run: () => Promise<T>) {
  const list = table.rows as TileRow[];
  const kept = list.splice(0, list.length, { tileM, tileN, tileK, rows, columns });
  try {
    return await run();
  } finally {
    list.splice(0, list.length, ...kept);
  }
}

const problem = (name: string, shapes: readonly Shape[], build: (inputs: readonly Tensor[]) => Tensor): Problem => ({
  name,
  inputs: shapes.map((shape, i) => draw({ shape }, fold(fold(keyOf(61), name), i))),
  build: (inputs) => [build(inputs)],
});
type Transposes = { readonly transA: boolean; readonly transB: boolean };
const direction = (t: Transposes) => `${t.transA ? 't' : 'n'}${t.transB ? 't' : 'n'}`;
const transposes: readonly Transposes[] = [false, true].flatMap((transA) =>
  [false, true].map((transB) => ({ transA, transB })),
);
const product = (m: number, n: number, k: number, t: Transposes, batch: Shape = []) =>
  problem(
    `${m}x${n}x${k}${direction(t)}${batch}`,
    [
      [...batch, ...(t.transA ? [k, m] : [m, k])],
      [...batch, ...(t.transB ? [n, k] : [k, n])],
    ],
    ([a, b]) => matmul(a!, b!, t),
  );

/** What is wrong with a batch on a device. */
async function faults(kind: (typeof kinds)[number], batch: Batch): Promise<string[]> {
  const truth = await truthOf(batch);
  return complaints(await runOn(devices.get(kind)!, batch), (r) => outOfBound(r, truth));
}

/** Below, at and above one and two tiles; those that vectors fit, or all. */
const tails = (tile: number, vectors: boolean) =>
  [...new Set([1, tile - 1, tile, tile + 1, 2 * tile + 1, tile - 4, tile + 4])].filter(
    (n) => n > 0 && !(vectors && n % 4),
  );

describe.runIf(runGpu)('every tile', () => {
  for (const kind of kinds)
    for (const [i, tile] of tileTables[kind].rows.entries()) {
      // The common tile in all directions, the others in the plain one. Odd sizes of N and K in two of them.
      const common = i === tileTables[kind].rows.length - 1;
      for (const t of common ? transposes : transposes.slice(0, 1))
        it(`${kind}: ${tile.tileM}x${tile.tileN}, ${tile.rows}x${tile.columns} each, ${direction(t)}`, async () => {
          const vectors = !common || t.transA !== t.transB;
          const list = [
            ...tails(tile.tileM, vectors && t.transA).map((m) => product(m, 12, 16, t)),
            ...tails(tile.tileN, vectors).map((n) => product(8, n, 16, t)),
            ...tails(16, vectors).map((k) => product(8, 12, k, t)),
            ...(vectors ? [] : [product(tile.tileM + 1, tile.tileN + 1, 33, t)]),
          ];
          const unique = [...new Map(list.map((p) => [p.name, p])).values()];
          expect(await withTile(tileTables[kind], tile, () => faults(kind, forwardBatch(unique)))).toEqual([]);
        });
    }
});

const conv = (name: string, x: Shape, w: Shape, options: Parameters<typeof conv2d>[2]) =>
  problem(name, [x, w], ([a, b]) => conv2d(a!, b!, options));

for (const kind of kinds)
  describe.runIf(runGpu)(`on the tiles of ${kind}`, () => {
    const { depth } = tileTables[kind];
    it('cuts long sums into slices', async () => {
      const t = { transA: true, transB: false };
      const list = [
        product(12, 8, 3 * depth, t),
        product(5, 7, 4 * depth + 3, t),
        product(3, 8, 2 * depth + 5, { transA: false, transB: true }, [2]),
        product(2, 8, 2 * depth, { transA: false, transB: false }),
      ];
      for (const p of list) {
        const [m, n, k] = p.name.split(/\D/).map(Number) as [number, number, number];
        expect(tilingOf({ m, n, k, batch: 1 }, devices.get(kind)!.limits).slices).toBeGreaterThan(1);
      }
      expect(await faults(kind, forwardBatch(list))).toEqual([]);
    });
    it('takes a hundred thousand classes', async () => {
      const list = [
        product(2, 100_003, 4, { transA: false, transB: true }),
        product(100_000, 4, 3, { transA: true, transB: false }),
        product(3, 8, 100_000, { transA: false, transB: false }),
      ];
      expect(await faults(kind, forwardBatch(list))).toEqual([]);
    });
    it('convolves as MobileFaceNet does, on smaller images', async () => {
      const list = [
        conv('stem', [2, 12, 12, 3], [3, 3, 3, 8], { stride: 2, padding: 1 }),
        conv('expand', [2, 6, 6, 16], [1, 1, 16, 32], {}),
        conv('embedding', [2, 1, 1, 64], [1, 1, 64, 16], {}),
        conv('dense', [1, 5, 6, 8], [3, 3, 8, 12], { padding: 1 }),
        conv('one across', [5, 3, 1, 4], [3, 3, 4, 8], { padding: 1 }),
        conv('dense strided', [1, 6, 7, 8], [3, 3, 8, 4], { stride: 2, padding: 1 }),
        conv('shortcut', [1, 6, 6, 8], [1, 1, 8, 4], { stride: 2 }),
        conv('dilated', [1, 7, 8, 4], [3, 2, 4, 4], { dilation: [2, 3], stride: [1, 2], padding: [2, 1, 3, 0] }),
        conv('groups', [1, 5, 5, 16], [3, 3, 8, 8], { groups: 2, padding: 1 }),
        conv('pointwise groups', [1, 4, 4, 16], [1, 1, 8, 8], { groups: 2 }),
        conv('odd groups', [1, 4, 4, 6], [1, 1, 3, 10], { groups: 2 }),
        conv('narrow maps', [7, 1, 2, 4], [1, 1, 4, 4], { padding: [0, 0, 0, 1] }),
      ];
      expect(await faults(kind, forwardBatch(list))).toEqual([]);
      expect(await faults(kind, gradientBatch(list))).toEqual([]);
    });
    it('applies what follows in the store', async () => {
      const after = (name: string, x: Shape, w: Shape, options: Parameters<typeof conv2d>[2], y: Shape): Problem => ({
        name,
        inputs: [x, w, y.slice(-1), y.slice(-1), y].map((shape, i) => draw({ shape }, fold(fold(keyOf(62), name), i))),
        build: ([a, b, bias, slope, residual]) => {
          const z = conv2d(a!, b!, options);
          return [add(prelu(add(z, bias!), slope!), residual!)];
        },
      });
      const list = [
        after('1x1', [2, 5, 5, 8], [1, 1, 8, 12], {}, [2, 5, 5, 12]),
        after('1x1 odd', [1, 3, 3, 8], [1, 1, 8, 5], {}, [1, 3, 3, 5]),
        after('3x3', [1, 5, 5, 3], [3, 3, 3, 8], { padding: 1 }, [1, 5, 5, 8]),
        after('sliced', [1, 2, 2, 2 * depth], [1, 1, 2 * depth, 8], {}, [1, 2, 2, 8]),
      ];
      const batch = forwardBatch(list);
      expect(await faults(kind, batch)).toEqual([]);
      // One dispatch each, and one more for the slices.
      const graph = trace((x) => batch.build(x), Object.fromEntries(batch.inputs), false);
      const { calls } = lowerWgsl(fuse(graph, {}), devices.get(kind)!.limits);
      expect(calls.map((c) => c.call.label).filter((l) => !l.includes('gemm'))).toEqual([]);
      expect(calls).toHaveLength(list.length + 1);
    });
    it('gives the same bits in every run', async () => {
      const batch = forwardBatch([product(40, 36, 4 * depth + 1, { transA: true, transB: false })]);
      const first = await runOn(devices.get(kind)!, batch);
      const second = await runOn(devices.get(kind)!, batch);
      for (const [name, r] of second) expect(bitDifference(r, first.get(name)!)).toBeUndefined();
    });
  });

/** Keeps dispatches. */
class Recorder implements GpuEmitter {
  readonly limits: GpuLimits = {
    subgroups: false,
    storageBuffers: 8,

    bufferBytes: 2 ** 27,
    operandBytes: 2 ** 27,
  };
  readonly list: Dispatch[] = [];
  dispatch(d: Dispatch): void {
    this.list.push(d);
  }
  temp(n: number): Value {
    return { buffer: { id: 99, offset: 0 }, shape: [n], dtype: 'f32' };
  }
}
const value = (id: number, shape: Shape): Value => ({ buffer: { id, offset: 0 }, shape, dtype: 'f32' });

describe('workgroups', () => {
  const attrs = {
    stride: [1, 1],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    groups: 1,
  } as const;
  /** Input and output channels, and the side of the square image, of every 1×1 convolution. */
  function pointwise(): { inputs: number; outputs: number; side: number }[] {
    const net = new MobileFaceNet();
    const shape = (b: ConvBlock) => b.conv.weight.shape as readonly [number, number, number, number];
    let side = 56;
    const list: { inputs: number; outputs: number; side: number }[] = [];
    const push = (b: ConvBlock) => {
      const [kh, , inputs, outputs] = shape(b);
      expect(kh).toBe(1);
      list.push({ inputs, outputs, side });
    };
    const strides = new Map([0, 5, 12].map((i) => [i, 2]));
    net.blocks.forEach((b, i) => {
      push(b.expand);
      side /= strides.get(i) ?? 1;
      push(b.project);
    });
    push(net.head!);
    side = 1;
    push(net.embedding as ConvBlock);
    return list;
  }
  it('of the weight gradients at batch 32 are at least 256', () => {
    for (const { inputs, outputs, side } of pointwise()) {
      const e = new Recorder();
      const [x, y] = [value(0, [32, side, side, inputs]), value(1, [32, side, side, outputs])];
      conv2dWeightGradWgsl(e, [x, y], [value(2, [1, 1, inputs, outputs])], { ...attrs });
      const first = e.list[0]!;
      expect(first.inputs!.a!.width).toBe(4);
      // The embedding's image is one pixel, so its sum is over the batch alone.
      expect(first.groups, `${inputs}>${outputs} at ${side}`).toBeGreaterThanOrEqual(side > 1 ? 256 : 64);
    }
  });
  it('of long sums at batch 1 come from slices', () => {
    const long = pointwise().filter((l) => l.inputs >= 256);
    expect(long.length).toBeGreaterThan(10);
    for (const { inputs, outputs, side } of long) {
      const e = new Recorder();
      const [x, y] = [value(0, [1, side, side, inputs]), value(1, [1, side, side, outputs])];
      conv2dWgsl(e, [x, value(2, [1, 1, inputs, outputs])], [y], { ...attrs });
      expect(e.list, `${inputs}>${outputs} at ${side}`).toHaveLength(2);
    }
  });
  it('keep to what every GPU has', () => {
    for (const { staged, rows } of Object.values(tileTables))
      for (const t of rows) {
        expect((t.tileM / t.rows) * (t.tileN / t.columns)).toBeLessThanOrEqual(256);
        if (staged) expect(16 * t.tileK * (t.tileM / 4 + t.tileN / 4 + 4)).toBeLessThanOrEqual(16384);
      }
  });
  it('of a product of a hundred thousand classes read vectors', () => {
    const e = new Recorder();
    const [a, b, c] = [value(0, [32, 128]), value(1, [100_000, 128]), value(2, [32, 100_000])];
    matmulWgsl(e, [a, b], [c], { transA: false, transB: true });
    expect(e.list).toHaveLength(1);
    expect([...Object.values(e.list[0]!.inputs!), e.list[0]!.outputs.c!].map((o) => o.width)).toEqual([4, 4, 4]);
  });
});
