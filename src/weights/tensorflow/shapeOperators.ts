/**
 * Operators of TensorFlow's graphs that move numbers and do not change them, and resizing.
 *
 * The one idea: shapes are known at one image here, and hold for any number: an axis 0 that keeps its size is the batch.
 * Source: tensorflow/core/ops/{array_ops,image_ops}.cc.
 */
import { type Shape, sizeOf } from '../../core/shape.ts';
import type { Value } from '../../models/graph/builder.ts';
import { completeShape, single, stridedCuts } from './folding.ts';
import { constant, isConstant } from './wire.ts';
import { flagOf, type Handler, known, list, numberOf, type Result, unsupported, value, type Work } from './work.ts';

/** The same numbers in a shape known at one image. */
function reshaped(work: Work, x: Value, shape: Shape): Value {
  if (sizeOf(shape) !== sizeOf(x.shape)) return unsupported(`shape [${shape}] of [${x.shape}]`);
  return work.builder.reshape(x, shape, work.node.name);
}

export const reshape: Handler = (work) => {
  const x = value(work);
  const sizes = known(work, 1, 'shape').data;
  const shape = completeShape(sizes, sizeOf(x.shape));
  if (!shape) return unsupported(`shape [${sizes}] of [${x.shape}]`);
  if (shape[0] === 1 || !(sizes[0]! === -1 || Number.isNaN(sizes[0]))) return reshaped(work, x, shape);
  // Several rows an image: [images · rows, …].
  return work.builder.apply('reshape', [x], { shape: [-1, ...shape.slice(1)] }, work.node.name);
};

export const squeeze: Handler = (work) => {
  const x = value(work);
  const rank = x.shape.length;
  const named = (list(work, 'squeeze_dims') ?? list(work, 'axis') ?? []).map((a) => (a < 0 ? a + rank : a));
  const goes = (d: number, i: number) => (named.length ? named.includes(i) : i > 0 && d === 1);
  if (named.some((i) => x.shape[i] !== 1)) return unsupported(`axes [${named}] of [${x.shape}]`);
  return reshaped(
    work,
    x,
    x.shape.filter((d, i) => !goes(d, i)),
  );
};

export const expandDims: Handler = (work) => {
  const x = value(work);
  const axis = single(known(work, 1, 'axis')) ?? unsupported('several axes');
  return reshaped(work, x, x.shape.toSpliced(axis < 0 ? axis + x.shape.length + 1 : axis, 0, 1));
};

export const shapeOf: Handler = (work) => {
  const { shape } = value(work);
  return constant('int', [shape.length], [Number.NaN, ...shape.slice(1)]);
};

export function concat(work: Work, parts: readonly Result[], axisAt: Result | undefined): Result {
  const axis = isConstant(axisAt) ? single(axisAt) : undefined;
  if (axis === undefined) return unsupported('axis is not constant');
  const values = parts.map((_, i) => value({ ...work, inputs: parts }, i));
  return work.builder.apply('concat', values, { axis }, work.node.name);
}

export const transpose: Handler = (work) => {
  const x = value(work);
  const axes = [...known(work, 1, 'perm').data].map((a) => (a < 0 ? a + x.shape.length : a));
  return work.builder.apply('transpose', [x], { axes }, work.node.name);
};

/** Parts along an axis. */
function parts(work: Work, x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  const size = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? unsupported(`axis ${axis} of [${x.shape}]`);
  if (sizes.reduce((a, b) => a + b, 0) !== size) return unsupported(`parts of [${sizes}] of ${size}`);
  return work.builder.applyMany('split', [x], { axis, sizes: [...sizes] }, work.node.name);
}
/** Parts that a split may have: more are no face network's. */
const mostParts = 4096;

export const split: Handler = (work) => {
  const axis = single(known(work, 0, 'axis')) ?? unsupported('several axes');
  const x = value(work, 1);
  const n = numberOf(work, 'num_split', 1);
  const size = x.shape[axis < 0 ? axis + x.shape.length : axis] ?? 0;
  if (!(n >= 1 && n <= mostParts)) return unsupported(`${n} parts`);
  return parts(work, x, axis, new Array<number>(n).fill(size / n));
};
export const splitV: Handler = (work) =>
  parts(work, value(work), single(known(work, 2, 'axis')) ?? 0, [...known(work, 1, 'sizes').data]);

export const stridedSlice: Handler = (work) => {
  let x = value(work);
  const [begin, end, steps] = [1, 2, 3].map((i) => known(work, i, 'bounds'));
  const cuts = stridedCuts(x.shape, begin!.data, end!.data, steps!.data, work.node.attrs);
  if (!cuts) return unsupported('bounds that insert axes or are not known');
  cuts.forEach(({ start, end: stop, step }, axis) => {
    if (start === 0 && stop === x.shape[axis] && step === 1) return;
    if (axis === 0 || step < 1 || stop <= start) unsupported(`slice ${start}:${stop}:${step} of axis ${axis}`);
    x = work.builder.apply('slice', [x], { axis, start, end: stop, step }, work.node.name);
  });
  return reshapedTo(
    work,
    x,
    x.shape.filter((_, i) => !cuts[i]!.shrink),
  );
};
const reshapedTo = (work: Work, x: Value, shape: Shape) =>
  shape.length === x.shape.length ? x : reshaped(work, x, shape);

export const slice: Handler = (work) => {
  let x = value(work);
  const [begin, sizes] = [known(work, 1, 'begin').data, known(work, 2, 'size').data];
  x.shape.forEach((d, axis) => {
    const start = begin[axis] ?? 0;
    const end = sizes[axis] === -1 ? d : start + (sizes[axis] ?? 0);
    if (start === 0 && end === d) return;
    if (axis === 0) unsupported('slices the batch');
    x = work.builder.apply('slice', [x], { axis, start, end }, work.node.name);
  });
  return x;
};

export const pack: Handler = (work) => {
  const first = value(work);
  const rank = first.shape.length + 1;
  const given = numberOf(work, 'axis', 0);
  const axis = given < 0 ? given + rank : given;
  if (axis === 0) return unsupported('stacks along the batch');
  const values = work.inputs.map((_, i) => {
    const x = value(work, i);
    return work.builder.reshape(x, x.shape.toSpliced(axis, 0, 1), work.node.name);
  });
  return work.builder.apply('concat', values, { axis }, work.node.name);
};

export const unpack: Handler = (work) => {
  const [sizes] = work.inputs;
  // A shape taken apart.
  if (isConstant(sizes) && sizes.shape.length === 1 && sizes.data.length <= mostParts)
    return Array.from(sizes.data, (n) => constant(sizes.kind, [], [n]));
  const x = value(work);
  const given = numberOf(work, 'axis', 0);
  const axis = given < 0 ? given + x.shape.length : given;
  const n = x.shape[axis] ?? 0;
  if (axis === 0 || n > mostParts) return unsupported(`takes axis ${axis} apart`);
  return parts(work, x, axis, new Array<number>(n).fill(1)).map((p) =>
    work.builder.reshape(p, p.shape.toSpliced(axis, 1), work.node.name),
  );
};

export const pad: Handler = (work) => {
  const x = value(work);
  const sizes = [...known(work, 1, 'paddings').data];
  const filling = work.node.op === 'PadV2' ? single(known(work, 2, 'value')) : 0;
  if (sizes.length !== 2 * x.shape.length || sizes[0] !== 0 || sizes[1] !== 0 || filling === undefined)
    return unsupported(`paddings [${sizes}] of [${x.shape}]`);
  const pads = x.shape.map((_, i) => [sizes[2 * i]!, sizes[2 * i + 1]!]);
  return work.builder.apply('pad', [x], { pads, value: filling }, work.node.name);
};

export const resize =
  (mode: 'nearest' | 'bilinear'): Handler =>
  (work) => {
    const x = value(work);
    const size = [...known(work, 1, 'size').data];
    const alignCorners = flagOf(work, 'align_corners');
    const half = flagOf(work, 'half_pixel_centers');
    const whole = size.every((n, i) => n % x.shape[1 + i]! === 0);
    const same = size.every((n, i) => n === x.shape[1 + i]);
    // The engine's bilinear takes pixel centres, its nearest the corner; several times the size, the two are one.
    const agrees = same || (mode === 'bilinear' ? alignCorners || half : !alignCorners && (!half || whole));
    if (!agrees)
      return unsupported(`${mode} with align_corners ${alignCorners} and half_pixel_centers ${half} to [${size}]`);
    return work.builder.apply('resize', [x], { size, mode, alignCorners }, work.node.name);
  };
