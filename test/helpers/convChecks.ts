/** Checks that the dense and the depthwise convolution kernels share. */
import { expect } from 'vitest';
import type { ConvAttrs } from '../../native/conv2d.ts';
import type { Epilogue } from '../../native/epilogue.ts';
import type { Lowering } from '../../native/lower.ts';
import type { V128 } from '../../native/wasm.ts';
import { runReversed } from './chunkOrder.ts';
import { type ConvCase, convData, outShape } from './convReference.ts';
import { KernelRunner, narrowRelaxed, runLowering, wideRelaxed } from './kernelRunner.ts';

/** Forward, input gradient, weight gradient. */
type Passes = readonly [Lowering<ConvAttrs>, Lowering<ConvAttrs>, Lowering<ConvAttrs>];

const host = (shape: readonly number[], data: Float32Array) => ({ shape, data });

/** All three passes give the same bits in narrow and wide mode, and whatever the order of chunks. */
export function expectSameBits(c: ConvCase, [forward, inputGrad, weightGrad]: Passes): void {
  const { x, w, dy } = convData(c, 5);
  const ys = outShape(c);
  type Run = typeof runReversed<ConvAttrs>;
  const all = (mode: typeof narrowRelaxed, run: Run) => {
    const runner = new KernelRunner(mode, 64);
    return [
      run(forward, [host(c.x, x), host(c.w, w)], [ys], c.attrs, runner),
      run(inputGrad, [host(ys, dy), host(c.w, w)], [c.x], c.attrs, runner),
      run(weightGrad, [host(c.x, x), host(ys, dy)], [c.w], c.attrs, runner),
    ].map(([t]) => t);
  };
  const inOrder: Run = (lower, ins, outs, attrs, runner) =>
    runLowering(
      lower,
      ins,
      outs.map((shape) => ({ shape })),
      attrs,
      runner,
    ) as Float32Array[];
  const want = all(narrowRelaxed, inOrder);
  expect(all(narrowRelaxed, runReversed)).toEqual(want);
  expect(all(wideRelaxed, inOrder)).toEqual(want);
}

/** A bias per channel and a residual of the output's shape are added before the store, each rounded once. */
export function expectEpilogue(c: ConvCase, forward: Lowering<ConvAttrs & { readonly epilogue?: Epilogue }>): void {
  const { x, w, dy } = convData(c, 9);
  const ys = outShape(c);
  const channels = c.w[3];
  const runner = new KernelRunner(narrowRelaxed, 32);
  const bias = convData(c, 11).dy.slice(0, channels);
  expect(bias).toHaveLength(channels);
  const epilogue: Epilogue = {
    key: 'biasResidual',
    operands: [
      { buffer: { id: runner.put(bias), offset: 0 }, kind: 'column' },
      { buffer: { id: runner.put(dy), offset: 0 }, kind: 'full' },
    ],
    apply: (_, acc, [b, r]) => acc.add(b as V128).add(r as V128),
  };
  const run = (attrs: ConvAttrs & { readonly epilogue?: Epilogue }) =>
    runLowering(forward, [host(c.x, x), host(c.w, w)], [{ shape: ys }], attrs, runner)[0];
  const want = run(c.attrs)!.map((v, i) => Math.fround(Math.fround(v + bias[i % channels]!) + dy[i]!));
  expect(run({ ...c.attrs, epilogue })).toEqual(want);
}
