/**
 * The networks of MobileFaceNet-Keras-K210, by the names of their layers.
 *
 * The one idea: stem and blocks have names of their own; the few layers behind them have Keras' (`batch_normalization_3`), which
 * count on from model to model, so they are taken in their order.
 */
import { DataError } from '../../core/errors.ts';
import { halves, type Layout, shapeOf, type Tensors } from './layout.ts';

const blocks = 15;
const norms: Readonly<Record<string, string>> = {
  weight: 'gamma',
  bias: 'beta',
  runningMean: 'moving_mean',
  runningVar: 'moving_variance',
};

/** Layers with a weight of that name that are none of the named ones, in the order of the file. */
const inOrder = (tensors: Tensors, weight: string): string[] =>
  [...tensors.keys()]
    .filter((n) => n.endsWith(`/${weight}`) && !/^conv(1|_[dp]w_\d+)(_bn)?\//.test(n))
    .map((n) => n.slice(0, n.indexOf('/')));

export const k210: Layout = {
  name: 'keras-k210',
  project: 'AIWintermuteAI/MobileFaceNet-Keras-K210',
  means: 'separable convolutions for small accelerators',
  convention: 'keras',
  has: ['conv1/kernel', 'conv_dw_0/depthwise_kernel', 'conv_pw_14/kernel', 'conv_pw_14_bn/gamma'],
  names: /^conv1(_bn)?\/|^conv_[dp]w_\d+(_bn)?\/|^(depthwise_conv2d|conv2d|batch_normalization|dense)(_v1)?(_\d+)?\//,
  fit(tensors, source) {
    const fail = (what: string): never => {
      throw new DataError(
        `${source}: expected the network of MobileFaceNet-Keras-K210, but ${what}\nSave the whole model (model.save) in place of its weights: it is read as a graph.`,
      );
    };
    if (tensors.has(`conv_pw_${blocks}/kernel`))
      fail(
        `it has ${blocks + 1} blocks or more, as that program's inference network has; the registered one has ${blocks}`,
      );
    const [global] = inOrder(tensors, 'depthwise_kernel');
    if (global === undefined) return fail('there is no depthwise layer behind its blocks');
    // A dense layer behind the embedding is the classifier of training.
    const [dense, ...classifiers] = inOrder(tensors, 'kernel').filter(
      (n) => tensors.get(`${n}/kernel`)!.shape.length === 2,
    );
    const convolutions = inOrder(tensors, 'kernel').filter((n) => tensors.get(`${n}/kernel`)!.shape.length === 4);
    if (dense === undefined) return fail('there is no dense layer for the embedding');
    if (convolutions.length > 2) fail(`there are ${convolutions.length} convolutions behind its blocks`);
    const form = (['s', 'm', 'full'] as const)[convolutions.length]!;
    const bns = inOrder(tensors, 'gamma');
    const parts = [
      ...(form === 'full' ? ['head'] : []),
      'globalDepthwise',
      ...(form === 's' ? [] : ['squeeze']),
      'embedding',
    ];
    if (bns.length !== parts.length)
      fail(`there are ${bns.length} batch norms behind its blocks, expected ${parts.length}`);
    const bnOf = new Map(parts.map((part, i) => [part, bns[i]!]));
    const [kh, kw] = shapeOf(tensors, `${global}/depthwise_kernel`, 4, source);
    const [, , , multiplier] = shapeOf(tensors, 'conv_dw_0/depthwise_kernel', 4, source);
    const [, , , stem] = shapeOf(tensors, 'conv1/kernel', 4, source);
    const [, embeddingSize] = shapeOf(tensors, `${dense}/kernel`, 2, source);
    const outer: Readonly<Record<string, string>> = {
      head: convolutions[0] ?? '',
      squeeze: convolutions.at(-1) ?? '',
      globalDepthwise: global,
    };
    return {
      architecture: 'k210',
      options: {
        form,
        width: stem! / 64,
        depthMultiplier: multiplier!,
        inputSize: [16 * kh!, 16 * kw!],
        embeddingSize,
      },
      preprocessing: { colourOrder: 'RGB', ...halves },
      ignored: new RegExp(`^(${['-', ...classifiers].join('|')})/`),
      nameOf(variable) {
        const path = variable.split('.');
        const leaf = path.pop()!;
        const [first, index, kind] = path as [string, string?, string?];
        if (first === 'fc') return `${dense}/${leaf === 'weight' ? 'kernel' : leaf}`;
        const isNorm = first === 'embedding' || path.at(-1) === 'bn';
        const block = kind === 'depthwise' ? `conv_dw_${index}` : `conv_pw_${index}`;
        if (isNorm) {
          const layer = first === 'blocks' ? `${block}_bn` : first === 'stem' ? 'conv1_bn' : bnOf.get(first);
          return `${layer}/${norms[leaf]}`;
        }
        const layer = first === 'blocks' ? block : first === 'stem' ? 'conv1' : outer[first];
        const depthwise = kind === 'depthwise' || first === 'globalDepthwise';
        return `${layer}/${leaf === 'bias' ? 'bias' : depthwise ? 'depthwise_kernel' : 'kernel'}`;
      },
      ...(classifiers.length && { notes: [`left out: ${classifiers.join(', ')}, the classifier of training`] }),
    };
  },
};
