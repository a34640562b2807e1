/** Published weights and what their networks give, under ../shared where that is there; and sources of files in memory. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { embedderOf } from '../../src/evaluate/embedder.ts';
import { type GraphNetwork, graphNetwork } from '../../src/models/graph/network.ts';
import type { FaceNetwork, Preprocessing } from '../../src/models/network.ts';
import type { ImportedFile, WeightSource } from '../../src/weights/format.ts';
import { readNpy } from '../../src/weights/npy.ts';
import type { HostTensor } from '../../src/weights/safetensors.ts';

const weights = new URL('../../../shared/data/weights/', import.meta.url);
export const published = existsSync(weights);
if (!published) console.log(`skipped: no published weights under ${weights.pathname}`);

const file = (path: string): Uint8Array => new Uint8Array(readFileSync(new URL(path, weights)));

/** Files in memory, of which one is given. */
export const sourceOf = (files: Readonly<Record<string, Uint8Array>>, name: string): WeightSource => ({
  name,
  bytes: async () => files[name]!,
  beside: async (other) => files[other],
});

/** A file of a folder of the published weights, with those beside it; `changed` stand in their place. */
export const publishedSource = (
  folder: string,
  name: string,
  changed: Readonly<Record<string, Uint8Array>> = {},
): WeightSource => {
  const read = (path: string) => {
    if (changed[path]) return changed[path];
    return existsSync(new URL(`${folder}/${path}`, weights)) ? file(`${folder}/${path}`) : undefined;
  };
  return { name, bytes: async () => read(name)!, beside: async (other) => read(other) };
};

/** A file's graph as a network, with what the file says of its images. */
export function networkOfFile(imported: ImportedFile): GraphNetwork {
  if (imported.kind !== 'graph') throw new Error('expected a graph');
  const network = graphNetwork(imported.graph, 'imported');
  network.preprocessing = { ...network.preprocessing, ...imported.preprocessing } as Preprocessing;
  return network;
}

/** Pixels of the first crops and the embeddings they must have. */
export function goldenEmbeddings(network: string) {
  const [images, all, mirrored] = ['pixels_first32', network, `${network}_mirrored`].map((n) =>
    readNpy(file(`golden/${n}.npy`)),
  ) as [HostTensor, HostTensor, HostTensor];
  return { pixels: images.data as Uint8Array, all: all.data, mirrored: mirrored.data };
}

/** The farthest of rows of `width` numbers from its golden, as a share of the golden's length. */
export function farthest(rows: ArrayLike<number>, golden: ArrayLike<number>, width = 128): number {
  let most = 0;
  for (let i = 0; i < rows.length; i += width) {
    let [distance, length] = [0, 0];
    for (let k = i; k < i + width; k++) {
      distance += (rows[k]! - golden[k]!) ** 2;
      length += golden[k]! ** 2;
    }
    const share = Math.sqrt(distance / length);
    most = share > most || Number.isNaN(share) ? share : most;
  }
  return most;
}

/** Embeddings of the first `count` golden crops; the device stays open. */
export async function embedGolden(network: FaceNetwork, device: Device, count: number, mirrored = false) {
  const { pixels } = goldenEmbeddings('insightface-y1');
  const bytes = 112 * 112 * 3;
  const crops = Array.from({ length: count }, (_, i) => ({
    width: 112,
    height: 112,
    data: pixels.subarray(i * bytes, (i + 1) * bytes),
  }));
  const embedder = embedderOf(network, device);
  return embedder.embed(crops, { mirrored }).finally(() => embedder.dispose());
}

/** One network of a reference file: what goes in and what comes out. */
export interface ReferenceCase {
  readonly name: string;
  readonly size: readonly [number, number];
  /** Channels-last float32, in base64. */
  readonly input: string;
  readonly outputs: readonly { readonly shape: readonly number[]; readonly f64: readonly number[] }[];
}
export const base64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

/** Holds a file's graph to the reference: in float64, rounded to float32 once at the end. */
export async function heldToReference(imported: ImportedFile, { input, outputs, size }: ReferenceCase): Promise<void> {
  const network = networkOfFile(imported);
  const bytes = base64(input);
  const x = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const channels = network.options.graph.inputs[0]!.shape[2]!;
  const device = new ReferenceDevice();
  const f = compile(({ x: images }, ctx) => Object.fromEntries(network.outputs([images!], ctx)), { device });
  const made = Object.values(await f({ x: host(x, [x.length / (size[0] * size[1] * channels), ...size, channels]) }));
  f.dispose();
  await device.dispose();
  expect(made.length).toBe(outputs.length);
  for (const [i, { shape, f64 }] of outputs.entries()) {
    expect(made[i]!.shape).toEqual(shape);
    const most = 2 ** -23 * Math.max(...f64.map(Math.abs));
    const far = Math.max(...f64.map((v, k) => Math.abs(made[i]!.data[k]! - v)));
    expect(far).toBeLessThanOrEqual(most);
  }
}
