/**
 * Graphs as ncnn's files. What is written is read again by the reader that PyTorch's numbers hold (ncnn.test.ts) and gives the
 * same; ncnn itself is not at hand for these tests.
 */
import { describe, expect, it } from 'vitest';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { GraphBuilder } from '../../src/models/graph/builder.ts';
import { folded, withPreprocessing } from '../../src/models/graph/fold.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import type { Graph } from '../../src/models/graph/spec.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { mxnetFormat } from '../../src/weights/mxnet.ts';
import { floatText } from '../../src/weights/ncnn/lines.ts';
import { writeNcnn } from '../../src/weights/ncnn/write.ts';
import { ncnnFormat } from '../../src/weights/ncnn.ts';
import {
  base64,
  embedGolden,
  farthest,
  goldenEmbeddings,
  heldToReference,
  networkOfFile,
  published,
  publishedSource,
  type ReferenceCase,
  sourceOf,
} from '../helpers/published.ts';
import { reference } from '../helpers/reference.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from '../models/everyGraph.ts';

const text = (s: string) => new TextEncoder().encode(s);
/** Written and read again. */
async function again(graph: Graph) {
  const { param, bin } = writeNcnn(graph);
  return ncnnFormat.read(sourceOf({ 'm.param': text(param), 'm.bin': bin }, 'm.param'), {});
}
const casesOf = (name: string) => (reference(name) as { cases: ReferenceCase[] }).cases;

describe('layers written and read again still compute what PyTorch does', () => {
  const cases = casesOf('ncnn') as (ReferenceCase & { param: string; bin: string })[];
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const source = sourceOf({ 'm.param': text(c.param), 'm.bin': base64(c.bin) }, 'm.param');
    const file = await ncnnFormat.read(source, { inputSize: c.size });
    if (file.kind !== 'graph') throw new Error('expected a graph');
    await heldToReference(await again(file.graph), c);
    await heldToReference(await again(folded(file.graph)), c);
  });
  const others = (casesOf('mxnet') as (ReferenceCase & { symbol: unknown; params: string })[]).filter((c) =>
    /^(resnet|Flatten|a channel|SliceChannel|L2|Pooling)/.test(c.name),
  );
  it.each(others.map((c) => [c.name, c] as const))('%s, from MXNet', async (_, c) => {
    const files = { 'm-symbol.json': text(JSON.stringify(c.symbol)), 'm-0000.params': base64(c.params) };
    const file = await mxnetFormat.read(sourceOf(files, 'm-symbol.json'), { inputSize: c.size });
    if (file.kind !== 'graph') throw new Error('expected a graph');
    await heldToReference(await again(file.graph), c);
  });
});

describe('networks written and read again give the same', () => {
  it.each(kinds)('%s %o', async (name, options) => {
    const network = smallNetwork(name, options);
    const graph = await traced(network);
    const device = new ReferenceDevice();
    const images = imagesOf(network, 1);
    const before = await outputOf(network, images, device);
    for (const form of [graph, folded(graph)]) {
      const after = await outputOf(networkOfFile(await again(form)), images, device);
      // Folding rounds weights to float32 once more; without it only the result is rounded.
      const most = (form === graph ? 1 : 64) * 2 ** -23 * Math.max(...before.map(Math.abs));
      expect(Math.max(...before.map((v, i) => Math.abs(v - after[i]!)))).toBeLessThanOrEqual(most);
    }
    await device.dispose();
  });
});

describe('files', () => {
  it('hold numbers to the last bit', () => {
    for (const x of [0.0078125, 127.5, 1 / 3, -1e-30, 3.4028234663852886e38, 0, 2 ** -149, 16777216]) {
      expect(Math.fround(Number(floatText(x)))).toBe(Math.fround(x));
      // Without a point or an exponent ncnn takes it for a whole number.
      expect(floatText(x)).toMatch(/[.e]/);
    }
  });
  it('let one layer read a value, and give outputs their names', async () => {
    const builder = new GraphBuilder();
    const x = builder.input('image', [4, 4, 3]);
    const y = builder.apply('relu', [x], {}, 'middle');
    const z = builder.apply('add', [y, x], {}, 'end');
    const { param } = writeNcnn(builder.finish({ 'the sum': z, middle: y }));
    const lines = param
      .trim()
      .split('\n')
      .slice(2)
      .map((l) => l.trim().split(/\s+/));
    const read = lines.flatMap(([, , a, , ...names]) => names.slice(0, Number(a)));
    const made = lines.flatMap(([, , a, b, ...names]) => names.slice(Number(a), Number(a) + Number(b)));
    expect(new Set(read).size).toBe(read.length);
    expect(new Set(made).size).toBe(made.length);
    expect(made.filter((v) => !read.includes(v)).sort()).toEqual(['middle', 'the_sum']);
    expect(param.split('\n')[1]).toBe(`${lines.length} ${made.length}`);
  });
  it('take pixels where the preparation is put in front', async () => {
    const network = smallNetwork('mobilefacenet');
    const bgr = { ...network.preprocessing, colourOrder: 'BGR' as const };
    const graph = await traced(network);
    const pixels = imagesOf(network, 1).map((v) => Math.round(Math.abs(v) * 60));
    const prepared = Float32Array.from(pixels, (_, i) =>
      Math.fround((pixels[i - (i % 3) + 2 - (i % 3)]! - 127.5) / 128),
    );
    const device = new ReferenceDevice();
    const truth = await outputOf(graphNetwork(graph), prepared, device);
    const file = await again(withPreprocessing(graph, bgr));
    const found = await outputOf(networkOfFile(file), pixels, device);
    const most = 2 ** -22 * Math.max(...truth.map(Math.abs));
    expect(Math.max(...truth.map((v, i) => Math.abs(v - found[i]!)))).toBeLessThanOrEqual(most);
    await device.dispose();
  });
  it('are refused by the name of the node that ncnn has no layer for', () => {
    const builder = new GraphBuilder();
    const x = builder.input('x', [4, 4, 3]);
    const y = builder.apply('reduce', [x], { kind: 'mean', axes: [1], keep: false }, 'odd');
    expect(() => writeNcnn(builder.finish({ y }))).toThrow(
      /^ncnn: odd is a reduction of a map over one side, which this writer has no layer for\n/,
    );
  });
});

describe.skipIf(!published)('insightface-y1', () => {
  it('keeps the golden embeddings, the factor whole', async () => {
    const file = await mxnetFormat.read(publishedSource('insightface-y1', 'model-0000.params'), {});
    if (file.kind !== 'graph') throw new Error('expected a graph');
    const device = await WasmDevice.create({ threads: 2 });
    const rows = await embedGolden(networkOfFile(await again(folded(file.graph))), device, 8);
    expect(farthest(rows, goldenEmbeddings('insightface-y1').all)).toBeLessThan(1e-4);
    await device.dispose();
  });
});
