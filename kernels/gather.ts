/**
 * Indexing: gather, scatter-add, their element-wise forms along an axis, and one-hot.
 *
 * Tensors are seen as [outer, axis, inner]. A scatter is turned around: every element of the result walks the indices in
 * order and adds the updates that are meant for it, so there are no float atomics and sums equal a plain loop's to the
 * bit. Where most elements get none, one of the updates does it. Indices outside read NaN (0 for integers) and are left
 * out of sums.
 */
import { sizeOf } from '../src/core/shape.ts';
import { ceilDiv, elementsOf, type GpuEmitter, type GpuLowering, single, type Value, wide } from './lower.ts';
import { bitsOf, each, fillWgsl } from './movement.ts';

/** Extents at and after the axis. */
const around = ({ shape }: Value, axis: number) => ({
  size: shape[axis]!,
  inner: sizeOf(shape.slice(axis + 1)),
});

function gatherFrom(e: GpuEmitter, x: Value, indices: Value, y: Value, axis: number, along: boolean): void {
  const { size, inner } = around(x, axis);
  const n = elementsOf(y);
  if (n === 0) return;
  const entries = along ? indices.shape[axis]! : elementsOf(indices);
  const bytes = x.dtype === 'u8' || x.dtype === 'bool';
  const vectors = !along && inner % 4 === 0;
  const four = [0, 1, 2, 3].map((lane) => `gathered(4u * i + ${lane}u)`).join(', ');
  each(e, vectors || bytes ? ceilDiv(n, 4) : n, {
    files: ['gather'],
    label: 'gather',
    consts: { ALONG: along },
    params: { size, entries, inner: vectors ? inner / 4 : inner, missing: x.dtype === 'f32' ? 0x7fc00000 : 0 },
    inputs: { x: bitsOf(x, vectors ? 4 : 1), indices: single(indices) },
    outputs: { y: bitsOf(y, vectors || bytes ? 4 : 1) },
    code: `fn make(i: u32) { storeY(i, ${bytes && !vectors ? `vec4<u32>(${four})` : 'gathered(i)'}); }`,
  });
}

/** (x, indices i32) → x's axis replaced by the indices' shape: y[o, i…, j] = x[o, indices[i…], j]. Any dtype. */
export const gatherWgsl: GpuLowering<{ readonly axis: number }> = (e, [x, indices], [y], { axis }) =>
  gatherFrom(e, x!, indices!, y!, axis, false);

/** (x, indices i32) → the indices' shape: y[o, k, j] = x[o, indices[o, k, j], j]. Any dtype. */
export const gatherAlongWgsl: GpuLowering<{ readonly axis: number }> = (e, [x, indices], [y], { axis }) =>
  gatherFrom(e, x!, indices!, y!, axis, true);

/** y = zeros, then y[o, index, j] += updates[o, k, j] for k = 0, 1, … where the index is inside. f32 or i32. */
function scatterInto(e: GpuEmitter, indices: Value, updates: Value, y: Value, axis: number, along: boolean): void {
  const { size, inner } = around(y, axis);
  const entries = along ? indices.shape[axis]! : elementsOf(indices);
  const places = entries > size;
  const vectors = !along && inner % 4 === 0;
  const by = vectors ? 4 : 1;
  if (!places) fillWgsl(e, [], [y], { value: 0 });
  each(e, elementsOf(places ? y : updates) / by, {
    files: ['gatherAdd'],
    label: 'gatherAdd',
    consts: { ALONG: along, PLACES: places },
    params: { size, entries, inner: inner / by },
    inputs: { indices: single(indices), updates: { value: updates, width: by } },
    outputs: { y: { value: y, width: by } },
  });
}

/** (indices i32, updates) → zeros, then y[o, indices[i…], j] += updates[o, i…, j] in the order of i. */
export const scatterAddWgsl: GpuLowering<{ readonly axis: number }> = (e, [indices, updates], [y], { axis }) =>
  scatterInto(e, indices!, updates!, y!, axis, false);

/** (indices i32, updates) of equal shape → zeros, then y[o, indices[o, k, j], j] += updates[o, k, j]. */
export const scatterAddAlongWgsl: GpuLowering<{ readonly axis: number }> = (e, [indices, updates], [y], { axis }) =>
  scatterInto(e, indices!, updates!, y!, axis, true);

/** i32 [...] → f32 [..., depth]: 1 at the index, 0 elsewhere. */
export const oneHotWgsl: GpuLowering<{ readonly depth: number }> = (e, [indices], [y], { depth }) => {
  const vectors = depth % 4 === 0;
  const columns = vectors ? depth / 4 : depth;
  const at = vectors ? '4 * column + vec4<i32>(0, 1, 2, 3)' : 'column';
  each(e, elementsOf(indices!) * columns, {
    files: [],
    label: 'oneHot',
    params: { columns },
    inputs: { indices: single(indices!) },
    outputs: { y: vectors ? wide(y!) : single(y!) },
    code: `fn make(i: u32) {
  let column = i32(i % p.columns);
  storeY(i, select(TypeY(0.0f), TypeY(1.0f), ${vectors ? 'vec4<i32>' : ''}(loadIndices(i / p.columns)) == ${at}));
}`,
  });
};
