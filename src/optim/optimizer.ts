/** An optimizer: an update rule as a graph, and the state it keeps. */
import type { Tensor, Variable } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import type { TraceContext } from '../plan/trace.ts';

export interface Optimizer {
  readonly parameters: readonly Parameter[];
  /** Slots that a checkpoint must hold. */
  readonly state: readonly Variable[];
  /** Assigns new values to parameters and slots; `lr` is a scalar input, so a schedule never recompiles. */
  update(gradients: readonly Tensor[], lr: Tensor, ctx: TraceContext): void;
}
