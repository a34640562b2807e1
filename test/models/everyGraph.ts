/** What tests of graphs and exports share: small networks of every family with numbers that tell mistakes, and their runs. */
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { GraphNetwork } from '../../src/models/graph/network.ts';
import { architectureOf, architectures, create, models } from '../../src/models/index.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { initialize, variablesOf } from '../../src/nn/module.ts';

/** One name of every family, the least deep, and those whose layers the others do not have. */
export const kinds: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ...models.map((family) => {
    const depth = (name: string) => Number(/\d+$/.exec(name)?.[0] ?? 0);
    const [first] = [...architectures.values()]
      .filter((a) => a.family === family)
      .sort((a, b) => depth(a.name) - depth(b.name));
    return [first!.name, {}] as const;
  }),
  ['mobilefacenet-tf', {}],
  ['mobilefacenet-y2', {}],
  ['mbf', {}],
  ['k210-full', {}],
  ['ir-18', { output: 'GDC' }],
  ['ir-18', { output: 'GAP', attention: 'cbam' }],
  ['ir-se-18', {}],
  ['resnext-50', {}],
  ['slim-resnet-v2-50', {}],
  ['slim-resnet-v2-m-50', {}],
  ['mobilenet-v3-small', {}],
];

/** A small network, whose last map has more than one pixel where that can be, with statistics and biases unlike a new one's. */
export function smallNetwork(name: string, options: Readonly<Record<string, unknown>> = {}): FaceNetwork {
  const specs = architectureOf(name).family.options;
  const side = [32, 48, 64, 112].find((n) => [n, n + 16].every((m) => n > 48 || specs.inputSize!.accepts([m, m])))!;
  const network = initialize(create(name, { width: 0.125, embeddingSize: 8, inputSize: [side, side], ...options }), 1);
  for (const v of variablesOf(network)) {
    if (!/running|bias|prelu/.test(v.name)) continue;
    const drawn = normal(fold(keyOf(7), v.name), v.size);
    v.write(drawn.map((x) => (/runningVar/.test(v.name) ? 1 + 0.3 * Math.abs(x) : 0.2 * x)));
  }
  return network;
}

/** Prepared images of a network's input size. */
export const imagesOf = (network: FaceNetwork, batch: number): Float32Array => {
  const [h, w] = network.preprocessing.inputSize;
  return normal(keyOf(3), batch * h * w * 3);
};

/** What a network gives for prepared images. */
export async function outputOf(network: FaceNetwork, images: Float32Array, device: Device): Promise<Float32Array> {
  const shape =
    network instanceof GraphNetwork ? network.options.graph.inputs[0]!.shape : [...network.preprocessing.inputSize, 3];
  const f = compile(({ x }, ctx) => network.call(x!, ctx), { device });
  const { result } = await f({ x: host(images, [images.length / sizeOf(shape), ...shape]) });
  f.dispose();
  return result!.data as Float32Array;
}
