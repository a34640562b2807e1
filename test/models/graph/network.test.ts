/** Graphs as networks: built, run at any batch, trained, saved and loaded. */
import { describe, expect, it } from 'vitest';
import { compile, create, DataError, grad, host, networkOf, parametersOf, variablesOf } from '../../../src/index.ts';
import { GraphBuilder } from '../../../src/models/graph/builder.ts';
import { GraphNetwork, graphNetwork, withEmbedding } from '../../../src/models/graph/network.ts';
import { checkGraph } from '../../../src/models/graph/spec.ts';
import { describeNetwork } from '../../../src/models/index.ts';
import { loadState, stateOf } from '../../../src/nn/module.ts';
import { sum } from '../../../src/ops/index.ts';

const numbers = (n: number, f = (i: number) => Math.sin(i + 1)) => Float32Array.from({ length: n }, (_, i) => f(i));

/** 4x4x2 images to three numbers. */
function small() {
  const b = new GraphBuilder();
  const x = b.input('x', [4, 4, 2]);
  const conv = b.conv2d(
    x,
    { weight: host(numbers(3 * 3 * 2 * 4), [3, 3, 2, 4]), padding: 1, stride: 2 },
    'body.0.conv',
  );
  const bn = b.batchNorm(
    conv,
    {
      weight: host(numbers(4), [4]),
      mean: host(numbers(4), [4]),
      variance: host(
        numbers(4, () => 2),
        [4],
      ),
      eps: 1e-3,
    },
    'body.0.bn',
  );
  const act = b.prelu(bn, host(numbers(1), [1]), 'body.0.prelu');
  const flat = b.reshape(act, [1, 16]);
  return b.finish({
    embedding: b.linear(flat, { weight: host(numbers(48), [16, 3]), bias: host(numbers(3), [3]) }, 'fc'),
  });
}

describe('a graph as a network', () => {
  it('has layers, by their paths', () => {
    const network = graphNetwork(small());
    expect(variablesOf(network).map((v) => v.name)).toEqual([
      'layers.body.0.conv.weight',
      'layers.body.0.bn.weight',
      'layers.body.0.bn.bias',
      'layers.body.0.bn.runningMean',
      'layers.body.0.bn.runningVar',
      'layers.body.0.prelu.weight',
      'layers.fc.weight',
      'layers.fc.bias',
    ]);
    expect(network.options.embeddingSize).toBe(3);
    expect(network.preprocessing.inputSize).toEqual([4, 4]);
    expect(network.options.graph.batch).toBeUndefined();
  });

  it('gives each image of a batch what it gives alone, and comes back from a checkpoint', async () => {
    const network = graphNetwork(small());
    const images = numbers(3 * 32);
    const run = compile(({ x }, ctx) => network.call(x!, ctx));
    const { result: all } = (await run({ x: host(images, [3, 4, 4, 2]) })) as unknown as {
      result: { data: Float32Array };
    };
    expect(all.data).toHaveLength(9);
    const metadata = JSON.parse(JSON.stringify(describeNetwork(network)));
    const again = networkOf(metadata, 'file') as GraphNetwork;
    loadState(variablesOf(again), await stateOf(variablesOf(network)), 'file');
    const single = compile(({ x }, ctx) => again.call(x!, ctx));
    for (let i = 0; i < 3; i++) {
      const { result } = (await single({ x: host(images.slice(32 * i, 32 * i + 32), [1, 4, 4, 2]) })) as unknown as {
        result: { data: Float32Array };
      };
      expect(result.data).toEqual(all.data.slice(3 * i, 3 * i + 3));
    }
  });

  it('has a gradient for every parameter, and moves its statistics in training', async () => {
    const network = graphNetwork(small());
    const parameters = parametersOf(network);
    const before = ((await network.layers) &&
      (await stateOf(variablesOf(network))).get('layers.body.0.bn.runningMean'))!.data;
    const step = compile(
      ({ x }, ctx) => {
        const gradients = grad(
          sum(network.call(x!, ctx)),
          parameters.map((p) => p.tensor),
        );
        return Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!]));
      },
      { training: true },
    );
    const made = (await step({ x: host(numbers(64), [2, 4, 4, 2]) })) as Record<string, { data: Float32Array }>;
    for (const p of parameters) expect(Math.hypot(...made[p.name]!.data), p.name).toBeGreaterThan(0);
    const after = (await stateOf(variablesOf(network))).get('layers.body.0.bn.runningMean')!.data;
    expect(after).not.toEqual(before);
  });
});

describe('a graph that is none', () => {
  const { spec } = small();
  const refused = (change: (s: typeof spec) => unknown, message: RegExp) =>
    expect(() => new GraphNetwork(change(structuredClone(spec)) as typeof spec, 'some.file')).toThrow(message);
  it('is refused with its place', () => {
    expect(() => checkGraph({}, 'some.file')).toThrow(DataError);
    refused((s) => ({ ...s, nodes: s.nodes.toReversed() }), /some\.file.*reads '.*', which nothing before it makes/);
    refused((s) => ({ ...s, nodes: [...s.nodes, s.nodes[0]] }), /is made twice/);
    refused((s) => ({ ...s, outputs: [{ name: 'y', value: 'nowhere' }] }), /nothing makes/);
    refused(
      (s) => ({ ...s, nodes: [{ ...s.nodes[0]!, op: 'system' }], outputs: [{ name: 'y', value: 'body.0.conv' }] }),
      /one of the operators/,
    );
    for (const path of ['a.__proto__.b', 'call', 'x y'])
      refused((s) => ({ ...s, nodes: [{ ...s.nodes[0]!, path }, ...s.nodes.slice(1)] }), /paths of letters/);
  });
  it('is not among the networks to choose, but can be made', () => {
    expect(() => create('graph', { graph: 3 })).toThrow(DataError);
    expect(create('graph', { graph: spec }).architecture).toBe('graph');
  });
});

describe('an embedding', () => {
  it('is a row, also where the source gave a map of one pixel', async () => {
    const b = new GraphBuilder();
    const x = b.input('x', [4, 4, 2]);
    const map = b.conv2d(x, { weight: host(numbers(96), [4, 4, 2, 3]) }, 'embedding');
    const before = graphNetwork(b.finish({ y: map }));
    const after = withEmbedding(before);
    expect([...before.outputShapes]).toEqual([['y', [1, 1, 3]]]);
    expect([...after.outputShapes]).toEqual([['y', [3]]]);
    expect(await stateOf(variablesOf(after))).toEqual(await stateOf(variablesOf(before)));
    expect(withEmbedding(after)).toBe(after);
  });
});

describe('a builder', () => {
  it('names the node where shapes do not fit', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [4, 4, 2]);
    expect(() => b.conv2d(x, { weight: host(numbers(27), [3, 3, 3, 1]) }, 'first')).toThrow(/first/);
  });
  it('marks graphs whose numbers are bound to one image', () => {
    const b = new GraphBuilder();
    const x = b.input('x', [4, 4, 2]);
    // Joining along the batch makes two of one.
    expect(b.finish({ y: b.apply('concat', [x, x], { axis: 0 }) }).spec.batch).toBe(1);
  });
});
