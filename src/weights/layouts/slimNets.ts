/**
 * Networks written with TensorFlow's slim, by the names of their variables: MobileFaceNet of sirius-ai/MobileFaceNet_TF and its
 * descendants, and the residual networks v2-m of InsightFace-tensorflow.
 *
 * The one idea: slim numbers the layers of a kind in the order they were made (`Conv`, `Conv_1`, …) where no one names them,
 * so a unit's place gives its layers' names. Axes are ours already: HWIO, depthwise HWC1, dense [in, out].
 */
import { DataError } from '../../core/errors.ts';
import { agree, type Layout, shapeOf, type Tensors } from './layout.ts';
import { stageCounts, type Unit } from './mobileFaceNets.ts';

const batchNorm: Readonly<Record<string, string>> = {
  weight: 'gamma',
  bias: 'beta',
  runningMean: 'moving_mean',
  runningVar: 'moving_variance',
};

/** Slim's first name of a kind has no number. */
const numbered = (kind: string, n: number) => (n === 0 ? kind : `${kind}_${n}`);

/** A variable of one of our convolutions with batch norm and activation, under slim's name of the layer. */
function blockName(layer: string, part: string, leaf: string, depthwise: boolean): string {
  if (part === 'bn') return `${layer}/BatchNorm/${batchNorm[leaf]}`;
  if (part === 'prelu') return `${layer}/prelu_alphas`;
  return `${layer}/${leaf === 'bias' ? 'biases' : depthwise ? 'depthwise_weights' : 'weights'}`;
}

/** How many layers of a numbered kind there are. */
function countLayers(tensors: Tensors, root: string, kind: string, leaf: string): number {
  let n = 0;
  while (tensors.has(`${root}/${numbered(kind, n)}/${leaf}`)) n++;
  return n;
}

const mobileRoot = 'MobileFaceNet';

export const mobileFaceNetTf: Layout = {
  name: 'mobilefacenet-tf',
  project: 'sirius-ai/MobileFaceNet_TF',
  means: 'MobileFaceNet with two more linear layers and SAME padding',
  convention: 'tensorflow',
  has: [
    `${mobileRoot}/Conv2d_0/weights`,
    `${mobileRoot}/SeparableConv2d/depthwise_weights`,
    `${mobileRoot}/Conv2d_7/weights`,
    `${mobileRoot}/Logits/LinearConv1x1/weights`,
  ],
  names:
    /^MobileFaceNet\/(Conv2d_[07]|Conv(_\d+)?|SeparableConv2d(_\d+)?|Logits\/(SeparableConv2d|Conv|LinearConv1x1))\/(weights|depthwise_weights|prelu_alphas|BatchNorm\/\w+)$/,
  fit(tensors, source) {
    const count = countLayers(tensors, mobileRoot, 'SeparableConv2d', 'depthwise_weights') - 1;
    const units = Array.from({ length: count }, (_, i): Unit => {
      const [, , inputs, wide] = shapeOf(tensors, `${mobileRoot}/Conv_${2 * i + 1}/weights`, 4, source);
      const [, , , outputs] = shapeOf(tensors, `${mobileRoot}/Conv_${2 * i + 2}/weights`, 4, source);
      return { inputs: inputs!, wide: wide!, outputs: outputs! };
    });
    const counts = stageCounts(units, source);
    const [kh, kw, channels] = shapeOf(tensors, `${mobileRoot}/Logits/SeparableConv2d/depthwise_weights`, 4, source);
    const [, , , embeddingSize] = shapeOf(tensors, `${mobileRoot}/Logits/LinearConv1x1/weights`, 4, source);
    const narrow = units[0]!.wide / 2;
    agree(source, 'channels before the global layer', 8 * narrow, channels);
    const outer: Readonly<Record<string, readonly [layer: string, depthwise: boolean]>> = {
      stem: ['Conv2d_0', false],
      stemDepthwise: ['SeparableConv2d', true],
      stemLinear: ['Conv', false],
      head: ['Conv2d_7', false],
      globalDepthwise: ['Logits/SeparableConv2d', true],
      globalLinear: ['Logits/Conv', false],
      embedding: ['Logits/LinearConv1x1', false],
    };
    return {
      architecture: 'mobilefacenet',
      options: {
        embeddingSize,
        inputSize: [16 * kh!, 16 * kw!],
        width: narrow / 64,
        blocks: [1, ...counts],
        linears: true,
        padding: 'same',
        bnEps: 2e-5,
        bnMomentum: 0.005,
        init: 'xavier',
      },
      preprocessing: { colourOrder: 'RGB', mean: 127.5, scale: 1 / 128 },
      // The head's class weights, under the name of the loss.
      ignored: /(^|\/)embedding_weights$/,
      nameOf(variable) {
        const unit = /^blocks\.(\d+)\.(expand|depthwise|project)\.(\w+)\.(\w+)$/.exec(variable);
        if (unit) {
          const [, i, kind, part, leaf] = unit as unknown as [string, string, string, string, string];
          const n = Number(i);
          const layer =
            kind === 'depthwise' ? `SeparableConv2d_${n + 1}` : `Conv_${2 * n + (kind === 'expand' ? 1 : 2)}`;
          return `${mobileRoot}/${blockName(layer, part, leaf, kind === 'depthwise')}`;
        }
        const [first, part, leaf] = variable.split('.') as [string, string, string];
        const [layer, depthwise] = outer[first]!;
        return `${mobileRoot}/${blockName(layer, part, leaf, depthwise)}`;
      },
    };
  },
};

const residualRoot = 'embd_extractor';
/** Units of the four blocks by the depth; v2-m-50's have two 3x3 convolutions. */
const depths: readonly (readonly [depth: number, units: string])[] = [
  [50, '3,4,14,3'],
  [101, '3,4,23,3'],
  [152, '3,8,36,3'],
  [200, '3,24,36,3'],
];

export const slimResNetTf: Layout = {
  name: 'insightface-tensorflow',
  project: 'luckycallor/InsightFace-tensorflow',
  means: 'residual networks v2-m with output E',
  convention: 'tensorflow',
  has: [
    `${residualRoot}/BatchNorm/gamma`,
    `${residualRoot}/fully_connected/weights`,
    `${residualRoot}/BatchNorm_1/moving_mean`,
  ],
  names:
    /^embd_extractor\/(resnet_v2_\d+\/(conv1|block[1-4]\/unit_\d+\/(block|bottleneck)_v2\/\w+)|BatchNorm(_1)?|fully_connected)\//,
  fit(tensors, source) {
    const stem = [...tensors.keys()].find((n) => /^embd_extractor\/resnet_v2_\d+\/conv1\/weights$/.test(n));
    const root = stem?.replace('/conv1/weights', '') ?? `${residualRoot}/resnet_v2_50`;
    const basic = tensors.has(`${root}/block1/unit_1/block_v2/preact/beta`);
    const unitName = basic ? 'block_v2' : 'bottleneck_v2';
    const counts = [1, 2, 3, 4].map((block) => {
      let n = 0;
      while (tensors.has(`${root}/block${block}/unit_${n + 1}/${unitName}/preact/beta`)) n++;
      return n;
    });
    const depth = depths.find(([d, units]) => units === counts.join() && (d === 50) === basic)?.[0];
    if (depth === undefined)
      throw new DataError(
        `${source}: expected the units of a residual network v2-m (${depths.map(([, u]) => u).join('; ')}), got ${counts}\nIt is another network: freeze it as a graph (.pb) and import that.`,
      );
    const [features, embeddingSize] = shapeOf(tensors, `${residualRoot}/fully_connected/weights`, 2, source);
    const [channels] = shapeOf(tensors, `${residualRoot}/BatchNorm/gamma`, 1, source);
    const side = 16 * Math.sqrt(features! / channels!);
    const places = counts.flatMap((n, block) =>
      Array.from({ length: n }, (_, k) => `block${block + 1}/unit_${k + 1}/${unitName}`),
    );
    return {
      architecture: 'slim-resnet',
      options: {
        version: 'v2-m',
        depth,
        output: 'E',
        embeddingSize,
        ...(Number.isInteger(side) && { inputSize: [side, side] }),
      },
      preprocessing: { colourOrder: 'RGB', mean: 127.5, scale: 1 / 127.5 },
      ignored: /(^|\/)classify_weight$|^logits\//,
      nameOf(variable) {
        const path = variable.split('.');
        const leaf = path.at(-1)!;
        const plain = leaf === 'bias' ? 'biases' : 'weights';
        if (path[0] === 'stem') return `${root}/conv1/${plain}`;
        if (path[0] === 'output') {
          if (path[1] === 'fc') return `${residualRoot}/fully_connected/${plain}`;
          return `${residualRoot}/${path[1] === 'bn' ? 'BatchNorm' : 'BatchNorm_1'}/${batchNorm[leaf]}`;
        }
        const unit = `${root}/${places[Number(path[1])]}`;
        const layer = path[2]!;
        if (layer === 'preact') return `${unit}/preact/${batchNorm[leaf]}`;
        if (layer === 'shortcut') return `${unit}/shortcut/${plain}`;
        if (layer === 'last') return `${unit}/${basic ? 'conv2' : 'conv3'}/${plain}`;
        return `${unit}/${blockName(layer, path[3]!, leaf, false)}`;
      },
    };
  },
};
