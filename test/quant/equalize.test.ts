/** Channels brought to like ranges: the same function, where factors may pass; and nothing elsewhere. */
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { GraphBuilder, type Value } from '../../src/models/graph/builder.ts';
import { folded } from '../../src/models/graph/fold.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import type { Graph } from '../../src/models/graph/spec.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { equalized } from '../../src/quant/equalize.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from '../models/everyGraph.ts';

const device = new ReferenceDevice();
const random = (shape: number[], seed: number) =>
  host(
    normal(
      keyOf(seed),
      shape.reduce((a, b) => a * b),
    ),
    shape,
  );
/** Weights whose output channels differ a thousandfold. */
const uneven = (shape: number[], seed: number) => {
  const outputs = shape.at(-1)!;
  const t = random(shape, seed);
  return host(
    (t.data as Float32Array).map((x, i) => x * 10 ** ((3 * (i % outputs)) / outputs - 2)),
    shape,
  );
};
const x = random([2, 6, 6, 3], 1);
function graphOf(build: (b: GraphBuilder, x: Value) => Value): Graph {
  const b = new GraphBuilder();
  return b.finish({ y: build(b, b.input('x', [6, 6, 3])) });
}
const outputs = async (graph: Graph, data = x.data as Float32Array) => outputOf(graphNetwork(graph), data, device);

/** Largest number of each channel of a value. */
async function ranges(graph: Graph, value: string, channels: number): Promise<number[]> {
  const all = await outputs({ ...graph, spec: { ...graph.spec, outputs: [{ name: 'y', value }] } });
  return Array.from({ length: channels }, (_, c) =>
    Math.max(...all.filter((_v, i) => i % channels === c).map(Math.abs)),
  );
}

/** A few roundings of each number on the way. */
function expectSame(got: Float32Array, expected: Float32Array) {
  const most = Math.max(...expected.map(Math.abs));
  got.forEach((v, i) => {
    expect(Math.abs(v - expected[i]!)).toBeLessThan(1e-5 * most);
  });
}

const layer = (b: GraphBuilder, v: Value, shape: number[], path: string, more = {}) =>
  b.conv2d(v, { weight: uneven(shape, path.length), bias: random([shape[3]!], 9), ...more }, path);

test('channels before a depthwise layer get one range, up to 32 times', async () => {
  const graph = graphOf((b, v) => {
    const a = b.apply('relu', [layer(b, v, [1, 1, 3, 8], 'a', { bias: undefined })]);
    return layer(
      b,
      b.prelu(layer(b, a, [3, 3, 1, 8], 'dw', { groups: 8, padding: 1 }), random([8], 4)),
      [1, 1, 8, 4],
      'c',
    );
  });
  const after = await equalized(graph, [x], { device });
  expectSame(await outputs(after), await outputs(graph));
  const before = await ranges(graph, 'relu', 8);
  expect(Math.max(...before) / Math.min(...before)).toBeGreaterThan(100);
  const made = await ranges(after, 'relu', 8);
  const most = Math.max(...before);
  before.forEach((r, c) => {
    expect(made[c]! / (r >= most / 32 ? most : 32 * r)).toBeCloseTo(1, 5);
  });
});

test('channels of a chain of shortcuts are scaled alike', async () => {
  const graph = graphOf((b, v) => {
    let y = layer(b, v, [1, 1, 3, 8], 'stem');
    for (const name of ['one', 'three']) {
      const inner = b.apply('leakyRelu', [layer(b, y, [3, 3, 8, 8], `${name}.in`, { padding: 1 })], { slope: 0.2 });
      y = b.apply('add', [y, layer(b, inner, [1, 1, 8, 8], `${name}.outer`)]);
    }
    const pooled = b.apply('reduce', [b.apply('maxPool', [y], { kernel: [2, 2], stride: [2, 2] })], {
      axes: [1, 2],
      keep: true,
    });
    return b.linear(b.reshape(pooled, [1, 8]), { weight: random([8, 5], 12) });
  });
  const after = await equalized(graph, [x], { device });
  expectSame(await outputs(after), await outputs(graph));
  const factor = (path: string) => {
    const [was, is] = [graph, after].map((g) => g.tensors.get(`layers.${path}.bias`)!.data);
    return Array.from(was!, (w, c) => is![c]! / w);
  };
  const stem = factor('stem');
  expect(Math.max(...stem) / Math.min(...stem)).toBeGreaterThan(4);
  for (const path of ['one.outer', 'three.outer'])
    for (const [c, f] of factor(path).entries()) expect(f / stem[c]!).toBeCloseTo(1, 5);
});

describe('nothing changes', () => {
  test.each<[string, (b: GraphBuilder, v: Value) => Value]>([
    ['behind what cuts off', (b, v) => layer(b, b.apply('relu6', [layer(b, v, [1, 1, 3, 8], 'a')]), [1, 1, 8, 4], 'b')],
    ['behind what bends', (b, v) => layer(b, b.apply('sigmoid', [layer(b, v, [1, 1, 3, 8], 'a')]), [1, 1, 8, 4], 'b')],
    [
      'where a constant comes in',
      (b, v) => layer(b, b.apply('add', [layer(b, v, [1, 1, 3, 8], 'a')], { value: 1 }), [1, 1, 8, 4], 'b'),
    ],
    [
      'where channels are mixed by a sum over them',
      (b, v) => {
        const a = layer(b, v, [1, 1, 3, 8], 'a');
        return layer(b, b.apply('mul', [a, b.apply('reduce', [a], { axes: [3], keep: true })]), [1, 1, 8, 4], 'b');
      },
    ],
    ['of the input and the output', (b, v) => layer(b, v, [1, 1, 3, 8], 'a')],
  ])('%s', async (_, build) => {
    const graph = graphOf(build);
    expect([...(await equalized(graph, [x], { device })).tensors]).toEqual([...graph.tensors]);
  });
});

test.each(kinds.filter(([name]) => /mobile|mbf|^ir-18|k210-s|resnext/.test(name)))(
  '%s %o stays what it is',
  async (name, options) => {
    const network = smallNetwork(name, options);
    const graph = folded(await traced(network));
    const [h, w] = network.preprocessing.inputSize;
    const images = imagesOf(network, 1);
    const after = await equalized(graph, [host(images, [1, h, w, 3])]);
    expect([...after.tensors.keys()]).toEqual([...graph.tensors.keys()]);
    expectSame(await outputs(after, images), await outputs(graph, images));
  },
);

test('channels of zeros, and no batches', async () => {
  const weight = new Float32Array(3 * 4);
  const graph = graphOf((b, v) =>
    layer(b, b.apply('relu', [b.conv2d(v, { weight: host(weight, [1, 1, 3, 4]) })]), [1, 1, 4, 2], 'b'),
  );
  expectSame(await outputs(await equalized(graph, [x], { device })), await outputs(graph));
  await expect(equalized(graph, [])).rejects.toThrow(UsageError);
});
