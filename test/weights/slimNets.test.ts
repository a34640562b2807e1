/** States under slim's names become the registry's networks: each tensor in its place, every difference named. */
import { describe, expect, test } from 'vitest';
import { create } from '../../src/models/index.ts';
import { variablesOf } from '../../src/nn/module.ts';
import { networkFromState } from '../../src/weights/layouts/index.ts';
import type { NetworkFit } from '../../src/weights/layouts/layout.ts';
import { mobileFaceNetTf, slimResNetTf } from '../../src/weights/layouts/slimNets.ts';
import type { HostTensor } from '../../src/weights/safetensors.ts';

/** Tensors of given shapes whose numbers tell them apart. */
const stateOf = (shapes: readonly (readonly [string, readonly number[]])[]) =>
  new Map(
    shapes.map(([name, shape], k): [string, HostTensor] => {
      const n = shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: 'f32', shape, data: Float32Array.from({ length: n }, (_, i) => k + (i % 1000) / 1000) }];
    }),
  );

const norm = (scope: string, c: number, scale = true): [string, number[]][] =>
  [...(scale ? ['gamma'] : []), 'beta', 'moving_mean', 'moving_variance'].map((n) => [`${scope}/${n}`, [c]]);

/** The variables that MobileFaceNet_TF's own list has, in its order. */
function mobileShapes(embedding = 192): [string, number[]][] {
  const out: [string, number[]][] = [];
  const layer = (name: string, leaf: string, shape: number[], outputs: number, slopes: boolean) => {
    out.push([`MobileFaceNet/${name}/${leaf}`, shape], ...norm(`MobileFaceNet/${name}/BatchNorm`, outputs));
    if (slopes) out.push([`MobileFaceNet/${name}/prelu_alphas`, [outputs]]);
  };
  layer('Conv2d_0', 'weights', [3, 3, 3, 64], 64, true);
  layer('SeparableConv2d', 'depthwise_weights', [3, 3, 64, 1], 64, true);
  layer('Conv', 'weights', [1, 1, 64, 64], 64, false);
  let inputs = 64;
  const table = [
    ...Array(5).fill([128, 64]),
    [256, 128],
    ...Array(6).fill([256, 128]),
    [512, 128],
    ...Array(2).fill([256, 128]),
  ] as [number, number][];
  table.forEach(([wide, outputs], i) => {
    layer(`Conv_${2 * i + 1}`, 'weights', [1, 1, inputs, wide], wide, true);
    layer(`SeparableConv2d_${i + 1}`, 'depthwise_weights', [3, 3, wide, 1], wide, true);
    layer(`Conv_${2 * i + 2}`, 'weights', [1, 1, wide, outputs], outputs, false);
    inputs = outputs;
  });
  layer('Conv2d_7', 'weights', [1, 1, 128, 512], 512, true);
  layer('Logits/SeparableConv2d', 'depthwise_weights', [7, 7, 512, 1], 512, false);
  layer('Logits/Conv', 'weights', [1, 1, 512, 512], 512, false);
  layer('Logits/LinearConv1x1', 'weights', [1, 1, 512, embedding], embedding, false);
  return out;
}

describe('MobileFaceNet_TF', () => {
  test('293 variables, each in its place; the class weights of the loss are left', () => {
    const tensors = stateOf([...mobileShapes(), ['arcface_loss/embedding_weights', [192, 10]]]);
    const { network, report } = networkFromState({ tensors, convention: 'tensorflow' }, {}, 'x.index');
    expect(report).toMatchObject({ layout: 'mobilefacenet-tf', loaded: 293, missing: [], unexpected: [] });
    expect(network.options).toMatchObject({
      embeddingSize: 192,
      inputSize: [112, 112],
      padding: 'same',
      linears: true,
    });
    const expected = create('mobilefacenet-tf', { embeddingSize: 192 });
    expect(variablesOf(network).map((v) => v.name)).toEqual(variablesOf(expected).map((v) => v.name));
    const held = Object.fromEntries(variablesOf(network).map((v) => [v.name, [...v.host.slice(0, 3)]]));
    const numbers = (name: string) => [...tensors.get(`MobileFaceNet/${name}`)!.data.slice(0, 3)];
    for (const [ours, theirs] of [
      ['stem.conv.weight', 'Conv2d_0/weights'],
      ['stemDepthwise.conv.weight', 'SeparableConv2d/depthwise_weights'],
      ['stemLinear.bn.weight', 'Conv/BatchNorm/gamma'],
      ['blocks.0.expand.prelu.weight', 'Conv_1/prelu_alphas'],
      ['blocks.14.depthwise.bn.runningVar', 'SeparableConv2d_15/BatchNorm/moving_variance'],
      ['blocks.14.project.bn.bias', 'Conv_30/BatchNorm/beta'],
      ['globalDepthwise.conv.weight', 'Logits/SeparableConv2d/depthwise_weights'],
      ['globalLinear.conv.weight', 'Logits/Conv/weights'],
      ['embedding.bn.runningMean', 'Logits/LinearConv1x1/BatchNorm/moving_mean'],
    ] as const)
      expect(held[ours], ours).toEqual(numbers(theirs));
    // Every tensor went somewhere: no two variables have one name.
    const { nameOf } = mobileFaceNetTf.fit(tensors, 'x') as NetworkFit;
    expect(new Set(variablesOf(network).map((v) => nameOf(v.name))).size).toBe(293);
  });

  test('what is missing and what has another shape is named', () => {
    const tensors = stateOf(mobileShapes());
    tensors.delete('MobileFaceNet/Conv_3/prelu_alphas');
    tensors.set('MobileFaceNet/Conv_4/BatchNorm/beta', { dtype: 'f32', shape: [7], data: new Float32Array(7) });
    expect(() => networkFromState({ tensors, convention: 'tensorflow' }, {}, 'x.index')).toThrow(
      /x\.index: .*1 are missing, 1 have another shape and 0 are not its\n.*Conv_4\/BatchNorm\/beta.*\n.*missing MobileFaceNet\/Conv_3\/prelu_alphas/,
    );
  });
});

describe('InsightFace-tensorflow', () => {
  /** Shapes alone: the network's numbers would be 175 MB. */
  const shapes = (counts: readonly number[], kind: string, depth: number): [string, number[]][] => {
    const root = `embd_extractor/resnet_v2_${depth}`;
    const out: [string, number[]][] = [
      [`${root}/conv1/weights`, [3, 3, 3, 64]],
      [`${root}/conv1/biases`, [64]],
    ];
    counts.forEach((n, b) => {
      for (let u = 1; u <= n; u++) {
        const unit = `${root}/block${b + 1}/unit_${u}/${kind}`;
        out.push(...norm(`${unit}/preact`, 1), [`${unit}/conv1/weights`, [1]], ...norm(`${unit}/conv1/BatchNorm`, 1));
        if (kind === 'bottleneck_v2') out.push([`${unit}/conv2/weights`, [1]], ...norm(`${unit}/conv2/BatchNorm`, 1));
        const last = kind === 'bottleneck_v2' ? 'conv3' : 'conv2';
        out.push([`${unit}/${last}/weights`, [1]], [`${unit}/${last}/biases`, [1]]);
        // The first unit's channels change, but for the first block of v2-m-50, whose are 64 already.
        if (u === 1 && (b > 0 || kind === 'bottleneck_v2'))
          out.push([`${unit}/shortcut/weights`, [1]], [`${unit}/shortcut/biases`, [1]]);
      }
    });
    const channels = kind === 'bottleneck_v2' ? 2048 : 512;
    out.push(...norm('embd_extractor/BatchNorm', channels), ...norm('embd_extractor/BatchNorm_1', 512, false));
    out.push(
      ['embd_extractor/fully_connected/weights', [49 * channels, 512]],
      ['embd_extractor/fully_connected/biases', [512]],
    );
    return out;
  };
  const tensorsOf = (list: readonly [string, number[]][]) =>
    new Map(
      list.map(([name, shape]): [string, HostTensor] => [name, { dtype: 'f32', shape, data: new Float32Array(0) }]),
    );

  test.each([
    [50, [3, 4, 14, 3], 'block_v2'],
    [101, [3, 4, 23, 3], 'bottleneck_v2'],
  ] as const)('v2-m-%i: options from the units, a variable for every name', (depth, counts, kind) => {
    const list = shapes(counts, kind, depth);
    const fit = slimResNetTf.fit(tensorsOf(list), 'x') as NetworkFit;
    expect(fit.options).toEqual({ version: 'v2-m', depth, output: 'E', embeddingSize: 512, inputSize: [112, 112] });
    // Of a narrow network, which has the same variables.
    const names = variablesOf(create(fit.architecture, { ...fit.options, width: 0.125 })).map((v) =>
      fit.nameOf(v.name),
    );
    expect([...names].sort()).toEqual(list.map(([name]) => name).sort());
    for (const name of names) expect(name).toMatch(slimResNetTf.names);
  });

  test('other counts are refused', () => {
    expect(() => slimResNetTf.fit(tensorsOf(shapes([3, 4, 6, 3], 'block_v2', 50)), 'x.index')).toThrow(
      /x\.index: expected the units of a residual network v2-m.*got 3,4,6,3\n/,
    );
  });
});
