/** Pools on the GPU: ties, NaN, windows that overlap or leave gaps, both widths. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AvgPoolAttrs } from '../../native/pool.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import type { Shape } from '../../src/core/shape.ts';
import { host } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { registry } from '../../src/ops/define.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import {
  bitDifference,
  complaints,
  dataOf,
  draw,
  exactly,
  forwardBatch,
  outOfBound,
  type Problem,
  runOn,
  truthOf,
} from '../ops/harness.ts';

type Attrs = Omit<AvgPoolAttrs, 'countIncludePad'>;
const attrs: readonly Attrs[] = [
  { kernel: [1, 1], stride: [2, 2], padding: [0, 0, 0, 0] },
  { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] },
  { kernel: [3, 3], stride: [2, 2], padding: [1, 0, 0, 1] },
  { kernel: [3, 2], stride: [1, 3], padding: [0, 2, 1, 0] },
  { kernel: [2, 3], stride: [3, 4], padding: [1, 0, 2, 2] },
  { kernel: [5, 6], stride: [1, 1], padding: [0, 0, 0, 0] },
];
const sizes: readonly Shape[] = [
  [1, 5, 6, 1],
  [2, 7, 9, 4],
  [3, 6, 8, 5],
  [1, 8, 7, 12],
];
const cases = attrs.flatMap((a) => sizes.map((x) => ({ x, a })));

const problem = (op: string, inputs: Problem['inputs'], a: object): Problem => ({
  name: `${op} ${inputs[0]!.shape} ${JSON.stringify(a)}`,
  inputs,
  build: (t) => registry.get(op)!.apply(t, a),
});
const random = (shape: Shape, name: string) => draw({ shape }, fold(keyOf(51), `${name} ${shape}`));
/** Few values, so that windows hold ties, zeros of both signs among them. */
const stepped = (shape: Shape) => {
  const x = random(shape, 'x');
  return host(
    (x.data as Float32Array).map((v) => Math.round(2 * v)),
    shape,
  );
};
const windowsOf = (x: Shape, a: Attrs) => registry.get('maxPool')!.infer([{ shape: x, dtype: 'f32' }], a)[0]!.shape;

describe.runIf(runGpu)('pools on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());
  /** Compared by bits with the plain float32 loop, which takes windows in the same order. */
  const differences = async (problems: readonly Problem[]) => {
    const batch = forwardBatch(problems);
    const loop = await (await exactly(batch.inputs, batch.build, Math.fround))(dataOf(batch.inputs));
    return complaints(await runOn(device, batch), (r) => bitDifference(r, loop.get(r.name)!));
  };

  it('the maximum and its gradient, ties included', async () => {
    const problems = cases.flatMap(({ x, a }) => [
      problem('maxPoolGrad', [stepped(x), random(windowsOf(x, a), 'dy')], a),
      // Zeros of both signs are one value to the specification.
      problem('maxPool', [random(x, 'distinct')], a),
    ]);
    expect(await differences(problems)).toEqual([]);
  });
  it('a NaN is the maximum of its windows and gets their gradient', async () => {
    const problems = sizes.flatMap((shape) => {
      const x = random(shape, 'holes');
      for (let i = 3; i < x.data.length; i += 11) x.data[i] = Number.NaN;
      const a = attrs[2]!;
      return [problem('maxPool', [x], a), problem('maxPoolGrad', [x, random(windowsOf(shape, a), 'dy')], a)];
    });
    expect(await differences(problems)).toEqual([]);
  });
  it('windows of infinities', async () => {
    const x = host(new Float32Array(36).fill(Number.NEGATIVE_INFINITY), [1, 3, 3, 4]);
    x.data[4] = Number.POSITIVE_INFINITY;
    expect(await differences([problem('maxPool', [x], attrs[2]!)])).toEqual([]);
  });
  it('the mean and its gradient', async () => {
    const batch = forwardBatch(
      cases.flatMap(({ x, a }) =>
        [true, false].flatMap((countIncludePad) => [
          problem('avgPool', [random(x, 'x')], { ...a, countIncludePad }),
          problem('avgPoolGrad', [random(windowsOf(x, a), 'dy')], { ...a, countIncludePad, shape: x }),
        ]),
      ),
    );
    const truth = await truthOf(batch);
    expect(complaints(await runOn(device, batch), (r) => outOfBound(r, truth))).toEqual([]);
  });
});
