/**
 * Random numbers in a graph, and dropout.
 *
 * The one idea: a draw is a function of a key tensor and an element's number (Threefry, core/random.ts), so it is the
 * same on every device and for any number of threads, and the plan may recompute it. A new key per step makes new draws.
 */
import { randomUniformWgsl } from '../../kernels/random.ts';
import { type RandomAttrs, randomUniformWasm } from '../../native/random.ts';
import { UsageError } from '../core/errors.ts';
import { type Key, threefry } from '../core/random.ts';
import { type Shape, sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { defineOp, nonDifferentiable, shapeError } from './define.ts';
import { elementwise } from './pointwise.ts';

export const randomUniformOp = defineOp<RandomAttrs & { readonly shape: Shape }>('randomUniform', {
  roles: ['key'],
  infer([key], { shape }) {
    if (key!.dtype !== 'i32' || key!.shape.length !== 1 || key!.shape[0] !== 2)
      throw shapeError('randomUniform', 'an int32 key [2]', { key: key! }, 'Pass keyData(key, step), or ctx.key.');
    return [{ shape, dtype: 'f32' }];
  },
  reference([words], [y], { stream = 0 }) {
    const key: Key = [words![0]!, words![1]!];
    for (let i = 0; i < y!.length; i++) y![i] = (threefry(key, i, stream)[0] >>> 8) / 2 ** 24;
  },
  backward: nonDifferentiable('a draw does not depend on its key continuously'),
  kernels: { kind: 'kernel', wasm: randomUniformWasm, wgsl: randomUniformWgsl },
  cost: (_, [y]) => ({ flops: 100 * sizeOf(y!.shape), bytes: 4 * sizeOf(y!.shape) }),
  samples: [
    { inputs: [{ shape: [2], dtype: 'i32', values: [7, -9] }], attrs: { shape: [1] }, noGradient: 'integer operand' },
    {
      inputs: [{ shape: [2], dtype: 'i32', values: [0, 2 ** 31 - 1] }],
      attrs: { shape: [3, 17], stream: 0xfedcba98 },
      noGradient: 'integer operand',
    },
  ],
  errorSamples: [{ inputs: [{ shape: [2] }], attrs: { shape: [3] } }],
});

/**
 * Uniform in [0, 1), a multiple of 2^-24. Draws of different streams (an uint32, default 0) under one key are independent.
 * @param key int32 [2], as `keyData` gives it
 */
export const randomUniform = (key: Tensor, shape: Shape, stream = 0): Tensor =>
  randomUniformOp.apply([key], stream === 0 ? { shape } : { shape, stream })[0]!;

/** What dropout needs of a trace's context. */
export interface DropoutContext {
  readonly training: boolean;
  /** int32 [2], a new one every step. */
  readonly key: Tensor | undefined;
}

/**
 * In training each element is 0 with probability `rate`, else x/(1 − rate); otherwise x itself. Srivastava et al. 2014, in
 * the inverted form. Give every dropout of a network its own `stream` (an uint32, default 0). Throws UsageError if
 * training has no key.
 */
export function dropout(x: Tensor, rate: number, { training, key }: DropoutContext, stream = 0): Tensor {
  if (!(rate >= 0 && rate < 1))
    throw new UsageError(`dropout: expected a rate in [0, 1), got ${rate}\nPass the share of elements to drop.`);
  if (!training || rate === 0) return x;
  if (!key)
    throw new UsageError(
      `dropout: expected a key while training, got none\nPass the compiled function an input named 'key': keyData(key, step).`,
    );
  const kept = E.where(E.lt(E.input(1), 1 - rate), E.mul(E.input(0), 1 / (1 - rate)), E.constant(0));
  return elementwise('dropout', kept, [x, randomUniform(key, x.shape, stream)]);
}
