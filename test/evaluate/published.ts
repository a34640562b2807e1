/** Published networks and what is known of them: files in several formats, golden embeddings and accuracies. */
import { fileURLToPath } from 'node:url';
import type { Device } from '../../src/device/device.ts';
import type { FaceNetwork, Preprocessing } from '../../src/models/network.ts';
import { importFile } from '../../src/train/modelFile.ts';
import { openGpuDevice } from '../helpers/gpu.ts';
import { embedGolden, farthest, goldenEmbeddings } from '../helpers/published.ts';

export { published as present } from '../helpers/published.ts';

export const data = fileURLToPath(new URL('../../../shared/data/', import.meta.url));

export interface Published {
  readonly name: string;
  readonly file: string;
  /** What the file does not say of itself. */
  readonly preprocessing?: Partial<Preprocessing>;
  /** A registered network and a graph are tried on webgpu in every run, the others in the long one. */
  readonly quick?: boolean;
}

/** Distance to the golden embeddings that is asked for, as a share of their length. */
export const bound = 1e-4;

/** Every file of a recognition network. */
export const published: readonly Published[] = [
  { name: 'xiaoccer', file: 'xiaoccer/068.ckpt', quick: true },
  { name: 'foamliu', file: 'foamliu/mobilefacenet.pt' },
  {
    name: 'foamliu',
    file: 'foamliu/MobileFaceNet.onnx',
    preprocessing: { mean: [123.675, 116.28, 103.53], scale: [1 / 58.395, 1 / 57.12, 1 / 57.375] },
  },
  { name: 'insightface-y1', file: 'insightface-y1/model-0000.params', quick: true },
  { name: 'insightface-y1', file: 'insightface-y1/mobilefacenet.param' },
];

export const imported = async ({ file, preprocessing }: Published): Promise<FaceNetwork> =>
  (await importFile(`${data}weights/${file}`, { preprocessing })).network;

/** The farthest of the first embeddings from its golden one, as a share of its length. */
export async function worstGap(network: FaceNetwork, device: Device, name: string, n: number, mirrored: boolean) {
  const golden = goldenEmbeddings(name);
  return farthest(await embedGolden(network, device, n, mirrored), mirrored ? golden.mirrored : golden.all);
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
