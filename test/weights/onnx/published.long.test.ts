/** A published ONNX network on WebGPU. */
import { describe, expect, it } from 'vitest';
import { onnxFormat } from '../../../src/weights/onnx.ts';
import { openGpuDevice, runGpu } from '../../helpers/gpu.ts';
import {
  embedGolden,
  farthest,
  goldenEmbeddings,
  networkOfFile,
  published,
  publishedSource,
} from '../../helpers/published.ts';
import { imageNet } from './imageNet.ts';

describe.runIf(published && runGpu)('foamliu MobileFaceNet', () => {
  it('gives the golden embeddings on WebGPU', async () => {
    const network = networkOfFile(await onnxFormat.read(publishedSource('foamliu', 'MobileFaceNet.onnx'), {}));
    network.preprocessing = imageNet;
    const device = await openGpuDevice();
    const { all, mirrored } = goldenEmbeddings('foamliu');
    expect(farthest(await embedGolden(network, device, 4), all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 4, true), mirrored)).toBeLessThan(1e-4);
    await device.dispose();
  });
});
