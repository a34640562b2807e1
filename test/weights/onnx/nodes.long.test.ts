/** The ONNX standard's own node test cases on WebGPU, which may stray from f64 four times as far as plain float32. */
import { afterAll, describe, expect, test } from 'vitest';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { openGpuDevice, runGpu } from '../../helpers/gpu.ts';
import { cases, far, outputsOf, refused } from './nodeCases.ts';

describe.runIf(runGpu)('on WebGPU', async () => {
  const device = runGpu ? await openGpuDevice() : undefined;
  afterAll(() => device?.dispose());
  const plain = new ReferenceDevice(Math.fround);
  const truth = new ReferenceDevice();

  const taken = cases.filter((c) => !refused.some(([names]) => names.test(c.name)));
  test.each(taken.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const [exact, single, made] = [await outputsOf(c, truth), await outputsOf(c, plain), await outputsOf(c, device!)];
    for (const [output, t] of exact) {
      const largest = Array.from(t.data).reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      const bound = 4 * Math.max(far(single.get(output)!.data, t.data), largest * 2 ** -24);
      expect(far(made.get(output)!.data, t.data)).toBeLessThanOrEqual(bound);
    }
  });
});
