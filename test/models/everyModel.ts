/**
 * What every network of the registry is held to, by whatever name it can be made: a gradient for every parameter, weights
 * that come back from their file to the same embeddings, and options that come back from their description.
 *
 * Whether a gradient is more than rounding is measured, with no threshold: the batch is given in two orders, which changes
 * nothing but the order of sums. A gradient keeps its value; what is zero by construction is noise, and changes as a whole.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { type HostTensor, host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { architectureOf, architectures, create, describeNetwork, models, networkOf } from '../../src/models/index.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { initialize, loadState, parametersOf, stateOf, variablesOf } from '../../src/nn/module.ts';
import { mul } from '../../src/ops/pointwise.ts';
import { sum } from '../../src/ops/reduce.ts';
import { keyData } from '../../src/plan/trace.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';

const device: Device = await WasmDevice.create({ threads: 1 });
afterAll(() => device.dispose());

const batch = 4;
const embeddingSize = 8;

/** The network as small as it gets with a last map of more than one pixel, which a global layer needs to have an effect. */
function smallest(name: string, more: Readonly<Record<string, unknown>> = {}): FaceNetwork {
  const specs = architectureOf(name).family.options;
  const side = [32, 48, 64, 112].find((n) => [n, n + 16].every((m) => n > 48 || specs.inputSize!.accepts([m, m])))!;
  return create(name, { width: 0.125, embeddingSize, inputSize: [side, side], ...more });
}
const imagesFor = (network: FaceNetwork): HostTensor => {
  const [h, w] = network.preprocessing.inputSize;
  return host(normal(keyOf(5), batch * h * w * 3), [batch, h, w, 3]);
};
const key = host(keyData(keyOf(1), 1), [2], 'i32');
/** The images of a batch the other way around. */
function reversed({ data, shape }: HostTensor): HostTensor {
  const n = data.length / batch;
  const rows = Array.from({ length: batch }, (_, i) => data.slice(n * (batch - 1 - i), n * (batch - i)));
  return host(Float32Array.from(rows.flatMap((r) => [...r])), shape);
}

/** Gradients of sum(r·embeddings) by parameter, with the batch in both orders. */
function gradientsOf(network: FaceNetwork, training: boolean) {
  const parameters = parametersOf(network);
  const f = compile(
    ({ x, r }, ctx) => {
      const gradients = grad(sum(mul(network.call(x!, ctx), r!)), parameters);
      return Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!]));
    },
    { device, training },
  );
  const x = imagesFor(network);
  const r = host(normal(keyOf(6), batch * embeddingSize), [batch, embeddingSize]);
  return {
    dispose: () => f.dispose(),
    async run(): Promise<Map<string, { readonly size: number; readonly noise: number }>> {
      const one = await f({ x, r, key });
      const other = await f({ x: reversed(x), r: reversed(r), key });
      return new Map(
        Object.entries(one).map(([name, { data }]) => {
          const again = other[name]!.data;
          let [size, noise] = [0, 0];
          data.forEach((v, i) => {
            size += v * v;
            noise += (v - again[i]!) ** 2;
          });
          return [name, { size: Math.sqrt(size), noise: Math.sqrt(noise) }];
        }),
      );
    },
  };
}

async function embeddingsOf(network: FaceNetwork): Promise<HostTensor> {
  const f = compile(({ x }, ctx) => network.call(x!, ctx), { device });
  const { result } = await f({ x: imagesFor(network) });
  f.dispose();
  return result!;
}

/** Seeds tried: with a few channels a ReLU may be 0 for every image, and what lies around it has no gradient then. */
const seeds = Array.from({ length: 16 }, (_, i) => i + 1);

/**
 * The registry's names in two parts. Quick are those of networks that are not deep, and of every family the smallest; the
 * others differ from them in the number of their units.
 */
export function partsOfRegistry(): { readonly quick: string[]; readonly deep: string[] } {
  const sizes = new Map([...architectures.keys()].map((name) => [name, parametersOf(smallest(name)).length]));
  const quick = new Set([...sizes].filter(([, n]) => n <= 200).map(([name]) => name));
  for (const family of models) {
    const names = [...architectures.values()].filter((a) => a.family === family).map((a) => a.name);
    quick.add(names.reduce((a, b) => (sizes.get(b)! < sizes.get(a)! ? b : a)));
  }
  return { quick: [...quick], deep: [...sizes.keys()].filter((name) => !quick.has(name)) };
}

/** Tests of the networks of these names. */
export const heldToAll = (names: readonly string[]): void =>
  describe.each([...names])('%s', (name) => {
    it('has a gradient for every parameter', async () => {
      const { options } = architectureOf(name).family;
      const network = smallest(
        name,
        Object.fromEntries(
          Object.keys(options)
            .filter((o) => o.startsWith('drop'))
            .map((o) => [o, 0]),
        ),
      );
      for (const training of [true, false]) {
        const gradients = gradientsOf(network, training);
        const missing = new Set(parametersOf(network).map((p) => p.name));
        const noise = new Set<string>();
        for (const seed of seeds) {
          initialize(network, seed);
          for (const [parameter, { size, noise: moved }] of await gradients.run()) {
            expect(Number.isFinite(size) && Number.isFinite(moved), `${parameter} at seed ${seed}`).toBe(true);
            if (size > 0 && moved <= size / 2) missing.delete(parameter);
            else noise.add(parameter);
          }
          // In training a batch norm takes away what a bias before it adds, so that a bias may have none: no more than noise.
          const wanted = [...missing].filter((p) => !training || !/(^|\.)bias$/.test(p) || !noise.has(p));
          if (wanted.length === 0) break;
          expect(seed === seeds.at(-1), `without a gradient: ${wanted.join(', ')}`).toBe(false);
        }
        gradients.dispose();
      }
    });

    it('is saved and loaded to the same embeddings, and described by its options', async () => {
      const network = initialize(smallest(name), 2);
      // One pass of training, so that the running statistics are not what a new network has.
      const train = compile(({ x }, ctx) => network.call(x!, ctx), { device, training: true });
      await train({ x: imagesFor(network), key });
      train.dispose();
      const bytes = writeSafetensors(await stateOf(variablesOf(network)), {
        format: 'facegrad',
        version: '1',
        ...describeNetwork(network),
      });
      const { tensors, metadata } = parseCheckpoint(bytes, 'file');
      const loaded = networkOf(metadata, 'file');
      expect(loaded.constructor).toBe(network.constructor);
      expect(loaded.options).toEqual(network.options);
      expect(loaded.preprocessing).toEqual(network.preprocessing);
      loadState(variablesOf(loaded), tensors, 'file');
      const found = await embeddingsOf(network);
      expect(found.shape).toEqual([batch, embeddingSize]);
      expect(found.data.every(Number.isFinite)).toBe(true);
      expect(new Set(found.data).size).toBeGreaterThan(batch);
      expect(await embeddingsOf(loaded)).toEqual(found);
    });
  });
