/**
 * Rearranging elements without arithmetic.
 *
 * The one idea: tensors are contiguous, so `reshape` and leading-axis slices are views of the same memory; everything
 * else is one strided copy (native/movement.ts).
 */
import {
  concatWgsl,
  fillWgsl,
  flipWgsl,
  iotaWgsl,
  padWgsl,
  repeatWgsl,
  sliceWgsl,
  transposeWgsl,
} from '../../kernels/movement.ts';
import {
  broadcastToWasm,
  concatWasm,
  fillWasm,
  flipWasm,
  iotaWasm,
  padWasm,
  sliceWasm,
  transposeWasm,
} from '../../native/movement.ts';
import { ShapeError } from '../core/errors.ts';
import {
  broadcastShapes,
  broadcastStrides,
  normalizeAxes,
  type Shape,
  sameShape,
  showShape,
  sizeOf,
  stridesOf,
} from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import { defineOp, shapeError } from './define.ts';
import { sumTo } from './reduce.ts';

const copyCost = ([x]: readonly TensorSpec[], [y]: readonly TensorSpec[]) => ({
  flops: 0,
  bytes: 4 * (sizeOf(x!.shape) + sizeOf(y!.shape)),
});

/** Calls `visit` with the multi-index of every element in row-major order. */
function eachIndex(shape: Shape, visit: (index: readonly number[], flat: number) => void) {
  const index = new Array<number>(shape.length).fill(0);
  const n = sizeOf(shape);
  for (let flat = 0; flat < n; flat++) {
    visit(index, flat);
    for (let d = shape.length - 1; d >= 0; d--) {
      if (++index[d]! < shape[d]!) break;
      index[d] = 0;
    }
  }
}

export const reshapeOp = defineOp<{ shape: Shape }>('reshape', {
  roles: ['x'],
  infer([x], { shape }) {
    if (sizeOf(shape) !== sizeOf(x!.shape) || shape.some((d) => !Number.isInteger(d) || d < 0))
      throw shapeError(
        'reshape',
        `${sizeOf(x!.shape)} elements in the new shape ${showShape(shape)}`,
        { x: x! },
        'Choose sizes with the same product; one may be -1.',
      );
    return [{ shape, dtype: x!.dtype }];
  },
  reference: ([x], [y]) => y!.set(x!),
  backward: ({ inputs, dys }) => [reshape(dys[0]!, inputs[0]!.shape)],
  kernels: { kind: 'view', offset: () => 0 },
  cost: () => ({ flops: 0, bytes: 0 }),
  samples: [{ inputs: [{ shape: [2, 6] }], attrs: { shape: [3, 4] } }],
  errorSamples: [{ inputs: [{ shape: [2, 6] }], attrs: { shape: [5] } }],
});

/** The same elements in another shape; one size may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const full = shape.map((d) => (d === -1 ? x.size / known : d));
  return sameShape(full, x.shape) ? x : reshapeOp.apply([x], { shape: full })[0]!;
}

export const transposeOp = defineOp<{ axes: readonly number[] }>('transpose', {
  roles: ['x'],
  infer([x], { axes }) {
    if ([...axes].sort((a, b) => a - b).some((a, i) => a !== i) || axes.length !== x!.shape.length)
      throw shapeError(
        'transpose',
        `each of the ${x!.shape.length} axes once, got [${axes.join(', ')}]`,
        { x: x! },
        'List every axis once.',
      );
    return [{ shape: axes.map((a) => x!.shape[a]!), dtype: x!.dtype }];
  },
  reference([x], [y], { axes }, specs) {
    const strides = stridesOf(specs.inputs[0]!.shape);
    eachIndex(specs.outputs[0]!.shape, (index, flat) => {
      y![flat] = x![index.reduce((n, d, i) => n + d * strides[axes[i]!]!, 0)]!;
    });
  },
  backward: ({ dys, attrs }) => [
    transpose(
      dys[0]!,
      attrs.axes.map((_, i) => attrs.axes.indexOf(i)),
    ),
  ],
  kernels: { kind: 'kernel', wasm: transposeWasm, wgsl: transposeWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [5, 7] }], attrs: { axes: [1, 0] } },
    { inputs: [{ shape: [2, 3, 4, 9] }], attrs: { axes: [0, 3, 1, 2] } },
    { inputs: [{ shape: [2, 3, 4, 8] }], attrs: { axes: [1, 0, 2, 3] } },
  ],
  errorSamples: [{ inputs: [{ shape: [5, 7] }], attrs: { axes: [0, 0] } }],
});
/** Axis i of the result is axis `axes[i]` of x. Default: reversed. */
export const transpose = (x: Tensor, axes: readonly number[] = x.shape.map((_, i) => x.rank - 1 - i)): Tensor =>
  axes.every((a, i) => a === i) && axes.length === x.rank ? x : transposeOp.apply([x], { axes })[0]!;

interface SliceAttrs {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  /** Every how many-th element, per axis. Default 1. */
  readonly steps?: readonly number[];
}
export const sliceOp = defineOp<SliceAttrs>('slice', {
  roles: ['x'],
  infer([x], { starts, ends, steps }) {
    if (starts.length !== x!.shape.length || starts.some((s, i) => s < 0 || ends[i]! > x!.shape[i]! || ends[i]! < s))
      throw shapeError(
        'slice',
        `0 <= start <= end <= size on every axis, got starts [${starts.join(', ')}] and ends [${ends.join(', ')}]`,
        { x: x! },
        'Choose a range inside the tensor.',
      );
    if (steps?.some((s) => !Number.isInteger(s) || s < 1))
      throw shapeError(
        'slice',
        `steps of at least 1, got [${steps.join(', ')}]`,
        { x: x! },
        'Use flip to walk backward.',
      );
    return [{ shape: starts.map((s, i) => Math.ceil((ends[i]! - s) / (steps?.[i] ?? 1))), dtype: x!.dtype }];
  },
  reference([x], [y], { starts, steps }, specs) {
    const strides = stridesOf(specs.inputs[0]!.shape);
    eachIndex(specs.outputs[0]!.shape, (index, flat) => {
      y![flat] = x![index.reduce((n, d, i) => n + (d * (steps?.[i] ?? 1) + starts[i]!) * strides[i]!, 0)]!;
    });
  },
  backward: ({ inputs, dys, attrs: { starts, steps } }) => {
    const spaced = steps ? spread(dys[0]!, steps) : dys[0]!;
    const after = inputs[0]!.shape.map((n, i) => n - starts[i]! - spaced.shape[i]!);
    return [
      pad(
        spaced,
        starts.map((s, i) => [s, after[i]!] as const),
      ),
    ];
  },
  kernels: { kind: 'kernel', wasm: sliceWasm, wgsl: sliceWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [5, 9] }], attrs: { starts: [1, 2], ends: [4, 9] } },
    { inputs: [{ shape: [4, 3, 8] }], attrs: { starts: [0, 1, 0], ends: [4, 2, 8] } },
    { inputs: [{ shape: [7, 9] }], attrs: { starts: [1, 0], ends: [7, 9], steps: [3, 2] } },
    { inputs: [{ shape: [6, 5] }], attrs: { starts: [0, 1], ends: [6, 5], steps: [2, 1] } },
    { inputs: [{ shape: [5, 9], dtype: 'u8', range: [0, 256] }], attrs: { starts: [2, 4], ends: [3, 9] } },
  ],
  errorSamples: [
    { inputs: [{ shape: [5, 9] }], attrs: { starts: [1, 2], ends: [6, 9] } },
    { inputs: [{ shape: [5, 9] }], attrs: { starts: [1, 2], ends: [5, 9], steps: [1, 0] } },
  ],
});
/** x[start:end:step] along one axis; negative positions count from the end. Default step 1. */
export function slice(x: Tensor, axis: number, start: number, end?: number, step = 1): Tensor {
  const a = normalizeAxes('slice', axis, x.rank)[0]!;
  const n = x.shape[a]!;
  const s = start < 0 ? start + n : start;
  const e = end === undefined ? n : end < 0 ? end + n : end;
  return sliceOp.apply([x], {
    starts: x.shape.map((_, i) => (i === a ? s : 0)),
    ends: x.shape.map((d, i) => (i === a ? e : d)),
    ...(step === 1 ? {} : { steps: x.shape.map((_, i) => (i === a ? step : 1)) }),
  })[0]!;
}

/** The elements `steps` apart, zeros between them: the transpose of taking every `steps`-th. */
function spread(x: Tensor, steps: readonly number[]): Tensor {
  return steps.reduce((y, step, axis) => {
    const n = y.shape[axis]!;
    if (step === 1 || n < 2) return y;
    const [before, after] = [y.shape.slice(0, axis), y.shape.slice(axis + 1)];
    const split = reshape(y, [...before, n, 1, ...after]);
    const padded = pad(
      split,
      split.shape.map((_, i) => [0, i === axis + 1 ? step - 1 : 0] as const),
    );
    return slice(reshape(padded, [...before, n * step, ...after]), axis, 0, (n - 1) * step + 1);
  }, x);
}

/** Consecutive row blocks of a tensor, as views; the gradient is one concatenation. */
export const splitOp = defineOp<{ sizes: readonly number[] }>('split', {
  roles: ['x'],
  infer([x], { sizes }) {
    if (sizes.reduce((a, b) => a + b, 0) !== x!.shape[0])
      throw shapeError(
        'split',
        `block sizes that sum to the ${x!.shape[0]} rows, got [${sizes.join(', ')}]`,
        { x: x! },
        'Choose sizes that cover the first axis.',
      );
    return sizes.map((n) => ({ shape: [n, ...x!.shape.slice(1)], dtype: x!.dtype }));
  },
  reference([x], ys) {
    let at = 0;
    for (const y of ys) {
      y.set(x!.subarray(at, at + y.length));
      at += y.length;
    }
  },
  backward: ({ outputs, dys }) => [
    concat(
      outputs.map((y, i) => dys[i] ?? zeros(y.shape)),
      0,
    ),
  ],
  kernels: {
    kind: 'view',
    offset: ([x], { sizes }, index) => sizes.slice(0, index).reduce((a, b) => a + b, 0) * sizeOf(x!.shape.slice(1)),
  },
  cost: () => ({ flops: 0, bytes: 0 }),
  samples: [{ inputs: [{ shape: [7, 3] }], attrs: { sizes: [3, 3, 1] } }],
  errorSamples: [{ inputs: [{ shape: [7, 3] }], attrs: { sizes: [3, 3] } }],
});
/** Splits the first axis into blocks of the given sizes. */
export const split = (x: Tensor, sizes: readonly number[]): Tensor[] => splitOp.apply([x], { sizes });

export const concatOp = defineOp<{ axis: number }>('concat', {
  roles: ['x'],
  variadic: true,
  infer(inputs, { axis }) {
    const [first] = inputs as [TensorSpec];
    for (const x of inputs)
      if (
        x.dtype !== first.dtype ||
        x.shape.length !== first.shape.length ||
        x.shape.some((d, i) => i !== axis && d !== first.shape[i])
      )
        throw shapeError(
          'concat',
          `equal dtypes and equal sizes but for axis ${axis}`,
          Object.fromEntries(inputs.map((t, i) => [`operand ${i}`, t])),
          'Bring the operands to the same shape first.',
        );
    const total = inputs.reduce((n, x) => n + x.shape[axis]!, 0);
    return [{ shape: first.shape.map((d, i) => (i === axis ? total : d)), dtype: first.dtype }];
  },
  reference(inputs, [y], { axis }, specs) {
    const out = specs.outputs[0]!.shape;
    const inner = sizeOf(out.slice(axis + 1));
    const outer = sizeOf(out.slice(0, axis));
    let start = 0;
    inputs.forEach((x, k) => {
      const rows = specs.inputs[k]!.shape[axis]! * inner;
      for (let o = 0; o < outer; o++) y!.set(x.subarray(o * rows, (o + 1) * rows), o * out[axis]! * inner + start);
      start += rows;
    });
  },
  backward({ inputs, dys, attrs: { axis } }) {
    const dy = dys[0]!;
    if (axis === 0)
      return split(
        dy,
        inputs.map((x) => x.shape[0]!),
      );
    let at = 0;
    return inputs.map((x) => {
      const start = at;
      at += x.shape[axis]!;
      return slice(dy, axis, start, at);
    });
  },
  kernels: { kind: 'kernel', wasm: concatWasm, wgsl: concatWgsl },
  cost: (inputs, [y]) => ({
    flops: 0,
    bytes: 4 * (sizeOf(y!.shape) + inputs.reduce((n, x) => n + sizeOf(x.shape), 0)),
  }),
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [5, 3] }], attrs: { axis: 0 } },
    { inputs: [{ shape: [4, 1, 2] }, { shape: [4, 3, 2] }, { shape: [4, 2, 2] }], attrs: { axis: 1 } },
  ],
  errorSamples: [{ inputs: [{ shape: [2, 3] }, { shape: [5, 4] }], attrs: { axis: 0 } }],
});
/** Joins tensors along an axis. */
export function concat(xs: readonly Tensor[], axis = 0): Tensor {
  if (xs.length === 0) throw new ShapeError('concat: expected at least 1 operand, got 0\nPass the tensors to join.');
  return xs.length === 1 ? xs[0]! : concatOp.apply(xs, { axis: axis < 0 ? axis + xs[0]!.rank : axis })[0]!;
}

type Pads = readonly (readonly [number, number])[];
export const padOp = defineOp<{ pads: Pads; value: number }>('pad', {
  roles: ['x'],
  infer([x], { pads }) {
    if (pads.length !== x!.shape.length || pads.some(([a, b]) => a < 0 || b < 0))
      throw shapeError(
        'pad',
        `[before, after] >= 0 for each of the ${x!.shape.length} axes`,
        { x: x! },
        'Use slice to crop.',
      );
    return [{ shape: x!.shape.map((d, i) => d + pads[i]![0] + pads[i]![1]), dtype: x!.dtype }];
  },
  reference([x], [y], { pads, value }, specs) {
    y!.fill(value);
    const strides = stridesOf(specs.outputs[0]!.shape);
    eachIndex(specs.inputs[0]!.shape, (index, flat) => {
      y![index.reduce((n, d, i) => n + (d + pads[i]![0]) * strides[i]!, 0)] = x![flat]!;
    });
  },
  backward: ({ inputs, dys, attrs: { pads } }) => [
    sliceOp.apply([dys[0]!], { starts: pads.map(([a]) => a), ends: pads.map(([a], i) => a + inputs[0]!.shape[i]!) })[0],
  ],
  kernels: { kind: 'kernel', wasm: padWasm, wgsl: padWgsl },
  cost: copyCost,
  samples: [
    {
      inputs: [{ shape: [3, 5] }],
      attrs: {
        pads: [
          [1, 0],
          [2, 3],
        ],
        value: 0,
      },
    },
    {
      inputs: [{ shape: [2, 3, 8] }],
      attrs: {
        pads: [
          [0, 0],
          [1, 2],
          [0, 0],
        ],
        value: -1,
      },
    },
  ],
  errorSamples: [{ inputs: [{ shape: [3, 5] }], attrs: { pads: [[1, 0]], value: 0 } }],
});
/** Surrounds the tensor with `value`: [before, after] per axis. */
export const pad = (x: Tensor, pads: Pads, value = 0): Tensor =>
  pads.every(([a, b]) => a === 0 && b === 0) && pads.length === x.rank ? x : padOp.apply([x], { pads, value })[0]!;

/** Broadcasting as a copy: for int32, which arithmetic per element would take through float32. */
export const repeatOp = defineOp<{ shape: Shape }>('repeat', {
  roles: ['x'],
  infer([x], { shape }) {
    const out = broadcastShapes([x!.shape, shape]);
    if (!out || !sameShape(out, shape))
      throw shapeError('repeat', `a tensor that broadcasts to ${showShape(shape)}`, { x: x! }, 'Reshape it first.');
    return [{ shape, dtype: x!.dtype }];
  },
  reference([x], [y], { shape }, specs) {
    const strides = broadcastStrides(specs.inputs[0]!.shape, shape);
    eachIndex(shape, (index, flat) => {
      y![flat] = x![index.reduce((n, d, i) => n + d * strides[i]!, 0)]!;
    });
  },
  backward: ({ inputs, dys }) => [sumTo(dys[0]!, inputs[0]!.shape)],
  kernels: { kind: 'kernel', wasm: broadcastToWasm, wgsl: repeatWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [3, 1] }], attrs: { shape: [2, 3, 5] } },
    {
      inputs: [{ shape: [17], dtype: 'i32', range: [2 ** 30, 2 ** 30 + 99] }],
      attrs: { shape: [3, 17] },
      noGradient: 'integer operand',
    },
  ],
  errorSamples: [{ inputs: [{ shape: [3, 2] }], attrs: { shape: [3, 4] } }],
});

export const flipOp = defineOp<{ axes: readonly number[] }>('flip', {
  roles: ['x'],
  infer: ([x]) => [x!],
  reference([x], [y], { axes }, specs) {
    const shape = specs.inputs[0]!.shape;
    const strides = stridesOf(shape);
    eachIndex(shape, (index, flat) => {
      y![flat] = x![index.reduce((n, d, i) => n + (axes.includes(i) ? shape[i]! - 1 - d : d) * strides[i]!, 0)]!;
    });
  },
  backward: ({ dys, attrs }) => [flip(dys[0]!, attrs.axes)],
  kernels: { kind: 'kernel', wasm: flipWasm, wgsl: flipWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [2, 3, 5, 3] }], attrs: { axes: [2] } },
    { inputs: [{ shape: [9] }], attrs: { axes: [0] } },
  ],
  errorSamples: [],
});
/** Mirrors along axes: axis 2 of NHWC images is left to right. */
export const flip = (x: Tensor, axes: readonly number[]): Tensor => flipOp.apply([x], { axes })[0]!;

export const zeroOp = defineOp<{ shape: Shape }>('zeros', {
  roles: [],
  infer: (_, { shape }) => [{ shape, dtype: 'f32' }],
  reference: (_, [y]) => y!.fill(0),
  backward: () => [],
  kernels: {
    kind: 'kernel',
    wasm: (e, i, o) => fillWasm(e, i, o, { value: 0 }),
    wgsl: (e, i, o) => fillWgsl(e, i, o, { value: 0 }),
  },
  cost: (_, [y]) => ({ flops: 0, bytes: 4 * sizeOf(y!.shape) }),
  samples: [{ inputs: [], attrs: { shape: [3, 7] }, noGradient: 'no operand' }],
  errorSamples: [],
});
/** A tensor of zeros. */
export const zeros = (shape: Shape): Tensor => zeroOp.apply([], { shape })[0]!;

export const iotaOp = defineOp<{ shape: Shape; start?: number }>('iota', {
  roles: [],
  infer: (_, { shape }) => [{ shape, dtype: 'i32' }],
  reference: (_, [y], { start = 0 }) => {
    for (let i = 0; i < y!.length; i++) y![i] = start + i;
  },
  backward: () => [],
  kernels: { kind: 'kernel', wasm: iotaWasm, wgsl: iotaWgsl },
  cost: (_, [y]) => ({ flops: 0, bytes: 4 * sizeOf(y!.shape) }),
  samples: [
    { inputs: [], attrs: { shape: [1] }, noGradient: 'no operand' },
    { inputs: [], attrs: { shape: [3, 7], start: -4 }, noGradient: 'no operand' },
  ],
  errorSamples: [],
});
/** int32 start, start + 1, … in row-major order. Default start 0. */
export const iota = (shape: Shape, start = 0): Tensor =>
  iotaOp.apply([], start === 0 ? { shape } : { shape, start })[0]!;
