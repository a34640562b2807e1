/** Published networks that come as graphs of MXNet and ncnn, on WebGPU. */
import { describe, expect, it } from 'vitest';
import { mxnetFormat } from '../../src/weights/mxnet.ts';
import { ncnnFormat } from '../../src/weights/ncnn.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import {
  embedGolden,
  farthest,
  goldenEmbeddings,
  networkOfFile,
  published,
  publishedSource,
} from '../helpers/published.ts';

describe.runIf(published && runGpu)('insightface-y1 gives the golden embeddings on WebGPU', () => {
  it.each([
    ['MXNet', mxnetFormat, 'model-0000.params'],
    ['ncnn', ncnnFormat, 'mobilefacenet.param'],
  ] as const)('from %s', async (_, format, name) => {
    const network = networkOfFile(await format.read(publishedSource('insightface-y1', name), {}));
    const device = await openGpuDevice();
    const { all, mirrored } = goldenEmbeddings('insightface-y1');
    expect(farthest(await embedGolden(network, device, 4), all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 4, true), mirrored)).toBeLessThan(1e-4);
    await device.dispose();
  });
});
