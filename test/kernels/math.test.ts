/**
 * The functions of kernels/pointwiseMath.wgsl on the GPU: the bounds in ULP and the edge cases of the f32x4 ones, but that
 * subnormal numbers may count as zero. Built-in division and sqrt hold what WGSL promises.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ulpBounds } from '../../native/math.ts';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import * as E from '../../src/expr/nodes.ts';
import { elementwise } from '../../src/ops/pointwise.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { mathCases, mathEdges, spread, worstError } from '../helpers/mathCases.ts';

describe.runIf(runGpu)('functions on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());

  async function evaluate(e: E.Expr, numbers: Float32Array): Promise<ArrayLike<number>> {
    const f = compile(({ x }) => ({ y: elementwise('function', e, [x!]) }), { device });
    const { y } = await f({ x: host(numbers, [numbers.length]) });
    f.dispose();
    return y!.data;
  }

  it.each(mathCases)('%s stays within its bound', async (...c) => {
    const [name, e, numbers] = c;
    const { worst, at } = worstError(c, await evaluate(e, numbers), true);
    expect(worst, `at ${at}`).toBeLessThanOrEqual(ulpBounds[name]);
  });

  it.each(mathEdges)('%s at the edges', async (_, e, numbers, want) => {
    const flushed = (v: number) => (Math.abs(v) < 2 ** -126 ? 0 * v : v);
    expect(Array.from(await evaluate(e, Float32Array.from(numbers)), flushed)).toEqual(want.map(flushed));
  });

  it('sqrt and division hold the bounds of WGSL', async () => {
    const x = E.input(0);
    for (const e of [E.sqrt(x), E.div(1, x), E.div(x, 3.7), E.pow(x, -0.5)]) {
      const c = ['built in', e, spread(1e-3, 4)] as const;
      expect(worstError(c, await evaluate(e, c[2]), true).worst, E.keyOf(e)).toBeLessThanOrEqual(5);
    }
  });
});
