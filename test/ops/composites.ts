/**
 * Problems beside the records' own samples: operations made of other ops, and shapes large enough that every kernel family
 * splits its work into several chunks.
 */
import { fold, keyOf } from '../../src/core/random.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import { grad } from '../../src/grad.ts';
import type { SampleInput } from '../../src/ops/define.ts';
import * as ops from '../../src/ops/index.ts';
import { draw, type Problem } from './harness.ts';

type Build = (...x: Tensor[]) => Tensor | readonly Tensor[];

function problem(
  name: string,
  inputs: readonly (SampleInput | readonly number[])[],
  build: Build,
  noGradient?: string,
): [string, Problem[]] {
  const specs = inputs.map((s) => (Array.isArray(s) ? { shape: s as readonly number[] } : (s as SampleInput)));
  const p: Problem = {
    name,
    inputs: specs.map((s, k) => draw(s, fold(fold(keyOf(25), name), k))),
    build(x) {
      const y = build(...x);
      return Array.isArray(y) ? y : [y as Tensor];
    },
    ...(noGradient ? { noGradient } : {}),
  };
  return [name, [p]];
}

const labels = (n: number, classes: number): SampleInput => ({ shape: [n], dtype: 'i32', range: [0, classes] });
const key: SampleInput = { shape: [2], dtype: 'i32', values: [5, 6] };

export const composites = (): Map<string, Problem[]> =>
  new Map([
    problem('softmax', [[3, 17]], ops.softmax),
    problem('logSoftmax', [[3, 17]], ops.logSoftmax),
    problem('logSumExp.last', [{ shape: [3, 17], range: [-30, 30] }], (x) => ops.logSumExp(x!, -1)),
    problem('logSumExp.keep', [[2, 5, 3]], (x) => ops.logSumExp(x!, [0, 1], true)),
    problem('l2Normalize', [[4, 9]], (x) => ops.l2Normalize(x!)),
    problem('crossEntropy', [[9, 5], labels(9, 5)], (x, y) => ops.crossEntropy(x!, y!)),
    problem('crossEntropy.smooth', [[9, 5], labels(9, 5)], (x, y) => ops.crossEntropy(x!, y!, { labelSmoothing: 0.1 })),
    problem('hits', [{ shape: [9, 5], distinct: 0.1 }, labels(9, 5)], (x, y) => ops.hits(x!, y!)),
    problem('batchNorm', [[2, 3, 4, 9], [9], [9]], (x, w, b) => ops.batchNorm(x!, w!, b!).y),
    problem('normalize', [[2, 3, 9], [9], { shape: [9], range: [0.5, 2] }, [9], [9]], (x, m, v, w, b) =>
      ops.normalize(x!, m!, v!, w!, b!, 1e-3),
    ),
    problem('globalAvgPool', [[3, 5, 4, 7]], ops.globalAvgPool),
    problem('linear', [[2, 3, 5], [5, 9], [9]], ops.linear),
    problem('linear.noBias', [[1], [1, 4]], (x, w) => ops.linear(x!, w!)),
    problem('dropout', [[3, 17], key], (x, k) => ops.dropout(x!, 0.3, { training: true, key: k }, 4)),
    problem('clamp', [{ shape: [5, 9], range: [-3, 3] }], (x) => ops.clamp(x!, -1, 2)),
    problem('leakyRelu', [[5, 9]], (x) => ops.leakyRelu(x!, 0.2)),
    problem('broadcastTo', [[3, 1]], (x) => ops.broadcastTo(x!, [2, 3, 7])),
    problem('cast.truncate', [{ shape: [9], range: [-9, 9] }], (x) => ops.cast(x!, 'i32')),
    problem('cast.saturate', [{ shape: [33], range: [-99, 400] }], (x) => ops.cast(x!, 'u8')),
    problem(
      'cast.special',
      [{ shape: [5], values: [1e30, -1e30, Number.NaN, Number.POSITIVE_INFINITY, -0.9] }],
      (x) => [ops.cast(x!, 'i32'), ops.cast(x!, 'u8'), ops.cast(x!, 'bool')],
    ),
    problem('cast.bool', [{ shape: [5], values: [0, -0, 1, -2, 0.5] }], (x) => [
      ops.cast(x!, 'bool'),
      ops.cast(ops.cast(x!, 'bool'), 'f32'),
    ]),
    problem('cast.fromBytes', [{ shape: [3, 17], dtype: 'u8' }], (x) => ops.mul(ops.sub(x!, 127.5), 1 / 128)),
    problem('reduce.apart', [[2, 3, 4, 5]], (x) => [ops.sum(x!, [0, 2]), ops.mean(x!, [1, -1], true)]),
    problem(
      'max.ties',
      [{ shape: [4, 6], values: Array.from({ length: 24 }, (_, i) => i % 7) }],
      (x) => [ops.max(x!, 1), ops.min(x!, 0)],
      'equal values',
    ),
    problem('slice.negative', [[7, 9]], (x) => ops.slice(x!, -1, -8, -1, 3)),
    problem('second derivative', [[5, 9]], (x) => grad(ops.sum(ops.mul(ops.tanh(x!), ops.exp(x!))), [x!])),
    problem('second derivative of maxPool', [{ shape: [1, 5, 6, 2], distinct: 0.05 }], (x) =>
      grad(ops.sum(ops.square(ops.maxPool(x!, { kernel: 3, stride: 2, padding: 1 }))), [x!]),
    ),
    problem(
      'second derivative of conv2d',
      [
        [1, 4, 5, 2],
        [3, 2, 2, 3],
      ],
      (x, w) => grad(ops.sum(ops.tanh(ops.conv2d(x!, w!, { padding: 1 }))), [x!, w!]),
    ),
    problem('moments.variance', [[7, 5]], (x) => [ops.moments(x!)[1]]),
    problem('topK.rows', [{ shape: [5, 40], distinct: 0.01 }], (x) => ops.mul(ops.topK(x!, 3).values, 2)),
  ]);

/** Too many elements for central differences; their gradients are compared with the reference's. */
export const large = (): Map<string, Problem[]> =>
  new Map([
    problem('large pointwise', [[97, 31, 17], [17], [97, 1, 1]], (x, a, b) =>
      ops.mul(ops.tanh(ops.add(x!, a!)), ops.exp(b!)),
    ),
    problem('large sum of rows', [[300, 401]], (x) => ops.sum(ops.square(x!), 1)),
    problem('large sum of columns', [[2001, 33]], (x) => [ops.sum(x!, 0), ops.mean(ops.square(x!), 0)]),
    problem('large sum of all', [[7, 9000]], (x) => [ops.sum(x!), ops.logSumExp(x!)]),
    problem('large moments', [{ shape: [3000, 24], range: [0, 2] }], (x) => ops.moments(x!)),
    problem(
      'large matmul',
      [
        [130, 100],
        [100, 150],
      ],
      (a, b) => ops.matmul(a!, b!),
    ),
    problem(
      'large matmul, deep',
      [
        [3000, 17],
        [3000, 20],
      ],
      (a, b) => ops.matmul(a!, b!, { transA: true }),
    ),
    problem(
      'large matmul, batched',
      [
        [40, 17, 20],
        [33, 20],
      ],
      (a, b) => ops.matmul(a!, b!, { transB: true }),
    ),
    problem('large matmul with a tail', [[500, 24], [24, 40], [40], [40]], (x, w, b, a) =>
      ops.prelu(ops.add(ops.matmul(x!, w!), b!), a!),
    ),
    problem(
      'large conv2d',
      [
        [2, 20, 21, 5],
        [3, 3, 5, 16],
      ],
      (x, w) => ops.conv2d(x!, w!, { padding: 1 }),
    ),
    problem(
      'large conv2d, strided',
      [
        [2, 33, 31, 3],
        [3, 3, 3, 24],
      ],
      (x, w) => ops.conv2d(x!, w!, { padding: 1, stride: 2 }),
    ),
    problem(
      'large conv2d, 1x1',
      [
        [2, 24, 25, 16],
        [1, 1, 16, 40],
      ],
      (x, w) => ops.conv2d(x!, w!),
    ),
    problem(
      'large depthwise',
      [
        [2, 28, 27, 40],
        [3, 3, 1, 40],
      ],
      (x, w) => ops.conv2d(x!, w!, { padding: 1, groups: 40 }),
    ),
    problem(
      'large depthwise, strided',
      [
        [2, 29, 28, 32],
        [3, 3, 1, 32],
      ],
      (x, w) => ops.conv2d(x!, w!, { padding: 1, stride: 2, groups: 32 }),
    ),
    problem(
      'large depthwise, global',
      [
        [16, 7, 7, 64],
        [7, 7, 1, 64],
      ],
      (x, w) => ops.conv2d(x!, w!, { groups: 64 }),
    ),
    problem('large transpose', [[150, 130, 7]], (x) => [ops.transpose(x!), ops.transpose(x!, [1, 0, 2])]),
    problem(
      'large concat',
      [
        [300, 70],
        [300, 33],
      ],
      (x, y) => ops.concat([x!, y!], 1),
    ),
    problem('large gather', [[500, 40], labels(900, 500)], (x, i) => ops.gather(x!, i!)),
    problem('large argmax', [{ shape: [200, 300], distinct: 0.001 }], (x) => [ops.argMax(x!, 1), ops.argMax(x!, 0)]),
    problem('large topK', [{ shape: [100, 300], distinct: 0.001 }], (x) => ops.topK(x!, 7).values),
    problem('large maxPool', [{ shape: [4, 40, 41, 16], distinct: 0.001 }], (x) =>
      ops.maxPool(x!, { kernel: 3, stride: 2, padding: 1 }),
    ),
    problem('large avgPool', [[4, 40, 41, 16]], (x) => ops.avgPool(x!, { kernel: 3, stride: 2, padding: 1 })),
    problem('large resize', [[4, 20, 21, 16]], (x) => ops.resize(x!, [41, 33])),
    problem('large dropout', [[30000], key], (x, k) => ops.dropout(x!, 0.5, { training: true, key: k })),
    problem('large cross-entropy', [[64, 2000], labels(64, 2000)], (x, y) => ops.crossEntropy(ops.mul(x!, 8), y!)),
  ]);
