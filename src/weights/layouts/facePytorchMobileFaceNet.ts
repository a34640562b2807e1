/** MobileFaceNet as xiaoccer/MobileFaceNet_Pytorch names it, and wujiyang/Face_Pytorch after it: `blocks.N.conv.K`. */
import { colourNote, countOf, halves, type Layout, pytorchNames, renamer } from './layout.ts';
import { sharedOptions, stageCounts, unitAt } from './mobileFaceNets.ts';

const path = renamer({
  stem: 'conv1',
  stemDepthwise: 'dw_conv1',
  'blocks.#.expand.conv': 'blocks.#.conv.0',
  'blocks.#.expand.bn': 'blocks.#.conv.1',
  'blocks.#.expand.prelu': 'blocks.#.conv.2',
  'blocks.#.depthwise.conv': 'blocks.#.conv.3',
  'blocks.#.depthwise.bn': 'blocks.#.conv.4',
  'blocks.#.depthwise.prelu': 'blocks.#.conv.5',
  'blocks.#.project.conv': 'blocks.#.conv.6',
  'blocks.#.project.bn': 'blocks.#.conv.7',
  head: 'conv2',
  globalDepthwise: 'linear7',
  embedding: 'linear1',
});

export const facePytorchMobileFaceNet: Layout = {
  name: 'face-pytorch-mobilefacenet',
  project: 'xiaoccer/MobileFaceNet_Pytorch and wujiyang/Face_Pytorch',
  means: 'MobileFaceNet with a linear 1x1 convolution at its end',
  convention: 'pytorch',
  has: [
    'conv1.conv.weight',
    'dw_conv1.conv.weight',
    'blocks.0.conv.0.weight',
    'linear7.conv.weight',
    'linear1.conv.weight',
  ],
  names: /^(conv1|dw_conv1|conv2|linear7|linear1)\.(conv|bn|prelu)\.|^blocks\.\d+\.conv\.[0-7]\./,
  fit(tensors, source) {
    const units = Array.from({ length: countOf(tensors, 'blocks.') }, (_, i) =>
      unitAt(tensors, `blocks.${i}.conv.0.weight`, `blocks.${i}.conv.6.weight`, source),
    );
    const names = { globalDepthwise: 'linear7.conv.weight', embedding: 'linear1.conv.weight' };
    const shared = sharedOptions(tensors, units[0]!, names, source);
    // The parent project's crops are narrower, RGB, and scaled by 1/128; its successor trains on square ones in BGR.
    const narrower = shared.inputSize[1] < shared.inputSize[0];
    return {
      architecture: 'mobilefacenet',
      options: { ...shared, blocks: [1, ...stageCounts(units, source)], init: 'fanOut' },
      preprocessing: narrower ? { colourOrder: 'RGB', mean: 127.5, scale: 1 / 128 } : { colourOrder: 'BGR', ...halves },
      nameOf: pytorchNames(path),
      notes: narrower ? [] : [colourNote('Face_Pytorch')],
    };
  },
};
