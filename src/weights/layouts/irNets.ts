/**
 * IR networks by name: `input_layer`, `body.N.res_layer.K`, `output_layer` of TreB1eN/InsightFace_Pytorch, MultiFace,
 * face.evoLVe, AdaFace and Face_Pytorch's arcfacenet; the same with `layer1.N` to `layer4.N` in Face_Pytorch's CBAM networks; and
 * iresnet of InsightFace's arcface_torch (`layer1.N.bn1` …, `fc`, `features`).
 */
import { DataError } from '../../core/errors.ts';
import { unitsOf } from '../../models/irNet.ts';
import {
  agree,
  colourNote,
  countOf,
  halves,
  type Layout,
  type NetworkFit,
  pytorchNames,
  renamer,
  shapeOf,
  sidesOf,
  type Tensors,
} from './layout.ts';

/** One unit of theirs. */
interface IrUnitShape {
  readonly path: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** Depth, or the units themselves where no depth has them. */
function depthOptions(counts: readonly number[]): Readonly<Record<string, unknown>> {
  const depth = Object.entries(unitsOf).find(([, units]) => units.every((n, i) => n === counts[i]))?.[0];
  return depth === undefined ? { units: counts } : { depth: Number(depth) };
}

/** What all have: stages by the channels that units give, and the output E from its dense layer. */
function irFit(
  tensors: Tensors,
  units: readonly IrUnitShape[],
  names: { readonly stem: string; readonly fc: string },
  source: string,
): Pick<NetworkFit, 'architecture' | 'flattened'> & { readonly options: Readonly<Record<string, unknown>> } {
  const counts: number[] = [];
  const channels: number[] = [];
  const [stem] = shapeOf(tensors, names.stem, 4, source);
  let before = stem!;
  for (const { path, inputs, outputs } of units) {
    agree(source, `inputs of ${path}`, before, inputs);
    before = outputs;
    if (outputs !== inputs || counts.length === 0) {
      counts.push(1);
      channels.push(outputs);
    } else counts[counts.length - 1]!++;
  }
  const [embeddingSize, inputs] = shapeOf(tensors, names.fc, 2, source);
  const positions = inputs! / channels.at(-1)!;
  if (counts.length !== 4 || !Number.isInteger(positions))
    throw new DataError(
      `${source}: expected units of four widths before a dense layer of a whole map, got widths ${channels.join(', ')} and ${inputs} inputs\nIts table is none of ArcFace's: convert it as a graph, for example from ONNX.`,
    );
  const [h, w] = sidesOf(positions);
  const width = stem! / 64;
  return {
    architecture: 'ir',
    options: {
      ...depthOptions(counts),
      channels: channels.map((c) => c / width),
      width,
      embeddingSize,
      inputSize: [16 * h, 16 * w],
    },
    flattened: { 'output.fc.weight': [h, w] },
  };
}

/** Units of `res_layer`: batch norms, PReLU, attention are told apart by what their tensors are called. */
function resLayerFit(tensors: Tensors, paths: readonly string[], project: string, source: string): NetworkFit {
  const middle = tensors.has(`${paths[0]}.res_layer.2.running_mean`);
  const [prelu, conv2, bn3, attention] = middle ? [3, 4, 5, 6] : [2, 3, 4, 5];
  const units = paths.map((path) => {
    const [outputs, inputs] = shapeOf(tensors, `${path}.res_layer.1.weight`, 4, source);
    return { path, inputs: inputs!, outputs: outputs! };
  });
  const shape = irFit(tensors, units, { stem: 'input_layer.0.weight', fc: 'output_layer.3.weight' }, source);
  const inAttention = `${paths[0]}.res_layer.${attention}`;
  const found = tensors.has(`${inAttention}.fc1.weight`)
    ? 'se'
    : tensors.has(`${inAttention}.shared_mlp.0.weight`)
      ? tensors.has(`${paths[0]}.res_layer.${attention! + 1}.conv.weight`)
        ? 'cbam'
        : 'cam'
      : tensors.has(`${inAttention}.conv.weight`)
        ? 'sam'
        : 'none';
  const squeeze = tensors.get(`${inAttention}.fc1.weight`) ?? tensors.get(`${inAttention}.shared_mlp.0.weight`);
  const inner = renamer({
    bn1: 'res_layer.0',
    conv1: 'res_layer.1',
    bn2: 'res_layer.2',
    prelu: `res_layer.${prelu}`,
    conv2: `res_layer.${conv2}`,
    bn3: `res_layer.${bn3}`,
    attention: `res_layer.${attention}`,
    ...((found === 'cam' || found === 'cbam') && {
      [`attention${found === 'cbam' ? '.channel' : ''}.fc1`]: `res_layer.${attention}.shared_mlp.0`,
      [`attention${found === 'cbam' ? '.channel' : ''}.fc2`]: `res_layer.${attention}.shared_mlp.2`,
      'attention.spatial': `res_layer.${attention! + 1}`,
    }),
    'shortcut.conv': 'shortcut_layer.0',
    'shortcut.bn': 'shortcut_layer.1',
  });
  const outer = renamer({
    'stem.conv': 'input_layer.0',
    'stem.bn': 'input_layer.1',
    'stem.prelu': 'input_layer.2',
    'output.bn': 'output_layer.0',
    'output.fc': 'output_layer.3',
    'output.embedding': 'output_layer.4',
  });
  return {
    ...shape,
    // AdaFace's last batch norm only normalises.
    absent: { 'output.embedding.weight': 1, 'output.embedding.bias': 0 },
    options: {
      ...shape.options,
      attention: found,
      ...(squeeze && { reduction: Math.round(squeeze.shape[1]! / squeeze.shape[0]!) }),
      midBatchNorm: middle,
      shortcut: tensors.has(`${paths[0]}.shortcut_layer.0.weight`) ? 'conv' : 'pool',
    },
    preprocessing: { colourOrder: 'BGR', ...halves },
    nameOf: pytorchNames((ours) => {
      const unit = /^units\.(\d+)\.(.*)$/.exec(ours);
      return unit ? `${paths[Number(unit[1])] ?? `units.${unit[1]}`}.${inner(unit[2]!)}` : outer(ours);
    }),
    notes: [colourNote(project)],
  };
}

export const irBody: Layout = {
  name: 'insightface-pytorch-ir',
  project: 'TreB1eN/InsightFace_Pytorch, MultiFace, face.evoLVe, AdaFace, Face_Pytorch (arcfacenet)',
  means: 'IR and IR-SE networks, with a batch norm in the middle of units or without',
  convention: 'pytorch',
  has: ['input_layer.0.weight', 'body.0.res_layer.0.weight', 'output_layer.3.weight'],
  names: /^input_layer\.[012]\.|^body\.\d+\.(res_layer|shortcut_layer)\.|^output_layer\.[034]\./,
  fit: (tensors, source) =>
    resLayerFit(
      tensors,
      Array.from({ length: countOf(tensors, 'body.') }, (_, i) => `body.${i}`),
      'InsightFace_Pytorch',
      source,
    ),
};

const stages = (tensors: Tensors) =>
  [1, 2, 3, 4].flatMap((stage) =>
    Array.from({ length: countOf(tensors, `layer${stage}.`) }, (_, i) => `layer${stage}.${i}`),
  );

export const facePytorchCbam: Layout = {
  name: 'face-pytorch-cbam',
  project: 'wujiyang/Face_Pytorch (cbam)',
  means: 'IR networks without attention or with SE, CAM, SAM or CBAM',
  convention: 'pytorch',
  has: ['input_layer.0.weight', 'layer1.0.res_layer.0.weight', 'output_layer.3.weight'],
  names: /^input_layer\.[012]\.|^layer[1-4]\.\d+\.(res_layer|shortcut_layer)\.|^output_layer\.[034]\./,
  fit: (tensors, source) => resLayerFit(tensors, stages(tensors), 'Face_Pytorch', source),
};

const iresnetOuter = renamer({
  'stem.conv': 'conv1',
  'stem.bn': 'bn1',
  'stem.prelu': 'prelu',
  'output.bn': 'bn2',
  'output.fc': 'fc',
  'output.embedding': 'features',
});
const iresnetInner = renamer({ 'shortcut.conv': 'downsample.0', 'shortcut.bn': 'downsample.1' });

export const iresnet: Layout = {
  name: 'arcface-torch-iresnet',
  project: 'InsightFace, arcface_torch',
  means: 'iresnet18 to iresnet200 (r18 … r200), dense output',
  convention: 'pytorch',
  has: ['conv1.weight', 'prelu.weight', 'layer1.0.prelu.weight', 'fc.weight', 'features.running_mean'],
  names: /^(conv1|bn1|prelu|bn2|fc|features)\.|^layer[1-4]\.\d+\.(bn[123]|conv[12]|prelu|downsample)\./,
  fit(tensors, source) {
    const paths = stages(tensors);
    const units = paths.map((path) => {
      const [outputs, inputs] = shapeOf(tensors, `${path}.conv1.weight`, 4, source);
      return { path, inputs: inputs!, outputs: outputs! };
    });
    return {
      ...irFit(tensors, units, { stem: 'conv1.weight', fc: 'fc.weight' }, source),
      preprocessing: { colourOrder: 'RGB', ...halves },
      nameOf: pytorchNames((ours) => {
        const unit = /^units\.(\d+)\.(.*)$/.exec(ours);
        return unit ? `${paths[Number(unit[1])] ?? `units.${unit[1]}`}.${iresnetInner(unit[2]!)}` : iresnetOuter(ours);
      }),
    };
  },
};
