/**
 * What losses over a batch share: which pairs of its pictures show one person, how far apart they are, and whether a
 * picture's nearest other one is of the same person.
 *
 * The one idea: everything is a B×B matrix, so shapes do not depend on who is in the batch; what a loss leaves out is
 * selected away with `where`, and from the gradient with it.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { shapeError } from '../ops/define.ts';
import { l2Normalize, matmul } from '../ops/index.ts';
import { iota, reshape } from '../ops/movement.ts';
import { elementwise, mul } from '../ops/pointwise.ts';
import { max, min, sum } from '../ops/reduce.ts';

/** Above any distance, and far from overflow. */
export const far = 1e30;

/** @throws ShapeError unless x is [B, d] and labels are int32 [B] */
export function checkBatch(op: string, x: Tensor, labels: Tensor): void {
  if (x.rank !== 2 || labels.rank !== 1 || labels.shape[0] !== x.shape[0] || labels.dtype !== 'i32')
    throw shapeError(
      op,
      'embeddings [B, d] and int32 labels [B]',
      { embeddings: x, labels },
      'Pass one class number per row, as an Int32Array.',
    );
}

/** [B, B]: 1 where two pictures show one person, −1 where two people, 0 for a picture with itself. */
export function pairKinds(labels: Tensor): Tensor {
  const b = labels.shape[0]!;
  const [label, other, i, j] = [0, 1, 2, 3].map((k) => E.input(k)) as [Expr, Expr, Expr, Expr];
  return elementwise('pairKinds', E.where(E.eq(i, j), E.constant(0), E.where(E.eq(label, other), 1, -1)), [
    reshape(labels, [b, 1]),
    reshape(labels, [1, b]),
    iota([b, 1]),
    iota([1, b]),
  ]);
}
/** Conditions on an element of `pairKinds`. */
export const samePerson = (kind: Expr): Expr => E.gt(kind, 0);
export const twoPeople = (kind: Expr): Expr => E.lt(kind, 0);

export type DistanceKind = 'squared' | 'euclidean' | 'angle';

/** A distance from its square; 0 with gradient 0 at 0, where the root has no slope. */
export const rootOf = (squared: Expr): Expr =>
  E.where(E.gt(squared, 1e-12), E.sqrt(E.max(squared, 1e-12)), E.constant(0));

/** Cosines are kept this far from ±1, where the angle has no slope. */
const edge = 1e-7;

/**
 * Distances between all pairs of rows of x [B, d] → [B, B]: ‖xᵢ − xⱼ‖², its root, or the angle between them in radians.
 * From one matrix product: ‖xᵢ‖² + ‖xⱼ‖² − 2·xᵢ·xⱼ.
 */
export function pairDistances(x: Tensor, kind: DistanceKind): Tensor {
  const b = x.shape[0]!;
  if (kind === 'angle') {
    const unit = l2Normalize(x);
    const cos = matmul(unit, unit, { transB: true }); // [B, B]
    return elementwise('angle', E.acos(E.min(E.max(E.input(0), edge - 1), 1 - edge)), [cos]);
  }
  const products = matmul(x, x, { transB: true }); // [B, B]
  const squares = sum(mul(x, x), 1); // [B]
  const squared = E.sub(E.add(E.input(1), E.input(2)), E.mul(E.input(0), 2));
  return elementwise('distance', kind === 'squared' ? squared : rootOf(squared), [
    products,
    reshape(squares, [b, 1]),
    reshape(squares, [1, b]),
  ]);
}

/** Distance to the farthest picture of the same person, [B]; −`far` where there is none. */
export const farthestSame = (distances: Tensor, kinds: Tensor): Tensor =>
  max(elementwise('same', E.where(samePerson(E.input(1)), E.input(0), E.constant(-far)), [distances, kinds]), 1);

/** Distance to the nearest picture of another person, [B]; `far` where there is none. */
export const nearestOther = (distances: Tensor, kinds: Tensor): Tensor =>
  min(elementwise('other', E.where(twoPeople(E.input(1)), E.input(0), E.constant(far)), [distances, kinds]), 1);

/** 1 where a picture's nearest other picture in the batch is of the same person, else 0: [B]. */
export function nearestHits(distances: Tensor, kinds: Tensor): Tensor {
  const same = min(
    elementwise('same', E.where(samePerson(E.input(1)), E.input(0), E.constant(far)), [distances, kinds]),
    1,
  );
  return elementwise('hit', E.toNumber(E.lt(E.input(0), E.input(1))), [same, nearestOther(distances, kinds)]);
}
