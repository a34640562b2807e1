/**
 * Every optimizer through 100 updates against float64 results of PyTorch, or of loops written from the papers
 * (test/reference/optimizers.py), and resumed halfway from what a checkpoint holds.
 *
 * The bound is derived: four times the error of an honest float32 run of the reference, plus a unit in the last place.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal, uniform } from '../../src/core/random.ts';
import type { Shape } from '../../src/core/shape.ts';
import { host, type Tensor, tensor, type Variable } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { constantInit } from '../../src/nn/init.ts';
import { loadState, Parameter, type State, stateOf } from '../../src/nn/module.ts';
import { add, mul, sub } from '../../src/ops/pointwise.ts';
import { adagrad } from '../../src/optim/adagrad.ts';
import { adam } from '../../src/optim/adam.ts';
import { createOptimizer, optimizers } from '../../src/optim/index.ts';
import type { Optimizer } from '../../src/optim/optimizer.ts';
import { rmsprop } from '../../src/optim/rmsprop.ts';
import { biasCorrection } from '../../src/optim/slots.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { gpuFactor } from '../ops/harness.ts';

interface Golden {
  readonly name: string;
  readonly optimizer: string;
  readonly options: Readonly<Record<string, unknown>> & {
    readonly decay?: number;
    readonly rate?: number;
    readonly frozen?: number;
  };
  readonly lr: number;
  readonly at: Readonly<Record<string, { readonly f64: readonly number[]; readonly f32Error: number }>>;
}
const file = JSON.parse(readFileSync(new URL('../reference/optimizers.json', import.meta.url), 'utf8')) as {
  seed: number;
  steps: number;
  cases: Golden[];
};
const shapes: Readonly<Record<string, Shape>> = { a: [3, 5], b: [4] };
const sizes = { a: 15, b: 4 };
const key = keyOf(file.seed);
const noise = (name: 'a' | 'b', t: number) => normal(fold(fold(fold(key, 'noise'), name), t), sizes[name]);
const of = (what: string, name: string) => fold(fold(key, what), name);

let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

function optimizerOf(c: Golden, parameters: readonly Parameter[]): Optimizer {
  const { decay = 0, rate = 1, frozen, ...rest } = c.options;
  return createOptimizer(c.optimizer, parameters, {
    ...rest,
    decay: (p) => (p.name === 'a' ? decay : 0),
    rate: (p) => (p.name === 'b' ? rate : 1),
  });
}

/** The problem at its start, or at what a checkpoint held. */
function problem(c: Golden, from?: State, on: Device = device) {
  const parameters = (['a', 'b'] as const).map((name) => {
    const p = new Parameter(shapes[name]!, constantInit(0));
    p.name = name;
    if (name === 'a') p.write(normal(of('start', name), sizes.a));
    return p;
  });
  const optimizer = optimizerOf(c, parameters);
  const variables: Variable[] = [...parameters, ...optimizer.state];
  if (from) loadState(variables, from, 'resumed');
  const gradient = (p: Parameter, drawn: Tensor): Tensor => {
    const curvature = uniform(of('curvature', p.name), p.size).map((u) => 0.5 + u);
    const target = tensor(normal(of('target', p.name), p.size), p.shape);
    return add(mul(sub(p.tensor, target), tensor(curvature, p.shape)), drawn);
  };
  const stepOf = (trained: string) =>
    compile(
      (inputs, ctx) => {
        const gradients = parameters.map((p) => (trained.includes(p.name) ? gradient(p, inputs[p.name]!) : undefined));
        optimizer.update(gradients, inputs.lr!, ctx);
        return undefined;
      },
      { device: on },
    );
  const [step, frozen] = [stepOf('ab'), stepOf('a')];
  return {
    variables,
    step: (t: number): Promise<unknown> => {
      const a = host(noise('a', t), shapes.a!);
      return t < (c.options.frozen ?? 0)
        ? frozen({ a, lr: c.lr })
        : step({ a, b: host(noise('b', t), shapes.b!), lr: c.lr });
    },
    numbers: async () => [...(await parameters[0]!.read()), ...(await parameters[1]!.read())],
    dispose() {
      step.dispose();
      frozen.dispose();
    },
  };
}

const farthest = (a: readonly number[], b: readonly number[]) =>
  a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!)), 0);
const boundOf = ({ f64, f32Error }: Golden['at'][string]) =>
  4 * f32Error + 2 ** -23 * f64.reduce((top, x) => Math.max(top, Math.abs(x)), 0);

describe('optimizers', () => {
  it.each(file.cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const whole = problem(c);
    let half: State | undefined;
    for (let t = 1; t <= file.steps; t++) {
      await whole.step(t - 1);
      const want = c.at[t];
      if (want) expect(farthest(want.f64, await whole.numbers()), `step ${t}`).toBeLessThanOrEqual(boundOf(want));
      if (t === file.steps / 2) half = await stateOf(whole.variables);
    }
    expect(new Set(half!.keys()).size).toBe(whole.variables.length);
    const resumed = problem(c, half);
    for (let t = file.steps / 2; t < file.steps; t++) await resumed.step(t);
    expect(await stateOf(resumed.variables)).toEqual(await stateOf(whole.variables));
    whole.dispose();
    resumed.dispose();
  });

  it.runIf(runGpu)('the first 10 updates on WebGPU', async () => {
    const gpu = await openGpuDevice();
    for (const c of file.cases) {
      const run = problem(c, undefined, gpu);
      for (let t = 1; t <= 10; t++) {
        await run.step(t - 1);
        const want = c.at[t];
        if (want)
          expect(farthest(want.f64, await run.numbers()), `${c.name}, step ${t}`).toBeLessThanOrEqual(
            gpuFactor * boundOf(want),
          );
      }
      run.dispose();
    }
    await gpu.dispose();
  });

  it('each of the registry has its goldens, its factors of the rate and its frozen parameters', () => {
    for (const { name } of optimizers) {
      const own = file.cases.filter((c) => c.optimizer === name);
      expect(own.length, name).toBeGreaterThan(1);
      expect(
        own.some((c) => c.options.rate && c.options.frozen),
        name,
      ).toBe(true);
    }
  });

  it('every option shows: no two cases of an optimizer are within each other’s bounds', () => {
    for (const c of file.cases)
      for (const d of file.cases)
        if (c !== d && c.optimizer === d.optimizer && c.lr === d.lr)
          expect(farthest(c.at[100]!.f64, d.at[100]!.f64), `${c.name} | ${d.name}`).toBeGreaterThan(
            100 * boundOf(c.at[100]!),
          );
  });

  it.each([0, 0.5, 0.9, 0.999, 0.999999])('bias correction of %d keeps its digits at every step', async (beta) => {
    const f = compile(({ t }) => biasCorrection(beta, t!), { device });
    const steps = [1, 2, 3, 5, 10, 100, 499, 500, 501, 1000, 10_000, 1e6, 2 ** 24];
    const { result } = await f({ t: host(Float32Array.from(steps), [steps.length]) });
    steps.forEach((t, i) => {
      const truth = -Math.expm1(t * Math.log(beta));
      expect(Math.abs(result!.data[i]! - truth) / truth, `t = ${t}`).toBeLessThan(4 * 2 ** -23);
    });
    f.dispose();
  });

  it('a steady gradient keeps centered RMSprop finite', async () => {
    const p = new Parameter([64], constantInit(0));
    p.name = 'p';
    const optimizer = rmsprop([p], { alpha: 0.9, centered: true, eps: 1 });
    const f = compile(({ g, lr }, ctx) => optimizer.update([g!], lr!, ctx) as undefined, { device });
    const g = normal(keyOf(3), 64);
    for (let t = 0; t < 300; t++) await f({ g: host(g, [64]), lr: 2 ** -10 });
    expect([...(await p.read())].every(Number.isFinite)).toBe(true);
    f.dispose();
  });

  it('name what a checkpoint holds', () => {
    const p = new Parameter([2], constantInit(0));
    p.name = 'x.weight';
    const names = (o: Optimizer) => o.state.map((v) => v.name);
    expect(names(adam([p], { amsgrad: true }))).toEqual([
      'adam.steps',
      'x.weight.firstMoment',
      'x.weight.secondMoment',
      'x.weight.largestSecondMoment',
    ]);
    expect(names(adagrad([p]))).toEqual(['adagrad.steps', 'x.weight.sumOfSquares']);
    expect(names(rmsprop([p]))).toEqual(['x.weight.meanSquare']);
    expect(names(rmsprop([p], { momentum: 0.9, centered: true }))).toEqual([
      'x.weight.meanSquare',
      'x.weight.meanGradient',
      'x.weight.velocity',
    ]);
    const made = (name: string) => names(createOptimizer(name, [p]));
    expect(made('adamw')).toEqual(['adam.steps', 'x.weight.firstMoment', 'x.weight.secondMoment']);
    expect(made('adadelta')).toEqual(['x.weight.meanSquare', 'x.weight.meanSquareUpdate']);
    expect(made('lamb')).toEqual(['lamb.steps', 'x.weight.firstMoment', 'x.weight.secondMoment']);
    expect(made('lars')).toEqual(['x.weight.velocity']);
    expect(made('sgd')).toEqual(['x.weight.velocity']);
  });

  it.each([
    ['adam', { beta1: 1 }, 'adam: beta1 expected a number from 0 to below 1, got 1'],
    ['adamw', { beta2: -0.1 }, 'adamw: beta2 expected a number from 0 to below 1, got -0.1'],
    [
      'adamw',
      { decoupled: false },
      "adamw: expected options among beta1, beta2, eps, epsilonHat, amsgrad, got 'decoupled'",
    ],
    ['adam', { eps: Number.NaN }, 'adam: eps expected a number of at least 0, got null'],
    ['adagrad', { lrDecay: -1 }, 'adagrad: lrDecay expected a number of at least 0, got -1'],
    ['adadelta', { eps: 0 }, 'adadelta: eps expected a number above 0, got 0'],
    ['rmsprop', { momentum: 1 }, 'rmsprop: momentum expected a number from 0 to below 1, got 1'],
    ['lamb', { minNorm: 2, maxNorm: 1 }, 'lamb: expected maxNorm of at least minNorm = 2, got 1'],
    ['lars', { adapt: 'some' }, 'lars: adapt expected all or matrices, got "some"'],
    ['lers', {}, "Did you mean 'lars'?"],
  ] as const)('refuse what makes no sense: %s %j', (name, options, message) => {
    expect(() => createOptimizer(name, [], options)).toThrow(message);
  });
});
