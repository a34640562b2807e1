/**
 * What every family with a golden of test/reference/networks.py is held to: PyTorch's counts, and its numbers and gradients
 * in training and in evaluation, on two devices. Bounds come from how far PyTorch's own float32 strays from its float64.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { create } from '../../src/models/index.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { summarize } from '../../src/models/summary.ts';
import { type Parameter, parametersOf, variablesOf } from '../../src/nn/module.ts';
import { mul } from '../../src/ops/pointwise.ts';
import { sum } from '../../src/ops/reduce.ts';

type Options = Readonly<Record<string, unknown>>;
interface Numbers {
  readonly f64: readonly number[];
  readonly drift: number;
}
export interface Golden {
  readonly seed: number;
  readonly counts: readonly { readonly options: Options; readonly parameters: number; readonly multiplyAdds: number }[];
  readonly runs: readonly {
    readonly options: Options;
    readonly trained: Numbers;
    readonly evaluated: Numbers;
    /** L2 norm and sum of g[i]·cos(i); the drift is an L2 distance. */
    readonly gradients: Readonly<Record<string, { readonly f64: readonly [number, number]; readonly drift: number }>>;
  }[];
}

/** Images of a pass. */
const batch = 4;

/** Parameters as networks.py draws them. */
function draw(network: FaceNetwork, seed: number): FaceNetwork {
  for (const p of parametersOf(network)) {
    const n = normal(fold(keyOf(seed), p.name), p.size);
    const [a = 1, b = 1, , d = 1] = p.shape;
    const dense = Math.sqrt(2 / (p.shape.length === 4 ? a * b * d : a + b));
    const centre = p.name.endsWith('bias') ? 0 : p.name.includes('prelu') ? 0.25 : 1;
    p.write(Float32Array.from(n, (v) => (p.shape.length === 1 ? 0.2 * v + centre : v * dense)));
  }
  for (const v of variablesOf(network)) if (v.name.endsWith('runningVar')) v.write(new Float32Array(v.size).fill(1));
  return network;
}

/** Embeddings y and the gradients of sum(r·y); training moves the running statistics. */
async function pass(network: FaceNetwork, { seed }: Golden, device: Device, training: boolean) {
  const [h, w] = network.preprocessing.inputSize;
  const d = network.options.embeddingSize;
  const drawn = (name: string, shape: number[]) =>
    host(
      normal(
        fold(keyOf(seed), name),
        shape.reduce((n, s) => n * s, 1),
      ),
      shape,
    );
  const parameters: Parameter[] = parametersOf(network);
  const f = compile(
    ({ x, r }, ctx) => {
      const y = network.call(x!, ctx);
      const gradients = grad(sum(mul(y, r!)), parameters);
      return { '': y, ...Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!])) };
    },
    { device, training },
  );
  const { '': y, ...gradients } = await f({ x: drawn('images', [batch, h, w, 3]), r: drawn('r', [batch, d]) });
  f.dispose();
  return { y: y!.data, gradients: new Map(Object.entries(gradients).map(([name, g]) => [name, g.data])) };
}

const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]!)).map((e) => (Number.isNaN(e) ? Infinity : e)));

/** How much nearer a float64 run is than one in float32, with room for another order of summation. */
const finer = 2 ** -20;
/** A float32 run may stray this many times as far as PyTorch's own. */
const factor = 4;

export const readGolden = (file: string): Golden =>
  JSON.parse(readFileSync(new URL(`../reference/${file}.json`, import.meta.url), 'utf8'));

/** Tests of the family `name`. */
export function heldToPytorch(name: string, golden: Golden): void {
  it.each(golden.counts)(`${name} $options has the counts of PyTorch`, ({ options, parameters, multiplyAdds }) => {
    const s = summarize(create(name, options));
    expect({ parameters: s.parameters, multiplyAdds: s.multiplyAdds }).toEqual({ parameters, multiplyAdds });
    expect(s.layers.reduce((n, l) => n + l.multiplyAdds, 0)).toBe(s.multiplyAdds);
  });

  describe.each(golden.runs)(`${name} $options as PyTorch`, ({ options, trained, evaluated, gradients }) => {
    const make = () => draw(create(name, options), golden.seed);
    /** What float32 outputs and running statistics can hold, and what a float32 run strays. */
    const bound = ({ f64, drift }: Numbers, times: number) => times * drift + 2 ** -23 * Math.max(...f64.map(Math.abs));

    it('in float64: embeddings, gradients, and embeddings with the statistics moved', async () => {
      const device = new ReferenceDevice();
      const network = make();
      const first = await pass(network, golden, device, true);
      expect(far(first.y, trained.f64)).toBeLessThan(bound(trained, finer));
      expect([...first.gradients.keys()].sort()).toEqual(Object.keys(gradients).sort());
      for (const [parameter, g] of first.gradients) {
        const {
          f64: [norm, projection],
          drift,
        } = gradients[parameter]!;
        let squares = 0;
        let found = 0;
        g.forEach((v, i) => {
          squares += v * v;
          found += v * Math.cos(i);
        });
        // Each number is rounded to float32; a sum of n such errors is at most sqrt(n) times their L2 norm.
        const most = Math.sqrt(g.length) * (2 ** -24 * norm + finer * drift);
        expect(Math.abs(Math.sqrt(squares) - norm), parameter).toBeLessThanOrEqual(most);
        expect(Math.abs(found - projection), parameter).toBeLessThanOrEqual(most);
      }
      // Running statistics are float32: those that lie between two of them may go either way.
      const second = await pass(network, golden, device, false);
      expect(far(second.y, evaluated.f64)).toBeLessThan(bound(evaluated, 1));
      await device.dispose();
    });

    it('in float32', async () => {
      const device = await WasmDevice.create({ threads: 1 });
      const network = make();
      const first = await pass(network, golden, device, true);
      expect(far(first.y, trained.f64)).toBeLessThan(bound(trained, factor));
      // In all: which parameters the few kinks that fall either way meet differs from run to run.
      const names = [...first.gradients.keys()];
      const wrong = names.map((n) => Math.hypot(...first.gradients.get(n)!) - gradients[n]!.f64[0]);
      expect(Math.hypot(...wrong)).toBeLessThan(factor * Math.hypot(...names.map((n) => gradients[n]!.drift)));
      expect(far((await pass(network, golden, device, false)).y, evaluated.f64)).toBeLessThan(bound(evaluated, factor));
      await device.dispose();
    });
  });
}
