/**
 * Pruning while training: the smallest weights of each parameter are set to 0 and stay so, more and more of them.
 *
 * Zhu, Gupta 2017, "To prune, or not to prune" (arXiv 1710.01878), eq. 1: from step t0 to t1 the share of zeros grows as
 *
 *   s(t) = s·(1 − (1 − (t − t0)/(t1 − t0))³)
 *
 * The one idea: masks are state like any other, so a checkpoint holds them; they change between steps, on the host, and
 * within a step only select.
 */
import type { Variable } from '../core/tensor.ts';
import { StateBuffer } from '../nn/module.ts';
import { greater, where } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { ParameterSet } from './patterns.ts';
import type { Recipe } from './recipe.ts';

export interface Pruning {
  /** A mask a parameter, 1 where a weight lives: `<parameter>.mask`. */
  readonly state: readonly Variable[];
  /** Keeps pruned weights at 0; call it after the optimizer. */
  apply(ctx: TraceContext): void;
  /** Whether masks change before step `step` (from 0) of a run of `steps`. */
  due(step: number, steps: number): boolean;
  /** Sets the masks for that step by the weights of now. No step may be under way. */
  update(step: number, steps: number): Promise<void>;
}

/** Share of zeros from step `step` on, by the recipe's settings. */
export function sparsityAt({ sparsity, start, end }: Recipe['prune'], step: number, steps: number): number {
  const [from, to] = [Math.round(start * steps), Math.round(end * steps)];
  if (step < from) return 0;
  const share = to > from ? Math.min(1, (step - from) / (to - from)) : 1;
  return sparsity * (1 - (1 - share) ** 3);
}

/** Pruning of the parameters that the recipe names; undefined where it asks for none. */
export function pruningOf({ prune: settings }: Recipe, all: ParameterSet): Pruning | undefined {
  if (settings.sparsity === 0) return undefined;
  const patterns = settings.of.split(',').map((word) => word.trim());
  const parameters = [...all.select('prune.of', patterns)];
  const masks = parameters.map((p) => {
    const mask = new StateBuffer(p.shape, 1);
    mask.name = `${p.name}.mask`;
    return mask;
  });
  const lastStep = (steps: number) => Math.round(settings.end * steps);
  return {
    state: masks,
    apply(ctx) {
      parameters.forEach((p, i) => {
        const next = ctx.assigns.get(p);
        if (next) ctx.assigns.set(p, where(greater(masks[i]!.tensor, 0), next, 0));
      });
    },
    due(step, steps) {
      const from = Math.round(settings.start * steps);
      const to = lastStep(steps);
      return step === to || (step >= from && step < to && (step - from) % settings.everySteps === 0);
    },
    async update(step, steps) {
      const share = sparsityAt(settings, step, steps);
      for (const [i, p] of parameters.entries()) {
        const weights = (await p.read()) as Float32Array;
        const count = Math.round(share * weights.length);
        // The smallest first; equal ones in their order, so that the count is exact.
        const order = Uint32Array.from(weights, (_, k) => k).sort(
          (a, b) => Math.abs(weights[a]!) - Math.abs(weights[b]!) || a - b,
        );
        const mask = new Float32Array(weights.length).fill(1);
        const pruned = weights.slice();
        for (const k of order.subarray(0, count)) mask[k] = pruned[k] = 0;
        masks[i]!.write(mask);
        p.write(pruned);
      }
    },
  };
}
