/**
 * foamliu/MobileFaceNet: the paper's table with ReLU6, a depthwise-separable block with plain ReLU after the stem, and a last
 * 1x1 convolution with a bias. The registry has none like it, so it is a graph.
 */
import { DataError } from '../../core/errors.ts';
import { GraphBuilder, type Value } from '../../models/graph/builder.ts';
import { permuted } from '../../models/graph/channelsFirst.ts';
import type { HostTensor } from '../safetensors.ts';
import { countOf, type Layout, shapeOf, type Tensors } from './layout.ts';
import { stageCounts, type Unit, unitAt } from './mobileFaceNets.ts';

const has = [
  'conv1.0.weight',
  'dw_conv.depthwise.weight',
  'features.0.conv.2.weight',
  'gdconv.depthwise.weight',
  'conv3.bias',
];

/** The network's program; every tensor is asked for by its name. */
function program(
  tensors: Tensors,
  units: readonly Unit[],
  strided: ReadonlySet<number>,
  inputSize: readonly [number, number],
  source: string,
) {
  const used = new Set<string>();
  const missing: string[] = [];
  const take = (name: string): HostTensor => {
    used.add(name);
    const found = tensors.get(name);
    if (!found) missing.push(name);
    return found ?? { dtype: 'f32', shape: [0], data: new Float32Array(0) };
  };
  const b = new GraphBuilder();
  const conv = (x: Value, name: string, stride = 1, padding = 0, bias = false): Value => {
    const weight = take(`${name}.weight`);
    const biases = bias ? take(`${name}.bias`) : undefined;
    if (missing.length || weight.shape.length !== 4) return x;
    const depthwise = weight.shape[1] === 1;
    return b.conv2d(
      x,
      {
        weight: permuted(weight, [2, 3, 1, 0]),
        bias: biases,
        stride,
        padding,
        groups: depthwise ? weight.shape[0]! : 1,
      },
      name,
    );
  };
  const norm = (x: Value, name: string): Value => {
    const parts = {
      weight: take(`${name}.weight`),
      bias: take(`${name}.bias`),
      mean: take(`${name}.running_mean`),
      variance: take(`${name}.running_var`),
    };
    return missing.length ? x : b.batchNorm(x, { ...parts, eps: 1e-5 }, name);
  };
  const act = (x: Value, op: string) => (missing.length ? x : b.apply(op, [x]));
  const block = (x: Value, name: string, stride = 1, padding = 0) =>
    act(norm(conv(x, `${name}.0`, stride, padding), `${name}.1`), 'relu6');

  const image = b.input('image', [...inputSize, 3]);
  let x = block(image, 'conv1', 2, 1);
  x = act(norm(conv(x, 'dw_conv.depthwise', 1, 1), 'dw_conv.bn1'), 'relu');
  x = act(norm(conv(x, 'dw_conv.pointwise'), 'dw_conv.bn2'), 'relu');
  units.forEach(({ inputs, outputs }, i) => {
    const name = `features.${i}.conv`;
    const stride = strided.has(i) ? 2 : 1;
    const y = norm(conv(block(block(x, `${name}.0`), `${name}.1`, stride, 1), `${name}.2`), `${name}.3`);
    x = stride === 1 && inputs === outputs && !missing.length ? b.apply('add', [x, y], {}, `features.${i}.add`) : y;
  });
  x = block(x, 'conv2');
  x = norm(conv(x, 'gdconv.depthwise'), 'gdconv.bn');
  x = norm(conv(x, 'conv3', 1, 0, true), 'bn');
  if (missing.length)
    throw new DataError(
      `${source}: expected the tensors of foamliu/MobileFaceNet, but ${missing.length} are missing\n${missing
        .slice(0, 12)
        .map((m) => `  missing ${m}`)
        .join('\n')}\nFetch the file again.`,
    );
  const embedding = b.reshape(x, [1, x.shape.reduce((p, d) => p * d, 1)], 'embedding');
  return { graph: b.finish({ embedding }), used };
}

export const foamliu: Layout = {
  name: 'foamliu-mobilefacenet',
  project: 'foamliu/MobileFaceNet',
  means: 'MobileFaceNet with ReLU6 in place of PReLU, as a graph',
  convention: 'pytorch',
  has,
  names: /^(conv1|conv2)\.[01]\.|^(dw_conv|gdconv|conv3|bn)\.|^features\.\d+\.conv\.[0-3]\./,
  fit(tensors, source) {
    const units = Array.from({ length: countOf(tensors, 'features.') }, (_, i) =>
      unitAt(tensors, `features.${i}.conv.0.0.weight`, `features.${i}.conv.2.weight`, source),
    );
    const [first, second] = stageCounts(units, source);
    const [, , kh, kw] = shapeOf(tensors, 'gdconv.depthwise.weight', 4, source);
    const inputSize = [16 * kh!, 16 * kw!] as const;
    return {
      ...program(tensors, units, new Set([0, first + 1, first + second + 2]), inputSize, source),
      preprocessing: {
        colourOrder: 'RGB',
        mean: [0.485 * 255, 0.456 * 255, 0.406 * 255],
        scale: [1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)],
        inputSize,
      },
    };
  },
};
