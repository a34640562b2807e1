/**
 * Reading and adding by index: rows of an axis, single elements along an axis, one-hot rows.
 *
 * The one idea: gather and scatter-add are each other's transpose, so each is the other's gradient. Additions to one place
 * happen in index order (native/gather.ts), so sums are the same for any number of threads. Indices are int32 and count
 * from 0; one outside [0, size) reads NaN (0 for integers) and is left out of sums, since a kernel cannot raise an error.
 */
import { gatherAlongWgsl, gatherWgsl, oneHotWgsl, scatterAddAlongWgsl, scatterAddWgsl } from '../../kernels/gather.ts';
import { gatherAlongWasm, gatherWasm, oneHotWasm, scatterAddAlongWasm, scatterAddWasm } from '../../native/gather.ts';
import { normalizeAxes, type Shape, sameShape, sizeOf } from '../core/shape.ts';
import type { Tensor, TensorSpec } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { defineOp, type Op, shapeError } from './define.ts';
import { reshape } from './movement.ts';
import { elementwise } from './pointwise.ts';

interface AxisAttrs {
  readonly axis: number;
}
interface ScatterAttrs extends AxisAttrs {
  /** Places along the axis of the result. */
  readonly size: number;
}

const copyCost = (inputs: readonly TensorSpec[], [y]: readonly TensorSpec[]) => ({
  flops: 0,
  bytes: 4 * inputs.reduce((n, t) => n + sizeOf(t.shape), sizeOf(y!.shape)),
});
const addCost = (inputs: readonly TensorSpec[], outputs: readonly TensorSpec[]) => ({
  ...copyCost(inputs, outputs),
  flops: sizeOf(inputs[1]!.shape),
});
const replaceAxis = (shape: Shape, axis: number, by: Shape): Shape => [
  ...shape.slice(0, axis),
  ...by,
  ...shape.slice(axis + 1),
];
const missing = (t: TensorSpec) => (t.dtype === 'f32' ? Number.NaN : 0);
const inside = (index: number, size: number) => index >= 0 && index < size;

function checkAxis(op: string, x: TensorSpec, indices: TensorSpec, axis: number) {
  if (indices.dtype !== 'i32')
    throw shapeError(op, 'int32 indices', { x, indices }, 'Pass them as an Int32Array, or cast them to i32.');
  if (!inside(axis, x.shape.length))
    throw shapeError(op, `an axis of x, got axis ${axis}`, { x, indices }, 'Pass an axis that the tensor has.');
}
function checkAlong(op: string, x: TensorSpec, indices: TensorSpec, axis: number) {
  checkAxis(op, x, indices, axis);
  if (indices.shape.length !== x.shape.length || indices.shape.some((d, i) => i !== axis && d !== x.shape[i]))
    throw shapeError(
      op,
      `indices of x's sizes but for axis ${axis}`,
      { x, indices },
      'Broadcast the indices, or use gather for one index per row.',
    );
}
function checkUpdates(op: string, indices: TensorSpec, updates: TensorSpec, size: number) {
  if (updates.dtype !== 'f32' && updates.dtype !== 'i32')
    throw shapeError(op, 'float32 or int32 updates', { indices, updates }, 'Cast the updates to f32.');
  if (!Number.isInteger(size) || size < 0)
    throw shapeError(op, `a size of at least 0, got ${size}`, { indices, updates }, 'Pass the number of places.');
}

/** `g` where the index of its element is inside [0, size), else 0: what was left out of a sum has no gradient. */
const whereInside = (g: Tensor, index: Tensor, size: number): Tensor => {
  const i = E.input(1);
  return elementwise('whereInside', E.where(E.and(E.ge(i, 0), E.lt(i, size)), E.input(0), E.constant(0)), [g, index]);
};

export const gatherOp: Op<AxisAttrs> = defineOp<AxisAttrs>('gather', {
  roles: ['x', 'indices'],
  infer([x, indices], { axis }) {
    checkAxis('gather', x!, indices!, axis);
    return [{ shape: replaceAxis(x!.shape, axis, indices!.shape), dtype: x!.dtype }];
  },
  reference([x, indices], [y], { axis }, specs) {
    const shape = specs.inputs[0]!.shape;
    const size = shape[axis]!;
    const inner = sizeOf(shape.slice(axis + 1));
    const n = indices!.length;
    for (let at = 0; at < y!.length; at++) {
      const outer = Math.floor(at / (n * inner));
      const index = indices![Math.floor(at / inner) % n]!;
      y![at] = inside(index, size) ? x![(outer * size + index) * inner + (at % inner)]! : missing(specs.inputs[0]!);
    }
  },
  backward: ({ inputs: [x, indices], dys, attrs: { axis } }) => [
    scatterAddOp.apply([indices!, dys[0]!], { axis, size: x!.shape[axis]! })[0],
    undefined,
  ],
  kernels: { kind: 'kernel', wasm: gatherWasm, wgsl: gatherWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [5, 7] }, { shape: [3], dtype: 'i32', range: [0, 5] }], attrs: { axis: 0 } },
    { inputs: [{ shape: [2, 6, 9] }, { shape: [2, 2], dtype: 'i32', range: [0, 6] }], attrs: { axis: 1 } },
    { inputs: [{ shape: [3, 17] }, { shape: [40], dtype: 'i32', range: [0, 17] }], attrs: { axis: 1 } },
    {
      inputs: [{ shape: [4, 2] }, { shape: [4], dtype: 'i32', values: [3, -1, 4, 0] }],
      attrs: { axis: 0 },
      noGradient: 'NaN among results',
    },
    {
      inputs: [
        { shape: [6, 3], dtype: 'u8', range: [0, 256] },
        { shape: [], dtype: 'i32', values: [4] },
      ],
      attrs: { axis: 0 },
    },
  ],
  errorSamples: [
    { inputs: [{ shape: [5, 7] }, { shape: [3] }], attrs: { axis: 0 } },
    { inputs: [{ shape: [5, 7] }, { shape: [3], dtype: 'i32' }], attrs: { axis: 2 } },
  ],
});
/**
 * Entries of an axis by index (NumPy's take): x [a, n, b], indices int32 [k…] → [a, k…, b] for axis 1. Default axis 0.
 * Indices outside the axis give NaN (0 for integers).
 */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  gatherOp.apply([x, indices], { axis: normalizeAxes('gather', axis, x.rank)[0]! })[0]!;

export const scatterAddOp: Op<ScatterAttrs> = defineOp<ScatterAttrs>('scatterAdd', {
  roles: ['indices', 'updates'],
  infer([indices, updates], { axis, size }) {
    const k = indices!.shape.length;
    if (indices!.dtype !== 'i32' || !sameShape(updates!.shape.slice(axis, axis + k), indices!.shape) || axis < 0)
      throw shapeError(
        'scatterAdd',
        `int32 indices whose shape the updates have from axis ${axis} on`,
        { indices: indices!, updates: updates! },
        'Give one index per entry of that axis.',
      );
    checkUpdates('scatterAdd', indices!, updates!, size);
    const { shape } = updates!;
    return [{ shape: [...shape.slice(0, axis), size, ...shape.slice(axis + k)], dtype: updates!.dtype }];
  },
  reference([indices, updates], [y], { axis, size }, specs, round) {
    y!.fill(0);
    const n = indices!.length;
    const inner = sizeOf(specs.outputs[0]!.shape.slice(axis + 1));
    for (let at = 0; at < updates!.length; at++) {
      const index = indices![Math.floor(at / inner) % n]!;
      if (!inside(index, size)) continue;
      const to = (Math.floor(at / (n * inner)) * size + index) * inner + (at % inner);
      y![to] = round(y![to]! + updates![at]!);
    }
  },
  backward: ({ inputs: [indices], dys, attrs: { axis, size } }) => {
    const dy = dys[0]!;
    const flat = reshape(indices!, [...indices!.shape, ...new Array<number>(dy.rank - 1 - axis).fill(1)]);
    return [undefined, whereInside(gatherOp.apply([dy, indices!], { axis })[0]!, flat, size)];
  },
  kernels: { kind: 'kernel', wasm: scatterAddWasm, wgsl: scatterAddWgsl },
  cost: addCost,
  samples: [
    { inputs: [{ shape: [9], dtype: 'i32', range: [0, 4] }, { shape: [9, 5] }], attrs: { axis: 0, size: 4 } },
    { inputs: [{ shape: [2, 3], dtype: 'i32', range: [0, 7] }, { shape: [3, 2, 3, 2] }], attrs: { axis: 1, size: 7 } },
    { inputs: [{ shape: [40], dtype: 'i32', range: [-2, 19] }, { shape: [40] }], attrs: { axis: 0, size: 17 } },
    {
      inputs: [
        { shape: [6], dtype: 'i32', range: [0, 3] },
        { shape: [6], dtype: 'i32', range: [-9, 9] },
      ],
      attrs: { axis: 0, size: 3 },
      noGradient: 'integers',
    },
  ],
  errorSamples: [
    { inputs: [{ shape: [3], dtype: 'i32' }, { shape: [4, 5] }], attrs: { axis: 0, size: 4 } },
    {
      inputs: [
        { shape: [4], dtype: 'i32' },
        { shape: [4, 5], dtype: 'u8' },
      ],
      attrs: { axis: 0, size: 4 },
    },
    { inputs: [{ shape: [4], dtype: 'i32' }, { shape: [4, 5] }], attrs: { axis: 0, size: -1 } },
  ],
});
/**
 * Zeros with `size` places along an axis, plus each update at its index: y[indices[i], …] += updates[i, …]. The
 * updates have the indices' shape in place of that axis. Equal indices add up in index order. Default axis 0.
 */
export const scatterAdd = (indices: Tensor, updates: Tensor, size: number, axis = 0): Tensor =>
  scatterAddOp.apply([indices, updates], { axis, size })[0]!;

export const gatherAlongOp: Op<AxisAttrs> = defineOp<AxisAttrs>('gatherAlong', {
  roles: ['x', 'indices'],
  infer([x, indices], { axis }) {
    checkAlong('gatherAlong', x!, indices!, axis);
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  reference([x, indices], [y], { axis }, specs) {
    const size = specs.inputs[0]!.shape[axis]!;
    const count = specs.inputs[1]!.shape[axis]!;
    const inner = sizeOf(specs.inputs[0]!.shape.slice(axis + 1));
    for (let at = 0; at < y!.length; at++) {
      const index = indices![at]!;
      const outer = Math.floor(at / (count * inner));
      y![at] = inside(index, size) ? x![(outer * size + index) * inner + (at % inner)]! : missing(specs.inputs[0]!);
    }
  },
  backward: ({ inputs: [x, indices], dys, attrs: { axis } }) => [
    scatterAddAlongOp.apply([indices!, dys[0]!], { axis, size: x!.shape[axis]! })[0],
    undefined,
  ],
  kernels: { kind: 'kernel', wasm: gatherAlongWasm, wgsl: gatherAlongWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [5, 7] }, { shape: [5, 3], dtype: 'i32', range: [0, 7] }], attrs: { axis: 1 } },
    { inputs: [{ shape: [2, 6, 9] }, { shape: [2, 4, 9], dtype: 'i32', range: [0, 6] }], attrs: { axis: 1 } },
    {
      inputs: [{ shape: [2, 6] }, { shape: [2, 9], dtype: 'i32', range: [-2, 8] }],
      attrs: { axis: 1 },
      noGradient: 'NaN among results',
    },
    { inputs: [{ shape: [5] }, { shape: [33], dtype: 'i32', range: [0, 5] }], attrs: { axis: 0 } },
  ],
  errorSamples: [{ inputs: [{ shape: [5, 7] }, { shape: [4, 3], dtype: 'i32' }], attrs: { axis: 1 } }],
});
/**
 * One element per index along an axis: y[o, k, j] = x[o, indices[o, k, j], j] (torch.gather). Indices are int32 and have
 * x's sizes but for that axis. Default: the last axis.
 */
export const gatherAlong = (x: Tensor, indices: Tensor, axis = -1): Tensor =>
  gatherAlongOp.apply([x, indices], { axis: normalizeAxes('gatherAlong', axis, x.rank)[0]! })[0]!;

export const scatterAddAlongOp: Op<ScatterAttrs> = defineOp<ScatterAttrs>('scatterAddAlong', {
  roles: ['indices', 'updates'],
  infer([indices, updates], { axis, size }) {
    if (indices!.dtype !== 'i32' || !sameShape(indices!.shape, updates!.shape) || !inside(axis, updates!.shape.length))
      throw shapeError(
        'scatterAddAlong',
        'int32 indices of the shape of the updates, and an axis they have',
        { indices: indices!, updates: updates! },
        'Give one index per update.',
      );
    checkUpdates('scatterAddAlong', indices!, updates!, size);
    return [{ shape: replaceAxis(updates!.shape, axis, [size]), dtype: updates!.dtype }];
  },
  reference([indices, updates], [y], { axis, size }, specs, round) {
    y!.fill(0);
    const count = specs.inputs[1]!.shape[axis]!;
    const inner = sizeOf(specs.inputs[1]!.shape.slice(axis + 1));
    for (let at = 0; at < updates!.length; at++) {
      const index = indices![at]!;
      if (!inside(index, size)) continue;
      const to = (Math.floor(at / (count * inner)) * size + index) * inner + (at % inner);
      y![to] = round(y![to]! + updates![at]!);
    }
  },
  backward: ({ inputs: [indices], dys, attrs: { axis, size } }) => [
    undefined,
    whereInside(gatherAlongOp.apply([dys[0]!, indices!], { axis })[0]!, indices!, size),
  ],
  kernels: { kind: 'kernel', wasm: scatterAddAlongWasm, wgsl: scatterAddAlongWgsl },
  cost: addCost,
  samples: [
    { inputs: [{ shape: [5, 9], dtype: 'i32', range: [0, 3] }, { shape: [5, 9] }], attrs: { axis: 1, size: 3 } },
    { inputs: [{ shape: [2, 6, 5], dtype: 'i32', range: [-1, 5] }, { shape: [2, 6, 5] }], attrs: { axis: 1, size: 4 } },
    { inputs: [{ shape: [33], dtype: 'i32', range: [0, 7] }, { shape: [33] }], attrs: { axis: 0, size: 7 } },
  ],
  errorSamples: [{ inputs: [{ shape: [5, 9], dtype: 'i32' }, { shape: [5, 8] }], attrs: { axis: 1, size: 3 } }],
});
/**
 * Zeros with `size` places along an axis, plus each update at its own index: y[o, indices[o, k, j], j] += updates[o, k, j]
 * (torch.scatter_add on zeros), in the order of k. Default: the last axis.
 */
export const scatterAddAlong = (indices: Tensor, updates: Tensor, size: number, axis = -1): Tensor =>
  scatterAddAlongOp.apply([indices, updates], {
    axis: normalizeAxes('scatterAddAlong', axis, updates.rank)[0]!,
    size,
  })[0]!;

export const oneHotOp = defineOp<{ depth: number }>('oneHot', {
  roles: ['indices'],
  infer([indices], { depth }) {
    if (indices!.dtype !== 'i32' || !Number.isInteger(depth) || depth < 1)
      throw shapeError(
        'oneHot',
        `int32 indices and a depth of at least 1, got depth ${depth}`,
        { indices: indices! },
        'Pass class numbers as an Int32Array and the number of classes.',
      );
    return [{ shape: [...indices!.shape, depth], dtype: 'f32' }];
  },
  reference([indices], [y], { depth }) {
    y!.fill(0);
    indices!.forEach((index, row) => {
      if (inside(index, depth)) y![row * depth + index] = 1;
    });
  },
  backward: () => [undefined],
  kernels: { kind: 'kernel', wasm: oneHotWasm, wgsl: oneHotWgsl },
  cost: copyCost,
  samples: [
    { inputs: [{ shape: [1], dtype: 'i32', range: [0, 1] }], attrs: { depth: 1 }, noGradient: 'integer operand' },
    { inputs: [{ shape: [3, 17], dtype: 'i32', range: [-1, 6] }], attrs: { depth: 5 }, noGradient: 'integer operand' },
  ],
  errorSamples: [
    { inputs: [{ shape: [3] }], attrs: { depth: 5 } },
    { inputs: [{ shape: [3], dtype: 'i32' }], attrs: { depth: 0 } },
  ],
});
/** int32 [...] → float32 [..., depth]: 1 at the index, 0 elsewhere; a row of zeros for an index outside. */
export const oneHot = (indices: Tensor, depth: number): Tensor => oneHotOp.apply([indices], { depth })[0]!;
