/** The average of weights against its formula in float64, beside an optimizer, and resumed from its state. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host, Variable } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { constantInit } from '../../src/nn/init.ts';
import { loadState, Parameter, StateBuffer, stateOf } from '../../src/nn/module.ts';
import { type EmaOptions, ema } from '../../src/optim/ema.ts';
import { sgd } from '../../src/optim/sgd.ts';

let device: WasmDevice;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

const start = normal(keyOf(1), 6);
function run(options: EmaOptions) {
  const p = new Parameter([6], constantInit(0));
  p.name = 'p';
  p.write(start.slice());
  const still = new StateBuffer([2], 3);
  still.name = 'still';
  const optimizer = sgd([p], { momentum: 0 });
  const average = ema([p, still], options);
  const f = compile(
    ({ g, lr }, ctx) => {
      optimizer.update([g!], lr!, ctx);
      average.update(ctx);
      return undefined;
    },
    { device },
  );
  const step = (t: number) => f({ g: host(normal(keyOf(10 + t), 6), [6]), lr: 0.25 });
  return { p, still, average, step, variables: [p, still, ...average.state], dispose: () => f.dispose() };
}

describe('ema', () => {
  it.each([{ decay: 0.9 }, { decay: 0.999 }, { decay: 0.5, warmUp: true }, { warmUp: true }])('%j', async (options) => {
    const { decay = 0.999, warmUp = false } = options as EmaOptions;
    const whole = run(options);
    expect((await whole.average.values()).get('p')!.data).toEqual(start);
    const value = Float64Array.from(start);
    const average = value.slice();
    for (let t = 0; t < 40; t++) {
      await whole.step(t);
      const g = normal(keyOf(10 + t), 6);
      const d = warmUp ? Math.min(decay, (1 + t) / (10 + t)) : decay;
      value.forEach((v, i) => {
        value[i] = v - 0.25 * g[i]!;
        average[i] = average[i]! - (1 - d) * (average[i]! - value[i]!);
      });
    }
    const got = await whole.average.values();
    // Each of 40 updates rounds a few numbers of at most this size by half a unit.
    const bound = 40 * 2 * 2 ** -23 * Math.max(...value.map(Math.abs), ...average.map(Math.abs));
    average.forEach((x, i) => {
      expect(Math.abs(got.get('p')!.data[i]! - x)).toBeLessThanOrEqual(bound);
    });
    expect([...got.get('still')!.data]).toEqual([3, 3]);
    expect([...got.keys()]).toEqual(['p', 'still']);
    whole.dispose();
  });

  it('is resumed exactly, and its values load into the variables', async () => {
    const whole = run({ decay: 0.9, warmUp: true });
    for (let t = 0; t < 5; t++) await whole.step(t);
    const resumed = run({ decay: 0.9, warmUp: true });
    const state = await stateOf(whole.variables);
    expect([...state.keys()]).toEqual(['p', 'still', 'ema.updates', 'p.average', 'still.average']);
    loadState(resumed.variables, state, 'half');
    for (let t = 5; t < 10; t++) {
      await whole.step(t);
      await resumed.step(t);
    }
    expect(await stateOf(resumed.variables)).toEqual(await stateOf(whole.variables));
    const values = await whole.average.values();
    loadState([whole.p, whole.still], values, 'averages');
    expect(await whole.p.read()).toEqual(values.get('p')!.data);
    whole.dispose();
    resumed.dispose();
  });

  it('refuses what it cannot average', () => {
    expect(() => ema([], { decay: 1 })).toThrow('ema: decay expected a number from 0 to below 1, got 1');
    expect(() => ema([new Variable('n', new Int32Array(1), [1], 'i32')])).toThrow(
      "ema: expected float32 variables, got i32 'n'",
    );
  });
});
