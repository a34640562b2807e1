/**
 * Softmax cross-entropy, and the margin softmax of face recognition over any number of classes.
 *
 * The one idea of the margin softmax: the loss needs, per row, only the target's cosine and a log-sum-exp over the
 * other classes, and both come from blocks of the class matrix. No op of its own: blocks are ordinary products and
 * reductions whose pointwise parts the plan fuses, and the gradient is derived. What a margin is, is two expressions.
 */
import { ShapeError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { tensor } from '../core/tensor.ts';
import type { Expr } from '../expr/nodes.ts';
import * as E from '../expr/nodes.ts';
import { shapeError } from './define.ts';
import { matmul } from './matmul.ts';
import { reshape, split } from './movement.ts';
import { add, elementwise, maximum, mul, sub } from './pointwise.ts';
import { logSumExp, max, mean, stopGradient, sum } from './reduce.ts';

/** x / max(‖x‖, eps) over the last axis. At length 0 the result and its gradient are finite. Default eps 1e-12. */
export function l2Normalize(x: Tensor, eps = 1e-12): Tensor {
  const squares = sum(mul(x, x), -1, true);
  const norm = elementwise('norm', E.sqrt(E.max(E.input(0), eps * eps)), [squares]);
  return elementwise('l2Normalize', E.div(E.input(0), E.input(1)), [x, norm]);
}

/** exp(x) / Σ exp(x) over the last axis. */
export const softmax = (x: Tensor): Tensor =>
  elementwise('softmax', E.exp(E.sub(E.input(0), E.input(1))), [x, logSumExp(x, -1, true)]);
export const logSoftmax = (x: Tensor): Tensor => sub(x, logSumExp(x, -1, true));

const classIds = (from: number, n: number) => tensor(Float32Array.from({ length: n }, (_, i) => from + i));

function checkLabels(op: string, rows: Tensor, labels: Tensor) {
  if (labels.rank !== 1 || labels.shape[0] !== rows.shape[0] || labels.dtype !== 'i32')
    throw shapeError(
      op,
      `int32 labels [${rows.shape[0]}], one per row`,
      { rows, labels },
      'Pass class numbers as an Int32Array.',
    );
}

/**
 * Mean cross-entropy of logits [B, C] with int32 labels [B]. With smoothing ε the target distribution is
 * (1 − ε) at the label plus ε/C everywhere (Szegedy et al. 2016, section 7). Labels must lie in 0..C−1.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, { labelSmoothing = 0 } = {}): Tensor {
  if (logits.rank !== 2) throw shapeError('crossEntropy', 'logits [B, C]', { logits }, 'Reshape the logits.');
  checkLabels('crossEntropy', logits, labels);
  const [b, c] = logits.shape as [number, number];
  const hit = E.eq(E.input(1), E.input(2));
  const atLabel = sum(
    elementwise('atLabel', E.where(hit, E.input(0), E.constant(0)), [logits, reshape(labels, [b, 1]), classIds(0, c)]),
    1,
  );
  const lse = logSumExp(logits, 1);
  const target =
    labelSmoothing === 0 ? atLabel : add(mul(atLabel, 1 - labelSmoothing), mul(mean(logits, 1), labelSmoothing));
  return mean(sub(lse, target));
}

/** The two logits of a margin softmax, as expressions of the cosine. */
export interface MarginLogits {
  /** Logit of the target class from its cosine and the row's own scalars. */
  target(cos: Expr, ...rowScalars: Expr[]): Expr;
  /** Logit of every other class from its cosine, the target's cosine and the row's own scalars. */
  nonTarget(cos: Expr, targetCos: Expr, ...rowScalars: Expr[]): Expr;
}

export interface MarginSoftmaxResult {
  /** Mean cross-entropy over the batch: a scalar. */
  readonly loss: Tensor;
  /** Cosine to the own class centre, [B]. */
  readonly targetCos: Tensor;
  /** 1 where the own class centre is the nearest, else 0: [B] (no margin applied). */
  readonly hits: Tensor;
  /** 1 where the own logit is the largest, margin applied, else 0: [B]. */
  readonly marginHits: Tensor;
}

/** The cosines of a batch to its class centres, as what a loss derives its row scalars from. */
export interface ClassCosines {
  /** Cosine to the own class centre, [B]. */
  readonly targetCos: Tensor;
  /** log Σ exp(logit) over all classes but the own, [B]; the logit is an expression of the cosine and scalars. */
  otherLogSumExp(logit: (cos: Expr, ...scalars: Expr[]) => Expr, scalars?: readonly Tensor[]): Tensor;
}

export interface CosineOptions {
  /** Classes per block. Default 2048. */
  readonly block?: number;
  /** Centres per class, the nearest of which counts: w is [C·K, d] with a class's centres side by side. Default 1. */
  readonly centresPerClass?: number;
}

export interface MarginSoftmaxOptions extends CosineOptions {
  /** [B] or scalars, handed to the expressions; or what derives them from the cosines. Gradients flow into them. */
  readonly rowScalars?: readonly Tensor[] | ((cosines: ClassCosines) => readonly Tensor[]);
}

/** The cosines of a batch to some of the classes. */
export interface CosineBlock {
  /** [B, n] */
  readonly cos: Tensor;
  /** Numbers of the classes, [n]. */
  readonly ids: Tensor;
}

/**
 * The products of rows x [B, d] with the normalised class centres w [C, d], in blocks of classes. They are cosines where
 * the rows have unit length.
 */
export function cosineBlocks(
  x: Tensor,
  w: Tensor,
  { block = 2048, centresPerClass = 1 }: CosineOptions = {},
): CosineBlock[] {
  if (x.rank !== 2 || w.rank !== 2 || x.shape[1] !== w.shape[1])
    throw shapeError(
      'marginSoftmax',
      'embeddings x [B, d] and class centres w [C, d] of one length d',
      { x, w },
      'Give the head the embedding size of the network.',
    );
  if (!(block >= 1))
    throw new ShapeError(
      `marginSoftmax: expected a block of at least 1 class, got ${block}\nLeave it out for blocks of 2048.`,
    );
  if (!(Number.isInteger(centresPerClass) && centresPerClass >= 1 && w.shape[0]! % centresPerClass === 0))
    throw shapeError(
      'marginSoftmax',
      `rows of w that divide into classes of ${centresPerClass} centres`,
      { w },
      'Give w one row per centre, the centres of a class side by side.',
    );
  const [b] = x.shape as [number, number];
  const classes = w.shape[0]! / centresPerClass;
  const sizes = Array.from({ length: Math.ceil(classes / block) }, (_, i) => Math.min(block, classes - i * block));
  const rows = sizes.map((n) => n * centresPerClass);
  return split(w, rows).map((wb, i) => {
    const toCentres = matmul(x, l2Normalize(wb), { transB: true }); // [B, block · K]
    return {
      cos: centresPerClass === 1 ? toCentres : max(reshape(toCentres, [b, sizes[i]!, centresPerClass]), 2), // [B, block]
      ids: classIds(i * block, sizes[i]!),
    };
  });
}

const column = (t: Tensor) => (t.rank === 0 ? t : reshape(t, [t.size, 1]));
const total = (parts: readonly Tensor[], join: (p: Tensor, q: Tensor) => Tensor) => parts.reduce(join);
/** Whether a cosine, operand 0, is the label's: operands 1 and 2 are labels and class numbers. */
const isTarget = E.eq(E.input(1), E.input(2));
const lowest = E.constant(-3.4028235e38);

/** The cosine of each row to its label's centre: [B]. */
const ownCosine = (blocks: readonly CosineBlock[], labels: Tensor): Tensor =>
  total(
    blocks.map(({ cos, ids }) =>
      sum(elementwise('targetCos', E.where(isTarget, E.input(0), E.constant(0)), [cos, column(labels), ids]), 1),
    ),
    add,
  );

/** The largest cosine of each row to the other centres: [B]. */
export const nearestOther = (blocks: readonly CosineBlock[], labels: Tensor): Tensor =>
  total(
    blocks.map(({ cos, ids }) =>
      max(elementwise('otherCos', E.where(isTarget, lowest, E.input(0)), [cos, column(labels), ids]), 1),
    ),
    maximum,
  );

/**
 * Mean cross-entropy of a margin softmax: embeddings x [B, d] and class centres w [C, d] are normalised, logits are
 * expressions of their cosines, labels are int32 [B]. Classes are taken in blocks, so beside the B·C cosines no value of
 * that size is stored.
 */
export const marginSoftmax = (
  x: Tensor,
  w: Tensor,
  labels: Tensor,
  logits: MarginLogits,
  { rowScalars, ...options }: MarginSoftmaxOptions = {},
): MarginSoftmaxResult => marginCrossEntropy(cosineBlocks(l2Normalize(x), w, options), labels, logits, rowScalars);

/** The margin softmax of cosines that are already there. */
export function marginCrossEntropy(
  blocks: readonly CosineBlock[],
  labels: Tensor,
  logits: MarginLogits,
  rowScalars: MarginSoftmaxOptions['rowScalars'] = [],
): MarginSoftmaxResult {
  checkLabels('marginSoftmax', blocks[0]!.cos, labels);
  const label = column(labels);
  const targetCos = ownCosine(blocks, labels);

  /** Largest logit of a block's other classes and Σ exp(logit − largest); `other` reads `extra` from operand 3 on. */
  const massOf = ({ cos, ids }: CosineBlock, other: Expr, extra: readonly Tensor[]) => {
    const operands = [cos, label, ids, ...extra];
    const top = stopGradient(max(elementwise('otherLogit', E.where(isTarget, lowest, other), operands), 1));
    const shift = E.input(operands.length);
    const mass = sum(
      elementwise('otherMass', E.where(isTarget, E.constant(0), E.exp(E.sub(other, shift))), [
        ...operands,
        column(top),
      ]),
      1,
    );
    return { top, mass };
  };
  const rescaled = (parts: readonly ReturnType<typeof massOf>[], top: Tensor) =>
    parts.map((p) =>
      elementwise('rescaledMass', E.mul(E.input(0), E.exp(E.sub(E.input(1), E.input(2)))), [p.mass, p.top, top]),
    );

  const otherLogSumExp: ClassCosines['otherLogSumExp'] = (logit, given = []) => {
    const other = logit(E.input(0), ...given.map((_, i) => E.input(3 + i)));
    const parts = blocks.map((p) => massOf(p, other, given.map(column)));
    const tops = parts.map((p) => p.top);
    const top = stopGradient(total(tops, maximum));
    return elementwise('logShifted', E.add(E.log(E.input(0)), E.input(1)), [total(rescaled(parts, top), add), top]);
  };
  const scalars = typeof rowScalars === 'function' ? rowScalars({ targetCos, otherLogSumExp }) : rowScalars;

  const own = elementwise('targetLogit', logits.target(...(rowExprs(1 + scalars.length) as [Expr, ...Expr[]])), [
    targetCos,
    ...scalars,
  ]);
  const extra = [targetCos, ...scalars].map(column);
  const other = logits.nonTarget(E.input(0), E.input(3), ...scalars.map((_, i) => E.input(4 + i)));
  const parts = blocks.map((p) => massOf(p, other, extra));
  const topOther = total(
    parts.map((p) => p.top),
    maximum,
  );
  const top = stopGradient(maximum(own, topOther));
  const target = elementwise('targetMass', E.exp(E.sub(E.input(0), E.input(1))), [own, top]);
  const all = total([target, ...rescaled(parts, top)], add);
  const losses = elementwise('crossEntropy', E.sub(E.add(E.log(E.input(0)), E.input(1)), E.input(2)), [all, top, own]);
  return {
    loss: mean(losses),
    targetCos,
    hits: atLeast(targetCos, nearestOther(blocks, labels)),
    marginHits: atLeast(own, topOther),
  };
}

/** 1 where a >= b, else 0. */
export const atLeast = (a: Tensor, b: Tensor): Tensor =>
  elementwise('hit', E.toNumber(E.ge(E.input(0), E.input(1))), [a, b]);

const rowExprs = (n: number): Expr[] => Array.from({ length: n }, (_, i) => E.input(i));

/** 1 where a row's largest logit is at its label, else 0: [B]. */
export function hits(logits: Tensor, labels: Tensor): Tensor {
  checkLabels('hits', logits, labels);
  const [b, c] = logits.shape as [number, number];
  const at = elementwise('atLabel', E.where(isTarget, E.input(0), lowest), [
    logits,
    reshape(labels, [b, 1]),
    classIds(0, c),
  ]);
  return atLeast(max(at, 1), max(logits, 1));
}
