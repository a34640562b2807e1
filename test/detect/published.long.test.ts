/** Published detectors on every photograph, the largest of 36 megapixels; on WebGPU; and against onnxruntime. */
import { afterAll, describe, expect, it } from 'vitest';
import { atSize } from '../../src/detect/detection.ts';
import { openDetector } from '../../src/detect/open.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { GraphNetwork } from '../../src/models/graph/network.ts';
import { importModel } from '../../src/weights/import.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { openOnnx, planar } from '../helpers/onnxruntime.ts';
import { publishedSource } from '../helpers/published.ts';
import { mtcnnBounds, retinaFaceBounds } from './bounds.ts';
import {
  farthestOf,
  heldToPhoto,
  nativePhotos,
  noses,
  outputsOf,
  photo,
  photos,
  photosPresent,
  prepared,
  roundingOf,
} from './photos.ts';

const device = await WasmDevice.create({ threads: 2 });
afterAll(() => device.dispose());
const retina = publishedSource('retinaface-mobile0.25', 'mobilenet0.25_Final.pth');
const mtcnn = publishedSource('mtcnn', 'det3.npy');
const small = 'compreface/009_C.jpg';
const graphOf = async (source: ReturnType<typeof publishedSource>): Promise<GraphNetwork> => {
  const { network } = await importModel(source);
  if (!(network instanceof GraphNetwork)) throw new Error('expected a graph');
  return network;
};

describe.runIf(photosPresent)('RetinaFace on large photographs', () => {
  // Areas are averaged as OpenCV does but for the rounding of halves; another filter moves points by up to 1.6 % of the eye
  // distance, and scores below 0.83 freely.
  const large = [...photos.keys()].filter((name) => !nativePhotos.includes(name));
  it.each(large)('%s: the faces, within 1.6 percent of the eye distance, and nothing else', async (name) => {
    const detector = await openDetector(retina, { device, score: 0.83 });
    const bounds = await retinaFaceBounds(await graphOf(retina));
    await heldToPhoto(detector, name, 'retinaface', 0.83, { ...bounds, score: 0.01, eyes: 0.016 });
    const [face] = await detector.detect(photo(name));
    const [nose] = noses(name);
    const p = face!.points!;
    expect(Math.hypot(p[4]! - nose![0], p[5]! - nose![1])).toBeLessThan(
      0.24 * Math.hypot(p[2]! - p[0]!, p[3]! - p[1]!),
    );
    await detector.dispose();
  });
});

describe.runIf(photosPresent && runGpu)('on WebGPU', () => {
  it('RetinaFace and MTCNN give the reference of a small photograph', async () => {
    const gpu = await openGpuDevice();
    const first = await openDetector(retina, { device: gpu, score: 0.5 });
    await heldToPhoto(first, small, 'retinaface', 0.5, await retinaFaceBounds(await graphOf(retina)));
    await first.dispose();
    const second = await openDetector(mtcnn, { device: gpu });
    await heldToPhoto(second, small, 'mtcnn', 0, await mtcnnBounds(await graphOf(mtcnn)));
    await second.dispose();
    await gpu.dispose();
  });
});

describe.runIf(photosPresent)('Ultra-Light', () => {
  const source = (width: number) => publishedSource('ultraface', `version-RFB-${width}.onnx`);
  const inputAt = (network: GraphNetwork, width: number) =>
    prepared(atSize(photo(small), width, (width * 3) / 4).image.data, network);
  it('gives what onnxruntime gives, to what float32 leaves open', async () => {
    const smaller = await graphOf(source(320));
    // The larger one is the same network at more places.
    const bound = await roundingOf(smaller, await inputAt(smaller, 320));
    for (const width of [320, 640]) {
      const network = await graphOf(source(width));
      const input = await inputAt(network, width);
      const session = await openOnnx(await source(width).bytes());
      const truth = await session.run({ input: planar(input, [1, (width * 3) / 4, width, 3]) });
      await session.close();
      const expected = { scores: truth.scores!.data, boxes: truth.boxes!.data };
      const far = farthestOf(await outputsOf(network, input, device), expected);
      for (const output of ['scores', 'boxes'])
        expect(far[output]!, `${output} at ${width}`).toBeLessThanOrEqual(4 * bound[output]!);
    }
  });
});
