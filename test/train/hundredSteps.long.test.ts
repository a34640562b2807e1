/** 100 steps by every optimizer and with every loss in float64: PyTorch's losses to the last place of float32. */
import { describe, expect, it } from 'vitest';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { file, train } from './smallNet.ts';

describe('100 steps in float64', { timeout: 120_000 }, () => {
  it.each(file.cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const got = await train(c, new ReferenceDevice());
    expect(got.length).toBe(file.steps);
    got.forEach((loss, t) => {
      expect(Math.abs(loss - c.loss[t]!) / c.loss[t]!, `step ${t}`).toBeLessThan(2 ** -23);
    });
  });
});
