/** MobileFaceNet as InsightFace's arcface_torch names it (`mbf`, `mbf_large`): nested `layers`. */
import { countOf, halves, type Layout, pytorchNames, renamer } from './layout.ts';
import { sharedOptions, type Unit, unitAt } from './mobileFaceNets.ts';

const block = renamer({ conv: 'layers.0', bn: 'layers.1', prelu: 'layers.2' });
const parts = ['expand', 'depthwise', 'project'];

export const arcfaceTorchMbf: Layout = {
  name: 'arcface-torch-mbf',
  project: 'InsightFace, arcface_torch',
  means: 'MobileFaceNet with wider maps and a dense layer at its end',
  convention: 'pytorch',
  has: [
    'layers.0.layers.0.weight',
    'layers.2.layers.0.layers.0.weight',
    'conv_sep.layers.0.weight',
    'features.layers.2.weight',
  ],
  names: /^layers\.[0-7]\.layers\.\d+\.|^conv_sep\.layers\.[012]\.|^features\.layers\.[023]\./,
  fit(tensors, source) {
    // layers.1 is the depthwise convolution, or units where there are several in the first stage.
    const several = tensors.has('layers.1.layers.0.layers.0.layers.0.weight');
    const stages = [
      several ? countOf(tensors, 'layers.1.layers.') : 0,
      ...[3, 5, 7].map((n) => countOf(tensors, `layers.${n}.layers.`)),
    ];
    const units = stages.flatMap((n, stage) => [
      ...(stage ? [`layers.${2 * stage}`] : []),
      ...Array.from({ length: n }, (_, k) => `layers.${2 * stage + 1}.layers.${k}`),
    ]);
    const at = (path: string): Unit =>
      unitAt(tensors, `${path}.layers.0.layers.0.weight`, `${path}.layers.2.layers.0.weight`, source);
    const names = { globalDepthwise: 'features.layers.0.layers.0.weight', embedding: 'features.layers.2.weight' };
    const outer: Readonly<Record<string, string>> = {
      stem: 'layers.0',
      stemDepthwise: 'layers.1',
      head: 'conv_sep',
      globalDepthwise: 'features.layers.0',
    };
    return {
      architecture: 'mobilefacenet',
      options: {
        ...sharedOptions(tensors, at('layers.2'), names, source),
        blocks: [several ? stages[0] : 1, ...stages.slice(1)],
        output: 'linear',
      },
      preprocessing: { colourOrder: 'RGB', ...halves },
      nameOf: pytorchNames((ours) => {
        const unit = /^blocks\.(\d+)\.(\w+)\.(.*)$/.exec(ours);
        if (unit)
          return `${units[Number(unit[1])] ?? `blocks.${unit[1]}`}.layers.${parts.indexOf(unit[2]!)}.${block(unit[3]!)}`;
        if (ours.startsWith('embedding.'))
          return renamer({ 'embedding.fc': 'features.layers.2', 'embedding.bn': 'features.layers.3' })(ours);
        const [first, ...rest] = ours.split('.');
        return `${outer[first!] ?? first}.${block(rest.join('.'))}`;
      }),
    };
  },
};
