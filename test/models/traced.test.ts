/** Every network as a graph: the same numbers to the bit, the same layers under the same names. */
import { afterAll, describe, expect, it } from 'vitest';
import { keyOf, normal } from '../../src/core/random.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import * as E from '../../src/expr/nodes.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { operators } from '../../src/models/graph/operators.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { defaultPreprocessing, type FaceNetwork } from '../../src/models/network.ts';
import { Conv2d, Linear } from '../../src/nn/layers.ts';
import { initialize, Module, nameTree, parametersOf } from '../../src/nn/module.ts';
import {
  add,
  clamp,
  concat,
  div,
  elementwise,
  flip,
  l2Normalize,
  maximum,
  mean,
  mul,
  pad,
  reshape,
  slice,
  sub,
  sum,
  transpose,
} from '../../src/ops/index.ts';
import { imagesOf, kinds, outputOf, smallNetwork } from './everyGraph.ts';

const device = await WasmDevice.create({ threads: 1 });
afterAll(() => device.dispose());

describe.each(kinds)('%s %j', (name, options) => {
  it('gives the same bits as its graph, for any number of images', async () => {
    const network = smallNetwork(name, options);
    const graph = await traced(network);
    const again = graphNetwork(graph);
    expect(graph.spec.batch).toBeUndefined();
    for (const batch of [1, 3]) {
      const images = imagesOf(network, batch);
      const expected = await outputOf(network, images, device);
      expect(new Set(expected).size).toBeGreaterThan(batch);
      expect(await outputOf(again, images, device)).toEqual(expected);
    }
    // Layers are layers, not numbers that arithmetic reads; one that is called twice is there twice.
    const names = (n: FaceNetwork) => new Set(parametersOf(n).map((p) => p.name.replace(/_1\./, '.')));
    expect(names(again)).toEqual(new Set([...names(network)].map((name) => `layers.${name}`)));
    expect(graph.spec.nodes.filter((n) => ['parameter', 'constant'].includes(n.op))).toEqual([]);
  });
});

/** A network of one function of images [N, 8, 8, 3] and a few layers. */
class Drawn extends Module implements FaceNetwork {
  readonly architecture = 'drawn';
  readonly options = { embeddingSize: 4 };
  preprocessing = { ...defaultPreprocessing, inputSize: [8, 8] as const };
  readonly conv = new Conv2d(3, 4, { kernel: 3, bias: true });
  readonly fc = new Linear(4, 4);
  private readonly f: (x: Tensor, net: Drawn) => Tensor;
  constructor(f: (x: Tensor, net: Drawn) => Tensor) {
    super();
    this.f = f;
    initialize(nameTree(this), 3);
  }
  protected forward(x: Tensor): Tensor {
    return this.f(x, this);
  }
}
const ctx = { training: false } as never;
const x = E.input(0);

const programs: readonly (readonly [string, (x: Tensor, net: Drawn) => Tensor, readonly string[]])[] = [
  [
    'arithmetic as a tree',
    (t) =>
      mean(elementwise('odd', E.div(E.sub(1, E.exp(E.neg(x))), E.add(E.abs(x), E.min(E.max(x, -2), 3))), [t]), [1, 2]),
    ['neg', 'exp', 'sub', 'abs', 'clamp', 'add', 'div', 'reduce'],
  ],
  [
    'a dense layer over pixels',
    (t, { fc, conv }) => mean(fc.call(conv.call(t, ctx), ctx), [1, 2]),
    ['conv2d', 'reshape', 'linear', 'reshape', 'reduce'],
  ],
  [
    'a bias that something else reads too',
    (t, { conv }) => {
      const y = conv.call(t, ctx);
      return mean(mul(y, sub(y, 1)), [1, 2]);
    },
    ['conv2d', 'sub', 'mul', 'reduce'],
  ],
  [
    'movement',
    (t) => {
      const moved = transpose(
        flip(
          pad(
            slice(t, 1, 1, 7, 2),
            [
              [0, 0],
              [1, 0],
              [0, 2],
              [0, 0],
            ],
            0.5,
          ),
          [2, 3],
        ),
        [0, 3, 1, 2],
      );
      return sum(concat([moved, mul(moved, 2)], 1), [2, 3]);
    },
    ['slice', 'pad', 'flip', 'transpose', 'mul', 'concat', 'reduce'],
  ],
  ['unit length', (t) => l2Normalize(mean(t, [1, 2])), ['reduce', 'mul', 'reduce', 'reshape', 'max', 'sqrt', 'div']],
  [
    'a parameter in arithmetic',
    (t, { fc }) => reshape(div(add(mean(t, [2]), maximum(sum(fc.weight.tensor), 1)), 2), [t.shape[0]!, 24]),
    ['reduce', 'parameter', 'reduce', 'max', 'add', 'div', 'reshape'],
  ],
];

describe('a network as a program', () => {
  it.each(programs)('%s', async (_, f, ops) => {
    const network = new Drawn(f);
    const graph = await traced(network);
    const images = normal(keyOf(9), 3 * 192);
    expect(await outputOf(graphNetwork(graph), images, device)).toEqual(await outputOf(network, images, device));
    expect(graph.spec.nodes.map((n) => n.op).sort()).toEqual([...ops].sort());
  });

  it('names what no graph can do', async () => {
    const refused = (f: (x: Tensor) => Tensor) =>
      traced(new Drawn(f)).then(
        () => 'done',
        (e: Error) => e.message,
      );
    expect(await refused((t) => mean(t, [0, 1, 2], true))).toMatch(/'mean' across the images/);
    expect(await refused((t) => reshape(t, [4, t.size / 4]))).toMatch(/images of a batch are not the first axis/);
    expect(await refused((t) => slice(t, 0, 1, 2))).toMatch(/'slice' across the images/);
    expect(await refused((t) => elementwise('spread', E.where(E.lt(x, 0.5), x, E.mul(x, x)), [t]))).toMatch(
      /computes 'spread', in which 'where' is no operator/,
    );
  });
});

it('knows every operator of one value by its expression', async () => {
  // The operator applied in a network's program comes back as itself, with its attributes.
  const given: Record<string, Record<string, number>> = {
    leakyRelu: { slope: 0.3 },
    elu: { alpha: 0.7 },
    hardSigmoid: { alpha: 0.2, beta: 0.4 },
    selu: { alpha: 1.5, gamma: 1.25 },
    clamp: { min: -1, max: 2 },
  };
  for (const op of [
    'relu',
    'relu6',
    'leakyRelu',
    'sigmoid',
    'hardSigmoid',
    'hardSwish',
    'swish',
    'elu',
    'selu',
    'softplus',
    'tanh',
    'exp',
    'square',
    'abs',
    'neg',
    'floor',
    'ceil',
    'round',
    'clamp',
    'sin',
    'cos',
  ]) {
    const attrs = given[op] ?? {};
    const { spec } = await traced(new Drawn((t) => operators.get(op)!.apply!([t], attrs) as Tensor));
    expect(spec.nodes.map(({ op: found, attrs: a }) => [found, a])).toEqual([[op, attrs]]);
  }
  // A clamp from 0 to 6 is relu6.
  const { spec } = await traced(new Drawn((t) => clamp(t, 0, 6)));
  expect(spec.nodes.map((n) => n.op)).toEqual(['relu6']);
});
