/**
 * Gradient clipping: functions over the gradients of a graph, before an optimizer gets them.
 *
 * By global norm (Pascanu et al. 2013, algorithm 1, over all gradients as one vector) the direction stays; by value each
 * number is limited on its own. Both as PyTorch's `clip_grad_norm_` and `clip_grad_value_`. NaN stays NaN.
 */
import type { Tensor } from '../core/tensor.ts';
import { concat, reshape } from '../ops/movement.ts';
import { add, clamp, div, minimum, mul, sqrt } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import { expectOption } from './slots.ts';

/** Length of all gradients taken as one vector: sqrt(Σ g²), in float32. */
export const globalNorm = (gradients: readonly Tensor[]): Tensor =>
  sqrt(sum(concat(gradients.map((g) => reshape(sum(mul(g, g)), [1])))));

/**
 * Scales all gradients by min(1, maxNorm/(norm + 1e-6)). Gives them and the norm before: sqrt(Σ g²) over all of them.
 * @throws UsageError unless maxNorm is above 0
 */
export function clipByGlobalNorm(
  gradients: readonly Tensor[],
  maxNorm: number,
): { readonly gradients: readonly Tensor[]; readonly norm: Tensor } {
  expectOption(maxNorm > 0, 'clipByGlobalNorm', 'maxNorm above 0', maxNorm, 'Leave clipping out for no limit.');
  expectOption(gradients.length > 0, 'clipByGlobalNorm', 'gradients', 'none', 'Pass what grad() gave.');
  const norm = globalNorm(gradients);
  const scale = minimum(div(maxNorm, add(norm, 1e-6)), 1);
  return { gradients: gradients.map((g) => mul(g, scale)), norm };
}

/**
 * Limits every number of the gradients to [−limit, limit].
 * @throws UsageError unless the limit is above 0
 */
export function clipByValue(gradients: readonly Tensor[], limit: number): readonly Tensor[] {
  expectOption(limit > 0, 'clipByValue', 'a limit above 0', limit, 'Leave clipping out for no limit.');
  return gradients.map((g) => clamp(g, -limit, limit));
}
