/** Every public op by name. Importing this file fills the registries that tests and benches are generated from. */
export { batchNorm, moments, normalize } from './batchNorm.ts';
export { conv2d } from './conv2d.ts';
export type { ConvOptions } from './convolution.ts';
export { gather, gatherAlong, oneHot, scatterAdd, scatterAddAlong } from './gather.ts';
export { linear, matmul } from './matmul.ts';
export { concat, flip, iota, pad, reshape, slice, split, transpose, zeros } from './movement.ts';
export {
  abs,
  acos,
  add,
  broadcastTo,
  cast,
  ceil,
  clamp,
  cos,
  div,
  elementwise,
  equal,
  exp,
  floor,
  greater,
  greaterEqual,
  hardSigmoid,
  hardSwish,
  leakyRelu,
  less,
  lessEqual,
  log,
  maximum,
  minimum,
  mul,
  neg,
  notEqual,
  type Operand,
  pow,
  prelu,
  relu,
  relu6,
  round,
  sigmoid,
  sign,
  sin,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from './pointwise.ts';
export { avgPool, maxPool, type PoolOptions } from './pool.ts';
export { type DropoutContext, dropout, randomUniform } from './random.ts';
export { argMax, argMin, globalAvgPool, logSumExp, max, mean, min, stopGradient, sum } from './reduce.ts';
export { resize } from './resize.ts';
export {
  type ClassCosines,
  crossEntropy,
  hits,
  l2Normalize,
  logSoftmax,
  type MarginLogits,
  type MarginSoftmaxOptions,
  type MarginSoftmaxResult,
  marginSoftmax,
  softmax,
} from './softmax.ts';
export { topK } from './topK.ts';
