/** MobileFaceNet as TreB1eN/InsightFace_Pytorch names it, and MultiFace and face.evoLVe after it: `conv_23`, `conv_3.model.N`. */
import { colourNote, countOf, halves, type Layout, pytorchNames, renamer } from './layout.ts';
import { sharedOptions, unitAt } from './mobileFaceNets.ts';

const parts = { expand: 'conv', depthwise: 'conv_dw', project: 'project' };

export const treb1enMobileFaceNet: Layout = {
  name: 'insightface-pytorch-mobilefacenet',
  project: 'TreB1eN/InsightFace_Pytorch, MultiFace',
  means: 'MobileFaceNet with a dense layer at its end',
  convention: 'pytorch',
  has: [
    'conv1.conv.weight',
    'conv2_dw.conv.weight',
    'conv_23.conv.conv.weight',
    'conv_6_dw.conv.weight',
    'linear.weight',
  ],
  names:
    /^(conv1|conv2_dw|conv_6_sep|conv_6_dw)\.(conv|bn|prelu)\.|^conv_(23|34|45)\.|^conv_[345]\.model\.\d+\.|^(linear|bn)\./,
  fit(tensors, source) {
    const counts = [3, 4, 5].map((n) => countOf(tensors, `conv_${n}.model.`)) as [number, number, number];
    /** Their path of each of our units. */
    const units = counts.flatMap((n, i) => [
      `conv_${i + 2}${i + 3}`,
      ...Array.from({ length: n }, (_, k) => `conv_${i + 3}.model.${k}`),
    ]);
    const outer = renamer({
      stem: 'conv1',
      stemDepthwise: 'conv2_dw',
      head: 'conv_6_sep',
      globalDepthwise: 'conv_6_dw',
      'embedding.fc': 'linear',
      'embedding.bn': 'bn',
    });
    const inner = renamer(parts);
    const first = unitAt(tensors, 'conv_23.conv.conv.weight', 'conv_23.project.conv.weight', source);
    const names = { globalDepthwise: 'conv_6_dw.conv.weight', embedding: 'linear.weight' };
    return {
      architecture: 'mobilefacenet',
      options: {
        ...sharedOptions(tensors, first, names, source),
        blocks: [1, ...counts],
        output: 'linear',
        init: 'fanIn',
      },
      preprocessing: { colourOrder: 'BGR', ...halves },
      nameOf: pytorchNames((ours) => {
        const unit = /^blocks\.(\d+)\.(.*)$/.exec(ours);
        return unit ? `${units[Number(unit[1])] ?? `blocks.${unit[1]}`}.${inner(unit[2]!)}` : outer(ours);
      }),
      notes: [colourNote('InsightFace_Pytorch')],
    };
  },
};
