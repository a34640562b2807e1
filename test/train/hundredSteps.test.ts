/**
 * 100 training steps of a small network by every optimizer and with every loss, against PyTorch: the loss of each step.
 * Goldens, the network, and how far honest float32 runs stray: test/reference/smallNet.py.
 *
 * The bound of a step is 1e-3 of the loss, or three times what PyTorch's own float32 has strayed from its float64 by then
 * where that is more: an activation that rounding puts on the other side of PReLU's kink parts two honest runs for good.
 * In float64 nothing parts them, and losses agree to float32's last place: 4 steps here, all in hundredSteps.long.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { losses } from '../../src/heads/index.ts';
import { optimizers } from '../../src/optim/index.ts';
import { file, type Golden, train } from './smallNet.ts';

const boundAt = ({ loss, drift }: Golden, t: number) =>
  Math.max(1e-3 * Math.abs(loss[t]!), 3 * drift[Math.floor(t / 10)]!);
const average = (xs: readonly number[]) => xs.reduce((a, b) => a + b) / xs.length;

describe('100 steps as PyTorch', () => {
  let device: WasmDevice;
  beforeAll(async () => {
    device = await WasmDevice.create({ threads: 1 });
  });
  afterAll(() => device.dispose());

  it.each(file.cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const got = await train(c, device);
    expect(got.length).toBe(file.steps);
    got.forEach((loss, t) => {
      const [want, bound] = [c.loss[t]!, boundAt(c, t)];
      expect(Math.abs(loss - want), `step ${t}: ${loss} for ${want}, bound ${bound}`).toBeLessThanOrEqual(bound);
    });
  });

  it.each(file.cases.map((c) => [c.name, c] as const))('to the last place in float64, 4 steps: %s', async (_, c) => {
    const got = await train(c, new ReferenceDevice(), 4);
    got.forEach((loss, t) => {
      expect(Math.abs(loss - c.loss[t]!) / c.loss[t]!, `step ${t}`).toBeLessThan(2 ** -23);
    });
  });

  it('covers every optimizer and every loss of the registries, in runs that learn and are not chaotic', () => {
    const of = (names: Iterable<string>) => [...new Set(names)].sort();
    expect(of(file.cases.map((c) => c.optimizer.name))).toEqual(of(optimizers.map((o) => o.name)));
    expect(of(file.cases.flatMap((c) => c.losses.map((l) => l.name)))).toEqual(of(losses.map((l) => l.name)));
    for (const c of file.cases) {
      expect(average(c.loss.slice(-10)), c.name).toBeLessThan(0.75 * average(c.loss.slice(0, 10)));
      for (let t = 0; t < file.steps; t++)
        expect(boundAt(c, t), `${c.name}, step ${t}`).toBeLessThan(0.03 * c.loss[t]!);
    }
  });

  it('every option shows: any two cases part by more than their bounds', () => {
    for (const [i, c] of file.cases.entries())
      for (const d of file.cases.slice(0, i)) {
        const parts = c.loss.some((x, t) => Math.abs(x - d.loss[t]!) > 2 * (boundAt(c, t) + boundAt(d, t)));
        expect(parts, `${c.name} | ${d.name}`).toBe(true);
      }
  });
});
