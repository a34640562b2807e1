/** Every family of networks as TFLite files: LiteRT gives their embeddings, and from 8-bit integers what rounding leaves. */
import { describe, expect, test } from 'vitest';
import { host } from '../../../src/core/tensor.ts';
import { traced } from '../../../src/models/graph/traced.ts';
import type { FaceNetwork, PerColour } from '../../../src/models/network.ts';
import { mxnetFormat } from '../../../src/weights/mxnet.ts';
import { TfliteFile } from '../../../src/weights/tflite/model.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { exportTflite, exportTfliteInt8 } from '../../../src/weights/tflite/write.ts';
import { runLiteRt, runLiteRtBatch } from '../../helpers/litert.ts';
import { farthest, goldenEmbeddings, networkOfFile, published, publishedSource } from '../../helpers/published.ts';
import { imagesOf, kinds, smallNetwork } from '../../models/everyGraph.ts';
import { cosine, distance, expectAgreement, runGraph } from './agree.ts';

const shapeOf = (network: FaceNetwork, n = 1) => [n, ...network.preprocessing.inputSize, 3];
/** Pictures with a pattern, n of them. */
function picturesOf(network: FaceNetwork, n: number) {
  const shape = shapeOf(network, n);
  const size = shape.reduce((a, b) => a * b);
  const data = Uint8Array.from({ length: size }, (_, i) => 128 + 100 * Math.sin(i * 0.001 * (1 + (i % 7))));
  return { data, shape };
}
const one = ({ data, shape }: ReturnType<typeof picturesOf>, i = 0) => {
  const size = data.length / shape[0]!;
  return { data: Float32Array.from(data.subarray(i * size, (i + 1) * size)), shape: [1, ...shape.slice(1)] };
};

describe('in float32', () => {
  test.each(kinds)('%s %o', async (name, options) => {
    const network = smallNetwork(name, options);
    const graph = await traced(network);
    await expectAgreement(exportTflite(graph), graph, [{ data: imagesOf(network, 1), shape: shapeOf(network) }]);
  });
});

test.each([
  { colourOrder: 'RGB' as const, mean: 127.5, scale: 1 / 128 },
  { colourOrder: 'BGR' as const, mean: [104, 117, 123] as const, scale: [0.02, 0.01, 0.03] as const },
])('pixels go in, prepared within: %o', async (preparation) => {
  const network = smallNetwork('k210-s');
  const preprocessing = { ...network.preprocessing, ...preparation };
  const graph = await traced(network);
  const x = one(picturesOf(network, 1));
  const { mean, scale, colourOrder } = preprocessing;
  const of = (p: PerColour, c: number) => (typeof p === 'number' ? p : p[c]!);
  const prepared = x.data.map((_, i) => {
    const c = i % 3;
    const from = colourOrder === 'BGR' ? i - c + 2 - c : i;
    return (x.data[from]! - of(mean, c)) * of(scale, c);
  });
  const expected = (await runGraph(graph, [{ ...x, data: prepared }])).embedding!.data;
  const got = (await runLiteRt(exportTflite(graph, { pixels: preprocessing }), [x])).embedding!.data;
  expect(distance(got, expected)).toBeLessThan(1e-4);
});

describe('in 8-bit integers', () => {
  // No farther from float32 than twice what rounding to the same steps in float32 is.
  test.each([
    ['mobilefacenet', {}],
    ['k210-s', {}],
    ['mobilenet-v3-small', {}],
    ['ir-18', { output: 'GAP', attention: 'cbam' }],
  ])('%s %o', async (name, options) => {
    const network = smallNetwork(name, options);
    const graph = await traced(network);
    const pictures = picturesOf(network, 4);
    const { preprocessing } = network;
    const { bytes, inFloat } = await exportTfliteInt8(graph, [host(pictures.data, pictures.shape, 'u8')], {
      preprocessing,
      type: 'float32',
    });
    expect([...inFloat]).toEqual([]);
    const x = one(pictures);
    const exact = (await runLiteRt(exportTflite(graph, { pixels: preprocessing }), [x])).embedding!.data;
    const got = (await runLiteRt(bytes, [x])).embedding!.data;
    const simulated = (await runGraph(readTflite(bytes, name, { rounding: true }).graph, [x])).embedding!.data;
    expect(distance(got, exact)).toBeLessThan(2 * distance(simulated, exact));
  });

  test.skipIf(!published)('a published MobileFaceNet keeps its embeddings', async () => {
    const network = networkOfFile(await mxnetFormat.read(publishedSource('insightface-y1', 'model-0000.params'), {}));
    const graph = await traced(network);
    const { pixels, all } = goldenEmbeddings('insightface-y1');
    const crops = (from: number, n: number) => {
      const size = 112 * 112 * 3;
      return { data: pixels.slice(from * size, (from + n) * size), shape: [n, 112, 112, 3] };
    };
    const { data, shape } = crops(16, 16);
    const { bytes } = await exportTfliteInt8(graph, [host(data, shape, 'u8')], {
      preprocessing: network.preprocessing,
      type: 'uint8',
    });
    const pictures = crops(0, 8);
    const runs = Array.from({ length: 8 }, (_, i) => [one(pictures, i)]);
    const plain = await runLiteRtBatch(exportTflite(graph, { pixels: network.preprocessing }), runs);
    const golden = all.subarray(0, 8 * 128);
    const name = Object.keys(plain[0]!)[0]!;
    expect(
      farthest(
        plain.flatMap((r) => Array.from(r[name]!.data)),
        golden,
      ),
    ).toBeLessThan(1e-4);
    // As pictures come: bytes in, bytes out.
    const small = await runLiteRtBatch(
      bytes,
      runs.map(([x]) => [{ ...x!, data: Uint8Array.from(x!.data) }]),
    );
    const read = readTflite(bytes, 'int8', { rounding: true }).graph;
    const simulated = await runGraph(read, [{ data: Float32Array.from(pictures.data), shape: pictures.shape }]);
    const zero = zeroPointOf(bytes);
    const cosines = small.map((r, i) => {
      const embedding = Array.from(r[name]!.data, (q) => q - zero);
      return cosine(embedding, golden.subarray(i * 128, (i + 1) * 128));
    });
    const expected = cosines.map((_, i) =>
      cosine(simulated[name]!.data.subarray(i * 128, (i + 1) * 128), golden.subarray(i * 128, (i + 1) * 128)),
    );
    // A cosine falls short of 1 by half the square of the distance. (Measured: 0.992 to 0.997, of rounding alone as well.)
    const worst = (list: readonly number[]) => 1 - Math.min(...list);
    expect(worst(cosines)).toBeLessThan(4 * worst(expected));
  });
});

/** Zero point of the first output. */
function zeroPointOf(bytes: Uint8Array): number {
  const file = new TfliteFile(bytes, 'file');
  return file.tensors[file.outputs[0]![1]]!.quantization!.zeroPoint[0]!;
}
