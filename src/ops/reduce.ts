/**
 * Sums, means and extremes over axes.
 *
 * The one idea: any reduction is over the middle axis of [outer, reduced, inner]; other axis sets are transposed first.
 * A pointwise operand is computed inside the reduction's loop by the plan, never stored.
 */
import { argReduceWgsl } from '../../kernels/reduceArg.ts';
import { argReduceWasm } from '../../native/reduce.ts';
import type { Value } from '../core/buffer.ts';
import { normalizeAxes, type Shape, sameShape, sizeOf } from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { type Backward, defineOp, nonDifferentiable, type Op, type Sample, shapeError } from './define.ts';
import { reshape, transpose } from './movement.ts';
import { broadcastTo, div, elementwise, mul } from './pointwise.ts';

export type ReduceKind = 'sum' | 'mean' | 'max' | 'min';

export interface ReduceAttrs {
  /** A contiguous range of axes, sorted. */
  readonly axes: readonly number[];
}

/** The three sizes of a reduction over a contiguous range of axes. */
export function reduceSpace(shape: Shape, axes: readonly number[]): readonly [number, number, number] {
  const first = axes[0] ?? 0;
  const end = (axes[axes.length - 1] ?? first - 1) + 1;
  return [sizeOf(shape.slice(0, first)), sizeOf(shape.slice(first, end)), sizeOf(shape.slice(end))];
}

const samples: Sample<ReduceAttrs>[] = [
  { inputs: [{ shape: [1], distinct: 0.01 }], attrs: { axes: [0] } },
  { inputs: [{ shape: [3, 17], distinct: 0.01 }], attrs: { axes: [1] } },
  { inputs: [{ shape: [37, 9], distinct: 0.01 }], attrs: { axes: [0] } },
  { inputs: [{ shape: [2, 5, 3, 8], distinct: 0.01 }], attrs: { axes: [1, 2] } },
  { inputs: [{ shape: [2, 3, 4], distinct: 0.01 }], attrs: { axes: [0, 1, 2] } },
];

const keepDims = (shape: Shape, axes: readonly number[]) => shape.map((d, i) => (axes.includes(i) ? 1 : d));

function defineReduce(name: ReduceKind, backward: Backward<ReduceAttrs>): Op<ReduceAttrs> {
  return defineOp<ReduceAttrs>(name, {
    roles: ['x'],
    infer([x], { axes }) {
      if (x!.dtype !== 'f32' && name !== 'max' && name !== 'min' && x!.dtype !== 'bool' && x!.dtype !== 'i32')
        throw shapeError(name, 'a float32 tensor', { x: x! }, 'Cast it to f32 first.');
      if ((name === 'max' || name === 'min') && axes.some((a) => x!.shape[a] === 0))
        throw shapeError(name, 'at least one element to reduce', { x: x! }, 'An empty axis has no extreme.');
      return [{ shape: x!.shape.filter((_, i) => !axes.includes(i)), dtype: 'f32' }];
    },
    reference([x], [y], { axes }, specs, round) {
      const [outer, red, inner] = reduceSpace(specs.inputs[0]!.shape, axes);
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < inner; i++) {
          let acc = name === 'max' ? -Infinity : name === 'min' ? Infinity : 0;
          for (let r = 0; r < red; r++) {
            const v = x![(o * red + r) * inner + i]!;
            acc = name === 'max' ? Math.max(acc, v) : name === 'min' ? Math.min(acc, v) : round(acc + v);
          }
          y![o * inner + i] = name === 'mean' ? round(acc / red) : acc;
        }
    },
    backward,
    kernels: { kind: 'reduce' },
    cost: ([x], [y]) => ({ flops: sizeOf(x!.shape), bytes: 4 * (sizeOf(x!.shape) + sizeOf(y!.shape)) }),
    samples,
    errorSamples: [],
  });
}

const spread = (dy: Tensor, x: Tensor, axes: readonly number[]) =>
  broadcastTo(reshape(dy, keepDims(x.shape, axes)), x.shape);

const extremeBackward: Backward<ReduceAttrs> = ({ inputs, outputs, dys, attrs }) => {
  // Ties share the gradient equally (torch.amax).
  const [x] = inputs as [Tensor];
  const best = reshape(outputs[0]!, keepDims(x.shape, attrs.axes));
  const hit = elementwise('isExtreme', E.toNumber(E.eq(E.input(0), E.input(1))), [x, best]);
  const count = sum(hit, attrs.axes);
  const share = reshape(div(dys[0]!, count), keepDims(x.shape, attrs.axes));
  return [elementwise('dExtreme', E.where(E.eq(E.input(0), E.input(1)), E.input(2), E.constant(0)), [x, best, share])];
};

export const sumOp = defineReduce('sum', ({ inputs, dys, attrs }) => [spread(dys[0]!, inputs[0]!, attrs.axes)]);
export const meanOp = defineReduce('mean', ({ inputs, dys, attrs }) => {
  const [x] = inputs as [Tensor];
  return [mul(spread(dys[0]!, x, attrs.axes), 1 / reduceSpace(x.shape, attrs.axes)[1])];
});
export const maxOp = defineReduce('max', extremeBackward);
export const minOp = defineReduce('min', extremeBackward);

function reduce(op: Op<ReduceAttrs>, x: Tensor, axes: number | readonly number[] | undefined, keep: boolean): Tensor {
  const list = normalizeAxes(op.name, axes, x.rank);
  const kept = keepDims(x.shape, list);
  if (list.length === 0) return x;
  const gap = list.some((a, i) => i > 0 && a !== list[i - 1]! + 1);
  let y: Tensor;
  if (gap) {
    const rest = x.shape.map((_, i) => i).filter((i) => !list.includes(i));
    const moved = transpose(x, [...rest, ...list]);
    y = op.apply([moved], { axes: list.map((_, i) => rest.length + i) })[0]!;
  } else y = op.apply([x], { axes: list })[0]!;
  return keep ? reshape(y, kept) : y;
}

type Reduce = (x: Tensor, axes?: number | readonly number[], keepDims?: boolean) => Tensor;
/** Sum over axes (default all). Fixed blocks are added in a fixed order: the same bits for any number of threads. */
export const sum: Reduce = (x, axes, keep = false) => reduce(sumOp, x, axes, keep);
/** Mean over axes (default all). */
export const mean: Reduce = (x, axes, keep = false) => reduce(meanOp, x, axes, keep);

/** Mean over the whole image: [N, H, W, C] → [N, C]. */
export function globalAvgPool(x: Tensor): Tensor {
  if (x.rank !== 4) throw shapeError('globalAvgPool', 'images [N, H, W, C]', { x }, 'Reshape images to NHWC.');
  return mean(x, [1, 2]);
}

/** Largest element over axes; ties share the gradient equally. */
export const max: Reduce = (x, axes, keep = false) => reduce(maxOp, x, axes, keep);
/** Smallest element over axes; ties share the gradient equally. */
export const min: Reduce = (x, axes, keep = false) => reduce(minOp, x, axes, keep);

/** Sums a tensor over the axes along which `shape` was broadcast to it. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const pad = x.rank - shape.length;
  const axes = x.shape.map((_, i) => i).filter((i) => i < pad || (shape[i - pad] === 1 && x.shape[i] !== 1));
  return reshape(axes.length ? sum(x, axes) : x, shape);
}

/** log Σ exp(x) over axes, safe for large x. The largest element is taken as constant: its gradient cancels. */
export function logSumExp(x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  const list = normalizeAxes('logSumExp', axes, x.rank);
  const top = stopGradient(max(x, list, true));
  const total = sum(elementwise('expShifted', E.exp(E.sub(E.input(0), E.input(1))), [x, top]), list, true);
  const y = elementwise('logShifted', E.add(E.log(E.input(0)), E.input(1)), [total, top]);
  return keep
    ? y
    : reshape(
        y,
        x.shape.filter((_, i) => !list.includes(i)),
      );
}

/** The same value, cut from the gradient. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOp.apply([x], {})[0]!;
export const stopGradientOp = defineOp<Record<string, never>>('stopGradient', {
  roles: ['x'],
  infer: ([x]) => [x!],
  reference: ([x], [y]) => y!.set(x!),
  backward: () => [undefined],
  kernels: { kind: 'view', offset: () => 0 },
  cost: () => ({ flops: 0, bytes: 0 }),
  samples: [{ inputs: [{ shape: [3, 5] }], attrs: {}, noGradient: 'it has none by definition' }],
  errorSamples: [],
});

function defineArg(name: 'argMax' | 'argMin') {
  const specOf = (input: Value, output: Value, { axis }: { readonly axis: number }) => ({
    op: name === 'argMax' ? ('max' as const) : ('min' as const),
    space: reduceSpace(input.shape, [axis]),
    input,
    output,
  });
  return defineOp<{ axis: number }>(name, {
    roles: ['x'],
    infer: ([x]: readonly TensorSpec[], { axis }) => [{ shape: x!.shape.filter((_, i) => i !== axis), dtype: 'i32' }],
    reference([x], [y], { axis }, specs) {
      const [outer, red, inner] = reduceSpace(specs.inputs[0]!.shape, [axis]);
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < inner; i++) {
          let best = 0;
          for (let r = 1; r < red; r++) {
            const v = x![(o * red + r) * inner + i]!;
            const b = x![(o * red + best) * inner + i]!;
            if (name === 'argMax' ? v > b : v < b) best = r;
          }
          y![o * inner + i] = best;
        }
    },
    backward: nonDifferentiable('an index does not change continuously'),
    kernels: {
      kind: 'kernel',
      wasm: (e, [x], [y], attrs) => argReduceWasm(e, specOf(x!, y!, attrs)),
      wgsl: (e, [x], [y], attrs) => argReduceWgsl(e, specOf(x!, y!, attrs)),
    },
    cost: ([x]) => ({ flops: sizeOf(x!.shape), bytes: 4 * sizeOf(x!.shape) }),
    samples: [
      { inputs: [{ shape: [3, 17], distinct: 0.01 }], attrs: { axis: 1 } },
      { inputs: [{ shape: [9, 5] }], attrs: { axis: 0 } },
    ],
    errorSamples: [],
  });
}
const argMaxOp = defineArg('argMax');
const argMinOp = defineArg('argMin');
/** Index of the largest element along an axis, the first of equals. int32. */
export const argMax = (x: Tensor, axis: number): Tensor =>
  argMaxOp.apply([x], { axis: normalizeAxes('argMax', axis, x.rank)[0]! })[0]!;
export const argMin = (x: Tensor, axis: number): Tensor =>
  argMinOp.apply([x], { axis: normalizeAxes('argMin', axis, x.rank)[0]! })[0]!;
