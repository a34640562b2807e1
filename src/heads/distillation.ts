/**
 * Knowledge distillation: a small network (student) learns from the embeddings of a large one (teacher), beside a head or
 * without labels at all. After Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), whose teacher gives class probabilities;
 * here it gives embeddings, which need no common set of people:
 *
 * - cosine: mean 1 − cos(student, teacher). Directions are what faces are compared by (ShrinkTeaNet: Duong, Luu, Quach, Le
 *   2019, arXiv 1905.10620, matches them as well, by its angular distillation loss).
 * - l2: mean ‖student − teacher‖², of unit vectors (twice the cosine form), or raw, as FitNets' hints are matched (Romero,
 *   Ballas, Kahou, Chassang, Gatta, Bengio 2015, arXiv 1412.6550, section 2.2).
 * - relational: mean (cos(studentᵢ, studentⱼ) − cos(teacherᵢ, teacherⱼ))² over the pairs of the batch: relational distillation
 *   (Park, Kim, Lu, Cho 2019, arXiv 1904.05068, section 3.2) with the cosine of two pictures as relation.
 *
 * Where the sizes differ, cosine and l2 compare a learned projection of the student (FitNets' regressor); the relational form
 * needs none. No gradient flows into the teacher.
 */

import { UsageError } from '../core/errors.ts';
import {
  flag,
  type OptionSpec,
  type Options,
  oneOf,
  type ResolvedOptions,
  resolveOptions,
  whole,
} from '../core/options.ts';
import type { Tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { Linear } from '../nn/layers.ts';
import { Module, nameTree } from '../nn/module.ts';
import { shapeError } from '../ops/define.ts';
import { linear, matmul } from '../ops/matmul.ts';
import { elementwise, mul, square, sub } from '../ops/pointwise.ts';
import { mean, stopGradient, sum } from '../ops/reduce.ts';
import { l2Normalize } from '../ops/softmax.ts';

const size = (whose: string): OptionSpec<number> => whole({ from: 1 }, 128, `embedding size of the ${whose}`);

export const distillationOptions = {
  form: oneOf(['cosine', 'l2', 'relational'], 'cosine', 'what is matched'),
  raw: flag(false, 'switch for l2 of embeddings as they are, not of length 1'),
  studentSize: size('student'),
  teacherSize: size('teacher'),
};
export type DistillationOptions = Options<typeof distillationOptions>;

/** A loss between two networks' embeddings of the same pictures, with the projection it learns where sizes differ. */
export class Distillation extends Module {
  readonly options: ResolvedOptions<typeof distillationOptions>;
  /** From the student's size to the teacher's, without bias; undefined where none is needed. */
  readonly projection: Linear | undefined;
  constructor(given: DistillationOptions = {}) {
    super();
    this.options = resolveOptions('distillation', distillationOptions, { ...given });
    const { form, studentSize, teacherSize } = this.options;
    const needed = form !== 'relational' && studentSize !== teacherSize;
    this.projection = needed ? new Linear(studentSize, teacherSize, { bias: false }) : undefined;
    nameTree(this, 'distillation');
  }

  /** The loss, a scalar, between embeddings [B, d] of the student and [B, e] of the teacher. */
  between(student: Tensor, teacher: Tensor): Tensor {
    const { form, raw, studentSize, teacherSize } = this.options;
    const fits = (t: Tensor, n: number) => t.rank === 2 && t.shape[0] === student.shape[0] && t.shape[1] === n;
    if (!fits(student, studentSize) || !fits(teacher, teacherSize))
      throw shapeError(
        'distillation',
        `embeddings [B, ${studentSize}] of the student and [B, ${teacherSize}] of the teacher`,
        { student, teacher },
        'Give studentSize and teacherSize the embedding sizes of the networks.',
      );
    const goal = stopGradient(teacher);
    if (form === 'relational') return relational(student, goal);
    const own = this.projection ? linear(student, this.projection.weight.tensor) : student; // [B, e]
    const [a, b] = form === 'l2' && raw ? [own, goal] : [l2Normalize(own), l2Normalize(goal)];
    if (form === 'l2') return mean(sum(square(sub(a, b)), 1));
    return mean(elementwise('oneMinus', E.sub(1, E.input(0)), [sum(mul(a, b), 1)]));
  }
  protected forward(): Tensor {
    throw new UsageError(
      'Distillation: expected a call of between(student, teacher), got a plain call\nIt compares two networks.',
    );
  }
}

/** Mean squared difference of two networks' cosines between the B·(B − 1) ordered pairs of a batch. */
function relational(student: Tensor, teacher: Tensor): Tensor {
  const cosines = (x: Tensor): Tensor => {
    const unit = l2Normalize(x);
    return matmul(unit, unit, { transB: true }); // [B, B]
  };
  const b = student.shape[0]!;
  return mul(sum(square(sub(cosines(student), cosines(teacher)))), 1 / Math.max(1, b * (b - 1)));
}
