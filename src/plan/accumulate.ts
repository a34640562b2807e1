/**
 * Gradient accumulation: one step over a batch, taken in parts, so that only one part's activations are alive at a time.
 *
 * The one idea: the parts are traced one after the other into one graph, each with its own backward pass. State that a
 * part assigns is what the next part reads: running statistics move once per part, as they do in PyTorch when a loop
 * calls the network several times before it steps the optimizer; what counts or averages updates goes by `ctx.share`. Batch norm normalises each part by its own moments, so
 * an accumulated step is close to, but not, the step of the whole batch.
 */
import { ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import type { Tensor, Variable } from '../core/tensor.ts';
import { split } from '../ops/movement.ts';
import { add, mul } from '../ops/pointwise.ts';
import { rewrite } from './rewrite.ts';
import { TraceContext } from './trace.ts';

/**
 * The mean over `parts` equal row blocks of the inputs of what `fn` gives for a block: losses, gradients, rates.
 * Assignments inside are chained and reach `ctx` once. `ctx.key` is the same for every part.
 * @throws ShapeError where the rows do not divide into the parts
 */
export function accumulate(
  inputs: readonly Tensor[],
  parts: number,
  ctx: TraceContext,
  fn: (inputs: readonly Tensor[], ctx: TraceContext) => readonly Tensor[],
): readonly Tensor[] {
  if (parts === 1) return fn(inputs, ctx);
  const blocks = inputs.map((x) => {
    const rows = x.shape[0] ?? 0;
    if (rows === 0 || rows % parts)
      throw new ShapeError(
        `accumulate: expected rows that divide into ${parts} parts, got ${showShape(x.shape)}\nChoose a batch that is a multiple of the parts.`,
      );
    return split(x, new Array<number>(parts).fill(rows / parts));
  });
  const state = new Map<Variable, Tensor>();
  let total: readonly Tensor[] | undefined;
  for (let i = 0; i < parts; i++) {
    const own = new TraceContext(ctx.training, ctx.key, ctx.share / parts);
    const results = fn(
      blocks.map((b) => b[i]!),
      own,
    );
    const now = new Map([...state].map(([v, value]) => [v.tensor.id, value]));
    const chained = rewrite([...results, ...own.assigns.values()], now);
    [...own.assigns.keys()].forEach((v, k) => {
      state.set(v, chained[results.length + k]!);
    });
    const values = chained.slice(0, results.length);
    total = total?.map((t, k) => add(t, values[k]!)) ?? values;
  }
  for (const [v, value] of state) ctx.assign(v, value);
  return total!.map((t) => mul(t, 1 / parts));
}
