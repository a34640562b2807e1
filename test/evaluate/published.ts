/** Published networks and what is known of them: files in several formats, golden embeddings and accuracies. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Device } from '../../src/device/device.ts';
import { embedderOf, type FaceImage } from '../../src/evaluate/embedder.ts';
import type { FaceNetwork, Preprocessing } from '../../src/models/network.ts';
import { importFile } from '../../src/train/modelFile.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { openGpuDevice } from '../helpers/gpu.ts';

export const data = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
export const present = existsSync(`${data}weights`);
if (!present) console.log(`skipped: no published weights under ${data}, nothing compared with them`);

export interface Published {
  readonly name: string;
  readonly file: string;
  /** What the file does not say of itself. */
  readonly preprocessing?: Partial<Preprocessing>;
  /** Largest distance to the golden embedding, in its length: the bound asked for, or what the file's own rounding costs. */
  readonly bound: number;
  /** A registered network and a graph are tried on webgpu in every run, the others in the long one. */
  readonly quick?: boolean;
}

/** Every file of a recognition network. */
export const published: readonly Published[] = [
  { name: 'xiaoccer', file: 'xiaoccer/068.ckpt', bound: 1e-4, quick: true },
  { name: 'foamliu', file: 'foamliu/mobilefacenet.pt', bound: 1e-4 },
  {
    name: 'foamliu',
    file: 'foamliu/MobileFaceNet.onnx',
    preprocessing: { mean: [123.675, 116.28, 103.53], scale: [1 / 58.395, 1 / 57.12, 1 / 57.375] },
    bound: 1e-4,
  },
  { name: 'insightface-y1', file: 'insightface-y1/model-0000.params', bound: 1e-4, quick: true },
  // Its text rounds 0.0078125 to 0.007812, which moves embeddings by up to 1.2e-4 in an element.
  { name: 'insightface-y1', file: 'insightface-y1/mobilefacenet.param', bound: 2e-4 },
];

export const imported = async ({ file, preprocessing }: Published): Promise<FaceNetwork> =>
  (await importFile(`${data}weights/${file}`, { preprocessing })).network;

const golden = (name: string) => readNpy(readFileSync(`${data}weights/golden/${name}.npy`), name);

/** The first crops whose pixels are given, as the decoder of the golden embeddings made them. */
export function goldenCrops(n: number): FaceImage[] {
  const { data: pixels } = golden('pixels_first32');
  const bytes = 3 * 112 * 112;
  return Array.from({ length: n }, (_, i) => ({
    width: 112,
    height: 112,
    data: (pixels as Uint8Array).subarray(i * bytes, (i + 1) * bytes),
  }));
}

/** The largest distance of an embedding to the golden one, in the length of that. */
export async function worstGap(network: FaceNetwork, device: Device, name: string, n: number, mirrored: boolean) {
  const embedder = embedderOf(network, device, { maxBatch: 8 });
  const got = await embedder.embed(goldenCrops(n), { mirrored }).finally(() => embedder.dispose());
  const { data: want, shape } = golden(mirrored ? `${name}_mirrored` : name);
  const dim = shape[1]!;
  return Math.max(
    ...Array.from({ length: n }, (_, i) => {
      let [gap, length] = [0, 0];
      for (let k = i * dim; k < (i + 1) * dim; k++) {
        gap += (got[k]! - want[k]!) ** 2;
        length += want[k]! ** 2;
      }
      return Math.sqrt(gap / length);
    }),
  );
}

/** The same on a GPU, or what stands in for one: two images. */
export async function gpuGap(p: Published): Promise<number> {
  const gpu = await openGpuDevice();
  try {
    return await worstGap(await imported(p), gpu, p.name, 2, false);
  } finally {
    await gpu.dispose();
  }
}
