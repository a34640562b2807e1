/**
 * The engine of a single-file export: what turns a face crop into an embedding in a page, and nothing else. `bundle.mjs`
 * makes one script of it when the package is built; an export is that script, the weights and a few lines (browser.ts).
 */
import { DataError } from '../core/errors.ts';
import type { Device } from '../device/device.ts';
import { type DeviceName, openDevice } from '../device/open.ts';
import { embedderOf, type FaceImage } from '../evaluate/embedder.ts';
import { fitCrop } from '../image/align.ts';
import type { RgbImage } from '../image/decode.ts';
import { GraphNetwork } from '../models/graph/network.ts';
import type { GraphSpec } from '../models/graph/spec.ts';
import { loadState, variablesOf } from '../nn/module.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';

/** A model that is loaded. */
export interface Model {
  /** Embeddings of pictures, one array each. A picture of another size is scaled, unless it comes with its five points. */
  embed(images: readonly FaceImage[]): Promise<Float32Array[]>;
  readonly device: Device;
  dispose(): Promise<void>;
}

/** RGB bytes of an ImageData. */
function rgbOf({ width, height, data }: FaceImage): RgbImage {
  if (data.length === 3 * width * height) return { width, height, data: data as Uint8Array };
  const out = new Uint8Array(3 * width * height);
  for (let i = 0, o = 0; o < out.length; i += 4, o += 3) {
    out[o] = data[i]!;
    out[o + 1] = data[i + 1]!;
    out[o + 2] = data[i + 2]!;
  }
  return { width, height, data: out };
}

/**
 * Loads a model from the weights in the file.
 * @throws DataError where they are damaged
 */
export async function load(
  weights: Uint8Array,
  options: { readonly device?: DeviceName; readonly threads?: number } = {},
): Promise<Model> {
  const { tensors, metadata } = parseCheckpoint(weights, 'model');
  if (metadata.architecture !== 'graph')
    throw new DataError(`model: expected a graph, got ${metadata.architecture}\nExport the model again.`);
  const { graph } = JSON.parse(metadata.options!) as { graph: GraphSpec };
  const network = new GraphNetwork(graph, 'model');
  network.preprocessing = JSON.parse(metadata.preprocessing!);
  loadState(variablesOf(network), tensors, 'model');
  const device = await openDevice(options.device, options);
  const embedder = embedderOf(network, device, { metadata, owns: { network: true, device: true } });
  const { inputSize } = network.preprocessing;
  return {
    device,
    async embed(images) {
      const rows = await embedder.embed(
        images.map((image) => (image.points ? image : fitCrop(rgbOf(image), inputSize))),
      );
      const d = rows.length / Math.max(1, images.length);
      return images.map((_, i) => rows.slice(i * d, (i + 1) * d));
    },
    dispose: () => embedder.dispose(),
  };
}

/** Bytes of base64 text. */
export const decode = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** The cosine of two embeddings, -1 to 1. */
export function similarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
}
