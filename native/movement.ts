/**
 * Data movement: transpose, slice, flip, concat, pad, broadcast, fill and iota. All but iota are strided copies; a
 * lowering only spells out strides. Shapes and attributes are taken as checked by the op. Any dtype, any rank.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { defineKernel } from './kernel.ts';
import { at, type Lowering } from './lower.ts';
import { stridedCopy, stridedFill, stridesOf } from './stridedCopy.ts';
import { i32x4 } from './wasm.ts';

export { castWasm } from './cast.ts';
export { type StridedCopy, stridedCopy } from './stridedCopy.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((p, n) => p * n, 1);
const elementBytes = (dtype: DType) => bytesOf(dtype) as 1 | 4;

/** y's dimension k is x's dimension axes[k]. */
export const transposeWasm: Lowering<{ readonly axes: readonly number[] }> = (e, [x], [y], { axes }) => {
  const strides = stridesOf(x!.shape);
  stridedCopy(e, {
    dst: y!.buffer,
    src: x!.buffer,
    dims: y!.shape,
    srcStrides: axes.map((a) => strides[a]!),
    dstStrides: stridesOf(y!.shape),
    elementBytes: elementBytes(x!.dtype),
  });
};

export interface SliceAttrs {
  /** First element taken, per dimension, counted from 0. */
  readonly starts: readonly number[];
  /** First element not taken; -1 ends a backward walk after element 0. */
  readonly ends: readonly number[];
  /** Steps, not 0, may be negative; 1 by default. */
  readonly steps?: readonly number[] | undefined;
}
/** y[i] = x[starts + i·steps]; the extent is y's shape, ceil((ends − starts) / steps). */
export const sliceWasm: Lowering<SliceAttrs> = (e, [x], [y], { starts, steps }) => {
  const strides = stridesOf(x!.shape);
  const bytes = elementBytes(x!.dtype);
  stridedCopy(e, {
    dst: y!.buffer,
    src: at(x!.buffer, bytes * starts.reduce((sum, n, k) => sum + n * strides[k]!, 0)),
    dims: y!.shape,
    srcStrides: strides.map((s, k) => s * (steps?.[k] ?? 1)),
    dstStrides: stridesOf(y!.shape),
    elementBytes: bytes,
  });
};

/** Reverses the order along the axes. */
export const flipWasm: Lowering<{ readonly axes: readonly number[] }> = (e, [x], [y], { axes }) => {
  const shape = x!.shape;
  const starts = shape.map((n, k) => (axes.includes(k) ? n - 1 : 0));
  const ends = shape.map((n, k) => (axes.includes(k) ? -1 : n));
  const steps = shape.map((_, k) => (axes.includes(k) ? -1 : 1));
  sliceWasm(e, [x!], [y!], { starts, ends, steps });
};

/** Places the inputs one after the other along the axis. */
export const concatWasm: Lowering<{ readonly axis: number }> = (e, inputs, [y], { axis }) => {
  const strides = stridesOf(y!.shape);
  const bytes = elementBytes(y!.dtype);
  let start = 0;
  for (const x of inputs) {
    stridedCopy(e, {
      dst: at(y!.buffer, bytes * start * strides[axis]!),
      src: x.buffer,
      dims: x.shape,
      srcStrides: stridesOf(x.shape),
      dstStrides: strides,
      elementBytes: bytes,
    });
    start += x.shape[axis]!;
  }
};

export interface PadAttrs {
  /** Elements added before and after, per dimension; negative ones crop. */
  readonly pads: readonly (readonly [before: number, after: number])[];
  readonly value: number;
}
/** x inside a border of a constant. Each element is written once. */
export const padWasm: Lowering<PadAttrs> = (e, [x], [y], { pads, value }) => {
  const bytes = elementBytes(x!.dtype);
  const from = stridesOf(x!.shape);
  const to = stridesOf(y!.shape);
  // The part of y that x covers, per dimension.
  const lo = y!.shape.map((n, k) => Math.min(n, Math.max(0, pads[k]![0])));
  const hi = y!.shape.map((n, k) => Math.max(lo[k]!, Math.min(n, pads[k]![0] + x!.shape[k]!)));
  const offset = (place: readonly number[], strides: readonly number[]) =>
    bytes * place.reduce((sum, n, k) => sum + n * strides[k]!, 0);
  stridedCopy(e, {
    dst: at(y!.buffer, offset(lo, to)),
    src: at(
      x!.buffer,
      offset(
        lo.map((n, k) => n - pads[k]![0]),
        from,
      ),
    ),
    dims: lo.map((n, k) => hi[k]! - n),
    srcStrides: from,
    dstStrides: to,
    elementBytes: bytes,
  });
  // Two slabs per dimension: full extent in later dimensions, x's part in earlier ones.
  y!.shape.forEach((n, k) => {
    for (const [begin, end] of [
      [0, lo[k]!],
      [hi[k]!, n],
    ] as const) {
      const place = y!.shape.map((_, j) => (j < k ? lo[j]! : j === k ? begin : 0));
      const dims = y!.shape.map((m, j) => (j < k ? hi[j]! - lo[j]! : j === k ? end - begin : m));
      stridedFill(e, at(y!.buffer, offset(place, to)), y!.dtype, value, dims, to);
    }
  });
};

/** Repeats dimensions of 1; missing leading dimensions count as 1. */
export const broadcastToWasm: Lowering<unknown> = (e, [x], [y]) => {
  const lead = y!.shape.length - x!.shape.length;
  const strides = stridesOf(x!.shape);
  stridedCopy(e, {
    dst: y!.buffer,
    src: x!.buffer,
    dims: y!.shape,
    srcStrides: y!.shape.map((_, k) => (k < lead || x!.shape[k - lead] === 1 ? 0 : strides[k - lead]!)),
    dstStrides: stridesOf(y!.shape),
    elementBytes: elementBytes(x!.dtype),
  });
};

/** Every element is the value. */
export const fillWasm: Lowering<{ readonly value: number }> = (e, _, [y], { value }) =>
  stridedFill(e, y!.buffer, y!.dtype, value, y!.shape, stridesOf(y!.shape));

const flatChunk = 1 << 14;
const iotaKernel = defineKernel({
  key: 'iota',
  args: { dst: 'i32', n: 'i32', start: 'i32' },
  chunk(f, a, chunk) {
    const i = f.let(chunk.mul(flatChunk));
    const end = f.let(i.add(flatChunk));
    f.set(end, end.minS(a.n));
    const d = f.let(a.dst.add(i.shl(2)));
    const v0 = f.let(
      i
        .add(a.start)
        .splat()
        .iadd(i32x4(0, 1, 2, 3)),
    );
    const v1 = f.let(v0.iadd(i32x4(4)));
    const end8 = f.let(end.sub(7));
    f.while(i.ltS(end8), () => {
      f.storeV128(d, v0, 0);
      f.storeV128(d, v1, 16);
      f.set(v0, v0.iadd(i32x4(8)));
      f.set(v1, v1.iadd(i32x4(8)));
      f.inc(d, 32);
      f.inc(i, 8);
    });
    f.while(i.ltS(end), () => {
      f.storeI32(d, i.add(a.start));
      f.inc(d, 4);
      f.inc(i, 1);
    });
  },
});

/** i32: start, start + 1, … in row-major order. */
export const iotaWasm: Lowering<{ readonly start?: number | undefined }> = (e, _, [y], { start = 0 }) => {
  const n = sizeOf(y!.shape);
  if (n > 0) e.call(iotaKernel, { dst: y!.buffer, n, start }, Math.ceil(n / flatChunk));
};
