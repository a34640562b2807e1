/** Graphs folded for inference: the same function as before, no batch norm left, no more error than arithmetic in float32 has. */
import { afterAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { keyOf, normal, uniform } from '../../src/core/random.ts';
import { type HostTensor, host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { GraphBuilder, type Value } from '../../src/models/graph/builder.ts';
import { folded, withPreprocessing } from '../../src/models/graph/fold.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import type { Graph } from '../../src/models/graph/spec.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { type Preprocessing, preprocess } from '../../src/models/network.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from './everyGraph.ts';

const device = await WasmDevice.create({ threads: 1 });
afterAll(() => device.dispose());
const exact = new ReferenceDevice();
const plain = new ReferenceDevice(Math.fround);

const distance = (a: Float32Array, b: Float32Array): number => Math.hypot(...a.map((x, i) => x - b[i]!));

/** Holds a folded graph to the original: its error is at most four times that of a plain float32 program of the original. */
async function expectSame(graph: Graph, after: Graph, images: Float32Array, at: Device = device): Promise<void> {
  const [before, network] = [graphNetwork(graph), graphNetwork(after)];
  const truth = await outputOf(before, images, exact);
  const bound = 4 * distance(await outputOf(before, images, plain), truth);
  expect(bound).toBeGreaterThan(0);
  expect(bound).toBeLessThan(1e-4 * Math.hypot(...truth));
  expect(distance(await outputOf(network, images, at), truth)).toBeLessThanOrEqual(bound);
}
const opsOf = (graph: Graph) => graph.spec.nodes.map((n) => n.op);

describe.each(kinds)('%s %j', (name, options) => {
  it('is folded to the same embeddings', async () => {
    const network = smallNetwork(name, options);
    const graph = await traced(network);
    const after = folded(graph);
    expect(opsOf(after)).not.toContain('batchNorm');
    const kept = folded(graph, { rest: 'keep' });
    const norms = (g: Graph) => opsOf(g).filter((op) => op === 'batchNorm').length;
    expect(norms(kept)).toBeLessThan(norms(graph));
    expect(opsOf(after).length).toBe(opsOf(kept).length + 3 * norms(kept));
    await expectSame(graph, after, imagesOf(network, 1));
    // Images of a batch do not know of one another.
    const [images, folds] = [imagesOf(network, 3), graphNetwork(after)];
    const rows = await outputOf(folds, images, device);
    const each = images.length / 3;
    for (const i of [0, 1, 2]) {
      const one = await outputOf(folds, images.slice(i * each, (i + 1) * each), device);
      expect(distance(rows.slice(i * one.length, (i + 1) * one.length), one)).toBeLessThan(1e-6 * Math.hypot(...one));
    }
  });
});

describe('a batch norm', () => {
  let seed = 100;
  const drawn = (...shape: number[]): HostTensor => {
    const size = shape.reduce((a, b) => a * b, 1);
    return host(normal(keyOf(seed++), size), shape);
  };
  const bn = (b: GraphBuilder, x: Value) => {
    const c = x.shape.at(-1)!;
    return b.batchNorm(x, {
      weight: drawn(c),
      bias: drawn(c),
      mean: drawn(c),
      variance: host(
        uniform(keyOf(seed++), c).map((v) => v + 0.5),
        [c],
      ),
      eps: 1e-3,
    });
  };
  const flat = (b: GraphBuilder, x: Value) => b.reshape(x, [1, x.tensor.size]);
  /** A graph of images [N, 6, 5, 4]. */
  const graphOf = (f: (b: GraphBuilder, x: Value) => Value): Graph => {
    const b = new GraphBuilder();
    return b.finish({ embedding: f(b, b.input('input', [6, 5, 4])) });
  };
  const relu = (b: GraphBuilder, x: Value) => b.apply('relu', [x]);

  const cases: readonly (readonly [string, (b: GraphBuilder, x: Value) => Value, readonly string[]])[] = [
    [
      'after a convolution without bias',
      (b, x) => bn(b, b.conv2d(x, { weight: drawn(3, 3, 4, 8), padding: 1 })),
      ['conv2d'],
    ],
    [
      'after a depthwise one with bias',
      (b, x) => bn(b, b.conv2d(x, { weight: drawn(3, 2, 1, 4), bias: drawn(4), groups: 4 })),
      ['conv2d'],
    ],
    [
      'after one in groups',
      (b, x) => bn(b, b.conv2d(x, { weight: drawn(3, 3, 2, 6), groups: 2, stride: 2 })),
      ['conv2d'],
    ],
    [
      'before a convolution without padding',
      (b, x) => b.conv2d(bn(b, relu(b, x)), { weight: drawn(3, 3, 4, 8) }),
      ['relu', 'conv2d'],
    ],
    [
      'before one in groups',
      (b, x) => b.conv2d(bn(b, relu(b, x)), { weight: drawn(1, 1, 2, 6), bias: drawn(6), groups: 2 }),
      ['relu', 'conv2d'],
    ],
    [
      'before a depthwise one',
      (b, x) => b.conv2d(bn(b, relu(b, x)), { weight: drawn(3, 3, 1, 8), groups: 4 }),
      ['relu', 'conv2d'],
    ],
    [
      'before a padded convolution',
      (b, x) => b.conv2d(bn(b, relu(b, x)), { weight: drawn(3, 3, 4, 8), padding: 1 }),
      ['relu', 'constant', 'constant', 'mul', 'add', 'conv2d'],
    ],
    [
      'between a convolution and a dense layer',
      (b, x) => b.linear(flat(b, bn(b, b.conv2d(x, { weight: drawn(3, 3, 4, 2) }))), { weight: drawn(24, 7) }),
      ['conv2d', 'reshape', 'linear'],
    ],
    [
      'before a dense layer over all pixels',
      (b, x) => b.linear(flat(b, bn(b, relu(b, x))), { weight: drawn(120, 7), bias: drawn(7) }),
      ['relu', 'reshape', 'linear'],
    ],
    [
      'after a dense layer, and another behind it',
      (b, x) => bn(b, bn(b, b.linear(flat(b, x), { weight: drawn(120, 7) }))),
      ['reshape', 'linear'],
    ],
    [
      'behind a reshape',
      (b, x) => bn(b, b.apply('reshape', [b.conv2d(x, { weight: drawn(6, 5, 4, 7) })], { shape: [0, 7] })),
      ['conv2d', 'reshape'],
    ],
    [
      'whose convolution something else reads too',
      (b, x) => {
        const y = b.conv2d(x, { weight: drawn(3, 3, 4, 4), padding: 1 });
        return b.apply('add', [bn(b, y), y]);
      },
      ['conv2d', 'constant', 'constant', 'mul', 'add', 'add'],
    ],
    [
      'that two layers read',
      (b, x) => {
        const y = bn(b, relu(b, x));
        return b.apply('add', [b.conv2d(y, { weight: drawn(1, 1, 4, 4) }), y]);
      },
      ['relu', 'constant', 'constant', 'mul', 'add', 'conv2d', 'add'],
    ],
  ];
  it.each(cases)('%s', async (_, f, ops) => {
    const graph = graphOf(f);
    const after = folded(graph);
    expect(opsOf(after)).toEqual(ops);
    await expectSame(graph, after, normal(keyOf(5), 2 * 120));
  });

  it('leaves movement out that comes to nothing', async () => {
    const graph = graphOf((b, x) => {
      const there = b.apply('transpose', [b.apply('dropout', [x], { rate: 0.5 })], { axes: [0, 3, 1, 2] });
      const back = b.apply('transpose', [there], { axes: [0, 2, 3, 1] });
      const mean = b.apply('reduce', [back], { kind: 'mean', axes: [1, 2], keep: false });
      const kept = b.apply('reshape', [mean], { shape: [0, 1, 1, 4] });
      return b.apply('reshape', [b.apply('reshape', [b.apply('mul', [x, kept])], { shape: [0, 30, 4] })], {
        shape: [-1, 120],
      });
    });
    const after = folded(graph);
    expect(after.spec.nodes.map((n) => [n.op, n.attrs])).toEqual([
      ['reduce', { kind: 'mean', axes: [1, 2], keep: true }],
      ['mul', {}],
      ['reshape', { shape: [-1, 120] }],
    ]);
    const images = normal(keyOf(5), 2 * 120);
    expect(await outputOf(graphNetwork(after), images, device)).toEqual(
      await outputOf(graphNetwork(graph), images, device),
    );
  });
});

it.each<[string, Partial<Preprocessing>, readonly string[]]>([
  ['usual', {}, ['sub', 'mul']],
  ['BGR', { colourOrder: 'BGR' }, ['flip', 'sub', 'mul']],
  ['raw', { mean: 0, scale: 1 }, []],
  [
    'one number a colour',
    { colourOrder: 'BGR', mean: [104, 117, 123], scale: [0.5, 1 / 3, 0.7] },
    ['flip', 'constant', 'sub', 'constant', 'mul'],
  ],
])('prepares pixels in the graph: %s', async (_, change, ops) => {
  const network = smallNetwork('mobilefacenet');
  network.preprocessing = { ...network.preprocessing, ...change };
  const [h, w] = network.preprocessing.inputSize;
  const before = await traced(network);
  const graph = withPreprocessing(before, network.preprocessing);
  expect(opsOf(graph).slice(0, ops.length)).toEqual(ops);
  expect(graph.spec.nodes.length).toBe(before.spec.nodes.length + ops.length);
  const pixels = Uint8Array.from(uniform(keyOf(4), 2 * h * w * 3), (x) => 256 * x);
  const f = compile(({ images }, ctx) => network.call(preprocess(images!, network.preprocessing), ctx), { device });
  const { result } = await f({ images: host(pixels, [2, h, w, 3]) });
  f.dispose();
  expect(await outputOf(graphNetwork(graph), Float32Array.from(pixels), device)).toEqual(result!.data);
});
