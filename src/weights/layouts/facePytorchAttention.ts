/**
 * Residual attention networks as wujiyang/Face_Pytorch names them. Its units all have a shortcut convolution, which its forward
 * pass reads only where the map changes; the others are left out here. Its first stage adds mask and trunk (`sumFirst`).
 */
import { DataError } from '../../core/errors.ts';
import { agree, colourNote, halves, type Layout, pytorchNames, renamer, shapeOf, sidesOf } from './layout.ts';

/** Parts of a unit. */
const unit = {
  bn1: 'res_bottleneck.0',
  conv1: 'res_bottleneck.2',
  bn2: 'res_bottleneck.3',
  conv2: 'res_bottleneck.5',
  bn3: 'res_bottleneck.6',
  conv3: 'res_bottleneck.8',
};
/** Units of an attention module of each stage by our paths, and its gate. */
const modules = [
  {
    first: 'share_residual_block',
    'level.before': 'mask_block1',
    'level.skip': 'skip_connect1',
    'level.inner.before': 'mask_block2',
    'level.inner.skip': 'skip_connect2',
    'level.inner.inner.before': 'mask_block3.0',
    'level.inner.inner.after': 'mask_block3.1',
    'level.inner.after': 'mask_block4',
    'level.after': 'mask_block5',
    gate: 'mask_block6',
    last: 'last_block',
  },
  {
    first: 'first_residual_blocks',
    'level.before': 'softmax1_blocks',
    'level.skip': 'skip1_connection_residual_block',
    'level.inner.before': 'softmax2_blocks.0',
    'level.inner.after': 'softmax2_blocks.1',
    'level.after': 'softmax3_blocks',
    gate: 'softmax4_blocks',
    last: 'last_blocks',
  },
  {
    first: 'first_residual_blocks',
    'level.before': 'softmax1_blocks.0',
    'level.after': 'softmax1_blocks.1',
    gate: 'softmax2_blocks',
    last: 'last_blocks',
  },
] as const;

/** From our path inside an attention module to theirs. */
const inModule = modules.map(({ gate, ...parts }) =>
  renamer({
    ...Object.fromEntries(
      Object.entries({ ...parts, 'trunk.#': 'trunk_branches.#' }).flatMap(([ours, theirs]) => [
        [ours, theirs],
        ...Object.entries(unit).map(([part, name]) => [`${ours}.${part}`, `${theirs}.${name}`]),
      ]),
    ),
    bn1: `${gate}.0`,
    conv1: `${gate}.2`,
    bn2: `${gate}.3`,
    conv2: `${gate}.5`,
  }),
);
const inUnit = renamer(unit);
const outer = renamer({
  'stem.conv': 'conv1.0',
  'stem.bn': 'conv1.1',
  'output.bn': 'output_layer.0',
  'output.fc': 'output_layer.3',
  'output.embedding': 'output_layer.4',
});

export const facePytorchAttention: Layout = {
  name: 'face-pytorch-attention',
  project: 'wujiyang/Face_Pytorch (attention)',
  means: 'residual attention networks 56 and 92',
  convention: 'pytorch',
  has: ['conv1.0.weight', 'residual_block1.res_bottleneck.0.weight', 'attention_module1.mask_block1.shortcut.weight'],
  names: /^conv1\.[01]\.|^residual_block[1-6]\.|^attention_module[123](_[23])?\.|^output_layer\.[034]\./,
  fit(tensors, source) {
    const depth = tensors.has('attention_module3_3.last_blocks.shortcut.weight') ? 92 : 56;
    const counts = depth === 92 ? [1, 2, 3] : [1, 1, 1];
    const [stem] = shapeOf(tensors, 'conv1.0.weight', 4, source);
    const width = stem! / 64;
    let before = stem!;
    const channels = [1, 2, 3, 4].map((n) => {
      const [outputs, inputs] = shapeOf(tensors, `residual_block${n}.shortcut.weight`, 4, source);
      agree(source, `inputs of residual_block${n}`, before, inputs);
      before = outputs!;
      return outputs! / width;
    });
    const [embeddingSize, inputs] = shapeOf(tensors, 'output_layer.3.weight', 2, source);
    const positions = inputs! / before;
    if (!Number.isInteger(positions))
      throw new DataError(
        `${source}: expected a dense layer of a whole map of ${before} channels, got ${inputs} inputs\nIt is another network.`,
      );
    const [h, w] = sidesOf(positions);
    /** Their path of each of our body's parts, and the stage of those with attention. */
    const body: { path: string; stage?: number }[] = counts.flatMap((n, stage) => [
      { path: `residual_block${stage + 1}` },
      ...Array.from({ length: n }, (_, k) => ({ path: `attention_module${stage + 1}${k ? `_${k + 1}` : ''}`, stage })),
    ]);
    body.push(...[4, 5, 6].map((n) => ({ path: `residual_block${n}` })));
    return {
      architecture: 'residual-attention',
      options: { depth, channels, width, embeddingSize, inputSize: [16 * h, 16 * w], sumFirst: true },
      preprocessing: { colourOrder: 'BGR', ...halves },
      flattened: { 'output.fc.weight': [h, w] },
      ignored: /\.shortcut\.weight$/,
      nameOf: pytorchNames((ours) => {
        const part = /^body\.(\d+)\.(.*)$/.exec(ours);
        if (!part) return outer(ours);
        const { path, stage } = body[Number(part[1])]!;
        return `${path}.${(stage === undefined ? inUnit : inModule[stage]!)(part[2]!)}`;
      }),
      notes: [colourNote('Face_Pytorch')],
    };
  },
};
