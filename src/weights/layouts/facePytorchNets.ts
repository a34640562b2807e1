/** Face_Pytorch's other networks by name: its ResNets (torchvision's names, with `output_layer`) and its SphereNets. */
import { DataError } from '../../core/errors.ts';
import {
  agree,
  colourNote,
  countOf,
  halves,
  type Layout,
  pytorchNames,
  renamer,
  shapeOf,
  sidesOf,
  type Tensors,
} from './layout.ts';

const counts = (tensors: Tensors) => [1, 2, 3, 4].map((stage) => countOf(tensors, `layer${stage}.`));

const depths: Readonly<Record<string, number>> = {
  'basic 2,2,2,2': 18,
  'basic 3,4,6,3': 34,
  'bottleneck 3,4,6,3': 50,
  'bottleneck 3,4,23,3': 101,
  'bottleneck 3,8,36,3': 152,
};

export const facePytorchResNet: Layout = {
  name: 'face-pytorch-resnet',
  project: "wujiyang/Face_Pytorch (resnet), after torchvision's names",
  means: 'ResNet-18 to -152 with a 3x3 stem and a dense output',
  convention: 'pytorch',
  has: ['conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight', 'layer1.0.bn2.weight', 'output_layer.3.weight'],
  names: /^(conv1|bn1)\.|^layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample)\.|^output_layer\.[034]\./,
  fit(tensors, source) {
    const bottleneck = tensors.has('layer1.0.conv3.weight');
    const table = `${bottleneck ? 'bottleneck' : 'basic'} ${counts(tensors).join()}`;
    const depth = depths[table];
    if (depth === undefined)
      throw new DataError(
        `${source}: expected the units of a ResNet of depth ${Object.values(depths).join(', ')}, got ${table}\nConvert it as a graph, for example from ONNX.`,
      );
    const [stem] = shapeOf(tensors, 'conv1.weight', 4, source);
    const [embeddingSize, inputs] = shapeOf(tensors, 'output_layer.3.weight', 2, source);
    const channels = tensors.get('output_layer.0.weight')?.shape[0] ?? 0;
    agree(source, 'channels of the last map', stem! * 8 * (bottleneck ? 4 : 1), channels);
    agree(
      source,
      'outputs of the last 3x3 convolution',
      stem! * 8,
      shapeOf(tensors, 'layer4.1.conv2.weight', 4, source)[0],
    );
    const [h, w] = sidesOf(Math.max(1, Math.round(inputs! / channels)));
    const paths = counts(tensors).flatMap((n, stage) => Array.from({ length: n }, (_, i) => `layer${stage + 1}.${i}`));
    const outer = renamer({
      'stem.conv': 'conv1',
      'stem.bn': 'bn1',
      'output.bn': 'output_layer.0',
      'output.fc': 'output_layer.3',
      'output.embedding': 'output_layer.4',
    });
    const inner = (path: string) =>
      path
        .replace(/^branch\.(\d)\.(conv|bn)/, (_, n, kind) => `${kind}${Number(n) + 1}`)
        .replace(/^shortcut\.(conv|bn)/, (_, kind) => `downsample.${kind === 'conv' ? 0 : 1}`);
    return {
      architecture: 'resnet',
      options: { depth, embeddingSize, inputSize: [16 * h, 16 * w], width: stem! / 64 },
      preprocessing: { colourOrder: 'BGR', ...halves },
      flattened: { 'output.fc.weight': [h, w] },
      nameOf: pytorchNames((ours) => {
        const unit = /^units\.(\d+)\.(.*)$/.exec(ours);
        return unit ? `${paths[Number(unit[1])] ?? `units.${unit[1]}`}.${inner(unit[2]!)}` : outer(ours);
      }),
      notes: [colourNote('Face_Pytorch')],
    };
  },
};

const sphereDepths: Readonly<Record<string, number>> = { '1,2,4,1': 20, '2,4,8,2': 36, '3,7,16,3': 62, '3,8,16,3': 64 };

export const facePytorchSphereNet: Layout = {
  name: 'face-pytorch-spherenet',
  project: 'wujiyang/Face_Pytorch (spherenet)',
  means: 'SphereNet with batch norm',
  convention: 'pytorch',
  has: ['layer1.0.bias', 'layer1.2.weight', 'layer1.3.prelu1.weight', 'last_bn.running_mean'],
  names: /^layer[1-4]\.([012]\.|\d+\.(conv|bn|prelu)[12]\.)|^(fc|last_bn)\./,
  fit(tensors, source) {
    // Each stage begins with a convolution, its batch norm and its PReLU.
    const units = counts(tensors).map((n) => n - 3);
    const depth = sphereDepths[units.join()];
    if (depth === undefined)
      throw new DataError(
        `${source}: expected the units of SphereNet-${Object.values(sphereDepths).join(', -')}, got ${units.join()}\nConvert it as a graph, for example from ONNX.`,
      );
    const [first] = shapeOf(tensors, 'layer1.0.weight', 4, source);
    const [last, before] = shapeOf(tensors, 'layer4.0.weight', 4, source);
    agree(source, 'outputs of layer4.0', 8 * first!, last);
    agree(source, 'inputs of layer4.0', 4 * first!, before);
    const [embeddingSize, inputs] = shapeOf(tensors, 'fc.weight', 2, source);
    const [h, w] = sidesOf(Math.max(1, Math.round(inputs! / last!)));
    const paths = units.flatMap((n, stage) => [
      undefined,
      ...Array.from({ length: n }, (_, i) => `layer${stage + 1}.${i + 3}`),
    ]);
    const stageOf = (layer: number) => `layer${paths.slice(0, layer + 1).filter((p) => p === undefined).length}`;
    return {
      architecture: 'spherenet',
      options: { depth, embeddingSize, inputSize: [16 * h, 16 * w], width: first! / 64 },
      preprocessing: { colourOrder: 'BGR', ...halves },
      flattened: { 'fc.weight': [h, w] },
      nameOf: pytorchNames((ours) => {
        const layer = /^layers\.(\d+)\.(.*)$/.exec(ours);
        if (!layer) return renamer({ embedding: 'last_bn' })(ours);
        const n = Number(layer[1]);
        const unit = paths[n];
        if (unit === undefined) return `${stageOf(n)}.${['conv', 'bn', 'prelu'].indexOf(layer[2]!)}`;
        return `${unit}.${layer[2]!.replace(/^layer(\d)\.(\w+)$/, '$2$1')}`;
      }),
      notes: [colourNote('Face_Pytorch')],
    };
  },
};
